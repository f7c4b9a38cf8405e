"Files of other people are data: nothing in them is executed, unpacked elsewhere, or blown up."
import ast
import io
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from upath import UPath

from adaptive_dist.config.errors import UsageError
from adaptive_dist.data.corpora import archived_news, news_text
from adaptive_dist.data.embedded.pairs import _Names
from adaptive_dist.data.images import pixels
from adaptive_dist.data.local_files import shard_files

PACKAGE = Path(__file__).resolve().parents[2]/"adaptive_dist"
TREES = {path: ast.parse(path.read_text(encoding="utf-8"))
         for path in PACKAGE.rglob("*.py") if path.name != "_modidx.py"}


def calls() -> Iterator[tuple[Path, str, ast.Call]]:
    "Every call of the package, with what is called."
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield path, ast.unparse(node.func), node


def test_nothing_of_a_file_is_executed() -> None:
    wrong = {"eval", "exec", "pickle.load", "pickle.loads", "marshal.loads", "yaml.load",
             "joblib.load", "torch.load", "os.system", "shelve.open"}
    assert not [(path.name, name) for path, name, _ in calls() if name in wrong]
    for path, name, call in calls():
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("trust_remote_code", "False") == "False", path
        assert given.get("allow_pickle", "False") == "False", path
        assert given.get("shell", "False") == "False", path
        if name.endswith("np.load"):
            assert given.get("allow_pickle", "False") == "False", path


def test_only_one_place_knows_pickles_and_it_makes_no_objects() -> None:
    "Babel's own names, with stand-ins for its classes."
    using = {path.name for path, tree in TREES.items() for node in ast.walk(tree)
             if isinstance(node, ast.Import) and any(a.name == "pickle" for a in node.names)}
    assert using == {"pairs.py"}

    class Harm:
        def __reduce__(self):
            return eval, ("1 + 1",)

    for harm in (Harm(), np.zeros(2), Path("x")):
        with pytest.raises(pickle.UnpicklingError, match="unexpected"):
            _Names(io.BytesIO(pickle.dumps(harm))).load()


def test_archives_are_read_and_never_unpacked() -> None:
    unpacking = ("extract", "extractall", "unpack_archive")
    assert not [path.name for path, name, _ in calls() if name.rpartition(".")[2] in unpacking]


def test_a_member_that_would_escape_is_data_or_nothing(tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path/"inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    (tmp_path/"secret.txt").write_text("secret")
    with tarfile.open("shard.tar", "w") as shard:
        for name in ("../escaped.txt", "/tmp/escaped-absolutely.txt", "a/../../up.txt"):
            member = tarfile.TarInfo(name)
            member.size = 5
            shard.addfile(member, io.BytesIO(b"hello"))
        for name, kind in (("link.txt", tarfile.SYMTYPE), ("hard.txt", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "../secret.txt"
            shard.addfile(link)
        device = tarfile.TarInfo("device.txt")
        device.type = tarfile.CHRTYPE
        shard.addfile(device)
    with tarfile.open("shard.tar", "r|*") as shard:
        read = [content for _, _, content in shard_files(shard)]
    assert set(read) <= {b"hello"}
    with zipfile.ZipFile("news.zip", "w") as archive:
        archive.writestr("../escaped.xml", "<newsitem/>")
        archive.writestr("/tmp/escaped-absolutely.xml", "<newsitem/>")
    assert all(content == b"<newsitem/>" for _, content in archived_news(UPath("news.zip")))
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "inside", "news.zip", "secret.txt", "shard.tar"]
    assert not Path("/tmp/escaped-absolutely.txt").exists()
    assert not Path("/tmp/escaped-absolutely.xml").exists()


def test_xml_reaches_no_file_and_does_not_grow(tmp_path: Path) -> None:
    secret = tmp_path/"secret.txt"
    secret.write_text("a secret")
    outside = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}">]>'
    with pytest.raises(UsageError, match="is not XML"):
        news_text("n.xml", f"{outside}<newsitem><text><p>&e;</p></text></newsitem>".encode())
    levels = "".join(f'<!ENTITY e{k} "{"&e" + str(k - 1) + ";"}{"&e" + str(k - 1) + ";"}">'
                     for k in range(1, 40))
    laughs = f'<!DOCTYPE x [<!ENTITY e0 "ha">{levels}]>'
    with pytest.raises(UsageError, match="is not XML"):
        news_text("n.xml", f"{laughs}<newsitem><text><p>&e39;</p></text></newsitem>".encode())


def test_a_picture_that_would_fill_the_memory_is_not_decoded() -> None:
    assert Image.MAX_IMAGE_PIXELS and Image.MAX_IMAGE_PIXELS <= 1024*1024*1024//4//3
    changing = [path.name for path, tree in TREES.items() for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and node.attr == "MAX_IMAGE_PIXELS"]
    assert not changing
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    with pytest.raises(Exception, match="decompression bomb"):
        pixels(bomb.getvalue(), 16)
