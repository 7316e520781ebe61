from __future__ import annotations

import math
import sys

import numpy as np
import pytest

import fastnn
from fastnn import MLP, SGD, Adam, diagnose, diagnostics
from fastnn.datasets import load_digits
from fastnn.init import Normal

RNG = np.random.default_rng(31)
X = RNG.normal(size=(60, 5))
LABELS = RNG.integers(0, 3, 60)
REAL = RNG.normal(size=(60, 3))
ACTIVATIONS = {"relu": lambda z: np.maximum(z, 0.0), "tanh": np.tanh, "sigmoid": lambda z: 1 / (1 + np.exp(-z))}
SLOPES = {"relu": lambda y: (y > 0) * 1.0, "tanh": lambda y: 1 - y * y, "sigmoid": lambda y: y * (1 - y)}


def net(sizes=(5, 8, 7, 3), activation="tanh", **kwargs):
    return MLP(sizes, activation=activation, **{"seed": 3, "dtype": "float64", **kwargs})


def by_hand(made, x, y):
    """Outputs of every layer and the gradients of the weights of softmax cross-entropy, written out."""
    outputs = [x]
    for k, layer in enumerate(made.layers):
        z = outputs[-1] @ layer.weight + layer.bias
        outputs.append(z if k == len(made.layers) - 1 else ACTIVATIONS[made.activation](z))
    p = np.exp(outputs[-1])
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(p[np.arange(len(y)), y]))
    p[np.arange(len(y)), y] -= 1
    delta, gradients = p / len(y), []
    for k in reversed(range(len(made.layers))):
        gradients.insert(0, outputs[k].T @ delta)
        if k:
            delta = (delta @ made.layers[k].weight.T) * SLOPES[made.activation](outputs[k])
    return outputs, gradients, loss


def verdicts(report, quantity):
    return [finding.verdict for _, finding in report.all_findings if finding.quantity == quantity]


def sentence(report, quantity):
    return next(str(finding) for _, finding in report.all_findings if finding.quantity == quantity)


# --- the numbers ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_numbers_are_those_of_a_pass_by_hand(activation):
    made = net(activation=activation)
    outputs, gradients, loss = by_hand(made, X, LABELS)
    report = diagnose(made, X, LABELS, optimizer=SGD(0.05))
    assert report.rows == 60
    assert report.loss == pytest.approx(loss, rel=1e-12)
    assert (report.inputs.units, len(report.layers)) == (5, 3)
    for shown, values in zip((report.inputs, *report.layers), outputs):
        assert shown.units == values.shape[1]
        assert shown.mean == pytest.approx(values.mean(), abs=1e-12)
        assert shown.variance == pytest.approx(values.var(), rel=1e-12)
        counts, edges = shown.histogram
        assert counts.sum() == values.size
        assert (edges[0], edges[-1]) == pytest.approx((values.min(), values.max()))
    for shown, layer, gradient in zip(report.layers, made.layers, gradients):
        assert shown.gradient_norm == pytest.approx(np.sqrt((gradient**2).sum()), rel=1e-10)
        assert shown.update_ratio == pytest.approx(0.05 * np.sqrt((gradient**2).sum() / (layer.weight**2).sum()), rel=1e-10)


def test_the_update_is_the_optimizers_own():
    made = net()
    gradients = by_hand(made, X, LABELS)[1]
    decayed = diagnose(made, X, LABELS, optimizer=SGD(0.05, weight_decay=2.0))
    adam = diagnose(made, X, LABELS, optimizer=Adam(0.003))
    by_name = diagnose(made, X, LABELS, optimizer="sgd")
    for k, (layer, gradient) in enumerate(zip(made.layers, gradients)):
        size = np.linalg.norm(layer.weight)
        assert decayed.layers[k].update_ratio == pytest.approx(0.05 * np.linalg.norm(gradient + 2.0 * layer.weight) / size, rel=1e-9)
        assert decayed.layers[k].gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-9)
        assert adam.layers[k].update_ratio == pytest.approx(0.003 * math.sqrt(gradient.size) / size, rel=1e-4)
        assert by_name.layers[k].update_ratio == pytest.approx(0.01 * np.linalg.norm(gradient) / size, rel=1e-9)


def test_the_update_has_dropout_and_nothing_else_has():
    plain, dropped = net(), net(keep_prob=(0.5, 0.5, 0.5))
    one, other = (diagnose(made, X, LABELS, optimizer=SGD(0.05)) for made in (plain, dropped))
    assert one.loss == other.loss
    assert [layer.gradient_norm for layer in one.layers] == [layer.gradient_norm for layer in other.layers]
    assert [layer.variance for layer in one.layers] == [layer.variance for layer in other.layers]
    assert all(a.update_ratio != b.update_ratio for a, b in zip(one.layers, other.layers))
    assert one.overfit == other.overfit


def test_preprocessing_comes_first():
    made, raw = net(), 40 * X + 7
    made.preprocessing = fastnn.Standardizer().fit(raw)
    report = diagnose(made, raw, LABELS)
    assert report.inputs.mean == pytest.approx(0.0, abs=1e-12)
    assert report.inputs.variance == pytest.approx(1.0)
    assert report.loss == pytest.approx(by_hand(net(), (raw - raw.mean(axis=0)) / raw.std(axis=0), LABELS)[2])
    assert made.preprocessing.mean is not None
    assert report.overfit[0] == pytest.approx(made.loss_and_gradients(*drawn(raw, LABELS, 20))[0])


def test_preprocessing_is_that_of_the_fit_to_come():
    made, raw = net(), 40 * X + 7
    setting = fastnn.Standardizer()
    report = diagnose(made, raw, LABELS, rows=30, preprocessing=setting)
    x, y = drawn((raw - raw.mean(axis=0)) / raw.std(axis=0), LABELS, 30)
    assert report.loss == pytest.approx(by_hand(made, x, y)[2])
    assert report.overfit[0] == pytest.approx(by_hand(made, x[:20], y[:20])[2])
    assert not setting.fitted
    assert made.preprocessing is None
    known = fastnn.MinMaxScaler().fit(raw[:10])
    low, high = raw[:10].min(axis=0), raw[:10].max(axis=0)
    assert diagnose(made, raw, preprocessing=known).inputs.mean == pytest.approx((2 * (raw - low) / (high - low) - 1).mean())


def drawn(x, y, rows, seed=0):
    order = np.random.default_rng(seed).permutation(len(x))[:rows]
    return x[order], y[order]


def test_rows_are_drawn_by_the_seed():
    made = net()
    few = diagnose(made, X, LABELS, rows=15, overfit_rows=6, seed=4)
    x, y = drawn(X, LABELS, 15, 4)
    assert few.rows == 15
    assert few.loss == pytest.approx(by_hand(made, x, y)[2])
    assert few.overfit[0] == pytest.approx(by_hand(made, x[:6], y[:6])[2])
    assert diagnose(made, X, LABELS, rows=15, seed=5).loss != few.loss
    # Rows sorted by class would make a small batch of one class, which anything learns.
    ordered = np.argsort(LABELS, kind="stable")
    x, y = drawn(X[ordered], LABELS[ordered], 20)
    assert len(set(y.tolist())) == 3
    assert diagnose(made, X[ordered], LABELS[ordered]).overfit[0] == pytest.approx(by_hand(made, x, y)[2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_are_taken_as_they_are(dtype):
    x, y = load_digits()
    assert x.dtype == np.uint8
    report = diagnose(MLP((64, 10), dtype=dtype), x, y, rows=2000)
    assert report.rows == 1797
    assert report.inputs.mean == pytest.approx(x.mean())
    assert report.inputs.variance == pytest.approx(x.var(), rel=1e-5)


# --- dead units ----------------------------------------------------------------------------------------------------------------------


def test_dead_relu_units_are_counted():
    made = net((5, 8, 4, 3), "relu")
    made.layers[0].bias[:3] = -1e3
    made.layers[1].weight[...] = np.abs(made.layers[1].weight)
    report = diagnose(made, X)
    assert [layer.dead for layer in report.layers] == [3 / 8, 0.0, None]
    assert verdicts(report, "dead units") == ["watch", "good"]
    made.layers[0].bias[3] = -1e3
    assert verdicts(diagnose(made, X), "dead units") == ["bad", "good"]
    assert "50.0% of the units are zero for every row" in sentence(diagnose(made, X), "dead units")


def test_a_unit_that_lives_for_one_row_is_not_dead():
    made = net((1, 2, 1), "relu")
    made.layers[0].weight[...] = 1.0
    made.layers[0].bias[...] = -9.0, -10.0
    x = np.arange(11.0)[:, None]
    assert diagnose(made, x[:10]).layers[0].dead == 1.0  # 9 - 9 is 0
    assert diagnose(made, x[:11]).layers[0].dead == 0.5


@pytest.mark.parametrize(("activation", "edge"), [("tanh", math.atanh(math.sqrt(0.95))), ("sigmoid", 2 * math.atanh(math.sqrt(0.95)))])
def test_a_unit_with_a_flat_slope_in_most_rows_is_saturated(activation, edge):
    # The slope is 1/20 of its largest where tanh**2 = 0.95; sigmoid(z) = (1 + tanh(z / 2)) / 2.
    made = net((1, 4, 2), activation)
    made.layers[0].weight[...] = 0.0
    made.layers[0].bias[...] = edge * 1.01, -edge * 1.01, edge * 0.99, -edge * 0.99
    assert diagnose(made, np.ones((6, 1))).layers[0].dead == 0.5
    made.layers[0].weight[...] = 1.0
    made.layers[0].bias[...] = 0.0
    x = np.array([[2 * edge], [2 * edge], [-2 * edge], [0.0], [0.0]])
    assert diagnose(made, x).layers[0].dead == 1.0
    assert diagnose(made, x[1:]).layers[0].dead == 0.0  # half of the rows are not most
    assert "saturated" in sentence(diagnose(made, x), "dead units")


@pytest.mark.parametrize("activation", ["linear", "leaky_relu"])
def test_what_cannot_die_is_not_judged(activation):
    report = diagnose(net(activation=activation), X)
    assert [layer.dead for layer in report.layers] == [None, None, None]
    assert verdicts(report, "dead units") == []


# --- the loss at the start -----------------------------------------------------------------------------------------------------------


def test_what_scores_of_zero_give():
    probabilities = RNG.dirichlet(np.ones(3), 60)
    made = net((5, 3))
    assert diagnose(made, X, LABELS).expected_loss == pytest.approx(math.log(3))
    assert diagnose(made, X, probabilities).expected_loss == pytest.approx(math.log(3))
    assert diagnose(made, X, LABELS, loss=fastnn.Hinge(margin=1.5)).expected_loss == pytest.approx(2 * 1.5)
    shifted = REAL + [0.0, 5.0, -3.0]
    assert diagnose(made, X, shifted, loss="l2").expected_loss == pytest.approx(0.5 * REAL.var(axis=0).sum())
    assert "log(3)" in sentence(diagnose(made, X, LABELS), "loss")
    assert "half the variance of the targets" in sentence(diagnose(made, X, shifted, loss="l2"), "loss")


@pytest.mark.parametrize(("ratio", "verdict"), [(0.3, "good"), (1, "good"), (1.24, "good"), (1.26, "watch"), (3.9, "watch"), (4.1, "bad")])
def test_the_loss_is_judged_by_what_it_should_be(ratio, verdict):
    # One row of scores (s, 0) and label 1: the loss is log(1 + exp(s)); two classes give log(2) at s = 0.
    made = net((1, 2))
    made.layers[0].weight[...] = 0.0
    made.layers[0].bias[...] = math.log(math.expm1(ratio * math.log(2))), 0.0
    report = diagnose(made, np.ones((4, 1)), np.ones(4, int))
    assert report.loss == pytest.approx(ratio * math.log(2))
    assert verdicts(report, "loss") == [verdict]
    assert ("have learnt already" in sentence(report, "loss")) == (ratio < 0.75)
    assert ("large for a start" in sentence(report, "loss")) == (verdict != "good")


@pytest.mark.parametrize(("ratio", "verdict"), [(1.24, "good"), (1.26, "watch"), (3.9, "watch"), (4.1, "bad")])
def test_a_squared_loss_is_judged_by_its_root(ratio, verdict):
    made = net((1, 1))
    made.layers[0].weight[...] = 0.0
    made.layers[0].bias[...] = math.sqrt(ratio**2 - 1)  # targets of -1 and 1: the loss is (1 + bias**2) / 2
    report = diagnose(made, np.ones((4, 1)), np.array([1.0, -1.0, 1.0, -1.0]), loss="l2")
    assert verdicts(report, "loss") == [verdict]
    assert ("centre and scale the targets" in sentence(report, "loss")) == (verdict != "good")


class Cube:
    """A user's loss whose targets become something that it would not take again."""

    def targets(self, y, samples, outputs, dtype, function):
        if np.asarray(y).dtype.kind != "U":
            raise ValueError("words are wanted")
        return np.array([[len(word)] for word in y], dtype)

    def value_and_gradient(self, scores, y, sample_weight=None):
        difference = scores - y
        return float(np.mean(np.abs(difference) ** 3)), 3 * difference * np.abs(difference) / len(y)

    def predict(self, scores):
        return scores


def test_a_users_loss_is_held_against_scores_of_zero():
    words = np.array(["a", "bb", "ccc"] * 20)
    report = diagnose(net((5, 6, 1)), X, words, loss=Cube(), rows=60)
    assert report.expected_loss == pytest.approx((1 + 8 + 27) / 3)
    assert "scores of zero" in sentence(report, "loss")
    assert len(report.overfit) > 1


def test_targets_that_any_constant_fits_are_not_judged():
    report = diagnose(net((5, 4, 3)), X, np.full((60, 3), 2.0), loss="l2")
    assert report.expected_loss == 0.0
    assert report.findings == ()
    assert report.overfit == ()


def test_the_loss_is_the_nets_own_unless_given():
    made = net()
    made.loss = fastnn.L2()
    assert diagnose(made, X, REAL).expected_loss == pytest.approx(0.5 * REAL.var(axis=0).sum())
    assert diagnose(made, X, LABELS, loss="hinge").expected_loss == pytest.approx(2.0)
    assert isinstance(made.loss, fastnn.L2)


# --- the small batch -----------------------------------------------------------------------------------------------------------------


def test_a_small_batch_is_learnt_until_a_twentieth_is_left():
    report = diagnose(net((5, 16, 3), "relu"), X, LABELS, optimizer=Adam(0.01))
    assert verdicts(report, "small batch") == ["good"]
    assert report.overfit[-1] <= 0.05 * math.log(3) < report.overfit[-2]
    assert f"after {len(report.overfit) - 1} updates" in sentence(report, "small batch")
    assert sentence(report, "small batch").startswith("small batch: good, 20 rows alone")


def test_dropout_and_decay_are_off():
    made = net((5, 16, 3), "relu", keep_prob=(0.3, 0.2))
    report = diagnose(made, X, LABELS, optimizer=Adam(0.01, weight_decay=5.0))
    assert report.overfit == diagnose(net((5, 16, 3), "relu"), X, LABELS, optimizer=Adam(0.01)).overfit
    assert verdicts(report, "small batch") == ["good"]


def test_what_cannot_be_learnt_is_bad():
    x = np.ones((20, 5))
    y = np.arange(20) % 3
    report = diagnose(net((5, 16, 3)), x, y, overfit_updates=50)
    assert verdicts(report, "small batch") == ["bad"]
    assert len(report.overfit) == 50
    assert not report.passed
    assert "learnt by heart" in sentence(report, "small batch")


def test_what_is_learnt_in_part_is_watched():
    # Half of the rows are told apart, the other half has every label twice: log(2) / 2 of log(2) would be half; with 4 of 10 it is 0.4.
    x = np.eye(10)
    x[7] = x[6]
    x[9] = x[8]
    y = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    report = diagnose(net((10, 16, 2)), x, y, optimizer=Adam(0.05), overfit_updates=400)
    assert report.overfit[-1] == pytest.approx(0.4 * math.log(2), rel=0.05)
    assert verdicts(report, "small batch") == ["watch"]


def test_the_entropy_of_probabilities_is_no_fault():
    soft = np.array([[0.6, 0.3, 0.1], [0.0, 0.5, 0.5]])
    entropy = -(0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.1 * math.log(0.1) + math.log(0.5)) / 2
    report = diagnose(net((2, 16, 3)), np.eye(2), soft, optimizer=Adam(0.02))
    assert verdicts(report, "small batch") == ["good"]
    assert entropy < report.overfit[-1] <= entropy + 0.05 * (math.log(3) - entropy)


def test_a_rate_of_zero_and_one_beyond_all_measure():
    still = diagnose(net(), X, LABELS, optimizer=SGD(0.0), overfit_updates=5)
    assert verdicts(still, "update ratio") == ["bad"] * 3
    assert "raise the learning rate" in sentence(still, "update ratio")
    assert verdicts(still, "small batch") == ["bad"]
    wild = diagnose(net(activation="relu"), X, LABELS, optimizer=SGD(1e8), overfit_updates=50)
    assert verdicts(wild, "update ratio") == ["bad"] * 3
    assert "lower the learning rate" in sentence(wild, "update ratio")
    torn = diagnose(net((5, 4, 3), "relu"), X, REAL, loss="l2", optimizer=SGD(1e100), overfit_updates=50)
    assert verdicts(torn, "small batch") == ["bad"]
    assert "diverged" in sentence(torn, "small batch")
    assert "step" in sentence(torn, "small batch")


# --- verdicts ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quantity", "good", "watch", "bad"), [
    ("variance", (1e-2, 1.0, 1e2), (9e-3, 1e-4, 1.1e2, 1e4), (9e-5, 1.1e4, 0.0, math.nan, math.inf)),
    ("dead units", (0.0, 0.1), (0.11, 0.4), (0.41, 1.0, math.nan)),
    ("gradient norm", (1e-2, 1.0), (9e-3, 1e-4), (9e-5, 0.0, math.nan)),
    ("update ratio", (1e-4, 1e-3, 1e-2), (9e-5, 1e-7, 1.1e-2, 1e-1), (9e-8, 0.11, 0.0, math.inf, math.nan)),
    ("loss", (0.0, 1.25), (1.26, 4.0), (4.1, math.inf, math.nan)),
    ("small batch", (-0.1, 0.0, 0.05), (0.051, 0.5), (0.51, math.nan)),
])  # fmt: skip
def test_the_scales(quantity, good, watch, bad):
    for verdict, values in (("good", good), ("watch", watch), ("bad", bad)):
        assert [diagnostics.SCALES[quantity].verdict(value) for value in values] == [verdict] * len(values)


def test_the_module_says_what_the_scales_are():
    table = " ".join(diagnostics.__doc__.split())
    for line in ("variance 1e-2 .. 1e2 1e-4 .. 1e4", "dead units <= 10 % <= 40 %", "gradient norm >= 1e-2 >= 1e-4",
                 "update ratio 1e-4 .. 1e-2 1e-7 .. 1e-1", "loss <= 1.25 <= 4", "small batch <= 0.05 <= 0.5"):
        assert line in table


def test_equal_units_are_found():
    alike = net((5, 4, 3), init=lambda rng, shape: np.full(shape, 0.3))
    assert verdicts(diagnose(alike, X, LABELS), "symmetry") == ["bad", "bad"]
    assert not diagnose(alike, X).passed
    alike.layers[0].bias[1] = 0.1
    assert verdicts(diagnose(alike, X, LABELS), "symmetry") == ["bad"]
    assert verdicts(diagnose(net((5, 4, 1)), X), "symmetry") == []
    assert verdicts(diagnose(net((5, 1)), X), "symmetry") == []


def test_a_layer_without_gradient():
    zero = net((5, 4, 3), "relu", init=lambda rng, shape: np.zeros(shape))
    report = diagnose(zero, X, REAL, loss="l2")
    assert [layer.gradient_norm for layer in report.layers] == [0.0, 0.0]
    assert "nothing can be learnt" in sentence(report, "gradient norm")
    assert verdicts(report, "update ratio") == []
    assert verdicts(report, "variance") == ["good", "bad"]
    assert [layer.update_ratio for layer in report.layers] == [0.0, 0.0]
    zero.layers[0].bias[...] = 1.0
    report = diagnose(zero, X, REAL, loss="l2")
    assert [layer.update_ratio for layer in report.layers] == [0.0, math.inf]
    assert verdicts(report, "update ratio") == ["bad"]


def test_a_gradient_that_vanishes_through_depth():
    made = net((5, 30, 30, 30, 3), "sigmoid", init=Normal(0.01))
    report = diagnose(made, X, LABELS)
    assert verdicts(report, "gradient norm")[-1] == "good"
    assert verdicts(report, "gradient norm")[0] == "bad"
    norms = [layer.gradient_norm for layer in report.layers]
    assert norms == sorted(norms)
    assert f"{norms[0] / norms[-1]:.1e} of the largest layer's" in report.layers[0].findings[2].words


def test_numbers_that_are_not_finite_are_bad_and_no_warning():
    made = net(activation="relu", init=Normal(1e200))
    report = diagnose(made, X, LABELS)
    assert not report.passed
    assert {"bad"} == {*verdicts(report, "loss"), *verdicts(report, "small batch"), *verdicts(report, "update ratio")}
    assert verdicts(report, "variance")[-1] == "bad"
    assert "not a finite number" in str(report)
    assert verdicts(report, "gradient norm") == ["bad"] * 3
    made = net()
    made.layers[-1].weight[...] *= 1e308  # only the scores overflow
    report = diagnose(made, X)
    assert (report.layers[-1].verdict, report.layers[-2].verdict) == ("bad", "good")
    missing = X.copy()
    missing[3, 2] = math.nan
    assert verdicts(diagnose(net(), missing, LABELS), "variance")[0] == "bad"
    assert verdicts(diagnose(net(), X * math.inf, LABELS), "variance")[0] == "bad"
    assert verdicts(diagnose(net(), X * 1e200, LABELS), "variance")[0] == "bad"


def test_the_worst_finding_counts():
    findings = [diagnostics.Finding("a", verdict, "") for verdict in ("good", "watch")]
    layer = diagnose(net(), X).layers[0]
    made = diagnostics.LayerReport("1", 1, 0.0, 1.0, layer.histogram, None, None, None, tuple(findings))
    assert made.verdict == "watch"
    report = diagnostics.Diagnosis(made, (), 1, None, None, (), ())
    assert (report.verdict, report.passed) == ("watch", True)
    worse = diagnostics.Diagnosis(made, (), 1, None, None, (), (diagnostics.Finding("b", "bad", ""),))
    assert (worse.verdict, worse.passed) == ("bad", False)


def test_the_digits_are_healthy_and_raw_pixels_are_not():
    x, y = load_digits()
    scaled = fastnn.Standardizer().fit(x).transform(x, "float32")
    report = diagnose(MLP((64, 64, 10)), scaled, y)
    assert report.passed
    assert not diagnose(MLP((64, 64, 10)), x, y).passed
    trained = MLP((64, 64, 10))
    trained.fit(scaled, y, epochs=5)
    assert "learnt already" in sentence(diagnose(trained, scaled, y), "loss")


def test_the_argument_of_the_notes():
    x = load_digits()[0]
    x = fastnn.Standardizer().fit(x).transform(x, "float32")
    nets = diagnostics.depth_nets(64)
    reports = {name: diagnose(made, x) for name, made in nets.items()}
    last = {name: report.layers[5] for name, report in reports.items()}
    for activation in ("tanh", "relu"):
        assert last[f"{activation}, Normal(std=0.01)"].variance < 1e-9
        assert not reports[f"{activation}, Normal(std=0.01)"].passed
    assert [layer.dead for layer in reports["tanh, Normal(std=1.0)"].layers[:-1]] == [1.0] * 6
    assert verdicts(reports["tanh, glorot_normal"], "variance") == ["good"] * 7
    # He et al. 2015: sqrt(2 / inputs) keeps the variance, sqrt(1 / inputs) halves it layer by layer.
    he, glorot = ([layer.variance for layer in reports[f"relu, {init}"].layers[:6]] for init in ("he_normal", "glorot_normal"))
    assert 0.7 < he[5] / he[0] < 1.4
    assert glorot[5] / glorot[0] == pytest.approx(0.5**5, rel=0.4)


# --- the report ----------------------------------------------------------------------------------------------------------------------


def test_it_prints_as_a_table_and_sentences():
    made = net((5, 30, 30, 30, 3), "sigmoid", init=Normal(0.01))
    report = diagnose(made, X, LABELS)
    head, table, network, troubles = str(report).split("\n\n")
    counts = [verdicts.count(name) for verdicts in [[f.verdict for _, f in report.all_findings]] for name in ("good", "watch", "bad")]
    assert head == f"diagnosis: bad ({counts[0]} good, {counts[1]} watch, {counts[2]} bad; 60 rows)"
    lines = table.splitlines()
    assert [line.split()[0] for line in lines] == ["layer", "inputs", "1", "2", "3", "4"]
    assert lines[1].split()[1:] == ["5", f"{X.mean():.3g}", f"{X.var():.3g}", "-", "-", "-", "good"]
    assert lines[-1].split()[-1] == report.layers[-1].verdict
    assert len({len(line) for line in lines[2:5]}) <= 3
    assert network.splitlines()[0].startswith("loss: good")
    assert network.splitlines()[1].startswith("small batch: ")
    assert "gradient norm: bad in 1 sigmoid" in troubles
    assert "variance: watch in 1 sigmoid, 2 sigmoid, 3 sigmoid (first: a deviation of" in troubles or "variance: bad in" in troubles
    assert ": good" not in troubles
    assert repr(report) == f"<Diagnosis: bad, 4 layers, {counts[2]} findings bad>"


def test_without_targets_there_are_no_gradients():
    report = diagnose(net(), X)
    assert (report.loss, report.expected_loss, report.overfit, report.findings) == (None, None, (), ())
    assert {(layer.gradient_norm, layer.update_ratio) for layer in report.layers} == {(None, None)}
    assert "nan" not in str(report)


def test_the_net_and_the_rows_are_not_changed():
    made = net(keep_prob=0.5)
    made.preprocessing = fastnn.Standardizer().fit(X)
    x, y = X.copy(), LABELS.copy()
    before = [array.tobytes() for array in made.parameters()], made.loss, made.preprocessing, made.keep_prob
    one, other = diagnose(made, x, y), diagnose(made, x, y)
    assert ([array.tobytes() for array in made.parameters()], made.loss, made.preprocessing, made.keep_prob) == before
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, LABELS)
    assert str(one) == str(other)


def test_progress_is_shown_on_request(capsys):
    diagnose(net(), X, LABELS, overfit_updates=3)
    assert capsys.readouterr().err == ""
    diagnose(net(), X, LABELS, overfit_updates=3, progress=True)
    assert "epoch 3/3" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "kind", "words"), [
    ({"net": 3}, TypeError, "'net' must be a network"),
    ({"x": X[:, :4]}, ValueError, "'x' must have shape"),
    ({"x": X[:0], "y": LABELS[:0]}, ValueError, "'x' must have at least one row"),
    ({"y": LABELS[:-1]}, ValueError, "'y' must have shape"),
    ({"y": LABELS + 1}, ValueError, "'y' must lie between 0 and 2"),
    ({"loss": "mse"}, ValueError, "'loss' must name a loss"),
    ({"optimizer": "newton"}, ValueError, "'optimizer' must"),
    ({"preprocessing": "standardizer"}, TypeError, "'preprocessing' must be a scaler"),
    ({"preprocessing": fastnn.Standardizer().fit(X[:, :4])}, ValueError, "'preprocessing' must fit the net's inputs"),
    ({"rows": 0}, ValueError, "'rows' must be in range"),
    ({"overfit_rows": 0}, ValueError, "'overfit_rows' must be in range"),
    ({"overfit_updates": 1.5}, TypeError, "'overfit_updates' must be an integer"),
    ({"seed": -1}, ValueError, "'seed' must be in range"),
])  # fmt: skip
def test_bad_arguments(change, kind, words):
    arguments = {"net": net(), "x": X, "y": LABELS, **change}
    with pytest.raises(kind, match=words) as caught:
        diagnose(arguments.pop("net"), arguments.pop("x"), **arguments)
    assert str(caught.value).startswith("fastnn.diagnose: argument")


def test_a_net_of_unknown_loss_is_asked_for_one():
    made = net()
    made.loss = None
    with pytest.raises(ValueError, match=r"fastnn\.diagnose: argument 'loss' must be given"):
        diagnose(made, X, LABELS)
    assert diagnose(made, X, LABELS, loss="hinge").loss is not None


# --- pictures ------------------------------------------------------------------------------------------------------------------------


def titles(figure):
    return [axes.get_title() for axes in figure.get_axes()]


def test_the_picture_of_a_report(tmp_path):
    report = diagnose(net(), X, LABELS)
    figure = report.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [title.split("\n")[0] for title in titles(figure)] == ["inputs", "1 tanh", "2 tanh", "3 scores", "gradient norm", "update ratio",
                                                                  "small batch"]
    norms, ratios, batch = figure.get_axes()[4:]
    np.testing.assert_allclose(norms.lines[0].get_ydata(), [layer.gradient_norm for layer in report.layers])
    np.testing.assert_allclose(ratios.lines[0].get_ydata(), [layer.update_ratio for layer in report.layers])
    assert list(ratios.lines[1].get_ydata()) == [1e-3, 1e-3]
    np.testing.assert_allclose(batch.lines[0].get_ydata(), report.overfit)
    assert len(titles(diagnose(net(), X).plot())) == 4


@pytest.mark.parametrize("init", [Normal(0.0), Normal(1e200)])
def test_a_picture_of_the_worst_nets(init, tmp_path):
    made = net(init=init, activation="relu")
    diagnose(made, X, LABELS).plot(tmp_path / "a.svg")
    diagnostics.depth_picture(X, {"worst": made}, tmp_path / "b.svg")
    assert (tmp_path / "b.svg").exists()


def test_the_picture_through_depth(tmp_path):
    x = RNG.normal(size=(50, 20))
    figure = diagnostics.depth_picture(x, path=tmp_path / "depth.png")
    assert (tmp_path / "depth.png").stat().st_size > 1000
    shown = figure.get_axes()
    assert len(shown) == 36
    assert [axes.get_ylabel() for axes in shown[::6]] == list(diagnostics.depth_nets(20))
    made = {"short": net((5, 40, 3)), "long": net((5, 40, 30, 20, 3), "relu")}
    figure = diagnostics.depth_picture(X, made)
    assert [axes.axison for axes in figure.get_axes()] == [True, False, False, True, True, True]
    deviations = [by_hand(made["long"], X, LABELS)[0][k].std() for k in (1, 2, 3)]
    assert titles(figure)[3:] == [f"layer {k + 1}, deviation {value:.2g}" for k, value in enumerate(deviations)]
    limits = {tuple(axes.patches[0].get_data().edges[[0, -1]]) for axes in figure.get_axes()[3:]}
    assert len(limits) == 1


def test_a_picture_needs_networks_and_the_extra(monkeypatch):
    with pytest.raises(ValueError, match=r"^fastnn.diagnostics.depth_picture: argument 'x' must have at least one row"):
        diagnostics.depth_picture(X[:0])
    for nets in ({}, {"flat": net((5, 3))}, {"none": None}, [net()]):
        with pytest.raises(ValueError, match="'nets' must hold networks with hidden layers"):
            diagnostics.depth_picture(X, nets)
    report = diagnose(net(), X)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"Diagnosis\.plot: a picture needs the extra"):
        report.plot()
    with pytest.raises(ImportError, match=r"fastnn\[plot\]"):
        diagnostics.depth_picture(X)
