"""Second-order minimisation: known minimisers, never a higher loss, and what ends a run."""

from __future__ import annotations

import builtins
import math
import signal
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

import fastnn
from fastnn import MLP, SoftmaxCrossEntropy, curvature, minimize, newton, second_order
from fastnn.datasets import load_digits

RNG = np.random.default_rng(72)
X = RNG.normal(size=(40, 4))
REAL = X @ RNG.normal(size=(4, 2)) + 0.3 * RNG.normal(size=(40, 2)) + 1.0
LABELS = (X @ RNG.normal(size=(4, 3)) + RNG.normal(size=(40, 3))).argmax(axis=1)
WEIGHTS = RNG.uniform(0.1, 2.0, 40)
METHODS = ["l-bfgs", "newton-cg", "newton"]
TIGHT = {"l-bfgs": 1e-7, "newton-cg": 1e-7, "newton": 1e-10}  # SciPy's end where losses, or curvatures, are equal within rounding


def objective(made, x, y, **settings):
    return made.astype("float64").loss_and_gradients(x, y, **settings)[0]


def ridge(decay, share):
    """Weights and bias of least squares with a penalty on the weights only, by the normal equations."""
    a = np.hstack([X, np.ones((40, 1))])
    penalty = decay * np.diag([1.0, 1, 1, 1, 0])
    solution = np.linalg.solve(a.T @ (share[:, None] * a) + penalty, a.T @ (share[:, None] * REAL))
    return solution[:4], solution[4]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("decay", "weight"), [(0.0, None), (0.5, None), (0.5, WEIGHTS)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_linear_net_ends_in_the_least_squares_solution(method, decay, weight, dtype):
    made = MLP((4, 2), dtype=dtype, seed=1)
    result = minimize(made, X, REAL, method=method, loss="l2", weight_decay=decay, sample_weight=weight,
                      tolerance=None if dtype == "float32" else TIGHT[method])
    assert result.converged, str(result)
    w, b = ridge(decay, np.full(40, 1 / 40) if weight is None else weight / weight.sum())
    close = 1e-3 if dtype == "float32" else 100 * TIGHT[method]
    np.testing.assert_allclose(made.layers[0].weight, w, atol=close)
    np.testing.assert_allclose(made.layers[0].bias, b, atol=close)
    assert isinstance(made.loss, fastnn.L2)
    settings = {"loss": "l2", "weight_decay": decay, "sample_weight": weight}
    assert result.loss == pytest.approx(objective(made, X, REAL, **settings), rel=1e-6)
    assert result.loss_before == pytest.approx(objective(MLP((4, 2), dtype=dtype, seed=1), X, REAL, **settings), rel=1e-6)


def test_newton_solves_a_quadratic_in_a_step_or_two():
    result = minimize(MLP((4, 2), dtype="float64"), X, REAL, method="newton", loss="l2", tolerance=1e-10)
    assert result.converged
    assert result.iterations <= 2
    assert result.hessian_bytes == 10 * 10 * 8
    assert result.products == 10 * result.iterations


@pytest.mark.parametrize("method", METHODS)
def test_softmax_regression_ends_where_the_gradient_is_zero(method):
    found = []
    for seed in (0, 1):
        made = MLP((4, 3), dtype="float64", seed=seed)
        result = minimize(made, X, LABELS, method=method, weight_decay=0.01, tolerance=TIGHT[method])
        assert result.converged
        gradients = made.loss_and_gradients(X, LABELS, weight_decay=0.01)[1]
        assert result.gradient_norm == pytest.approx(math.sqrt(sum(float((g**2).sum()) for g in gradients)), abs=1e-12)
        found.append(made.layers[0].weight.copy())
    np.testing.assert_allclose(*found, atol=1e-4)  # the problem is convex


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hidden_layers_are_trained(method, activation, dtype):
    made = MLP((4, 6, 3), activation=activation, dtype=dtype, keep_prob=0.5, seed=2)
    result = minimize(made, X, LABELS, method=method, weight_decay=1e-3, max_iterations=60)
    assert result.loss < 0.6 * result.loss_before
    assert result.loss == pytest.approx(objective(made, X, LABELS, weight_decay=1e-3), rel=1e-5)
    assert activation == "relu" or result.gradient_norm < 0.1  # a ReLU net may end on a kink
    losses = result.history["loss"]
    assert losses[0] == result.loss_before
    assert losses[-1] == result.loss
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(losses))
    assert result.history["iteration"] == list(range(result.iterations + 1))
    assert result.iterations < result.history["evaluations"][-1] <= result.evaluations


def test_newton_passes_a_saddle():
    """All weights 0 is a stationary point of a tanh net with an indefinite Hessian; beside it Cholesky fails until it is damped."""
    made = MLP((4, 3, 2), activation="tanh", dtype="float64", init=lambda rng, shape: 1e-3 * rng.normal(size=shape))
    before = np.linalg.eigvalsh(fastnn.hessian(made, X, REAL, loss="l2"))
    assert before[0] < -1e-3
    result = minimize(made, X, REAL, method="newton", loss="l2", weight_decay=1e-3, tolerance=1e-8)
    assert result.converged, str(result)
    after = np.linalg.eigvalsh(fastnn.hessian(made, X, REAL, loss="l2", weight_decay=1e-3))
    assert after[0] > -1e-8


def test_hinge_and_losses_of_ones_own_have_l_bfgs():
    class Own:
        def value_and_gradient(self, scores, y, sample_weight=None):
            return SoftmaxCrossEntropy().value_and_gradient(scores, y, sample_weight)

        def predict(self, scores):
            return scores.argmax(axis=1)

    made = MLP((4, 3), dtype="float64")
    result = minimize(made, X, LABELS, loss=Own(), weight_decay=0.01)
    assert result.converged
    twin = MLP((4, 3), dtype="float64")
    minimize(twin, X, LABELS, weight_decay=0.01)
    np.testing.assert_array_equal(made.layers[0].weight, twin.layers[0].weight)
    for method in ("newton-cg", "newton"):
        with pytest.raises(TypeError, match="argument 'loss' must know its second derivative"):
            minimize(made, X, LABELS, loss=Own(), method=method)
        with pytest.raises(ValueError, match=r"argument 'method' must suit the loss .*'l-bfgs' for hinge"):
            minimize(made, X, LABELS, loss="hinge", method=method)
    result = minimize(made, X, LABELS, loss="hinge", weight_decay=0.1, max_iterations=50)
    assert result.loss < 0.9 * result.loss_before


# --- what ends a run -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_limit_of_iterations_is_said(method):
    made = MLP((4, 6, 3), activation="tanh", seed=2)
    result = minimize(made, X, LABELS, method=method, max_iterations=3)
    assert not result.converged
    assert result.iterations == 3
    assert "max_iterations=3 came first; the gradient norm is above the tolerance of 0.0001" in result.message
    assert "\nnot converged: max_iterations=3" in str(result)
    assert f"{method}: loss {result.loss_before:.6g} -> {result.loss:.6g}" in str(result)
    assert "not converged" in repr(result)


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_are_a_minimum_already_are_left(method):
    made = MLP((4, 3), dtype="float64")
    minimize(made, X, LABELS, method="newton", weight_decay=0.1, tolerance=1e-9)
    before = [array.copy() for array in made.parameters()]
    result = minimize(made, X, LABELS, method=method, weight_decay=0.1, tolerance=1e-8)
    assert (result.iterations, result.evaluations, result.converged) == (0, 1, True)
    assert "converged: the gradient norm is within the tolerance of 1e-08" in str(result)
    for array, kept in zip(made.parameters(), before):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tolerance_out_of_reach_ends_without_it_and_never_higher(method, dtype):
    made = MLP((4, 3), dtype=dtype)
    result = minimize(made, X, LABELS, method=method, weight_decay=0.01, tolerance=0.0)
    assert not result.converged
    assert result.loss < result.loss_before
    assert result.gradient_norm < (1e-4 if dtype == "float32" else 1e-7)
    assert dtype in result.message
    again = minimize(made, X, LABELS, method=method, weight_decay=0.01, tolerance=0.0)
    assert again.loss <= again.loss_before


class Pressed(SoftmaxCrossEntropy):
    """Presses Ctrl-C, or breaks, in its evaluation number `count`."""

    def __init__(self, count, error=None):
        object.__setattr__(self, "calls", [count, error])

    def value_and_gradient(self, scores, y, sample_weight=None):
        self.calls[0] -= 1
        if self.calls[0] == 0:
            if self.calls[1] is not None:
                raise self.calls[1]
            signal.raise_signal(signal.SIGINT)
        return super().value_and_gradient(scores, y, sample_weight)

    def hessian_product(self, scores, y, directions, sample_weight=None):
        return super().hessian_product(scores, y, directions, sample_weight)


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_keeps_the_best_weights_so_far(method):
    made = MLP((4, 3), dtype="float64")
    start = objective(made, X, LABELS)
    with pytest.raises(KeyboardInterrupt):
        minimize(made, X, LABELS, method=method, loss=Pressed(9), tolerance=0.0)
    stopped = objective(made, X, LABELS)
    assert stopped < start
    assert isinstance(made.loss, Pressed)
    made = MLP((4, 3), dtype="float64")
    with pytest.raises(KeyboardInterrupt):
        minimize(made, X, LABELS, method=method, loss=Pressed(1))
    assert objective(made, X, LABELS) == start


@pytest.mark.parametrize("method", METHODS)
def test_an_exception_changes_nothing(method):
    made = MLP((4, 3), dtype="float64")
    before = [array.tobytes() for array in made.parameters()]
    loss = made.loss
    with pytest.raises(ZeroDivisionError):
        minimize(made, X, LABELS, method=method, loss=Pressed(9, ZeroDivisionError()), tolerance=0.0)
    assert [array.tobytes() for array in made.parameters()] == before
    assert made.loss is loss


class Cliff(SoftmaxCrossEntropy):
    """inf wherever the scores differ from those of the first call by more than a little."""

    def __init__(self):
        object.__setattr__(self, "first", [])

    def value_and_gradient(self, scores, y, sample_weight=None):
        value, gradient = super().value_and_gradient(scores, y, sample_weight)
        self.first.append(scores) if not self.first else None
        return (math.inf if np.abs(scores - self.first[0]).max() > 1e-6 else value), gradient

    def hessian_product(self, scores, y, directions, sample_weight=None):
        return super().hessian_product(scores, y, directions, sample_weight)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_becomes_infinite_ends_with_the_best_weights(method):
    made = MLP((4, 3), dtype="float64")
    start = objective(made, X, LABELS)
    result = minimize(made, X, LABELS, method=method, loss=Cliff())
    assert not result.converged
    assert math.isfinite(result.loss)
    assert objective(made, X, LABELS) <= start
    assert ("not finite" in result.message) == (method != "newton")


class Steep(SoftmaxCrossEntropy):
    """A second derivative that is not finite."""

    def hessian_product(self, scores, y, directions, sample_weight=None):
        return np.full_like(directions, np.nan)


@pytest.mark.parametrize("method", ["newton-cg", "newton"])
def test_a_hessian_that_is_not_finite_ends_the_run(method):
    result = minimize(MLP((4, 3), dtype="float64"), X, LABELS, method=method, loss=Steep())
    assert not result.converged
    assert "not finite" in result.message
    assert result.loss == result.loss_before


@pytest.mark.parametrize("method", METHODS)
def test_a_first_loss_that_is_not_finite_is_an_error(method):
    made = MLP((4, 3), dtype="float64")
    made.layers[0].weight[0, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"fastnn.minimize: the loss of the weights given is nan"):
        minimize(made, X, LABELS, method=method)


def test_a_run_looks_where_it_is_told_and_keeps_what_it_found():
    objective = curvature.Objective("test", MLP((4, 3), dtype="float64"), X, LABELS, "softmax_cross_entropy", 0.0, None)
    run = second_order._Run(objective, 0.0, 100, None)
    run.start()
    lower = run.first - 0.1 * objective.value_and_gradient()[1]
    kept = lower.copy()
    run.evaluate(lower)
    lower += 1.0
    np.testing.assert_array_equal(run.best.weights, kept)
    v = RNG.normal(size=15)
    elsewhere = run.product(lower, v)
    objective.move(lower)
    np.testing.assert_array_equal(elsewhere, objective.products(v[None])[0])
    assert np.abs(run.product(run.first, v) - elsewhere).max() > 1e-3


# --- the damped Newton step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 200])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factor_and_solve_in_one_array(size, dtype):
    root = RNG.normal(size=(size, size + 5))
    hessian = (root @ root.T / size).astype(dtype)
    square = newton.Square(hessian.copy())
    square.filled()
    assert square.scale == np.abs(np.diag(hessian)).max()
    right = RNG.normal(size=size)
    lowest = np.linalg.eigvalsh(hessian.astype(np.float64))[0]
    for damping in (0.5, -lowest - 0.1, 2.0, 0.5):  # the second is not positive definite, and must leave the Hessian whole
        positive = damping > 0
        assert square.factor(damping) == positive
        np.testing.assert_array_equal(np.triu(square.values, 1), np.triu(hessian, 1))
        if positive:
            expected = np.linalg.solve(hessian.astype(np.float64) + damping * np.eye(size), right)
            np.testing.assert_allclose(square.solve(right), expected, atol=(2e-5 if dtype == "float32" else 1e-12) * np.abs(expected).max())


def test_newton_takes_the_memory_it_states():
    made = MLP((30, 30, 3), dtype="float64")  # 1,023 parameters
    x, y = RNG.normal(size=(50, 30)), RNG.integers(0, 3, 50)
    tracemalloc.start()
    result = minimize(made, x, y, method="newton", max_iterations=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.hessian_bytes == 8 * 1023**2
    assert peak < result.hessian_bytes + 6 * 1023 * 64 * 8 + 2e6  # one square array, some panels, the blocks of rows
    assert "a Hessian of 7.98 MiB" in str(result)


def test_newton_refuses_a_hessian_too_large_with_its_size():
    made = MLP((999, 999, 1), dtype="float32")
    before = made.layers[0].weight.copy()
    tracemalloc.start()
    with pytest.raises(MemoryError, match=r"fastnn.minimize: argument 'memory_limit' must hold the Hessian, 4 \* P\*\*2 bytes in float32 "
                                          r"\(expected at least 3,725 GiB for 1,000,000 parameters, got 1 GiB\)"):
        minimize(made, np.ones((2, 999), np.float32), np.zeros(2), loss="l2", method="newton")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    np.testing.assert_array_equal(made.layers[0].weight, before)


# --- options -------------------------------------------------------------------------------------------------------------------------


def test_progress_is_one_line_an_iteration(capsys):
    result = minimize(MLP((4, 3)), X, LABELS, method="newton", weight_decay=0.1, max_iterations=20, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "newton: the Hessian of 15 parameters takes 900 B in float32"
    assert len(lines) == 1 + result.iterations
    assert lines[1].startswith("iteration 1/20  loss ")


def test_the_history_has_a_picture(tmp_path):
    result = minimize(MLP((4, 3)), X, LABELS, weight_decay=0.1)
    figure = result.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 1000
    drawn = [axes.lines[0].get_ydata() for axes in figure.axes]
    np.testing.assert_array_equal(drawn[0], result.history["loss"])
    np.testing.assert_array_equal(drawn[1], result.history["gradient_norm"])


@pytest.mark.parametrize("method", METHODS)
def test_scipy_is_wanted_only_where_it_is_used(method, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "scipy":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    if method == "newton":
        assert minimize(MLP((4, 3)), X, LABELS, method=method, weight_decay=0.1).converged
    else:
        with pytest.raises(ImportError, match=rf"fastnn.minimize: method '{method}' needs the extra: pip install 'fastnn\[scipy\]'"):
            minimize(MLP((4, 3)), X, LABELS, method=method)


@pytest.mark.parametrize(("change", "kind", "sentence"), [
    ({"method": "bfgs"}, ValueError, r"argument 'method' must name a method \(expected one of l-bfgs, newton-cg, newton, got 'bfgs'\)"),
    ({"method": None}, ValueError, "argument 'method' must name a method"),
    ({"tolerance": -1}, ValueError, "argument 'tolerance'"),
    ({"max_iterations": 0}, ValueError, "argument 'max_iterations'"),
    ({"max_iterations": 1.5}, TypeError, "argument 'max_iterations'"),
    ({"memory_limit": -1}, ValueError, "argument 'memory_limit'"),
    ({"weight_decay": -1}, ValueError, "argument 'weight_decay'"),
    ({"loss": "l3"}, ValueError, "argument 'loss' must name a loss"),
    ({"sample_weight": np.ones(3)}, ValueError, "argument 'sample_weight'"),
    ({"y": LABELS[:5]}, ValueError, "argument 'y'"),
])  # fmt: skip
def test_bad_input_is_answered_with_a_sentence(change, kind, sentence):
    with pytest.raises(kind, match=f"fastnn.minimize: {sentence}"):
        minimize(MLP((4, 3)), **{"x": X, "y": LABELS, **change})


def test_methods_are_named():
    assert list(second_order.METHODS) == METHODS


def test_the_digits_are_learnt():
    x, y = load_digits()
    made = MLP((64, 16, 10), activation="tanh", seed=0)
    made.preprocessing = fastnn.Standardizer().fit(x[:1200])
    minimize(made, x[:1200], y[:1200], weight_decay=1e-3, max_iterations=60)
    assert np.mean(made.predict(x[1200:]) == y[1200:]) > 0.88
