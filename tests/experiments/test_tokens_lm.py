"""A run on tokens of a tokenizer, and all that is done with it afterwards."""
import json
import shlex
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from adaptive_dist.cli import main
from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.corpus.run_scorer import export_network
from adaptive_dist.data.table import Rows
from adaptive_dist.data.text import stored_tokens
from adaptive_dist.experiments.lm import LM, byte_loss
from adaptive_dist.experiments.registry import load_task
from adaptive_dist.models.byte_transformer import ByteTransformer
from adaptive_dist.report.export import export_scores
from adaptive_dist.report.finished import open_scores, read_run
from adaptive_dist.report.selection import write_selection_report
from adaptive_dist.scorers.exported import load_scorer
from adaptive_dist.train.run import run

def lm(config: Any, out: Path) -> dict[str, Any]:
    return run("lm", config, LM.build, out, progress=False)


@pytest.mark.parametrize("reads", [pytest.param("tokens", marks=pytest.mark.slow), "bytes"])
def test_components_of_tokens(tiny: Any, reads: str) -> None:
    "Losses are summed over tokens and divided by bytes; networks score tokens or their bytes."
    config = change(tiny, vocabulary=280, method="dds", weighting_reads=reads)
    experiment = LM.build(config)
    data = experiment.data
    tokens = stored_tokens(data)
    assert tokens.size <= 281 and data.generic["tokens"].max() < tokens.size
    params = experiment.init_params(jax.random.key(0))
    rows = data.specific_test
    model = ByteTransformer(config.model, tokens.size)
    count = (rows["tokens"] != 0).sum()
    each = np.array(experiment.task.generic(params, jax.device_put(rows.columns), None))
    by_hand = (each*(rows["tokens"] != 0).sum(1)).sum()/rows["bytes"].sum()
    assert byte_loss(model, tokens=tokens)(params, rows) == pytest.approx(by_hand, rel=1e-5)
    found = experiment.test(params)
    assert found["specific_loss"] == pytest.approx(by_hand, rel=1e-5)
    ratio = rows["bytes"].sum()/count
    assert found["specific_loss_per_token"] == pytest.approx(by_hand*ratio, rel=1e-5)
    alpha = experiment.weighting.init(jax.random.key(0), jax.device_put(rows.columns))
    assert len(alpha["embedding"]) == (256 if reads == "bytes" else tokens.size)
    text = experiment.show({"tokens": rows["tokens"][0]})
    assert "law" in text or "court" in text


def test_bytes_and_their_tokens_are_read_alike(tiny: Any) -> None:
    "A network over the bytes of tokens scores a text as one over bytes does."
    config = change(tiny, vocabulary=300, weighting_reads="bytes", length=128)
    network = LM.build(config).weighting
    plain = LM.build(change(config, vocabulary=None, length=512)).weighting
    words = jax.device_put(LM.build(config).data.specific_train[:4].columns)
    alpha = network.init(jax.random.key(0), words)
    alpha |= {"out": jax.random.normal(jax.random.key(1), alpha["out"].shape)}
    tokens = stored_tokens(LM.build(config).data)
    raw = [tokens.decode(row).encode().ljust(512, b"\0") for row in np.array(words["tokens"])]
    batch = {"tokens": jnp.array([list(text) for text in raw], jnp.uint8)}
    assert np.allclose(network.score(alpha, words), plain.score(alpha, batch), atol=1e-5)


@pytest.mark.slow
def test_a_tokenizer_that_changed_is_refused(tiny: Any, tmp_path: Path) -> None:
    stored_tokens(LM.build(change(tiny, vocabulary=280)).data).save(tmp_path/"tokenizer.json")
    config = change(tiny, tokenizer=str(tmp_path/"tokenizer.json"), method="uniform", steps=2)
    out = tmp_path/"out"
    lm(config, out)
    (out/"result.json").unlink()
    with pytest.raises(UsageError, match=r"--tokenizer .*, not None"):
        lm(change(config, tokenizer=None, vocabulary=290), out)
    stored_tokens(LM.build(change(tiny, vocabulary=290)).data).save(tmp_path/"tokenizer.json")
    with pytest.raises(UsageError, match=r"--tokenizer .* has changed since step 2") as e:
        lm(config, out)
    assert "\n" not in str(e.value)


def test_what_does_not_fit_is_one_line(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out one of them"):
        LM.build(change(tiny, vocabulary=300, tokenizer="x.json"))
    with pytest.raises(UsageError, match=r"--vocabulary 20: must be at least 257"):
        change(tiny, vocabulary=20)
    with pytest.raises(UsageError, match=r"--tokenizer .*gone.json: no such file"):
        LM.build(change(tiny, tokenizer=str(tmp_path/"gone.json")))


@pytest.mark.slow
def test_everything_downstream_of_tokens(tiny: Any, tmp_path: Path) -> None:
    "A run with a made vocabulary is resumed, scored on its own and on other text, and reported."
    out = tmp_path/"out"
    config = change(tiny, vocabulary=280, method="dds", fine_tune_steps=4, fine_tune_every=2,
                    checkpoint_every=2)
    result = lm(config, out)
    for name in ("specific_loss", "generic_loss", "fine_tuned_specific_loss"):
        assert result[f"{name}_per_token"] > result[name] > 0
    kept = (out/"tokenizer.json").read_text()
    assert kept.strip() == stored_tokens(LM.build(config).data).tokenizer.to_str().strip()
    assert export_scores(out, load_task, tmp_path/"own.parquet", text=True)
    (tmp_path/"other.txt").write_text("\n\n".join(f"the {k}th salt wave" for k in range(30)))
    other = str(tmp_path/"other.txt")
    assert export_scores(out, load_task, tmp_path/"other.parquet", other, text=True)
    texts = pq.read_table(tmp_path/"other.parquet")["text"].to_pylist()
    assert any("7th salt wave" in text for text in texts)
    write_selection_report([out], load_task, tmp_path/"page.html", "report")
    assert "wave" in (tmp_path/"page.html").read_text()
    lm(change(tiny, method="dds"), tmp_path/"bytes")
    with pytest.raises(UsageError, match="reads other tokens"):
        write_selection_report([out, tmp_path/"bytes"], load_task, tmp_path/"both.html", "report")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["scored", "online_cds", "cds", "mixing", "soba"])
def test_methods_on_tokens(tiny: Any, tmp_path: Path, method: str) -> None:
    further = {"cds": dict(cds_steps=4, cds_fine_tune_steps=2, cds_examples=64),
          "online_cds": dict(judge_width=8, tune_steps=2, renew_every=4)}.get(method, {})
    config = change(tiny, vocabulary=280, method=method, **further)
    assert lm(config, tmp_path/"out")["specific_loss_per_token"] > 0
    scored = open_scores(read_run(tmp_path/"out"), LM)
    assert scored is None or np.isfinite(scored.score(LM.build(config).data.generic[:8])).all()


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["tokens", "bytes"])
def test_a_network_of_tokens_travels(tiny: Any, tmp_path: Path, reads: str) -> None:
    "An exported network scores a text as its run does: a text of one piece here."
    config = change(tiny, vocabulary=300, length=128, method="dds", weighting_reads=reads)
    lm(config, tmp_path/"out")
    export_network(tmp_path/"out", tmp_path/"scorer")
    assert (tmp_path/"scorer/tokenizer.json").exists() == (reads == "tokens")
    text = (tmp_path/"law.txt").read_text().split("\n\n")[3][:80]
    tokens = stored_tokens(LM.build(config).data)
    columns = tokens.encode(text, 128)
    assert len(columns["tokens"]) == 1
    rows = Rows(**columns, label=np.zeros(1, np.int32), document=np.zeros(1, np.int32))
    scored = open_scores(read_run(tmp_path/"out"), LM)
    assert scored is not None
    assert load_scorer(tmp_path/"scorer")([text]) == pytest.approx(scored.score(rows), abs=1e-5)


@pytest.mark.slow
def test_commands_take_a_tokenizer(tiny: Any, workplace: Path) -> None:
    "compare, run and bench with flags; losses of tokens stand in the table."
    shape = shlex.split(
        "--layers 1 --width 16 --mlp-width 32 --heads 2 --length 32 --batch-size 4 "
        "--downsampling 4 --weighting-width 8 --weighting-embedding 8 --no-tensorboard "
        "--evaluate-examples 16 --generic sea.txt --specific law.txt --generic-test .2 "
        "--log-every 2 --evaluate-every 4 --steps 4 --fine-tune-steps 0")
    grid = shlex.split("--methods uniform --seeds 1 --targets= --out compared --vocabulary 280")
    assert main(["compare", "lm", *shape, *grid, "--quiet"]) == 0
    assert "measure/specific_loss_per_token" in Path("compared/results.csv").read_text()
    found = next(Path("compared").glob("*/*/tokenizer.json"))
    own = ["--method", "uniform", "--tokenizer", str(found.parent), "--out", "own", "--quiet"]
    assert main(["run", "lm", *shape, *own]) == 0
    costs = ["--methods", "uniform", "--rounds", "0", "--tokenizer", str(found)]
    assert main(["bench", "lm", *shape, *costs]) == 0
    assert json.loads(Path("own/config.json").read_text())["fingerprints"]["--tokenizer"]
