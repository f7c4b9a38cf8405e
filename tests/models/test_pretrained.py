"""Files of weights: bytes kept, no second copy in memory, one line for whatever is wrong."""
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptive_dist.config import tensor_files
from adaptive_dist.config.errors import UsageError
from adaptive_dist.models.decoder import family_of
from adaptive_dist.models.pretrained import (
    open_pretrained,
    planned_tensors,
    read_params,
    save_pretrained,
)

LLAMA = {"model_type": "llama", "dtype": "bfloat16", "vocab_size": 23, "hidden_size": 16,
         "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 16}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    "A random model in bfloat16, in three files."
    folder = tmp_path_factory.mktemp("saved")
    family = family_of(LLAMA)
    token = jnp.zeros((1, 1), jnp.int32)
    shapes = jax.eval_shape(family.module(family.config(LLAMA)).init, jax.random.key(0), token)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    save_pretrained(folder, LLAMA, params, limit=2_000)
    return folder, shapes


@pytest.fixture
def model(saved, tmp_path):
    "A copy of it that may be spoilt."
    shutil.copytree(saved[0], tmp_path/"model")
    return tmp_path/"model"


def raw(folder):
    "The bytes of every tensor."
    return {name: (tensor.kind, tensor.shape, tensor.mapped().tobytes())
            for name, tensor in tensor_files.folder_tensors(folder).items()}


@pytest.mark.parametrize("limit", [2_000, 10**9])
def test_a_round_trip_changes_no_bit(saved, tmp_path, limit):
    folder, shapes = saved
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    masters = read_params(open_pretrained(str(folder)), shapes)
    assert {x.dtype for x in jax.tree.leaves(masters)} == {jnp.dtype("float32")}
    save_pretrained(tmp_path, LLAMA, masters, limit=limit)
    assert raw(tmp_path) == raw(folder)
    assert json.loads((tmp_path/"config.json").read_text()) == LLAMA


def test_what_lies_beside_the_weights_comes_along(model, saved, tmp_path):
    (model/"tokenizer.json").write_text("{}")
    params = read_params(open_pretrained(str(model)), saved[1])
    save_pretrained(tmp_path/"out", LLAMA, params, beside=model)
    assert (tmp_path/"out"/"tokenizer.json").read_text() == "{}"


@pytest.mark.slow
def test_the_reference_reads_and_writes_the_same_files(saved, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    numpy = pytest.importorskip("safetensors.numpy")
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4), np.float16)}
    planned = {name: tensor_files.PlannedTensor(tensor_files.NAMES[x.dtype], x.shape, lambda x=x: x)
               for name, x in tensors.items()}
    tensor_files.write_weights(tmp_path/"model.safetensors", planned)
    found = numpy.load_file(tmp_path/"model.safetensors")
    assert all((found[name] == x).all() for name, x in tensors.items())
    numpy.save_file(tensors, tmp_path/"theirs.safetensors")
    theirs = tensor_files.file_tensors(tmp_path/"theirs.safetensors")
    assert all((theirs[name].mapped() == x).all() for name, x in tensors.items())
    assert safetensors


def changed(model, **changes):
    (model/"config.json").write_text(json.dumps({**LLAMA, **changes}))


def without(model, name):
    values = json.loads((model/"config.json").read_text())
    del values[name]
    (model/"config.json").write_text(json.dumps(values))


def only(model, **kinds):
    "One file, with some tensors of another type."
    planned = {}
    for name, tensor in tensor_files.folder_tensors(model).items():
        kind = kinds.get(name, tensor.kind)
        planned[name] = tensor_files.PlannedTensor(
            kind, tensor.shape, lambda t=tensor, k=kind: np.zeros(t.shape, tensor_files.TYPES[k]))
    (model/"model.safetensors.index.json").unlink()
    tensor_files.write_folder(model, planned)


def first(model, pattern="model-*.safetensors"):
    return sorted(model.glob(pattern))[0]


def rewritten(path, **entry):
    "A header that says something else about its first tensor."
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    name = next(name for name in header if name != "__metadata__")
    header[name] |= entry
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + data[8 + size:])


BAD = {
    "no config.json": (lambda m: (m/"config.json").unlink(), "config.json"),
    "config.json is no JSON": (lambda m: (m/"config.json").write_text("{"), "no JSON object"),
    "unknown family": (lambda m: changed(m, model_type="mamba"), "'mamba' is not known here"),
    "no family": (lambda m: without(m, "model_type"), "does not say model_type"),
    "no size": (lambda m: without(m, "hidden_size"), "does not say hidden_size"),
    "text for a size": (lambda m: changed(m, hidden_size="big"), "must be a whole number"),
    "quantised": (lambda m: changed(m, quantization_config={"bits": 4}), "quantization_config"),
    "heads": (lambda m: changed(m, num_key_value_heads=3), "num_key_value_heads 3 must divide"),
    "activation": (lambda m: changed(m, hidden_act="swish"), "'swish'"),
    "positions": (lambda m: changed(m, rope_scaling={"rope_type": "yarn"}), "'yarn'"),
    "positions without their numbers": (
        lambda m: changed(m, rope_scaling={"rope_type": "linear"}), "does not say factor"),
    "missing tensors": (lambda m: changed(m, num_hidden_layers=3),
                        r"lacks .*model.layers.2.* and 7 more"),
    "surplus tensors": (lambda m: changed(m, num_hidden_layers=1),
                        r"knows nothing of: model.layers.1.* and 7 more"),
    "wrong shape": (lambda m: changed(m, vocab_size=24), r"is \[23, 16\], .* must be \[24, 16\]"),
    "wrong type": (lambda m: only(m, **{"model.norm.weight": "I8"}),
                   "model.norm.weight is of type I8"),
    "no weights": (lambda m: [p.unlink() for p in m.glob("model*")], "holds no model.safetensors"),
    "PyTorch's weights": (
        lambda m: [(m/"pytorch_model.bin").touch(), *(p.unlink() for p in m.glob("model*"))],
        "pytorch_model.bin is for PyTorch"),
    "a file is lost": (lambda m: first(m).unlink(), "cannot read .*model-00001"),
    "cut short": (lambda m: first(m).write_bytes(first(m).read_bytes()[:-9]), "cut short"),
    "empty": (lambda m: first(m).write_bytes(b""), "no safetensors file"),
    "a page": (lambda m: first(m).write_text("<html>denied</html>"), "no safetensors file"),
    "header of another size": (lambda m: rewritten(first(m), shape=[1]), "contradicts itself"),
    "header without a shape": (lambda m: rewritten(first(m), shape=None), "nothing of use"),
    "offsets below zero": (lambda m: rewritten(first(m), data_offsets=[-8, 0]), "contradicts"),
    "index": (lambda m: (m/"model.safetensors.index.json").write_text("{}"), "names no files"),
    "index of another model": (
        lambda m: (m/"model.safetensors.index.json").write_text(json.dumps(
            {"weight_map": {"x.weight": first(m).name}})), "says that x.weight is in"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_checkpoint_is_one_clear_line(model, fault):
    spoil, said = BAD[fault]
    spoil(model)
    with pytest.raises(UsageError, match=said) as error:
        open_pretrained(str(model))
    line = str(error.value)
    assert "\n" not in line and len(line) < 400, line


def test_an_index_does_not_lead_out_of_its_folder(model):
    index = model/"model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"] = {name: f"../{file}" for name, file in values["weight_map"].items()}
    index.write_text(json.dumps(values))
    assert {t.file.parent for t in tensor_files.folder_tensors(model).values()} == {model}


LOAD = """
import resource, sys, jax
from pathlib import Path
from adaptive_dist.models.pretrained import open_pretrained, read_params
def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
found = open_pretrained(sys.argv[1])
module = found.module()
wanted = jax.eval_shape(module.init, jax.random.key(0), jax.numpy.zeros((1, 1), "int32"))
before = kilobytes("VmRSS")
params = jax.block_until_ready(read_params(found, wanted))
size = sum(x.nbytes for x in jax.tree.leaves(params))
print((kilobytes("VmHWM") - before)*1024/size, size)
"""


@pytest.mark.slow
def test_a_gigabyte_is_loaded_without_a_second_copy(tmp_path):
    values = {**LLAMA, "dtype": "float32", "vocab_size": 16_000, "hidden_size": 1_024,
              "intermediate_size": 4_096, "num_hidden_layers": 14, "head_dim": 64,
              "num_attention_heads": 16, "num_key_value_heads": 16}
    family = family_of(values)
    token = jnp.zeros((1, 1), jnp.int32)
    shapes = jax.eval_shape(family.module(family.config(values)).init, jax.random.key(0), token)
    block = np.random.default_rng(0).normal(size=17_000_000).astype(np.float32)
    def plan(shape): return lambda: block[:np.prod(shape)].reshape(shape)
    planned = {name: tensor._replace(value=plan(tensor.shape))
               for name, tensor in planned_tensors(shapes, family, "F32").items()}
    tensor_files.write_folder(tmp_path, planned)
    (tmp_path/"config.json").write_text(json.dumps(values))
    assert (tmp_path/"model.safetensors").stat().st_size > 10**9
    done = subprocess.run([sys.executable, "-c", LOAD, str(tmp_path)], check=True,
                          capture_output=True, text=True)
    ratio, size = map(float, done.stdout.split())
    assert size > 10**9 and ratio < 1.3, done.stdout
