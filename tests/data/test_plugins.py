"Another package's scheme and another package's file ending, for text, pairs and pictures."
import sys
from pathlib import Path

import pytest

from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.plugins import plugins
from adaptive_dist.data.images import examples
from adaptive_dist.data.pairs import PairsConfig, pairs
from adaptive_dist.data.text import documents as identified

MODULE = '''
from dataclasses import dataclass
from adaptive_dist.data.formats import numbered

def log_rows(path, columns):
    for line in path.read_text().splitlines():
        yield dict(zip(("text", "en", "de", "image", "caption"), [line]*5))

@dataclass(frozen=True)
class Reviews:
    year: str
    def rows(self, columns):
        return numbered([{"text": f"rain in {self.year}"}], f"reviews:{self.year}", "reviews")
    def fingerprint(self): return self.year
    def contains(self, other): return other == self
'''


def documents(source):
    "The documents of a source, without their ids."
    return (document[:2] for document in identified(source))


@pytest.fixture(autouse=True)
def package(workplace, monkeypatch):
    "An installed package with a reader of .log files, a scheme, and a scheme that is broken."
    info = Path("packages/reviews-1.0.dist-info")
    info.mkdir(parents=True)
    Path("packages/reviews_sources.py").write_text(MODULE)
    (info/"METADATA").write_text("Metadata-Version: 2.1\nName: reviews\nVersion: 1.0\n")
    (info/"entry_points.txt").write_text(
        "[adaptive_dist.sources]\n.log = reviews_sources:log_rows\n"
        "reviews = reviews_sources:Reviews\nbroken = reviews_sources:gone\n")
    monkeypatch.syspath_prepend(str(Path("packages").resolve()))
    plugins.cache_clear()
    Path("a.log").write_text("one\ntwo\n")
    yield
    plugins.cache_clear()
    sys.modules.pop("reviews_sources", None)


def test_an_ending_serves_text_pairs_and_pictures():
    assert list(documents("a.log")) == [("one", "a"), ("two", "a")]
    found = [pair[:3] for pair in pairs("a.log", PairsConfig())]
    assert found == [("one", "one", "a"), ("two", "two", "a")]
    found = [(e.image, e.caption, e.label) for e in examples("a.log")]
    assert found == [(Path("one"), "one", "a"), (Path("two"), "two", "a")]


def test_a_scheme_is_used_like_ours():
    assert list(documents("reviews:2019")) == [("rain in 2019", "reviews")]
    with pytest.raises(UsageError, match="reviews:2019 has no column 'en' in row 1"):
        list(pairs("reviews:2019", PairsConfig()))
    with pytest.raises(UsageError, match="no such file or folder: views:2019"):
        list(documents("views:2019"))


def test_a_broken_plugin_is_named():
    with pytest.raises(UsageError, match="the package reviews brings 'broken'"):
        list(documents("broken:x"))
