"A label column that holds an address of each document is no list of domains."
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fault_texts import small_run, texts, write_rows
from own_texts import result

from adaptive_dist.cli import main
from adaptive_dist.train.labels import MOST_LABELS, label_groups
from adaptive_dist.train.metrics import read_metrics

pytestmark = pytest.mark.usefixtures("texts")
__all__ = ["texts"]


@pytest.mark.slow
def test_labels_beyond_a_hundred_are_told_together(capsys):
    "FAULTS 23."
    addresses = [f"https://example.org/{k}" for k in range(2_000)]
    write_rows("g.jsonl", 2_000, addresses)
    assert main(small_run("out", "--log-every", "1", method="dds")) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "labels: the 100 largest" in err and "--label-column" in err
    found = result("out")
    assert len(found["base_share"]) == MOST_LABELS + 1 == len(found["picked_share"])
    assert found["target_label"] in found["base_share"]
    assert sum(found["base_share"].values()) == pytest.approx(1)
    for record in read_metrics("out"):
        assert sum(record["picked_share"].values()) == pytest.approx(1)
        assert record["picked_share"]["other"] > .5 and len(json.dumps(record)) < 10_000
    assert main(["score", "out", "--out", "scores.parquet"]) == 0
    labels = set(pq.read_table("scores.parquet")["label"].to_pylist())
    assert len(labels) > 1_500 and "other" not in labels  # nothing is lost there
    assert main(["report", "out"]) == 0
    assert Path("out/selection.html").exists()


def test_a_hundred_labels_are_as_they_were():
    names = tuple(map(str, range(MOST_LABELS)))
    assert label_groups(names, [1/MOST_LABELS]*MOST_LABELS, ["3"]) is None
    found = label_groups((*names, "other", "last"), [*[.009]*MOST_LABELS, .09, .01], [])
    assert found is not None and found.names.count("other") == 1
    assert found.of[MOST_LABELS] == len(found.names) - 1 and len(found.names) <= MOST_LABELS + 1
