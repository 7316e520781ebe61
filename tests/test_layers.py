"""Every activation as a layer, with and without dropout: the equation forward, centered differences backward, all at float64."""

from __future__ import annotations

import numpy as np
import pytest
from numeric import gradient, relative_error

from fastnn.backend import kernels
from fastnn.layers import ACTIVATIONS, Dropout, Layer

RNG = np.random.default_rng(17)
X = RNG.normal(size=(6, 5))
W = RNG.normal(size=(5, 4))
B = RNG.normal(size=4)
DY = RNG.normal(size=(6, 4))
DROPOUT = Dropout(0.6, seed=9, stream=4)
FORMULAS = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "linear": lambda z: z,
}


def test_every_activation_has_its_formula_here():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("dropout", [None, DROPOUT], ids=["plain", "dropout"])
@pytest.mark.parametrize("activation", FORMULAS)
def test_forward_is_the_formula(activation, dropout):
    trace = Layer(W, B, activation).forward(X, dropout)
    y = FORMULAS[activation](X @ W + B)
    assert trace.active == pytest.approx(y if dropout is None or activation != "relu" else trace.y, rel=1e-12)
    if dropout is not None:
        mask = kernels.dropout_forward(np.ones_like(y), 0.6, seed=9, stream=4)
        assert 0 < (mask == 0).sum() < mask.size
        y = y * mask
    assert trace.y == pytest.approx(y, rel=1e-12)


@pytest.mark.parametrize("dropout", [None, DROPOUT], ids=["plain", "dropout"])
@pytest.mark.parametrize("activation", FORMULAS)
def test_backward_by_centered_differences(activation, dropout):
    x, layer, dy = X.copy(), Layer(W.copy(), B.copy(), activation), DY.copy()
    assert np.abs(x @ W + B).min() > 1e-3, "a pre-activation sits on its kink"

    def f():
        return float((DY * layer.forward(x, dropout).y).sum())

    gradients = layer.backward(dy, layer.forward(x, dropout), dropout, need_dx=True)
    tolerance = 1e-5 if activation in ("relu", "leaky_relu") else 1e-7
    for analytic, array in zip(gradients, (x, layer.weight, layer.bias)):
        assert relative_error(analytic, gradient(f, array)) <= tolerance
    assert np.array_equal(dy, DY)


@pytest.mark.parametrize("activation", FORMULAS)
def test_dx_is_left_out_on_request(activation):
    layer = Layer(W, B, activation)
    dx, dw, db = layer.backward(DY, layer.forward(X), None, need_dx=False)
    assert dx is None
    assert np.array_equal(dw, layer.backward(DY, layer.forward(X), None, need_dx=True)[1])
    assert db.shape == (4,)


def test_repr():
    assert repr(Layer(W, B, "tanh")) == "Layer(5 -> 4, tanh, float64)"
