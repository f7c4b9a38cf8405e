"""Check pairs of generic and specific data, and set the predictions beside what finished runs gained.

    python tools/check_pairs.py --checks runs/check [--only-collect]

A check that has its check.json is not repeated. Gains come from `results.csv` files of finished comparisons, by target; a pair without
one has none. The result is nbs/experiments/results/check/pairs.csv, which the notebook `will_it_help` reads.
"""
import argparse
import json
from pathlib import Path

from adaptive_dist.cli import main as adaptive_dist
from adaptive_dist.engine.checkup import pair_row
from adaptive_dist.engine.compare import read_csv, write_csv

RESULTS = Path(__file__).resolve().parents[1]/"nbs"/"experiments"/"results"
LM = ["lm", "--preset", "small-target", "--check-batches", "32"]

def topic(name: str, *flags: str) -> tuple[list[str], str | None]:
    "Flags of a check on a label of the embedded text, and the target's name in the results of the comparison on topics."
    return [*LM, "--specific", f"embedded:{name}", *flags], None if flags else name

PAIRS: dict[str, tuple[list[str], str | None]] = {
    "Biology": topic("Biology and health sciences"), "Mathematics": topic("Mathematics"), "Physical sciences": topic("Physical sciences"),
    "Philosophy and religion": topic("Philosophy and religion"), "Security weakness": topic("Security weakness"),
    "the generic set itself": ([*LM, "--specific", "embedded"], "the generic set itself"), "AWS": topic("AWS"), "People": topic("People"),
    "Biology, 64 examples": topic("Biology and health sciences", "--specific-size", "64"),
    "Biology, 32 examples": topic("Biology and health sciences", "--specific-size", "32"),
    "Biology, 16 examples": topic("Biology and health sciences", "--specific-size", "16"),
    "Mathematics, 32 examples": topic("Mathematics", "--specific-size", "32"),
}

def folder(checks: Path, name: str) -> Path: return checks/name.replace(", ", "-").replace(" ", "_")

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=Path, required=True, help="folder for the checks, one each")
    parser.add_argument("--only-collect", action="store_true", help="collect those that are finished, start none")
    args = parser.parse_args()
    for name, (flags, _) in PAIRS.items():
        if args.only_collect or (folder(args.checks, name)/"check.json").exists(): continue
        if status := adaptive_dist(["check", *flags, "--quiet", "--out", str(folder(args.checks, name))]): raise SystemExit(status)
    runs = [row for path in sorted(RESULTS.glob("*/results.csv")) for row in read_csv(path)]
    found = {name: folder(args.checks, name)/"check.json" for name in PAIRS}
    rows = [pair_row(name, json.loads(path.read_text()), [r for r in runs if r["target"] == PAIRS[name][1]])
            for name, path in found.items() if path.exists()]
    if not rows: raise SystemExit(f"no finished checks in {args.checks}")
    write_csv(RESULTS/"check"/"pairs.csv", rows)
    print(f"{len(rows)} of {len(PAIRS)} pairs: {RESULTS/'check'/'pairs.csv'}")

if __name__ == "__main__": main()
