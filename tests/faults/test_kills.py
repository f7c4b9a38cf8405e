"""Commands that are killed again and again, and done once more from the start when they are done.

`--kills N` commands are killed by each test, `--kill-seed S` says where: half of them at a moment
of their time, half before one of their changes to files; `-s` shows them. What comes of it is what
comes of a command that nobody disturbed; nothing is lost, and no litter stays.
"""
import json
import random
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from fault_texts import check_one_line, documents, small_run, texts, write_rows
from forks import Forks
from own_texts import litter, result, without_clock
from PIL import Image
from test_divergence import lines_of

from adaptive_dist.config.settings import from_nested
from adaptive_dist.data.tokens import train_subwords
from adaptive_dist.experiments.lm import LM, LMConfig
from adaptive_dist.train.run import restore

pytestmark = [pytest.mark.usefixtures("texts"), pytest.mark.slow]
__all__ = ["texts"]
RUN = ["--steps", "24", "--log-every", "3", "--evaluate-every", "12", "--checkpoint-every", "6"]
TUNED = ["--fine-tune-steps", "2", "--fine-tune-every", "1", "--fine-tune-rates", "1"]
METHODS = {"uniform": [*TUNED, "--tensorboard"], "scored": ["--scorer", "hashed"],
           "dds": ["--store-weighting-every", "6"]}
TOO_BIG = ["--batch-size", "4096"]  # so that a run ends when its data are read


class Killing:
    "Kills commands, which forks perform, until there are enough."
    def __init__(self, forks, most, seed):
        self.forks, self.most, self.rng = forks, most, random.Random(seed)

    def go_on(self):
        return self.forks.killed.total() < self.most

    def undisturbed(self, words, status=0):
        "How long a command takes, and how often it changes files."
        told = self.forks.order(*words)
        assert told["status"] == status, told["errors"]
        return told

    def moment(self, known):
        "Where to kill a command of which an undisturbed one is known; one in four is left alone."
        if self.rng.random() < .25: return {}
        if self.rng.random() < .5: return {"after": self.rng.uniform(0, known["seconds"])}
        return {"operation": self.rng.randrange(known["operations"])}

    def until_done(self, words, known, together=False):
        "Kill a command until it is done once; half of them `together` with its runs."
        while True:
            group = together and self.rng.random() < .5
            how = {**self.moment(known), "group": group} if self.go_on() else {}
            told = self.forks.order(*words, **how)
            if told["status"] == known["status"]:
                assert told["errors"] == known["errors"]
                return
            if told["status"] != -signal.SIGKILL:  # a run that was left behind
                assert together, told["errors"]
                check_one_line(told["status"], told["errors"], "another process writes to")
                time.sleep(1)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def kills(texts, compiled, request):
    most, seed = (request.config.getoption(name) for name in ("--kills", "--kill-seed"))
    with Forks(compiled) as forks:
        yield Killing(forks, most, seed)


def tree(folder):
    "The bytes of the files below a folder, but of locks and of seconds, by their names."
    without = ("lock", "scores.json", "charged.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*")
            if path.is_file() and path.suffix != ".lock" and path.name not in without}


def names(out):
    "The files of a run, without what is inside of checkpoints, and TensorBoard's once."
    found = {path.relative_to(out) for path in Path(out).rglob("*")}
    return {str(Path(*path.parts[:2])).split(".tfevents")[0] for path in found}


def named(folder):
    "What stands in a folder."
    return {path.name for path in Path(folder).iterdir()}


def state_of(out, experiment):
    "The arrays of a run's last checkpoint."
    state = restore(Path(out), experiment)
    leaves = jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))
    return [np.asarray(leaf) for leaf in leaves]


def told(out):
    "A result without what a clock measured; what a scorer costs is measured by one, too."
    return {**without_clock(result(out)), "preparation_flops": None}


def check_run(out, whole):
    assert lines_of(out) == lines_of(whole)
    assert told(out) == told(whole)
    assert names(out) == names(whole) and not litter(out)


def test_runs(kills):
    "Methods with their stages; in half of the rounds the texts are read anew."
    known, experiments = {}, {}
    methods = [*METHODS][:2 if kills.most < 40 else 3]  # each takes a while to compile
    for round in range(1_000):
        method = methods[round % len(methods)]
        whole, options = f"{method}-whole", [*RUN, *METHODS[method]]
        if method not in known:
            for out in (f"{method}-compiled", whole):
                words = small_run(out, *options, "--cache", f"{out}-cache", method=method)
                known[method] = kills.undisturbed(words)
            config = json.loads(Path(whole, "config.json").read_text())
            experiments[method] = LM.build(from_nested(LMConfig(), config))
        out, cache = f"again{round}", f"{method}-cache{round//6}"
        words = small_run(out, *options, "--cache", cache, method=method)
        kills.until_done(words, known[method])
        check_run(out, whole)
        for a, b in zip(*(state_of(run, experiments[method]) for run in (out, whole)), strict=True):
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
        assert tree(cache) == tree(f"{whole}-cache")
        shutil.rmtree(out)
        if not kills.go_on(): break


def test_comparisons(kills):
    "The comparison alone is killed, or its runs with it."
    others = ("--method", "uniform", "--out", "out")
    own = [word for word in small_run("out", *RUN)[2:] if word not in others]
    options = ["compare", "lm", *own, "--methods", "uniform,dds", "--targets", "", "--seeds", "1",
               "--preset", "reduced", "--jobs", "1", "--cache", "cache"]
    for out in ("compiled", "whole"):
        known = kills.undisturbed([*options, "--out", out])
    while kills.go_on():
        kills.until_done([*options, "--out", "again"], known, together=True)
        for run in sorted(Path("whole").rglob("result.json")):
            name = run.parent.relative_to("whole")
            check_run(Path("again", name), Path("whole", name))
        assert named("again") == named("whole") and not litter("again")
        shutil.rmtree("again")


def write_pictures():
    "Captioned pictures, and pictures in two classes."
    for k in range(84):
        folder = Path("world" if k < 60 else f"classes/{k % 2}")
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(k).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(folder/f"{k}.png")
        (folder/f"{k}.txt").write_text(f"picture {k}")


def write_pairs():
    "Sentences with what stands for their translation."
    for name, seed in (("a.tsv", 3), ("b.tsv", 4)):
        found = documents(seed, 300, lines=1)
        Path(name).write_text("".join(f"{text} {k}\t{text[::-1]} {k}\n"
                                      for k, text in enumerate(found)))


def test_builders_of_caches(kills):
    "Texts, pairs and pictures are read, split and written; too large a batch ends it there."
    write_pictures()
    write_pairs()
    write_rows("large.jsonl", 2_000)
    vision = ["--generic", "world", "--specific", "classes", "--image-size", "16", "--patch", "8",
              "--weighting-patch", "8", "--generic-test", ".2"]
    pairs = ["--generic", "a.tsv", "--specific", "b.tsv", "--generic-test", ".1",
             "--specific-size", "40", "--vocabulary", "400", "--held-out", "20"]
    commands = {"lm": [*small_run("out", generic="large.jsonl"), *TOO_BIG],
                "vision": ["run", "vision", *vision, *TOO_BIG, "--out", "out"],
                "mt": ["run", "mt", *pairs, *TOO_BIG, "--out", "out"]}
    known = {task: kills.undisturbed([*words, "--cache", f"{task}-cache"], status=2)
             for task, words in commands.items()}
    for task, told in known.items():
        check_one_line(told["status"], told["errors"], "fewer than a batch")
        assert tree(f"{task}-cache")
    while kills.go_on():
        for task, words in commands.items():
            kills.until_done([*words, "--cache", "cache"], known[task])
            assert tree("cache") == tree(f"{task}-cache") and not litter("cache")
            assert not Path("out").exists() or not tree("out")  # that of a killed one stays
            shutil.rmtree("cache")


def contents(path):
    "What a file or a folder of a corpus command holds, without when it was made."
    if path.suffix == ".parquet": return pq.read_table(path).to_pylist()
    return tree(path)


def test_commands_on_a_corpus(kills):
    "Records are chosen, scored and tokenised, and a network is exported."
    kills.undisturbed(small_run("run", method="dds"))
    train_subwords(documents(0, 60), 300).save(Path("own.json"))
    commands = {
        "picked.parquet": "select g.jsonl --method ngram --specific s.txt --share .1 --quiet",
        "scores.parquet": "score ngram g.jsonl --specific s.txt --quiet",
        "tokens": "tokenise g.jsonl --tokenizer own.json --quiet",
        "scorer": "export run", "run.parquet": "score run"}
    known = {out: kills.undisturbed([*words.split(), "--out", f"whole/{out}"])
             for out, words in commands.items()}
    before = named("whole")
    while kills.go_on():
        for out, words in commands.items():
            kills.until_done([*words.split(), "--out", f"again/{out}"], known[out])
            assert contents(Path("again", out)) == contents(Path("whole", out))
        assert named("again") == before and not litter("again")
        shutil.rmtree("again")
