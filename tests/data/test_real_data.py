"""What people really have: read right, left out and counted, or refused with one line."""
import bz2
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
import tarfile
import time
import unicodedata
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from upath import UPath

from adaptive_dist.config.errors import UsageError
from adaptive_dist.data.account import Account
from adaptive_dist.data.images import ImageDataConfig, examples, pixels, prepare_images
from adaptive_dist.data.pairs import PairsConfig, pairs
from adaptive_dist.data.split import PARTS
from adaptive_dist.data.text import DataConfig, documents, prepare_text

LENGTH = 32
WORDS = ["sea", "sky", "rain", "cook", "salt", "oven", "heap", "list", "añejo", "山", "Größe"]
WORLD = ["Grüße, Welt", "שלום עולם", "مرحبا بالعالم", "你好,世界", "👩‍🚀🇩🇪 😀",
         "a\u2028b\x0bc\x85d"]


def sentences(count, seed=0):
    "Distinct texts."
    rng = random.Random(seed)
    return [f"{seed} {k} " + " ".join(rng.choices(WORDS, k=12)) for k in range(count)]


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


ROWS = [{"text": text, "label": "abc"[k % 3]} for k, text in enumerate(sentences(90))]
LINES = json_lines(ROWS)


@pytest.fixture(autouse=True)
def folder(workplace):
    "A working folder with a specific text of 24 documents, and generic rows."
    Path("s.txt").write_text("\n\n".join(sentences(24, seed=1)))
    Path("g.jsonl").write_bytes(LINES)
    return workplace


def put(name, content):
    "Write bytes, text, rows or a table; the name."
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif isinstance(content, list):
        path.write_bytes(json_lines(content))
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def texts(source, *columns, account=None):
    return [found.text for found in documents(source, *columns, account=account)]


def refused(work, *args, **more):
    "The one line that something ends with."
    with pytest.raises(UsageError) as caught:
        work(*args, **more)
    said = str(caught.value)
    assert said.isprintable() and len(said) < 1_000, said[:2_000]
    return said


def config(generic="g.jsonl", **changes):
    return DataConfig(**{"generic": generic, "specific": "s.txt", "generic_test": .2,
                         "cache": "cache", **changes})


def prepared(generic="g.jsonl", **changes):
    return prepare_text(config(generic, **changes), LENGTH)


def counts(data, source="generic"):
    return {why: kind["count"] for why, kind in data.report["left out"][source].items()}


def listed(data):
    "The list of what was left out."
    return [json.loads(line) for line in (data.folder/"left_out.jsonl").read_text().splitlines()]


# Letters

@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.md"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_line_ends_and_scripts_are_read_the_same(name, bom, end):
    rows = [text for text in WORLD if name[2] not in "ct" or "\u2028" not in text]
    cells = {"a.csv": [f'"{text}"' for text in rows], "a.tsv": rows}
    plain = {
        "a.jsonl": [json.dumps({"text": text}, ensure_ascii=False) for text in rows],
        "a.json": [json.dumps([{"text": text} for text in rows], indent=1)],
        "a.txt": end.join(f"{text}\n" for text in rows).split("\n"), "a.md": []}
    plain["a.md"] = plain["a.txt"]
    lines = plain.get(name) or ["text", *cells[name]]
    put(name, bom + end.join(line.rstrip("\r") for line in lines) + end)
    assert texts(name) == rows


def test_escaped_pairs_are_emoji_and_half_of_one_is_no_traceback():
    put("a.jsonl", b'{"text": "\\ud83d\\ude00"}\n')
    assert texts("a.jsonl") == ["😀"]
    half = {"text": "half \ud83d of one", "label": "\udc80", "id": "\ud800"}
    data = prepared(put("b.jsonl", LINES + json_lines([half])))
    assert data.report["generic"]["documents"] + data.report["generic_test"]["documents"] == 91
    put("s/h.jsonl", [{"text": text, "id": "\ud800"} for text in sentences(24, seed=2)])
    assert prepared(specific="s/h.jsonl").report["specific_test"]["documents"]


@pytest.mark.parametrize(("name", "raw", "said"), [
    ("a.txt", b"one\n\ntw\0o\n", "zero byte at offset 7"),
    ("a.jsonl", b'{"text": "one"}\n\0\0\0\0\n', "zero byte at offset 16"),
    ("a.csv", b"text\none\nt\0wo\n", "zero byte at offset 10"),
    ("a.txt", "Wörter\n\n".encode() + "Wörter\n".encode("latin-1"), "0xf6 at offset 10"),
    ("a.jsonl", b'{"text": "one"}\n{"text": "\xf6"}\n', "0xf6 at offset 26"),
    ("a.csv", b"text\none\n\xf6\n", "0xf6 at offset 9"),
    ("a.txt", "Wörter".encode("utf-16"), "a.txt is UTF-16: convert it, as with iconv"),
    ("a.jsonl", '{"text": "one"}\n'.encode("utf-16-be"), "zero byte at offset 0"),
    ("a.csv", "text\none\n".encode("utf-16"), "a.csv is UTF-16"),
])
def test_what_is_no_utf8_is_named_by_its_byte(name, raw, said):
    assert said in refused(texts, put(name, raw))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "d/a.txt"])
@pytest.mark.slow
def test_one_giant_line_is_one_document(name):
    giant = "sea " * 12_500_000
    content = {".jsonl": '{{"text": "{}"}}\n', ".json": '[{{"text": "{}"}}]',
               ".csv": 'text\n"{}"\n', ".tsv": "text\n{}\n", ".txt": "{}"}[Path(name).suffix]
    put(name, content.format(giant))
    found = texts(name.split("/")[0])
    assert len(found) == 1 and found[0].strip() == giant.strip()


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.json"])
def test_one_giant_line_that_cannot_be_read_is_one_short_line(name):
    giant = "sea, " * 2_000_000
    put(name, {".jsonl": f'{{"{giant}": 1}}\n', ".json": f'[{{"{giant}": 1}}]'}.get(
        Path(name).suffix, giant + "\n" + giant + "\n"))
    refused(texts, name)
    refused(texts, put("b.jsonl", giant))
    refused(texts, put("b.txt", "sea " * 17_000_000))


# JSON

def test_a_dotted_name_is_a_column_within_another():
    rows = [{"meta": {"body": "one", "tag": {"name": "x"}}}, {"meta": {"body": None}},
            {"meta": None}, {}, {"meta": {"body": "two"}}, {"meta.body": "three"}]
    account = Account()
    put("a.jsonl", rows)
    found = list(documents("a.jsonl", "meta.body", "meta.tag.name", account=account))
    assert [d[:2] for d in found] == [("one", "x"), ("two", "a"), ("three", "a")]
    assert account.counts == {"without text": 1, "without a column for the text": 2}
    put("a.parquet", pa.table({"meta": [row.get("meta") for row in rows], "id": list("abcdef")}))
    found = list(documents("a.parquet", "meta.body", "meta.tag.name"))
    assert found == [("one", "x", "a"), ("two", "a", "e")]
    with pa.OSFile("a.arrow", "wb") as file, pa.ipc.new_file(file, pa.schema([
            ("meta", pa.struct([("body", pa.string())]))])) as writer:
        writer.write_table(pa.table({"meta": [{"body": "one"}, {"body": None}]}))
    assert texts("a.arrow", "meta.body") == ["one"]


@pytest.mark.parametrize(("row", "reason"), [
    ({"label": "x"}, "without a column for the text"),
    ({"text": None}, "without text"),
    ({"text": " \u200a\n"}, "without text"),
])
def test_rows_without_text_are_counted(row, reason):
    data = prepared(put("a.jsonl", json_lines([*ROWS[:50], row, *ROWS[50:]])))
    assert counts(data) == {reason: 1}
    assert [(item["id"], item["reason"]) for item in listed(data)] == [("a.jsonl:51", reason)]


@pytest.mark.parametrize(("row", "said"), [
    ({"text": 3}, "column 'text' of a.jsonl holds int, not text, in row 91"),
    ({"text": ["a"]}, "holds list, not text, in row 91"),
    ({"text": {"a": 1}}, "holds dict, not text, in row 91"),
    ([1], "holds list, not an object, in line 91"),
    (None, "holds NoneType, not an object, in line 91"),
])
def test_rows_with_something_else_are_named_or_left_out(row, said):
    put("a.jsonl", LINES + json_lines([row]) + json_lines(ROWS[:1]))
    assert said in refused(prepared, "a.jsonl")
    data = prepared("a.jsonl", skip_bad_rows=True)
    assert counts(data) == {"cannot be read": 1, "there before": 1}
    assert [item["id"] for item in listed(data)] == ["a.jsonl:91", "a.jsonl:92"]
    assert said in listed(data)[0]["fault"]


def test_long_integers_and_deep_nesting_are_no_traceback():
    long = b'{"text": "one", "meta": ' + b"9"*5_000 + b"}\n"
    assert texts(put("a.jsonl", long)) == ["one"]
    deep = b'{"text": "one", "meta": ' + b"["*100_000 + b"]"*100_000 + b"}\n"
    assert "line 1" in refused(texts, put("b.jsonl", deep))
    assert texts(put("c.jsonl", deep + long), account=Account("", True)) == ["one"]


def test_json_in_other_layouts():
    record = b"".join(b"\x1e" + line for line in LINES.splitlines(keepends=True))
    assert texts(put("a.jsonl", record)) == [row["text"] for row in ROWS]  # RFC 7464
    assert texts(put("a.json", json.dumps(ROWS, indent=2))) == [row["text"] for row in ROWS]
    assert "line 2" in refused(texts, put("b.json", json.dumps({"rows": ROWS}, indent=2)))
    assert "row 1" in refused(texts, put("c.json", json.dumps({"rows": ROWS})))
    assert "line 1" in refused(texts, put("d.jsonl", LINES.replace(b"\n", b"")))
    cut = LINES[:-20]
    assert "line 90" in refused(texts, put("e.jsonl", cut))


# Tables

def test_columns_of_parquet_of_every_kind():
    text = sentences(4)
    table = pa.table({
        "text": pa.array([text[0], None, "", text[3]]).dictionary_encode(),
        "label": pa.array([1., None, 2., None])})
    found = list(documents(put("a.parquet", table)))
    assert [d[:2] for d in found] == [(text[0], "1.0"), (text[3], "a")]
    for name, column, said in (
            ("list", pa.array([["a"], None]), "holds list, not text, in row 1"),
            ("binary", pa.array([b"a"]), "holds bytes, not text, in row 1"),
            ("null", pa.nulls(3), "holds no text"),
            ("none", pa.array([], pa.string()), "holds no text")):
        assert said in refused(texts, put(f"{name}.parquet", pa.table({"text": column})))
    schema = pa.schema([("text", pa.string())])
    pq.ParquetWriter("groups.parquet", schema).close()
    assert "holds no text" in refused(texts, "groups.parquet")
    pq.write_table(pa.table({"text": text, "time": pa.array([1, 2, 3, 4], pa.timestamp("ns"))}),
                   "rows.parquet", row_group_size=1)
    assert texts("rows.parquet") == text
    twice = pa.table([pa.array(text), pa.array(text)], names=["text", "text"])
    assert texts(put("twice.parquet", twice)) == text
    large = pa.table({"text": pa.array(text, pa.large_string()), "id": [4, 3, 2, 1]})
    assert [d.id for d in documents(put("large.parquet", large))] == ["4", "3", "2", "1"]
    view = pa.table({"text": pa.array(text, pa.string_view())})
    assert texts(put("view.parquet", view)) == text


def test_cells_of_csv():
    quoted = 'text,label\r\n"one\r\n\r\n""two"", three",x\r\nfour,\r\n'
    found = [d[:2] for d in documents(put("a.csv", quoted))]
    assert found == [('one\n\n"two", three', "x"), ("four", "a")]
    assert texts(put("b.csv", "text\n" + "sea "*100_000)) == [("sea "*100_000)]
    assert texts(put("c.csv", ",text\n0,one\n1,two\n")) == ["one", "two"]  # the index of pandas
    for name, content, said in (
            ("d.csv", 'text,label\n"one, x\n', "is not CSV in line 2"),
            ("e.csv", "text,label\none\\, two,x\n", "cells in line 2"),
            ("f.csv", "text,label\none,x,\n", "cells in line 2"),
            ("g.csv", "body;label\none;x\n", "no column 'text'"),
            ("h.csv", "bo\tdy\tlabel\none\tx\n", "no column 'text'"),
            ("i.csv", '"bo\ndy",label\none,x\n', "no column 'text'"),
            ("j.csv", "text,label\n", "holds no text"),
            ("k.tsv", "text\tlabel\none\n", "cells in line 2")):
        assert said in refused(texts, put(name, content))


def test_arrow_in_both_layouts_and_cut_off():
    table = pa.table({"text": [row["text"] for row in ROWS]})
    for name, writing in (("a.arrow", pa.ipc.new_file), ("b.arrow", pa.ipc.new_stream)):
        with pa.OSFile(name, "wb") as file, writing(file, table.schema) as writer:
            for batch in table.to_batches(max_chunksize=30):
                writer.write_batch(batch)
        raw = Path(name).read_bytes()
        assert texts(name) == table["text"].to_pylist()
        for size in (*range(1, len(raw), 97), *range(len(raw) - 300, len(raw))):
            refused(texts, put(f"cut-{name}", raw[:size]))


# Compression

def zipped(raw):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", raw)
    return file.getvalue()


def zstd(raw):
    return pa.Codec("zstd").compress(raw, asbytes=True)


PACKING = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd,
           "zip": zipped}


@pytest.mark.parametrize("kind", PACKING)
def test_packed_files_read_as_plain_ones(kind):
    assert texts(put(f"a.jsonl.{kind}", PACKING[kind](LINES))) == [r["text"] for r in ROWS]
    if kind != "zip":  # of several pieces, as parallel packers and cat write them
        both = PACKING[kind](LINES[:3_000]) + PACKING[kind](LINES[3_000:])
        assert texts(put(f"b.jsonl.{kind}", both)) == [r["text"] for r in ROWS]
    for name, raw in (("a.csv", b"text\none\n"), ("a.tsv", b"text\none\n"), ("a.txt", b"one"),
                      ("A.JSON", b'[{"text": "one"}]')):
        assert texts(put(f"{name}.{kind}", PACKING[kind](raw))) == ["one"]


@pytest.mark.parametrize("kind", PACKING)
def test_a_packed_file_that_is_cut_off_is_never_read_as_whole(kind):
    raw = PACKING[kind](LINES)
    sizes = {*range(1, len(raw), len(raw)//16), *range(len(raw) - 16, len(raw)), *range(1, 16)}
    for size in sorted(sizes):
        refused(texts, put(f"a.jsonl.{kind}", raw[:size]))
        account = Account("", skip_bad_rows=True)
        try:
            texts(f"a.jsonl.{kind}", account=account)
        except UsageError as e:
            assert "holds no text" in str(e)
        assert account.counts["cannot be read"]


@pytest.mark.parametrize("kind", PACKING)
def test_a_packed_file_with_other_bytes_is_never_read_as_whole(kind):
    raw, rng = bytearray(PACKING[kind](LINES)), random.Random(0)
    expected = [row["text"] for row in ROWS]
    for _ in range(40):
        at = rng.randrange(len(raw)//4, len(raw)//2)
        changed = bytes(raw[:at]) + bytes([raw[at] ^ 1 << rng.randrange(8)]) + bytes(raw[at + 1:])
        with suppress(UsageError):  # zstd as Arrow packs it has no checksum
            assert texts(put(f"a.jsonl.{kind}", changed)) == expected or kind == "zst"


def test_padding_is_ignored_and_what_is_wrongly_named_is_not():
    whole = [row["text"] for row in ROWS]
    assert texts(put("a.jsonl.gz", gzip.compress(LINES) + bytes(1_000))) == whole
    for kind in PACKING:
        assert f"b.jsonl.{kind}" in refused(texts, put(f"b.jsonl.{kind}", LINES))
    two = io.BytesIO()
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.jsonl", LINES)
        archive.writestr("b.jsonl", LINES)
    assert "archive of 2 files" in refused(texts, put("c.jsonl.zip", two.getvalue()))


# Places

@pytest.mark.parametrize("name", [
    "my file.jsonl", "Größe.jsonl", unicodedata.normalize("NFD", "Größe.jsonl"), "a~b.jsonl",
    "~a.jsonl", "a[1].jsonl", "what?.jsonl", "a*.jsonl", "50%.jsonl", "a#b.jsonl", "a&b.jsonl",
    "'a'.jsonl", "a:b.jsonl", "山.jsonl", "😀.jsonl", "a,b.jsonl", "a\\b.jsonl", "x/d e/f g.jsonl"])
def test_names_of_files(name):
    put(name, LINES)
    if not name.startswith("~"):
        assert len(texts(name)) == 90
    assert len(texts(f"./{name}")) == 90
    assert len(texts(os.path.abspath(name))) == 90
    put(f"d/{name}", LINES)
    found = list(documents("d"))
    assert len(found) == 90 and found[0].id == f"{name}:1"


def test_a_name_that_is_no_text_or_holds_a_line_end():
    os.makedirs("d")
    with open(b"d/caf\xe9.jsonl", "wb") as file:
        file.write(LINES)
    data = prepared("d")
    assert len(data.ids("generic", slice(None))) and data.fingerprints
    put("e/a\nb.jsonl", LINES + b"no JSON\n")
    refused(texts, "e")
    refused(texts, "nowhere\n.jsonl")


def test_home_globs_and_links(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path/"home"))
    put("home/x/a.jsonl", ROWS[:2])
    put("home/x/b.jsonl", ROWS[2:4])
    put("home/x/.c.jsonl", ROWS[4:6])
    put("home/y/d.jsonl", ROWS[6:8])
    assert len(texts("~/x")) == len(texts("~/x/*.jsonl")) == 4
    assert len(texts("~/x/a.jsonl")) == len(texts("~/x/[b-z].jsonl")) == 2
    assert len(texts("home/**/*.jsonl")) == len(texts("~/*/?.jsonl")) == 6
    assert "no such file or folder" in refused(texts, "home/x/*.csv")
    os.symlink("home/x", "linked")
    os.symlink("a.jsonl", "home/x/e.jsonl")
    assert len(texts("linked")) == 6 and len(texts("linked/e.jsonl")) == 2
    os.symlink("..", "home/x/again")
    assert len(texts("home/y")) == 2
    assert len(texts("home/x")) == 8  # by way of the link, y too, and nothing for ever
    os.symlink("gone.jsonl", "home/y/f.jsonl")
    account = Account()
    texts("home/y", account=account)
    assert account.counts == {"a link that leads nowhere": 1}
    assert "no such file" in refused(texts, "home/y/f.jsonl")
    os.symlink("round", "round")
    assert "round" in refused(texts, "round")
    os.mkfifo("home/y/pipe.jsonl")
    assert len(texts("home/y")) == 2


def test_what_is_not_read_is_counted():
    for name in ("data/a.jsonl", "data/b.jsonl.xz", "d.jsonl.bz2", "c.ndjson"):
        packed = {".xz": lzma.compress, ".bz2": bz2.compress}.get(Path(name).suffix, bytes)
        put(f"clone/{name}", packed(LINES))
    for name in ("README.md", "LICENSE.txt", "state.json", "a.bin"):
        put(f"clone/{name}", b"{}")
    put("clone/e.jsonl.gz", b"")
    account = Account()
    assert len(texts("clone", account=account)) == 360
    assert account.counts == {"a file about the data": 3, "a file of another kind": 1,
                              "an empty file": 1}


def test_another_working_folder_finds_the_same_cache(monkeypatch, tmp_path):
    one = prepared(cache=str(tmp_path/"cache"))
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    two = prepared("../g.jsonl", specific=str(tmp_path/"s.txt"), cache="../cache")
    assert one.folder == two.folder.resolve() and len(list(Path("../cache").glob("[!.]*"))) == 1


@pytest.mark.parametrize("cache", ["g.jsonl/cache", "/proc/cache", "/dev/null/cache"])
def test_a_cache_that_cannot_be_written_is_one_line(cache):
    assert "--cache" in refused(prepared, cache=cache)


def test_c_as_the_language_of_the_shell():
    put("Größe/wörter.jsonl", json_lines([{"text": text, "label": "Maß"} for text in WORLD*3])
        + json_lines([{"text": f"{t} ö", "id": f"ü{k}"} for k, t in enumerate(sentences(30))]))
    code = ("import sys; from adaptive_dist.data.text import *;"
            "d = prepare_text(DataConfig(generic=sys.argv[1], specific='s.txt', cache='c',"
            "generic_test=.2), 32); print(ascii(sorted(d.ids('generic', slice(None)))[-1]))")
    run = subprocess.run(
        [sys.executable, "-c", code, "Größe"], capture_output=True, check=False,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert run.returncode == 0, run.stderr.decode()
    assert "\\xfc" in run.stdout.decode()


# Stores

@pytest.fixture
def bucket():
    "A place in an object store that lives in this process."
    root = UPath("memory://bucket")
    yield root
    if root.exists():
        root.rmdir(recursive=True)


@pytest.mark.parametrize("path", [
    "memory://bucket/c", "memory://bucket/c/*.jsonl.gz", "memory://bucket/c/a.jsonl.gz",
    "memory://bucket/c/**/*.gz", "memory:///bucket/c"])
def test_an_object_store_is_a_place(path, bucket):
    (bucket/"c").mkdir(parents=True)
    (bucket/"c/a.jsonl.gz").write_bytes(gzip.compress(LINES))
    (bucket/"c/notes.bin").write_bytes(b"no")
    (bucket/"c/.hidden.jsonl").write_bytes(LINES)
    data = prepared(path)
    total = data.report["generic"]["documents"] + data.report["generic_test"]["documents"]
    assert total == 90 and data.ids("generic", slice(1))[0].startswith("a.jsonl.gz:")
    assert prepared(path).folder == data.folder
    (bucket/"c/a.jsonl.gz").write_bytes(gzip.compress(json_lines(ROWS[:60])))
    assert prepared(path).folder != data.folder


def test_a_store_without_the_file_or_without_a_driver_is_one_line(bucket):
    (bucket/"c").mkdir(parents=True)
    (bucket/"c/a.jsonl").write_bytes(LINES)
    for path in ("memory://bucket/d", "memory://bucket/d/a.jsonl", "memory://bucket/c/*.csv",
                 "nonsense://a/b", "abfs://a/b.jsonl", "memory://bucket/c/a.bin"):
        refused(prepared, path)
        refused(prepared, specific=path)
    (bucket/"c/a.jsonl").write_bytes(LINES + b"no JSON\n")
    assert "a.jsonl is not JSON in line 91" in refused(prepared, "memory://bucket/c")


# Parts

def test_one_text_in_both_sets_is_never_trained_on_and_tested_on():
    texts_ = sentences(24, seed=1)
    forms = [f"{t}\n" for t in texts_] + [f"\ufeff {t.replace(' ', '  ')}" for t in texts_]
    forms += [unicodedata.normalize("NFD", t) for t in texts_]
    put("a.jsonl", LINES + json_lines([{"text": t} for t in forms]))
    for k, text in enumerate(texts_):
        put(f"sp/{k}.txt", text)
    for specific in ("s.txt", "sp"):
        data = prepared("a.jsonl", specific=specific)
        assert counts(data) == {"in the specific set": 72}
        found = {i["id"] for i in listed(data)}
        assert found == {f"a.jsonl:{k}" for k in range(91, 163)}


def test_a_specific_set_that_is_the_generic_one():
    assert "leaves no text for generic" in refused(prepared, specific="g.jsonl", planted=0.)
    data = prepared(specific="g.jsonl", planted=.5)
    ids = {part: set(data.ids(part, slice(None))) for part in PARTS}
    assert sum(map(len, ids.values())) == 90 == len(set().union(*ids.values()))
    put("copy.jsonl", LINES)  # which nobody says to be the same
    assert "left out: 90 in the specific set" in refused(prepared, specific="copy.jsonl")


def test_ids_find_rows_again():
    rows = [{**row, "url": f"http://x/{k}"} for k, row in enumerate(ROWS)]
    put("a.jsonl", rows)
    data, by_url = prepared("a.jsonl"), prepared("a.jsonl", id_column="url")
    for part in ("generic", "generic_test"):
        found = getattr(data, part)[:]["tokens"]
        for k, (name, url) in enumerate(zip(
                data.ids(part, slice(None)), by_url.ids(part, slice(None)), strict=True)):
            file, number = name.rsplit(":", 1)
            assert file == "a.jsonl" and url == f"http://x/{int(number) - 1}"
            begin = rows[int(number) - 1]["text"].encode()
            assert found[k].tobytes().rstrip(b"\0") in begin
    assert all(i.startswith("s.txt:") for i in by_url.ids("specific_test", slice(None)))


# What cannot be read, left out

BAD = {
    "jsonl": (b'{"text": "one"}\nno JSON\n{"text": "\xff"}\n{"text": "two"}\n', 2),
    "csv": (b'text,label\none,x\n1,2,3\n\xff,x\n"t\0wo\n",x\ntwo,x\n', 3),
    "tsv": (b"text\tlabel\none\tx\n1\t2\t3\n\xff\tx\ntwo\tx\n", 2),
    "txt": (b"one\n\n\xffbad\nof it\n\nno\0\n\ntwo\n", 2),
    "json": (b'[{"text": "one"}, 3, {"text": "two"}]', 1),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_are_left_out_one_by_one(kind):
    raw, bad = BAD[kind]
    put(f"d/{'x' if kind == 'txt' else 'a'}.{kind}", raw)
    source = "d" if kind != "txt" else "d/x.txt"
    refused(texts, source)
    account = Account("generic", skip_bad_rows=True, path=Path("list.jsonl"))
    assert texts(source, account=account) == ["one", "two"]
    assert account.counts == {"cannot be read": bad}
    account.flush()
    found = [json.loads(line) for line in Path("list.jsonl").read_text().splitlines()]
    assert len(found) == bad and all(i["fault"] and i["id"] for i in found)
    put(f"e/a.{kind}", raw)
    put("e/g.jsonl", LINES)
    data = prepared("e" if kind != "txt" else "e/g.jsonl", skip_bad_rows=True)
    if kind != "txt":
        assert counts(data) == {"cannot be read": bad}
        assert "--strict" in refused(prepared, "e", skip_bad_rows=True, strict=True)


def test_a_broken_shard_costs_its_rest():
    pq.write_table(pa.table({"text": sentences(3_000, seed=5)}), "whole.parquet",
                   row_group_size=1_000, compression="none", use_dictionary=False)
    raw = Path("whole.parquet").read_bytes()
    put("d/a.parquet", raw[:len(raw)//3])
    put("d/b.jsonl", LINES)
    assert "d/a.parquet after row 0" in refused(prepared, "d")
    data = prepared("d", skip_bad_rows=True)
    assert counts(data) == {"cannot be read": 1} and listed(data)[0]["id"] == "a.parquet:1"
    put("d/a.parquet", raw[:len(raw)//2] + b"\xff"*64 + raw[len(raw)//2 + 64:])
    assert counts(prepared("d", skip_bad_rows=True)).keys() <= {"cannot be read"}


# The cache

def test_a_warm_start_opens_nothing_of_the_corpus(monkeypatch):
    put("c/a.jsonl", LINES)
    put("c/b.csv.gz", gzip.compress(b"text\none\n"))
    first, opened = prepared("c"), []
    for kind in (Path, UPath, type(UPath("memory://x"))):
        def noted(self, *args, original=kind.open, **more):
            opened.append(str(self))
            return original(self, *args, **more)
        monkeypatch.setattr(kind, "open", noted)
    sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == "open" else None)
    assert prepared("c").folder == first.folder
    assert opened and not [name for name in opened if name.endswith((".jsonl", ".gz", "s.txt"))]


def test_other_contents_behind_the_same_size_and_time_are_found_by_verify():
    first, stat = prepared(), os.stat("g.jsonl")
    put("g.jsonl", LINES.replace(b"sea", b"SEA"))
    os.utime("g.jsonl", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepared().folder == first.folder
    assert prepared(verify=True).folder != first.folder
    put("g.jsonl", LINES)
    assert prepared(verify=True).fingerprints == first.fingerprints


def test_what_a_killed_build_left_goes_with_the_next():
    put("cache/.building/0123/generic/data-00000.arrow", bytes(1_000))
    put("cache/.building/0123.lock", b"")
    prepared()
    assert not list(Path("cache/.building").rglob("*.arrow"))


def test_a_file_that_changes_while_it_is_read_is_one_line(monkeypatch):
    from adaptive_dist.data import text as module

    original = module.cut

    def meanwhile(*arguments):
        with open("g.jsonl", "ab") as file:
            file.write(json_lines([{"text": f"more {time.monotonic_ns()}"}]))
        return original(*arguments)

    monkeypatch.setattr(module, "cut", meanwhile)
    assert "changed while" in refused(prepared, generic_limit=95)
    assert not list(Path("cache").glob("[!.]*")) and not list(Path("cache/.building").glob("*/*"))


# Pairs

def aligned(**files):
    for name, lines in files.items():
        put(f"a.{name}", lines)
    return [pair[:2] for pair in pairs("a.en,a.de", PairsConfig())]


def test_aligned_files():
    odd = ["a\u2028b", "c\x0bd", "e\x85f", "g"]
    found = aligned(en="\n".join(odd), de="\r\n".join("abcd") + "\r\n")
    assert [target for _, target in found] == list("abcd") and len(found) == 4
    said = refused(aligned, en="a\n"*301, de="b\n"*300)
    assert "a.en has 301 lines and a.de has 300" in said
    assert "a.de has 5 lines" in refused(aligned, en="a\n"*3, de="b\n"*5)
    put("b.en.gz", gzip.compress(b"a\nb\n"))
    put("b.de", b"c\nd\n")
    assert len(list(pairs("b.en.gz,b.de", PairsConfig()))) == 2
    put("b.en.gz", gzip.compress(b"a\nb\n"*999)[:-9])
    refused(lambda: list(pairs("b.en.gz,b.de", PairsConfig())))
    for raw in (b"\xffa\n", b"a\0\n", "a\n".encode("utf-16")):
        refused(aligned, en=raw, de="b\n")


def test_tables_of_pairs():
    rows = [{"translation": {"en": "a", "de": "b"}}, {"translation": {"en": "a"}},
            {"translation": {"en": "c", "de": None}}]
    account = Account()
    found = list(pairs(put("a.jsonl", rows), PairsConfig(), account=account))
    assert [p[:2] for p in found] == [("a", "b"), ("c", "")]
    assert account.counts == {"without a column for a language": 1}
    for name, content in (("a.tsv", "a\tb\t0.3864\n"*20), ("b.tsv", "1.2\ta\tb\n"*20)):
        put(name, content)
        with pytest.raises(UsageError, match="only numbers in cell"):
            list(pairs(name, PairsConfig()))
    put("c.tsv", b"a\tb\n\xff\tb\na\tb\tc\td\ne\tf\n")
    refused(lambda: list(pairs("c.tsv", PairsConfig())))
    account = Account("", skip_bad_rows=True)
    assert len(list(pairs("c.tsv", PairsConfig(), account=account))) == 2
    assert account.counts == {"cannot be read": 2}


# Pictures

def file_of(picture, kind="PNG", **more):
    file = io.BytesIO()
    picture.save(file, kind, **more)
    return file.getvalue()


def noise(seed=0, size=(16, 16), mode="RGB"):
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def test_pictures_of_every_mode():
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert (pixels(file_of(white, "JPEG"), 8) > 250).all()
    ramp = np.linspace(0, 2**16 - 1, 256).astype(np.uint16).reshape(16, 16)
    for kind in ("PNG", "TIFF"):
        found = pixels(file_of(Image.fromarray(ramp), kind), 16)
        assert len(np.unique(found)) > 200 and found[0, 0, 0] < 5 and found[-1, -1, 0] > 250
    colours = noise().quantize(256)
    near = np.abs(pixels(file_of(colours), 16).astype(int) - np.asarray(noise()))
    assert near.mean() < 30
    frames = [Image.new("RGB", (16, 16), c) for c in ("red", "blue")]
    gif = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (pixels(gif, 8) == pixels(file_of(frames[0]), 8)).all()
    half = Image.new("RGB", (16, 16), "black")
    half.paste("white", (0, 0, 16, 8))
    turned = Image.Exif()
    turned[0x0112] = 3  # stored upside down
    found = pixels(file_of(half, "JPEG", exif=turned), 16)
    assert found[:4].mean() < 20 and found[-4:].mean() > 230
    for mode in ("1", "L", "LA", "P", "RGBA", "F"):
        picture = noise(mode="L").convert(mode) if mode == "F" else noise(mode=mode)
        kind = "TIFF" if mode == "F" else "PNG"
        assert pixels(file_of(picture, kind), 8).std() > 5, mode
    for size in ((1, 1), (1, 5_000), (5_000, 1)):
        assert pixels(file_of(noise(size=size)), 8).shape == (8, 8, 3)


def classes():
    for k in range(24):
        put(f"vc/{'ab'[k % 2]}/{k}.png", file_of(noise(1_000 + k)))


def seen(generic, **changes):
    classes()
    return prepare_images(ImageDataConfig(**{
        "generic": generic, "specific": "vc", "image_size": 16, "caption_length": 32,
        "generic_test": .2, "cache": "cache", **changes}))


def test_pictures_that_cannot_be_used_are_counted():
    for k in range(40):
        put(f"w/{k} ä.jpg", file_of(noise(k), "JPEG"))
        put(f"w/{k} ä.txt", f"caption number {k}")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    whole = file_of(noise(99))
    for name, raw in (("bomb.png", bomb.getvalue()), ("zero.png", b""), ("text.png", b"no"),
                      ("cut.png", whole[:len(whole)//2])):
        put(f"w/{name}", raw)
    data = seen("w")
    assert counts(data) == {"does not decode": 3, "an empty file": 1}
    total = data.report["generic"]["documents"] + data.report["generic_test"]["documents"]
    assert total == 40
    captions = {row.tobytes().rstrip(b"\0") for row in data.generic[:]["tokens"]}
    assert len(captions) == data.report["generic"]["documents"]
    assert all(b"caption number" in caption for caption in captions)


def test_sixteen_bits_of_grey_are_different_pictures():
    for k in range(40):
        values = np.random.default_rng(k).integers(0, 2**16, (16, 16)).astype(np.uint16)
        put(f"x/a/{k}.png", file_of(Image.fromarray(values)))
    assert counts(seen("x")) == {}


def tar_of(members, name="a.tar", mode="w"):
    with tarfile.open(name, mode) as file:
        for path, content in members:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return name


def samples(count=40):
    return [(f"{k:03}.{end}", raw) for k in range(count)
            for end, raw in (("jpg", file_of(noise(k), "JPEG")), ("txt", b"number %d" % k))]


def test_shards_without_captions_pictures_or_sense():
    more = [("900.jpg", file_of(noise(900), "JPEG")), ("900.json", b'["a cat", "a dog"]'),
            ("901.jpg", file_of(noise(901), "JPEG")), ("901.json", b'{"caption": ["x"]}'),
            ("902.jpg", file_of(noise(902), "JPEG")), ("902.json", b'{"caption": '),
            ("903.jpg", file_of(noise(903), "JPEG")), ("904.txt", b"no picture"),
            ("905.jpg", file_of(noise(905), "JPEG")), ("905.txt", b"\xff\xfe"),
            ("906.jpg", b"no"), ("906.txt", b"fine")]
    data = seen(tar_of(samples() + more))
    found = counts(data)
    assert found["no picture"] == 1 and found["does not decode"] == 1
    assert found["no caption"] >= 3
    ids = {item["id"] for item in listed(data)}
    assert {"a.tar:900", "a.tar:902", "a.tar:903", "a.tar:904", "a.tar:906"} <= ids
    said = refused(seen, tar_of([m for m in samples() if m[0].endswith("jpg")], "b.tar"))
    assert "no caption" in said


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_shards_packed_and_cut_off(kind):
    name = f"a.tar.{kind}".rstrip(".")
    tar_of(samples(), name, f"w:{kind}")
    assert len(list(examples(name))) == 40
    raw = Path(name).read_bytes()
    for size in {len(raw)//2, len(raw)//2//512*512, 100, 5} | ({40*2*1024} if not kind else set()):
        account = Account()
        put(f"cut.tar.{kind}".rstrip("."), raw[:size])
        assert len(list(examples(f"cut.tar.{kind}".rstrip("."), account=account))) < 40
        assert account.counts["breaks off"] == 1
