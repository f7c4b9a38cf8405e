"""Sources of text: each format, and each thing that cannot be read.

The schemas of C4, the Pile and RCV1 are those of local copies.
"""

import gzip
import json
import zipfile
from collections import namedtuple
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptive_dist.config.errors import UsageError
from adaptive_dist.data.sources import parse_source
from adaptive_dist.data.text import DataConfig, documents as identified, is_part, prepare_text

ROWS = [{"text": "Cells divide.\nThey grow, äh.", "label": "Biology"}, {"text": "Stars burn."}]


Labelled = namedtuple("Labelled", "text label")


def documents(*args, **more):
    "The documents of a source, without their ids."
    return (Labelled(*document[:2]) for document in identified(*args, **more))


def fingerprint(source):
    return parse_source(source, "text").fingerprint()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    "A folder to write to, which is also the working folder."
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, content):
    "Write text, bytes, rows (as JSON lines, zipped for .gz) or columns (as Parquet); the name."
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        raw = content.encode()
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return name


def message(source, *args):
    "The message, of one line, that reading a source ends with."
    with pytest.raises(UsageError) as caught:
        list(documents(source, *args))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("ending", [".txt", ".text", ".md", ".TXT"])
def test_blank_lines_separate_documents_of_a_text_file(ending):
    write(
        f"notes{ending}",
        b"\xef\xbb\xbfCells divide.\r\nThey gr\xc3\xb6w.\r\n \r\n\r\n\r\nStars burn.",
    )
    assert list(documents(f"notes{ending}")) == [
        ("Cells divide.\nThey gröw.", "notes"),
        ("Stars burn.", "notes"),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", ROWS),
        ("rows.JSONL", "\n\n".join(map(json.dumps, ROWS))),
        ("rows.json", ROWS),
        ("rows.json", json.dumps(ROWS, indent=2)),
        ("rows.csv", 'label,text\r\nBiology,"Cells divide.\nThey grow, äh."\r\n,Stars burn.\r\n'),
        (
            "rows.parquet",
            {"id": [1, 2], "text": [r["text"] for r in ROWS], "label": ["Biology", None]},
        ),
    ],
)
def test_rows_have_their_own_label_or_the_name_of_the_file(name, content):
    assert list(documents(write(name, content))) == [
        (ROWS[0]["text"], "Biology"),
        ("Stars burn.", "rows"),
    ]


def test_columns_can_be_named_and_rows_without_text_are_skipped():
    write(
        "r.jsonl",
        [{"body": "one", "topic": 0}, {"body": None}, {"body": " "}, {"body": "two", "topic": ""}],
    )
    assert list(documents("r.jsonl", "body", "topic")) == [("one", "0"), ("two", "r")]


def test_a_folder_labels_text_by_folder_and_skips_what_is_hidden():
    for name in ("sea/1.txt", "sea/deep/2.MD", "4.txt", ".git/5.txt", "sea/.6.txt", "sea/7.png"):
        write(f"world/{name}", f"{name}\n\nend")
    write("world/rows.jsonl", [{"text": "smoke"}, {"text": "fire", "label": "heat"}])
    write("world/sea/rows.csv", "text\nsalt\n")
    write("world/void.txt", "")
    assert list(documents("world")) == [
        ("4.txt\n\nend", "world"),
        ("smoke", "rows"),
        ("fire", "heat"),
        ("sea/1.txt\n\nend", "sea"),
        ("sea/deep/2.MD\n\nend", "sea"),
        ("salt", "sea"),
    ]


def test_a_limit_reads_no_further():
    write("r.jsonl", '{"text": "one"}\n{"text": "two"}\nnot JSON\n')
    assert len(list(documents("r.jsonl", limit=2))) == 2


@pytest.mark.parametrize(
    ("name", "content", "essentials"),
    [
        ("a.txt", b"plain\nPNG\0\0", ["a.txt is not text", "zero byte at offset 9"]),
        (
            "a.txt",
            b"\x89PNG\r\n\0\0",
            ["a.txt is not UTF-8", "byte 0x89 at offset 0", "name a text file"],
        ),
        (
            "a.txt",
            "Wort\nWört".encode("latin-1"),
            ["a.txt is not UTF-8", "byte 0xf6 at offset 6", "convert it"],
        ),
        ("a.jsonl", b'{"text": "W\xf6rt"}', ["a.jsonl is not UTF-8", "offset 11"]),
        ("a.csv", b"text\nW\xf6rt", ["a.csv is not UTF-8", "offset 6"]),
        ("a.txt", "", ["a.txt is empty"]),
        ("a.txt", " \n\n\t", ["a.txt holds no text"]),
        ("a.jsonl", [{"text": ""}], ["a.jsonl holds no text"]),
        ("a.jsonl", '{"text": "one"}\n\n{"text": "two\n', ["a.jsonl is not JSON in line 3"]),
        (
            "a.jsonl",
            '{"text": "one"}\n3\n',
            ["a.jsonl holds int, not an object, in line 2", "one object a line"],
        ),
        ("a.json", '[{"text": "one"},\n{"text": two}]', ["a.json is not JSON in line 2"]),
        ("a.json", '["one"]', ["a.json holds str, not an object, in line 1"]),
        ("a.csv", "text,label\none,x\ntwo, three,y\n", ["a.csv", "cells in line 3", "quote"]),
        ("a.csv", "text,label\none\n", ["a.csv", "cells in line 2"]),
        ("a.csv", 'text\n"one\n', ["a.csv is not CSV in line 2"]),
        (
            "a.parquet",
            b"PAR1 and nothing else",
            ["cannot read a.parquet after row 0 (Parquet", "write it again"],
        ),
        (
            "a.jsonl",
            [{"body": "one", "id": 3}],
            ["a.jsonl has no column 'text'", "body, id", "--text-column"],
        ),
        ("a.csv", "body,id\none,3\n", ["a.csv has no column 'text'", "body, id", "--text-column"]),
        (
            "a.parquet",
            {"body": ["one"], "id": [3]},
            ["a.parquet has no column 'text'", "body, id", "--text-column"],
        ),
        (
            "a.jsonl",
            [{"text": "one"}, {"text": ["two"]}],
            ["column 'text' of a.jsonl holds list, not text, in row 2", "--text-column"],
        ),
        ("a.parquet", {"text": [1]}, ["column 'text' of a.parquet holds int, not text"]),
        ("a.docx", "one", ["cannot tell what a.docx holds", ".txt", ".parquet"]),
        ("d/a.docx", "one", ["the folder d holds no file that can be read", ".txt"]),
        ("d/.a/a.txt", "one", ["the folder d holds no file"]),
        ("d/a.txt", "W\n\nört".encode("latin-1"), ["d/a.txt is not UTF-8", "offset 3"]),
    ],
)
def test_what_cannot_be_read_ends_with_one_line(name, content, essentials):
    write(name, content)
    said = message(name.split("/")[0])
    for essential in essentials:
        assert essential in said


def test_missing_and_forbidden_files_end_with_one_line(monkeypatch):
    for name in ("nowhere.txt", write("a.txt", "one") + "/b.txt", "hubble:x"):
        assert "no such file or folder" in message(name) and name in message(name)
        with pytest.raises(UsageError, match="no such file or folder"):
            fingerprint(name)

    def forbidden(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)  # chmod does not stop root
    assert "cannot read a.txt: Permission denied" in message("a.txt")
    with pytest.raises(UsageError, match="Permission denied"):
        parse_source("a.txt", "text").fingerprint(verify=True)


def test_embedded_domains():
    assert {d.label for d in documents("embedded:bio", limit=9)} == {"Biology and health sciences"}
    for name, fault in (("Cooking", "unknown"), ("P", "ambiguous")):
        assert f"{fault} domain embedded:{name}" in message(
            f"embedded:{name}"
        ) and "Mathematics" in message(f"embedded:{name}")


C4 = [
    {"text": f"Buy {i} now", "timestamp": "2019-04-25T12:57:54Z", "url": "http://example.org"}
    for i in range(3)
]
PILE = [
    {"text": text, "meta": {"pile_set_name": name}}
    for text, name in (
        ("We prove that", "ArXiv"),
        ("The court held", "FreeLaw"),
        ("A lemma", "ArXiv"),
        ("Call me", "Gutenberg (PG-19)"),
    )
]


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
    for domain in ("opensubtitles", "openwebtext2"):
        assert f"leaves out {domain}" in message(f"pile:{domain}")


def item(number, paragraphs, headline="Elbonia sells\n its cafés."):
    "A newsitem of our invention, with all elements of the schema that Reuters' have."
    text = "\n".join(f"<p>{p}</p>" for p in paragraphs)
    return f"""<?xml version="1.0" encoding="iso-8859-1" ?>
<newsitem itemid="{number}" id="root" date="1996-08-20" xml:lang="en">
<title>ELBONIA: a title.</title>
<headline>{headline}</headline>
<byline>a byline</byline>
<dateline>a dateline</dateline>
<text>
{text}
</text>
<copyright>(c) a copyright</copyright>
<metadata>
<codes class="bip:topics:1.0"><code code="CCAT">
<editdetail attribution="an editor" action="confirmed" date="1996-08-20"/></code></codes>
<dc element="dc.publisher" value="a publisher"/>
</metadata>
</newsitem>
""".encode("latin-1")


def write_zip(name, files):
    "Write a zip archive that is compressed, its members in the order given; the name."
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    return name


def numbers(source, *args, **kwargs):
    "The paragraphs of news that `item(n, [n])` makes up, as one string."
    return " ".join(d.text.splitlines()[1] for d in documents(source, *args, **kwargs))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            item(1, ["The mud  exchange\n\trose 3%.", "Zürich fell £1."]),
            "Elbonia sells its cafés.\nThe mud exchange rose 3%.\nZürich fell £1.",
        ),
        (
            item(1, ["A &amp; B &lt; &#163;1 &quot;so&quot;", " "]),
            'Elbonia sells its cafés.\nA & B < £1 "so"',
        ),
        (
            item(1, ["one <em>more</em> word", "", "two"]),
            "Elbonia sells its cafés.\none more word\ntwo",
        ),
        (item(1, ["one"], headline="").replace(b"a copyright", b"<p>a copyright</p>"), "one"),
        (item(1, ["one"]).replace(b"<headline>", b"<x>").replace(b"</headline>", b"</x>"), "one"),
        (
            "<newsitem><headline>Wörter</headline><text><p>eins</p></text></newsitem>",
            "Wörter\neins",
        ),  # XML without a declaration is UTF-8
    ],
)
def test_news_is_headline_and_paragraphs(content, text):
    write("rcv1/1newsML.xml", content)
    write_zip("19960820.zip", {"1newsML.xml": Path("rcv1/1newsML.xml").read_bytes()})
    for path in ("rcv1", "rcv1/1newsML.xml", "19960820.zip"):
        assert list(documents(f"rcv1:{path}")) == [(text, "reuters")]


def test_news_comes_by_name_from_files_and_archives():
    for name in ("19960820/3newsML.xml", "19960820/1newsML.xml", "19960822/9.XML", "7newsML.xml"):
        write(f"rcv1/cd1/{name}", item(1, [Path(name).stem[0]]))
    write_zip(
        "rcv1/cd1/19960820.zip", {"5newsML.xml": item(5, ["5"]), "4newsML.xml": item(4, ["4"])}
    )
    write_zip("rcv1/cd1/19960821.ZIP", {"./day/8newsML.XML": item(8, ["8"])})
    write_zip("rcv1/codes.zip", {"topic_codes.txt": "CCAT", "newsitem.dtd": "<!ELEMENT p>"})
    before = sorted(Path().rglob("*"))
    assert numbers("rcv1:rcv1") == numbers("rcv1:./rcv1/") == "1 3 4 5 8 9 7"
    assert (
        numbers("rcv1:rcv1", limit=3) == "1 3 4" and numbers("rcv1:rcv1/cd1/19960820.zip") == "4 5"
    )
    assert sorted(Path().rglob("*")) == before  # nothing is unpacked


def test_news_is_read_no_further_than_asked_for():
    write_zip("rcv1/1.zip", {"1.xml": item(1, ["1"]), "2.xml": "not XML"})
    write("rcv1/2.zip", "no archive")
    assert numbers("rcv1:rcv1", limit=1) == "1"


def test_news_without_text_and_what_is_no_news_are_skipped():
    for name in ("a.txt", "a.dtd", ".b.xml", ".c/1.xml", "._1newsML.xml"):
        write(f"rcv1/{name}", "no XML")
    write_zip(
        "rcv1/1.zip",
        {
            "__MACOSX/._1newsML.xml": "no XML",
            ".a/1.xml": "no XML",
            "a.txt": "no XML",
            "d.xml/a.txt": "no XML",
            "1newsML.xml": item(1, []),
            "2newsML.xml": item(2, ["", " \n"]),
            "3newsML.xml": item(3, ["3"]),
            "4newsML.xml": item(4, []).replace(b"<text>\n\n</text>", b""),
        },
    )
    assert numbers("rcv1:rcv1") == "3"


SWELLING = "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10}'>" for i in range(1, 9))
BOMB = f"<!DOCTYPE x [<!ENTITY e0 'ha'>{SWELLING}]><newsitem>&e8;</newsitem>"  # 200 MB of text
OUTSIDE = (
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'secret.txt'>]><newsitem><text><p>&e;</p></text></newsitem>"
)


@pytest.mark.parametrize(
    ("content", "essentials"),
    [
        (
            item(1, ["one"]).replace(b"</p>", b""),
            ["is not XML (mismatched tag: line 10", "copy it again, or take it out"],
        ),
        (item(1, ["one"])[:300], ["is not XML ("]),
        (
            item(1, ["one"]).replace(b"iso-8859-1", b"klingon"),
            ["is not XML (unknown encoding: klingon)"],
        ),
        (
            item(1, ["one"]).replace(b"iso-8859-1", b"shift_jis"),
            ["is not XML (multi-byte encodings are not supported)"],
        ),
        (
            item(1, ["W\xf6rt"]).replace(b"iso-8859-1", b"utf-8"),
            ["is not XML (not well-formed (invalid token): line 5"],
        ),
        (
            "<codes><code/></codes>",
            ["is XML, but no newsitem (it begins with <codes>)", "take it out"],
        ),
        ("<html><newsitem/></html>", ["is XML, but no newsitem (it begins with <html>)"]),
        (BOMB, ["is not XML (limit on input amplification factor"]),
        (OUTSIDE, ["is not XML (undefined entity &e;"]),
    ],
)
def test_what_is_no_news_ends_with_one_line_that_names_it(content, essentials):
    write("secret.txt", "secret")
    write("rcv1/1newsML.xml", item(1, ["1"]))
    write("rcv1/2newsML.xml", content)
    write_zip(
        "19960820.zip",
        {"1newsML.xml": item(1, ["1"]), "2newsML.xml": Path("rcv1/2newsML.xml").read_bytes()},
    )
    for path in ("rcv1", "19960820.zip"):
        for essential in (f"{path}/2newsML.xml is", *essentials):
            assert essential in message(f"rcv1:{path}")


@pytest.mark.parametrize(
    ("source", "essentials"),
    [
        ("rcv1", ["rcv1 needs a path", "NIST", "rcv1:PATH"]),
        ("rcv1:", ["rcv1 needs a path", "NIST", "rcv1:PATH"]),
        ("rcv1:nowhere", ["no such file or folder: nowhere;", "rcv1:PATH"]),
        ("rcv1:a.txt", ["cannot tell what a.txt holds", "(.xml, .zip)"]),
        ("rcv1:empty.xml", ["empty.xml is empty"]),
        ("rcv1:notes", ["the folder notes holds no file that can be read", "(.xml, .zip)"]),
    ],
)
def test_news_that_is_not_there_ends_with_one_line(source, essentials):
    for name in ("a.txt", "notes/a.txt"):
        write(name, "one")
    write("empty.xml", "")
    for essential in essentials:
        assert essential in message(source)
    with pytest.raises(UsageError) as caught:
        fingerprint(source)
    assert str(caught.value) == message(source)


def test_broken_and_forbidden_archives_end_with_one_line(monkeypatch):
    whole = Path(write_zip("whole.zip", {"1newsML.xml": item(1, ["one"] * 99)})).read_bytes()
    write("rcv1/cut.zip", whole[:-9])
    write("wrong.zip", whole[:80] + b"\xff" * 9 + whole[89:])  # within the compressed item
    write(
        "locked.zip",
        whole.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0").replace(
            b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0"
        ),
    )
    write_zip("codes.zip", {"codes.txt": "CCAT"})
    write_zip("hollow.zip", {"1newsML.xml": item(1, [])})
    for path, essential in {
        "rcv1": "rcv1/cut.zip (File is not a zip file): copy it again",
        "wrong.zip": "cannot read wrong.zip (",
        "locked.zip": "cannot read locked.zip (File '1newsML.xml' is encrypted",
    }.items():
        assert essential in message(f"rcv1:{path}")
    for source in ("rcv1:codes.zip", "rcv1:hollow.zip"):
        assert f"{source} holds no text: name another source" in message(source)

    def forbidden(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)  # chmod does not stop root
    assert "cannot read rcv1: Permission denied; mend" in message("rcv1:rcv1")
    monkeypatch.setattr(Path, "read_bytes", forbidden)
    assert "cannot read 1.xml ([Errno 13] Permission denied)" in message(
        f"rcv1:{write('1.xml', 'one')}"
    )


def test_fingerprint_of_news_is_of_its_content():
    def news(root, files, archived):
        for name, content in files.items():
            write(f"{root}/{name}", content)
        write_zip(f"{root}/19960821.zip", archived)
        return fingerprint(f"rcv1:{root}")

    loose, archived = {"19960820/1newsML.xml": item(1, ["1"])}, {"2newsML.xml": item(2, ["2"])}
    seen = {news("a", loose, archived)}
    write("a/19960820/notes.txt", "not read")
    write("a/.hidden.xml", "not read")
    Path("a").rename("z")  # the label is always the same
    assert fingerprint("rcv1:z") in seen and fingerprint("rcv1:./z/") in seen
    seen |= {
        news("b", {"19960820/1newsML.xml": item(1, ["one"])}, archived),
        news("c", loose, {"2newsML.xml": item(2, ["two"])}),
        news("d", {**loose, "19960820/3.xml": item(3, ["3"])}, archived),
        news("e", loose, {**archived, "4.xml": item(4, ["4"])}),
        fingerprint("rcv1:z/19960820"),
        fingerprint("rcv1:z/19960821.zip"),
    }
    assert len(seen) == 7


def test_class_numbers_of_a_copy_become_names():
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "topic": ClassLabel(names=["verse", "prose"])})
    Path("copy").mkdir()
    Dataset.from_dict({"text": ["to be", "log"], "topic": [0, 1]}, features=features).to_parquet(
        "copy/test.parquet"
    )
    assert list(documents("hub:copy::test", label_column="topic")) == [
        ("to be", "verse"),
        ("log", "prose"),
    ]
    assert "cannot read copy" in message("hub:copy") and "hub:a:b:c:d" in message(
        "hub:a:b:c:d"
    )  # no split `train`


@pytest.mark.parametrize("scheme", ["hub", "c4"])
def test_a_copy_of_a_hub_data_set_is_prepared(scheme):
    write("copy/train.jsonl", [{"text": f"web page number {k}"} for k in range(80)])
    write("few.jsonl", [{"text": f"recipe {k}"} for k in range(20)])
    data = prepare_text(
        DataConfig(generic=f"{scheme}:copy", specific="few.jsonl", generic_test=0.2, cache="kept"),
        32,
    )
    held = data.report["generic"]["documents"] + data.report["generic_test"]["documents"]
    assert held == 80 and data.ids("generic", slice(1))[0].startswith(f"{scheme}:copy:")


def test_a_hub_out_of_reach_ends_with_one_line(monkeypatch):
    import huggingface_hub

    def no_network(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", no_network)
    for source, name in (
        ("c4", "allenai/c4"),
        ("pile:arxiv", "monology/pile-uncopyrighted"),
        ("hub:ag_news", "ag_news"),
    ):
        said = message(source)
        assert f"cannot read {name} from the hub (no route)" in said and "network" in said


def test_fingerprint_is_of_what_would_be_read():
    write("world/sea/1.txt", "salt")
    write("world/rows.jsonl", [{"text": "smoke"}])
    seen = {fingerprint("world")}
    for name in ("6.png", ".hidden.txt", ".git/1.txt"):
        write(f"world/{name}", "not read")
    assert fingerprint("world") in seen and fingerprint("./world/") in seen
    write("world/sea/1.txt", "sand")
    seen.add(fingerprint("world"))
    Path("world/sea/1.txt").rename("world/sea/2.txt")
    seen.add(fingerprint("world"))
    Path("world").rename("earth")  # the folder's name is a label
    seen.add(fingerprint("earth"))
    seen |= {
        fingerprint(s)
        for s in ("earth/sea", "embedded", "embedded:AWS", "c4", "pile:arxiv", "hub:a", "hub:a:b")
    }
    assert len(seen) == 11
    assert fingerprint("embedded:bio") == fingerprint("embedded:Biology and health sciences")


def test_a_source_within_another():
    for name in ("sea/1.txt", "rows.jsonl", "4.txt"):
        write(f"world/{name}", "one")
    assert (
        is_part("world/sea", "world")
        and is_part("world/rows.jsonl", "./world")
        and is_part("./world/4.txt", "world/4.txt")
    )
    assert (
        not is_part("world", "world/sea")
        and not is_part("embedded", "world")
        and not is_part("c4", "world")
    )
    assert (
        is_part("embedded:AWS", "embedded")
        and not is_part("embedded:Security", "embedded")
        and not is_part("embedded:AWS", "world")
    )
    write("world/1.xml", item(1, ["1"]))
    news = (
        "rcv1:world",
        "rcv1:world/1.xml",
        "world",
        "world/1.xml",
        "embedded",
        "embedded:AWS",
        "c4",
    )
    for a in news[:2]:
        for b in news:
            assert is_part(a, b) == is_part(b, a) == (a == b)
    for pair in (("world/4.txt", "world"), ("world", "world/4.txt")):
        with pytest.raises(UsageError, match="many documents by itself and one in the folder"):
            is_part(*pair)
