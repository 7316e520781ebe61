"""Which rows a fingerprint knows, in how little memory, and what it calls a leak."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest

from fastnn import DataLeakWarning, Standardizer, fingerprint
from fastnn.datasets import load_digits
from fastnn.fingerprint import SIZE, Fingerprint, Sketch, row_hashes

RNG = np.random.default_rng(23)
MANY = RNG.normal(size=(20 * SIZE, 3))


def of(x, parts=1):
    sketch = Sketch()
    for block in np.array_split(np.asarray(x), parts):
        sketch.add(block)
    return sketch.fingerprint()


def overlap(x, other):
    return of(x).overlap(row_hashes(np.asarray(other)))


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_a_row_has_one_hash_in_every_dtype_layout_and_place(width, monkeypatch):
    x = RNG.integers(0, 256, (500, width), dtype=np.uint8)
    expected = row_hashes(x)
    for dtype in ("float16", "float32", "float64", "int64", "uint16"):
        assert np.array_equal(row_hashes(x.astype(dtype)), expected)
    assert np.array_equal(row_hashes(np.asfortranarray(x)), expected)
    assert np.array_equal(row_hashes(x[::-1])[::-1], expected)
    real = RNG.normal(size=(500, width))
    assert np.array_equal(row_hashes(real), row_hashes(real.astype(np.float32)))
    monkeypatch.setattr(fingerprint, "_BLOCK_ELEMENTS", 3 * width)
    assert np.array_equal(row_hashes(x), expected)
    assert row_hashes(x[:0]).shape == (0,)


def test_different_rows_have_different_hashes():
    binary = (np.arange(2**16)[:, None] >> np.arange(16)) & 1  # all rows of 16 zeros and ones, of which float32 has few bits
    one = np.arange(2**16).reshape(-1, 1)
    swapped = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).reshape(-1, 2)
    for rows in (binary, one, swapped, MANY):
        assert len(np.unique(row_hashes(rows))) == len(rows)


def test_every_bit_of_a_hash_depends_on_the_row():
    hashes = row_hashes(np.arange(4096).reshape(-1, 1))
    ones = ((hashes[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / math.sqrt(4096)


@pytest.mark.parametrize("parts", [1, 2, 77])
@pytest.mark.parametrize("pending", [100, 2**16])
def test_the_smallest_hashes_are_kept_however_the_rows_come(parts, pending, monkeypatch):
    monkeypatch.setattr(fingerprint, "_PENDING", pending)
    few, many = of(MANY[:SIZE], parts), of(MANY, parts)
    assert np.array_equal(few.hashes, np.sort(row_hashes(MANY[:SIZE])))
    assert (few.rows, few.complete, few.repeats) == (SIZE, True, 0.0)
    assert np.array_equal(many.hashes, np.sort(row_hashes(MANY))[:SIZE])
    assert (many.rows, many.complete, many.repeats) == (len(MANY), False, 0.0)
    doubled = of(np.concatenate([MANY, MANY[::2]]), parts)
    assert np.array_equal(doubled.hashes, many.hashes)
    assert doubled.repeats == pytest.approx(2 / 3, abs=0.05)


def test_the_share_is_exact_for_few_rows():
    assert overlap(MANY[:1000], MANY[900:1100]).share == 0.5
    assert overlap(MANY[:1000], MANY[1000:1100]).share == 0.0
    assert overlap(MANY[:1000], MANY[:7]) == (1.0, True)


@pytest.mark.parametrize("seen", [0.0, 0.3, 1.0])
def test_the_share_is_estimated_for_many(seen):
    known = of(MANY)
    fresh = RNG.normal(size=(8000, 3))
    leaked = int(8000 * seen)
    found = known.overlap(row_hashes(np.concatenate([MANY[:leaked], fresh[leaked:]])))
    assert found.share == pytest.approx(seen, abs=4 * math.sqrt(0.25 / 400))  # about 400 of 8000 rows are in the sample
    assert found.leak == (seen > 0)


def test_nothing_is_said_of_rows_outside_the_sample():
    known = of(MANY)
    others = MANY[row_hashes(MANY) > known.hashes[-1]][:50]
    found = known.overlap(row_hashes(others))
    assert math.isnan(found.share)
    assert not found.leak


def test_rows_that_repeat_by_nature_are_no_leak():
    tables = RNG.integers(0, 4, (6000, 4))  # 256 different rows: a fresh one is always known
    assert overlap(tables[:3000], tables[3000:]) == (1.0, False)
    blank = np.concatenate([np.zeros((300, 3)), MANY[:700]])
    fresh = np.concatenate([np.zeros((60, 3)), MANY[700:840]])
    assert overlap(blank, fresh) == (0.3, False)
    assert overlap(blank, np.concatenate([fresh[:60], MANY[500:640]])) == (1.0, True)


@pytest.mark.parametrize(("known", "of_rows", "leak"), [(2, 2, False), (3, 3, True), (3, 60, False), (4, 60, True), (10, 250, False)])
def test_a_leak_is_three_rows_and_a_twentieth(known, of_rows, leak):
    rows = np.concatenate([MANY[:known], MANY[5000:5000 + of_rows - known]])
    assert overlap(MANY[:1000], rows) == (known / of_rows, leak)


def test_digits_do_not_repeat():
    x, _ = load_digits()
    known = of(x[:1200])
    assert known.repeats == 0.0
    assert known.overlap(row_hashes(x[1200:])) == (0.0, False)


def test_a_file_holds_it_in_little():
    known = of(MANY)
    text = json.dumps(known.to_dict())
    assert len(text) < 22_100
    again = Fingerprint.from_dict(json.loads(text))
    assert np.array_equal(again.hashes, known.hashes)
    assert (again.rows, again.complete, again.repeats) == (known.rows, known.complete, known.repeats)


GOOD = of(MANY[:3]).to_dict()


@pytest.mark.parametrize("values", [
    None, 3, {}, {**GOOD, "hashes": 3}, {**GOOD, "hashes": "no base 64"}, {**GOOD, "hashes": "AAAA"}, {**GOOD, "hashes": ""},
    {**GOOD, "hashes": 2 * GOOD["hashes"]}, {**GOOD, "rows": 2}, {**GOOD, "rows": "many"}, {**GOOD, "complete": 1},
    {**GOOD, "repeats": 2.0}, {**GOOD, "repeats": None}, {**GOOD, "hashes": "A" * (4 * 3 * SIZE)},
], ids=lambda values: str(values)[:60])
def test_what_is_no_fingerprint_is_answered(values):
    with pytest.raises((ValueError, TypeError), match=r"^fastnn\.Fingerprint\.from_dict: argument '(values|rows|repeats)' must"):
        Fingerprint.from_dict(values)


def test_the_warning_names_the_line_that_led_to_it():
    scaler = Standardizer().fit(MANY)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scaler.check(test=MANY)
    (warning,) = caught
    assert warning.filename == __file__
    assert issubclass(warning.category, DataLeakWarning)
    assert issubclass(DataLeakWarning, UserWarning)
    assert str(warning.message) == (
        "fastnn.Standardizer.check: about 100 % of the rows of 'test' were part of the statistics of "
        "Standardizer(axis='feature', divide=True), taken from 40960 rows: fit preprocessing on the training rows only")
