"""One layer: linear, activation, dropout, forward and backward, each by the fewest kernel calls there are.

Dropout streams. Everything random in training is a function of (seed, stream): the step number `s` (from 0) of a net of `L` layers uses
streams `s * L + k`, with `k = 0` for the input and `k >= 1` for the output of hidden layer `k`. The order of epoch `e` is the
permutation of stream `2**63 + e`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .backend import kernels

ORDER_STREAM = 2**63
SLOPE = 0.01  # of leaky ReLU


class Dropout(NamedTuple):
    """The arguments that fix one dropout mask."""

    keep_prob: float
    seed: int
    stream: int


class Activation(NamedTuple):
    """`forward(x, out=)` and `backward(dy, y, out=)` in terms of the output `y`; leaky ReLU's take `slope=` too."""

    forward: Callable[..., np.ndarray]
    backward: Callable[..., np.ndarray]


class Trace(NamedTuple):
    """What the backward pass of one layer needs: its input, its output, and the output before dropout."""

    x: np.ndarray
    y: np.ndarray
    active: np.ndarray


# ReLU is fused into the matrix product; "linear" is the absence of an activation.
ACTIVATIONS = {
    "relu": None,
    "leaky_relu": Activation(kernels.leaky_relu_forward, kernels.leaky_relu_backward),
    "tanh": Activation(kernels.tanh_forward, kernels.tanh_backward),
    "sigmoid": Activation(kernels.sigmoid_forward, kernels.sigmoid_backward),
    "linear": None,
}
KINKED = ("relu", "leaky_relu")


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """`weight (i, o)` and `bias (o,)`, C-ordered; change them in place, `layer.weight[...] = value`."""

    weight: np.ndarray
    bias: np.ndarray
    activation: str
    slope: float = SLOPE

    def __repr__(self) -> str:
        i, o = self.weight.shape
        return f"Layer({i} -> {o}, {self.activation}, {self.weight.dtype})"

    def forward(self, x: np.ndarray, dropout: Dropout | None = None) -> Trace:
        """`dropout(activation(x @ weight + bias))`."""
        if self.activation == "relu":
            if dropout is None:
                y = kernels.linear_relu_forward(x, self.weight, self.bias)
            else:
                y = kernels.linear_relu_dropout_forward(x, self.weight, self.bias, **dropout._asdict())
            return Trace(x, y, y)
        y = kernels.linear_forward(x, self.weight, self.bias)
        activation = ACTIVATIONS[self.activation]
        if activation is not None:
            activation.forward(y, out=y, **self._slope())
        return Trace(x, y if dropout is None else kernels.dropout_forward(y, **dropout._asdict()), y)

    def backward(self, dy: np.ndarray, trace: Trace, dropout: Dropout | None, need_dx: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`(dx, dw, db)`, with dx None unless `need_dx`; `dy` is not changed."""
        if self.activation == "relu":
            if dropout is None:
                return kernels.linear_relu_backward(dy, trace.x, self.weight, trace.y, need_dx=need_dx)
            return kernels.linear_relu_dropout_backward(dy, trace.x, self.weight, trace.y, keep_prob=dropout.keep_prob, need_dx=need_dx)
        if dropout is not None:
            dy = kernels.dropout_backward(dy, **dropout._asdict())
        activation = ACTIVATIONS[self.activation]
        if activation is not None:
            dy = activation.backward(dy, trace.active, **self._slope())
        return kernels.linear_backward(dy, trace.x, self.weight, need_dx=need_dx)

    def _slope(self) -> dict[str, float]:
        return {"slope": self.slope} if self.activation == "leaky_relu" else {}


def masks(keep_prob: Sequence[float], seed: int, stream: int) -> list[Dropout | None]:
    """The mask before each layer, drawn from `stream + k` before layer `k`, and None after the last."""
    return [Dropout(keep, seed, stream + k) if keep < 1.0 else None for k, keep in enumerate(keep_prob)] + [None]


def forward(layers: Sequence[Layer], x: np.ndarray, dropouts: Sequence[Dropout | None]) -> list[Trace]:
    """The trace of every layer, for `x (n, i)` in the dtype of the weights."""
    if dropouts[0] is not None:
        x = kernels.dropout_forward(x, **dropouts[0]._asdict())
    traces: list[Trace] = []
    for layer, mask in zip(layers, dropouts[1:]):
        traces.append(layer.forward(traces[-1].y if traces else x, mask))
    return traces


def backward(layers: Sequence[Layer], traces: Sequence[Trace], dropouts: Sequence[Dropout | None], dscores: np.ndarray) -> list[np.ndarray]:
    """`[dw0, db0, dw1, ...]`; the gradient of the first layer's input is not computed."""
    gradients: list[np.ndarray] = []
    dy = dscores
    for k in reversed(range(len(layers))):
        dy, dw, db = layers[k].backward(dy, traces[k], dropouts[k + 1], need_dx=k > 0)
        gradients[:0] = (dw, db)
    return gradients
