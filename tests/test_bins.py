"""Bins against hand-made cuts and naive counts; their targets against the normal distribution written out."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnn import Bins, EmptyBinWarning, bins

RNG = np.random.default_rng(3)
SKEWED = np.exp(RNG.normal(size=400))


def naive_label(edges, value):
    """The bin whose lower edge is the last one that is not above `value`, the end bins beyond."""
    return min(max(sum(edge <= value for edge in edges) - 1, 0), len(edges) - 2)


def normal(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def test_uniform_bins():
    made = Bins.uniform([0, 1, 2, 10], 2)
    assert made.edges.tolist() == [0, 5, 10]
    assert made.centers.tolist() == [1, 10]
    assert made.atoms.tolist() == [False, False]  # one row says nothing of repetition
    assert repr(made) == "<Bins: 2 uniform bins from 0 to 10>"
    assert len(made) == made.asked == 2


def test_logarithmic_bins():
    made = Bins.logarithmic([1, 10, 100, 1000], 3)
    np.testing.assert_allclose(made.edges, [1, 10, 100, 1000], rtol=1e-14)
    assert (made.edges[0], made.edges[-1]) == (1, 1000)
    np.testing.assert_allclose(Bins.logarithmic(SKEWED, 4).edges,
                               [SKEWED.min() * (SKEWED.max() / SKEWED.min()) ** (k / 4) for k in range(5)], rtol=1e-13)


def test_quantile_bins():
    made = Bins.quantile(np.arange(10)[::-1], 5)
    assert made.edges.tolist() == [0, 1.5, 3.5, 5.5, 7.5, 9]
    assert made.centers.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert not made.atoms.any()
    assert np.ptp(np.bincount(Bins.quantile(SKEWED, 7).labels(SKEWED))) <= 1


def test_quantile_bins_are_merged_over_equal_values():
    low = Bins.quantile([0] * 6 + [1, 2, 3, 4], 5)
    assert low.edges.tolist() == [0, 0.5, 2.5, 4]
    assert low.centers.tolist() == [0, 1.5, 3.5]
    assert low.atoms.tolist() == [True, False, False]
    assert repr(low) == "<Bins: 3 quantile bins (of 5; equal values share one) from 0 to 4>"
    high = Bins.quantile([1, 2, 3, 4] + [9] * 6, 5)
    assert high.edges.tolist() == [1, 2.5, 6.5, 9]
    assert high.atoms.tolist() == [False, False, True]
    assert Bins.quantile([1, 2, 2, 2, 3, 4, 4, 5], 4).edges.tolist() == [1, 1.5, 2.5, 3.5, 5]
    assert Bins.quantile([1, 2, 3, 4, 5, 6], 6).atoms.tolist() == [False] * 6


@given(st.lists(st.integers(-5, 20), min_size=2, max_size=60), st.integers(2, 8))
def test_quantile_bins_part_no_equal_values_and_none_is_empty(values, count):
    if len(set(values)) < count:
        with pytest.raises(ValueError, match=f"at least {count} distinct values"):
            Bins.quantile(values, count)
        return
    made = Bins.quantile(values, count)
    assert 2 <= len(made) <= count
    assert (made.edges[0], made.edges[-1]) == (min(values), max(values))
    held = [sorted(value for value in values if naive_label(made.edges, value) == k) for k in range(len(made))]
    assert all(held)
    assert made.labels(values).tolist() == [naive_label(made.edges, value) for value in values]
    assert made.centers.tolist() == pytest.approx([sum(rows) / len(rows) for rows in held])
    assert made.atoms.tolist() == [len(rows) > 1 and rows[0] == rows[-1] for rows in held]
    largest = max(values.count(value) for value in values)
    assert max(map(len, held)) <= len(values) / count + 2 * largest
    if largest == 1:
        assert len(made) == count
        assert {len(rows) for rows in held} <= {math.floor(len(values) / count), math.ceil(len(values) / count)}


def test_neighbouring_floats_are_parted():
    b = np.nextafter(1.0, 2.0)
    made = Bins.quantile([1.0] * 3 + [b] * 3 + [5.0] * 3, 3)
    assert made.labels([1.0, b, 5.0]).tolist() == [0, 1, 2]
    assert made.centers.tolist() == [1.0, b, 5.0]
    assert made.atoms.all()


def test_labels_at_and_beyond_edges():
    assert Bins([0.0, 1.0, 3.0]).labels([-7, 0, 0.5, 1, 2.9, 3, 99]).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert Bins([0.0, 1.0, 3.0]).labels([1]).dtype == np.int64


def test_an_atom_is_its_value_to_the_bit():
    made = Bins.quantile([0.1] * 7 + [0.3] * 10 + [0.7, 0.8, 0.9], 3)
    assert made.centers[:2].tolist() == [0.1, 0.3]
    assert made.atoms.tolist() == [True, True, False]


def test_edges_of_ones_own_take_centres_from_rows():
    own = np.array([0.0, 1.0, 2.0, 4.0])
    made = Bins(own)
    own[1] = 7
    assert made.edges.tolist() == [0, 1, 2, 4]
    assert made.centers.tolist() == [0.5, 1.5, 3]
    centered = made.centered([-5.0, 0.5, 1.25, 9.0, 3.0])  # beyond the edges is on them
    assert centered.centers.tolist() == [0.25, 1.25, 3.5]
    assert centered.edges.tolist() == [0, 1, 2, 4]
    for array in (made.edges, made.centers, made.atoms, centered.centers):
        assert not array.flags.writeable
    assert repr(made) == "<Bins: 3 given bins from 0 to 4>"


def test_empty_bins_are_told_of_at_the_line_that_made_them():
    with pytest.warns(EmptyBinWarning) as caught:
        made = Bins.uniform([0, 1, 2, 3, 100], 5)
    assert str(caught[0].message) == ("fastnn.Bins: 3 of 5 uniform bins hold no row, the first from 20 to 40: fewer bins, or those of kind "
                                      "'quantile', have rows in each")
    assert caught[0].filename == __file__
    assert made.centers.tolist() == [1.5, 30, 50, 70, 100]
    assert str(made) == "5 uniform bins (3 without rows) from 0 to 100"
    assert str(Bins.uniform([0, 1, 2, 100], 4)) == "4 uniform bins (2 without rows) from 0 to 100"  # as of a gap between two peaks
    with pytest.warns(EmptyBinWarning, match="2 of 3 given bins"):
        Bins([0, 1, 2, 3]).centered([0.5])


def test_hard_targets_are_labels():
    made = Bins.quantile(SKEWED, 9)
    assert made.encode(SKEWED).dtype == np.int64
    np.testing.assert_array_equal(made.encode(SKEWED), [naive_label(made.edges, value) for value in SKEWED])


@pytest.mark.parametrize("kind", ["uniform", "quantile", "logarithmic"])
@pytest.mark.parametrize("deviation", [0.3, 0.75, 4.0])
def test_gaussian_targets(kind, deviation):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmptyBinWarning)
        made = getattr(Bins, kind)(SKEWED, 12)
    y = [*SKEWED[:40], made.edges[0], made.edges[-1], made.edges[3]]
    targets = made.encode(y, deviation, np.float64)
    assert targets.shape == (43, 12)
    for value, row in zip(y, targets):
        k = naive_label(made.edges, value)
        place = k + (value - made.edges[k]) / (made.edges[k + 1] - made.edges[k])
        below = [normal((j - place) / deviation) for j in range(13)]
        want = np.diff(below) / (below[-1] - below[0])
        np.testing.assert_allclose(row, want, atol=1e-6)
    assert made.encode(y, deviation).dtype == np.float32
    np.testing.assert_array_equal(made.encode([-9.0, 1e9], deviation), made.encode(made.edges[[0, -1]], deviation))


def test_uniform_gaussian_targets_are_hl_gauss():
    made = Bins(np.linspace(-3, 3, 31))
    targets = made.encode([0.37], 0.75, np.float64)[0]
    below = [normal((edge - 0.37) / (0.75 * 0.2)) for edge in made.edges]
    np.testing.assert_allclose(targets, np.diff(below), atol=1e-6)


def test_an_atom_lies_in_the_middle_of_its_bin():
    made = Bins.quantile([0] * 6 + [1, 2, 3, 4], 5)
    np.testing.assert_array_equal(made.encode([0.0], 0.5), Bins(made.edges).encode([0.25], 0.5))


def test_very_small_and_very_large_smoothing():
    made = Bins.quantile(SKEWED, 10)
    np.testing.assert_array_equal(made.encode(made.centers, 1e-300), np.eye(10))
    np.testing.assert_allclose(made.encode(SKEWED[:5], 100.0), np.full((5, 10), 0.1), atol=1e-3)


def test_linear_targets_have_the_mean_of_the_row():
    made = Bins.quantile(SKEWED, 12)
    targets = made.encode(SKEWED, "linear", np.float64)
    np.testing.assert_allclose(targets @ made.centers, np.clip(SKEWED, made.centers[0], made.centers[-1]), rtol=1e-13)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-14)
    assert (targets >= 0).all()
    for row in targets:
        places = np.flatnonzero(row)
        assert len(places) <= 2
        assert np.ptp(places) <= 1


@pytest.mark.parametrize("smoothing", [1.0, "linear"])
def test_targets_do_not_depend_on_blocks(monkeypatch, smoothing):
    made = Bins.quantile(SKEWED, 12)
    whole = made.encode(SKEWED, smoothing)
    monkeypatch.setattr(bins, "_BLOCK_ELEMENTS", 100)
    np.testing.assert_array_equal(made.encode(SKEWED, smoothing), whole)
    assert made.encode([], smoothing).shape == (0, 12)


def test_json_brings_bins_back():
    made = Bins.quantile([0] * 6 + [1, 2, 3, 4], 5)
    again = Bins.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again.to_dict() == made.to_dict() == {"kind": "quantile", "asked": 5, "edges": [0, 0.5, 2.5, 4], "centers": [0, 1.5, 3.5],
                                                 "atoms": [0], "empty": 0}  # fmt: skip
    assert again.atoms.tolist() == [True, False, False]
    assert repr(again) == repr(made)


FORM = {"kind": "given", "asked": 2, "edges": [0, 1, 2], "centers": [0.5, 1.5], "atoms": [], "empty": 0}


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda: Bins.uniform([1, 2, math.nan], 2), ValueError, r"fastnn.Bins.uniform: argument 'y' must be finite"),
    (lambda: Bins.quantile([1, 2, math.inf], 2), ValueError, r"fastnn.Bins.quantile: argument 'y' must be finite"),
    (lambda: Bins.quantile([1, 2, 1, 2], 3), ValueError,
     r"^fastnn.Bins.quantile: argument 'y' must have as many distinct values as bins \(expected at least 3 distinct values, got 2\)$"),
    (lambda: Bins.uniform([], 2), ValueError, "distinct values, got 0"),
    (lambda: Bins.logarithmic([0, 1, 2], 2), ValueError,
     r"^fastnn.Bins.logarithmic: argument 'y' must be positive \(expected values above 0, got 0\)$"),
    (lambda: Bins.logarithmic([-3, 1, 2], 2), ValueError, "got -3"),
    (lambda: Bins.uniform([[1, 2]], 2), ValueError, r"must have shape \(n,\)"),
    (lambda: Bins.uniform(["a", "b"], 2), TypeError, "numbers"),
    (lambda: Bins.uniform([1, 2], 1), ValueError, "argument 'count' must be in range"),
    (lambda: Bins.uniform([1, 2], 2.0), TypeError, "argument 'count' must be an integer"),
    (lambda: Bins.uniform([-1.7e308, 0, 1.7e308], 2), ValueError, r"^fastnn.Bins.uniform: argument 'y' must leave room for the bins"),
    (lambda: Bins.quantile([-1.7e308, 0, 1.7e308], 2), ValueError, r"^fastnn.Bins.quantile: argument 'y' must leave room for the bins"),
    (lambda: Bins.logarithmic([5e-324, 1e-323, 1.5e-323], 3), ValueError, r"^fastnn.Bins.logarithmic: argument 'y' must leave room"),
    (lambda: Bins.uniform(1 + np.arange(5) * 2.0**-52, 4), ValueError, "argument 'y' must leave room for the bins"),
    (lambda: Bins(1 + np.arange(5) * 2.0**-52), ValueError, "argument 'edges' must be finite and increase"),
    (lambda: Bins([0, 1, 2]).encode([1], 0.75, dtype=int), TypeError, "argument 'dtype' must be a float type .*got int64"),
    (lambda: Bins([0, 1, 1]), ValueError, "argument 'edges' must be finite and increase"),
    (lambda: Bins([0, 2, 1]), ValueError, "increase"),
    (lambda: Bins([0, 1, math.nan]), ValueError, "finite"),
    (lambda: Bins([0, 1]), ValueError, "argument 'edges' must be the ends of two bins or more"),
    (lambda: Bins([[0, 1, 2]]), ValueError, "two bins or more"),
    (lambda: Bins([0, 1, 2], [0.5, 2.5]), ValueError, "argument 'centers' must lie in their bins"),
    (lambda: Bins([0, 1, 2], [0.5]), ValueError, "argument 'centers' must have shape"),
    (lambda: Bins([0, 1, 2], [1, 1]), ValueError, "centers"),
    (lambda: Bins([0, 1, 2], atoms=[True]), ValueError, "argument 'atoms' must have shape"),
    (lambda: Bins([0, 1, 2], asked=1), ValueError, "argument 'asked'"),
    (lambda: Bins([0, 1, 2, 3], asked=2), ValueError, "argument 'asked' must be in range .* 3..65536, got 2"),
    (lambda: Bins([0, 1, 2], empty=-1), ValueError, "argument 'empty'"),
    (lambda: Bins([0, 1, 2]).labels([math.nan]), ValueError, "fastnn.Bins.labels: argument 'y' must be finite"),
    (lambda: Bins([0, 1, 2]).encode([math.nan]), ValueError, "fastnn.Bins.encode: argument 'y' must be finite"),
    (lambda: Bins([0, 1, 2]).encode([[1]]), ValueError, r"fastnn.Bins.encode: argument 'y' must have shape \(n,\)"),
    (lambda: Bins([0, 1, 2]).centered(3), ValueError, r"fastnn.Bins.centered: argument 'y' must have shape \(n,\)"),
    (lambda: Bins([0, 1, 2]).encode([1], "gaussian"), ValueError, "argument 'smoothing' must be known .*'linear', got 'gaussian'"),
    (lambda: Bins([0, 1, 2]).encode([1], -1), ValueError, "argument 'smoothing' must be finite and in range"),
    (lambda: Bins([0, 1, 2]).encode([1], 101), ValueError, "smoothing"),
    (lambda: Bins.from_dict([]), ValueError, "fastnn.Bins.from_dict: argument 'values' must come from to_dict"),
    (lambda: Bins.from_dict({**FORM, "atoms": 3}), ValueError, "from_dict"),
    (lambda: Bins.from_dict({**FORM, "atoms": [2]}), ValueError, "argument 'atoms'"),
    (lambda: Bins.from_dict({**FORM, "edges": 3}), ValueError, "two bins or more"),
    (lambda: Bins.from_dict({name: value for name, value in FORM.items() if name != "edges"}), ValueError, "from_dict"),
])  # fmt: skip
def test_bad_input_is_answered(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()
