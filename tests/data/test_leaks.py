"Near-duplicates against sets of n-grams written out, and against copies whose overlap is known."
import io
import random

import numpy as np
import pytest

from adaptive_dist.data.leaks import (
    LEAKED,
    ByLooks,
    Index,
    Shingling,
    about_leaks,
    leak_rate,
    leaked,
    leaks_of,
    shingles,
    small_copies,
    whole_documents,
    without_near_duplicates,
)
from adaptive_dist.data.split import Split
from adaptive_dist.data.table import Rows
from adaptive_dist.data.vocabulary import encode

HOW = Shingling("tokens", 25, bytes=True)


def rows_of(texts, length=64):
    pieces = [encode(text, length) for text in texts]
    return Rows(tokens=np.concatenate(pieces),
                document=np.repeat(np.arange(len(texts)), [len(p) for p in pieces]))


def words(rng, count):
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=count))


def grams(text, size=25):
    "The n-grams of a text, written out; a short rest of its last piece is not kept."
    kept = "".join(bytes(p).rstrip(b"\0").decode() for p in encode(text, 64))
    while "  " in kept:
        kept = kept.replace("  ", " ")
    return {kept[i:i + size] for i in range(len(kept) - size + 1)}


def test_shingles_are_the_sets_written_out():
    rng = random.Random(0)
    texts = [words(rng, n) for n in (500, 24, 25, 26, 64, 65, 1_000)]
    found = shingles(rows_of(texts), HOW)
    assert [int((found.document == k).sum()) for k in range(len(texts))] == [
        len(grams(text)) for text in texts]


@pytest.mark.parametrize("share", [0, .1, .3, .45, .55, .7, .9, 1])
def test_shares_are_those_of_sets_written_out(share):
    "A training document shares a known part with a test document: by sets, and by construction."
    rng = random.Random(int(100*share))
    test, train = [], []
    for _ in range(20):
        text = words(rng, 640)
        cut = int(640*share)
        test.append(text)
        train.append(words(rng, rng.randrange(300)) + text[:cut] + words(rng, 640 - cut))
    rng.shuffle(train)
    found = Index(rows_of(test), HOW).shared(rows_of(train))
    sets = [grams(text) for text in train]
    expected = [max(len(grams(t) & s)/len(grams(t)) for s in sets) for t in test]
    np.testing.assert_allclose(found, expected)
    assert abs(found.mean() - share) < .06
    rate = leak_rate(rows_of(train), rows_of(test), HOW)
    assert rate.rate == np.mean(np.array(expected) >= LEAKED) and rate.documents == 20


def test_white_space_and_case_do_not_count():
    rng = random.Random(0)
    text = " ".join(words(rng, 5).strip() or "a" for _ in range(100))
    other = "\n\n".join(text.upper().split()) + "\n"
    assert leak_rate(rows_of([other]), rows_of([text]), HOW).rate == 1


def test_blocks_keep_documents_whole_and_many_are_sampled():
    rng = random.Random(0)
    texts = [words(rng, rng.randrange(1, 2_000)) for _ in range(200)]
    rows = rows_of(texts)
    whole = {k: int((rows["document"] == k).sum()) for k in range(200)}
    seen = set()
    for block in whole_documents(rows, 64, block=50):
        numbers, counts = np.unique(block["document"], return_counts=True)
        seen |= {int(n) for n, c in zip(numbers, counts, strict=True) if whole[int(n)] == c}
    assert seen == set(range(200))
    test = rows_of(texts[:50])
    assert leak_rate(rows, test, HOW).rate == 1
    some = leak_rate(rows_of(texts*40), test, HOW, most=2**20)
    assert 0 < some.looked_at < .6


def test_a_sample_of_the_n_grams_estimates_their_share():
    rng = random.Random(0)
    text = words(rng, 64_000)
    found = Index(rows_of([text]), HOW, most=2_000).shared(rows_of([text[:32_000]]))
    assert found[0] == pytest.approx(.5, abs=.05)


def test_documents_that_are_too_short_are_not_counted():
    assert leak_rate(rows_of(["short"]), rows_of(["short"]), HOW).documents == 0
    assert leak_rate(rows_of(["short"]), rows_of(["short"]), HOW).rate == 0


def test_planted_copies_are_found_in_both_training_parts():
    rng = random.Random(0)
    a, b, c, d = (words(rng, 900) for _ in range(4))
    found = leaks_of(Split(
        rows_of([a, b]), rows_of([c]), rows_of([d]), rows_of([c, d]), rows_of([b, d, d]),
        labels=("words",), share=(1.,), target=None, report={}), HOW)
    assert found["specific_test"]["rate"] == .5
    assert found["generic_test"]["rate"] == pytest.approx(1/3)


def pictures(seed, count, size=24):
    "Pictures of coarse random squares."
    squares = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), np.uint8)
    return squares.repeat(size//6, 1).repeat(size//6, 2)


def saved_again(picture, kind, size, **options):
    "A picture in another size, as it comes back from a file."
    from PIL import Image
    file = io.BytesIO()
    Image.fromarray(picture).resize((size, size)).save(file, kind, **options)
    return np.asarray(Image.open(file).resize(picture.shape[:2]).convert("RGB"))


def pictures_split(**parts):
    rows = {name: Rows(image=some, document=np.arange(len(some))) for name, some in parts.items()}
    valid = {"specific_valid": rows["specific_test"]}
    return Split(**rows, **valid, labels=("one",), share=(1.,), target=None, report={})


def test_pictures_saved_again_leak_and_others_do_not():
    some = pictures(0, 40)
    again = [saved_again(some[0], "png", 40), saved_again(some[2], "png", 18),
             saved_again(some[1], "jpeg", 24, quality=75, subsampling=0),
             some[3]//2 + 100, some[4][::-1], some[5]]
    data = pictures_split(generic=np.stack([*again, *pictures(1, 600)]), specific_train=some[30:],
                          specific_test=some[:10], generic_test=some[25:])
    found = leaked(data, ByLooks())
    assert found["specific_test"].documents.tolist() == [0, 1, 2, 3, 5]
    assert found["specific_test"].leaks == (.5, 10, 1., "pictures")
    assert found["generic_test"].documents.tolist() == [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    clean = without_near_duplicates(data, ByLooks())
    assert clean.specific_test["document"].tolist() == [4, 6, 7, 8, 9]
    assert "50.0% of 10 specific test pictures" in (about_leaks(leaks_of(clean, ByLooks())) or "")


@pytest.mark.parametrize("size", [4, 5, 12, 13, 32])
def test_small_copies_of_any_size(size):
    rng = np.random.default_rng(size)
    some = rng.integers(0, 256, (3, size, size, 3), np.uint8)
    flat = np.full((1, size, size, 3), 255, np.uint8)
    copies = small_copies(np.concatenate([some, flat]))
    assert np.allclose(copies @ copies.T, np.diag([1, 1, 1, 0]), atol=.6)
    assert np.allclose(np.linalg.norm(copies, axis=1), [1, 1, 1, 0], atol=1e-3)


def test_part_of_the_pictures_is_read():
    rows = Rows(image=pictures(0, 4_096, 6), document=np.arange(4_096))
    (best,), read = ByLooks(most=1_024).search([rows[:600]]).look(rows)
    assert read == .25 and (best[:512] > .99).all() and (best[512:] < .99).all()
