"Sources of text: each format, each thing that cannot be read, and the schemas of C4 and the Pile from local copies."
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptive_dist.engine.errors import UsageError
from adaptive_dist.engine.sources import documents, fingerprint, is_part

ROWS = [{"text": "Cells divide.\nThey grow, äh.", "label": "Biology"}, {"text": "Stars burn."}]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    "A folder to write to, which is also the working folder."
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, content):
    "Write text, bytes, rows (as JSON lines, zipped for .gz) or columns (as Parquet); the name."
    (path := Path(name)).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict): pq.write_table(pa.table(content), path)
    elif isinstance(content, bytes): path.write_bytes(content)
    else:
        if isinstance(content, list): content = "".join(json.dumps(row) + "\n" for row in content)
        raw = content.encode()
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return name


def message(source, *args):
    "The message, of one line, that reading a source ends with."
    with pytest.raises(UsageError) as caught: list(documents(source, *args))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("ending", [".txt", ".text", ".md", ".TXT"])
def test_blank_lines_separate_documents_of_a_text_file(ending):
    write(f"notes{ending}", b"\xef\xbb\xbfCells divide.\r\nThey gr\xc3\xb6w.\r\n \r\n\r\n\r\nStars burn.")
    assert list(documents(f"notes{ending}")) == [("Cells divide.\nThey gröw.", "notes"), ("Stars burn.", "notes")]


@pytest.mark.parametrize(("name", "content"), [
    ("rows.jsonl", ROWS),
    ("rows.JSONL", "\n\n".join(map(json.dumps, ROWS))),
    ("rows.json", ROWS),
    ("rows.json", json.dumps(ROWS, indent=2)),
    ("rows.csv", 'label,text\r\nBiology,"Cells divide.\nThey grow, äh."\r\n,Stars burn.\r\n'),
    ("rows.parquet", {"id": [1, 2], "text": [r["text"] for r in ROWS], "label": ["Biology", None]}),
])
def test_rows_have_their_own_label_or_the_name_of_the_file(name, content):
    assert list(documents(write(name, content))) == [(ROWS[0]["text"], "Biology"), ("Stars burn.", "rows")]


def test_columns_can_be_named_and_rows_without_text_are_skipped():
    write("r.jsonl", [{"body": "one", "topic": 0}, {"body": None}, {"body": " "}, {"body": "two", "topic": ""}])
    assert list(documents("r.jsonl", "body", "topic")) == [("one", "0"), ("two", "r")]


def test_a_folder_labels_text_by_folder_and_skips_what_is_hidden():
    for name in ("sea/1.txt", "sea/deep/2.MD", "4.txt", ".git/5.txt", "sea/.6.txt", "sea/7.png"): write(f"world/{name}", f"{name}\n\nend")
    write("world/rows.jsonl", [{"text": "smoke"}, {"text": "fire", "label": "heat"}])
    write("world/sea/rows.csv", "text\nsalt\n")
    write("world/void.txt", "")
    assert list(documents("world")) == [
        ("4.txt\n\nend", "world"), ("smoke", "rows"), ("fire", "heat"), ("sea/1.txt\n\nend", "sea"), ("sea/deep/2.MD\n\nend", "sea"),
        ("salt", "sea")]


def test_a_limit_reads_no_further():
    write("r.jsonl", '{"text": "one"}\n{"text": "two"}\nnot JSON\n')
    assert len(list(documents("r.jsonl", limit=2))) == 2


@pytest.mark.parametrize(("name", "content", "essentials"), [
    ("a.txt", b"plain\nPNG\0\0", ["a.txt is not text", "zero byte at offset 9"]),
    ("a.txt", b"\x89PNG\r\n\0\0", ["a.txt is not UTF-8", "byte 0x89 at offset 0", "name a text file"]),
    ("a.txt", "Wort\nWört".encode("latin-1"), ["a.txt is not UTF-8", "byte 0xf6 at offset 6", "convert it"]),
    ("a.jsonl", b'{"text": "W\xf6rt"}', ["a.jsonl is not UTF-8", "offset 11"]),
    ("a.csv", b"text\nW\xf6rt", ["a.csv is not UTF-8", "offset 6"]),
    ("a.txt", "", ["a.txt is empty"]),
    ("a.txt", " \n\n\t", ["a.txt holds no text"]),
    ("a.jsonl", [{"text": ""}], ["a.jsonl holds no text"]),
    ("a.jsonl", '{"text": "one"}\n\n{"text": "two\n', ["a.jsonl is not JSON in line 3"]),
    ("a.jsonl", '{"text": "one"}\n3\n', ["a.jsonl holds int, not an object, in line 2", "one object a line"]),
    ("a.json", '[{"text": "one"},\n{"text": two}]', ["a.json is not JSON in line 2"]),
    ("a.json", '["one"]', ["a.json holds str, not an object, in line 1"]),
    ("a.csv", "text,label\none,x\ntwo, three,y\n", ["a.csv", "cells in line 3", "quote"]),
    ("a.csv", "text,label\none\n", ["a.csv", "cells in line 2"]),
    ("a.csv", 'text\n"one\n', ["a.csv is not CSV in line 2"]),
    ("a.parquet", b"PAR1 and nothing else", ["cannot read a.parquet as Parquet", "write it again"]),
    ("a.jsonl", [{"body": "one", "id": 3}], ["a.jsonl has no column 'text'", "body, id", "--text-column"]),
    ("a.csv", "body,id\none,3\n", ["a.csv has no column 'text'", "body, id", "--text-column"]),
    ("a.parquet", {"body": ["one"], "id": [3]}, ["a.parquet has no column 'text'", "body, id", "--text-column"]),
    ("a.jsonl", [{"text": "one"}, {"text": ["two"]}], ["column 'text' of a.jsonl holds list, not text, in row 2", "--text-column"]),
    ("a.parquet", {"text": [1]}, ["column 'text' of a.parquet holds int, not text"]),
    ("a.docx", "one", ["cannot tell what a.docx holds", ".txt", ".parquet"]),
    ("d/a.docx", "one", ["the folder d holds no file that can be read", ".txt"]),
    ("d/.a/a.txt", "one", ["the folder d holds no file"]),
    ("d/a.txt", "W\n\nört".encode("latin-1"), ["d/a.txt is not UTF-8", "offset 3"]),
])
def test_what_cannot_be_read_ends_with_one_line(name, content, essentials):
    write(name, content)
    said = message(name.split("/")[0])
    for essential in essentials: assert essential in said


def test_missing_and_forbidden_files_end_with_one_line(monkeypatch):
    for name in ("nowhere.txt", write("a.txt", "one") + "/b.txt", "hubble:x"):
        assert "no such file or folder" in message(name) and name in message(name)
        with pytest.raises(UsageError, match="no such file or folder"): fingerprint(name)
    def forbidden(*args): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "open", forbidden)  # chmod does not stop root
    assert "cannot read a.txt: Permission denied" in message("a.txt")
    with pytest.raises(UsageError, match="Permission denied"): fingerprint("a.txt")


def test_embedded_domains():
    assert {d.label for d in documents("embedded:bio", limit=9)} == {"Biology and health sciences"}
    for name, fault in (("Cooking", "unknown"), ("P", "ambiguous")):
        assert f"{fault} domain embedded:{name}" in message(f"embedded:{name}") and "Mathematics" in message(f"embedded:{name}")


C4 = [{"text": f"Buy {i} now", "timestamp": "2019-04-25T12:57:54Z", "url": "http://example.org"} for i in range(3)]
PILE = [{"text": text, "meta": {"pile_set_name": name}} for text, name in
        (("We prove that", "ArXiv"), ("The court held", "FreeLaw"), ("A lemma", "ArXiv"), ("Call me", "Gutenberg (PG-19)"))]


def test_c4_and_the_pile_from_local_copies():
    write("c4/c4-train.00000-of-00001.jsonl.gz", C4)
    write("pile/train/00.jsonl", PILE[:2])
    write("pile/train/01.jsonl", PILE[2:])
    assert list(documents("c4:c4")) == [(row["text"], "c4") for row in C4]
    assert list(documents("pile:arxiv:pile")) == [("We prove that", "arxiv"), ("A lemma", "arxiv")]
    assert list(documents("pile:gutenberg:pile", limit=1)) == [("Call me", "gutenberg")]
    assert "pile:europarl:pile holds no text: name another copy" in message("pile:europarl:pile")
    assert "row 1 has no meta.pile_set_name" in message("pile:arxiv:c4")
    assert "c4:nowhere" not in fingerprint("c4:c4") != fingerprint("c4:pile")


def test_domains_of_the_pile_that_cannot_be():
    assert "unknown domain pile:usenet: choose one of arxiv" in message("pile:usenet")
    for domain in ("opensubtitles", "openwebtext2"): assert f"leaves out {domain}" in message(f"pile:{domain}")


def test_class_numbers_of_a_copy_become_names():
    from datasets import ClassLabel, Dataset, Features, Value
    features = Features({"text": Value("string"), "topic": ClassLabel(names=["verse", "prose"])})
    Path("copy").mkdir()
    Dataset.from_dict({"text": ["to be", "log"], "topic": [0, 1]}, features=features).to_parquet("copy/test.parquet")
    assert list(documents("hub:copy::test", label_column="topic")) == [("to be", "verse"), ("log", "prose")]
    assert "cannot read copy" in message("hub:copy") and "hub:a:b:c:d" in message("hub:a:b:c:d")  # no split `train`


def test_a_hub_out_of_reach_ends_with_one_line(monkeypatch):
    import huggingface_hub
    def no_network(*args, **kwargs): raise ConnectionError("no route\nto host")
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", no_network)
    for source, name in (("c4", "allenai/c4"), ("pile:arxiv", "monology/pile-uncopyrighted"), ("hub:ag_news", "ag_news")):
        said = message(source)
        assert f"cannot read {name} from the hub (no route)" in said and "network" in said


def test_fingerprint_is_of_what_would_be_read():
    write("world/sea/1.txt", "salt")
    write("world/rows.jsonl", [{"text": "smoke"}])
    seen = {fingerprint("world")}
    for name in ("6.png", ".hidden.txt", ".git/1.txt"): write(f"world/{name}", "not read")
    assert fingerprint("world") in seen and fingerprint("./world/") in seen
    write("world/sea/1.txt", "sand")
    seen.add(fingerprint("world"))
    Path("world/sea/1.txt").rename("world/sea/2.txt")
    seen.add(fingerprint("world"))
    Path("world").rename("earth")  # the folder's name is a label
    seen.add(fingerprint("earth"))
    seen |= {fingerprint(s) for s in ("earth/sea", "embedded", "embedded:AWS", "c4", "pile:arxiv", "hub:a", "hub:a:b")}
    assert len(seen) == 11
    assert fingerprint("embedded:bio") == fingerprint("embedded:Biology and health sciences")


def test_a_source_within_another():
    for name in ("sea/1.txt", "rows.jsonl", "4.txt"): write(f"world/{name}", "one")
    assert is_part("world/sea", "world") and is_part("world/rows.jsonl", "./world") and is_part("./world/4.txt", "world/4.txt")
    assert not is_part("world", "world/sea") and not is_part("embedded", "world") and not is_part("c4", "world")
    assert is_part("embedded:AWS", "embedded") and not is_part("embedded:Security", "embedded") and not is_part("embedded:AWS", "world")
    for pair in (("world/4.txt", "world"), ("world", "world/4.txt")):
        with pytest.raises(UsageError, match="many documents by itself and one in the folder"): is_part(*pair)
