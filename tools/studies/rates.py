"""What a pass over a corpus costs a core: rates.py OUT.json [--documents N] [--only-tokens]

Real texts, those of the embedded source, are written to files of both kinds. Then the processor
time is taken that reading, scoring with several scorers, the second pass, and tokenising with a
vocabulary of 32,000 need for them: all threads count, so the rates are those of one core.
"""
import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import pyarrow as pa
import pyarrow.parquet as pq

from adaptive_dist.config.files import write_json
from adaptive_dist.config.settings import change
from adaptive_dist.corpus.choice import SelectConfig, make_choice
from adaptive_dist.corpus.picks import kind_of_file
from adaptive_dist.corpus.plan import open_scoring
from adaptive_dist.corpus.records import Record, read_records, reading_of
from adaptive_dist.corpus.scoring import make_blocks
from adaptive_dist.corpus.taking import Taking, gather, take_corpus
from adaptive_dist.corpus.tokenise import TokeniseConfig, open_tokenising
from adaptive_dist.data.embedded.text import Document
from adaptive_dist.data.sources import parse_source, parts_of
from adaptive_dist.data.text import documents
from adaptive_dist.data.tokens import train_subwords
from adaptive_dist.experiments.lm import LM, network_elsewhere, text_weighting
from adaptive_dist.scorers.exported import write_network

SCORERS = ("zip_dictionary", "hashed", "dsir", "ngram", "rds")
TARGET = "embedded:Biology and health sciences"

@contextmanager
def clocked(found: dict[str, Any], name: str, count: int, size: int) -> Iterator[None]:
    "Note the records and the megabytes of text that a core gets through in a second."
    began = time.process_time()
    yield
    seconds = time.process_time() - began
    found[name] = {"records": count/seconds, "megabytes": size/1e6/seconds}
    print(f"{name:24} {count/seconds:10,.0f} records/s {size/1e6/seconds:8.2f} MB/s")

def write_files(folder: Path, most: int) -> tuple[int, int]:
    "Documents as lines of JSON and as Parquet; how many, and the bytes of their texts."
    rows = [{"text": d.text, "label": d.label} for d in islice(documents("embedded"), most)]
    (folder/"jsonl").mkdir()
    (folder/"parquet").mkdir()
    (folder/"jsonl"/"a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder/"parquet"/"a.parquet")
    return len(rows), sum(len(row["text"].encode()) for row in rows)

def write_networks(folder: Path) -> dict[str, str]:
    "Untrained weighting networks of two presets, as scorers in folders."
    made = {}
    for preset in ("reduced", "paper"):
        config = LM.presets[preset]
        alpha = text_weighting(config.weighting).init(jax.random.key(0), {})
        made[f"network of {preset}"] = str(folder/preset)
        write_network(folder/preset, network_elsewhere(config), alpha, {})
    return made

def rate_of_tokens(folder: Path, found: dict[str, Any], texts: list[Document], size: int) -> None:
    "The rate of tokenising, also in tokens, with a vocabulary that is made of the same texts."
    train_subwords((d.text for d in texts), 32_000).save(folder/"words.json")
    config = TokeniseConfig(tokenizer=str(folder/"words.json"))
    make = open_tokenising(folder/"tokens", str(folder/"parquet"), config).maker()(0)
    make(texts[:256])  # loaded once
    with clocked(found, "tokenise", len(texts), size):
        tokens = sum(len(some) for start in range(0, len(texts), 256)
                     for some in make(texts[start:start + 256]))
    found["tokenise"]["tokens"] = found["tokenise"]["records"]*tokens/len(texts)

def rates(folder: Path, most: int) -> dict[str, Any]:
    "All rates, by what is done."
    found: dict[str, Any] = {}
    count, size = write_files(folder, most)
    config = SelectConfig(specific=TARGET, share=.05)
    texts = list[Document]()
    for kind in ("jsonl", "parquet"):
        part, = parts_of(parse_source(str(folder/kind), "text"))[0]
        with clocked(found, f"read {kind}", count, size):
            records = list(read_records(part, reading_of(config)))
        texts = [record.document for record in records if isinstance(record, Record)]
    ways = {name: {"scorer": name} for name in SCORERS}
    ways |= {name: {"scored_by": place} for name, place in write_networks(folder).items()}
    for name, by in ways.items():
        work = open_scoring(folder/f"{name}.work", str(folder/"parquet"), change(config, **by))
        score = work.maker()(0)
        score(texts[:256])  # compiled once
        with clocked(found, name, count, size):
            for start in range(0, count, 256):
                score(texts[start:start + 256])
    shortest = change(config, scorer="shortest")
    work = open_scoring(folder/"picked.work", str(folder/"parquet"), shortest)
    make_blocks(work, progress=False)
    with clocked(found, "choice and second pass", count, size):
        choice = make_choice(work.blocks, len(work.parts), config, "rank")
        taking = Taking(work, choice, config, folder/"taken", kind_of_file(Path("p.parquet")))
        take_corpus(taking, progress=False)
        gather(taking, folder/"picked.parquet")
    rate_of_tokens(folder, found, texts, size)
    return {"device": jax.devices()[0].device_kind, "documents": count, "bytes": size,
            "per core and second": found}

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=5_000)
    parser.add_argument("--only-tokens", action="store_true", help=(
        "measure tokenising alone, and leave the other rates in OUT as they are"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.only_tokens:
            found = json.loads(arguments.out.read_bytes())
            _, size = write_files(folder, arguments.documents)
            texts = list(islice(documents("embedded"), arguments.documents))
            rate_of_tokens(folder, found["per core and second"], texts, size)
        else:
            found = rates(folder, arguments.documents)
        write_json(arguments.out, found)

if __name__ == "__main__":
    main()
