"""From documents to batches.

Parts share no document, caches are what they say, batches can be entered anywhere.
"""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from adaptive_dist.config.errors import UsageError
from adaptive_dist.data import table as table_module, text as data_module
from adaptive_dist.data.readers import Batches, evenly_spaced
from adaptive_dist.data.split import PARTS, text_hash
from adaptive_dist.data.table import Rows
from adaptive_dist.data.text import DataConfig, prepare_text
from adaptive_dist.data.vocabulary import decode, encode

LENGTH = 32
SHARD = "generic/data-00000.arrow"
WORDS = ["cell", "star", "lemma", "court", "añejo", "山", "price", "river"]


@pytest.fixture(autouse=True)
def folder(workplace):
    """A working folder with two sets of texts.

    texts/generic.jsonl has 300 documents, 20 of them twice; texts/specific.jsonl has 60, of which
    20 are in both.
    """
    rng = random.Random(0)
    texts = [f"{i} " + " ".join(rng.choices(WORDS, k=rng.randint(3, 40))) for i in range(340)]
    Path("texts").mkdir()
    for name, some in {"generic": [*texts[:300], *texts[:20]], "specific": texts[280:]}.items():
        Path(f"texts/{name}.jsonl").write_text(
            "".join(json.dumps({"text": text, "label": name}) + "\n" for text in some)
        )
    return workplace


def config(**changes):
    return DataConfig(
        **{
            "generic": "texts/generic.jsonl",
            "specific": "texts/specific.jsonl",
            "cache": "cache",
            **changes,
        }
    )


def hashes(pieces):
    "Hashes of the documents of a part, put together from their pieces (what was not dropped)."
    pieces = pieces[:]
    raw = [
        pieces["tokens"][pieces["document"] == d].tobytes().rstrip(b"\0")
        for d in np.unique(pieces["document"])
    ]
    return [text_hash(text.decode("utf-8", "replace")) for text in raw]


def whole(text):
    return text_hash(encode(text, LENGTH).tobytes().rstrip(b"\0").decode("utf-8", "replace"))


def texts(*names):
    return [
        json.loads(line)["text"]
        for name in names
        for line in Path(f"texts/{name}.jsonl").read_text().splitlines()
    ]


def equal(a, b):
    both = [(getattr(a, part)[:], getattr(b, part)[:]) for part in PARTS]
    return all(
        np.array_equal(x[name], y[name])
        for x, y in both
        for name in ("tokens", "label", "document")
    )


def caches():
    return sorted(p for p in Path("cache").iterdir() if p.name != ".building")


def left_out(data, source="generic"):
    return {reason: kind["count"] for reason, kind in data.report["left out"][source].items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"specific": "texts/generic.jsonl", "planted": 0.5},
        {"specific": "texts/specific.jsonl", "planted": 0, "generic": "texts"},
    ],
)
def test_no_document_is_in_two_parts(changes):
    data = prepare_text(config(generic_test=0.2, **changes), LENGTH)
    parts = {name: hashes(getattr(data, name)) for name in PARTS}
    every = [h for part in parts.values() for h in part]
    assert len(every) == len(set(every))
    assert set(every) == {
        whole(text)
        for text in texts("generic", "specific")[: 320 if changes.get("planted") else None]
    }
    assert {name: len(part) for name, part in parts.items()} == {
        name: data.report[name]["documents"] for name in PARTS
    }
    if changes.get("planted"):  # half of the 300 stay in the generic set
        assert [len(parts[f"specific_{name}"]) for name in ("train", "valid", "test")] == [
            75,
            37,
            38,
        ]
        assert len(parts["generic"] + parts["generic_test"]) == 150


def test_a_source_within_the_generic_one_leaves_planted_documents_there():
    Path("world/sea").mkdir(parents=True)
    for i in range(40):
        (Path("world/sea" if i < 16 else "world") / f"{i}.txt").write_text(f"document {i}")
    data = prepare_text(
        config(generic="world", specific="world/sea", planted=0.5, generic_test=0.2), LENGTH
    )
    assert (
        data.target == "sea"
        and (data.generic["label"] == data.labels.index("sea")).sum()
        + (data.generic_test["label"] == data.labels.index("sea")).sum()
        == 8
    )
    assert left_out(data) == {"in the specific set": 8}
    apart = prepare_text(
        config(generic="world", specific="texts/specific.jsonl", planted=0.5, generic_test=0.2),
        LENGTH,
    )
    assert (
        sum(apart.report[f"specific_{name}"]["documents"] for name in ("train", "valid", "test"))
        == 60
    )  # none is kept back


def test_the_split_follows_from_its_seed():
    first, again, other = (
        prepare_text(config(split_seed=seed, cache=cache), LENGTH)
        for seed, cache in ((0, "a"), (0, "b"), (1, "a"))
    )
    assert equal(first, again)
    assert set(hashes(first.specific_test)) != set(hashes(other.specific_test))
    assert set(hashes(first.generic_test)) != set(hashes(other.generic_test))
    lines = Path("texts/specific.jsonl").read_text().splitlines(keepends=True)
    Path("texts/specific.jsonl").write_text("".join(reversed(lines)))
    assert set(hashes(prepare_text(config(), LENGTH).specific_test)) == set(
        hashes(first.specific_test)
    )  # whatever the order of arrival


def test_a_cache_is_used_again_and_tells_content_and_settings_apart(monkeypatch):
    built = []
    write_text_parts = data_module.write_text_parts
    monkeypatch.setattr(
        data_module,
        "write_text_parts",
        lambda folder, **more: built.append(folder) or write_text_parts(folder, **more),
    )
    first = prepare_text(config(), LENGTH)
    assert equal(prepare_text(config(), LENGTH), first) and len(built) == 1
    few = prepare_text(config(specific_size=5), LENGTH)
    assert len(built) == 1 and len(few.specific_train) == 5  # cut from the same cache
    for n, (length, changes) in enumerate(
        [
            (48, {}),
            (LENGTH, {"split_seed": 1}),
            (LENGTH, {"generic_limit": 200}),
            (LENGTH, {"label_column": "none"}),
            (LENGTH, {"generic_test": 0.1}),
        ],
        2,
    ):
        prepare_text(config(**changes), length)
        assert len(built) == n == len(caches())
    Path("texts/specific.jsonl").write_text(
        Path("texts/specific.jsonl").read_text().replace("river", "brook")
    )
    assert not equal(prepare_text(config(), LENGTH), first) and len(built) == 7 == len(caches())
    Path("elsewhere").mkdir()
    for name in ("generic", "specific"):
        Path(f"texts/{name}.jsonl").rename(f"elsewhere/{name}.jsonl")
    prepare_text(
        config(generic="elsewhere/generic.jsonl", specific="elsewhere/specific.jsonl"), LENGTH
    )
    assert len(built) == 7  # the same files
    Path("elsewhere/generic.jsonl").touch()
    prepare_text(
        config(generic="elsewhere/generic.jsonl", specific="elsewhere/specific.jsonl"), LENGTH
    )
    assert len(built) == 8  # told by their times


@pytest.mark.parametrize(
    "damage",
    [
        lambda cache: (cache / SHARD).write_bytes((cache / SHARD).read_bytes()[:-1]),
        lambda cache: (cache / "specific_train/data-00000.arrow").unlink(),
        lambda cache: (cache / "meta.json").write_text((cache / "meta.json").read_text()[:50]),
    ],
)
def test_a_damaged_cache_is_built_again(damage, capsys):
    first = prepare_text(config(cache="sound"), LENGTH)
    prepare_text(config(), LENGTH)
    assert capsys.readouterr().err == ""
    damage(*caches())
    assert equal(prepare_text(config(), LENGTH), first)
    err = capsys.readouterr().err
    assert "prepared data are damaged (cache/" in err and err.count("\n") == 1
    prepare_text(config(), LENGTH)
    assert capsys.readouterr().err == "" and len(caches()) == 1


def test_workers_change_nothing():
    Path("texts/empty.jsonl").touch()
    shards = {"generic": "texts", "specific": "texts/specific.jsonl", "planted": 0.5}
    one = prepare_text(config(cache="one", **shards), LENGTH)
    two = prepare_text(config(workers=2, **shards), LENGTH)
    assert equal(one, two) and one.report == two.report
    assert left_out(two)["an empty file"] == 1 and two.fingerprints == one.fingerprints
    assert one.folder.name == two.folder.name


def test_a_killed_reader_is_noticed():
    lane = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(target=os._exit, args=(9,))
    process.start()
    with pytest.raises(UsageError, match="was killed"):
        data_module.next_block(lane, process)


def test_an_interrupted_build_leaves_nothing(monkeypatch):
    encoded = []

    def interrupted(text, length):
        if len(encoded) == 100:
            raise KeyboardInterrupt
        encoded.append(text)
        return encode(text, length)

    with monkeypatch.context() as patch:
        patch.setattr("adaptive_dist.data.vocabulary.encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_text(config(), LENGTH)
    assert caches() == []
    assert equal(prepare_text(config(), LENGTH), prepare_text(config(cache="sound"), LENGTH))


PREPARE = """
import sys, time
from adaptive_dist.data import text as data
write_text_parts = data.write_text_parts
def slowly(folder, **more):
    write_text_parts(folder, **more)
    print(folder, flush=True)
    sys.stdin.readline()
data.write_text_parts = slowly
files = dict(generic="texts/generic.jsonl", specific="texts/specific.jsonl")
got = data.prepare_text(data.DataConfig(**files, cache="cache"), 32)
print(got.generic["tokens"].sum())
"""


@pytest.mark.parametrize("damaged", [False, True])
def test_two_processes_prepare_the_same_cache_at_once(damaged):
    first = prepare_text(config(cache="sound"), LENGTH)
    if damaged:
        prepare_text(config(), LENGTH)
        (caches()[0] / SHARD).write_bytes(b"")
    environment = os.environ | {
        "PYTHONPATH": str(Path(data_module.__file__).parents[2]),
        "JAX_PLATFORMS": "cpu",
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE],
            text=True,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    time.sleep(3)  # one writes, the other waits for it
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], found
    lines = [out.splitlines() for out, _ in found]
    assert sorted(map(len, lines)) == [1, 2]  # only one has written
    assert {int(some[-1]) for some in lines} == {first.generic["tokens"].sum()}
    assert sum("damaged" in err for _, err in found) == damaged
    assert len(caches()) == 1 and equal(prepare_text(config(), LENGTH), first)


@pytest.mark.parametrize(
    ("changes", "essential"),
    [
        ({"specific_limit": 3}, "the specific set has 3 distinct documents"),
        ({"generic_limit": 1}, "leaves no text for generic"),
        ({"generic": "texts/specific.jsonl", "planted": 0}, "leaves no text for generic"),
        (
            {"cache": "texts/generic.jsonl/in"},
            "cannot write the cache to texts/generic.jsonl/in: Not a directory; choose another "
            "folder",
        ),
        ({"specific": "pile:usenet"}, "unknown domain pile:usenet"),
        ({"text_column": "body"}, "has no column 'body'"),
    ],
)
def test_unusable_data_end_with_one_line_and_no_cache(changes, essential):
    with pytest.raises(UsageError) as caught:
        prepare_text(config(**changes), LENGTH)
    assert essential in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("cache").exists() or caches() == []


@pytest.mark.parametrize(
    "text", ["x", "x" * LENGTH, "x" * (2 * LENGTH), "Añejo 山の水 — naïve 🙂" * 5, "a\0b"]
)
def test_encoding_comes_back(text):
    pieces = encode(text, LENGTH)
    raw = text.replace("\0", " ").encode()
    joined = pieces.tobytes().rstrip(b"\0")
    assert (
        pieces.shape[1:] == (LENGTH,)
        and raw.startswith(joined)
        and len(raw) - len(joined) < LENGTH / 8
    )
    if len(raw) % LENGTH >= LENGTH / 8 or len(raw) % LENGTH == 0:
        assert joined == raw
    if len(raw) <= LENGTH:
        assert decode(pieces[0]) == text.replace("\0", " ")
    assert all(decode(piece) for piece in pieces)  # a character cut in two stops nothing


def pieces(n):
    return Rows(
        tokens=np.arange(n * 4, dtype=np.uint8).reshape(n, 4), label=np.arange(n, dtype=np.int32)
    )


def test_batches_see_every_row_once_an_epoch():
    batches = Batches(pieces(12), 4, seed=(3,))
    epochs = [
        np.concatenate([batches.rows(3 * e + s) for s in range(3)]).tolist() for e in range(4)
    ]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4
    short = Batches(pieces(14), 4, seed=(3,))
    assert (
        len({int(row) for step in range(3) for row in short.rows(step)}) == 12
    )  # the remainder waits for another epoch


def test_batches_can_be_entered_anywhere():
    sequential = [Batches(pieces(13), 3, seed=(0, 1)).at(0, 20)["label"]]
    order = np.random.default_rng(0).permutation(20)
    batches = Batches(pieces(13), 3, seed=(0, 1))
    assert all(np.array_equal(batches.at(int(s), 1)["label"][0], sequential[0][s]) for s in order)
    chunk = batches.at(7, 5)
    assert np.array_equal(chunk["label"], sequential[0][7:12]) and np.array_equal(
        chunk["tokens"][:, :, 0], chunk["label"] * 4
    )
    assert not np.array_equal(Batches(pieces(13), 3, seed=(1, 1)).at(0, 20)["label"], sequential[0])


def test_a_spread_sample_holds_every_source_in_its_share():
    label = np.repeat(
        np.int32([0, 1, 2]), (700, 200, 100)
    )  # as a corpus comes: one source after another
    corpus = Rows(label=label, document=np.arange(1000))
    np.testing.assert_allclose(np.bincount(evenly_spaced(corpus, 50)["label"]), [35, 10, 5], atol=1)
    assert len(set(evenly_spaced(corpus, 999)["document"])) == 999
    np.testing.assert_array_equal(evenly_spaced(corpus, 2000)["document"], corpus["document"])


def test_fewer_examples_than_a_batch_are_refused():
    Batches(pieces(4), 4, seed=(0,))
    with pytest.raises(
        UsageError, match="the specific set has 3 examples, fewer than a batch of 4"
    ):
        Batches(pieces(3), 4, seed=(0,), name="specific")


def test_changed_bytes_are_found_when_they_are_looked_for(capsys):
    data = prepare_text(config(cache="sound"), LENGTH)
    prepare_text(config(verify=True), LENGTH)
    path = caches()[0] / SHARD
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    prepare_text(config(verify=True), LENGTH)
    err = capsys.readouterr().err
    assert f"{path} holds other bytes than were written" in err and err.count("\n") == 1
    assert equal(prepare_text(config(verify=True), LENGTH), data)


def test_a_part_of_several_shards_reads_as_one(monkeypatch):
    one = prepare_text(config(cache="one"), LENGTH)
    monkeypatch.setattr(table_module, "SHARD", 100)
    monkeypatch.setattr(table_module, "RESIDENT", 0)
    several = prepare_text(config(), LENGTH)
    names = sorted(path.name for path in caches()[0].glob("generic/*.arrow"))
    assert len(names) == -(-len(several.generic) // 100) > 5 and names[0] == "data-00000.arrow"
    assert equal(one, several)
    rows = np.random.default_rng(0).permutation(len(several.generic))[:300]
    assert np.array_equal(several.generic[rows]["tokens"], one.generic[rows]["tokens"])


def test_duplicates_are_found_among_a_quarter_as_many_documents_as_there_are_places():
    recent, keys = (
        data_module.Recent(buckets=2**10),
        np.random.default_rng(0).integers(2**63, size=2_000).tolist(),
    )
    assert not any(recent.add(key) for key in keys) and all(recent.add(key) for key in keys)
