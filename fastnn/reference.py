"""The NumPy twin of every kernel in `fastnn.ops`, and the definition of what each kernel means.

Same names, same signatures, same effects on the arrays passed in, same errors. What is promised of the compiled kernels, held
to these functions by the tests, for float32 and float64:

* **the same bits** for ReLU, leaky ReLU, dropout, the bias (`y + b` after the product is rounded, and `db`), the gradients of the
  L2 and hinge losses, the backward passes of tanh and sigmoid, every optimizer update, and the statistics of tables. A NaN is a NaN in
  both; its payload and sign are not promised;
* **within 4 units in the last place** of the exact value for tanh and sigmoid; the softmax gradient over `c` classes within
  `(8 + c / 16) * eps` of each sample's share of the mean (times the sum of its target probabilities);
* **within a componentwise bound** for matrix products: `|y - x @ w| <= (k + 2) * eps * (|x| @ |w|)` with `k` terms a sum;
* loss values, which are sums over samples in float64 of per-sample losses, to `1e-5` (float32) and `1e-12` (float64) relative.

Rounding points. Every operation written here rounds once, in the dtype of the arrays, in the order written; no fused
multiply-add. Scalars (learning rates, decay rates, the bias corrections) are worked out in float64 and rounded to the dtype once.

Subnormal numbers count as zero, with their sign, in the arguments and results of every arithmetic operation and comparison: decayed
state would otherwise slow training down, up to a hundredfold on some processors. What only copies (a gradient that a gate lets
through) copies them as they are.

Special values. ReLU is `+0.0` where `x <= 0` and `x` elsewhere: `relu(-0.0) = +0.0`, `relu(NaN) = NaN`. Gradients are blocked where
`y <= 0` and pass elsewhere: the gradient at 0 is 0, and it passes where `y` is NaN. A dropped unit is `+0.0` whatever it held.

Empty and weightless batches have loss 0.0 and gradients of 0: there is nothing to learn from.

Gradients are means over the batch: with `sample_weight`, `sum(weight * loss) / sum(weight)`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import checks

_MASK32 = np.uint64(0xFFFFFFFF)
_MAX64 = 2**64 - 1
_HASHED = 2**17  # elements at a time, which bounds the temporaries to 1 MiB

# ---------------------------------------------------------------------------------------------------------------------------------
# Linear layers: x (n, i), w (i, o), b (o,), y (n, o)


def linear_forward(x, w, b=None, *, out=None):
    """`y = x @ w`, then `y + b` as a second rounding."""
    y = _product("linear_forward", x, w, b, out)
    return _into(out, y)


def linear_backward(dy, x, w, *, need_dx=True, out=None):
    """`dx = dy @ w.T`, `dw = x.T @ dy`, `db` = rows of `dy` added one after another, starting from +0.0."""
    return _linear_backward("linear_backward", dy, x, w, None, None, need_dx, out, gated=False, dropped=False)


def linear_relu_forward(x, w, b=None, *, out=None):
    """`relu(x @ w + b)`."""
    y = _product("linear_relu_forward", x, w, b, out)
    return _into(out, _relu(y))


def linear_relu_backward(dy, x, w, y, *, need_dx=True, out=None):
    """`linear_backward` of `dz`, which is `dy` where `y` passes and 0 where `y <= 0`."""
    return _linear_backward("linear_relu_backward", dy, x, w, y, None, need_dx, out, gated=True, dropped=False)


def linear_relu_dropout_forward(x, w, b, *, keep_prob, seed, stream=0, out=None):
    """`dropout(relu(x @ w + b))` with the mask of `dropout_forward` on an array of the output's shape."""
    y = _product("linear_relu_dropout_forward", x, w, b, out)
    threshold, seed, stream = _dropout_arguments("linear_relu_dropout_forward", keep_prob, seed, stream)
    return _into(out, _dropped(_relu(y), threshold, seed, stream))


def linear_relu_dropout_backward(dy, x, w, y, *, keep_prob, need_dx=True, out=None):
    """`linear_backward` of `dz`, which is `dy * scale` where `y` passes: the sign of `y` says both kept and active."""
    return _linear_backward("linear_relu_dropout_backward", dy, x, w, y, keep_prob, need_dx, out, gated=True, dropped=True)


def _product(function, x, w, b, out):
    x = checks.floats(function, "x", x, ("n", "i"))
    w = checks.floats(function, "w", w, (x.shape[1], "o"), dtype=x.dtype)
    if b is not None:
        checks.floats(function, "b", b, (w.shape[1],), dtype=x.dtype)
    if out is not None:
        checks.floats(function, "out", out, (x.shape[0], w.shape[1]), dtype=x.dtype, write=True)
        checks.disjoint(function, "out", out, {"x": x, "w": w, "b": b})
    with np.errstate(all="ignore"):
        y = x @ w
        if b is not None:
            y += b
    return y


def _linear_backward(function, dy, x, w, y, keep_prob, need_dx, out, *, gated, dropped):
    dy = checks.floats(function, "dy", dy, ("n", "o"))
    x = checks.floats(function, "x", x, (dy.shape[0], "i"), dtype=dy.dtype)
    w = checks.floats(function, "w", w, (x.shape[1], dy.shape[1]), dtype=dy.dtype)
    if gated:
        checks.floats(function, "y", y, dy.shape, dtype=dy.dtype)
    dx, dw, db = _gradient_outputs(function, dy, x, w, y, need_dx, out)
    scale = dy.dtype.type(65536.0 / _threshold(function, keep_prob) if dropped else 1.0)
    with np.errstate(all="ignore"):
        dz = np.where(_z(y) <= 0, dy.dtype.type(0), _z(_z(dy) * scale)) if gated else dy
        return _into(dx, dz @ w.T) if need_dx else None, _into(dw, x.T @ dz), _into(db, _sum_of_rows(dz))


def _gradient_outputs(function, dy, x, w, y, need_dx, out):
    if out is None:
        return None, None, None
    if not isinstance(out, (tuple, list)) or len(out) != 3:
        raise checks.fail(TypeError, function, "out", "be a tuple of three", "(dx, dw, db), each an array or None", type(out).__name__)
    inputs = {"dy": dy, "x": x, "w": w, "y": y}
    given = {}
    for name, array, shape in zip(("dx", "dw", "db"), out, (x.shape, w.shape, (w.shape[1],))):
        if array is None or (name == "dx" and not need_dx):
            continue
        checks.floats(function, name, array, shape, dtype=dy.dtype, write=True)
        given[name] = array
    for name, array in given.items():
        checks.disjoint(function, name, array, inputs)
        inputs[name] = array
    return given.get("dx"), given.get("dw"), given.get("db")


def _sum_of_rows(dz):
    total = np.zeros(dz.shape[1], dz.dtype)
    for row in _z(dz):
        total = _z(total + row)
    return total


# ---------------------------------------------------------------------------------------------------------------------------------
# Dropout: Philox4x32-10 (Salmon et al. 2011), a function of (seed, stream, row, column)


def dropout_forward(x, keep_prob, *, seed, stream=0, out=None):
    """Inverted dropout: `x * scale` where kept, `+0.0` where dropped.

    `keep_prob` is rounded to `threshold / 65536` (at least 1 / 65536), and `scale = 65536 / threshold`, so that the mean is exact.
    The array is read as rows over its last axis. Eight neighbours in a row share one Philox block: key = seed, counter =
    (column // 8, row, stream); element `j` of the eight takes half `j % 2` (low first) of word `j // 2`, and stays when that 16-bit
    number is below the threshold.
    """
    return _dropout("dropout_forward", "x", x, keep_prob, seed, stream, out)


def dropout_backward(dy, keep_prob, *, seed, stream=0, out=None):
    """`dropout_forward` of the gradient: the mask is made again, never stored."""
    return _dropout("dropout_backward", "dy", dy, keep_prob, seed, stream, out)


def _dropout(function, name, x, keep_prob, seed, stream, out):
    x = checks.floats(function, name, x)
    if out is not None:
        checks.floats(function, "out", out, x.shape, dtype=x.dtype, write=True)
        checks.disjoint(function, "out", out, {name: x}, allow_same=True)
    return _into(out, _dropped(x, *_dropout_arguments(function, keep_prob, seed, stream)))


def _dropped(x, threshold, seed, stream):
    kept = _keep_mask(x.shape, threshold, seed, stream)
    with np.errstate(all="ignore"):
        return np.where(kept, _z(_z(x) * x.dtype.type(65536.0 / threshold)), x.dtype.type(0))


def _dropout_arguments(function, keep_prob, seed, stream):
    threshold = _threshold(function, keep_prob)
    return threshold, checks.integer(function, "seed", seed, 0, _MAX64), checks.integer(function, "stream", stream, 0, _MAX64)


def _threshold(function, keep_prob):
    keep_prob = checks.number(function, "keep_prob", keep_prob, 0.0, 1.0, open_low=True)
    return max(1, math.floor(keep_prob * 65536.0 + 0.5))


def _keep_mask(shape, threshold, seed, stream):
    columns = shape[-1] if shape else 1
    rows = math.prod(shape[:-1])
    groups = -(-columns // 8)
    words = philox4x32(np.arange(groups)[None, :], np.arange(rows)[:, None], stream, seed)
    halves = np.stack([words & np.uint32(0xFFFF), words >> np.uint32(16)], axis=-1)
    return (halves.reshape(rows, groups * 8)[:, :columns] < threshold).reshape(shape)


def philox4x32(counter0, counter1, stream, seed):
    """Philox4x32-10: uint32 words `(..., 4)` for counters (counter0, counter1, stream low, stream high) and key `seed`."""
    shape = np.broadcast_shapes(np.shape(counter0), np.shape(counter1))
    c0, c1 = (np.broadcast_to(np.asarray(c, np.uint64), shape) & _MASK32 for c in (counter0, counter1))
    c2, c3 = (np.full(shape, word, np.uint64) for word in (stream & 0xFFFFFFFF, stream >> 32))
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), p1 & _MASK32, (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p0 & _MASK32
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def permutation(n, *, seed, stream=0):
    """Fisher-Yates from the end: position `i` changes places with `(word[i] * (i + 1)) >> 32`, word `i` of the Philox stream."""
    n = checks.integer("permutation", "n", n, 0, 2**32 - 1)
    seed, stream = (checks.integer("permutation", name, value, 0, _MAX64) for name, value in (("seed", seed), ("stream", stream)))
    words = philox4x32(np.arange(-(-n // 4)), 0, stream, seed).reshape(-1)[:n].astype(np.uint64)
    partners = ((words * np.arange(1, n + 1, dtype=np.uint64)) >> np.uint64(32)).tolist()
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = partners[i]
        order[i], order[j] = order[j], order[i]
    return np.array(order, np.int64)


# ---------------------------------------------------------------------------------------------------------------------------------
# Activations: any shape


def relu_forward(x, *, out=None):
    """`+0.0` where `x <= 0`, `x` elsewhere (NaN stays NaN)."""
    return _map("relu_forward", {"x": x}, out, _relu)


def relu_backward(dy, y, *, out=None):
    """`+0.0` where `y <= 0`, `dy` elsewhere."""
    return _map("relu_backward", {"dy": dy, "y": y}, out, lambda dy, y: np.where(_z(y) <= 0, dy.dtype.type(0), dy))


def leaky_relu_forward(x, *, slope=0.01, out=None):
    """`slope * x` where `x <= 0`, `x` elsewhere."""
    return _map("leaky_relu_forward", {"x": x}, out, lambda x, slope: np.where(_z(x) <= 0, _z(slope * _z(x)), x), slope=slope)


def leaky_relu_backward(dy, y, *, slope=0.01, out=None):
    """`slope * dy` where `y <= 0`, `dy` elsewhere; with `0 <= slope` the sign of `y` is the sign of `x`."""
    return _map("leaky_relu_backward", {"dy": dy, "y": y}, out, _leaky_gate, slope=slope)


def _leaky_gate(dy, y, slope):
    return np.where(_z(y) <= 0, _z(slope * _z(dy)), dy)


def tanh_forward(x, *, out=None):
    """`tanh(x)`."""
    return _map("tanh_forward", {"x": x}, out, lambda x: _z(np.tanh(_z(x))))


def tanh_backward(dy, y, *, out=None):
    """`dy * (1 - y * y)`."""
    return _map("tanh_backward", {"dy": dy, "y": y}, out, lambda dy, y: _z(_z(dy) * (y.dtype.type(1) - _z(_z(y) * _z(y)))))


def sigmoid_forward(x, *, out=None):
    """`1 / (1 + exp(-|x|))`, times `exp(-|x|)` where `x < 0`, so that neither tail overflows."""

    def sigmoid(x):
        tail = _z(np.exp(-np.abs(_z(x))))
        return _z(np.where(_z(x) < 0, tail, x.dtype.type(1)) / (x.dtype.type(1) + tail))

    return _map("sigmoid_forward", {"x": x}, out, sigmoid)


def sigmoid_backward(dy, y, *, out=None):
    """`dy * (y * (1 - y))`."""
    return _map("sigmoid_backward", {"dy": dy, "y": y}, out, _sigmoid_slope)


def _sigmoid_slope(dy, y):
    return _z(_z(dy) * _z(_z(y) * (y.dtype.type(1) - _z(y))))


def _relu(x):
    return np.where(_z(x) <= 0, x.dtype.type(0), x)


def _z(x):
    """`x` with zeros, of the same sign, in place of subnormal numbers."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


def _map(function, inputs, out, body, slope=None):
    (first, x), *others = inputs.items()
    x = checks.floats(function, first, x)
    for name, array in others:
        checks.floats(function, name, array, x.shape, dtype=x.dtype)
    if out is not None:
        checks.floats(function, "out", out, x.shape, dtype=x.dtype, write=True)
        checks.disjoint(function, "out", out, inputs, allow_same=True)
    scalars = () if slope is None else (_z(x.dtype.type(checks.number(function, "slope", slope, 0.0))),)
    with np.errstate(all="ignore"):
        return _into(out, body(*inputs.values(), *scalars))


# ---------------------------------------------------------------------------------------------------------------------------------
# Losses: scores (n, c), mean over samples


def softmax_cross_entropy(logits, labels, *, sample_weight=None, out=None):
    """`loss_i = log(sum_j exp(s_ij)) - s_i,label`, or `sum_j t_ij * (log(sum exp) - s_ij)` for probabilities `t`.

    The row maximum is subtracted first. `t = 0` contributes nothing even where the score is -inf. Gradient:
    `(softmax * sum_j t_ij - t) * weight_i / sum(weight)`.
    """
    function = "softmax_cross_entropy"
    logits, target = _scores(function, "logits", logits, "labels", labels, dense=True)
    share, out = _loss_arguments(function, logits, sample_weight, out, {"logits": logits, "labels": labels})
    with np.errstate(all="ignore"):
        z = logits - (logits.max(axis=1, keepdims=True) if logits.size else 0)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True, dtype=np.float64)
        p = e / total.astype(logits.dtype)
        log_total = np.log(total)
        if target.ndim == 1:
            rows = np.arange(len(target))
            losses = log_total[:, 0] - z[rows, target]
            gradient = p
            gradient[rows, target] -= logits.dtype.type(1)
        else:
            losses = np.where(target == 0, 0.0, target * (log_total - z)).sum(axis=1, dtype=np.float64)
            gradient = p * target.sum(axis=1, keepdims=True) - target
        return _mean_loss(losses, share), _into(out, gradient * share.astype(logits.dtype)[:, None])


def l2_loss(pred, target, *, sample_weight=None, out=None):
    """`loss_i = 0.5 * sum_j d_ij ** 2` with `d = pred - target`; gradient `d * (weight_i / sum(weight))`."""
    function = "l2_loss"
    pred = checks.floats(function, "pred", pred, ("n", "o"))
    target = checks.floats(function, "target", target, pred.shape, dtype=pred.dtype)
    share, out = _loss_arguments(function, pred, sample_weight, out, {"pred": pred, "target": target})
    with np.errstate(all="ignore"):
        d = _z(_z(pred) - _z(target))
        losses = 0.5 * np.square(d, dtype=np.float64).sum(axis=1)
        return _mean_loss(losses, share), _into(out, _z(d * _z(share.astype(pred.dtype))[:, None]))


def hinge_loss(scores, labels, *, margin=1.0, sample_weight=None, out=None):
    """`loss_i = sum over j != label of max(0, (s_ij - s_i,label) + margin)`, the multiclass SVM of Weston and Watkins (1999).

    A term of exactly 0 is inactive (a tie at the margin has gradient 0). Gradient: `share_i` for each active term, and minus
    `(number of active terms) * share_i` at the label, with `share_i = weight_i / sum(weight)`.
    """
    function = "hinge_loss"
    scores, target = _scores(function, "scores", scores, "labels", labels, dense=False)
    share, out = _loss_arguments(function, scores, sample_weight, out, {"scores": scores, "labels": labels})
    margin = scores.dtype.type(checks.number(function, "margin", margin, 0.0))
    with np.errstate(all="ignore"):
        rows = np.arange(len(target))
        apart = _z(_z(scores) - _z(scores)[rows, target][:, None])
        terms = _relu(_z(apart + _z(margin)))
        terms[rows, target] = 0
        active = ~(terms <= 0)
        share_typed = share.astype(scores.dtype)
        gradient = np.where(active, share_typed[:, None], scores.dtype.type(0))
        gradient[rows, target] = -_z(active.sum(axis=1).astype(scores.dtype) * _z(share_typed))
        return _mean_loss(terms.sum(axis=1, dtype=np.float64), share), _into(out, gradient)


def _scores(function, name, scores, target_name, target, *, dense):
    scores = checks.floats(function, name, scores, ("n", "c"))
    n, c = scores.shape
    if c == 0:
        got = f"{checks.shape_text(scores.shape)} {scores.dtype}"
        raise checks.fail(ValueError, function, name, "have at least one column", "shape (n, c)", got)
    if dense and isinstance(target, np.ndarray) and target.dtype.kind == "f":
        return scores, checks.floats(function, target_name, target, (n, c), dtype=scores.dtype)
    return scores, checks.labels(function, target_name, target, n, c)


def _loss_arguments(function, scores, sample_weight, out, inputs):
    """Return each sample's share of the mean in float64, `weight / sum(weight)`, and the checked `out`."""
    n = len(scores)
    if sample_weight is None:
        share = np.full(n, 1.0 / max(n, 1))
    else:
        weight = checks.weights(function, "sample_weight", sample_weight, n, scores.dtype).astype(np.float64)
        total = np.add.accumulate(weight)[-1] if n else 0.0
        share = weight / total if total > 0 else np.zeros(n)
    if out is not None:
        checks.floats(function, "out", out, scores.shape, dtype=scores.dtype, write=True)
        checks.disjoint(function, "out", out, {**inputs, "sample_weight": sample_weight}, allow_same=True)
    return share, out


def _mean_loss(losses, share):
    return float(np.add.accumulate(np.where(share == 0, 0.0, losses * share))[-1]) if len(losses) else 0.0


# ---------------------------------------------------------------------------------------------------------------------------------
# Updates: any shape, in place. `g = grad`, then `g += weight_decay * param` when weight_decay is not 0, then `g += l1 * sign(param)` when
# l1 is not 0, each rounded; sign(0) = sign(-0) = +0, sign(NaN) = NaN.


def sgd_update(param, grad, *, learning_rate, weight_decay=0.0, l1=0.0):
    """`param -= learning_rate * g`."""
    function = "sgd_update"
    param, grad = _parameters(function, param=param, grad=grad)
    lr, wd, l1 = _rates(function, param, learning_rate=learning_rate, weight_decay=weight_decay, l1=l1)
    with np.errstate(all="ignore"):
        param[...] = _z(_z(param) - _z(lr * _decayed(param, grad, wd, l1)))


def momentum_update(param, grad, velocity, *, learning_rate, momentum=0.9, nesterov=False, weight_decay=0.0, l1=0.0):
    """`s = learning_rate * g; velocity = momentum * velocity - s`; then `param += velocity`, or with Nesterov
    `param += momentum * velocity - s` (the new velocity)."""
    function = "momentum_update"
    param, grad, velocity = _parameters(function, param=param, grad=grad, velocity=velocity)
    lr, mu, wd, l1 = _rates(function, param, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, l1=l1)
    with np.errstate(all="ignore"):
        step = _z(lr * _decayed(param, grad, wd, l1))
        velocity[...] = _z(_z(mu * _z(velocity)) - step)
        param[...] = _z(_z(param) + (_z(_z(mu * velocity) - step) if nesterov else velocity))


def adagrad_update(param, grad, cache, *, learning_rate, eps=1e-8, weight_decay=0.0, l1=0.0):
    """`cache += g * g; param -= (learning_rate * g) / (sqrt(cache) + eps)`."""
    function = "adagrad_update"
    param, grad, cache = _parameters(function, param=param, grad=grad, cache=cache)
    lr, eps, wd, l1 = _rates(function, param, learning_rate=learning_rate, eps=eps, weight_decay=weight_decay, l1=l1)
    with np.errstate(all="ignore"):
        g = _decayed(param, grad, wd, l1)
        cache[...] = _z(_z(cache) + _z(g * g))
        param[...] = _z(_z(param) - _z(_z(lr * g) / _z(np.sqrt(cache) + eps)))


def rmsprop_update(param, grad, cache, *, learning_rate, decay_rate=0.99, eps=1e-8, weight_decay=0.0, l1=0.0):
    """`cache = decay_rate * cache + (1 - decay_rate) * (g * g); param -= (learning_rate * g) / (sqrt(cache) + eps)`."""
    function = "rmsprop_update"
    param, grad, cache = _parameters(function, param=param, grad=grad, cache=cache)
    lr, rho, eps, wd, l1 = _rates(function, param, learning_rate=learning_rate, decay_rate=decay_rate, eps=eps, weight_decay=weight_decay,
                                  l1=l1)
    rest = _z(param.dtype.type(1.0 - float(decay_rate)))
    with np.errstate(all="ignore"):
        g = _decayed(param, grad, wd, l1)
        cache[...] = _z(_z(rho * _z(cache)) + _z(rest * _z(g * g)))
        param[...] = _z(_z(param) - _z(_z(lr * g) / _z(np.sqrt(cache) + eps)))


def adam_update(param, grad, m, v, step, *, learning_rate, beta1=0.9, beta2=0.999, eps=1e-8, bias_correction=True, weight_decay=0.0,
                decoupled=False, l1=0.0):
    """`m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * (g * g); param -= (rate * m) / (sqrt(v) + eps_t)`.

    With bias correction `rate = learning_rate * sqrt(1 - beta2**step) / (1 - beta1**step)` and `eps_t = eps * sqrt(1 - beta2**step)`,
    which is `learning_rate * m_hat / (sqrt(v_hat) + eps)` of Kingma and Ba (2015) with the corrections drawn into two scalars;
    without it they are `learning_rate` and `eps`. `decoupled` takes the weight decay (not `l1`) out of `g` and does `param *= 1 -
    learning_rate * weight_decay` first (Loshchilov and Hutter 2019).
    """
    function = "adam_update"
    param, grad, m, v = _parameters(function, param=param, grad=grad, m=m, v=v)
    step = checks.integer(function, "step", step, 1, 2**53)
    *_, l1 = _rates(function, param, learning_rate=learning_rate, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, l1=l1)
    lr, b1, b2, eps, wd = (float(value) for value in (learning_rate, beta1, beta2, eps, weight_decay))
    root = math.sqrt(1.0 - b2**step) if bias_correction else 1.0
    rate = lr * root / (1.0 - b1**step) if bias_correction else lr
    beta1, rest1, beta2, rest2, rate, eps, decay, shrink = (
        _z(param.dtype.type(value)) for value in (b1, 1.0 - b1, b2, 1.0 - b2, rate, eps * root, 0.0 if decoupled else wd, 1.0 - lr * wd)
    )
    with np.errstate(all="ignore"):
        p = _z(_z(param) * (shrink if decoupled else param.dtype.type(1)))
        g = _decayed(p, grad, decay, l1)
        m[...] = _z(_z(beta1 * _z(m)) + _z(rest1 * g))
        v[...] = _z(_z(beta2 * _z(v)) + _z(rest2 * _z(g * g)))
        param[...] = _z(p - _z(_z(rate * m) / _z(np.sqrt(v) + eps)))


_RANGES: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 0.0},
    "weight_decay": {"low": 0.0},
    "l1": {"low": 0.0},
    "eps": {"low": 0.0},
    "momentum": {"low": 0.0, "high": 1.0},
    "decay_rate": {"low": 0.0, "high": 1.0},
    "beta1": {"low": 0.0, "high": 1.0, "open_high": True},
    "beta2": {"low": 0.0, "high": 1.0, "open_high": True},
}


def _parameters(function, **arrays):
    (first, param), *others = arrays.items()
    param = checks.floats(function, first, param, write=True)
    for name, array in others:
        checks.floats(function, name, array, param.shape, dtype=param.dtype, write=name != "grad")
    seen: dict[str, np.ndarray | None] = {}
    for name, array in arrays.items():
        checks.disjoint(function, name, array, seen)
        seen[name] = array
    return list(arrays.values())


def _rates(function, param, **values):
    return [_z(param.dtype.type(checks.number(function, name, value, **_RANGES[name]))) for name, value in values.items()]


def _decayed(param, grad, weight_decay, l1):
    g = _z(grad)
    if weight_decay != 0:
        g = _z(g + _z(weight_decay * _z(param)))
    return _z(g + l1 * np.sign(_z(param))) if l1 != 0 else g


# ---------------------------------------------------------------------------------------------------------------------------------
# Tables: x (n, i) of uint8, float32 or float64. Subnormal numbers are what they are.


def column_moments(x, block):
    """Of every `block` rows, in float64: `mean` of `d = x - x[0]` and sum of `(d - mean)**2`, rows added one after another."""
    return _by_columns("column_moments", x, block, _moments)


def column_extremes(x, block):
    """Of every `block` rows, in float64: the least and the largest value, NaN where there is one; `+ 0.0` makes zeros positive."""
    return _by_columns("column_extremes", x, block, lambda rows, _: (rows.min(axis=0) + 0.0, rows.max(axis=0) + 0.0))


def row_hashes(x):
    """`mix(sum_j odd_j * word_j)` modulo 2^64, with words of two float32 values, the last one filled up by 0."""
    x = checks.table("row_hashes", x)
    n, width = x.shape
    words = -(-width // 2)
    odd = _mixed(np.arange(1, words + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)
    sums, rows = np.empty(n, np.uint64), max(1, _HASHED // max(1, width))
    for start in range(0, n, rows):
        block = x[start : start + rows]
        values = np.zeros((len(block), 2 * words), np.float32)
        with np.errstate(all="ignore"):
            values[:, :width] = block
        bits = values.view(np.uint64)
        # Whole numbers have zeros for low bits, which a product modulo 2^64 would leave zero: the high bits of the word go there.
        sums[start : start + rows] = (bits ^ (bits >> np.uint64(47))) @ odd
    return _mixed(sums)


def _by_columns(function, x, block, gather):
    x, block = checks.table(function, x), checks.integer(function, "block", block, 1, 2**53)
    shape = -(-len(x) // block), x.shape[1]
    first, second = np.empty(shape), np.empty(shape)
    with np.errstate(all="ignore"):
        for k in range(len(first)):
            first[k], second[k] = gather(x[k * block : (k + 1) * block].astype(np.float64), x[0].astype(np.float64))
    return first, second


def _moments(rows, origin):
    rows -= origin
    mean = _sum_in_order(rows) / len(rows)
    rows -= mean
    return mean, _sum_in_order(rows * rows)


def _sum_in_order(rows):
    """Rows added one after another, starting from +0.0, in whatever order they lie in memory."""
    return np.cumsum(rows, axis=0)[-1] + 0.0


def _mixed(z):
    """The finalizer of SplitMix64 (Steele et al. 2014), a bijection that makes all bits depend on all."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _into(out, value):
    if out is None:
        return np.asarray(value)
    out[...] = value
    return out
