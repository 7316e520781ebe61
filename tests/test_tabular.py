"""Columns become inputs by statistics of the training rows only, and go through JSON unchanged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastnn import MLP, Bins, Distribution, tabular, text
from fastnn.table import Table

ROWS = 200


def table(**changes):
    rng = np.random.default_rng(5)
    size = rng.normal(50.0, 9.0, ROWS)
    size[::10] = np.nan
    columns = {
        "size": size,
        "colour": rng.choice(["red", "green", "blue"], ROWS).tolist(),
        "price": rng.normal(2e5, 4e4, ROWS),
        **changes,
    }
    return Table(ROWS, {name: cells for name, cells in columns.items() if cells is not None})


def training_rows(data, prepared):
    """The rows of `data` behind `prepared.train`, found by their unique prices."""
    price = data.columns["price"]
    return np.array([np.argmin(np.abs(price - value)) for value in prepared.target.decode(prepared.train[1])])


def test_numbers_are_imputed_and_standardised_by_training_rows_alone():
    data = table()
    prepared = tabular.prepare(data, "price", seed=3)
    rows = training_rows(data, prepared)
    known = data.columns["size"][rows]
    filled = np.where(np.isnan(known), np.median(known[~np.isnan(known)]), known)
    np.testing.assert_allclose(prepared.train[0][:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prepared.train[1].mean(), 0.0, atol=1e-6)
    np.testing.assert_allclose(prepared.train[1].std(), 1.0, rtol=1e-5)
    assert any("size" in note and "median" in note for note in prepared.notes)


def test_held_out_rows_do_not_move_the_statistics():
    data = table()
    before = tabular.prepare(data, "price", seed=3)
    held_out = np.setdiff1d(np.arange(ROWS), training_rows(data, before))
    size = data.columns["size"].copy()
    size[held_out] = 1e6
    colour = list(data.columns["colour"])
    for row in held_out:
        colour[row] = "unseen"
    after = tabular.prepare(table(size=size, colour=colour), "price", seed=3)
    assert after.features.to_dict() == before.features.to_dict()
    np.testing.assert_array_equal(after.train[0], before.train[0])


def test_text_is_one_hot_and_unknown_or_missing_text_is_zeros():
    data = table()
    prepared = tabular.prepare(data, "price")
    new = Table(4, {"size": np.array([1.0, 2, 3, 4]), "colour": ["green", "red", "violet", ""]})
    np.testing.assert_array_equal(prepared.features.encode(new)[:, 1:], [[0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_parts_are_disjoint_complete_and_fixed_by_the_seed():
    data = table()
    one, again, other = (tabular.prepare(data, "price", seed=seed) for seed in (1, 1, 2))
    prices = np.concatenate([one.target.decode(y) for _, y in (one.train, one.validation, one.test)])
    np.testing.assert_allclose(np.sort(prices), np.sort(data.columns["price"]), rtol=1e-6)
    assert (len(one.validation[1]), len(one.test[1])) == (20, 30)
    np.testing.assert_array_equal(one.test[0], again.test[0])
    assert not np.array_equal(one.test[1], other.test[1])


def test_a_test_set_of_the_file_is_kept():
    data = table()
    prepared = tabular.prepare(Table(ROWS, data.columns, test_from=150), "price")
    np.testing.assert_allclose(prepared.target.decode(prepared.test[1]), data.columns["price"][150:], rtol=1e-6)


def test_what_cannot_be_learnt_from_is_dropped_and_said():
    prepared = tabular.prepare(table(
        constant=["7"] * ROWS, empty=[""] * ROWS, word=["same"] * ROWS, day=[f"2024-01-{k}" for k in range(ROWS)],
        almost=["12"] * 3 + ["twelve"] + [str(k) for k in range(ROWS - 4)],
    ), "price")
    assert prepared.train[0].shape[1] == 1 + 3
    said = "\n".join(prepared.notes)
    for sentence in ("constant: dropped, always 7", "empty: dropped, no value", "word: dropped, always 'same'",
                     "day: dropped, text with", "(such as 'twelve')"):
        assert sentence in said


def test_rows_without_a_target_are_dropped_and_said():
    price = table().columns["price"].copy()
    price[:20] = np.nan
    prepared = tabular.prepare(table(price=price), "price")
    assert sum(len(y) for _, y in (prepared.train, prepared.validation, prepared.test)) == ROWS - 20
    assert all(np.isfinite(y).all() for _, y in (prepared.train, prepared.validation, prepared.test))
    assert "20 rows without a value of price: dropped" in prepared.notes


@pytest.mark.parametrize(("cells", "task", "labels"), [
    (["no", "yes"], "auto", ("no", "yes")),
    (["1", "2.0", "10", "1.0"], "auto", ("1", "2", "10")),
    (["1.5", "2.5", "1.5"], "auto", None),
    (["1.5", "2.5"], "classification", ("1.5", "2.5")),
    (["1", "2"], "regression", None),
    ([str(k) for k in range(30)], "auto", None),
])
def test_the_task_and_its_classes(cells, task, labels):
    target = [cells[k % len(cells)] for k in range(ROWS)]
    prepared = tabular.prepare(table(price=None, kind=target), "kind", task)
    assert getattr(prepared.target, "labels", None) == labels
    if labels:
        assert prepared.target.outputs == len(labels)
        data = Table(ROWS, {"kind": target})
        assert [float(a) == float(b) if labels[0] != "no" else a == b
                for a, b in zip(prepared.target.decode(prepared.target.encode(data)), target)] == [True] * ROWS


def test_pixels_share_one_mean_and_deviation():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (ROWS, 6), np.uint8)
    pixels[:, 0] = 9
    prepared = tabular.prepare(Table(ROWS, {"y": rng.integers(0, 3, ROWS)}, pixels), "y", seed=4)
    x = prepared.train[0]
    assert x.dtype == np.float32
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-5
    assert len(np.unique(x[:, 0])) == 1
    assert x[0, 0] < -0.5


def test_json_keeps_everything():
    data = table()
    for target in ("price", "colour"):
        prepared = tabular.prepare(data, target)
        features, codec = tabular.from_metadata(json.loads(json.dumps(prepared.metadata())))
        np.testing.assert_array_equal(features.encode(data), prepared.features.encode(data))
        assert codec == prepared.target
        assert features.to_dict() == prepared.features.to_dict()


def test_an_amount_over_bins_of_the_training_rows():
    price = table().columns["price"].copy()
    price[3::3] = 2e5  # one value in many rows
    price[5] = np.nan
    data = table(price=price)
    prepared = tabular.prepare(data, "price", seed=3, bins=("quantile", 12))
    x, y = prepared.train
    target = prepared.target
    assert target.bins.to_dict() == Bins.quantile(y, 12).to_dict()
    assert target.outputs == len(target.bins) < 12
    assert set(y) < set(price)
    assert target.decode(y).tolist() == y.tolist()
    assert f"price: {target.bins}" in prepared.notes
    assert "(of 12; equal values share one)" in str(target.bins)
    assert "1 rows without a value of price: dropped" in prepared.notes
    for (inputs, targets), (own, amounts) in zip(prepared.learnt(), (prepared.train, prepared.validation)):
        assert inputs is own
        np.testing.assert_array_equal(targets, target.bins.encode(amounts, 0.75))
    net = MLP((x.shape[1], target.outputs), seed=1)
    distribution = Distribution(net.predict_proba(x), target.bins)
    np.testing.assert_array_equal(target.amounts(net, x), distribution.mean())
    columns = target.columns(net, x)
    assert list(columns) == ["predicted price", "price 10 %", "price 90 %"]
    want = np.column_stack([distribution.mean(), distribution.quantile([0.1, 0.9])])
    np.testing.assert_allclose(np.array(list(columns.values()), float).T, want, rtol=1e-7)
    _, again = tabular.from_metadata(json.loads(json.dumps(prepared.metadata())))
    assert again.to_dict() == target.to_dict()
    np.testing.assert_array_equal(again.learnt(y), target.learnt(y))


def test_other_targets_are_learnt_as_they_are():
    for target in ("price", "colour"):
        prepared = tabular.prepare(table(), target)
        (_, train), (_, validation) = prepared.learnt()
        assert train is prepared.train[1]
        assert validation is prepared.validation[1]


def test_empty_bins_are_a_note():
    price = np.linspace(1.0, 2.0, ROWS)
    price[::2] += 100
    prepared = tabular.prepare(table(price=price), "price", bins=("uniform", 20))
    assert any("price: fastnn.Bins: 18 of 20 uniform bins hold no row" in note for note in prepared.notes)


def test_few_whole_numbers_are_an_amount_over_bins():
    cells = [str(k % 5 + 1) for k in range(ROWS)]
    assert tabular.prepare(table(price=cells), "price").target.outputs == 5
    assert tabular.prepare(table(price=cells), "price", bins=("quantile", 4)).target.bins.edges[-1] == 5


@pytest.mark.parametrize(("changes", "target", "task", "sentence"), [
    ({}, "price", "classification", "bins are for an amount, and the task of 'price' is a classification"),
    ({}, "colour", "auto", "must hold numbers for a regression"),
    ({"price": [str(k % 3) for k in range(ROWS)]}, "price", "auto",
     "column 'price' cannot be cut into 10 logarithmic bins: .* at least 10 distinct values, got 3"),
    ({"price": [str(-k) for k in range(ROWS)]}, "price", "regression", "logarithmic bins: .* must be positive"),
])  # fmt: skip
def test_targets_that_bins_cannot_be_made_of(changes, target, task, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        tabular.prepare(table(**changes), target, task, bins=("logarithmic", 10))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metadata", [
    {},
    {"target": {"task": "binned regression", "name": "y", "bins": {}, "smoothing": 1}, "features": {"parts": []}},
    {"target": {"task": "binned regression", "name": "y", "bins": Bins([0, 1, 2]).to_dict(), "smoothing": "x"}, "features": {"parts": []}},
    {"target": 3, "features": {}},
    {"target": {"task": "regression", "name": "y"}, "features": {"parts": []}},
    {"target": {"task": "classification", "name": "y", "labels": ["a"]}, "features": {"parts": [{"kind": "x"}]}},
])
def test_foreign_metadata_is_one_sentence(metadata):
    with pytest.raises(ValueError, match="says nothing usable about the columns"):
        tabular.from_metadata(metadata)


def test_prediction_needs_the_columns_of_training():
    features = tabular.prepare(table(), "price").features
    with pytest.raises(ValueError, match="there is no column 'size'"):
        features.encode(Table(1, {"colour": ["red"]}))
    with pytest.raises(ValueError, match=r"column 'size' must hold numbers as in training \(got 'big'\)"):
        features.encode(Table(2, {"size": ["1", "big"], "colour": ["red", "red"]}))


@pytest.mark.parametrize(("changes", "target", "task", "sentence"), [
    ({}, "weight", "auto", "there is no column 'weight'"),
    ({"price": [""] * ROWS}, "price", "auto", "no value in any row"),
    ({"price": ["a"] * ROWS}, "price", "auto", "at least two classes"),
    ({"price": ["3.5"] * ROWS}, "price", "auto", "must vary"),
    ({"price": np.arange(ROWS) * 1.5e-200}, "price", "regression", "must vary by more than float64 can square"),
    ({"price": [f"p{k}" for k in range(ROWS)]}, "price", "auto", "fewer classes than half the rows"),
    ({}, "colour", "regression", "must hold numbers for a regression"),
    ({"size": None, "colour": ["red"] * ROWS}, "price", "auto", "no column beside 'price' can be learnt from"),
    ({"price": ["1.5", "2.5"] + [""] * (ROWS - 2)}, "price", "auto", "at least 10 rows"),
])
def test_each_unusable_target_gets_its_sentence(changes, target, task, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        tabular.prepare(table(**changes), target, task)
    assert "\n" not in str(caught.value)


def test_amounts_are_whole_as_far_as_floats_are():
    shown = [text.amount(value) for value in (0.12345, 999.96, -1234.5, 1e15, 1.5e76)]
    assert shown == ["0.1235", "1000", "-1,234", f"{10**15:,}", "1.5e+76"]
