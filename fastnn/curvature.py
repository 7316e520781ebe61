"""The objective of full-batch training as a function of one flat vector of weights: value, gradient, and exact products with the Hessian.

`f(w) = mean loss over all rows + 0.5 * weight_decay * sum(weight**2)`, dropout off. Rows are visited in blocks, so that memory does not
grow with their number; what blocks contribute is summed in float64, whatever the net's dtype.

Hessian times vector (Pearlmutter 1994). `R{q}` is the derivative of a quantity `q` of the forward and backward pass as the weights move
along a direction `v`; then `R{gradient}` is `H @ v` exactly, for about twice the work of a gradient. With `z = x @ w + b`, `y = f(z)`, and
the gradients `dy`, `dz = f'(z) * dy`, a layer gives

    R{z}  = R{x} @ w + x @ v_w + v_b        R{y}  = f'(z) * R{z}
    R{dz} = f'(z) * R{dy} + f''(z) * R{z} * dy
    R{dw} = x.T @ R{dz} + R{x}.T @ dz       R{db} = sum over rows of R{dz}       R{dx} = R{dz} @ w.T + dz @ v_w.T

with `R{x} = 0` for the input and `R{dscores}` from the loss (`hessian_product`). Every product of matrices is one call of a kernel, for `m`
directions at once: what depends on the direction has shape `(n, m, o)`, which is also `(n, m * o)` or `(n * m, o)` without a copy.
ReLU and leaky ReLU have `f'' = 0`: exact wherever no unit is exactly on its kink.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import arrays, checks, layers, losses
from .backend import kernels
from .layers import ACTIVATIONS, Activation, Layer
from .model import MLP

_BLOCK_ELEMENTS = 2**20  # of all activations held at once, in all directions
_TOGETHER = 16  # rows of the Hessian worked out at once


class Objective:
    """`f` at the weights of `net`, which is changed in place by `move`: hand in a copy.

    `parameters` is the number of weights and biases P; flat vectors are in the order of `net.parameters()`. Raises the library's
    sentences for bad arguments, in the name of `function`. `products_done` counts the directions multiplied.
    """

    def __init__(self, function: str, net: MLP, x: Any, y: Any, loss: str | losses.Loss, weight_decay: float, sample_weight: Any) -> None:
        self.function, self.net = function, net
        self.loss = losses.get(loss, function)
        self.x = arrays.rows(function, x, net.sizes[0], net.dtype)
        self.y = losses.prepare_targets(self.loss, y, len(self.x), net.sizes[-1], net.dtype, function)
        self.sample_weight = arrays.sample_weights(function, sample_weight, len(self.x), net.dtype)
        self._total = float(len(self.x)) if self.sample_weight is None else float(self.sample_weight.sum(dtype=np.float64))
        if self._total == 0:
            raise checks.fail(ValueError, function, "sample_weight", "weigh something", "a positive sum", "only zeros")
        self.weight_decay = checks.number(function, "weight_decay", weight_decay, 0.0)
        self.parameters = sum(array.size for array in net.parameters())
        self.products_done = 0
        self._kept: _Linearised | None = None

    def require_curvature(self) -> None:
        """TypeError for a loss whose second derivative is not known: one of the user's own that lacks `hessian_product`, or that changed
        `value_and_gradient` of a loss that has it."""
        missing = len(type(self.loss).__mro__)
        product, value = (next((k for k, kind in enumerate(type(self.loss).__mro__) if name in vars(kind)), missing)
                          for name in ("hessian_product", "value_and_gradient"))
        if not callable(getattr(self.loss, "hessian_product", None)) or product > value:
            expected = "a hessian_product(scores, y, directions, sample_weight) that belongs to its value_and_gradient"
            raise checks.fail(TypeError, self.function, "loss", "know its second derivative", expected, repr(self.loss))

    def weights(self) -> np.ndarray:
        """The weights as a new flat vector, float64 `(P,)`."""
        return np.concatenate([array.ravel() for array in self.net.parameters()]).astype(np.float64)

    def move(self, weights: np.ndarray) -> None:
        """Take the weights of a flat vector, rounded to the net's dtype."""
        self._kept = None
        with np.errstate(over="ignore"):
            for array, part in zip(self.net.parameters(), self.parts(weights)):
                array[...] = part

    def value_and_gradient(self) -> tuple[float, np.ndarray]:
        """`f` and its gradient, float64 `(P,)`."""
        value, gradient = 0.0, np.zeros(self.parameters)
        parts = self.parts(gradient)
        for rows, share in self._blocks(1):
            traces = self.net._trace(self.net._batch(self.x[rows]))
            loss, dscores = losses.value_and_gradient(self.loss, traces[-1].y, self.y[rows], self._weight(rows), self.function)
            value += share * loss
            for part, found in zip(parts, layers.backward(self.net.layers, traces, self.net._dropouts(None), dscores)):
                part += share * found
        if self.weight_decay > 0:
            for part, layer in zip(parts[0::2], self.net.layers):
                weight = layer.weight.astype(np.float64)
                value += 0.5 * self.weight_decay * float(np.square(weight).sum())
                part += self.weight_decay * weight
        return value, gradient

    def products(self, directions: np.ndarray) -> np.ndarray:
        """`directions @ H`: a Hessian-vector product a row, `(m, P)` to float64 `(m, P)`.

        Directions are scaled to a largest element of 1 on the way, so that none is too small or too large for float32.
        """
        scale = np.abs(directions).max(axis=1, keepdims=True)
        scale[scale == 0] = 1
        directions = directions / scale
        result = np.zeros(directions.shape)
        moves = self.parts(directions.astype(self.net.dtype))
        parts = self.parts(result)
        for share, linearised in self._linearised(len(directions)):
            for part, found in zip(parts, linearised.products(moves)):
                part += share * found
        for part, direction in zip(parts[0::2], self.parts(directions)[0::2]):
            part += self.weight_decay * direction
        self.products_done += len(directions)
        result *= scale
        return result

    def hessian(self, out: np.ndarray) -> None:
        """Write the Hessian, row by row as the products come, so symmetric only within rounding, into `out (P, P)`."""
        for start in range(0, self.parameters, _TOGETHER):
            rows = min(_TOGETHER, self.parameters - start)
            out[start:start + rows] = self.products(np.eye(rows, self.parameters, start))

    def parts(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of the last axis of `flat (..., P)` in the shapes of the parameters."""
        parts, start = [], 0
        for array in self.net.parameters():
            parts.append(flat[..., start:start + array.size].reshape(*flat.shape[:-1], *array.shape))
            start += array.size
        return parts

    def _blocks(self, directions: int) -> list[tuple[slice, float]]:
        """Rows of a block and its part in the mean; blocks without weight are left out."""
        size = max(64, _BLOCK_ELEMENTS // (directions * sum(self.net.sizes)))
        slices = [slice(start, min(start + size, len(self.x))) for start in range(0, len(self.x), size)]
        weighed = [float(rows.stop - rows.start if self.sample_weight is None else self.sample_weight[rows].sum(dtype=np.float64))
                   for rows in slices]
        return [(rows, weight / self._total) for rows, weight in zip(slices, weighed) if weight > 0]

    def _weight(self, rows: slice) -> np.ndarray | None:
        return None if self.sample_weight is None else self.sample_weight[rows]

    def _linearised(self, directions: int) -> Iterator[tuple[float, _Linearised]]:
        """Every block's part and its passes; those of a single block are kept until the weights move."""
        blocks = self._blocks(directions)
        for rows, share in blocks:
            made = self._kept
            if made is None or len(blocks) > 1:
                x = self.net._batch(self.x[rows])
                made = _Linearised(self.net.layers, x, self.y[rows], self._weight(rows), self.loss, self.function)
            if len(blocks) == 1:
                self._kept = made
            yield share, made


class _Point(NamedTuple):
    """A layer's input `x (n, i)` and `dz (n, o)`, with `f'(z)` and `f''(z) / f'(z) * dy` `(n, o)`, None where they are 1 and 0."""

    x: np.ndarray
    dz: np.ndarray
    slope: np.ndarray | None
    bend: np.ndarray | None


class _Linearised:
    """The passes of one block of rows, ready for directions."""

    def __init__(self, net_layers: Sequence[Layer], x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, loss: Any,
                 function: str) -> None:
        self._layers, self._y, self._weight, self._loss = net_layers, y, weight, loss
        traces = layers.forward(net_layers, x, [None] * (len(net_layers) + 1))
        self._scores = traces[-1].y
        dy = losses.value_and_gradient(loss, self._scores, y, weight, function)[1]
        self._points: list[_Point] = []
        for layer, trace in zip(reversed(net_layers), reversed(traces)):
            slope, bend = _derivatives(layer, trace.active, dy)
            dz = dy if slope is None else slope * dy
            self._points.insert(0, _Point(trace.x, dz, slope, bend))
            if layer is not net_layers[0]:
                dy = kernels.linear_forward(dz, layer.weight.T)

    def products(self, moves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`R{gradient}` of the block's mean loss along `moves = [v_w0 (m, i, o), v_b0 (m, o), v_w1, ...]`, in these shapes."""
        m, n = len(moves[0]), len(self._scores)
        beside = [np.ascontiguousarray(move.transpose(1, 0, 2)).reshape(move.shape[1], -1) for move in moves[0::2]]  # (i, m * o)
        inputs: list[np.ndarray | None] = [None]  # R{x} of every layer (n, m, i), then R{scores}
        with np.errstate(over="ignore", invalid="ignore"):
            for k, (layer, point) in enumerate(zip(self._layers, self._points)):
                moved = kernels.linear_forward(point.x, beside[k], moves[2 * k + 1].ravel()).reshape(n, m, -1)
                before = inputs[-1]
                if before is not None:
                    moved += kernels.linear_forward(before.reshape(n * m, -1), layer.weight).reshape(moved.shape)
                inputs.append(moved if point.slope is None else np.multiply(moved, point.slope[:, None, :], out=moved))
            r_dy = np.asarray(self._loss.hessian_product(self._scores, self._y, inputs[-1], sample_weight=self._weight))
            r_dy = np.ascontiguousarray(r_dy, self._scores.dtype)
            result: list[np.ndarray] = []
            for k in reversed(range(len(self._layers))):
                x, dz, slope, bend = self._points[k]
                r_dz = r_dy if slope is None else r_dy * slope[:, None, :]
                if bend is not None:
                    r_dz += bend[:, None, :] * inputs[k + 1]
                _, dw, db = kernels.linear_backward(r_dz.reshape(n, -1), x, beside[k], need_dx=False)
                dw = dw.reshape(x.shape[1], m, -1).transpose(1, 0, 2)
                r_x = inputs[k]
                if r_x is not None:
                    dw = dw + kernels.linear_forward(r_x.reshape(n, -1).T, dz).reshape(dw.shape)
                    across = np.ascontiguousarray(moves[2 * k].transpose(2, 0, 1)).reshape(dz.shape[1], -1)  # (o, m * i)
                    r_dy = kernels.linear_forward(dz, across).reshape(r_x.shape)
                    r_dy += kernels.linear_forward(r_dz.reshape(n * m, -1), self._layers[k].weight.T).reshape(r_x.shape)
                result[:0] = (dw, db.reshape(m, -1))
        return result


def _derivatives(layer: Layer, y: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """`f'(z)` and `f''(z) / f'(z) * dy` of a layer's activation in terms of its output `y`; None where they are 1 and 0."""
    if layer.activation == "linear":
        return None, None
    activation = ACTIVATIONS[layer.activation] or Activation(kernels.relu_forward, kernels.relu_backward)
    slope = activation.backward(np.ones_like(y), y, **layer._slope())
    if layer.activation == "tanh":
        return slope, -2 * y * dy
    return slope, (1 - 2 * y) * dy if layer.activation == "sigmoid" else None
