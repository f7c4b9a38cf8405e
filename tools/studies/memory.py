"""What a step on a decoder of a billion parameters keeps on each device, from its compiled program.

    python tools/studies/memory.py [--devices 1,8,64]

Nothing is trained and nothing is loaded: the checkpoint has its header and no numbers, the state is
shapes, and the devices are simulated. The result is nbs/experiments/results/memory.csv, which the
guide on pretrained models reads. Rows that are there are not made again.
"""
import argparse
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2]/"nbs"/"experiments"/"results"/"memory.csv"
LLAMA_1B = {
    "model_type": "llama", "dtype": "bfloat16", "vocab_size": 128_256, "hidden_size": 2_048,
    "intermediate_size": 8_192, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131_072,
    "tie_word_embeddings": True, "rms_norm_eps": 1e-5, "rope_theta": 500_000.}
ROWS, LENGTH = 4, 1_024  # of each device
FLAGS = ("--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
         "--xla_cpu_enable_concurrency_optimized_scheduler=false")  # ordered to save memory
METHODS = [("uniform", None), ("uniform", 16), ("anograd", 16), ("soba", 16), ("soba", None)]

def hollow_checkpoint(folder: Path) -> None:
    "A checkpoint whose tensors take no room on the disk."
    import jax

    from adaptive_dist.config import tensor_files
    from adaptive_dist.config.files import write_json
    from adaptive_dist.models.decoder import family_of
    from adaptive_dist.models.pretrained import planned_tensors
    family = family_of(LLAMA_1B)
    module = family.module(family.config(LLAMA_1B))
    token = jax.ShapeDtypeStruct((1, 1), "int32")
    params = jax.eval_shape(module.init, jax.random.key(0), token)
    planned = planned_tensors(params, family, "BF16")
    path = folder/"model.safetensors"
    with path.open("wb") as file:
        raw = tensor_files.packed_header(planned)
        file.write(raw)
        file.truncate(len(raw) + sum(tensor.nbytes for tensor in planned.values()))
    write_json(folder/"config.json", LLAMA_1B)

def experiment_of(folder: Path, method: str, rank: int | None, devices: int) -> Any:
    "The experiment of a method on random tokens, parameters divided among all devices."
    from adaptive_dist.config.settings import change
    from adaptive_dist.experiments.lm import LM
    config = change(
        LM.presets["reduced"], method=method, from_=str(folder), lora_rank=rank, length=LENGTH,
        batch_size=ROWS*devices, downsampling=4, dtype="bfloat16", remat=True, probe_every=0,
        mesh=f"fsdp={devices}")
    changes: dict[str, dict[str, Any]] = {
        "soba": dict(hvp="exact", curvature_rows=1.), "anograd": dict(derivative="exact")}
    assert LM.build_synthetic
    return LM.build_synthetic(change(config, **changes.get(method, {})))

def sizes(experiment: Any, compiled: bool) -> dict[str, float]:
    "Gigabytes on each device: the state's parts, and what a compiled step needs beside them."
    import jax

    from adaptive_dist.train.distributed import row_sharding
    from adaptive_dist.train.experiment import first_batches, step_of, wanted_state
    wanted = wanted_state(experiment)
    rows = row_sharding(experiment.mesh)
    batches = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows),
                           first_batches(experiment))
    def kept(tree: Any) -> float:
        return sum(math.prod(x.sharding.shard_shape(x.shape))*x.dtype.itemsize
                   for x in jax.tree.leaves(tree))/1e9
    state = {"parameters": kept(wanted.params), "optimizer": kept(wanted.optimizer),
             "rule": kept(wanted.selector)}
    if not compiled: return state
    placed = jax.tree.map(lambda x: x.sharding, wanted)
    step = jax.jit(step_of(experiment), donate_argnums=0, out_shardings=(placed, None))
    found = step.lower(wanted, *batches).compile().memory_analysis()
    assert found, "this backend does not count memory"
    return {**state, "working": found.temp_size_in_bytes/1e9}

def measure(method: str, rank: int | None, devices: int, compiled: bool) -> dict[str, Any]:
    "A row of the table, in a process that simulates so many devices."
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hollow_checkpoint(folder)
        found = sizes(experiment_of(folder, method, rank, devices), compiled)
    total = round(sum(found.values()), 3) if compiled else ""
    return {"devices": devices, "method": method, "rank": rank or "", "rows": ROWS,
            "length": LENGTH, "working": "",
            **{part: round(value, 3) for part, value in found.items()}, "total": total}

def known_rows() -> list[dict[str, Any]]:
    "The rows that are there."
    from adaptive_dist.report.tables import read_csv
    return read_csv(RESULTS) if RESULTS.exists() else []

def main() -> None:
    "Add the rows that are missing, each from a process of its own."
    from adaptive_dist.report.tables import write_csv
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", default="1,8,64")
    parser.add_argument("--state-only", action="store_true", help="compile nothing")
    parser.add_argument("--only", nargs=3, help="method, rank or 0, and devices of one row")
    arguments = parser.parse_args()
    if arguments.only:
        method, rank, devices = arguments.only
        row = measure(method, int(rank) or None, int(devices), not arguments.state_only)
        write_csv(RESULTS, [*known_rows(), row])
        return
    for devices in arguments.devices.split(","):
        flags = f"--xla_force_host_platform_device_count={devices} {FLAGS}"
        here = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        known = [(row["method"], row["rank"], str(row["devices"])) for row in known_rows()]
        for method, rank in METHODS:
            if (method, rank, devices) in known: continue
            only = [method, str(rank or 0), devices]
            only += ["--state-only"] if arguments.state_only else []
            subprocess.run([sys.executable, __file__, "--only", *only], env=here, check=True)

if __name__ == "__main__":
    main()
