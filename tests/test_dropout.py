from __future__ import annotations

import itertools
import math
import os
import signal
import sys

import numpy as np
import pytest

import fastnn
from fastnn import MLP, dropout, dropout_check
from fastnn.datasets import load_digits
from fastnn.losses import L2, Hinge, SoftmaxCrossEntropy

RNG = np.random.default_rng(17)
X = RNG.normal(size=(40, 6))


def net(activation="linear", sizes=(6, 9, 8, 4), keep_prob=(0.8, 0.5, 0.6), **kwargs):
    made = MLP(sizes, activation=activation, keep_prob=keep_prob, **{"seed": 5, "dtype": "float64", **kwargs})
    rng = np.random.default_rng(23)
    for layer in made.layers:
        layer.bias[...] = rng.normal(size=layer.bias.shape)
    return made


def softmax(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def passes_by_hand(made, x, samples, seed=0, first=0, step=1):
    """Scores of every pass from the masks of the documented streams, `(samples, n, o)`."""
    activation = {"linear": lambda z: z, "relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[made.activation]
    scores = []
    for sample in range(samples):
        y = np.asarray(x, made.dtype)
        for k, layer in enumerate(made.layers):
            if made.keep_prob[k] < 1:
                stream = (first + sample * step) * len(made.layers) + k
                y = y * fastnn.dropout_forward(np.ones_like(y), made.keep_prob[k], seed=seed, stream=stream)
            y = y @ layer.weight + layer.bias
            y = y if k == len(made.layers) - 1 else activation(y)
        scores.append(y)
    return np.array(scores)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_the_numbers_are_those_of_the_passes(activation):
    made = net(activation)
    report = dropout_check(made, X, samples=60, seed=3)
    scores = passes_by_hand(made, X, 60, 3)
    predicted = made.forward(X)
    apart = predicted - scores.mean(axis=0)
    errors = scores.var(axis=0, ddof=1) / 60
    assert report.difference == pytest.approx(np.sqrt(np.mean(apart**2)), rel=1e-9)
    assert report.standard_error == pytest.approx(np.sqrt(errors.mean()), rel=1e-9)
    assert report.one_pass == pytest.approx(np.sqrt(scores.var(axis=0, ddof=1).mean()), rel=1e-9)
    assert report.within == np.mean(np.abs(apart) <= 2 * np.sqrt(errors))
    likely = np.mean([softmax(each) for each in scores], axis=0)
    assert report.probability_difference == pytest.approx(np.sqrt(np.mean((softmax(predicted) - likely) ** 2)), rel=1e-9)
    assert report.agreement == np.mean(predicted.argmax(axis=1) == likely.argmax(axis=1))
    by_row = errors.mean(axis=1)
    assert report.limit**2 == pytest.approx((1 + 5 * np.sqrt(2 * (by_row**2).sum()) / by_row.sum()) * 59 / 57, rel=1e-9)
    assert [point.samples for point in report.convergence] == [1, 2, 5, 10, 20, 50, 60]
    for samples, difference, agreement in report.convergence:
        mean = scores[:samples].mean(axis=0)
        assert difference == pytest.approx(np.sqrt(np.mean((predicted - mean) ** 2)), rel=1e-9)
        likely = np.mean([softmax(each) for each in scores[:samples]], axis=0)
        assert agreement == np.mean(predicted.argmax(axis=1) == likely.argmax(axis=1))
    assert (report.rows, report.samples, report.requested, report.keep_prob) == (40, 60, 60, (0.8, 0.5, 0.6))
    assert report.linear == (activation == "linear")


def test_the_mean_over_every_mask_there_is():
    made = net("relu", (2, 3, 1), (0.8, 0.5))
    made.layers[0].weight[...] = [[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]
    made.layers[0].bias[...] = 0.0
    made.layers[1].weight[...] = 1.0
    x = np.array([[1.0, 0.9], [0.3, 2.0]])
    mean, square = np.zeros((2, 1)), np.zeros((2, 1))
    for mask in itertools.product([0, 1], repeat=5):
        keep = np.array(mask)
        share = np.prod(np.where(keep[:2], 0.8, 0.2)) * np.prod(np.where(keep[2:], 0.5, 0.5))
        hidden = np.maximum((x * keep[:2] / 0.8) @ made.layers[0].weight + made.layers[0].bias, 0) * keep[2:] / 0.5
        scores = hidden @ made.layers[1].weight + made.layers[1].bias
        mean += share * scores
        square += share * scores**2
    bias = np.sqrt(np.mean((made.forward(x) - mean) ** 2))
    deviation = np.sqrt(np.mean(square - mean**2))
    report = dropout_check(made, x, samples=10_000)
    assert report.one_pass == pytest.approx(deviation, rel=0.03)
    assert report.difference == pytest.approx(bias, abs=4 * report.standard_error)
    assert report.bias == pytest.approx(bias, rel=0.15)
    assert bias > 8 * report.standard_error


@pytest.mark.parametrize("keep_prob", [(0.9, 1.0, 1.0), (1.0, 0.2, 1.0), (0.5, 0.5, 0.5), (0.99, 0.95, 0.9)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_a_hidden_nonlinearity_the_two_agree(keep_prob, dtype):
    report = dropout_check(net(keep_prob=keep_prob, dtype=dtype), X, samples=400)
    assert report.verdict == "exact"
    assert report.passed
    assert report.bias == 0.0
    assert 0.9 < report.within < 0.99
    assert report.difference < 1.3 * report.standard_error
    assert "without a hidden nonlinearity" in str(report)


def test_rounding_is_no_fault():
    made = net("linear", (1, 1), (0.5,), dtype="float32")
    made.layers[0].weight[...], made.layers[0].bias[...] = 0.01, 1e5  # float32 steps by 0.0078 there
    report = dropout_check(made, np.full((5, 1), 1.3), samples=3000)
    assert report.verdict == "exact"
    assert report.difference > 5 * report.one_pass / math.sqrt(3000)


def test_one_layer_is_linear_whatever_the_activation():
    assert dropout_check(net("relu", (6, 4), (0.5,)), X, samples=100).verdict == "exact"


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_noise_raises_no_alarm(rows):
    for seed in range(30):
        made = MLP((6, 5, 3), activation="linear", keep_prob=(0.7, 0.3), seed=seed)
        assert dropout_check(made, X[:rows], samples=12, seed=seed).verdict == "exact", seed


@pytest.mark.parametrize("factor", [0.8, 1.1])
def test_a_pass_that_scales_wrongly_is_found(factor, monkeypatch):
    made = net(keep_prob=(1.0, 0.5, 1.0))
    forward = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda net, x: factor * forward(net, x))
    report = dropout_check(made, X)
    assert report.verdict == "wrong"
    assert not report.passed
    assert report.bias > 0
    assert "one of the passes is wrong" in str(report)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_dropout_there_is_nothing_to_check(dtype):
    report = dropout_check(net("relu", keep_prob=1.0, dtype=dtype), X, samples=10)
    assert report.verdict == "nothing to check"
    assert report.passed
    assert (report.one_pass, report.bias, report.agreement) == (0.0, 0.0, 1.0)
    assert "only one network" in str(report)


def made_report(**changes):
    values = {"keep_prob": (1.0, 0.5), "linear": False, "rows": 10, "requested": 100, "samples": 100, "difference": 0.5,
              "standard_error": 0.3, "one_pass": 3.0, "within": 0.9, "limit": 1.2, "agreement": 0.99, "probability_difference": 0.1,
              "convergence": ()}  # fmt: skip
    return dropout.DropoutReport(**{**values, **changes})


@pytest.mark.parametrize(("changes", "verdict"), [
    ({}, "close"),
    ({"one_pass": 1.6}, "close"),
    ({"one_pass": 1.59}, "apart"),
    ({"agreement": 0.98}, "close"),
    ({"agreement": 0.979}, "apart"),
    ({"agreement": None}, "close"),
    ({"agreement": None, "one_pass": 1.0}, "apart"),
    ({"linear": True}, "wrong"),
    ({"linear": True, "difference": 0.359}, "exact"),
    ({"linear": True, "difference": 0.361}, "wrong"),
    ({"linear": True, "keep_prob": (1.0, 1.0)}, "nothing to check"),
])  # fmt: skip
def test_the_verdicts(changes, verdict):
    report = made_report(**changes)
    assert report.verdict == verdict
    assert report.passed == (verdict not in ("wrong", "apart"))
    assert str(report).startswith(f"dropout check: {verdict} (keep_prob ")


def test_the_bias_is_what_noise_leaves():
    assert made_report().bias == pytest.approx(0.4)
    assert made_report(difference=0.36).bias == 0.0
    assert made_report(difference=0.37).bias == pytest.approx(math.sqrt(0.37**2 - 0.09))


def test_it_prints_as_a_table():
    lines = str(made_report(samples=50)).splitlines()
    assert lines[0] == "dropout check: close (keep_prob (1.0, 0.5), 10 rows, 50 of 100 passes)"
    assert "approximation" in lines[1]
    shown = dict(line.rsplit("  ", 1) for line in lines[4:])
    assert [value.strip() for value in shown.values()] == ["0.5", "0.3", "0.4", "3", "90.0%", "0.1", "99.00%"]
    assert "class" not in str(made_report(agreement=None, probability_difference=None))
    assert repr(made_report()) == "<DropoutReport: close, bias 0.4, one pass 3, 100 passes>"


# --- losses, rows, preprocessing -----------------------------------------------------------------------------------------------------


def test_what_is_compared_hangs_on_the_loss():
    made = net("relu")
    made.loss = L2()
    report = dropout_check(made, X, samples=20)
    assert (report.agreement, report.probability_difference) == (None, None)
    assert report.verdict in ("close", "apart")
    made.loss = None
    assert dropout_check(made, X, samples=20).agreement is None
    made.loss = Hinge()
    report = dropout_check(made, X, samples=20, seed=1)
    mean = passes_by_hand(made, X, 20, 1).mean(axis=0)
    assert report.agreement == np.mean(made.forward(X).argmax(axis=1) == mean.argmax(axis=1))
    assert report.probability_difference is None


def test_blocks_of_rows_have_masks_of_their_own(monkeypatch):
    monkeypatch.setattr(dropout, "_ROWS", 1)
    made = net("relu")
    x = np.concatenate([RNG.normal(size=(256, 6)), RNG.normal(size=(30, 6))])
    report = dropout_check(made, x, samples=10, seed=2)
    scores = np.concatenate([passes_by_hand(made, x[:256], 10, 2, 0, 2), passes_by_hand(made, x[256:], 10, 2, 1, 2)], axis=1)
    assert report.difference == pytest.approx(np.sqrt(np.mean((made.forward(x) - scores.mean(axis=0)) ** 2)), rel=1e-9)
    assert report.one_pass == pytest.approx(np.sqrt(scores.var(axis=0, ddof=1).mean()), rel=1e-9)


def test_preprocessing_comes_first():
    raw = (30 * X + 100).astype(np.uint8)
    made = net("relu")
    made.preprocessing = fastnn.Standardizer().fit(raw)
    report = dropout_check(made, raw, samples=15)
    scores = passes_by_hand(made, (raw - raw.mean(axis=0)) / raw.std(axis=0), 15)
    assert report.one_pass == pytest.approx(np.sqrt(scores.var(axis=0, ddof=1).mean()), rel=1e-9)


def test_the_seed_draws_the_masks_and_nothing_is_changed():
    made, x = net("relu"), X.copy()
    before = [array.tobytes() for array in made.parameters()], made.loss
    one, again, other = (dropout_check(made, x, samples=10, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one.difference != other.difference
    assert ([array.tobytes() for array in made.parameters()], made.loss) == before
    np.testing.assert_array_equal(x, X)


def test_a_trained_net_is_close():
    x, y = load_digits()
    made = MLP((64, 64, 10), keep_prob=(0.8, 0.5))
    made.fit(x[:1200], y[:1200], preprocessing=fastnn.Standardizer(), epochs=30)
    report = dropout_check(made, x[1200:], samples=400)
    assert report.verdict == "close", str(report)
    assert report.agreement > 0.98
    assert report.bias > 0


# --- progress, Ctrl-C, errors --------------------------------------------------------------------------------------------------------


def test_progress_is_shown_on_request(capsys):
    dropout_check(net(), X, samples=25)
    assert capsys.readouterr().err == ""
    dropout_check(net(), X, samples=25, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/25", "2/25", "5/25", "10/25", "20/25", "25/25"]


class Interrupting(SoftmaxCrossEntropy):
    """Sends Ctrl-C while it works out the probabilities of a chosen pass."""

    passes = 0
    at = 0

    def probabilities(self, scores):
        type(self).passes += 1
        if self.passes == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return super().probabilities(scores)


@pytest.mark.parametrize("at", [13, 20])
def test_ctrl_c_keeps_the_passes_made(at, monkeypatch):
    made = net("relu")
    whole = dropout_check(made, X, samples=at)
    made.loss = Interrupting()
    monkeypatch.setattr(Interrupting, "passes", 0)
    monkeypatch.setattr(Interrupting, "at", at)
    report = dropout_check(made, X, samples=500)
    assert (report.samples, report.requested) == (at, 500)
    assert (report.difference, report.agreement, report.one_pass) == (whole.difference, whole.agreement, whole.one_pass)
    assert report.convergence == whole.convergence
    assert f"{at} of 500 passes" in str(report)


def test_ctrl_c_before_there_is_anything_to_say(monkeypatch):
    made = net("relu")
    made.loss = Interrupting()
    monkeypatch.setattr(Interrupting, "passes", 0)
    monkeypatch.setattr(Interrupting, "at", 9)
    with pytest.raises(KeyboardInterrupt):
        dropout_check(made, X, samples=500)


@pytest.mark.parametrize(("change", "kind", "words"), [
    ({"net": "net"}, TypeError, "'net' must be a network"),
    ({"x": X[:, 1:]}, ValueError, "'x' must have shape"),
    ({"x": X[:0]}, ValueError, "'x' must have at least one row"),
    ({"samples": 9}, ValueError, "'samples' must be in range"),
    ({"samples": 20.0}, TypeError, "'samples' must be an integer"),
    ({"seed": -1}, ValueError, "'seed' must be in range"),
])  # fmt: skip
def test_bad_arguments(change, kind, words):
    arguments = {"net": net(), "x": X, **change}
    with pytest.raises(kind, match=words) as caught:
        dropout_check(arguments.pop("net"), arguments.pop("x"), **arguments)
    assert str(caught.value).startswith("fastnn.dropout_check: argument")


def test_scores_that_are_not_finite():
    made = net("relu")
    made.layers[0].weight[...] = 1e308
    with pytest.raises(FloatingPointError, match="without dropout are not finite"):
        dropout_check(made, np.abs(X))
    made = net(sizes=(1, 1), keep_prob=(0.5,))
    made.layers[0].weight[...] = 1.5e308
    with pytest.raises(FloatingPointError, match="under dropout are not finite"):
        dropout_check(made, np.ones((3, 1)))


# --- the picture ---------------------------------------------------------------------------------------------------------------------


def test_the_picture(tmp_path):
    report = dropout_check(net("tanh"), X, samples=50)
    figure = report.plot(tmp_path / "dropout.png")
    assert (tmp_path / "dropout.png").read_bytes().startswith(b"\x89PNG")
    left, right = figure.get_axes()
    n = np.array([1, 2, 5, 10, 20, 50])
    measured, both, noise, bias = (line.get_ydata() for line in left.lines)
    np.testing.assert_array_equal(measured, [point.difference for point in report.convergence])
    np.testing.assert_allclose(noise, report.one_pass / np.sqrt(n))
    np.testing.assert_allclose(both, np.sqrt(report.bias**2 + report.one_pass**2 / n))
    assert set(bias) == {report.bias}
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [1 - point.agreement for point in report.convergence])


def test_noise_falls_by_the_root_of_the_passes():
    report = dropout_check(net(), RNG.normal(size=(300, 6)), samples=1000)
    for samples, difference, _ in report.convergence:
        assert difference * math.sqrt(samples) == pytest.approx(report.one_pass, rel=0.15)


def test_pictures_of_other_nets(monkeypatch):
    made = net(keep_prob=1.0)
    made.loss = L2()
    assert len(dropout_check(made, X, samples=10).plot().get_axes()) == 1
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"DropoutReport\.plot: a picture needs the extra"):
        made_report().plot()
