from __future__ import annotations

import json
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as hypothesis_arrays

from fastnn import MLP, DataLeakWarning, MinMaxScaler, Standardizer, Trainer, fit_many, preprocessing

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


def test_subtracting_the_mean_alone():
    scaler = Standardizer(divide=False).fit(X)
    assert scaler.std.tolist() == [1.0, 1.0, 1.0]
    assert scaler.transform(X) == pytest.approx(X - X.mean(axis=0), rel=1e-12, abs=1e-15)
    assert repr(scaler) == "Standardizer(axis='feature', divide=False)"


# --- minimum and maximum -------------------------------------------------------------------------------------------------------------


def test_minimum_and_maximum_by_hand():
    scaler = MinMaxScaler().fit([[0, 10], [8, 20], [2, 20]])
    assert (scaler.minimum.tolist(), scaler.maximum.tolist()) == ([0.0, 10.0], [8.0, 20.0])
    assert scaler.transform([[0, 10], [8, 20], [2, 15], [12, 5]]).tolist() == [[-1, -1], [1, 1], [-0.5, 0], [2, -2]]
    assert MinMaxScaler(0, 10).fit([[0], [4]]).transform([[0], [1], [4]]).tolist() == [[0.0], [2.5], [10.0]]
    assert MinMaxScaler(5, 6).fit(X).transform(X).min(axis=0) == pytest.approx([5.0, 5.0, 5.0], rel=1e-12)
    assert repr(scaler) == "MinMaxScaler(low=-1.0, high=1.0, axis='feature')"


def test_a_constant_feature_becomes_the_middle_of_the_range():
    x = np.column_stack([X[:, 0], np.full(50, 0.1)])
    assert MinMaxScaler(0, 1).fit_transform(x)[:, 1] == pytest.approx(np.full(50, 0.5))
    assert MinMaxScaler().fit(x).transform([[0.0, 0.1], [0.0, 1.1]])[:, 1] == pytest.approx([0.0, 1.0])


# --- what shares a statistic ---------------------------------------------------------------------------------------------------------

IMAGES = RNG.integers(0, 256, (40, 4, 5, 3), dtype=np.uint8) // [1, 2, 9]  # (n, h, w, channels), each channel with statistics of its own
FLAT = IMAGES.reshape(40, -1)


def test_one_statistic_for_all_values():
    standard, bounds = Standardizer("global").fit(X), MinMaxScaler(axis="global").fit(X)
    assert standard.mean == pytest.approx(np.full(3, X.mean()), rel=1e-13)
    assert standard.std == pytest.approx(np.full(3, X.std()), rel=1e-13)
    assert (bounds.minimum.tolist(), bounds.maximum.tolist()) == ([X.min()] * 3, [X.max()] * 3)
    assert standard.transform(X).std() == pytest.approx(1.0)


def test_one_statistic_a_channel_of_images():
    standard, bounds = Standardizer("channel", channels=3).fit(FLAT), MinMaxScaler(axis="channel", channels=3).fit(FLAT)
    pixels = IMAGES.reshape(-1, 3)
    assert standard.mean == pytest.approx(np.tile(pixels.mean(axis=0), 20), rel=1e-13)
    assert standard.std == pytest.approx(np.tile(pixels.std(axis=0), 20), rel=1e-13)
    assert np.array_equal(bounds.maximum.reshape(4, 5, 3), np.broadcast_to(pixels.max(axis=0), (4, 5, 3)))
    assert standard.transform(FLAT, "float64").reshape(-1, 3).mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.parametrize("value", [0.1, 7, 1e9 + 0.1])
@pytest.mark.parametrize("make", [Standardizer, MinMaxScaler])
def test_constant_values_of_all_columns_become_0(make, value):
    for axis, channels in (("global", None), ("channel", 3)):
        assert make(axis=axis, channels=channels).fit_transform(np.full((30, 6), value)).tolist() == [[0.0] * 6] * 30


# --- blocks, memory maps, iterators --------------------------------------------------------------------------------------------------

MAKERS = {
    "standardizer": Standardizer, "mean": lambda: Standardizer(divide=False), "global": lambda: Standardizer("global"),
    "channel": lambda: Standardizer("channel", channels=3), "min-max": MinMaxScaler, "range": lambda: MinMaxScaler(0, 255),
    "min-max channel": lambda: MinMaxScaler(axis="channel", channels=3),
}


class Loader:
    """Blocks again at every iteration, as a user's own class gives them."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)


@pytest.mark.parametrize("maker", MAKERS)
def test_an_iterator_of_blocks_is_the_array_they_make(maker):
    whole = MAKERS[maker]().fit(X)
    for blocks in (iter([X[:1], X[1:40], X[40:]]), (row[None] for row in X), Loader(X[:0], X[:30].tolist(), np.asfortranarray(X[30:]))):
        parts = MAKERS[maker]().fit(blocks)
        assert parts.shift == pytest.approx(whole.shift, rel=1e-13)
        assert parts.spread == pytest.approx(whole.spread, rel=1e-13)
        assert np.array_equal(parts.seen.hashes, whole.seen.hashes)
        assert parts.seen.rows == 50


def test_blocks_may_differ_in_dtype():
    x = RNG.integers(0, 256, (30, 4), dtype=np.uint8)
    mixed = Standardizer().fit(iter([x[:10], x[10:20].astype("float32"), x[20:].astype(">i4")]))
    assert mixed.std == pytest.approx(x.astype(float).std(axis=0), rel=1e-13)
    assert np.array_equal(mixed.seen.hashes, Standardizer().fit(x).seen.hashes)


@pytest.mark.parametrize("rows", [1, 7, 400])
def test_blocks_keep_the_digits_of_a_large_mean(rows, monkeypatch):
    x = 1e9 + RNG.normal(size=(400, 1)) + np.linspace(0, 3, 400)[:, None]
    exact = [Fraction(value) for value in x[:, 0].tolist()]
    mean = sum(exact) / 400
    variance = sum((value - mean) ** 2 for value in exact) / 400
    monkeypatch.setattr(preprocessing, "_BLOCK_ELEMENTS", rows)
    scaler = Standardizer().fit(x)
    assert float((Fraction(scaler.mean[0]) - mean) / mean) == pytest.approx(0, abs=1e-15)
    assert scaler.std[0] ** 2 == pytest.approx(float(variance), rel=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", ">f4"])
@pytest.mark.parametrize("make", [Standardizer, MinMaxScaler])
def test_a_memory_map_is_read_block_by_block(make, dtype, tmp_path):
    x = np.memmap(tmp_path / "rows", dtype, "w+", shape=(20_000, 1000))
    x[::7] = RNG.integers(0, 256, 1000)
    x.flush()
    tracemalloc.start()
    try:
        scaler = make().fit(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6 < x.nbytes
    expected = make().fit(np.ascontiguousarray(x[:, :50], "float64"))
    assert scaler.spread[:50] == pytest.approx(expected.spread, rel=1e-12)
    assert scaler.shift[:50] == pytest.approx(expected.shift, rel=1e-12)


def test_a_failed_fit_leaves_the_statistics():
    for scaler in (Standardizer().fit(X), MinMaxScaler().fit(X)):
        before = scaler.to_dict()
        with pytest.raises(ValueError, match="'x' must be finite"):
            scaler.fit(iter([X + 1, np.full((2, 3), np.inf)]))
        assert scaler.to_dict() == before


# --- there and back ------------------------------------------------------------------------------------------------------------------

ROWS = hypothesis_arrays(np.float64, st.tuples(st.integers(1, 12), st.sampled_from([3, 6])), elements=st.floats(-1e6, 1e6))


@settings(max_examples=60, deadline=None, database=None)
@given(x=ROWS, low=st.floats(-9, 9), width=st.floats(0.5, 20), which=st.sampled_from(sorted(MAKERS)))
def test_inverse_goes_back_and_ranges_are_kept(x, low, width, which):
    for scaler in (MAKERS[which](), MinMaxScaler(low, low + width)):
        z = scaler.fit_transform(x)
        rounding = 1e-13 * max(np.abs(x).max(), np.abs(scaler.shift).max())
        assert np.abs(scaler.inverse_transform(z) - x).max() <= rounding
        if isinstance(scaler, MinMaxScaler):
            beyond = np.maximum(scaler.low - z, z - scaler.high)
            assert (beyond * scaler.spread).max() <= rounding + 1e-13 * abs(scaler.spread).max()


@pytest.mark.parametrize("maker", MAKERS)
def test_a_dict_and_back(maker):
    scaler = MAKERS[maker]().fit(X)
    text = json.dumps(scaler.to_dict())
    for again in (type(scaler).from_dict(json.loads(text)), preprocessing.from_dict(json.loads(text))):
        assert repr(again) == repr(scaler)
        assert np.array_equal(again.shift, scaler.shift)
        assert np.array_equal(again.spread, scaler.spread)
        assert again.to_dict() == scaler.to_dict()
    unfitted = preprocessing.unfitted(json.loads(json.dumps({"kind": scaler.kind, **scaler.settings()})))
    assert (repr(unfitted), unfitted.fitted) == (repr(scaler), False)
    assert (repr(scaler.fresh()), scaler.fresh().fitted) == (repr(scaler), False)


def test_a_shared_statistic_is_written_once():
    values = Standardizer("global").fit(FLAT).to_dict()
    assert (values["inputs"], len(values["mean"]), len(values["std"])) == (60, 1, 1)
    assert len(MinMaxScaler(axis="channel", channels=3).fit(FLAT).to_dict()["minimum"]) == 3


def test_a_dict_of_before_is_read():
    scaler = Standardizer.from_dict({"kind": "standardizer", "axis": "feature", "mean": [1.0, 2.0], "std": [2.0, 4.0]})
    assert repr(scaler) == "Standardizer(axis='feature', divide=True)"
    assert scaler.transform([[3, 2]]).tolist() == [[1.0, 0.0]]
    assert scaler.seen is None
    assert repr(preprocessing.unfitted("feature")) == "Standardizer(axis='feature', divide=True)"


# --- leaks ---------------------------------------------------------------------------------------------------------------------------

MANY = RNG.normal(size=(300, 3)).astype(np.float32)
TRAIN, VALIDATION, TEST = MANY[:200], MANY[200:250], MANY[250:]


@pytest.mark.parametrize("make", [Standardizer, MinMaxScaler])
def test_rows_that_training_must_not_have_seen_are_named(make):
    scaler = make().fit(MANY[:250].astype("float64"))
    with pytest.warns(DataLeakWarning, match=f"{make.__name__}.check: about 100 % of the rows of 'validation' .* 250 rows") as caught:
        assert scaler.check(validation=VALIDATION, test=TEST) == {"validation": 1.0, "test": 0.0}
    assert len(caught) == 1
    with pytest.warns(DataLeakWarning, match=rf"^fastnn.{make.__name__}.transform: about 100 % of the rows of 'my validation'"):
        z = scaler.transform(VALIDATION, role="my validation")
    assert np.array_equal(z, scaler.transform(VALIDATION))
    assert np.array_equal(scaler.transform(TEST, role="test"), scaler.transform(TEST))


def test_a_part_that_leaks_is_told_as_a_part():
    scaler = Standardizer().fit(np.concatenate([TRAIN, VALIDATION[:20]]))
    with pytest.warns(DataLeakWarning, match="about 40 % of the rows of 'self'"):
        assert scaler.check(self=VALIDATION, none=TEST[:0]) == {"self": 0.4, "none": pytest.approx(np.nan, nan_ok=True)}


def test_statistics_that_remember_nothing_say_nothing():
    scaler = Standardizer.from_dict({**Standardizer().fit(MANY).to_dict(), "seen": None})
    assert np.isnan(scaler.check(test=TEST)["test"])
    assert np.isnan(Standardizer.from_dict({**FITTED}).check(test=[[1.0]])["test"])


def net(seed=0):
    return MLP((3, 5, 2), seed=seed)


def labels(x):
    return (x[:, 0] > 0).astype(int)


LEAK = r"^fastnn.Trainer.fit: about 100 % of the rows of 'validation_data' were part of the statistics of Standardizer\(.*\), taken from "


def test_statistics_of_all_rows_are_told_of_in_fit():
    on_all, on_train = (Standardizer().fit(x) for x in (MANY, TRAIN))
    train, validation = (TRAIN, labels(TRAIN)), (VALIDATION, labels(VALIDATION))
    with pytest.warns(DataLeakWarning, match=LEAK + "300 rows") as caught:
        net().fit(*train, epochs=3, validation_data=validation, preprocessing=on_all)
    assert [warning.filename for warning in caught] == [__file__]
    net().fit(*train, epochs=1, validation_data=validation, preprocessing=on_train)
    net().fit(*train, epochs=1, preprocessing=on_all)
    trainer = Trainer(net(), preprocessing=Standardizer())
    trainer.fit(*train, epochs=1, validation_data=validation)
    trainer.evaluate(*train)
    trainer.epoch(*train)
    with pytest.warns(DataLeakWarning, match=LEAK + "200 rows"):
        trainer.fit(*train, epochs=1, validation_data=(TRAIN[50:150].astype("float64"), labels(TRAIN[50:150])))


def test_a_saved_net_remembers(tmp_path):
    made = net()
    made.fit(MANY, labels(MANY), epochs=1, preprocessing=MinMaxScaler())
    made.save(tmp_path / "net.npz")
    with pytest.warns(DataLeakWarning, match=r"of MinMaxScaler\(low=-1.0, high=1.0, axis='feature'\), taken from 300 rows"):
        MLP.load(tmp_path / "net.npz").fit(TRAIN, labels(TRAIN), epochs=1, validation_data=(VALIDATION, labels(VALIDATION)))


def test_members_have_statistics_of_their_own_rows():
    rows = [np.arange(k * 60, k * 60 + 120) for k in range(3)]
    shared = MinMaxScaler()
    trainers = [Trainer(net(k), preprocessing=shared) for k in range(3)]
    fit_many(trainers, MANY, labels(MANY), rows=rows, epochs=1, validation_data=(TEST, labels(TEST)))
    for trainer, own in zip(trainers, rows):
        assert np.array_equal(trainer.net.preprocessing.minimum, MANY[own].min(axis=0))
        assert trainer.net.preprocessing.seen.rows == 120
    assert not shared.fitted
    with pytest.warns(DataLeakWarning, match=r"^fastnn.fit_many: about 100 % of the rows of 'validation_data' .*networks\[1\]") as caught:
        fit_many(trainers, MANY, labels(MANY), rows=rows, epochs=1, validation_data=(MANY[120:180], labels(MANY[120:180])))
    assert len(caught) == 1


def test_one_setting_for_every_split_is_fitted_in_each():
    setting = Standardizer()
    for k in range(3):
        own, held = np.delete(MANY, np.s_[k * 100:k * 100 + 100], axis=0), MANY[k * 100:k * 100 + 100]
        made = net()
        made.fit(own, labels(own), epochs=1, preprocessing=setting, validation_data=(held, labels(held)))
        assert np.array_equal(made.preprocessing.mean, Standardizer().fit(own).mean)
    assert not setting.fitted
    fitted = Standardizer().fit(TRAIN)
    assert Trainer(net(), preprocessing=fitted).net.preprocessing is fitted


# --- bad input -----------------------------------------------------------------------------------------------------------------------

FITTED = {"kind": "standardizer", "axis": "feature", "mean": [0.0], "std": [1.0]}
BOUNDS = {"kind": "min_max", "axis": "feature", "low": -1.0, "high": 1.0, "minimum": [-1.0], "maximum": [3.0]}


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
    (lambda: Standardizer(axis="channel"), ValueError, "'channels' must come with axis='channel'"),
    (lambda: Standardizer(channels=3), ValueError, "'channels' must come with axis='channel'"),
    (lambda: MinMaxScaler(axis="channel", channels=0), ValueError, "MinMaxScaler: argument 'channels' must be in range"),
    (lambda: Standardizer("channel", channels=2).fit(X), ValueError, "'x' must have every channel .*multiple of 2 columns, got 3 columns"),
    (lambda: Standardizer(divide=1), TypeError, "'divide' must be a bool"),
    (lambda: MinMaxScaler(1, 1), ValueError, "'high' must be finite and in range"),
    (lambda: MinMaxScaler("a"), TypeError, "'low' must be a real number"),
    (lambda: MinMaxScaler(np.nan), ValueError, "'low' must be finite"),
    (lambda: MinMaxScaler().transform(X), ValueError, "MinMaxScaler.transform: argument 'self' must be fitted first"),
    (lambda: MinMaxScaler().check(test=X), ValueError, "MinMaxScaler.check: argument 'self' must be fitted first"),
    (lambda: MinMaxScaler().fit(iter([])), ValueError, "'x' must have at least one row .*got an iterator without a row"),
    (lambda: Standardizer().fit(iter([X[:0], X[:0]])), ValueError, "'x' must have at least one row .*got an iterator without a row"),
    (lambda: Standardizer().fit(iter([X, X[:, :2]])), ValueError, r"blocks of one width .*\(any, 3\), got \(50, 2\) float64 in block 2"),
    (lambda: Standardizer().fit(iter([X[0]])), ValueError, r"'x' must have shape \(n, i\)"),
    (lambda: Standardizer().fit(iter("ab")), TypeError, "'x' must be an array of numbers"),
    (lambda: Standardizer().fit({1, 2}), TypeError, "'x' must be an array of numbers"),
    (lambda: Standardizer().fit(3.0), ValueError, r"'x' must have shape \(n, i\)"),
    (lambda: Standardizer().fit([X, X]), ValueError, r"'x' must have shape \(n, i\)"),
    (lambda: Standardizer().fit(np.zeros((3, 0))), ValueError, "i at least 1"),
    (lambda: Standardizer().fit(np.ma.masked_array(X)), TypeError, "'x' must not be a masked array"),
    (lambda: MinMaxScaler().fit(iter([X, [[0, 1, 2], [3, np.nan, 4]]])), ValueError, "'x' must be finite .*got nan in row 51, column 1"),
    (lambda: Standardizer().fit([[1e300], [-1e300]]), ValueError, "'x' must be of moderate size"),
    (lambda: Standardizer().fit(iter([[[1e300]], [[-1e300]]])), ValueError, "'x' must be of moderate size"),
    (lambda: MinMaxScaler().fit([[1.7e308], [-1.7e308]]), ValueError, "'x' must be of moderate size"),
    (lambda: Standardizer().fit_transform(iter([X])), TypeError, "fit_transform: argument 'x' must be an array, which can be read twice"),
    (lambda: Standardizer().fit(X).transform(iter([X])), TypeError, "'x' must be an array of numbers"),
    (lambda: Standardizer().fit(X).transform(X, int), TypeError, "Standardizer.transform: argument 'dtype' must be a float type"),
    (lambda: MinMaxScaler().fit(X).inverse_transform(X, "uint8"), TypeError, "inverse_transform: argument 'dtype' must be a float type"),
    (lambda: Standardizer().fit(X).transform(X, role=3), TypeError, "'role' must be a name"),
    (lambda: Standardizer().fit(X).check(test=X[:, :2]), ValueError, r"Standardizer.check: argument 'test' must have shape \(n, 3\)"),
    (lambda: Standardizer().fit([[0.0], [1e-40]]).scaling("float32"), ValueError, "'dtype' must hold the statistics"),
    (lambda: Standardizer.from_dict({**FITTED, "std": [1e-310]}), ValueError, "'values' must be of moderate size"),
    (lambda: Standardizer.from_dict({**FITTED, "inputs": 2}), ValueError, "'mean' must fit axis and inputs"),
    (lambda: Standardizer.from_dict({**FITTED, "seen": 3}), ValueError, "Fingerprint.from_dict: argument 'values' must come from to_dict"),
    (lambda: MinMaxScaler.from_dict(FITTED), ValueError, "'values' must come from to_dict .*kind 'min_max'"),
    (lambda: MinMaxScaler.from_dict({**BOUNDS, "maximum": [-2.0]}), ValueError, "'maximum' must be at least the minimum"),
    (lambda: MinMaxScaler.from_dict({**BOUNDS, "low": 2.0}), ValueError, "'high' must be finite and in range"),
    (lambda: preprocessing.from_dict({"kind": "other"}), ValueError, "Scaler.from_dict: argument 'values' must come from to_dict"),
    (lambda: preprocessing.unfitted(3), ValueError, "Scaler.from_dict: argument 'values' must come from to_dict"),
])
def test_bad_input_is_answered(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()
