from __future__ import annotations

import json

import numpy as np
import pytest

from fastnn import Standardizer, preprocessing

RNG = np.random.default_rng(11)
X = RNG.normal(size=(50, 3)) * [1.0, 10.0, 0.01] + [0.0, 5.0, -1.0]


def test_mean_and_deviation_by_hand():
    scaler = Standardizer().fit([[1, 10], [3, 10], [5, 40]])
    assert scaler.mean.tolist() == [3.0, 20.0]
    assert scaler.std == pytest.approx([np.sqrt(8 / 3), np.sqrt(200)])
    assert scaler.transform([[3, 20]]).tolist() == [[0.0, 0.0]]


def test_transformed_training_rows_have_mean_0_and_variance_1():
    z = Standardizer().fit_transform(X)
    assert z.dtype == np.float64
    assert z.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-13)
    assert z.std(axis=0) == pytest.approx([1, 1, 1], rel=1e-13)


def test_other_rows_use_the_training_statistics():
    scaler = Standardizer().fit(X)
    other = RNG.normal(size=(4, 3)) + 7
    assert scaler.transform(other) == pytest.approx((other - X.mean(axis=0)) / X.std(axis=0), rel=1e-12)


def test_uint8_is_accumulated_in_float64():
    x = RNG.integers(200, 256, (1000, 2), dtype=np.uint8)
    scaler = Standardizer().fit(x)
    assert scaler.mean.dtype == np.float64
    assert scaler.mean == pytest.approx(x.astype(float).mean(axis=0), rel=1e-14)
    assert scaler.std == pytest.approx(x.astype(float).std(axis=0), rel=1e-12)
    assert scaler.transform(x).dtype == np.float32


def test_float32_with_a_large_mean_keeps_its_digits():
    x = (np.float64(1e5) + RNG.normal(size=(400, 1))).astype(np.float32)
    z = Standardizer().fit_transform(x)
    exact = x.astype(np.float64)
    assert z.dtype == np.float32
    assert z == pytest.approx((exact - exact.mean()) / exact.std(), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_feature_becomes_0(value, dtype):
    x = np.column_stack([X[:, 0], np.full(50, value)]).astype(dtype)
    scaler = Standardizer().fit(x)
    assert scaler.std[1] == 1.0
    assert scaler.transform(x)[:, 1] == pytest.approx(np.zeros(50), abs=1e-6)


def test_inverse_goes_back():
    scaler = Standardizer().fit(X)
    assert scaler.inverse_transform(scaler.transform(X)) == pytest.approx(X, rel=1e-12)
    assert scaler.inverse_transform(scaler.transform(X), dtype="float32").dtype == np.float32


def test_blocks_do_not_change_the_result(monkeypatch):
    whole = Standardizer().fit(X)
    expected = whole.transform(X)
    monkeypatch.setattr(preprocessing, "_BLOCK_ELEMENTS", 21)
    parts = Standardizer().fit(X)
    assert parts.std == pytest.approx(whole.std, rel=1e-14)
    assert np.array_equal(whole.transform(X), expected)


def test_the_input_is_not_changed():
    x = X.copy()
    scaler = Standardizer()
    assert scaler.fit(x) is scaler
    assert not np.shares_memory(scaler.transform(x), x)
    assert np.array_equal(x, X)


def test_json_round_trip():
    scaler = Standardizer().fit(X)
    again = Standardizer.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert np.array_equal(again.transform(X), scaler.transform(X))


FITTED = {"kind": "standardizer", "axis": "feature", "mean": [0.0], "std": [1.0]}


@pytest.mark.parametrize(("call", "kind", "sentence"), [
    (lambda: Standardizer(axis="rows"), ValueError, "^fastnn.Standardizer: argument 'axis' must name an axis"),
    (lambda: Standardizer().transform(X), ValueError, "must be fitted first"),
    (lambda: Standardizer().to_dict(), ValueError, "must be fitted first"),
    (lambda: Standardizer().fit(X[:0]), ValueError, "'x' must have at least one row"),
    (lambda: Standardizer().fit(X[:, 0]), ValueError, r"'x' must have shape \(n, i\)"),
    (lambda: Standardizer().fit(np.where(X > 0, X, np.nan)), ValueError, "'x' must be finite"),
    (lambda: Standardizer().fit(np.where(X > 0, X, np.inf)), ValueError, "'x' must be finite"),
    (lambda: Standardizer().fit([["a", "b"]]), TypeError, "'x' must be an array of numbers"),
    (lambda: Standardizer().fit(X).transform(X[:, :2]), ValueError, r"Standardizer.transform: argument 'x' must have shape \(n, 3\)"),
    (lambda: Standardizer.from_dict({"kind": "other"}), ValueError, "'values' must come from to_dict"),
    (lambda: Standardizer.from_dict({**FITTED, "std": [1.0, 2.0]}), ValueError, "'std' must have shape"),
    (lambda: Standardizer.from_dict({**FITTED, "std": [0.0]}), ValueError, "'std' must be positive"),
])
def test_bad_input_is_answered(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()
