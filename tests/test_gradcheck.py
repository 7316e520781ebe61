from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import MLP, gradcheck, gradient_check, layers
from fastnn.losses import L2, SoftmaxCrossEntropy

RNG = np.random.default_rng(53)
X = RNG.normal(size=(12, 5))
Y = RNG.integers(0, 3, 12)
REAL = RNG.normal(size=(12, 3))


def net(activation="tanh", **kwargs):
    made = MLP((5, 8, 3), activation=activation, **{"seed": 3, **kwargs})
    for layer in made.layers:
        layer.bias[...] = RNG.normal(size=layer.bias.shape)
    return made


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
@pytest.mark.parametrize(("loss", "y"), [("softmax_cross_entropy", Y), ("l2", REAL)])
def test_smooth_nets_are_happy(activation, loss, y):
    report = gradient_check(net(activation), X, y, loss=loss)
    assert report.verdict == "happy", str(report)
    assert report.passed
    assert report.smooth
    assert report.kinks == 0
    assert 0 < report.max_relative_error <= 1e-7


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge"])
@pytest.mark.parametrize("dropout", [None, (4, 9)])
def test_kinked_nets_pass(activation, loss, dropout):
    report = gradient_check(net(activation, keep_prob=(0.8, 0.7)), X, Y, loss=loss, weight_decay=0.1, dropout=dropout,
                            sample_weight=RNG.uniform(0.5, 2, 12))
    assert report.passed, str(report)
    assert report.max_relative_error <= 1e-5
    assert not report.smooth


def test_every_array_is_sampled_and_named():
    report = gradient_check(net(), X, Y, samples=10, weight_decay=0.1)
    data = [(row.name, row.size, len(row.judged) + row.kinks + row.below_noise) for row in report.arrays[:4]]
    assert data == [("layers[0].weight", 40, 10), ("layers[0].bias", 8, 8), ("layers[1].weight", 24, 10), ("layers[1].bias", 3, 3)]
    assert [row.name for row in report.arrays[4:]] == [f"regulariser of {row[0]}" for row in data]
    names = [entry.name for entry in report.arrays[2].judged]
    assert len(set(names)) == len(names)
    made = net(keep_prob=(0.8, 0.7))
    settings = {"sample_weight": RNG.uniform(0.5, 2, 12), "dropout": (3, 1)}
    gradient = made.astype("float64").loss_and_gradients(X, Y, **settings)[1][2]
    for entry in gradient_check(made, X, Y, **settings).arrays[2].judged:
        row, column = entry.name.removeprefix("layers[1].weight[").rstrip("]").split(", ")
        assert entry.analytic == gradient[int(row), int(column)]


def test_the_seed_chooses_the_entries():
    def names(seed):
        return [entry.name for entry in gradient_check(net(), X, Y, samples=5, seed=seed).arrays[0].judged]

    assert names(0) == names(0)
    assert names(0) != names(1)


def test_the_net_is_not_changed_and_checked_in_float64():
    made = net("relu", dtype="float32")
    before = [p.tobytes() for p in made.parameters()]
    report = gradient_check(made, X.astype(np.float32), Y)
    assert [p.tobytes() for p in made.parameters()] == before
    assert report.max_relative_error < 1e-5
    assert made.dtype == np.float32


# --- kinks ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_a_relu_on_its_kink_is_reported_and_not_counted(activation):
    made = MLP((2, 3, 2), activation=activation, dtype="float64", seed=1)
    x = np.array([[1.0, 2.0]])
    w, b = made.layers[0].weight, made.layers[0].bias
    b[...] = [0.5, -0.5, 0.3]
    b[1] = -(x @ w)[0, 1] + 1e-7  # unit 1 has a pre-activation of 1e-7: it changes sides within h = 1e-5
    report = gradient_check(made, x, np.array([1]))
    rows = {row.name: row for row in report.arrays}
    assert rows["layers[0].weight"].kinks == 2
    assert rows["layers[0].bias"].kinks == 1
    assert rows["layers[1].weight"].kinks == 0
    assert report.kinks == 3
    assert report.verdict == "happy"
    # Smaller steps stay on one side, so nothing is a kink.
    assert gradient_check(made, x, np.array([1]), h=1e-8).kinks == 0


def test_without_the_kink_report_the_same_entry_looks_wrong(monkeypatch):
    made = MLP((1, 1, 2), dtype="float64", seed=1)
    made.layers[0].weight[...] = 1e-7
    x = np.array([[1.0]])
    assert gradient_check(made, x, np.array([1])).arrays[0].kinks == 1
    monkeypatch.setattr(gradcheck, "KINKED", ())
    assert gradient_check(made, x, np.array([1])).verdict == "wrong"


def test_a_hinge_margin_on_its_kink_is_reported():
    made = MLP((1, 2), dtype="float64")
    made.layers[0].weight[...] = [[0.5, 1.5 + 1e-7]]
    report = gradient_check(made, np.array([[1.0]]), np.array([1]), loss="hinge")
    assert report.kinks == 4
    assert report.verdict == "unjudged"
    assert not report.passed
    assert "every entry sat on a kink" in str(report)
    assert gradient_check(made, np.array([[1.0]]), np.array([1]), loss=fastnn.Hinge(1.1)).kinks == 0


def test_a_dropped_unit_has_no_kink():
    made = MLP((2, 4, 2), dtype="float64", seed=1, keep_prob=(1.0, 0.5))
    x = np.array([[1.0, 2.0]])
    made.layers[0].bias[...] = -(x @ made.layers[0].weight)[0] + 1e-7
    every = gradient_check(made, x, np.array([1])).arrays[1].kinks
    some = gradient_check(made, x, np.array([1]), dropout=(0, 1)).arrays[1].kinks
    assert every == 4
    assert 0 < some < 4


# --- wrong gradients -----------------------------------------------------------------------------------------------------------------


class OffByTenPercent(SoftmaxCrossEntropy):
    def value_and_gradient(self, scores, y, sample_weight=None):
        loss, gradient = super().value_and_gradient(scores, y, sample_weight)
        return loss, gradient * 1.1


class Offset(L2):
    """One sample's gradient is forgotten."""

    def value_and_gradient(self, scores, y, sample_weight=None):
        loss, gradient = super().value_and_gradient(scores, y, sample_weight)
        gradient[0] = 0
        return loss, gradient


@pytest.mark.parametrize(("loss", "y"), [(OffByTenPercent(), Y), (Offset(), REAL)])
def test_a_wrong_loss_gradient_is_flagged(loss, y):
    report = gradient_check(net(), X, y, loss=loss)
    assert report.verdict == "wrong"
    assert not report.passed
    assert report.max_relative_error > 1e-2
    assert "wrong" in str(report)


def test_a_wrong_layer_is_flagged_in_its_arrays_only(monkeypatch):
    tanh = layers.ACTIVATIONS["tanh"]
    monkeypatch.setitem(layers.ACTIVATIONS, "tanh", tanh._replace(backward=lambda dy, y: dy * (1 - y)))
    rows = {row.name: row.max_relative_error for row in gradient_check(net(), X, Y).arrays}
    assert rows["layers[0].weight"] > 1e-2
    assert rows["layers[0].bias"] > 1e-2
    assert rows["layers[1].weight"] <= 1e-7


def test_a_wrong_regulariser_is_flagged_apart(monkeypatch):
    real = MLP.loss_and_gradients

    def wrong(self, x, y, *, weight_decay=0.0, **kwargs):
        loss, gradients = real(self, x, y, weight_decay=weight_decay, **kwargs)
        plain = real(self, x, y, **kwargs)[1]
        return loss, [p + 2 * (g - p) for g, p in zip(gradients, plain)]

    monkeypatch.setattr(MLP, "loss_and_gradients", wrong)
    report = gradient_check(net(), X, Y, weight_decay=1e-3)
    assert report.verdict == "wrong"
    assert {entry.name.split(" of ")[0] for entry in report.worst()} == {"regulariser"}
    assert max(row.max_relative_error for row in report.arrays[:4]) <= 1e-7


def test_a_gradient_that_is_not_finite_is_wrong():
    assert gradcheck.Entry("w", float("nan"), 1.0).relative_error == float("inf")
    report = gradcheck.GradientReport((gradcheck.ArrayReport("w", (gradcheck.Entry("w", float("nan"), 1.0),), 0, 0, 1),), True, 1e-5)
    assert report.verdict == "wrong"


@pytest.mark.parametrize(("error", "verdict", "passed"), [
    (0.0, "happy", True), (1e-8, "happy", True), (1e-6, "fine", True), (1e-3, "uncomfortable", False), (0.5, "wrong", False),
])
def test_the_scale_of_the_notes(error, verdict, passed):
    entry = gradcheck.Entry("w", 1.0, 1.0 - error)
    report = gradcheck.GradientReport((gradcheck.ArrayReport("w", (entry,), 0, 0, 1),), True, 1e-5)
    assert report.max_relative_error == pytest.approx(error, rel=1e-6)
    assert (report.verdict, report.passed) == (verdict, passed)
    assert ("high for a smooth objective" in str(report)) == (verdict == "fine")
    assert "high for a smooth" not in str(gradcheck.GradientReport(report.arrays, False, 1e-5))


# --- noise ---------------------------------------------------------------------------------------------------------------------------


def test_zero_gradients_agree():
    made = MLP((2, 3, 2), dtype="float64")
    made.layers[0].bias[...] = -100  # every unit is off
    report = gradient_check(made, np.ones((1, 2)), np.array([0]))
    assert report.arrays[0].max_relative_error == 0.0
    assert len(report.arrays[0].judged) == 6
    assert report.verdict == "happy"


def test_gradients_below_the_rounding_noise_are_counted_apart():
    made = MLP((2, 2), dtype="float64")
    x = np.array([[1.0, 1e-9]])  # the second row of weights has gradients of 1e-9 * the first
    rows = gradient_check(made, x, np.array([0])).arrays
    assert rows[0].below_noise == 2
    assert len(rows[0].judged) == 2
    assert "below noise" in str(gradient_check(made, x, np.array([0])))


def test_a_wrong_gradient_above_the_noise_is_not_excused():
    made = MLP((2, 2), dtype="float64")
    x = np.array([[1.0, 1e-4]])
    rows = gradient_check(made, x, np.array([0]), loss=OffByTenPercent()).arrays
    assert rows[0].below_noise == 0
    assert max(entry.relative_error for entry in rows[0].judged if entry.name.startswith("layers[0].weight[1")) > 1e-2


# --- the report ----------------------------------------------------------------------------------------------------------------------


def test_it_prints_as_a_table():
    report = gradient_check(net("relu"), X, Y, samples=4)
    lines = str(report).splitlines()
    assert lines[0].startswith("gradient check: ")
    assert lines[3].split() == ["array", "size", "judged", "kinks", "below", "noise", "max", "relative", "error"]
    assert lines[4].split()[:3] == ["layers[0].weight", "40", "4"]
    assert lines[9].split() == ["worst", "entries", "analytic", "numeric", "relative", "error"]
    assert lines[10].split("  ")[0] == report.worst()[0].name
    errors = [entry.relative_error for entry in report.worst()]
    assert errors == sorted(errors, reverse=True)
    assert repr(report).startswith("<GradientReport: ")


@pytest.mark.parametrize(("keywords", "kind", "sentence"), [
    ({"h": 0.0}, ValueError, "gradient_check: argument 'h' must be finite and in range"),
    ({"samples": 0}, ValueError, "gradient_check: argument 'samples' must be in range"),
    ({"weight_decay": -1}, ValueError, "gradient_check: argument 'weight_decay'"),
    ({"loss": "mse"}, ValueError, "gradient_check: argument 'loss' must name a loss"),
    ({"sample_weight": [1.0]}, ValueError, "gradient_check: argument 'sample_weight' must have shape"),
])
def test_bad_arguments_are_answered(keywords, kind, sentence):
    with pytest.raises(kind, match=rf"^fastnn\.{sentence}"):
        gradient_check(net(), X, Y, **keywords)
    with pytest.raises(ValueError, match=r"^fastnn.gradient_check: argument 'x' must have shape \(n, 5\)"):
        gradient_check(net(), X[:, :4], Y)


@pytest.mark.parametrize("dropout", [3, (1,), (1, 2, 3), (1, -3), (0.5, 0), "ab"])
def test_dropout_is_a_seed_and_a_stream(dropout):
    for function in (gradient_check, MLP.loss_and_gradients):
        with pytest.raises((TypeError, ValueError), match=r"^fastnn\.MLP\.loss_and_gradients: argument 'dropout' must be"):
            function(net(), X, Y, dropout=dropout)


def test_what_would_be_happy_about_nothing_is_refused():
    with pytest.raises(ValueError, match=r"^fastnn.gradient_check: argument 'x' must have at least one row"):
        gradient_check(net(), X[:0], Y[:0])
    with pytest.raises(ValueError, match=r"^fastnn.gradient_check: argument 'sample_weight' must weigh something"):
        gradient_check(net(), X, Y, sample_weight=np.zeros(len(X)))
    with pytest.raises(TypeError, match=r"^fastnn.gradient_check: argument 'net' must be a network"):
        gradient_check("net", X, Y)


def test_a_step_that_moves_no_weight_judges_nothing():
    assert gradient_check(net(), X, Y, h=1e-300).verdict == "unjudged"
