"""The compiled kernels, as functions on NumPy arrays: names, defaults and contracts. `fastnn.reference` is their NumPy twin and
fixes what each computes to the bit.

Common to all. Arrays are float32 or float64, one dtype a call, never upcast. C-ordered, Fortran-ordered, transposed and strided
matrices are used in place; what the kernels cannot step through is copied, never misread. `out` must be writeable, of the right
shape and dtype, and must not overlap an input (elementwise functions and losses also take exactly an input as `out`: in place).
A wrong dtype or type raises `TypeError`, a wrong shape, layout or value `ValueError`, lack of memory `MemoryError`; after an exception no
array passed in has changed. The GIL is released while a kernel runs.

Letters: `n` samples (rows), `i` inputs, `o` outputs, `c` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

try:
    from . import _core
except ImportError as error:
    raise ImportError(
        f"fastnn: the compiled module fastnn._core cannot be imported ({error}); install the package with 'pip install .' (and run "
        "Python from another folder than the sources), or set FASTNN_BACKEND=numpy to run everything on NumPy"
    ) from error

from ._config import configure

configure()

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

__all__ = [
    "adagrad_update",
    "adam_update",
    "column_extremes",
    "column_moments",
    "dropout_backward",
    "dropout_forward",
    "hinge_loss",
    "l2_loss",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "linear_backward",
    "linear_forward",
    "linear_relu_backward",
    "linear_relu_dropout_backward",
    "linear_relu_dropout_forward",
    "linear_relu_forward",
    "momentum_update",
    "permutation",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "row_hashes",
    "sgd_update",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_cross_entropy",
    "tanh_backward",
    "tanh_forward",
]


def linear_forward(x: Array, w: Array, b: Array | None = None, *, out: Array | None = None) -> Array:
    """`y = x @ w + b`.

    x (n, i), w (i, o), b (o,) or None; returns y (n, o), which is `out` if given. Componentwise
    `|y - exact| <= (i + 2) * eps * (|x| @ |w| + |b|)`.
    """
    return _core.linear_forward("linear_forward", x, w, b, out, False, False, 1.0, 0, 0)


def linear_backward(
    dy: Array, x: Array, w: Array, *, need_dx: bool = True, out: Sequence[Array | None] | None = None
) -> tuple[Array | None, Array, Array]:
    """`dx = dy @ w.T`, `dw = x.T @ dy`, `db = sum over rows of dy`.

    dy (n, o), x (n, i), w (i, o); returns dx (n, i) or None when `need_dx` is false, dw (i, o), db (o,). `out` is a tuple (dx, dw, db)
    of arrays to write, None where one is to be made. db adds rows one after another, so it has the same bits as the twin's.
    """
    return _core.linear_backward("linear_backward", dy, x, w, None, False, False, 1.0, need_dx, out)


def linear_relu_forward(x: Array, w: Array, b: Array | None = None, *, out: Array | None = None) -> Array:
    """`y = max(0, x @ w + b)`, in one pass. Shapes as `linear_forward`; NaN stays NaN, -0.0 becomes +0.0."""
    return _core.linear_forward("linear_relu_forward", x, w, b, out, True, False, 1.0, 0, 0)


def linear_relu_backward(
    dy: Array, x: Array, w: Array, y: Array, *, need_dx: bool = True, out: Sequence[Array | None] | None = None
) -> tuple[Array | None, Array, Array]:
    """`linear_backward` of `dz = dy where y passes, 0 where y <= 0`, with y (n, o) the output of `linear_relu_forward`."""
    return _core.linear_backward("linear_relu_backward", dy, x, w, y, True, False, 1.0, need_dx, out)


def linear_relu_dropout_forward(
    x: Array, w: Array, b: Array | None, *, keep_prob: float, seed: int, stream: int = 0, out: Array | None = None
) -> Array:
    """`y = dropout(max(0, x @ w + b))`: inverted dropout (Srivastava et al. 2014; scaled at training time, CS231n).

    `keep_prob` in (0, 1] is the probability that a unit stays; seed and stream are 64-bit words. The mask is that of
    `dropout_forward` on an array shaped like y.
    """
    return _core.linear_forward("linear_relu_dropout_forward", x, w, b, out, True, True, keep_prob, seed, stream)


def linear_relu_dropout_backward(
    dy: Array, x: Array, w: Array, y: Array, *, keep_prob: float, need_dx: bool = True, out: Sequence[Array | None] | None = None
) -> tuple[Array | None, Array, Array]:
    """`linear_backward` of `dz = dy * scale where y passes, 0 where y <= 0`: a unit of y is positive only when it was both active and
    kept, so neither mask nor seed is needed."""
    return _core.linear_backward("linear_relu_dropout_backward", dy, x, w, y, True, True, keep_prob, need_dx, out)


def dropout_forward(x: Array, keep_prob: float, *, seed: int, stream: int = 0, out: Array | None = None) -> Array:
    """Inverted dropout: `y = x / keep_prob` where kept, 0 where dropped (CS231n; Srivastava et al. 2014).

    x any shape. Each unit stays with probability keep_prob, rounded to a multiple of 2**-16; the scale is the reciprocal of the rounded
    value, so the expectation of y is x. Whether a unit stays is a function of (seed, stream, row, column) alone: the same mask for any
    number of threads and in the NumPy twin. Random numbers: Philox4x32-10 (Salmon et al. 2011).
    """
    return _core.dropout("dropout_forward", "x", x, keep_prob, seed, stream, out)


def dropout_backward(dy: Array, keep_prob: float, *, seed: int, stream: int = 0, out: Array | None = None) -> Array:
    """`dx = dy / keep_prob` where kept, 0 where dropped: the mask of `dropout_forward` made again from the same seed and stream."""
    return _core.dropout("dropout_backward", "dy", dy, keep_prob, seed, stream, out)


def permutation(n: int, *, seed: int, stream: int = 0) -> Array:
    """A Fisher-Yates permutation of 0..n-1 as int64 (n,), a function of (n, seed, stream) alone; n < 2**32."""
    return _core.permutation(n, seed, stream)


def relu_forward(x: Array, *, out: Array | None = None) -> Array:
    """`y = max(0, x)`, any shape. NaN stays NaN, -0.0 becomes +0.0."""
    return _core.activation("relu_forward", _core.RELU_FORWARD, ("x",), (x,), out, None)


def relu_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """`dx = dy` where `y` passes, 0 where `y <= 0`; y is the output of `relu_forward`. The gradient at 0 is 0."""
    return _core.activation("relu_backward", _core.RELU_BACKWARD, ("dy", "y"), (dy, y), out, None)


def leaky_relu_forward(x: Array, *, slope: float = 0.01, out: Array | None = None) -> Array:
    """`y = x` where `x > 0`, `slope * x` elsewhere, any shape; slope >= 0 (Maas et al. 2013)."""
    return _core.activation("leaky_relu_forward", _core.LEAKY_FORWARD, ("x",), (x,), out, slope)


def leaky_relu_backward(dy: Array, y: Array, *, slope: float = 0.01, out: Array | None = None) -> Array:
    """`dx = dy` where `y > 0`, `slope * dy` elsewhere; y is the output of `leaky_relu_forward` with the same slope."""
    return _core.activation("leaky_relu_backward", _core.LEAKY_BACKWARD, ("dy", "y"), (dy, y), out, slope)


def tanh_forward(x: Array, *, out: Array | None = None) -> Array:
    """`y = tanh(x)`, any shape, within 4 units in the last place."""
    return _core.activation("tanh_forward", _core.TANH_FORWARD, ("x",), (x,), out, None)


def tanh_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """`dx = dy * (1 - y * y)`; y is the output of `tanh_forward`."""
    return _core.activation("tanh_backward", _core.TANH_BACKWARD, ("dy", "y"), (dy, y), out, None)


def sigmoid_forward(x: Array, *, out: Array | None = None) -> Array:
    """`y = 1 / (1 + exp(-x))`, any shape, within 4 units in the last place, no overflow in either tail."""
    return _core.activation("sigmoid_forward", _core.SIGMOID_FORWARD, ("x",), (x,), out, None)


def sigmoid_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """`dx = dy * (y * (1 - y))`; y is the output of `sigmoid_forward`."""
    return _core.activation("sigmoid_backward", _core.SIGMOID_BACKWARD, ("dy", "y"), (dy, y), out, None)


def softmax_cross_entropy(
    logits: Array, labels: Array, *, sample_weight: Array | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """`loss = mean_i(-log softmax(logits_i)[label_i])` and its gradient by the logits.

    logits (n, c); labels integers (n,) with `0 <= label < c`, or probabilities (n, c) of the logits' dtype; sample_weight (n,) of that
    dtype, finite and not negative: the mean is then `sum(weight * loss) / sum(weight)`. Returns (float, dlogits (n, c)); `out` takes
    dlogits and may be `logits`. An empty batch, or one without weight, has loss 0.0 and gradient 0.
    """
    return _core.loss("softmax_cross_entropy", _core.SOFTMAX, "nc", "logits", logits, "labels", labels, None, sample_weight, out)


def l2_loss(pred: Array, target: Array, *, sample_weight: Array | None = None, out: Array | None = None) -> tuple[float, Array]:
    """`loss = mean_i(0.5 * sum_j (pred_ij - target_ij)**2)` and its gradient by pred.

    pred and target (n, o) of one dtype; sample_weight and empty batches as in `softmax_cross_entropy`. Returns (float, dpred (n, o)).
    """
    return _core.loss("l2_loss", _core.L2, "no", "pred", pred, "target", target, None, sample_weight, out)


def hinge_loss(
    scores: Array, labels: Array, *, margin: float = 1.0, sample_weight: Array | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """`loss = mean_i(sum_{j != label_i} max(0, s_ij - s_i,label_i + margin))` and its gradient: the multiclass SVM of the CS231n
    notes (Weston and Watkins 1999).

    scores (n, c); labels integers (n,); margin >= 0; sample_weight and empty batches as in `softmax_cross_entropy`. A term of exactly 0
    has gradient 0. Returns (float, dscores (n, c)).
    """
    return _core.loss("hinge_loss", _core.HINGE, "nc", "scores", scores, "labels", labels, margin, sample_weight, out)


def sgd_update(param: Array, grad: Array, *, learning_rate: float, weight_decay: float = 0.0, l1: float = 0.0) -> None:
    """`param -= learning_rate * g` with `g = grad + weight_decay * param + l1 * sign(param)`, as in all updates below: L2, L1, or the
    elastic net of both. Any shape; param is modified in place."""
    _core.sgd("sgd_update", param, grad, learning_rate, weight_decay, l1)


def momentum_update(
    param: Array,
    grad: Array,
    velocity: Array,
    *,
    learning_rate: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    l1: float = 0.0,
) -> None:
    """`velocity = momentum * velocity - learning_rate * g; param += velocity`, or with Nesterov
    `param += momentum * velocity - learning_rate * g` after the velocity's update, which is the notes' `-momentum * v_prev +
    (1 + momentum) * v` (CS231n; Sutskever et al. 2013). param and velocity are modified in place."""
    _core.momentum("momentum_update", param, grad, velocity, learning_rate, momentum, nesterov, weight_decay, l1)


def adagrad_update(
    param: Array, grad: Array, cache: Array, *, learning_rate: float, eps: float = 1e-8, weight_decay: float = 0.0, l1: float = 0.0
) -> None:
    """`cache += g**2; param -= learning_rate * g / (sqrt(cache) + eps)` (Duchi et al. 2011). param and cache are modified in place."""
    _core.adaptive("adagrad_update", _core.ADAGRAD, param, grad, cache, learning_rate, 0.0, eps, weight_decay, l1)


def rmsprop_update(
    param: Array,
    grad: Array,
    cache: Array,
    *,
    learning_rate: float,
    decay_rate: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    l1: float = 0.0,
) -> None:
    """`cache = decay_rate * cache + (1 - decay_rate) * g**2; param -= learning_rate * g / (sqrt(cache) + eps)` (Tieleman and Hinton
    2012). param and cache are modified in place."""
    _core.adaptive("rmsprop_update", _core.RMSPROP, param, grad, cache, learning_rate, decay_rate, eps, weight_decay, l1)


def adam_update(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    step: int,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    bias_correction: bool = True,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    l1: float = 0.0,
) -> None:
    """`m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2;
    param -= learning_rate * m_hat / (sqrt(v_hat) + eps)`, `m_hat = m / (1 - beta1**step)`, `v_hat = v / (1 - beta2**step)`.

    step counts from 1. `bias_correction=False` takes m and v as they are (the short form of the CS231n notes); `decoupled=True` shrinks
    param by `1 - learning_rate * weight_decay` instead of adding that decay to g (AdamW). Kingma and Ba 2015; Loshchilov and Hutter 2019.
    param, m and v are modified in place.
    """
    _core.adam("adam_update", param, grad, m, v, step, learning_rate, beta1, beta2, eps, bias_correction, weight_decay, decoupled, l1)


def column_moments(x: Array, block: int) -> tuple[Array, Array]:
    """Of every `block` rows of `x (n, i)`, uint8, float32 or float64: the mean of `x - x[0]`, and the sum of squared differences from it.

    Returns (mean, squares), float64 `(blocks, i)`; the last block has the rows that are left. Rows are added one after another in
    float64, so the bits are those of the twin. Subnormal numbers are what they are, here and below.
    """
    return _core.by_columns("column_moments", x, block, True)


def column_extremes(x: Array, block: int) -> tuple[Array, Array]:
    """Of every `block` rows of `x (n, i)`: the least and the largest value of each column, float64 `(blocks, i)`.

    A column with a NaN has NaN for both; no zero is negative. Dtypes and blocks as in `column_moments`.
    """
    return _core.by_columns("column_extremes", x, block, False)


def row_hashes(x: Array) -> Array:
    """A hash of every row of `x (n, i)`, uint8, float32 or float64: uint64 `(n,)`.

    It is `mix(sum_j odd_j * word_j)` modulo 2^64 over words of two values that are rounded to float32.
    """
    return _core.row_hashes("row_hashes", x)
