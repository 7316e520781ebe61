"""Regression by bins: distributions that are honest, `fit` that passes on what it is given, files, and sentences."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import fastnn
from fastnn import Adam, BinnedRegression, Bins, EarlyStopping, Standardizer, StepDecay

RNG = np.random.default_rng(11)
X = RNG.uniform(-1, 1, (1600, 2))
Y = 10 + 3 * X[:, 0] + (0.2 + np.abs(X[:, 1])) * RNG.normal(size=1600)
TRAIN, REST = (X[:900], Y[:900]), (X[900:], Y[900:])


def fitted(bins=12, epochs=2, **settings):
    model = BinnedRegression((8,), bins=bins, **settings)
    model.fit(*TRAIN, epochs=epochs)
    return model


def softmax(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def learnt():
    model = BinnedRegression((32, 32), bins=40, smoothing=0.5, seed=2)
    model.fit(*TRAIN, epochs=60, batch_size=32, optimizer=Adam(3e-3), validation_data=(X[900:1100], Y[900:1100]),
              early_stopping=EarlyStopping(10))
    return model


def test_spread_and_coverage_are_learnt(learnt):
    x, y = X[1100:], Y[1100:]
    report = learnt.coverage(x, y, (0.5, 0.8, 0.95))
    for level, share in zip(report.levels, report.covered):
        assert abs(share - level) < 0.08
    width = np.ptp(learnt.predict_interval(x, 0.8), axis=1)
    calm, wild = np.abs(x[:, 1]) < 0.3, np.abs(x[:, 1]) > 0.7
    assert width[wild].mean() > 1.5 * width[calm].mean()
    truth = 10 + 3 * x[:, 0]
    assert np.sqrt(np.mean((learnt.predict(x) - truth) ** 2)) < 0.45
    assert np.corrcoef(learnt.predict_quantile(x, 0.5), truth)[0, 1] > 0.97


def test_two_peaks_are_learnt_where_the_mean_is_a_bad_answer():
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 1, (1500, 1))
    y = rng.choice([-1.0, 1.0], 1500) * (1 + x[:, 0]) + 0.1 * rng.normal(size=1500)
    model = BinnedRegression((32,), bins=24, kind="uniform", smoothing=0.75)
    model.fit(x, y, epochs=40, batch_size=32, optimizer=Adam(1e-2))
    assert model.bins.empty == 8  # the gap between the peaks
    at = model.predict_distribution([[0.5]])
    middle, peaks = at.cdf(0.7) - at.cdf(-0.7), (at.cdf(2) - at.cdf(1), at.cdf(-1) - at.cdf(-2))
    assert middle[0] < 0.05
    assert all(0.35 < peak[0] < 0.6 for peak in peaks)
    assert abs(model.predict([[0.5]])[0]) < 0.4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_those_of_the_softmax(dtype):
    model = fitted(dtype=dtype)
    probabilities = softmax(model.net.forward(X).astype(np.float64))
    distribution = model.predict_distribution(X)
    np.testing.assert_allclose(distribution.probabilities, probabilities, rtol=1e-5, atol=1e-7)
    assert distribution.probabilities.dtype == dtype
    np.testing.assert_array_equal(distribution.edges, Bins.quantile(TRAIN[1], 12).edges)
    np.testing.assert_allclose(model.predict(X), probabilities @ model.bins.centers, rtol=1e-5)
    assert model.predict(X).dtype == np.float64
    np.testing.assert_array_equal(model.predict_quantile(X, [0.1, 0.9]), distribution.quantile([0.1, 0.9]))
    np.testing.assert_array_equal(model.predict_quantile(X, 0.5), distribution.quantile(0.5))
    np.testing.assert_array_equal(model.predict_interval(X, 0.6), distribution.interval(0.6))
    np.testing.assert_array_equal(model.predict_interval(X), distribution.interval(0.8))
    assert model.coverage(X, Y) == distribution.coverage(Y)
    assert model.coverage(X, Y).levels == (0.5, 0.8, 0.9, 0.95)


@pytest.mark.parametrize(("kind", "smoothing"), [("quantile", 0.0), ("uniform", "linear"), ("logarithmic", 1.5)])
def test_what_is_trained_is_a_softmax_over_encoded_targets(kind, smoothing):
    model = BinnedRegression((8, 5), bins=9, kind=kind, smoothing=smoothing, activation="tanh", keep_prob=(1.0, 0.9, 1.0), seed=7)
    history = model.fit(*TRAIN, epochs=2, batch_size=50)
    bins = getattr(Bins, kind)(TRAIN[1], 9)
    net = fastnn.MLP((2, 8, 5, 9), activation="tanh", keep_prob=(1.0, 0.9, 1.0), seed=7)
    want = net.fit(TRAIN[0], bins.encode(TRAIN[1], smoothing), epochs=2, batch_size=50)
    assert [a.tobytes() for a in model.net.parameters()] == [a.tobytes() for a in net.parameters()]
    assert history["loss"] == want["loss"]
    assert model.history is history
    assert model.bins.to_dict() == bins.to_dict()


def test_validation_is_in_units_of_y_and_clipped():
    x, y = REST[0][:50], REST[1][:50].copy()
    y[:2] = -1e6, 1e6
    model = BinnedRegression((8,), bins=6)
    history = model.fit(*TRAIN, epochs=1, validation_data=[x.tolist(), y.tolist()])
    targets = model.bins.encode(np.clip(y, model.bins.edges[0], model.bins.edges[-1]), 0.75, np.float64)
    want = -(targets * np.log(softmax(model.net.forward(x).astype(np.float64)))).sum(axis=1).mean()
    assert history["val_loss"] == [pytest.approx(want, rel=1e-5)]


def test_arguments_of_fit_reach_the_net(capsys):
    seen = []
    weight = np.r_[np.ones(300), np.zeros(600)]

    def callback(trainer, record):
        seen.append((trainer.steps, trainer.learning_rate))
        return len(seen) == 3

    model = BinnedRegression((8,), bins=6)
    history = model.fit(*TRAIN, optimizer=Adam(0.01), schedule=StepDecay(0.5, 1), epochs=9, batch_size=300, callbacks=[callback],
                        progress=True, sample_weight=weight, preprocessing=Standardizer(), seed=5, shuffle=False)
    assert [steps for steps, _ in seen] == [3, 6, 9]
    assert [rate for _, rate in seen] == pytest.approx([0.005, 0.0025, 0.00125])
    assert history.stopped == "callback"
    assert "epoch 3/9" in capsys.readouterr().err
    np.testing.assert_allclose(model.net.preprocessing.mean, TRAIN[0].mean(axis=0))
    unweighted = BinnedRegression((8,), bins=6)
    unweighted.fit(*TRAIN, optimizer=Adam(0.01), epochs=3, batch_size=300, shuffle=False)
    assert not np.array_equal(unweighted.net.layers[0].weight, model.net.layers[0].weight)
    stopped = BinnedRegression((8,), bins=6).fit(*TRAIN, epochs=50, optimizer=Adam(0.3), validation_data=REST,
                                                 early_stopping=EarlyStopping(2))
    assert stopped.stopped == "early_stopping"


def test_own_bins_keep_their_edges_and_take_centres():
    own = Bins([0.0, 8.0, 10.0, 12.0, 20.0])
    model = fitted(own)
    np.testing.assert_array_equal(model.bins.edges, own.edges)
    inside = TRAIN[1][(TRAIN[1] >= 8) & (TRAIN[1] < 10)]
    assert model.bins.centers[1] == pytest.approx(inside.mean())
    assert model.net.sizes == (2, 8, 4)


def test_merged_bins_make_a_smaller_net():
    y = np.where(TRAIN[1] > 10, 10.0, TRAIN[1])
    model = BinnedRegression((), bins=10)
    model.fit(TRAIN[0], y, epochs=1)
    assert model.net.sizes == (2, len(model.bins))
    assert len(model.bins) < 10 == model.bins.asked
    assert model.bins.atoms[-1]


def test_bytes_are_inputs():
    x = RNG.integers(0, 255, (200, 3)).astype(np.uint8)
    model = BinnedRegression((4,), bins=4)
    model.fit(x, x[:, 0].astype(float), epochs=1, preprocessing=Standardizer())
    np.testing.assert_array_equal(model.predict(x), model.predict(x.astype(np.float32)))


def test_a_second_fit_starts_anew_and_has_the_same_bits():
    model = fitted()
    first = model.predict(X)
    model.fit(*TRAIN, epochs=2)
    assert model.predict(X).tobytes() == first.tobytes()


def test_what_was_trained_before_an_interrupt_is_kept():
    def interrupt(trainer, record):
        raise KeyboardInterrupt

    model = BinnedRegression((8,), bins=12)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*TRAIN, epochs=5, callbacks=[interrupt])
    np.testing.assert_array_equal(model.predict(X), fitted(epochs=1).predict(X))
    with pytest.raises(FloatingPointError):
        model.fit(*TRAIN, epochs=5, optimizer=fastnn.SGD(1e30))
    assert model.history is None
    with pytest.raises(ValueError, match="not finite, as of a net that has diverged"):
        model.predict(X[:3])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_one_file_brings_all_back(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"model{suffix}"
    model = BinnedRegression((8,), bins=12, kind="uniform", smoothing="linear", keep_prob=(1.0, 0.9), activation="tanh", seed=3,
                             dtype="float64")
    model.fit(*TRAIN, epochs=2, preprocessing=Standardizer())
    model.save(path)
    again = BinnedRegression.load(path)
    assert again.predict(X).tobytes() == model.predict(X).tobytes()
    assert again.predict_quantile(X, 0.9).tobytes() == model.predict_quantile(X, 0.9).tobytes()
    assert repr(again) == repr(model)
    assert again.history is None
    again.fit(*TRAIN, epochs=2, preprocessing=Standardizer())
    assert again.predict(X).tobytes() == model.predict(X).tobytes()
    net, metadata = fastnn.load(path)
    assert net.sizes == (2, 8, 12)
    assert json.dumps(metadata)


def test_a_file_remembers_bins_of_ones_own(tmp_path):
    own = Bins([0.0, 8.0, 10.0, 12.0, 20.0])
    fitted(own).save(tmp_path / "own.npz")
    again = BinnedRegression.load(tmp_path / "own.npz")
    again.fit(TRAIN[0], TRAIN[1] * 0.9, epochs=1)
    np.testing.assert_array_equal(again.bins.edges, own.edges)
    fitted(12).save(tmp_path / "asked.npz")
    again = BinnedRegression.load(tmp_path / "asked.npz")
    again.fit(TRAIN[0], TRAIN[1] * 0.9, epochs=1)
    assert again.bins.edges[-1] == TRAIN[1].max() * 0.9


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "net.npz"
    model = fitted()
    fastnn.save(path, model.net)
    with pytest.raises(ValueError, match=r"^fastnn.BinnedRegression.load: argument 'path' must name a saved regression "):
        BinnedRegression.load(path)
    saved = {"bins": model.bins.to_dict(), "kind": "quantile", "smoothing": 0.75}
    for change in ({"bins": 3}, {"kind": "cubic"}, {"smoothing": "x"}, {"bins": Bins([0, 1, 2]).to_dict()}):
        fastnn.save(path, model.net, {"binned_regression": {**saved, **change}})
        with pytest.raises(ValueError, match="must name a saved regression"):
            BinnedRegression.load(path)
    fastnn.save(path, model.net, {"binned_regression": saved})
    assert BinnedRegression.load(path).predict(X).tobytes() == model.predict(X).tobytes()


def test_it_prints_as_the_call_that_makes_it():
    assert repr(BinnedRegression([16], bins=7, smoothing=0)) == (
        "BinnedRegression((16,), bins=7, kind='quantile', smoothing=0.0, activation='relu', keep_prob=1.0, init='he_normal', "
        "dtype='float32', seed=0)")
    assert "bins=<Bins: 2 given bins from 0 to 2>, smoothing" in repr(BinnedRegression(bins=Bins([0, 1, 2])))


def test_the_picture_is_that_of_the_distribution(tmp_path, learnt):
    figure = learnt.plot(*REST, tmp_path / "picture.png", rows=[0, 4])
    assert (tmp_path / "picture.png").stat().st_size > 10000
    assert [line.get_xdata()[0] for line in figure.axes[0].get_lines()] == REST[1][[0, 4]].tolist()
    inside = figure.axes[1].get_lines()[1].get_ydata()
    assert inside.tolist() == list(learnt.coverage(*REST, [step / 20 for step in range(1, 20)]).covered)


UNFITTED = BinnedRegression((4,), bins=3)


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda: UNFITTED.predict(X), ValueError,
     r"^fastnn.BinnedRegression.predict: argument 'self' must be fitted first \(expected a call of fit before, got no network\)$"),
    (lambda: UNFITTED.predict_quantile(X, 0.5), ValueError, "BinnedRegression.predict_quantile: .* fitted first"),
    (lambda: UNFITTED.predict_interval(X), ValueError, "BinnedRegression.predict_interval: .* fitted first"),
    (lambda: UNFITTED.predict_distribution(X), ValueError, "BinnedRegression.predict_distribution: .* fitted first"),
    (lambda: UNFITTED.coverage(X, Y), ValueError, "BinnedRegression.coverage: .* fitted first"),
    (lambda: UNFITTED.plot(X, Y), ValueError, "BinnedRegression.plot: .* fitted first"),
    (lambda: UNFITTED.save("a.npz"), ValueError, "BinnedRegression.save: .* fitted first"),
    (lambda: UNFITTED.fit(X, Y, loss="l2"), TypeError, "BinnedRegression.fit: argument 'loss' must not be given"),
    (lambda: UNFITTED.fit(X, Y[:-1]), ValueError, r"BinnedRegression.fit: argument 'y' must have shape \(1600,\)"),
    (lambda: UNFITTED.fit(X, Y[:, None]), ValueError, r"argument 'y' must have shape \(1600,\)"),
    (lambda: UNFITTED.fit(X[:, 0], Y), ValueError, r"argument 'x' must have shape \(n, i\)"),
    (lambda: UNFITTED.fit(X, np.where(Y > 11, math.nan, Y)), ValueError, "BinnedRegression.fit: argument 'y' must be finite"),
    (lambda: UNFITTED.fit(X, np.round(Y) > 10), ValueError, "as many distinct values as bins"),
    (lambda: BinnedRegression(bins=3, kind="logarithmic").fit(X, Y - 10), ValueError, "Bins.logarithmic: argument 'y' must be positive"),
    (lambda: UNFITTED.fit(X, Y, validation_data=X), TypeError, "argument 'validation_data' must be a pair"),
    (lambda: UNFITTED.fit(X, Y, validation_data=(X, Y[:3])), ValueError, r"argument 'validation_data\[1\]' must have shape \(1600,\)"),
    (lambda: UNFITTED.fit(X, Y, validation_data=(X, Y * math.nan)), ValueError, r"argument 'validation_data\[1\]' must be finite"),
    (lambda: UNFITTED.fit(X, Y, validation_data=(X[:, :1], Y)), ValueError, r"validation_data.*must have shape \(n, 2\)"),
    (lambda: UNFITTED.fit(X, Y, epochs=0), ValueError, "argument 'epochs'"),
    (lambda: UNFITTED.fit(X, Y, class_weight="balanced"), ValueError, "argument 'class_weight' must come with integer labels"),
    (lambda: UNFITTED.fit(X, Y, momentum=1), TypeError, "momentum"),
    (lambda: BinnedRegression("64"), TypeError, "BinnedRegression: argument 'hidden' must be a sequence"),
    (lambda: BinnedRegression(64), TypeError, "argument 'hidden' must be a sequence"),
    (lambda: BinnedRegression(bins=1), ValueError, "BinnedRegression: argument 'bins' must be in range"),
    (lambda: BinnedRegression(bins="50"), TypeError, "BinnedRegression: argument 'bins' must be an integer"),
    (lambda: BinnedRegression(kind="even"), ValueError,
     r"argument 'kind' must name a kind of bins \(expected one of uniform, quantile, logarithmic, got 'even'\)"),
    (lambda: BinnedRegression(smoothing="gaussian"), ValueError, "BinnedRegression: argument 'smoothing' must be known"),
    (lambda: BinnedRegression(smoothing=-1), ValueError, "BinnedRegression: argument 'smoothing' must be finite and in range"),
])  # fmt: skip
def test_bad_input_is_answered_before_anything_is_trained(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()
    assert UNFITTED.net is None
    assert UNFITTED.bins is None


def test_a_refused_fit_leaves_what_was_learnt():
    model = fitted()
    before = model.predict(X).tobytes(), model.history
    for bad in ({"epochs": 0}, {"validation_data": 3}, {"optimizer": "x"}):
        with pytest.raises((TypeError, ValueError)):
            model.fit(X, Y, **bad)
    assert (model.predict(X).tobytes(), model.history) == before


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda model: model.predict(X[:, :1]), r"BinnedRegression.predict: argument 'x' must have shape \(n, 2\)"),
    (lambda model: model.predict_quantile(X, 2), "argument 'q' must lie between 0 and 1"),
    (lambda model: model.predict_interval(X, -1), "argument 'level'"),
    (lambda model: model.coverage(X, Y[:5]), r"BinnedRegression.coverage: argument 'y' must have shape \(1600,\)"),
    (lambda model: model.plot(X, Y, rows=[1600]), "argument 'rows'"),
    (lambda model: model.save("model.txt"), "must name a format"),
])  # fmt: skip
def test_bad_questions_are_answered(learnt, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(learnt)
