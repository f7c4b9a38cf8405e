"Outputs that are inputs, pipes for files, scores and scorers that are none: one line, no loss."
import json
import os
import shutil
from decimal import Decimal
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fault_texts import check_one_line, small_run, texts
from PIL import Image

from adaptive_dist.cli import main
from adaptive_dist.data.account import Account
from adaptive_dist.data.images import decoded, examples
from adaptive_dist.method.weighting import bag_of_tokens
from adaptive_dist.scorers.exported import TextNetwork, load_scorer, write_arrays, write_network

pytestmark = pytest.mark.usefixtures("texts")
__all__ = ["texts"]
IDS = [f"g.jsonl:{k}" for k in range(1, 181)]
PICK = "select g.jsonl --share .1 --quiet --method"


def run(words):
    "The status of a command, as a line or as words."
    return main(words.split() if isinstance(words, str) else words)


def refused(words, capsys, *essentials):
    "A command, as a line or as words, ends with one line."
    status = run(words)
    check_one_line(status, capsys.readouterr().err, *essentials)


@pytest.fixture
def corpus():
    "A folder with the rows, and two texts that are translations."
    Path("corpus/deep").mkdir(parents=True)
    shutil.copy("g.jsonl", "corpus/deep/a.jsonl")
    for name in ("a.en", "a.de"):
        shutil.copy("s.txt", name)


def contents():
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", [
    "select g.jsonl --method shortest --share .1 --out g.jsonl",
    "select g.jsonl --method ngram --specific s.jsonl --share .1 --out s.jsonl",
    "select ./g.jsonl --method shortest --share .1 --out corpus/../g.jsonl",
    "select corpus --method shortest --share .1 --out corpus/p.parquet",
    "select corpus/*/*.jsonl --method shortest --share .1 --out corpus/deep/a.jsonl",
    "select a.en,a.de --kind pairs --method shortest --share .1 --out a.de.jsonl/../a.de",
    "score shortest g.jsonl --out g.jsonl", "score shortest corpus --out corpus/deep/s.parquet",
    "score shortest corpus --out link/s.parquet",
    "select g.jsonl --method scores.parquet --share .1 --out scores.parquet"])
def test_no_output_is_an_input(words, corpus, capsys):
    "Neither is lost, nor does what is written become data."
    Path("s.jsonl").write_text('{"text": "one sea"}\n')
    Path("link").symlink_to("corpus/deep", target_is_directory=True)
    Path("a.de.jsonl").mkdir()
    pq.write_table(pa.table({"id": IDS, "score": [1.]*180}), "scores.parquet")
    before = contents()
    refused(words, capsys, "--out" if "a.de" not in words else "")
    assert contents() == before


def test_no_run_and_no_cache_lies_in_its_data(corpus, capsys):
    before = contents()
    for out in ("corpus", "corpus/run", "s.txt"):
        refused(small_run(out, generic="corpus"), capsys, f"--out {out} is, or lies in, what")
    for cache in ("corpus", "corpus/deep/cache", "g.jsonl"):
        words = small_run("out", "--cache", cache, generic=cache.partition("/")[0])
        refused(words, capsys, f"--cache {cache} is, or lies in, what is read")
    assert contents() == before


def test_a_pipe_is_no_file(capsys):
    "What a shell writes as `<(...)` can be read only once."
    os.mkfifo("pipe.jsonl")
    said = "is a pipe or a device"
    for words in (small_run("out", generic="pipe.jsonl"), small_run("out", generic="/dev/zero"),
                  [*small_run("out"), "--specific", "pipe.jsonl"],
                  "score shortest pipe.jsonl --out s.parquet"):
        refused(words, capsys, said)
    refused(f"{PICK} pipe.jsonl --out p.parquet", capsys, "no scorer, and no run")
    assert not Path("out").exists() and not Path("p.parquet.work").exists()


def test_a_pipe_among_pairs_and_pictures_is_one_line(capsys):
    for name in ("pipe.en", "pipe.de"):
        os.mkfifo(name)
    pairs = ["--generic", "pipe.en,pipe.de", "--specific", "pipe.en,pipe.de", "--out", "out"]
    refused(["run", "mt", *pairs], capsys, "pipe.en is a pipe or a device")
    Path("classes/one").mkdir(parents=True)
    for k in range(4):
        Image.fromarray(np.full((8, 8, 3), 9*k, np.uint8)).save(f"classes/one/{k}.png")
    os.mkfifo("classes/one/4.png")
    Path("classes/one/0.txt").mkdir()
    os.mkfifo("classes/one/1.txt")
    Path("table").mkdir()
    os.mkfifo("table/pipe.png")
    Path("table/a.csv").write_text("image,caption\n../classes/one/0.png,one\npipe.png,two\n"
                                   "/dev/zero,three\n")
    account = Account("generic", True)
    found = [*decoded(examples("table", account=account), 8, 1, account)]
    assert [example.caption for example, _ in found] == ["one"]
    assert account.counts["does not decode"] == 2
    assert len([*examples("classes")]) == 4


@pytest.mark.parametrize("scores, essential", [
    (pa.array([np.nan]*180), "its scores finite"), ([[1.]]*180, "cannot be read"),
    (["high"]*180, "cannot be read"), ([None]*180, "its scores finite")])
def test_scores_that_are_no_numbers(scores, essential, capsys):
    pq.write_table(pa.table({"id": IDS, "score": scores}), "scores.parquet")
    refused(f"{PICK} scores.parquet --out p.parquet", capsys, "scores.parquet", essential)


def test_scores_of_nothing_here(capsys):
    none = pa.table({"id": pa.array([], "string"), "score": pa.array([], "f8")})
    others = pa.table({"id": range(180), "score": [1.]*180})
    for name, table, said in (("none", none, "has no rows"), ("others", others, "are the ids in")):
        pq.write_table(table, f"{name}.parquet")
        refused(f"{PICK} {name}.parquet --out p-{name}.parquet", capsys, f"{name}.parquet", said)


def test_scores_of_any_kind_of_number():
    best = sorted(range(180))[-18:]
    for k, kind in enumerate((np.float16, Decimal)):
        scores = [kind(i) for i in range(180)]
        pq.write_table(pa.table({"id": IDS, "score": scores}), f"{k}.parquet")
        assert run(f"{PICK} {k}.parquet --out p{k}.parquet") == 0
        found = pq.read_table(f"p{k}.parquet")["id"].to_pylist()
        assert found == [IDS[i] for i in best]


def change_about(**values):
    path = Path("scorer/scorer.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


BROKEN = {
    "weights that are no numbers": lambda weights: write_arrays(
        Path("scorer/weights.safetensors"), {name: x*np.nan for name, x in weights.items()}),
    "weights of another shape": lambda weights: write_arrays(
        Path("scorer/weights.safetensors"), {name: x.ravel()[:3] for name, x in weights.items()}),
    "no weights": lambda weights: write_arrays(Path("scorer/weights.safetensors"), {}),
    "no length": lambda weights: change_about(encoding={"kind": "bytes"}),
    "a length below nothing": lambda weights: change_about(
        encoding={"kind": "bytes", "length": -4}),
    "a word for settings": lambda weights: change_about(encoding="bytes"),
    "an unknown network": lambda weights: change_about(network="oracle"),
    "pieces that nobody knows": lambda weights: change_about(pieces="worst"),
    "records that nobody knows": lambda weights: change_about(reads="films"),
    "another version": lambda weights: change_about(format=99)}


@pytest.mark.parametrize("how", BROKEN)
def test_a_scorer_that_is_not_whole(how, capsys):
    network = TextNetwork("bag_of_tokens", {"kind": "bytes", "length": 16})
    example = {"tokens": np.zeros((1, 16), np.uint8)}
    weights = {name: np.asarray(x) for name, x in
               bag_of_tokens(width=4).init(jax.random.key(0), example).items()}
    write_network(Path("scorer"), network, weights, {})
    assert np.isfinite(load_scorer("scorer")(["one"])).all()
    BROKEN[how](weights)
    refused("score scorer g.jsonl --quiet --out s.parquet", capsys, "scorer")
    assert not Path("s.parquet").exists()


def test_a_pass_of_tokens_goes_on_that_was_killed_as_it_began(capsys):
    from adaptive_dist.data.tokens import train_subwords
    train_subwords(Path("s.txt").read_text().split("\n\n"), 280).save(Path("own.json"))
    Path("tokens").mkdir()
    for name in ("lock", "plan.json.part"):
        Path("tokens", name).touch()
    assert run("tokenise g.jsonl --tokenizer own.json --quiet --out tokens") == 0
    Path("other").mkdir()
    Path("other/mine.txt").touch()
    Path("other/lock").touch()
    refused("tokenise g.jsonl --tokenizer own.json --out other", capsys, "(mine.txt)")


def test_nothing_of_a_run_is_replaced(capsys):
    Path("run").mkdir()
    for name in ("config.json", "metrics.jsonl", "result.json"):
        Path("run", name).write_text("{}\n")
    before = contents()
    refused("weights run --out run", capsys, "is the folder of a run")
    refused("report run --out run/result.json", capsys, "ends in .html")
    refused("report run", capsys, "its config.json has no task")
    assert contents() == before
