"A user's own texts, and a run of a tiny model on them, from a shell."
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from adaptive_dist.train.metrics import CLOCK

# An interrupt is to arrive although a shell's background jobs ignore it.
SHELL = [sys.executable, "-c", """import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from adaptive_dist.cli import main
sys.exit(main())"""]
TINY = """
    --layers 1 --width 16 --mlp-width 32 --heads 2 --length 32 --batch-size 4 --downsampling 4
    --weighting-width 8 --weighting-embedding 8 --steps 5 --log-every 2 --evaluate-every 4
    --evaluate-examples 16 --fine-tune-steps 0 --no-tensorboard --quiet
""".split()  # noqa: SIM905
OWN = ["--generic", "texts", "--specific", "target.txt", "--generic-test", ".2"]


def write_texts(target):
    "A user's texts: the folder texts/ of two domains, and a file of a third."
    rng = random.Random(0)

    def text(words):
        return " ".join(rng.choices(words.split(), k=40)) + "\n"

    for name in ("sea", "sky"):
        Path("texts", name).mkdir(parents=True)
        for i in range(30):
            words = "the cloud rain wind rises falls salt wave tide"
            Path(f"texts/{name}/{i}.txt").write_text(text(words))
    Path(target).write_text("\n".join(text("a court held that law is") for _ in range(20)))


@pytest.fixture
def folder(workplace):
    "A working folder with a user's text files, good and bad."
    write_texts("target.txt")
    Path("few.txt").write_text("One.\n\nTwo.\n\nThree.\n\nFour.\n\nFive.\n")
    Path("empty.txt").touch()
    Path("binary.txt").write_bytes(b"GIF89a\0\0\1")
    Path("latin.txt").write_bytes("Ein Wort, noch ein Wört".encode("latin-1"))
    return workplace


def start(*arguments):
    "A process of the command line with these arguments."
    return subprocess.Popen([*SHELL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def finish(process, seconds=400):
    "Exit status, output and errors of a process, which is killed if it takes longer."
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err


def result(out):
    "What a run left in `result.json`."
    return json.loads(Path(out, "result.json").read_text())


def without_clock(record):
    "A line of metrics, or a result, without what a clock measured."
    return {name: value for name, value in record.items() if name not in CLOCK}


def litter(folder):
    "Files below a folder that were to be gone when whoever made them has ended: locks may stay."
    names = (".part", ".probe", "orbax-checkpoint-tmp", ".building-")
    return [path for path in Path(folder).rglob("*") if any(name in path.name for name in names)
            or (path.parent.name == ".building" and path.suffix != ".lock")]
