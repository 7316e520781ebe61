"""NumPy as a competitor: the same work as a careful person writes it, with temporaries where that is the idiom, and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import Case, inputs

import fastnn
from fastnn.benchmark import (
    numpy_adam,
    numpy_dropout,
    numpy_linear_relu,
    numpy_linear_relu_backward,
    numpy_softmax_cross_entropy,
    numpy_step,
)

from . import numpy_out

KEEP_PROB = 0.5
RATE = 1e-3


def prepare(case: Case) -> dict[str, Callable[[], Callable[[], Any]]]:
    forms = {"plain": lambda: _plain(case)}
    if case.kernel in numpy_out.FORMS:
        forms["out="] = lambda: numpy_out.form(case)
    return forms


def _plain(case: Case) -> Callable[[], Any]:
    """Look the kernel's function up by name and bind the arrays to it by theirs."""
    arrays = inputs(case)
    work = globals()[case.kernel]
    if case.kernel == "training_step":
        return work(case, **arrays)
    names = work.__code__.co_varnames[: work.__code__.co_argcount]
    mask = {"mask": _mask(arrays["y"])} if "mask" in names else {}
    random = {"rng": np.random.default_rng(0)} if "rng" in names else {}
    bound = {name: value for name, value in {**arrays, **mask, **random}.items() if name in names}
    return lambda: work(**bound)


def _mask(y):
    """The scaled mask that a forward pass leaves for its backward pass."""
    rng = np.random.default_rng(0)
    return ((rng.random(y.shape, dtype=y.dtype) < KEEP_PROB) / KEEP_PROB).astype(y.dtype)


def linear_forward(x, w, b):
    y = x @ w
    y += b
    return y


def linear_backward(dy, x, w):
    return dy @ w.T, x.T @ dy, dy.sum(axis=0)


linear_relu_forward = numpy_linear_relu
linear_relu_backward = numpy_linear_relu_backward


def linear_relu_dropout_forward(rng, x, w, b):
    return numpy_dropout(rng, numpy_linear_relu(x, w, b), KEEP_PROB)


def linear_relu_dropout_backward(dy, x, w, y):
    dz = dy * ((y > 0) / y.dtype.type(KEEP_PROB))  # y is 0 where the unit was dropped
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


def dropout_forward(rng, x):
    return numpy_dropout(rng, x, KEEP_PROB)


def dropout_backward(x, mask):
    return x * mask


def relu_forward(x):
    return np.maximum(x, 0)


def relu_backward(dy, y):
    return dy * (y > 0)


def leaky_relu_forward(x):
    return np.where(x > 0, x, 0.01 * x)


def leaky_relu_backward(dy, y):
    return np.where(y > 0, dy, 0.01 * dy)


def tanh_forward(x):
    return np.tanh(x)


def tanh_backward(dy, y):
    return dy * (1 - y * y)


def sigmoid_forward(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_backward(dy, y):
    return dy * (y * (1 - y))


def softmax_cross_entropy(x, labels):
    return numpy_softmax_cross_entropy(x, labels)


def l2_loss(x, dy):
    d = x - dy
    return 0.5 * np.square(d).sum() / len(d), d / len(d)


def hinge_loss(x, labels):
    rows = np.arange(len(x))
    terms = np.maximum(0, x - x[rows, labels][:, None] + 1)
    terms[rows, labels] = 0
    dx = (terms > 0).astype(x.dtype)
    dx[rows, labels] = -dx.sum(axis=1)
    dx /= len(x)
    return terms.sum() / len(x), dx


def sgd_update(param, grad):
    param -= RATE * grad
    return param


def momentum_update(param, grad, m):
    m *= 0.9
    m -= RATE * grad
    param += m
    return param


def adagrad_update(param, grad, v):
    v += grad * grad
    param -= RATE * grad / (np.sqrt(v) + 1e-8)
    return param


def rmsprop_update(param, grad, v):
    v *= 0.99
    v += 0.01 * np.square(grad)
    param -= RATE * grad / (np.sqrt(v) + 1e-8)
    return param


def adam_update(param, grad, m, v):
    return numpy_adam(param, grad, m, v, 10, RATE)


def training_step(case, x, labels):
    net = fastnn.MLP(case.size[1:], dtype=case.dtype, seed=0)
    return numpy_step([array.copy() for array in net.parameters()], x, labels)
