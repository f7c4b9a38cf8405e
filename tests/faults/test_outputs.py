"Outputs that are inputs, pipes for files, scores and scorers that are none: one line, no loss."
import io
import json
import os
import shutil
import tarfile
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
from adaptive_dist.data.pairs import PairsConfig, distinct_pairs, pairs
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


@pytest.mark.parametrize("words", [
    small_run("out", "--generic", ""), small_run("out", "--specific", ""), small_run(""),
    small_run("out", "--specific", "s.txt=1,"), small_run("out", "--cache="),
    small_run("out", "--scores=", method="scored"), ["bench", "--rounds", "0", "--out", ""],
    ["score", "shortest", "", "--out", "s.parquet"], ["report", ""],
    ["select", "g.jsonl", "--method", "", "--share", ".1"]])
def test_an_empty_value_is_none(words, capsys):
    "What a shell makes of a variable that is not set is neither a default nor the working folder."
    before = contents()
    refused(words, capsys)
    assert contents() == before and sorted(os.listdir()) == ["g.jsonl", "s.txt"]


def test_only_a_file_is_replaced(capsys):
    "Neither a folder nor a pipe, or a device, for which root might."
    os.mkfifo("pipe.parquet")
    Path("folder.parquet").mkdir()
    for out, what in (("pipe.parquet", "a pipe or a device"), ("folder.parquet", "a folder")):
        for command in (f"{PICK} shortest", "score shortest g.jsonl", "bench --rounds 0"):
            refused(f"{command} --out {out}", capsys, f"--out {out}", what)
    refused("bench --methods none --out new/bench.json", capsys, "none")
    assert Path("pipe.parquet").is_fifo() and not list(Path("folder.parquet").iterdir())
    assert len(os.listdir()) == 4


@pytest.mark.parametrize("shares, essential", [
    ("A=.3,B=.7", "--mixture A: no such label"), ("cook=.2,cook=.5", "cook comes twice"),
    ("cook=nan", "is not LABEL=SHARE"), ("cook=.9,wx=.9", "sum to 1.8")])
def test_what_is_refused_leaves_no_run(shares, essential, capsys):
    "Else the mended command would be refused for what the first one has left."
    for out in ("out", "deep/out"):
        words = small_run(out, "--scorer", "mixture", "--mixture", shares, method="scored")
        refused(words, capsys, essential)
    assert not Path("out").exists() and not Path("deep").exists()


def test_scores_beyond_single_precision_are_not_the_lowest(capsys):
    for name, score in (("inf", np.inf), ("large", 1e300)):
        pq.write_table(pa.table({"id": IDS, "score": [score]*180}), f"{name}.parquet")
        refused(f"{PICK} {name}.parquet --out p.parquet", capsys, f"{name}.parquet", "beyond")
        words = small_run("out", "--scores", f"{name}.parquet", method="scored")
        refused(words, capsys, f"{name}.parquet", "beyond single precision")
    assert not Path("p.parquet.work").exists() and not Path("out").exists()


def test_records_without_a_score_are_counted(capsys):
    pq.write_table(pa.table({"id": IDS[:140], "score": [1.]*140}), "scores.parquet")
    assert run(f"{PICK} scores.parquet --out p.parquet") == 0
    assert "14 of 140 records (10.00%); 40 left out" in capsys.readouterr().out
    assert "40 without a score" in Path("p.parquet.html").read_text()


@pytest.mark.slow
def test_rows_without_a_score_are_told(capsys):
    pq.write_table(pa.table({"id": IDS[:140], "score": [1.]*140}), "scores.parquet")
    assert main(small_run("out", "--scores", "scores.parquet", method="scored")) == 0
    assert "scores.parquet has no score of " in capsys.readouterr().err


def test_flags_of_adapters_without_adapters_are_refused(capsys):
    refused(small_run("out", "--lora-targets", "q_proj"), capsys, "--lora-targets", "--lora-rank")


def test_a_target_that_is_another_is_named(capsys):
    shutil.copy("s.txt", "t.txt")
    refused(small_run("out", "--specific", "s.txt=1,t.txt=1"), capsys, "--specific t.txt",
            "24 in another target")


@pytest.mark.slow
def test_no_model_is_written_over_the_one_it_began_with(capsys):
    assert main(small_run("base")) == 0 and main(["weights", "base", "--out", "model"]) == 0
    assert main(small_run("out", "--from", "model", "--lora-rank", "2")) == 0
    before = contents()
    refused("weights out --out ./model --merge", capsys, "the run began with")
    assert contents() == before


def test_captions_that_are_no_text_are_counted():
    "A picture's caption is what lies beside it, and not the folder's name where that says nothing."
    Path("side").mkdir()
    for k, said in enumerate(("\ufeffa cat".encode(), "ein Bär".encode("utf-16"),
                              "ein Bär".encode("latin-1"), b" \n")):
        Image.fromarray(np.full((8, 8, 3), 9*k, np.uint8)).save(f"side/{k}.png")
        Path(f"side/{k}.txt").write_bytes(said)
    account = Account("generic")
    found = [*decoded(examples("side", account=account), 8, 1, account)]
    assert [example.caption for example, _ in found] == ["a cat"]
    assert account.counts == {"caption is not UTF-8": 2, "no caption": 1}


def test_further_pictures_of_a_name_are_counted():
    with tarfile.open("a.tar", "w") as shard:
        for name in ("0.png", "0.jpg", "0.txt", "1.png", "1.png", "1.txt"):
            raw = io.BytesIO()
            Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(raw, "PNG")
            held = b"a cat" if name.endswith("txt") else raw.getvalue()
            about = tarfile.TarInfo(name)
            about.size = len(held)
            shard.addfile(about, io.BytesIO(held))
    account = Account("generic")
    assert len([*examples("a.tar", account=account)]) == 2
    assert account.counts == {"another picture of its name is taken": 2}


def test_a_line_of_names_says_what_the_cells_of_pairs_hold():
    Path("named.tsv").write_text("id\tde\ten\n" + "".join(f"{k}\teins\tone\n" for k in range(12)))
    account = Account("generic", True)
    found = [*pairs("named.tsv", PairsConfig(), account=account)]
    assert {pair[:2] for pair in found} == {("one", "eins")} and found[3].id == "3"
    Path("bad.tsv").write_text("de\ten\neins\tone\neins\n")
    assert len([*pairs("bad.tsv", PairsConfig(), account=account)]) == 1
    assert account.counts == {"cannot be read": 1}


def test_other_translations_of_a_specific_sentence_are_counted():
    Path("twice.tsv").write_text("one\teins\none\teine\ntwo\tzwei\n")
    account = Account("specific")
    found = distinct_pairs("twice.tsv", PairsConfig(), account)
    assert sorted(pair.target for pair in found) == ["eine", "zwei"]
    assert account.counts == {"another translation comes later": 1}
