"Pictures: every kind of source, everything that cannot be used, and parts that share nothing."
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptive_dist.config.errors import UsageError
from adaptive_dist.data import images as module
from adaptive_dist.data.account import Account
from adaptive_dist.data.embedded.images import Example
from adaptive_dist.data.images import (
    ImageDataConfig,
    decoded,
    examples,
    image_hash,
    in_order,
    pixels,
    prepare_images,
)
from adaptive_dist.data.split import PARTS
from adaptive_dist.data.vocabulary import decode

SIZE = 8


def picture(number, kind="png", size=SIZE):
    "A file with a random picture, a different one for each number."
    noise = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    "A working folder with classes/{cat,dog}/*.png and world/captions.csv beside its pictures."
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPTIVE_DIST_CACHE", raising=False)
    for k, name in enumerate(("cat", "dog")):
        Path("classes", name).mkdir(parents=True)
        for i in range(10):
            Path(f"classes/{name}/{i}.png").write_bytes(picture(1000*k + i))
    Path("world").mkdir()
    for i in range(60):
        Path(f"world/{i}.png").write_bytes(picture(5000 + i))
    lines = [f"{i}.png,number {i},{('even', 'odd')[i % 2]}\n" for i in range(60)]
    Path("world/captions.csv").write_text("image,caption,label\n" + "".join(lines))
    return tmp_path


def config(**changes):
    return ImageDataConfig(**{
        "generic": "world", "specific": "classes", "image_size": SIZE, "caption_length": 16,
        "generic_test": .2, "train_per_class": 4, "valid_per_class": 2, "test_per_class": 4,
        "cache": "cache", **changes})


def tar(name, members):
    with tarfile.open(name, "w") as file:
        for path, content in members:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def write_source(kind):
    "Three pictures with captions and labels, in one of the forms; the name of the source."
    rows = [("a cat", "x"), ("a dog, sitting", "y"), ("nägel", "x")]
    files = [picture(i) for i in range(3)]
    Path("own").mkdir()
    names = [f"{i}.png" for i in range(3)]
    records = [{"image": n, "caption": c, "label": label}
               for n, (c, label) in zip(names, rows, strict=True)]
    encoded = [{"bytes": f, "path": None} for f in files]
    if kind == "tar":
        facts = [json.dumps(r | {"caption": "not this"}).encode() for r in records]
        tar("own/00000.tar", [
            (f"part/{i:05}.{e}", content)
            for i, (f, r) in enumerate(zip(files, records, strict=True))
            for e, content in (("json", facts[i]), ("png", f), ("txt", r["caption"].encode()))])
    elif kind == "tar of json":
        tar("own/00000.tar", [
            (f"{i}.{e}", content)
            for i, (f, r) in enumerate(zip(files, records, strict=True))
            for e, content in (("PNG", f), ("json", json.dumps(r).encode()))])
    elif kind in ("parquet", "hub"):
        columns = {name: [r[name] for r in records] for name in ("caption", "label")}
        pq.write_table(pa.table({"image": encoded, **columns}), "own/train.parquet")
    else:
        for n, f in zip(names, files, strict=True):
            Path("own", n).write_bytes(f)
        if kind == "jsonl":
            Path("own/rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        else:
            lines = [f'{r["image"]},"{r["caption"]}",{r["label"]}\n' for r in records]
            Path("own/rows.csv").write_text("image,caption,label\n" + "".join(lines))
    if kind == "hub": return f"hub:{Path('own').resolve()}"
    return "own/rows.csv" if kind == "csv" else "own"


@pytest.mark.parametrize("kind", [
    "csv", "folder with csv", "jsonl", "tar", "tar of json", "parquet", "hub"])
def test_each_form_of_source_holds_the_same_pictures_captions_and_labels(kind):
    found = list(examples(write_source(kind)))
    assert [(e.caption, e.label) for e in found] == [
        ("a cat", "x"), ("a dog, sitting", "y"), ("nägel", "x")]
    for number, e in enumerate(found):
        assert np.array_equal(pixels(e.image, SIZE), pixels(picture(number), SIZE))


def test_a_data_set_with_image_and_class_features_is_read_without_decoding():
    from datasets import ClassLabel, Dataset, Features, Image as ImageFeature
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["cat", "dog"])})
    images = [{"bytes": b"broken", "path": None}, {"bytes": picture(1), "path": None}]
    rows = {"image": images, "label": [0, 1]}
    Path("hub").mkdir()
    Dataset.from_dict(rows, features=features).to_parquet("hub/train.parquet")
    found = list(examples("hub:hub"))
    assert [(e.caption, e.label) for e in found] == [("cat", "cat"), ("dog", "dog")]
    assert found[0].image == b"broken"


def test_class_folders_name_captions_and_labels():
    Path("classes/cat").rename("classes/wild_cat")
    found = list(examples("classes"))
    assert len(found) == 20
    assert {(e.caption, e.label) for e in found} == {("wild cat", "wild_cat"), ("dog", "dog")}


def test_pixels_are_square_rgb_bytes_on_white_and_upright():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert np.array_equal(pixels(wide, 10), np.full((10, 10, 3), 200))  # cropped in the middle
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    file = io.BytesIO()
    clear.save(file, "png")
    assert (pixels(file.getvalue(), 6) == 255).all()
    palette = Image.new("P", (9, 9), 0)
    palette.putpalette([10, 20, 30])
    file = io.BytesIO()
    palette.save(file, "gif")
    assert np.array_equal(pixels(file.getvalue(), 4)[0, 0], [10, 20, 30])
    turned = Image.fromarray(np.repeat(np.uint8([[[0]*3], [[255]*3]]), 2, 1))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    file = io.BytesIO()
    turned.save(file, "png", exif=exif)
    assert pixels(file.getvalue(), 2)[:, 0, 0].tolist() == [255, 0]
    svg = (b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 2 2'>"
           b"<rect width='2' height='2' fill='#00f'/></svg>")
    assert np.array_equal(pixels(svg, 4), np.broadcast_to(np.uint8([0, 0, 255]), (4, 4, 3)))


def test_work_of_threads_comes_in_order_and_can_be_left_early():
    assert list(in_order(lambda x: x*x, range(200), workers=3)) == [x*x for x in range(200)]
    asked = []
    def items():
        for i in range(10**6):
            asked.append(i)
            yield i
    stream = in_order(lambda x: x, items(), workers=2)
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    stream.close()
    assert len(asked) < 100


def left_out(report):
    "How many generic pictures were left out, by reason."
    return {reason: kind["count"] for reason, kind in report["left out"]["generic"].items()}


def test_what_cannot_be_used_is_skipped_counted_and_listed():
    bad = {
        "cut.jpg": picture(1, "jpeg", 64)[:300],
        "text.png": b"no picture",
        "none.png": b"",
        "bomb.gif": b"GIF89a\xff\xff\xff\xff\0\0\0",
    }
    for name, content in bad.items():
        Path("world", name).write_bytes(content)
    with Path("world/captions.csv").open("a") as file:
        for name in bad:
            file.write(f"{name},bad,x\n")
        file.write("1.png,,x\n2.png,  ,x\ngone.png,gone,x\n,nothing,x\n")
    report = prepare_images(config()).report
    assert left_out(report) == {"does not decode": 5, "no caption": 2, "no such file": 1}
    listed = report["left out"]["generic"]["does not decode"]["first"]
    assert len(listed) == 5 and "captions.csv:61" in listed
    assert report["generic"]["rows"] + report["generic_test"]["rows"] == 60
    long = Account()
    assert not list(decoded([Example(b"", "x", "x", str(i)) for i in range(9)], SIZE, 2, long))
    assert long.counts == {"does not decode": 9}
    assert long.first == {"does not decode": list("01234")}


def test_a_shard_that_breaks_off_gives_what_it_holds():
    whole = [(f"{i}.{e}", c)
             for i in range(5) for e, c in (("png", picture(i)), ("txt", b"caption"))]
    tar("whole.tar", whole)
    Path("broken.tar").write_bytes(Path("whole.tar").read_bytes()[:6000])
    account = Account()
    kept = list(decoded(examples("broken.tar", account=account), SIZE, 1, account))
    assert 0 < len(kept) < 5
    assert account.counts == {"breaks off": 1} and account.first["breaks off"] == ["broken.tar"]


BAD = {
    "one class": (
        dict(specific="classes/cat"), ["holds pictures of 1 classes", "--label-column"]),
    "two pictures": (
        dict(specific="few"), ["class a of few has 2 pictures", "give at least 3"]),
    "missing": (
        dict(generic="nowhere"), ["no such file or folder: nowhere"]),
    "no pictures": (
        dict(generic="empty"), ["the folder empty holds no file that can be read"]),
    "none usable": (
        dict(generic="broken"),
        ["--generic broken leaves no picture with a caption", "3 does not decode"]),
    "no such column": (
        dict(caption_column="text", label_column="none"),
        ["has no column 'text'", "--caption-column"]),
    "no image column": (
        dict(image_column="file"), ["captions.csv has no column 'file'", "--image-column"]),
    "unknown embedded": (
        dict(specific="embedded:cats"), ["unknown pictures embedded:cats"]),
    "out of reach": (
        dict(generic="hub:nobody/nothing"), ["cannot read nobody/nothing from the hub"]),
}

@pytest.mark.parametrize("case", BAD)
def test_unusable_sources_end_with_one_line(case, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("few/a", "few/b", "empty", "broken"):
        Path(name).mkdir(parents=True)
    for i in range(9):
        Path(f"few/b/{i}.png").write_bytes(picture(50 + i))
    for i in range(2):
        Path(f"few/a/{i}.png").write_bytes(picture(70 + i))
    for i in range(3):
        Path(f"broken/{i}.png").write_bytes(b"?")
    changes, essentials = BAD[case]
    with pytest.raises(UsageError) as caught:
        prepare_images(config(**changes))
    assert len(str(caught.value).splitlines()) == 1
    for essential in essentials:
        assert essential in str(caught.value)
    assert not any(Path("cache").glob("[!.]*"))


def test_parts_share_no_picture_and_rows_have_the_same_fields():
    for i in range(3):  # specific pictures in the generic set
        Path(f"world/{i}.png").write_bytes(Path(f"classes/cat/{i}.png").read_bytes())
    Path("world/3.png").write_bytes(Path("world/4.png").read_bytes())
    Path("classes/dog/9.png").write_bytes(Path("classes/dog/8.png").read_bytes())
    data = prepare_images(config(workers=3))
    parts = {name: getattr(data, name)[:] for name in PARTS}
    hashes = [image_hash(image) for part in parts.values() for image in part["image"]]
    assert len(hashes) == len(set(hashes)) == 19 + 56
    assert {frozenset(part.columns) for part in parts.values()} == {
        frozenset({"image", "tokens", "class", "label", "document"})}
    assert left_out(data.report) == {"in the specific set": 3, "there before": 1}
    assert data.report["classes"] == ["cat", "dog"]
    assert data.target == "classes" and data.labels == ("classes", "odd", "even")
    train = parts["specific_train"]
    assert [decode(t) for t in train["tokens"]] == ["cat"]*4 + ["dog"]*4
    assert train["class"].tolist() == [0]*4 + [1]*4
    assert [len(parts[f"specific_{p}"]) for p in ("valid", "test")] == [2 + 1, 4 + 4]
    generic = parts["generic"]
    assert set(generic["class"]) == {-1}
    for t, k in zip(generic["tokens"], generic["label"], strict=True):
        assert decode(t).startswith("number ")
        assert data.labels[k] == ("even", "odd")[int(decode(t)[7:]) % 2]


def test_held_out_concepts_are_kept_out_of_the_generic_set(monkeypatch):
    shown = [Example(picture(9000 + i), f"again {i}", "again", f"{i}", concept=f"{i}")
             for i in range(10)]
    def with_concepts(source, columns=None, limit=None, id_column="id", account=None):
        for e in examples(source, columns or ("image", "caption", "label"), limit):
            yield e._replace(concept=Path(e.name).stem)
        if source == "world":
            yield from shown
    monkeypatch.setattr(module, "examples", with_concepts)
    classes = {e.name: e for e in with_concepts("classes")}
    data = prepare_images(config(generic="world"))
    hashes = {image_hash(image)
              for part in (data.specific_valid, data.specific_test) for image in part["image"]}
    held_out = {Path(n).stem for n, e in classes.items()
                if image_hash(pixels(e.image, SIZE)) in hashes}
    captions = {decode(t) for part in (data.generic[:], data.generic_test) for t in part["tokens"]}
    assert {c for c in captions if c.startswith("again")} == {
        f"again {i}" for i in range(10) if str(i) not in held_out}
    assert left_out(data.report) == {"shows a held-out concept": len(held_out)}


def test_the_cache_follows_sources_and_settings_but_not_the_number_of_threads():
    first = prepare_images(config())
    assert prepare_images(config(workers=3)).folder == first.folder
    assert prepare_images(config(split_seed=1)).folder != first.folder
    assert prepare_images(config(image_size=4)).folder != first.folder
    Path("world/99.png").write_bytes(picture(99))  # a missing file that has been put there
    assert prepare_images(config()).folder != first.folder
    os.utime("classes/cat/0.png", (0, 0))
    assert len(list(Path("cache").glob("[!.]*"))) == 4
    assert prepare_images(config()).folder.name not in {first.folder.name}


def test_classes_with_more_pictures_than_needed_keep_a_sample_that_depends_on_the_seed():
    for i in range(200):
        Path(f"classes/cat/more{i}.png").write_bytes(picture(20000 + i))
    splits = [prepare_images(config(split_seed=seed)) for seed in (0, 0, 1)]
    chosen = [set(map(image_hash, s.specific_train["image"][s.specific_train["class"] == 0]))
              for s in splits]
    assert chosen[0] == chosen[1] != chosen[2] and all(len(c) == 4 for c in chosen)
