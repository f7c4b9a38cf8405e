"""What a tokenizer makes of texts comes back, and bytes are counted as they stand in the text."""
import pickle
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from adaptive_dist.config.errors import UsageError
from adaptive_dist.data.table import Rows
from adaptive_dist.data.tokens import Subwords, byte_table, load_subwords, train_subwords

TEXTS = ["Wine is old, and old wine is dear.", "Añejo 山 ☃ \n\n  x", "  leading and trailing  "]


def words() -> Subwords:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "old": 1, "wine": 2}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    return Subwords(tokenizer)


@pytest.mark.parametrize("length", [2, 5, 16])
def test_texts_come_back_and_bytes_add_up(length: int) -> None:
    tokens = train_subwords(TEXTS*3, 300)
    for text in TEXTS:
        rows = Rows(**tokens.encode(text, length))
        raw = tokens.decode(rows["tokens"].ravel()).encode()
        assert text.encode().startswith(raw.rstrip("\N{REPLACEMENT CHARACTER}".encode()))
        assert rows["tokens"].max() < tokens.size and rows["tokens"].shape[1] == length
        dropped = len(text.encode()) - tokens.bytes(rows).sum()
        assert dropped >= 0 and (not dropped or length == 16)
        read = byte_table(tokens)[rows["tokens"].ravel()]
        assert text.encode().startswith(bytes(read[read != 0]))


def test_bytes_are_those_of_the_text_before_a_normalizer() -> None:
    rows = Rows(**words().encode("OLD wine, é OLD", 2))
    assert rows["tokens"].tolist() == [[2, 3], [1, 1], [2, 0]]
    assert rows["bytes"].tolist() == [8, 5, 3]


def test_the_same_tokenizer_whatever_the_order_of_threads(tmp_path: Path) -> None:
    texts = [f"{k} {k*k} wine" for k in range(2_000)]
    one, other = (train_subwords(texts, 600).tokenizer.to_str() for _ in range(2))
    assert one == other


def test_truncation_and_padding_of_a_file_are_left_out(tmp_path: Path) -> None:
    tokens = train_subwords(TEXTS, 280)
    tokens.tokenizer.enable_truncation(3)
    tokens.tokenizer.enable_padding(length=50)
    tokens.tokenizer.save(str(tmp_path/"tokenizer.json"))
    rows = pickle.loads(pickle.dumps(load_subwords(str(tmp_path)))).encode(TEXTS[0], 8)
    assert np.count_nonzero(rows["tokens"]) > 8 and rows["bytes"].sum() == len(TEXTS[0])


@pytest.mark.parametrize("named, said", [
    ("gone.json", "no such file or folder"), (".", "holds no tokenizer.json"),
    ("broken.json", "is no tokenizer"), ("no-one/has-this", "cannot be had from the hub")])
def test_what_is_no_tokenizer_is_one_line(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text('{"model": 1}')
    with pytest.raises(UsageError, match=said) as e:
        load_subwords(named)
    assert "\n" not in str(e.value) and f"--tokenizer {named}" in str(e.value)
