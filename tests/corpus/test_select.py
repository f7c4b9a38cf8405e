"""Records out of a corpus: whole, joined by their ids, the same however the work was divided."""
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import adaptive_dist as ad
from adaptive_dist.cli import main
from adaptive_dist.config.errors import EXTRA_OF, UsageError
from adaptive_dist.corpus import scoring, select
from adaptive_dist.corpus.bridge import PickedOrder, PickedSource
from adaptive_dist.corpus.choice import SelectConfig, record_keys, threshold
from adaptive_dist.corpus.cluster import ClusterConfig, executor_of
from adaptive_dist.corpus.plan import ScoringConfig
from adaptive_dist.corpus.records import reading_of, record_blocks
from adaptive_dist.corpus.tokenise import TokeniseConfig, tokenise
from adaptive_dist.data.sources import parse_source, parts_of
from adaptive_dist.data.tokens import train_subwords
from adaptive_dist.scorers.exported import load_scorer
from adaptive_dist.scorers.scorer import find_scorer, scorer_names

ENDS = ("", "s", "ed", "ing")
SEA = [word + end for word in ("cloud", "rain", "wind", "salt", "wave", "tide") for end in ENDS]
LAW = [word + end for word in ("court", "judge", "law", "claim", "appeal") for end in ENDS]
QUICK = ("ngram", "dsir", "zip_dictionary", "random", "stratified")  # the others fit for seconds
PROGRAM = "import sys; from adaptive_dist.cli import main; sys.exit(main())"


def texts(rng, count, length=30):
    "Texts of which most are about the sea, and some more or less about law."
    law = rng.random((count, length)) < rng.random(count)[:, None]**4
    words = np.where(law, rng.choice(LAW, (count, length)), rng.choice(SEA, (count, length)))
    return [" ".join(row) for row in words.tolist()]


def write_corpus(folder, count, files):
    "A corpus of Parquet files and of lines of JSON in turn, without ids, and a target beside it."
    rng = np.random.default_rng(0)
    folder.mkdir()
    for k, size in enumerate(np.diff(np.linspace(0, count, files + 1).astype(int)).tolist()):
        rows = {"text": texts(rng, size), "number": rng.integers(2**40, size=size),
                "label": [f"file {k}"]*size}
        table = pa.table({**rows, "number": pa.array(rows["number"], pa.uint64())})
        if k % 2:
            lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
            (folder/f"{k}.jsonl").write_text(lines)
        else:
            pq.write_table(table, folder/f"{k}.parquet")
    target = [" ".join(rng.choice(LAW, 30)) for _ in range(100)]
    folder.with_name("law.txt").write_text("\n\n".join(target))


@pytest.fixture
def corpus(workplace):
    "A working folder with a small corpus."
    write_corpus(Path("corpus"), 90, 3)
    return workplace


def command(text):
    "The status of a command."
    return main([*text.split(), "--quiet"])


def rows_of(path):
    return pq.read_table(path).to_pylist()


def all_rows():
    "The rows of the corpus with the ids that they have."
    found = {}
    for path in sorted(Path("corpus").iterdir()):
        rows = (rows_of(path) if path.suffix == ".parquet" else
                [json.loads(line) for line in path.read_text().splitlines()])
        found |= {f"{path.name}:{k}": row for k, row in enumerate(rows, 1)}
    return found


def test_whole_records_come_out_and_join_back(corpus, capsys):
    assert command("select corpus --specific law.txt --share .1") == 0
    picked, known = rows_of("picked.parquet"), all_rows()
    assert len(picked) == 9 and "9 of 90 records (10.00%)" in capsys.readouterr().out
    for row in picked:
        own = {name: row[name] for name in ("text", "number", "label")}
        assert own == known[row["id"]] and row["weight"] == 1
    assert command("score ngram corpus --specific law.txt --out s.parquet") == 0
    scores = {row["id"]: row["score"] for row in rows_of("s.parquet")}
    assert scores.keys() == known.keys()
    best = sorted(scores.values())[-9:]
    assert np.allclose(sorted(row["score"] for row in picked), best, atol=1e-6)
    page = Path("picked.parquet.html").read_text()
    assert "By label" in page and "file 2" in page and "Wanted least" in page


@pytest.mark.parametrize("ending", ["arrow", "jsonl", "jsonl.zst", "jsonl.gz"])
def test_every_kind_of_file_holds_the_same(corpus, ending):
    config = SelectConfig(scorer="shortest", top=7)
    for name in ("a.parquet", f"b.{ending}"):
        select.select_records("corpus", config, Path(name), progress=False)
    if ending == "arrow":
        found = pa.ipc.open_stream(pa.memory_map("b.arrow")).read_all().to_pylist()
    else:
        raw = pa.input_stream(f"b.{ending}", compression="detect").read()
        found = [json.loads(line) for line in raw.decode().splitlines()]
    assert found == rows_of("a.parquet")


def test_columns_keep_the_types_of_their_file(workplace):
    kinds = {"text": pa.string(), "n": pa.uint8(), "x": pa.float32(), "at": pa.timestamp("ms"),
             "raw": pa.binary(), "tags": pa.list_(pa.int16())}
    rows = [{"text": "a wave", "n": 3, "x": .5, "at": None, "raw": b"\0", "tags": [1, 2]}]
    schema = pa.schema(kinds.items())
    pq.write_table(pa.Table.from_pylist(rows, schema), "some.parquet")
    select.select_records("some.parquet", SelectConfig(scorer="shortest", top=1), Path("p.parquet"),
                          progress=False)
    found = pq.read_table("p.parquet")
    assert found.schema.names == [*kinds, "id", "score", "weight"]
    assert found.select([*kinds]).schema == schema and found.select([*kinds]).to_pylist() == rows


@pytest.mark.parametrize("scorer", [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in scorer_names()
    if name != "mixture" and find_scorer(name).needs(find_scorer(name).settings()) == "nothing"])
def test_one_process_eight_tasks_and_python_say_the_same(corpus, scorer, monkeypatch):
    config = ScoringConfig(scorer=scorer, specific="law.txt")
    select.score_records("corpus", config, Path("one.parquet"), progress=False)
    for task in range(8):
        cluster = ClusterConfig(tasks=8, task=task)
        assert select.score_records("corpus", config, Path("many.parquet"), cluster, False) is None
    monkeypatch.setattr(scoring, "make_share", None)  # nothing is left to be scored
    select.score_records("corpus", config, Path("many.parquet"), progress=False)
    one, many = rows_of("one.parquet"), rows_of("many.parquet")
    assert one == many and [row["id"] for row in one] == [*all_rows()]
    if find_scorer(scorer).steady:
        found = ad.load_scorer("one.parquet.work/scorer")
        some = [all_rows()[row["id"]] for row in one]
        again = found([row["text"] for row in some], [row["label"] for row in some])
        assert np.allclose(again, [row["score"] for row in one], atol=1e-6)


@pytest.mark.slow
def test_blocks_of_one_file_are_shared(workplace):
    Path("corpus").mkdir()
    rows = {"text": ["a wave"[:k % 7] + "s" for k in range(3*scoring.RECORD_BLOCK//2)]}
    pq.write_table(pa.table(rows), "corpus/0.parquet")
    config = ScoringConfig(scorer="shortest")
    for task in (1, 0):
        cluster = ClusterConfig(tasks=2, task=task)
        select.score_records("corpus", config, Path("two.parquet"), cluster, False)
        found = {path.name for path in Path("two.parquet.work/scores").rglob("*.parquet")}
        assert found == {f"{k:06}.parquet" for k in range(task, 2)}
    select.score_records("corpus", config, Path("one.parquet"), progress=False)
    select.score_records("corpus", config, Path("two.parquet"), progress=False)
    assert pq.read_table("one.parquet") == pq.read_table("two.parquet")


def test_an_interrupted_pass_goes_on(corpus, monkeypatch):
    config = SelectConfig(specific="law.txt", share=.2)
    select.select_records("corpus", config, Path("whole.parquet"), progress=False)
    write = scoring.write_columns

    def stopped(*arguments):
        raise KeyboardInterrupt

    def written_and_stopped(*arguments):
        write(*arguments)
        raise KeyboardInterrupt

    for module, name, stop in ((scoring, "write_columns", written_and_stopped),
                               (select, "take_corpus", stopped), (select, "gather", stopped)):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, stop)
            with pytest.raises(KeyboardInterrupt):
                select.select_records("corpus", config, Path("cut.parquet"), progress=False)
        assert not Path("cut.parquet").exists()
    select.select_records("corpus", config, Path("cut.parquet"), progress=False)
    assert pq.read_table("cut.parquet") == pq.read_table("whole.parquet")
    assert not list(Path().rglob("*.part"))


def test_the_same_again_has_nothing_to_do_and_another_share_no_scores(corpus, monkeypatch, capsys):
    same = "select corpus --specific law.txt --share"
    assert command(f"{same} .1") == 0
    monkeypatch.setattr(scoring, "make_share", None)
    assert command(f"{same} .1") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert command(f"{same} .2") == 0
    assert len(rows_of("picked.parquet")) == 18
    assert command(f"{same} .2 --ngram-order 3") == 2
    assert "a pass that differs in its settings" in capsys.readouterr().err


def test_a_file_of_scores_selects_and_log_weights_weigh(corpus):
    ids = [*all_rows()]
    pq.write_table(pa.table({"id": ids[:50], "score": np.log(np.arange(50) + 1)}), "s.parquet")
    config = SelectConfig(scored_by="s.parquet", top=10, scores_kind="log_weight")
    found = select.select_records("corpus", config, Path("p.parquet"), progress=False)
    rows = rows_of("p.parquet")
    assert found.choice.scored == 50 and {row["id"] for row in rows} == {*ids[40:50]}
    weights = np.array([row["weight"] for row in rows])
    assert np.allclose(weights, np.arange(41, 51)/45.5, rtol=1e-5)
    drawn = SelectConfig(scored_by="s.parquet", top=10, scores_kind="log_weight", draw=True)
    select.select_records("corpus", drawn, Path("d.parquet"), progress=False)
    assert {row["weight"] for row in rows_of("d.parquet")} == {1.}


def test_a_sample_drawn_by_weight_has_the_weights_chances():
    """Of n records, each drawn in the end with chance 1 - exp(-w t) for one t: Gumbel top k."""
    weights = np.repeat([1., 2., 3., 4.], 20_000)
    keys = record_keys(np.log(weights), np.random.default_rng(0), True)
    least = threshold(lambda: [(keys, np.ones(len(keys)))], 24_000)
    shares = (keys >= least).reshape(4, -1).mean(1)
    t = -np.log(1 - shares)/np.arange(1, 5)
    assert np.isclose(shares.mean(), .3) and np.allclose(t/t.mean(), 1, atol=.03)


def test_own_columns_of_the_names_and_rows_without_text_are_kept_apart(workplace):
    rows = [{"text": f"wave {k}", "id": k, "score": "high", "tags": {"a": k}} for k in range(5)]
    rows[2]["text"] = ""
    Path("own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = SelectConfig(scorer="shortest", share=1.)
    found = select.select_records("own.jsonl", config, Path("p.parquet"), progress=False)
    picked = rows_of("p.parquet")
    assert [row["id"] for row in picked] == ["0", "1", "3", "4"]
    assert picked[0]["own_score"] == "high" and picked[0]["tags"] == {"a": 0}
    assert found.tally.there["left out"] == {"without text": 1} and "1 left out" in str(found)


def test_what_cannot_be_is_said_in_one_line(corpus, capsys):
    wrong = {
        "select corpus --share .1": "name one with --specific",
        "select corpus --method dsri --share .1": "did you mean dsir?",
        "select corpus --method random": "by one of --share, --tokens and --top",
        "select corpus --method random --top 3 --out p.txt": "name a file that ends in",
        "select corpus --method random --top 3 --draw": "--draw draws by log-weights",
        "select corpus --method random --top 3 --text-column body --out b.arrow": "--text-column",
        "select nowhere --method random --top 3": "no such file or folder: nowhere",
        "score random corpus --tasks 4 --task 4": "must be one of 0 to 3",
        "score random": "name the text to score",
        "export corpus": "is no run folder"}
    for words, said in wrong.items():
        assert main(words.split()) == 2 and said in capsys.readouterr().err, words
    left = {path.name for path in corpus.iterdir()} - {"corpus", "law.txt", "cache"}
    assert left <= {"scores.parquet.work"}


def test_python_gives_a_dataset_of_whole_records(workplace):
    some = texts(np.random.default_rng(1), 40)
    data = [{"text": text, "stars": k} for k, text in enumerate(some)]
    law = [{"text": " ".join(LAW)}, {"text": "court and law"}]
    picked = ad.select(data, law, share=.25, progress=False, settings={"ngram_order": 4})
    assert picked.num_rows == 10 and {*picked.column_names} == {
        "text", "stars", "id", "score", "weight"}
    assert all(data[row["stars"]]["text"] == row["text"] for row in picked)
    again = ad.select(data, law, share=.25, progress=False, settings={"ngram_order": 4})
    assert again.to_list() == picked.to_list()
    with pytest.raises(UsageError, match="one of --share"):
        ad.select(data, law)


def test_picked_records_are_entered_anywhere(corpus):
    config = SelectConfig(scorer="shortest", top=20)
    select.select_records("corpus", config, Path("p.arrow"), progress=False)
    source = PickedSource("p.arrow")
    whole = [source[k]["id"] for k in PickedOrder(len(source), seed=3)]
    rest = [source[k]["id"] for k in PickedOrder(len(source), seed=3, position=8)]
    assert len({*whole}) == 20 and rest == whole[8:]


LIGHT = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r: raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Nothing())
import adaptive_dist as ad
print(ad.load_scorer(sys.argv[1])(sys.argv[2:]).tolist())
"""


def test_an_exported_scorer_needs_the_core_alone(corpus):
    config = ScoringConfig(specific="law.txt")
    select.score_records("corpus", config, Path("s.parquet"), progress=False)
    asked = ["the court held", "salt and tide"]
    program = [sys.executable, "-c", LIGHT % ({*EXTRA_OF},), "s.parquet.work/scorer", *asked]
    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert np.allclose(json.loads(said), load_scorer("s.parquet.work/scorer")(asked), atol=1e-6)


def shell(*words):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.DEVNULL)


def peak(process):
    "The most memory that a process has had so far (bytes); 0 where the system does not tell."
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s*(\d+) kB", status)
        return 1024*int(found[1]) if found else 0
    return 0


def memory_until(process, has_come):
    "The most memory of a process until something has come about, or its end."
    most = 0
    while process.poll() is None and not has_come():
        most = max(most, peak(process))
        time.sleep(.05)
    return most


@pytest.mark.slow
def test_a_million_records_in_little_memory_and_killed_five_times(workplace):
    write_corpus(Path("corpus"), 1_000_000, 4)
    words = ["select", "corpus", "--method", "shortest", "--share", ".05", "--quiet", "--out"]
    whole = shell(*words, "whole.parquet")
    used = [memory_until(whole, lambda: False)]
    assert whole.wait() == 0
    work = Path("cut.parquet.work")
    for pattern, count in (("scores/*/*.parquet", 5), ("scores/*/*.parquet", 25),
                           ("scores/*/*.parquet", 50), ("taken/*/*.json", 3),
                           ("taken/*/*.json", 30)):
        cut = shell(*words, "cut.parquet")
        used.append(memory_until(cut, lambda p=pattern, n=count: len(list(work.glob(p))) >= n))
        cut.kill()
        assert cut.wait() == -signal.SIGKILL and not Path("cut.parquet").exists()
    cut = shell(*words, "cut.parquet")
    used.append(memory_until(cut, lambda: False))
    assert cut.wait() == 0
    assert max(used) < 1.5e9, [f"{n/1e9:.2f} GB" for n in used]
    ids = [pq.read_table(name, columns=["id"])["id"] for name in ("whole.parquet", "cut.parquet")]
    assert ids[0] == ids[1] and len({*ids[0].to_pylist()}) == 50_000
    assert not list(work.rglob("*.part"))
    print("memory (GB):", *(f"{n/1e9:.2f}" for n in used))


def tokenised(path):
    "The tokens in a folder by the ids of their records."
    return {row["id"]: row["tokens"] for row in rows_of(Path(path)/"tokens")}


def test_tokens_are_those_of_the_tokenizer_and_join_back(corpus, capsys):
    own = train_subwords([row["text"] for row in all_rows().values()], 300)
    own.save(Path("own.json"))
    assert command("tokenise corpus --tokenizer own.json --out t") == 0
    found, known = tokenised("t"), all_rows()
    assert [*found] == [*known]
    expected = own.tokenizer.encode_batch([row["text"] for row in known.values()])
    assert [*found.values()] == [one.ids for one in expected]
    total = sum(map(len, found.values()))
    assert f"{total:,} tokens of 90 records" in capsys.readouterr().out
    assert command("select corpus --method shortest --top 9") == 0
    picked = rows_of("picked.parquet")
    assert all(own.tokenizer.decode(found[row["id"]]) == row["text"] for row in picked)


def test_tokenising_in_tasks_does_what_is_left(corpus, monkeypatch, capsys):
    train_subwords([row["text"] for row in all_rows().values()], 300).save(Path("own.json"))
    config = TokeniseConfig(tokenizer="own.json")
    for task in range(8):
        cluster = ClusterConfig(tasks=8, task=task)
        assert tokenise("corpus", config, Path("many"), cluster, progress=False) is None
    before = {path: path.stat().st_mtime_ns for path in Path("many").rglob("*.parquet")}
    lost = sorted(before)[1]
    lost.unlink()
    again = tokenise("corpus", config, Path("many"), progress=False)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if after[path] != before[path]} == {lost}
    assert again.records == 90 and tokenised("many").keys() == all_rows().keys()
    for words, said in {"--out many --text-column number": "differs in its columns",
                        "--out corpus": "holds other files",
                        "--out t --tokenizer no.json": "name a tokenizer.json"}.items():
        first = "" if "--tokenizer" in words else "--tokenizer own.json"
        assert command(f"tokenise corpus {first} {words}") == 2
        assert said in capsys.readouterr().err, words
    assert not Path("t").exists()


def test_a_text_that_is_no_text_is_tokenised(workplace):
    rows = [{"text": "a wave \ud800"}, {"text": ""}, {"text": "a wave"}]
    Path("odd.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train_subwords(["a wave"], 260).save(Path("own.json"))
    found = tokenise("odd.jsonl", TokeniseConfig(tokenizer="own.json"), Path("t"), progress=False)
    tokens = [*tokenised("t").values()]
    assert found.records == 3 and tokens[1] is None and tokens[0][:-1] == tokens[2] + [
        *tokens[0][len(tokens[2]):-1]]


@pytest.mark.parametrize("name", ["all.jsonl", "all.csv.gz"])
def test_one_long_file_has_an_end_in_sight(workplace, name):
    "Its bytes say about how many records are still to come."
    text = texts(np.random.default_rng(2), 20_000, 5)
    head, row = ("text\n", "{}\n") if ".csv" in name else ("", '{{"text": "{}"}}\n')
    with pa.output_stream(name, compression="detect") as file:
        file.write((head + "".join(map(row.format, text))).encode())
    part, = parts_of(parse_source(name, "text"))[0]
    expected, ends = scoring.Expected([part]), []
    for _, records in record_blocks(part, reading_of(ScoringConfig()), 2_000):
        ends.append(expected.see(sum(1 for _ in records)))
    assert all(11_000 < end < 26_000 for end in ends[1:]) and expected.end() == 20_000


def test_a_task_that_was_killed_is_done_again_and_a_finished_one_is_not(corpus):
    pytest.importorskip("datatrove")
    words = ["score", "ngram", "corpus", "--specific", "law.txt", "--out", "s.parquet", "--quiet",
             "--executor", "local", "--tasks", "8", "--workers", "2"]
    assert main(words) == 0
    ids = [row["id"] for row in rows_of("s.parquet")]
    assert ids == [*all_rows()] and math.isfinite(sum(row["score"] for row in rows_of("s.parquet")))
    done = Path("s.parquet.work/tasks/of_8/completions")
    assert len(list(done.iterdir())) == 8
    before = {path: path.stat().st_mtime_ns for path in Path("s.parquet.work").rglob("*.parquet")}
    lost = sorted(before)[1]
    lost.unlink()
    for path in done.iterdir():
        path.unlink()
    assert main(words) == 0 and [row["id"] for row in rows_of("s.parquet")] == ids
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if after[path] != before[path]} == {lost}


SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path
script = Path(sys.argv[-1]).read_text()
with open("submitted", "a") as file: file.write(script)
print("Submitted batch job 1234")
if "merge_stats" in script: sys.exit()
last = int(re.search("--array=0-([0-9]+)", script)[1])
for k in range(last + 1):
    job = {{"SLURM_ARRAY_TASK_ID": str(k), "SLURM_NODELIST": "localhost", "RUN_OFFSET": "0"}}
    subprocess.run(["bash", "-c", script], env={{**os.environ, **job}}, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == -n ]] && shift; shift; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    "Programs in the place of Slurm's, which take in an array of jobs and do them at once."
    programs = tmp_path/"programs"
    programs.mkdir()
    texts = {"sbatch": SBATCH.format(python=sys.executable), "srun": SRUN,
             "scontrol": "#!/bin/sh\necho localhost\n"}
    for name, text in texts.items():
        (programs/name).write_text(text)
        (programs/name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)


@pytest.mark.slow
def test_slurm_takes_a_script_that_does_the_tasks(corpus, slurm, capsys):
    pytest.importorskip("datatrove")
    words = ["score", "ngram", "corpus", "--specific", "law.txt", "--out", "s.parquet", "--quiet",
             "--executor", "slurm", "--tasks", "3", "--workers", "2", "--memory", "5",
             "--slurm-partition", "long", "--slurm-time", "01:00:00"]
    assert main(words) == 0 and not Path("s.parquet").exists()
    assert "3 tasks are with slurm" in capsys.readouterr().out
    script = Path("submitted").read_text()
    for line in ("array=0-2%2", "mem-per-cpu=5G", "partition=long", "time=01:00:00", "requeue"):
        assert f"#SBATCH --{line}\n" in script
    assert "--qos" not in script and f"PATH={Path(sys.executable).parent}:$PATH" in script
    before = {path: path.stat().st_mtime_ns for path in Path("s.parquet.work").rglob("*.parquet")}
    assert len(before) == 3 and main(words) == 0
    assert [row["id"] for row in rows_of("s.parquet")] == [*all_rows()]
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_without_slurm_one_line_says_so(corpus, capsys):
    pytest.importorskip("datatrove")
    assert command("score shortest corpus --executor slurm --tasks 3") == 2
    assert "give the command where sbatch works" in capsys.readouterr().err


def test_ray_is_given_the_division_and_the_memory(tmp_path):
    pytest.importorskip("datatrove")
    pytest.importorskip("ray")
    cluster = ClusterConfig(tasks=3, workers=2, executor="ray", memory=5)
    made = executor_of(print, cluster, tmp_path)
    assert (made.world_size, made.workers, made.mem_per_cpu_gb) == (3, 2, 5)
