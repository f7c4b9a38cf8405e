"The small texts on which faults are tried, and a tiny run on them."
import json
import random
from pathlib import Path

import pytest

SMALL = """
    --layers 1 --width 16 --mlp-width 32 --heads 2 --length 32 --batch-size 4 --downsampling 2
    --steps 4 --log-every 2 --evaluate-every 4 --checkpoint-every 2 --fine-tune-steps 0
    --evaluate-examples 16 --no-tensorboard --quiet --weighting-width 8 --weighting-embedding 8
""".split()  # noqa: SIM905
WORDS = ["sea", "sky", "rain", "cook", "salt", "oven", "heap", "list", "sort", "wind", "tide"]


def documents(seed, count, lines=6):
    "Texts of short lines of random words."
    rng = random.Random(seed)
    def line(): return " ".join(rng.choices(WORDS, k=8))
    return ["\n".join(line() for _ in range(lines)) for _ in range(count)]


def write_rows(path, count=180, labels=("cook", "wx", "code"), seed=0):
    "A JSONL file of labelled documents."
    rows = [{"text": text, "label": labels[k % len(labels)]}
            for k, text in enumerate(documents(seed, count))]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def small_run(out, *changes, generic="g.jsonl", method="uniform"):
    "The arguments of a tiny run on these texts."
    return ["run", "lm", "--method", method, "--generic", generic, "--specific", "s.txt",
            *SMALL, "--generic-test", ".1", "--out", out, *changes]


@pytest.fixture
def texts(workplace):
    "A working folder with generic rows of three labels and a specific text file."
    write_rows("g.jsonl")
    Path("s.txt").write_text("\n\n".join(documents(1, 24, lines=4)))
    return workplace


def check_one_line(status, err, *essentials):
    "A refusal: status 2, and one line that names what is wrong."
    assert status == 2 and err.startswith("adaptive-dist: ") and err.count("\n") == 1, err
    for essential in essentials:
        assert essential in err
