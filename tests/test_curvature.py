"""Hessians and products with them: against closed forms, against differences of the gradient, and in blocks of rows."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import fastnn
from fastnn import MLP, curvature, hessian, hessian_check, hessian_vector_product, losses, newton
from fastnn.gradcheck import Row
from fastnn.hessiancheck import HessianReport

RNG = np.random.default_rng(71)
X = RNG.normal(size=(30, 4))
LABELS = RNG.integers(0, 3, 30)
REAL = RNG.normal(size=(30, 3))
SHARES = RNG.dirichlet(np.ones(3), 30) * 1.3
WEIGHTS = RNG.uniform(0.1, 2.0, 30)
TARGETS = [("softmax_cross_entropy", LABELS), ("softmax_cross_entropy", SHARES), ("l2", REAL), ("hinge", LABELS)]


def net(sizes=(4, 6, 5, 3), activation="tanh", dtype="float64", seed=3):
    made = MLP(sizes, activation=activation, dtype=dtype, seed=seed)
    for layer in made.layers:
        layer.bias[...] = np.random.default_rng(seed).normal(size=layer.bias.shape)
    return made


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64)


def by_differences(made, y, v, h=1e-5, **settings):
    """Product by centered differences of `MLP.loss_and_gradients`, which shares no code with the products."""
    gradients = []
    for side in (h, -h):
        moved, start = made.astype("float64"), 0
        for array in moved.parameters():
            array += side * v[start:start + array.size].reshape(array.shape)
            start += array.size
        gradients.append(flat(moved.loss_and_gradients(X, y, **settings)[1]))
    return (gradients[0] - gradients[1]) / (2 * h)


# --- products ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "linear"])
@pytest.mark.parametrize(("loss", "y"), TARGETS, ids=["labels", "probabilities", "l2", "hinge"])
@pytest.mark.parametrize("weight", [None, WEIGHTS])
def test_products_are_the_derivative_of_the_gradient(activation, loss, y, weight):
    made = net(activation=activation)
    settings = {"loss": loss, "weight_decay": 0.1, "sample_weight": weight}
    v = RNG.normal(size=sum(array.size for array in made.parameters()))
    h = 1e-7 if activation.endswith("relu") or loss == "hinge" else 1e-5  # short enough to stay on one side of every kink
    expected = by_differences(made, y, v, h, **settings)
    np.testing.assert_allclose(hessian_vector_product(made, X, y, v, **settings), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_products_of_float32_nets_are_those_of_float64_within_rounding():
    made = net(activation="sigmoid", dtype="float32")
    v = RNG.normal(size=sum(array.size for array in made.parameters())) * 1e-30  # its square is not a float32
    exact = hessian_vector_product(made.astype("float64"), X.astype(np.float32), LABELS, v, weight_decay=0.1)
    found = hessian_vector_product(made, X, LABELS, v, weight_decay=0.1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


def test_a_direction_may_be_a_list_of_arrays():
    made = net()
    arrays = [RNG.normal(size=array.shape) for array in made.parameters()]
    parts = hessian_vector_product(made, X, LABELS, arrays)
    assert [part.shape for part in parts] == [array.shape for array in made.parameters()]
    np.testing.assert_array_equal(flat(parts), hessian_vector_product(made, X, LABELS, flat(arrays)))
    np.testing.assert_array_equal(hessian_vector_product(made, X, LABELS, np.zeros(len(flat(arrays)))), 0)


def test_preprocessing_is_applied():
    made = net()
    made.preprocessing = fastnn.Standardizer().fit(X * 3 + 1)
    v = RNG.normal(size=len(flat(made.parameters())))
    plain = net()
    z = made.preprocessing.transform(X * 3 + 1)
    np.testing.assert_allclose(hessian_vector_product(made, X * 3 + 1, LABELS, v), hessian_vector_product(plain, z, LABELS, v), rtol=1e-10)


def test_blocks_of_rows_add_up(monkeypatch):
    x, y, weight = RNG.normal(size=(333, 4)), RNG.integers(0, 3, 333), RNG.uniform(0, 2, 333)
    weight[64:128] = 0.0  # a block without weight
    x[100] = np.inf  # which nothing looks at
    settings = {"sample_weight": weight, "weight_decay": 0.1}
    directions = RNG.normal(size=(3, 83))

    def work():
        objective = curvature.Objective("test", net(), x, y, "softmax_cross_entropy", settings["weight_decay"], weight)
        return objective.value_and_gradient(), objective.products(directions), len(objective._blocks(1))

    rest = np.flatnonzero(weight)
    value, gradients = net().loss_and_gradients(x[rest], y[rest], weight_decay=0.1, sample_weight=weight[rest])
    monkeypatch.setattr(curvature, "_BLOCK_ELEMENTS", 1)
    (loss, gradient), products, blocks = work()
    assert blocks == 5  # of 64 rows, and one without weight
    assert loss == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(gradient, flat(gradients), atol=1e-14)
    kept = hessian_vector_product(net(), x[rest], y[rest], directions[1], weight_decay=0.1, sample_weight=weight[rest])
    np.testing.assert_allclose(products[1], kept, atol=1e-13)


def test_memory_does_not_grow_with_the_rows():
    made, peaks = MLP((20, 30, 4)), []
    for rows in (40_000, 160_000):
        x, y = np.ones((rows, 20), np.uint8), np.zeros(rows, np.int64)
        objective = curvature.Objective("test", made, x, y, "softmax_cross_entropy", 0.0, None)
        tracemalloc.start()
        objective.value_and_gradient()
        objective.products(np.ones((1, objective.parameters)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_passes_are_not_kept_when_the_weights_move():
    made = net()
    objective = curvature.Objective("test", made.astype("float64"), X, LABELS, "softmax_cross_entropy", 0.0, None)
    v = RNG.normal(size=objective.parameters)
    objective.products(v[None])
    weights = objective.weights() + 0.5
    objective.move(weights)
    for array in made.parameters():
        array += 0.5
    np.testing.assert_allclose(objective.products(v[None])[0], hessian_vector_product(made, X, LABELS, v), rtol=1e-9, atol=1e-12)


def test_passes_of_a_single_block_are_not_taken_for_those_of_several(monkeypatch):
    x, y = RNG.normal(size=(200, 4)), RNG.integers(0, 3, 200)
    directions = RNG.normal(size=(5, 83))
    monkeypatch.setattr(curvature, "_BLOCK_ELEMENTS", 200 * 18)
    objective = curvature.Objective("test", net(), x, y, "softmax_cross_entropy", 0.0, None)
    assert (len(objective._blocks(1)), len(objective._blocks(5))) == (1, 4)
    one_by_one = [objective.products(v[None])[0] for v in directions]
    np.testing.assert_allclose(objective.products(directions), one_by_one, atol=1e-13)


# --- the whole Hessian ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hessian_of_linear_softmax_in_closed_form(dtype):
    """With `a = (x, 1)`: the block of classes c and d is `mean of a a' (p_c [c == d] - p_c p_d)`."""
    made = net((4, 3), dtype=dtype)
    scores = X @ made.layers[0].weight + made.layers[0].bias
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    share = WEIGHTS / WEIGHTS.sum()
    a = np.hstack([X, np.ones((30, 1))])
    curve = np.einsum("nc,cd->ncd", p, np.eye(3)) - np.einsum("nc,nd->ncd", p, p)
    expected = np.einsum("n,ni,nj,ncd->icjd", share, a, a, curve).reshape(15, 15)
    expected[np.arange(12), np.arange(12)] += 0.3
    found = hessian(made, X, LABELS, weight_decay=0.3, sample_weight=WEIGHTS)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(found, expected, atol=1e-6 if dtype == "float32" else 1e-14)


def test_hessian_has_the_products_for_columns():
    made = net(activation="relu")
    found = hessian(made, X, REAL, loss="l2")
    assert len(found) > 3 * curvature._TOGETHER
    v = RNG.normal(size=len(found))
    np.testing.assert_allclose(found @ v, hessian_vector_product(made, X, REAL, v, loss="l2"), atol=1e-10)


def test_a_hessian_too_large_is_refused_with_its_size_before_it_is_made():
    """A million parameters: 3,725 GiB in float32, the figure of the notes."""
    made = MLP((999, 999, 1), dtype="float32")  # 999 * 1000 + 1000 parameters
    with pytest.raises(MemoryError, match=r"fastnn.hessian: argument 'memory_limit' must hold the Hessian, 4 \* P\*\*2 bytes in float32 "
                                          r"\(expected at least 3,725 GiB for 1,000,000 parameters, got 1 GiB\)"):
        hessian(made, np.ones((2, 999), np.float32), np.zeros(2), loss="l2")
    assert newton.check_memory("f", 1_000_000, np.dtype("float64"), 10**13) == 8 * 10**12
    assert len(hessian(net((4, 3)), X, LABELS, memory_limit=15 * 15 * 8)) == 15
    with pytest.raises(MemoryError, match=r"1.76 KiB for 15 parameters, got 1.76 KiB"):
        hessian(net((4, 3)), X, LABELS, memory_limit=15 * 15 * 8 - 1)
    assert [newton.size_text(size) for size in (8, 5.5 * 2**20, 1.5 * 2**30)] == ["8 B", "5.5 MiB", "1.5 GiB"]


# --- losses of one's own -------------------------------------------------------------------------------------------------------------


class Cubic:
    """`sum over outputs of score**4 / 12`, whose second derivative is `score**2`."""

    def value_and_gradient(self, scores, y, sample_weight=None):
        return float((scores**4).sum() / 12 / len(scores)), scores**3 / 3 / len(scores)

    def predict(self, scores):
        return scores


class CubicWithCurvature(Cubic):
    def hessian_product(self, scores, y, directions, sample_weight=None):
        return (scores**2)[:, None, :] * directions / len(scores)


class Changed(losses.L2):
    def value_and_gradient(self, scores, y, sample_weight=None):
        value, gradient = super().value_and_gradient(scores, y, sample_weight)
        return 2 * value, 2 * gradient


class Inherited(losses.L2):
    pass


def test_a_loss_of_ones_own_needs_a_hessian_product():
    made = net()
    v = RNG.normal(size=len(flat(made.parameters())))
    found = hessian_vector_product(made, X, LABELS, v, loss=CubicWithCurvature())
    np.testing.assert_allclose(found, by_differences(made, LABELS, v, loss=Cubic()), atol=1e-6 * np.abs(found).max())
    assert hessian_vector_product(made, X, REAL, v, loss=Inherited()).shape == v.shape
    for loss in (Cubic(), Changed()):
        with pytest.raises(TypeError, match=r"argument 'loss' must know its second derivative .*hessian_product"):
            hessian_vector_product(made, X, REAL, v, loss=loss)


# --- the check -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "y"), TARGETS, ids=["labels", "probabilities", "l2", "hinge"])
def test_smooth_nets_are_happy(loss, y):
    made = net(activation="sigmoid", dtype="float32")
    before = flat(made.parameters())
    report = hessian_check(made, X[:3], y[:3], loss=loss, weight_decay=0.1, sample_weight=WEIGHTS[:3])
    assert report.verdict == "happy", str(report)
    assert report.passed
    assert report.asymmetry < 1e-12
    assert [row.name for row in report.rows] == [*(f"layers[{k}].{part}" for k in range(3) for part in ("weight", "bias")), "random in all"]
    assert [len(row.errors) + row.kinks + row.below_noise for row in report.rows] == [10, 6, 10, 5, 10, 3, 10]
    assert "Hessian check: happy" in str(report)
    assert "happy" in repr(report)
    np.testing.assert_array_equal(flat(made.parameters()), before)


def test_a_wrong_product_is_found(monkeypatch):
    right = losses.SoftmaxCrossEntropy.hessian_product
    monkeypatch.setattr(losses.SoftmaxCrossEntropy, "hessian_product", lambda *args, **kwargs: 1.1 * right(*args, **kwargs))
    assert hessian_check(net(), X, LABELS).verdict == "wrong"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_product_that_is_not_finite_is_wrong(monkeypatch, value):
    monkeypatch.setattr(losses.SoftmaxCrossEntropy, "hessian_product", lambda *args, **kwargs: np.full_like(args[3], value))
    report = hessian_check(net(), X, LABELS)
    assert (report.verdict, report.asymmetry) == ("wrong", np.inf)
    assert report.rows[0].errors == (np.inf,) * 10


def test_a_product_that_is_not_symmetric_is_found():
    happy = Row("weights", (1e-9,), 0, 0)
    assert HessianReport((happy,), 1e-9, 1e-5).verdict == "happy"
    assert HessianReport((happy,), 0.5, 1e-5).verdict == "wrong"
    assert HessianReport((Row("weights", (), 3, 0),), 0.0, 1e-5).verdict == "unjudged"


def test_asymmetry_is_measured(monkeypatch):
    right = curvature.Objective.products

    def tilted(self, directions):
        return right(self, directions) + 0.1 * np.roll(directions, 1, axis=1)

    monkeypatch.setattr(curvature.Objective, "products", tilted)
    assert hessian_check(net(), X, LABELS).asymmetry > 1e-3


def test_kinks_are_counted_apart():
    made = net((1, 1, 2), activation="relu")
    made.layers[0].weight[...] = 1e-7
    made.layers[0].bias[...] = 0.0
    report = hessian_check(made, np.array([[1.0]]), np.array([1]))
    assert report.rows[0].kinks == report.rows[1].kinks == 1
    assert report.rows[2].kinks == 0


# --- bad input -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "kind", "sentence"), [
    ({"v": np.ones(3)}, ValueError, r"argument 'v' must be like the weights \(expected shape \(15,\), or .*got \(3,\)\)"),
    ({"v": [np.ones((4, 3)), np.ones(4)]}, ValueError, "argument 'v' must be like the weights"),
    ({"v": np.full(15, np.nan)}, ValueError, "argument 'v' must be finite"),
    ({"x": X[:0], "y": LABELS[:0]}, ValueError, r"argument 'x' must have at least one row \(expected shape \(n, 4\), got \(0, 4\)\)"),
    ({"x": X[:, :2]}, ValueError, "argument 'x' must have shape"),
    ({"y": LABELS + 1}, ValueError, "argument 'y' must lie between 0 and 2"),
    ({"sample_weight": np.zeros(30)}, ValueError, "argument 'sample_weight' must weigh something"),
    ({"weight_decay": -1}, ValueError, "argument 'weight_decay'"),
])  # fmt: skip
def test_bad_input_is_answered_with_a_sentence(change, kind, sentence):
    arguments = {"x": X, "y": LABELS, "v": np.ones(15), **change}
    with pytest.raises(kind, match=f"fastnn.hessian_vector_product: {sentence}"):
        hessian_vector_product(net((4, 3)), **arguments)


@pytest.mark.parametrize("function", [hessian_check, hessian, fastnn.minimize])
def test_what_is_no_network_is_answered_with_a_sentence(function):
    with pytest.raises(TypeError, match=rf"^fastnn\.{function.__name__}: argument 'net' must be a network"):
        function("net", X, LABELS)
    with pytest.raises(TypeError, match=r"^fastnn\.hessian_vector_product: argument 'net' must be a network"):
        hessian_vector_product(None, X, LABELS, np.ones(15))


def test_it_runs_on_the_numpy_backend():
    code = """
import numpy as np, fastnn
x, y = np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 3
for activation in ("relu", "leaky_relu", "tanh", "sigmoid"):
    report = fastnn.hessian_check(fastnn.MLP((4, 5, 3), activation=activation, seed=2), x, y, weight_decay=0.1)
    assert report.passed, str(report)
for method in ("l-bfgs", "newton-cg", "newton"):
    result = fastnn.minimize(fastnn.MLP((4, 5, 3), activation="tanh"), x, y, method=method, weight_decay=0.1)
    assert result.converged, str(result)
    print(fastnn.show_config()["backend"])
"""
    environment = {**os.environ, "FASTNN_BACKEND": "numpy"}
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("numpy\n") >= 3
