from __future__ import annotations

import math

import numpy as np
import pytest
from numeric import gradient, relative_error

from fastnn import losses
from fastnn.losses import L2, Hinge, SoftmaxCrossEntropy

RNG = np.random.default_rng(3)
SCORES = RNG.normal(size=(7, 4)) * 2
LABELS = RNG.integers(0, 4, 7)
SOFT = RNG.dirichlet(np.ones(4), 7)
REAL = RNG.normal(size=(7, 4))
WEIGHT = np.array([1.0, 0.0, 2.0, 0.5, 3.0, 0.25, 1.5])

CASES = [(SoftmaxCrossEntropy(), LABELS), (SoftmaxCrossEntropy(), SOFT), (L2(), REAL), (Hinge(), LABELS), (Hinge(margin=0.3), LABELS)]


def per_sample(loss, scores, y):
    """The equations of the docstrings, one sample at a time."""
    if isinstance(loss, L2):
        return [0.5 * sum((s - t) ** 2) for s, t in zip(scores, y)]
    if isinstance(loss, Hinge):
        return [sum(max(0.0, s[j] - s[label] + loss.margin) for j in range(4) if j != label) for s, label in zip(scores, y)]
    targets = y if y.ndim == 2 else np.eye(4)[y]
    return [-sum(t * math.log(math.exp(v) / sum(map(math.exp, s))) for v, t in zip(s, ts)) for s, ts in zip(scores, targets)]


@pytest.mark.parametrize(("loss", "y"), CASES)
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_value_is_the_weighted_mean_of_the_equation(loss, y, weight):
    value, _ = loss.value_and_gradient(SCORES, y, weight)
    assert value == pytest.approx(np.average(per_sample(loss, SCORES, y), weights=weight), rel=1e-12)


@pytest.mark.parametrize(("loss", "y"), CASES)
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_gradient_by_centered_differences(loss, y, weight):
    scores = SCORES.copy()
    if isinstance(loss, Hinge):
        margins = scores - scores[np.arange(7), y][:, None] + loss.margin
        margins[np.arange(7), y] = 1
        assert np.abs(margins).min() > 1e-3, "a margin sits on its kink"
    numeric = gradient(lambda: loss.value_and_gradient(scores, y, weight)[0], scores)
    assert relative_error(loss.value_and_gradient(scores, y, weight)[1], numeric) <= 1e-7


def test_hinge_active_is_where_the_margin_is_violated():
    scores = np.array([[1.0, 1.5, -3.0], [0.0, 4.0, 3.0]])
    assert Hinge(1.0).active(scores, np.array([0, 1])).tolist() == [[True, True, False], [False, True, False]]
    assert Hinge(1.5).active(scores, np.array([0, 1])).tolist() == [[True, True, False], [False, True, True]]


def test_predictions():
    scores = np.array([[0.0, 2.0, 2.0], [5.0, 1.0, 0.0]], np.float32)
    for loss in (SoftmaxCrossEntropy(), Hinge()):
        assert loss.predict(scores).tolist() == [1, 0]
        assert loss.predict(scores).dtype == np.int64
    assert L2().predict(scores) is scores


def test_probabilities():
    p = SoftmaxCrossEntropy().probabilities(np.array([[0.0, math.log(3.0)], [1000.0, 1000.0], [-1000.0, 1000.0]]))
    assert np.allclose(p, [[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]], rtol=1e-15)


def test_metrics():
    scores = np.array([[0.0, 2.0], [5.0, 1.0], [1.0, 3.0]])
    assert SoftmaxCrossEntropy().metric(scores, np.array([1, 1, 1])) == pytest.approx(2 / 3)
    assert SoftmaxCrossEntropy().metric(scores, np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])) == pytest.approx(2 / 3)
    assert L2().metric(np.array([[3.0], [0.0]]), np.array([[0.0], [4.0]])) == pytest.approx(math.sqrt(12.5))
    assert (L2.metric_name, Hinge.metric_name) == ("rmse", "accuracy")


def prepare(loss, y, samples=3, outputs=2, dtype="float32"):
    return losses.prepare_targets(loss, y, samples, outputs, dtype, "fit")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", ">i4"])
def test_labels_become_int64(dtype):
    y = prepare(Hinge(), np.array([0, 1, 1], dtype))
    assert y.dtype == np.int64
    assert y.tolist() == [0, 1, 1]
    assert prepare(Hinge(), [0, 1, 1]).tolist() == [0, 1, 1]


def test_real_targets_take_the_dtype_and_a_column():
    y = prepare(L2(), [1, 2, 3], outputs=1)
    assert y.shape == (3, 1)
    assert y.dtype == np.float32
    assert prepare(L2(), np.ones((3, 2), np.float64), dtype="float64").dtype == np.float64
    assert prepare(SoftmaxCrossEntropy(), np.full((3, 2), 0.5)).dtype == np.float32


@pytest.mark.parametrize(("loss", "y", "kind", "sentence"), [
    (SoftmaxCrossEntropy(), np.array([0, 1, 2]), ValueError, "must lie between 0 and 1 .*got label 2"),
    (Hinge(), np.array([0, -1, 1]), ValueError, "must lie between 0 and 1 .*got label -1"),
    (SoftmaxCrossEntropy(), np.array([0.0, 1.0, 1.0]), TypeError, "must be integer class labels .*float64"),
    (Hinge(), np.full((3, 2), 0.5), TypeError, "must be integer class labels"),
    (SoftmaxCrossEntropy(), np.array([0, 1]), ValueError, r"must have shape \(3,\)"),
    (SoftmaxCrossEntropy(), np.full((3, 4), 0.25), ValueError, r"must have shape \(3, 2\)"),
    (SoftmaxCrossEntropy(), np.full((3, 2), np.nan), ValueError, "must be finite"),
    (SoftmaxCrossEntropy(), np.array(["a", "b", "c"]), TypeError, "must be an array of numbers"),
    (SoftmaxCrossEntropy(), np.ma.array([0, 1, 1]), TypeError, "must not be a masked array"),
    (L2(), np.array([1.0, 2.0, 3.0]), ValueError, r"must have shape \(3, 2\)"),
    (L2(), np.array([[1.0, 2.0], [np.nan, 1.0], [1.0, 1.0]]), ValueError, "must be finite"),
    (L2(), np.full((3, 2), 1e300), ValueError, "must be finite .*float32"),
    (L2(), [[1.0], [1.0, 2.0], [1.0]], TypeError, "must be an array of numbers"),
])
def test_bad_targets_are_answered(loss, y, kind, sentence):
    with pytest.raises(kind, match=rf"^fastnn\.fit: argument 'y' {sentence}"):
        prepare(loss, y)


class Absolute:
    """A user's loss with nothing but the two documented methods."""

    def value_and_gradient(self, scores, y, sample_weight=None):
        return np.abs(scores - y).sum(axis=1).mean(), np.sign(scores - y) / len(scores)

    def predict(self, scores):
        return scores.round()


def test_a_users_loss_needs_two_methods():
    loss = Absolute()
    assert losses.get(loss) is loss
    assert prepare(loss, [[1], [2], [3]]).tolist() == [[1], [2], [3]]
    with pytest.raises(ValueError, match="argument 'y' must have a row for every sample"):
        prepare(loss, [[1], [2]])


class Wrong(Absolute):
    def value_and_gradient(self, scores, y, sample_weight=None):
        return 1.0, np.zeros((2, 2))


def test_a_users_gradient_is_held_to_the_shape_of_the_scores():
    with pytest.raises(ValueError, match=r"'loss' must return a gradient like the scores .*\(7, 4\).*got \(2, 2\)"):
        losses.value_and_gradient(Wrong(), SCORES, REAL, None, "fit")
    assert losses.value_and_gradient(Absolute(), SCORES.astype(np.float32), REAL, None, "fit")[1].dtype == np.float32


def test_get():
    assert losses.get("hinge") == Hinge(margin=1.0)
    assert losses.get("l2") == L2()
    assert losses.get("softmax_cross_entropy") == SoftmaxCrossEntropy()
    with pytest.raises(ValueError, match=r"must name a loss .*softmax_cross_entropy, l2, hinge.*got 'mse'"):
        losses.get("mse")
    with pytest.raises(TypeError, match=r"must be a loss .*got the class Hinge"):
        losses.get(Hinge)
    with pytest.raises(TypeError, match="must be a loss"):
        losses.get(object())


def test_settings():
    assert repr(Hinge(margin=2)) == "Hinge(margin=2.0)"
    with pytest.raises(ValueError, match="Hinge: argument 'margin' must be finite and in range"):
        Hinge(margin=-1)
    for loss in (Hinge(0.3), L2(), SoftmaxCrossEntropy()):
        assert losses.from_config(losses.to_config(loss)) == loss
    assert losses.to_config(Absolute()) is None
    assert losses.from_config(None) is None
