"A file format: logs, a line each, as in `ERROR disk: no space left`."
from collections.abc import Iterator, Sequence
from pathlib import Path

from adaptive_dist.data.formats import lines

def log_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    "A row for each line: its level as the label, the rest as the text."
    text, label, *_ = columns
    for line in lines(path):
        level, _, message = line.strip().partition(" ")
        if message:
            yield {text: message, label: level}
