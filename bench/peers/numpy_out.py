"""NumPy at its best in the kernels of `bench_limits.py`: everything that has an `out=` gets one, and nothing is allocated in a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import Case, inputs

KEEP_PROB = 0.5
RATE = 1e-3


def form(case: Case) -> Callable[[], Any]:
    """The case's work without temporaries, for the kernels in `FORMS`."""
    return FORMS[case.kernel](inputs(case))


def linear_relu_forward(a):
    x, w, b, y = a["x"], a["w"], a["b"], np.empty_like(a["y"])

    def forward():
        np.matmul(x, w, out=y)
        np.add(y, b, out=y)
        return np.maximum(y, 0, out=y)

    return forward


def linear_relu_backward(a):
    x, w, y, dy = a["x"], a["w"], a["y"], a["dy"]
    dz, dx, dw, db, passed = np.empty_like(dy), np.empty_like(x), np.empty_like(w), np.empty_like(a["b"]), np.empty(y.shape, bool)

    def backward():
        np.greater(y, 0, out=passed)
        np.multiply(dy, passed, out=dz)
        np.matmul(dz, w.T, out=dx)
        np.matmul(x.T, dz, out=dw)
        np.sum(dz, axis=0, out=db)
        return dx, dw, db

    return backward


def dropout_forward(a):
    x, rng = a["x"], np.random.default_rng(0)
    out, kept = np.empty_like(x), np.empty(x.shape, bool)
    scale = x.dtype.type(1 / KEEP_PROB)

    def forward():
        rng.random(x.shape, dtype=x.dtype, out=out)
        np.less(out, KEEP_PROB, out=kept)
        np.multiply(x, kept, out=out)
        return np.multiply(out, scale, out=out)

    return forward


def softmax_cross_entropy(a):
    x, labels = a["x"], a["labels"]
    p, rows = np.empty_like(x), np.arange(len(x))
    return lambda: (cross_entropy(x, labels, p, rows), p)


def cross_entropy(x, labels, p, rows):
    """The loss; its gradient is left in `p`. `rows` are the numbers of the rows."""
    np.subtract(x, x.max(axis=1, keepdims=True), out=p)
    np.exp(p, out=p)
    np.divide(p, p.sum(axis=1, keepdims=True), out=p)
    loss = -np.log(p[rows, labels]).mean()
    p[rows, labels] -= 1
    np.divide(p, len(x), out=p)
    return float(loss)


def momentum_update(a):
    param, grad, m = a["param"], a["grad"], a["m"]
    scaled = np.empty_like(grad)

    def update():
        np.multiply(grad, RATE, out=scaled)
        np.multiply(m, 0.9, out=m)
        np.subtract(m, scaled, out=m)
        return np.add(param, m, out=param)

    return update


def rmsprop_update(a):
    param, grad, v = a["param"], a["grad"], a["v"]
    first, second = np.empty_like(grad), np.empty_like(grad)

    def update():
        np.square(grad, out=first)
        np.multiply(first, 0.01, out=first)
        np.multiply(v, 0.99, out=v)
        np.add(v, first, out=v)
        np.sqrt(v, out=second)
        np.add(second, 1e-8, out=second)
        np.multiply(grad, RATE, out=first)
        np.divide(first, second, out=first)
        return np.subtract(param, first, out=param)

    return update


def adam_update(a):
    param, grad, m, v = a["param"], a["grad"], a["m"], a["v"]
    first, second = np.empty_like(grad), np.empty_like(grad)
    rate, correction = RATE / (1 - 0.9**10), 1 / (1 - 0.999**10)
    return lambda: adam(param, grad, m, v, first, second, rate, correction)


def adam(param, grad, m, v, first, second, rate, correction):
    """One step; `first` and `second` are scratch, `rate` has the first moment's correction in it, `correction` is the second's."""
    np.multiply(grad, 0.1, out=first)
    np.multiply(m, 0.9, out=m)
    np.add(m, first, out=m)
    np.square(grad, out=first)
    np.multiply(first, 0.001, out=first)
    np.multiply(v, 0.999, out=v)
    np.add(v, first, out=v)
    np.multiply(v, correction, out=second)
    np.sqrt(second, out=second)
    np.add(second, 1e-8, out=second)
    np.multiply(m, rate, out=first)
    np.divide(first, second, out=first)
    return np.subtract(param, first, out=param)


FORMS = {
    function.__name__: function
    for function in (
        linear_relu_forward, linear_relu_backward, dropout_forward, softmax_cross_entropy, momentum_update, rmsprop_update, adam_update,
    )
}  # fmt: skip
