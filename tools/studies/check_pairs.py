"""Check pairs of generic and specific data, train on them, set predictions beside gains.

    python tools/studies/check_pairs.py --work runs/pairs [--only-collect]

What is finished is not repeated. Pairs of which a stored comparison has the runs take their gains
from its `results.csv`; the others are compared here, with one seed. The result is
nbs/experiments/results/check/pairs.csv, which the notebook `will_it_help` reads, and runs.csv
beside it with the runs that were made for it.
"""
import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from validation import pair_row

from adaptive_dist.cli import main as adaptive_dist
from adaptive_dist.report.tables import read_csv, write_csv

RESULTS = Path(__file__).resolve().parents[2]/"nbs"/"experiments"/"results"

class Wanted(NamedTuple):
    """A pair to check.

    - `task`: as on the command line
    - `preset`: configuration of the check and of the runs
    - `data`: flags of both that say what the specific data are
    - `stored`: folder of a comparison among the results, and the target's name in it, if
      there is one
    """
    task: str
    preset: str
    data: Sequence[str]
    stored: tuple[str, str] | None = None

    def results(self, work: Path) -> list[dict]:
        "Results of the runs on this pair; none if there are none yet."
        if self.stored:
            study, target = self.stored
            rows = read_csv(RESULTS/study/"results.csv")
            return [row for row in rows if row["target"] == target]
        path = work/"runs"/"results.csv"
        return read_csv(path) if path.exists() else []

def text(label: str, *flags: str, stored: tuple[str, str] | None = None) -> Wanted:
    "A label of the embedded text."
    source = f"embedded:{label}" if label else "embedded"
    return Wanted("lm", "small-target", ["--specific", source, *flags], stored)

def topic(name: str, study: str = "topics") -> Wanted:
    "A label of the embedded text that a study has runs on."
    return text(name, stored=(study, name))

PAIRS: dict[str, Wanted] = {
    "Biology": topic("Biology and health sciences"),
    "Mathematics": topic("Mathematics"),
    "Physical sciences": topic("Physical sciences"),
    "Philosophy and religion": topic("Philosophy and religion"),
    "Security weakness": topic("Security weakness", "unplanted"),
    "the generic set itself": text(""),
    "AWS": text("AWS"),
    "People": text("People"),
    "Biology, 64 examples": text("Biology and health sciences", "--specific-size", "64"),
    "Biology, 16 examples": text("Biology and health sciences", "--specific-size", "16"),
    "translation, mercurial": Wanted(
        "mt", "reduced", ["--specific", "embedded:mercurial"], ("mt", "mercurial")),
    "vision, OpenMoji": Wanted(
        "vision", "reduced", ["--specific", "embedded:openmoji"], ("vision", "openmoji")),
}

def command(*arguments: str) -> None:
    "Run a command of `adaptive-dist`, and end with its status if it fails."
    status = adaptive_dist(list(arguments))
    if status: raise SystemExit(status)

def check(work: Path, pair: Wanted) -> None:
    "Check a pair."
    if (work/"check"/"check.json").exists(): return
    command("check", pair.task, "--preset", pair.preset, *pair.data, "--quiet",
            "--check-batches", "32", "--out", str(work/"check"))

def train(work: Path, pair: Wanted) -> None:
    "Train on a pair, unless a comparison has."
    if pair.stored or (work/"runs"/"results.csv").exists(): return
    command("compare", pair.task, "--preset", pair.preset, *pair.data, "--quiet", "--targets", "",
            "--methods", "uniform,mixing,soba", "--seeds", "1", "--out", str(work/"runs"))

def collect(folders: Mapping[str, Path]) -> None:
    "Write `pairs.csv` and `runs.csv` from the checks that are finished."
    rows, made = [], []
    for name, pair in PAIRS.items():
        found = folders[name]/"check"/"check.json"
        if not found.exists(): continue
        results = pair.results(folders[name])
        rows.append(pair_row(name, json.loads(found.read_text()), results))
        if not pair.stored:
            made += [row | {"target": name} for row in results]
    if not rows: raise SystemExit("no finished checks")
    write_csv(RESULTS/"check"/"pairs.csv", rows)
    if made:
        write_csv(RESULTS/"check"/"runs.csv", made)
    print(f"{len(rows)} of {len(PAIRS)} pairs: {RESULTS/'check'/'pairs.csv'}")

def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True,
                        help="folder for checks and runs, with a folder for each pair")
    parser.add_argument("--only-collect", action="store_true",
                        help="collect what is finished, start nothing")
    args = parser.parse_args()
    folders = {name: args.work/name.replace(", ", "-").replace(" ", "_") for name in PAIRS}
    for make in () if args.only_collect else (check, train):
        for name, pair in PAIRS.items():
            make(folders[name], pair)
    collect(folders)

if __name__ == "__main__":
    main()
