"""Print floating-point operations of a step, of methods that were run before results said so.

    python tools/studies/prices.py lm small-target uniform,classifier,soba > prices.csv

Counted as a run counts them (`train.experiment.planned_step`), on random data of the same shapes.
What a method prepares before its first step is not in it.
"""
import argparse
import csv
import sys

from adaptive_dist.experiments.registry import load_task
from adaptive_dist.report.grid import configured, variants
from adaptive_dist.train.experiment import planned_step

def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("preset")
    parser.add_argument("methods", help="variants, as `adaptive-dist compare` has them")
    args = parser.parse_args()
    task = load_task(args.task)
    if task.build_synthetic is None:
        parser.error(f"task {args.task} has no random data to count on")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["method", "flops_per_step"])
    for variant in variants(args.methods):
        config = configured(task.presets[args.preset], variant.choices[0])
        writer.writerow([variant.name, planned_step(task.build_synthetic(config))])

if __name__ == "__main__":
    main()
