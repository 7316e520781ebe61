"""thinc as a competitor: its `NumpyOps`, whose products are those of cython-blis, and cython-blis by itself with NumPy around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import blis.py
import numpy as np
from cases import Case, inputs
from thinc.api import NumpyOps

KEEP_PROB = 0.5
RATE = 1e-3

ops = NumpyOps()


def prepare(case: Case) -> dict[str, Callable[[], Callable[[], Any]]]:
    forms = FORMS.get(case.kernel, {})
    if case.dtype == "float64":
        # thinc has the products, but not the others. cython-blis 1.0.2 writes beyond its arrays where one of them is transposed.
        forms = {name: make for name, make in forms.items() if make in (forward, forward_blis, backward)}
    return {name: lambda make=make: make(inputs(case)) for name, make in forms.items()}


def forward(a):
    x, w, b, y = a["x"], a["w"], a["b"], np.empty_like(a["y"])

    def work():
        ops.gemm(x, w, out=y)
        np.add(y, b, out=y)
        return ops.relu(y, inplace=True)

    return work


def forward_blis(a):
    x, w, b, y = a["x"], a["w"], a["b"], np.empty_like(a["y"])

    def work():
        blis.py.gemm(x, w, out=y, beta=0.0)
        np.add(y, b, out=y)
        return np.maximum(y, 0, out=y)

    return work


def backward(a):
    x, w, y, dy, dx, dw = a["x"], a["w"], a["y"], a["dy"], np.empty_like(a["x"]), np.empty_like(a["w"])

    def work():
        dz = ops.backprop_relu(dy, y)
        ops.gemm(dz, w, trans2=True, out=dx)
        ops.gemm(x, dz, trans1=True, out=dw)
        return dx, dw, dz.sum(axis=0)

    return work


def backward_blis(a):
    x, w, y, dy, dx, dw = a["x"], a["w"], a["y"], a["dy"], np.empty_like(a["x"]), np.empty_like(a["w"])
    dz, db = np.empty_like(dy), np.empty_like(a["b"])

    def work():
        np.multiply(dy, y > 0, out=dz)
        blis.py.gemm(dz, w, trans2=True, out=dx, beta=0.0)
        blis.py.gemm(x, dz, trans1=True, out=dw, beta=0.0)
        return dx, dw, dz.sum(axis=0, out=db)

    return work


def dropout(a):
    x = a["x"]
    return lambda: x * ops.get_dropout_mask(x.shape, 1 - KEEP_PROB)


def cross_entropy(a):
    x, labels = a["x"], a["labels"]
    rows = np.arange(len(x))

    def work():
        gradient = ops.softmax(x)
        loss = -np.log(gradient[rows, labels]).mean()
        gradient[rows, labels] -= 1
        gradient /= len(x)
        return float(loss), gradient

    return work


def adam(a):
    param, source, m, v = a["param"], a["grad"], a["m"], a["v"]
    grad = source.copy()
    rate = RATE * (1 - 0.999**10) ** 0.5 / (1 - 0.9**10)

    def work():
        # Its update leaves zeros in the gradient, and moments that decay to subnormal numbers would be slower than this copy.
        np.copyto(grad, source)
        ops.adam(param, grad, m, v, 0.9, 0.999, 1e-8, rate)
        return param

    return work


FORMS = {
    "linear_relu_forward": {"NumpyOps": forward, "cython-blis": forward_blis},
    "linear_relu_backward": {"NumpyOps": backward, "cython-blis": backward_blis},
    "dropout_forward": {"NumpyOps": dropout},
    "softmax_cross_entropy": {"NumpyOps": cross_entropy},
    "adam_update": {"NumpyOps": adam},
}
