"""Machine translation from the command line.

Losses, BLEU that sacreBLEU's own command confirms, translations by a run's folder.
"""
import csv
import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from own_texts import SHELL, finish, folder, start

from adaptive_dist.cli import main
from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.data.table import Rows
from adaptive_dist.experiments import mt
from adaptive_dist.experiments.mt import MT
from adaptive_dist.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, pair_loss
from adaptive_dist.train.experiment import begin, first_batches, step_of

pytestmark = pytest.mark.usefixtures("folder")
__all__ = ["folder"]  # the fixture: a working folder in which runs compile quickly
TINY = """
    --layers 1 --width 16 --mlp-width 32 --heads 2 --length 16 --batch-size 4 --downsampling 2
    --weighting-width 8 --vocabulary 320 --steps 4 --log-every 2 --evaluate-every 4
    --evaluate-examples 8 --fine-tune-steps 2 --fine-tune-every 1 --fine-tune-rates 1 --beam 2
    --translated 6 --held-out 8 --generic generic.tsv --specific special.en,special.de
    --no-tensorboard --quiet
""".split()  # noqa: SIM905


def write_pairs():
    "generic.tsv and the two files of special, all made of few words."
    rng = random.Random(0)
    words = ["tree", "house", "river", "green", "old"]

    def text():
        return " ".join(rng.choices(words, k=rng.randint(2, 5)))

    pairs = "".join(f"{text()} {i}\t{text()} {i}\n" for i in range(200))
    Path("generic.tsv").write_text(pairs)
    Path("special.en").write_text("".join(f"{text()}, {i}\n" for i in range(30)))
    Path("special.de").write_text("".join(f"{text()}: {i}\n" for i in range(30)))


def translate(text, *arguments):
    "Exit status, output and errors of `adaptive-dist translate`."
    done = subprocess.run([*SHELL, "translate", *arguments], input=text, capture_output=True,
                          timeout=180)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def by_sacrebleu(folder, references, hypotheses):
    "What sacreBLEU's own command says of two files, BLEU first, then chrF."
    command = [sys.executable, "-m", "sacrebleu", references, "-i", hypotheses,
               "-m", "bleu", "chrf", "-w", "9"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def compared():
    "Output of a comparison of uniform and SOBA, the rows of its table, and SOBA's folder."
    write_pairs()
    status, printed, err = finish(start(
        "compare", "mt", "--methods", "uniform,soba", "--seeds", "1", "--jobs", "1",
        "--targets", "", *TINY, "--out", "out"))
    assert (status, err) == (0, ""), err
    with Path("out/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return printed, rows, Path("out")/rows[1]["run"]


def check_measures(printed, row, out):
    "BLEU and chrF stand in every table, and are those of sacreBLEU's own command."
    result = json.loads((out/"result.json").read_text())
    assert result["bleu_signature"].startswith("nrefs:1")
    assert result["specific_loss"] > result["fine_tuned_specific_loss"] > 0
    for name in ("bleu", "chrf"):
        assert f" {name} | {name} after fine-tuning |" in printed
    for stage in ("", "fine_tuned_"):
        said = by_sacrebleu(out, "references.txt", f"{stage}hypotheses.txt")
        for theirs, name in zip(said, ("bleu", "chrf"), strict=True):
            ours = result[f"{stage}{name}"]
            assert float(row[f"measure/{stage}{name}"]) == ours
            assert theirs["score"] == pytest.approx(ours, abs=1e-8)
            signature = result[f"{stage}{name}_signature"]
            assert theirs["signature"].split("|")[:3] == signature.split("|")[:3]


def check_texts(out, capsys):
    "What was picked, as text; pairs that give another vocabulary cannot be scored."
    assert main(["report", str(out), "--out", "picked.html"]) == 0
    assert " → " in Path("picked.html").read_text(encoding="utf-8")
    assert main(["score", str(out), "--out", "scores.parquet", "--text"]) == 0
    scored = pq.read_table("scores.parquet").to_pylist()
    generic = Path("generic.tsv").read_text()
    assert 190 < len(scored) <= 200
    assert all(row["text"].split(" → ")[0] + "\t" in generic for row in scored)

    others = "".join(f"cloud rain wind {i}\twave salt tide {i}\n" for i in range(200))
    Path("other.tsv").write_text(others)
    assert main(["score", str(out), "other.tsv", "--out", "other.parquet"]) == 2
    assert not Path("other.parquet").exists()
    assert "vocabulary.json is not what these data give" in capsys.readouterr().err


def check_translations(out):
    "The folder is enough to translate with: neither data nor cache are there any more."
    for name in ("generic.tsv", "special.en"):
        Path(name).unlink()
    Path("cache").rename("elsewhere")
    sources = (out/"sources.txt").read_bytes()
    for stage, name in {"trained": "hypotheses.txt",
                        "fine_tuned": "fine_tuned_hypotheses.txt"}.items():
        status, said, err = translate(sources, str(out), "--stage", stage)
        assert (status, err) == (0, "") and said == (out/name).read_text()

    status, said, err = translate(b"tree\n\n" + b"house "*40 + b"\n", str(out))
    assert status == 0 and len(said.splitlines()) == 3 and said.splitlines()[1] == ""
    assert err == ("adaptive-dist: 1 of 3 lines were longer than the model's 16 subwords, "
                   "and cut\n")
    status, said, err = translate("Grüße\n".encode("latin-1"), str(out))
    assert status == 2 and err.startswith("adaptive-dist: the input is not UTF-8")


@pytest.mark.slow
def test_a_comparison_its_scores_and_translations_with_its_runs(compared, capsys):
    printed, rows, out = compared
    check_measures(printed, rows[1], out)
    check_texts(out, capsys)
    check_translations(out)


@pytest.mark.slow
@pytest.mark.parametrize("method", [
    "sama", "mates", "greats", "greats --judge-width 8", "online_cds --judge-width 8",
    "cds --cds-width 8 --cds-steps 3 --cds-fine-tune-steps 2"])
def test_methods_that_look_at_losses_or_gradients_run_on_pairs(method):
    write_pairs()
    quick = ["--fine-tune-steps", "0", "--translated", "0", "--out", "out"]
    assert main(["run", "mt", *TINY, "--method", *method.split(), *quick]) == 0
    assert 0 < json.loads(Path("out/result.json").read_text())["specific_loss"] < 10


def test_folders_that_cannot_translate(tmp_path):
    config = tmp_path/"config.json"
    with pytest.raises(UsageError, match="holds no run"):
        mt.translator(tmp_path)
    config.write_text('{"task": "lm"}')
    with pytest.raises(UsageError, match="holds a run of lm, not of mt"):
        mt.translator(tmp_path)
    config.write_text('{"task": "mt"}')
    with pytest.raises(UsageError, match="holds no fine-tuned model"):
        mt.translator(tmp_path, "fine_tuned")


@pytest.mark.slow
def test_a_guard_of_translation():
    write_pairs()
    command = ["run", "mt", *TINY, "--method", "anograd", "--keep-general", ".5", "--out", "run"]
    assert main(command) == 0
    found = json.loads(Path("run/result.json").read_text())
    assert math.isfinite(found["specific_loss"]) and math.isfinite(found["generic_loss"])
    record = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])
    assert math.isfinite(record["correlation"])


@pytest.mark.parametrize(("flags", "essential"), [
    (["--heads", "3"], "--heads 3 must divide"),
    (["--vocabulary", "100"], "--vocabulary 100: must be at least 300"),
    (["--batch-size", "500"], "fewer than a batch"),
    (["--specific", "special.en,generic.tsv"], "lines and"),
], ids=lambda value: value[0].strip("-") if isinstance(value, list) else "")
def test_settings_that_cannot_be(flags, essential, capsys):
    write_pairs()
    assert main(["run", "mt", *TINY, *flags, "--out", "run"]) == 2
    err = capsys.readouterr().err
    assert essential in err and len(err.splitlines()) == 1
    assert not Path("run").exists()


def random_rows(seed, count, length=8, size=30):
    "Rows of subwords that end with 1, and padding after it."
    rng = np.random.default_rng(seed)
    found, sizes = rng.integers(2, size, (count, length)), rng.integers(0, length, count)
    found[np.arange(length) > sizes[:, None]] = 0
    found[np.arange(count), sizes] = 1
    return found.astype(np.uint16)


def test_every_held_out_subword_counts_the_same():
    model = EncoderDecoder(EncoderDecoderConfig(
        layers=1, width=16, mlp_width=32, heads=2, length=8, dropout=0., dtype="float32"), 30)
    source, target = random_rows(0, 21), random_rows(1, 21)
    params = jax.jit(model.init)(jax.random.key(0), jnp.asarray(source), jnp.asarray(target))
    each = jax.jit(pair_loss, static_argnums=0)(model, params, source, target)
    sizes = (target != 0).sum(1)
    found = mt.subword_loss(model, batch=8)(params, Rows(source=source, target=target))
    assert found == pytest.approx(float((each*sizes).sum()/sizes.sum()), rel=1e-5)
    assert found != pytest.approx(float(each.mean()), rel=1e-3)


@pytest.mark.parametrize("kind", ["bag_of_tokens", "causal_cnn"])
@pytest.mark.parametrize("which", ["source", "target", "both"])
def test_weighting_networks_see_the_sides_they_are_told_to(kind, which):
    weighting = mt.pair_weighting(mt.PairWeightingConfig(
        weighting_network=kind, weighting_sides=which, weighting_embedding=8,
        weighting_width=8), 30)
    batch = {"source": jnp.asarray(random_rows(0, 6)), "target": jnp.asarray(random_rows(1, 6))}
    alpha = weighting.init(jax.random.key(0), batch) | {"out": jnp.arange(8.)}
    score = jax.jit(weighting.score)
    plain = score(alpha, batch)
    for side in ("source", "target"):
        changed = score(alpha, batch | {side: jnp.asarray(random_rows(7, 6))})
        assert np.allclose(changed, plain) == (which not in (side, "both"))
    swapped = score(alpha, {"source": batch["target"], "target": batch["source"]})
    assert not np.allclose(swapped, plain)


@pytest.mark.slow
def test_the_step_of_every_preset_can_be_traced():
    "At full size: shapes and types of a whole SOBA step, without computing it."
    for preset in MT.presets.values():
        experiment = mt.synthetic_mt(change(replace(preset, method="soba"), cache=None))
        state = jax.eval_shape(lambda experiment=experiment: begin(0, experiment)[0])
        after, info = jax.eval_shape(step_of(experiment), state, *first_batches(experiment))
        assert info.picked.shape == (preset.batch_size,)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


def test_the_papers_preset_is_the_base_transformer_with_32000_subwords():
    components = mt.mt_components(MT.presets["paper"])
    params = jax.eval_shape(components.init_params, jax.random.key(0))
    assert 60e6 < sum(x.size for x in jax.tree.leaves(params)) < 62e6


def test_scores_are_those_of_sacrebleus_command(tmp_path):
    rng = random.Random(0)
    words = ["der", "Baum,", "ein", "Haus", "(grün)", "und", "3", "alte", "Flüsse", "%s"]
    references = [" ".join(rng.choices(words, k=rng.randint(4, 12))) for _ in range(50)]
    hypotheses = [" ".join(word for word in text.split() if rng.random() > .15)
                  for text in references]
    for name, some in {"r": references, "h": hypotheses}.items():
        (tmp_path/name).write_text("".join(f"{text}\n" for text in some))
    said = [s["score"] for s in by_sacrebleu(tmp_path, "r", "h")]
    found = mt.scores(hypotheses, references)
    assert said == pytest.approx([found["bleu"], found["chrf"]], abs=1e-8)
    assert 20 < found["bleu"] < 90 and 20 < found["chrf"] < 95
