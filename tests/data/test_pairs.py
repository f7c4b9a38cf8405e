"From parallel text to rows: each form, what is left out and counted, one line for what cannot be."
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.data import pairs as pairs_module
from adaptive_dist.data.account import Account
from adaptive_dist.data.pairs import Pair, PairsConfig, cleaned, pairs, prepare_pairs
from adaptive_dist.data.sources import parse_source
from adaptive_dist.data.split import PARTS
from adaptive_dist.data.vocabulary import END, Vocabulary

LENGTH = 16
EN = ["the", "old", "house", "river", "sees", "no", "green", "tree"]
DE = ["das", "alte", "Haus", "Fluss", "sieht", "kein", "grüner", "Baum"]


def sentence(rng, fewest=3, most=7):
    "A random sentence and its translation, word by word."
    words = rng.choices(range(8), k=rng.randint(fewest, most))
    return " ".join(EN[w] for w in words), " ".join(DE[w] for w in words)


@pytest.fixture(autouse=True)
def folder(workplace):
    """A working folder with two files of pairs, 20 of which are in both.

    generic.tsv holds 400 distinct pairs, and faulty ones; special.tsv holds 60.
    """
    rng = random.Random(0)
    found = [(f"{a} {i}", f"{b} {i}")
             for i, (a, b) in enumerate(sentence(rng) for _ in range(440))]
    faulty = [
        found[0], found[1], ("same", "same"), ("", "leer"), ("nichts ", " "),
        ("no", "nein " + "doch "*30), ("Дом", "Haus"),
        ("a b c d e f g h "*4, "a b c d e f g i "*4),
    ]
    for name, some in {"generic": [*found[:400], *faulty], "special": found[380:]}.items():
        Path(f"{name}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in some))
    return workplace


def fingerprint(source):
    return parse_source(source, "pairs").fingerprint()


def config(**changes):
    small = PairsConfig(generic="generic.tsv", specific="special.tsv", vocabulary=400,
                        generic_test=.1, cache="cache")
    return change(small, **changes)


def decoded(data, vocabulary, part):
    rows = getattr(data, part)[:]
    return [(vocabulary.decode(s), vocabulary.decode(t))
            for s, t in zip(rows["source"], rows["target"], strict=True)]


def refused(**changes):
    "The message with which a configuration is refused; nothing is left behind."
    with pytest.raises(UsageError) as e:
        prepare_pairs(config(**changes), LENGTH)
    assert not list(Path("cache").glob("[!.]*"))
    assert len(str(e.value).splitlines()) == 1
    return str(e.value)


def test_the_same_pairs_in_every_form():
    some = [("Guten\ttag"[:5], "a"), ("blanks \u00a0 here", "Leerzeichen\u2009hier"), ("ü", "ß")]
    expected = [(" ".join(a.split()), " ".join(b.split())) for a, b in some]
    rows = [{"en": a, "de": b, "label": "x"} for a, b in some]
    Path("a.en").write_text("".join(f"{a}\n" for a, _ in some))
    Path("a.de").write_bytes("".join(f"{b}\r\n" for _, b in some).encode())
    Path("a.tsv").write_text("".join(f"{a}\t{b}\tx\n" for a, b in some))
    with gzip.open("a.txt.gz", "wt") as file:
        file.write("".join(f"{a}\t{b}\tx\n" for a, b in some))
    Path("a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    Path("wmt.jsonl").write_text("".join(json.dumps({"translation": r}) + "\n" for r in rows))
    Path("a.csv").write_text("en,de,label\n" + "".join(f'"{a}","{b}",x\n' for a, b in some))
    pq.write_table(pa.Table.from_pylist(rows), "a.parquet")
    translations = [{"translation": {"en": a, "de": b}} for a, b in some]
    pq.write_table(pa.Table.from_pylist(translations), "opus.parquet")
    unlabelled = ("a.en,a.de", "wmt.jsonl", "opus.parquet")
    for source in ("a.en,a.de", "a.tsv", "a.txt.gz", "a.jsonl", "wmt.jsonl", "a.csv",
                   "a.parquet", "opus.parquet"):
        found = list(pairs(source, config()))
        assert [(p.source, p.target) for p in found] == expected, source
        assert {p.label for p in found} == {"x"} or source in unlabelled
    assert len(list(pairs("a.tsv", config(), limit=2))) == 2
    here = Path.cwd()
    relative = fingerprint("a.en,a.de")
    assert fingerprint(f"{here}/a.en,{here}/a.de") == relative != fingerprint("a.de,a.en")


def test_rows_of_a_local_copy_of_a_hub_data_set():
    "The schema of WMT and OPUS: a column `translation` that holds a text by language."
    Path("copy").mkdir()
    rows = [{"translation": {"de": f"Satz {i}", "en": f"sentence {i}" if i else None}}
            for i in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), "copy/train-00000-of-00001.parquet")
    found = list(pairs("hub:copy", config()))
    assert found == [Pair(f"sentence {i}" if i else "", f"Satz {i}", "copy", f"hub:copy:{i + 1}")
                     for i in range(5)]
    before = fingerprint("hub:copy")
    pq.write_table(pa.Table.from_pylist(rows[:4]), "copy/train-00000-of-00001.parquet")
    assert fingerprint("hub:copy") != before


def test_sets_of_sacrebleu(monkeypatch):
    "The test sets that the preset `paper` names, with the files sacreBLEU would have downloaded."
    from sacrebleu.dataset import DATASETS

    from adaptive_dist.experiments.mt import MT_PRESETS
    paper = MT_PRESETS["paper"].data
    years = {"specific": range(9, 20), "specific_valid": [20], "specific_test": [21]}
    for which, some in years.items():
        assert getattr(paper, which) == "sacrebleu:" + "+".join(f"wmt{year:02}" for year in some)
        for year in some:
            name = f"wmt{year:02}"
            assert "en-de" in DATASETS[name].langpairs
            for side in ("src", "ref"):
                lines = [f"{side} {year} {i}\n" for i in range(6)]
                Path(f"{name}.{side}").write_text("".join(lines))
    for name, more in {"wmt09": [], "wmt21": ["another"]}.items():
        kind = DATASETS[name].__class__
        monkeypatch.setattr(kind, "get_source_file", lambda self, languages: f"{self.name}.src")
        monkeypatch.setattr(kind, "get_reference_files",
                            lambda self, languages, more=more: [f"{self.name}.ref", *more])
    Path("en-de.txt").write_text(Path("generic.tsv").read_text())
    small = change(paper, generic="en-de.txt", vocabulary=400, cache="cache", generic_test=.1)
    data, _, texts = prepare_pairs(small, LENGTH)
    sizes = len(data.specific_train), len(data.specific_valid), len(data.specific_test)
    assert sizes == (66, 6, 6)
    assert set(data.labels[:13]) == {f"wmt{year:02}" for year in range(9, 22)}
    assert data.labels[11:13] == ("wmt20", "wmt21")
    assert sorted(texts) == [Pair(f"src 21 {i}", f"ref 21 {i}", "wmt21", f"wmt21:{i + 1}")
                             for i in range(6)]
    with pytest.raises(UsageError, match="sacreBLEU has no test set wmt99 for en-de"):
        list(pairs("sacrebleu:wmt99", config()))


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.tsv", "one\teins\ntwo\n", "a.tsv has 1 cells in line 2"),
    ("a.tsv", "a\tb\tc\td\n", "a.tsv has 4 cells in line 1"),
    ("a.tsv", "Grüße\tGrüße\n".encode("latin-1"), "a.tsv is not UTF-8: byte 0xfc at offset 2"),
    ("a.tsv", "", "a.tsv is empty"),
    ("a.tsv", "one\t\n", "the specific set has 0 distinct documents"),
    ("a.jsonl", '{"en": "one", "fr": "un"}\n',
     "a.jsonl has no column 'de' in row 1, but en, fr"),
    ("a.jsonl", '{"en": "one", "de": 1}\n', "column 'de' of a.jsonl holds int, not text, in row 1"),
    ("a.jsonl", '{"en" "one"}\n', "a.jsonl is not JSON in line 1"),
    ("a.csv", "en,de\none,eins,uno\n", "a.csv has not as many cells in line 2"),
    ("a.pdf", "x", "cannot tell what a.pdf holds"),
])
def test_unusable_files_end_with_one_line(name, content, said):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert said in refused(specific=name)
    if "distinct" not in said:
        assert said in refused(generic=name)


def test_unusable_sources_end_with_one_line():
    Path("a.en").write_text("one\ntwo\nthree\n")
    Path("a.de").write_text("eins\n")
    assert "a.en has 3 lines and a.de has 1" in refused(specific="a.en,a.de")
    assert "a.en has 3 lines and a.de has 1" in refused(specific="a.de,a.en")
    assert "no such file or folder: b.de" in refused(specific="a.en,b.de")
    assert "unknown domain embedded:word" in refused(specific="embedded:word")
    assert "give both" in refused(specific_valid="special.tsv")
    nothing_left = refused(specific_valid="special.tsv", specific_test="generic.tsv")
    assert "no specific pairs are left for train" in nothing_left
    assert "give at least 61" in refused(held_out=30)
    Path("tiny.tsv").write_text("a b\tc d\n")
    assert "leaves no pairs for generic" in refused(generic="tiny.tsv")


def test_what_is_left_out_is_counted_and_what_is_kept_is_split():
    data, vocabulary, texts = prepare_pairs(config(held_out=15), LENGTH)
    counts = data.report["left out"]["generic"]
    assert {reason: kind["count"] for reason, kind in counts.items()} == {
        "in the specific set": 20, "there before": 2, "copied": 1, "empty": 2, "length ratio": 1,
        "script": 1, "too long": 1}
    read = {part: decoded(data, vocabulary, part) for part in PARTS}
    wanted = {tuple(line.split("\t")) for name in ("generic", "special")
              for line in Path(f"{name}.tsv").read_text().splitlines()}
    assert all(pair in wanted for some in read.values() for pair in some)
    # no pair is in two parts, and none is lost
    assert len(set().union(*read.values())) == sum(map(len, read.values())) == 440
    assert [len(read[f"specific_{part}"]) for part in ("train", "valid", "test")] == [30, 15, 15]
    assert 20 < len(read["generic_test"]) < 60
    assert [(p.source, p.target) for p in texts] == read["specific_test"]
    again = prepare_pairs(config(held_out=15, split_seed=1), LENGTH)[0]
    assert not np.array_equal(again.specific_test["source"], data.specific_test["source"])


@pytest.mark.parametrize(("off", "kept"), [
    ({"drop_copied": False}, "same"),
    ({"drop_duplicates": False}, None),
    ({"drop_long": False}, "a b c"),
    ({"longest_ratio": None}, "no"),
    ({"script": None}, "Дом"),
])
def test_each_step_can_be_switched_off(off, kept):
    settings = {"drop_long": True}, {"drop_long": True, **off}
    on, without = (prepare_pairs(config(vocabulary=2_000, **changes), 32) for changes in settings)
    sources = [[a for part in ("generic", "generic_test") for a, _ in decoded(*found[:2], part)]
               for found in (on, without)]
    new = Counter(sources[1]) - Counter(sources[0])
    if kept:
        assert any(text.startswith(kept) for text in new), new
    else:
        assert sum(new.values()) == 2 and max(Counter(sources[1]).values()) == 2


def test_the_first_reason_counts():
    account = Account()
    some = [Pair("x", "x", ""), Pair("", "", ""), Pair("Да", "Да", "")]
    assert not list(cleaned(some, PairsConfig().cleaning, set(), account))
    assert account.counts == {"copied": 2, "empty": 1}


def test_the_vocabulary_knows_only_generic_training_pairs(monkeypatch):
    seen = []
    train = Vocabulary.train.__func__
    def noted(cls, texts, size):
        seen.extend(texts)
        return train(cls, seen, size)
    monkeypatch.setattr(Vocabulary, "train", classmethod(noted))
    data, vocabulary, _ = prepare_pairs(config(), LENGTH)
    held = {side for part in PARTS if part != "generic"
            for pair in decoded(data, vocabulary, part) for side in pair}
    trained = {side for pair in decoded(data, vocabulary, "generic") for side in pair}
    assert trained <= set(seen) and not set(seen) & (held - trained)


def test_rows_are_texts_with_an_end():
    vocabulary = Vocabulary.train(["the house", "das Haus"], 300)
    texts = ["the house", "", "Grüße aus 山 🙂", "<s> </s> [PAD]", "a\u0308"]
    rows, sizes = vocabulary.encode(texts, 64)
    assert rows.dtype == np.uint16 and rows.max() < 300
    assert [vocabulary.decode(row) for row in rows] == [*texts[:4], "ä"]
    assert all(row[n - 1] == END and not row[n:].any() and (row[:n] != 0).all()
               for row, n in zip(rows, sizes, strict=True))
    cut, counted = vocabulary.encode(["the house the house the house"], 4)
    assert cut[0, -1] == END and counted[0] > 4


def test_the_cache_follows_its_sources():
    first, again = (prepare_pairs(config(verify=True), LENGTH)[0].folder for _ in range(2))
    assert first == again
    few = prepare_pairs(config(verify=True, specific_size=7), LENGTH)[0]
    assert few.folder == first and len(few.specific_train) == 7
    absolute = str(Path("generic.tsv").absolute())
    assert prepare_pairs(config(verify=True, generic=absolute), LENGTH)[0].folder == first
    Path("generic.tsv").write_text(Path("generic.tsv").read_text().replace("house", "hut"))
    assert prepare_pairs(config(verify=True), LENGTH)[0].folder != first
    (first/"vocabulary.json").write_text("{")
    Path("generic.tsv").write_text(Path("generic.tsv").read_text().replace("hut", "house"))
    with pytest.raises(UsageError, match="cannot read the vocabulary"):
        prepare_pairs(config(verify=True), LENGTH)


def test_pairs_are_read_as_a_stream(monkeypatch):
    "Only the pairs that the vocabulary is made from are held in memory; the rest goes by."
    read = []
    def endless(source, config, limit=None, account=None):
        for i in range(5_000):
            read.append(i)
            yield Pair(f"the house {i}", f"das Haus {i}", "toy")
    whole = pairs_module.pairs
    def either(source, *rest, **more):
        return (endless if source == "generic.tsv" else whole)(source, *rest, **more)
    monkeypatch.setattr(pairs_module, "pairs", either)
    at, train = [], Vocabulary.train.__func__
    def noted(cls, texts, size):
        made = train(cls, list(texts), size)
        at.append(len(read))
        return made
    monkeypatch.setattr(Vocabulary, "train", classmethod(noted))
    data = prepare_pairs(config(vocabulary_pairs=200), LENGTH)[0]
    assert at == [200]
    assert data.report["generic"]["rows"] + data.report["generic_test"]["rows"] == 5_000
