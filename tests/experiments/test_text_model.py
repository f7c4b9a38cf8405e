"""Runs that begin with published weights: what moves, what is written, and several devices."""
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY

from adaptive_dist.cli import main
from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.files import write_json
from adaptive_dist.config.settings import change, nested_settings
from adaptive_dist.data.text import DataConfig
from adaptive_dist.experiments.lm import LM
from adaptive_dist.experiments.text_model import StartConfig, with_own_tokenizer
from adaptive_dist.models.decoder import family_of
from adaptive_dist.models.pretrained import open_pretrained, read_params, save_pretrained
from adaptive_dist.train.checkpoint import save_state, stored_leaves
from adaptive_dist.train.experiment import start
from adaptive_dist.train.folder import existing_result
from adaptive_dist.train.run import restore, run

QWEN = {"model_type": "qwen3", "dtype": "float32", "vocab_size": 256, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "head_dim": 8,
        "num_key_value_heads": 2, "max_position_embeddings": 32, "tie_word_embeddings": True}


@pytest.fixture
def published(tmp_path):
    "The folder of a random model over bytes."
    family = family_of(QWEN)
    module = family.module(family.config(QWEN))
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    save_pretrained(tmp_path/"published", QWEN, params)
    return tmp_path/"published"


def config_of(folder, **changes):
    return change(LM.presets["reduced"], **TINY, from_=str(folder), **changes)


def test_settings_that_do_not_fit_a_published_model_are_named(published):
    for changes, said in (({"length": 64}, "reads at most 32 tokens"),
                          ({"lora_rank": 2, "lora_targets": "qkv"}, "--lora-targets qkv"),
                          ({"from_": None, "lora_rank": 2}, "name one with --from"),
                          ({"from_": str(published/"no")}, "there is no such folder")):
        with pytest.raises(UsageError, match=said):
            LM.build_synthetic(change(config_of(published), **changes))


def test_a_model_brings_its_own_tokenizer(published):
    own = StartConfig(from_=str(published))
    assert with_own_tokenizer(DataConfig(), own).tokenizer is None  # it reads bytes
    (published/"vocab.json").write_text("{}")
    with pytest.raises(UsageError, match=r"in vocab.json and no tokenizer.json"):
        with_own_tokenizer(DataConfig(), own)
    (published/"tokenizer.json").write_text("{}")
    assert with_own_tokenizer(DataConfig(), own).tokenizer == str(published)
    other = DataConfig(tokenizer="other.json")
    assert with_own_tokenizer(other, own) is other
    with pytest.raises(UsageError, match="--vocabulary 512"):
        with_own_tokenizer(DataConfig(vocabulary=512), own)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["soba", "online_cds"])
def test_a_run_moves_adapters_and_nothing_else(published, tmp_path, method):
    config = config_of(published, method=method, lora_rank=2)
    experiment = LM.build_synthetic(config)
    begun = jax.device_get(start(0, experiment).params)
    result = run("lm", config, LM.build_synthetic, tmp_path/"run", progress=False)
    assert np.isfinite(result["specific_loss"])
    ended = jax.device_get(restore(tmp_path/"run", experiment))
    jax.tree.map(np.testing.assert_array_equal, begun["base"], ended.params["base"])
    kept, base = stored_leaves(tmp_path/"run"/"checkpoints"), jax.tree.leaves(begun["base"])
    assert kept == len(jax.tree.leaves(ended)) - len(base)
    save_state(tmp_path/"older"/"checkpoints", 6, ended)  # as runs once kept it
    older = jax.device_get(restore(tmp_path/"older", experiment))
    jax.tree.map(np.testing.assert_array_equal, older.params, ended.params)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, begun["adapters"],
                         ended.params["adapters"])
    assert jax.tree.all(moved)
    largest = max(x.size for x in jax.tree.leaves(begun["adapters"]))
    assert all(x.size <= largest for x in jax.tree.leaves(ended.optimizer))


@pytest.mark.slow
def test_all_weights_are_trained_without_a_rank_and_written_back(published, tmp_path, workplace):
    (workplace/"texts.txt").write_text("\n\n".join(
        f"Article {k} says that {k} cells divide into {2*k} cells." for k in range(400)))
    (workplace/"few.txt").write_text("\n\n".join(f"{k} apples are {k} apples." for k in range(40)))
    sizes = ("--batch-size 4 --downsampling 4 --length 32 --steps 6 --log-every 2 --evaluate-every "
             "6 --weighting-width 8 --weighting-embedding 8 --fine-tune-steps 0 --no-tensorboard")
    data = f"--generic {workplace}/texts.txt --specific {workplace}/few.txt --quiet"
    for rank in ("none", "2"):
        out = f"{workplace}/rank-{rank}"
        words = f"run lm {data} {sizes} --from {published} --lora-rank {rank} --method uniform"
        assert main(f"{words} --out {out}".split()) == 0
        assert main(f"weights {out} --merge --out {out}/model".split()) == 0
        result = json.loads((workplace/f"rank-{rank}"/"result.json").read_text())
        words = f"run lm {data} {sizes} --from {out}/model --steps 1 --learning-rate 1e-9"
        assert main(f"{words} --out {out}-again --method uniform".split()) == 0
        again = json.loads((workplace/f"rank-{rank}-again"/"result.json").read_text())
        assert abs(again["specific_loss"] - result["specific_loss"]) < 1e-4
    assert main(f"weights {workplace}/rank-2 --out {workplace}/adapters".split()) == 0
    assert (workplace/"adapters"/"adapter_config.json").exists()


def other_weights(folder):
    "Change one bit of a published model, or change it back."
    raw = bytearray((folder/"model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder/"model.safetensors").write_bytes(raw)


def test_other_weights_under_the_same_name_are_one_line(published, tmp_path):
    for rank in (None, 2):
        config = config_of(published, generic="embedded", lora_rank=rank)
        assert len(config.base_fingerprint()) == (rank is not None)
        known = config.fingerprints()
        write_json(tmp_path/"config.json",
                   {"task": "lm", **nested_settings(config), "fingerprints": known})
        assert existing_result(tmp_path, "lm", config) is None
        other_weights(published)
        said = f"--from {published} has changed since the beginning of .* it holds other weights"
        with pytest.raises(UsageError, match=said):
            existing_result(tmp_path, "lm", config)
        other_weights(published)
        del known["--from weights"]  # as runs once were
        write_json(tmp_path/"config.json",
                   {"task": "lm", **nested_settings(config), "fingerprints": known})
        other_weights(published)
        assert existing_result(tmp_path, "lm", config) is None


@pytest.mark.slow
def test_everything_works_from_adapters_that_refer_to_their_base(published, workplace, capsys):
    (workplace/"texts.txt").write_text("\n\n".join(
        f"Article {k} says that {k} cells divide into {2*k} cells." for k in range(400)))
    (workplace/"few.txt").write_text("\n\n".join(f"{k} apples are {k} apples." for k in range(40)))
    command = (f"run lm --generic {workplace}/texts.txt --specific {workplace}/few.txt --quiet "
               "--batch-size 4 --downsampling 4 --length 32 --steps 4 --log-every 2 "
               "--evaluate-every 4 --checkpoint-every 2 --weighting-width 8 "
               "--weighting-embedding 8 --no-tensorboard --fine-tune-steps 2 --fine-tune-every 1 "
               "--fine-tune-rates 1 --fine-tune-learning-rate .01 --method dds "
               f"--from {published} --lora-rank 2 --out out").split()
    assert main(command) == 0
    whole = json.loads(Path("out/result.json").read_text())
    assert stored_leaves(Path("out", "fine_tuned")) == 2*7  # seven layers have two parts each
    again = (["score", "out"], ["report", "out"], ["export", "out", "--out", "scorer"],
             ["weights", "out", "--out", "tuned"],
             ["weights", "out", "--stage", "trained", "--merge", "--out", "merged"])
    for words in again:
        assert main(words) == 0, words
    other_weights(published)
    capsys.readouterr()
    for words in (command, *again[:2], *again[3:]):
        status = main(words)
        said = capsys.readouterr().err
        assert status == 2 and said.count("\n") == 1 and "it holds other weights now" in said, words
    other_weights(published)
    Path("out/result.json").unlink()
    assert main(command) == 0
    found = json.loads(Path("out/result.json").read_text())
    assert found["specific_loss"] == whole["specific_loss"]


@pytest.mark.slow
def test_a_check_looks_at_what_would_be_trained(published, workplace):
    (workplace/"texts.txt").write_text("\n\n".join(
        f"Article {k} says that {k} cells divide into {2*k} cells." for k in range(400)))
    (workplace/"few.txt").write_text("\n\n".join(f"{k} apples are {k} apples." for k in range(60)))
    words = (f"check lm --generic {workplace}/texts.txt --specific {workplace}/few.txt --quiet "
             f"--from {published} --lora-rank 2 --batch-size 4 --length 32 --steps 40 "
             "--check-batches 16 --weighting-width 8 --weighting-embedding 8 --no-tensorboard "
             f"--evaluate-examples 16 --out {workplace}/checked")
    assert main(words.split()) == 0
    found = json.loads((workplace/"checked"/"check.json").read_text())
    for name in ("agreement", "persistence", "contrast", "learnability"):
        assert found[name], name
    assert found["cost"]["share"] > 0


DEVICES = """
import json, sys
import jax, numpy as np
from adaptive_dist.config.files import write_json
from adaptive_dist.config.settings import change, nested_settings
from adaptive_dist.experiments.lm import LM
from adaptive_dist.models.pretrained import open_pretrained, read_params
from adaptive_dist.train.experiment import first_batches, start, step_of
config = change(LM.presets["reduced"], **json.loads(sys.argv[1]))
losses = {}
for mesh in ("data=1", "data=2,fsdp=2", "fsdp=4"):
    experiment = LM.build_synthetic(change(config, mesh=mesh))
    state = start(0, experiment)
    parts = {len(x.sharding.device_set) for x in jax.tree.leaves(state)}
    shards = [x.addressable_shards[0].data.size < x.size for x in jax.tree.leaves(state.params)]
    state, info = jax.jit(step_of(experiment))(state, *first_batches(experiment))
    losses[mesh] = [float(info.loss), max(parts), any(shards)]
print(json.dumps(losses))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 4])
def test_devices_divide_what_they_load(tmp_path, rank):
    values = {**QWEN, "hidden_size": 64, "intermediate_size": 96}
    family = family_of(values)
    module = family.module(family.config(values))
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    save_pretrained(tmp_path/"published", values, params)
    settings = {**TINY, "from_": str(tmp_path/"published"), "lora_rank": rank, "method": "soba"}
    flags = f"--xla_force_host_platform_device_count=4 {os.environ.get('XLA_FLAGS', '')}"
    done = subprocess.run([sys.executable, "-c", DEVICES, json.dumps(settings)], check=False,
                          capture_output=True, text=True, env={**os.environ, "XLA_FLAGS": flags})
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose([found[m][0] for m in found], found["data=1"][0], rtol=1e-5)
    assert [found[m][1:] for m in found] == [[1, False], [4, True], [4, True]]


def test_what_is_loaded_is_what_was_saved(published):
    found = open_pretrained(str(published))
    experiment = LM.build_synthetic(config_of(published))
    state = start(0, experiment)
    kept = read_params(found, state.params)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state.params, kept))
