"Memory does not grow with the generic text."
import json
import random
from pathlib import Path

import pytest
from own_texts import TINY, finish, folder, result, start

pytestmark = pytest.mark.usefixtures("folder")
__all__ = ["folder"]  # the fixture: a working folder with a user's texts


def write_rows(path, megabytes):
    "Rows of about 2 kB, all different, until the file has its size."
    rng = random.Random(0)
    words = "the cloud rain wind rises falls salt wave tide over under river"
    sentences = [" ".join(rng.choices(words.split(), k=12)) for _ in range(1000)]
    with Path(path).open("w") as file:
        size, number = 0, 0
        while size < megabytes*1e6:
            text = f"{number} " + ". ".join(rng.choices(sentences, k=30))
            size += file.write(json.dumps({"text": text}) + "\n")
            number += 1


@pytest.mark.slow
def test_two_gigabytes_take_no_more_memory_than_ten_megabytes():
    flags = [*TINY, "--specific", "target.txt", "--generic-test", ".001", "--steps", "200",
             "--log-every", "50", "--downsampling", "256", "--generic", "generic.jsonl",
             "--method", "soba"]
    peaks = {}
    for megabytes in (10, 2_000):
        write_rows("generic.jsonl", megabytes)
        out = f"of-{megabytes}"
        status, _, err = finish(start("run", "lm", *flags, "--out", out), seconds=600)
        assert status == 0, err
        peaks[megabytes] = result(out)["peak_memory_bytes"]
        print(f"{megabytes} MB of generic text: peak memory {peaks[megabytes]/1e6:.0f} MB")
        Path("generic.jsonl").unlink()
    assert peaks[2_000] < 1.15*peaks[10]
