"""Valid files with some bytes changed: every reader ends with one line, or reads something."""
import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptive_dist.config.errors import UsageError
from adaptive_dist.data.account import Account
from adaptive_dist.data.images import decoded, examples
from adaptive_dist.data.pairs import PairsConfig, pairs
from adaptive_dist.data.text import documents

ROWS = [{"text": f"{k} größer 山 and \"more\"", "label": "abc"[k % 3], "id": k, "x": [1, None]}
        for k in range(20)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
ODD = [b"\0", b"\xff", b"\"", b"\\", b"\n", b"\r", b",", b"\t", b"{", b"[", b"]", b"}",
       b"\xef\xbb\xbf", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"9"*5_000, b"\\ud800", b"1e999"]


def packed(write):
    "The bytes that something writes to a file."
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def arrow(new):
    table = pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]})
    def write(file):
        with new(file, table.schema) as writer:
            for batch in table.to_batches(max_chunksize=7):
                writer.write_batch(batch)
    return packed(write)


def picture(kind):
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    return packed(lambda file: Image.fromarray(noise).save(file, kind))


def shard(file):
    with tarfile.open(fileobj=file, mode="w") as archive:
        for k in range(3):
            for end, raw in (("png", picture("PNG")), ("txt", b"one"), ("json", b'{"label": "x"}')):
                info = tarfile.TarInfo(f"{k}.{end}")
                info.size = len(raw)
                archive.addfile(info, io.BytesIO(raw))


def zipped(file):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", LINES)


TABLE = pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]})
FILES = {
    "a.txt": "Ein Wort,\r\nnoch größer.\n\n山\n\nEnde".encode(),
    "a.md": "\ufeff# Wort\n\nnoch größer.\n".encode(),
    "a.jsonl": LINES,
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "a.csv": 'text,label\n"größer,\n""so""",x\nzwei,\n'.encode()*3,
    "a.tsv": "text\tlabel\ngrößer\tx\nzwei\ty\n".encode()*3,
    "a.parquet": packed(lambda file: pq.write_table(TABLE, file, row_group_size=7)),
    "plain.parquet": packed(lambda file: pq.write_table(
        TABLE, file, compression="none", use_dictionary=False)),
    "file.arrow": arrow(pa.ipc.new_file),
    "stream.arrow": arrow(pa.ipc.new_stream),
    "a.jsonl.gz": gzip.compress(LINES),
    "a.jsonl.bz2": bz2.compress(LINES),
    "a.jsonl.xz": lzma.compress(LINES),
    "a.jsonl.zst": pa.Codec("zstd").compress(LINES, asbytes=True),
    "a.jsonl.zip": packed(zipped),
    "a.tar": packed(shard),
    "a.tar.gz": gzip.compress(packed(shard)),
    **{f"d/a.{kind.lower()}": picture(kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP")},
}


def changed(raw, rng):
    "Bytes after one to three small changes: of a bit, a cut, a repetition, something odd."
    for _ in range(rng.randint(1, 3)):
        at, size = rng.randrange(len(raw) + 1), rng.choice([1, 2, 4, 8, 100, 1_000])
        piece, rest = raw[at:at + size], raw[at + size:]
        how = rng.randrange(6)
        if how == 0:
            piece = bytes(byte ^ 1 << rng.randrange(8) for byte in piece[:1]) + piece[1:]
        elif how == 1:
            piece = rng.randbytes(len(piece))
        elif how == 2:
            piece = b""
        elif how == 3:
            rest = b""
        elif how == 4:
            piece = piece*rng.choice([2, 3, 50])
        else:
            piece = rng.choice(ODD) + piece
        raw = raw[:at] + piece + rest
    return raw


def read(path, skip):
    "Everything that a file gives as text, as pairs or as pictures."
    account = Account("", skip)
    folder = path.parent.name == "d"
    if folder or ".tar" in path.name:
        found = examples(str(path.parent if folder else path), account=account)
        for _ in decoded(found, 8, 1, account):
            pass
        return
    for _ in documents(str(path), account=account):
        pass
    if path.suffix in (".txt", ".tsv", ".jsonl", ".arrow"):
        for _ in pairs(str(path), PairsConfig(), account=account):
            pass


def check(name, seeds):
    "Read a file after many changes, and each time look how that ends."
    path = Path("fuzz", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path.write_bytes(changed(FILES[name], random.Random(f"{name} {seed}")))
        for skip in (False, True):
            try:
                read(path, skip)
            except UsageError as e:
                assert str(e).isprintable() and len(str(e)) < 2_000, (name, seed, str(e)[:500])
            except BaseException as e:
                raise AssertionError(f"{name} with seed {seed} and {skip=}: {e!r:.500}") from e


@pytest.fixture(autouse=True)
def folder(workplace):
    "A working folder."


@pytest.mark.parametrize("name", FILES)
def test_some_changed_files(name):
    check(name, range(6))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_changed_files(name):
    check(name, range(6, 300))
