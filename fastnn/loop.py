"""The training engine in Python: many updates a call, written with the kernels, and the definition of what an update computes.

The compiled engine has the same constructor, methods and effects; the trainer cannot tell the two apart. One update, in this order:

1. gather the batch, convert it to the net's dtype, standardise it (`fastnn.preprocessing.standardised`), drop inputs;
2. forward, the loss and its gradient, backward; a loss or a gradient that is not finite, or a weight or optimizer state that would not
   be after the update, ends the run with nothing of the update written;
3. the norm of all gradients, `sqrt(sum g * g)` in float64, where it is wanted; clip by norm: `g *= clip_norm / norm` where
   `norm > clip_norm`; then by value: `-clip_value <= g <= clip_value`;
4. the optimizer's kernel on every parameter; what it changes in the weights, by their norm, is the update ratio;
5. max-norm: a column of a weight matrix with `norm = sqrt(sum of squares, rows added in order) > max_norm` becomes
   `column * (max_norm / norm)` (Srivastava et al. 2014);
6. the sum behind the running average, which began as zeros: `average += (1 - decay) * (param - average)` (`fastnn.averaging.EMA`).

Every operation rounds in the net's dtype unless said otherwise, scalars once; subnormal numbers count as zero, see `fastnn.reference`.

Dropout masks are those of `fastnn.layers` for the step and for a row's position in the batch. Gradient accumulation is the same update
with less memory, so it means nothing new here: the whole batch is one pass in this engine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import layers, losses
from .backend import kernels
from .interrupts import Held
from .plan import Plan, Statistics
from .preprocessing import standardised


class Loop:
    """Updates with a loss object, one after another: what the engine of this module and `Driver` have in common."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss
        self._sums = Statistics()
        self.done = 0
        self.failure = False

    def forward(self, x: np.ndarray, step: int, row: int = 0) -> np.ndarray:
        """Scores of a gathered batch `x (n, i)` of uint8, float32 or float64, with the dropout of `step`; `row` is the position of its
        first row."""
        raise NotImplementedError

    def backward(self, dscores: np.ndarray, scalars: np.ndarray, bias_scalars: np.ndarray, measure: bool) -> bool:
        """One update from the gradient of the scores that `forward` returned; False, and nothing written, where a gradient, or what would
        become of the weights and the optimizer's state, is not finite."""
        raise NotImplementedError

    @property
    def statistics(self) -> Statistics:
        """Of the updates since `reset`."""
        return self._sums

    def reset(self, statistics: Statistics | None = None) -> None:
        """Begin new statistics, or go on with those given."""
        self._sums = Statistics() if statistics is None else statistics

    def run(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, order: np.ndarray | None, batch_size: int, micro_batch: int,
            first: int, updates: int, scalars: np.ndarray, bias_scalars: np.ndarray, step: int, measure: bool, deadline: float) -> int:
        """Do up to `updates` updates and return how many were done, also in `done`.

        Update `u` uses rows `order[(first + u) * batch_size:][:batch_size]` (plain row numbers when `order` is None) and the scalars of
        row `u`; `step` updates came before. The last one leaves gradient norm and update ratio when `measure`. The run ends early past
        `deadline` seconds of `time.monotonic`, or with `failure` set and nothing written where a loss or gradient is not finite.
        KeyboardInterrupt comes after a completed update.
        """
        self.done, self.failure = 0, False
        # A net that diverges is answered by `failure`, not by NumPy's warnings.
        with Held() as held, np.errstate(over="ignore", invalid="ignore"):
            for u in range(updates):
                if time.monotonic() >= deadline:
                    break
                start = (first + u) * batch_size
                rows = slice(start, start + batch_size) if order is None else order[start:start + batch_size]
                batch = x[rows], y[rows], None if weight is None else weight[rows]
                if not self._update(*batch, step + u, scalars[u], bias_scalars[u], measure and u == updates - 1):
                    self.failure = True
                    break
                self.done += 1
                held.check()
        return self.done

    def _update(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, step: int, scalars: np.ndarray, bias_scalars: np.ndarray,
                measure: bool) -> bool:
        scores = self.forward(x, step)
        loss, dscores = losses.value_and_gradient(self._loss, scores, y, weight, "Trainer")
        if not math.isfinite(loss):
            return False
        metric = losses.metric(self._loss)
        metric_sum = 0.0 if metric is None else len(x) * self._loss.metric(scores, y) ** metric.power
        if not self.backward(dscores, scalars, bias_scalars, measure):
            return False
        share = len(x) if weight is None else float(weight.sum(dtype=np.float64))
        sums = self._sums
        self._sums = sums._replace(loss_sum=sums.loss_sum + loss * share, weight_sum=sums.weight_sum + share,
                                   metric_sum=sums.metric_sum + metric_sum, rows=sums.rows + len(x))
        return True


class Driver(Loop):
    """Runs the updates of `engine` with a user's loss object."""

    def __init__(self, engine: Any, loss: Any) -> None:
        super().__init__(loss)
        self._engine = engine

    def forward(self, x: np.ndarray, step: int, row: int = 0) -> np.ndarray:
        return self._engine.forward(x, step, row)

    def backward(self, dscores: np.ndarray, scalars: np.ndarray, bias_scalars: np.ndarray, measure: bool) -> bool:
        finite = self._engine.backward(dscores, scalars, bias_scalars, measure)
        if finite and measure:
            measured = self._engine.statistics
            self._sums = self._sums._replace(gradient_norm=measured.gradient_norm, weight_norm=measured.weight_norm,
                                             update_ratio=measured.update_ratio)
        return finite


class Engine(Loop):
    """Trains `parameters = [w0, b0, w1, ...]` in place, with the optimizer's `states` (a tuple of arrays a parameter) and `averages`
    (aligned with the parameters, or empty); references are kept. All arrays are C-ordered, of one dtype."""

    def __init__(self, plan: Plan, parameters: Sequence[np.ndarray], states: Sequence[tuple[np.ndarray, ...]],
                 averages: Sequence[np.ndarray]) -> None:
        super().__init__(None if plan.loss is None else losses.LOSSES[plan.loss](*((plan.margin,) if plan.loss == "hinge" else ())))
        last = len(plan.sizes) - 2
        self._plan = plan
        self._layers = [layers.Layer(w, b, "linear" if k == last else plan.activation, plan.slope)
                        for k, (w, b) in enumerate(zip(parameters[0::2], parameters[1::2]))]
        self._parameters, self._states, self._averages = list(parameters), list(states), list(averages)
        self._row = 0

    def forward(self, x: np.ndarray, step: int, row: int = 0) -> np.ndarray:
        plan, dtype = self._plan, self._parameters[0].dtype
        x = np.ascontiguousarray(x if x.dtype in (dtype, np.uint8) else _flushed(_flushed(x).astype(dtype)), dtype)
        if plan.mean is not None and plan.inverse_std is not None:
            x = standardised(x, plan.mean, plan.inverse_std)
        if row > 0:  # a mask depends on the position of a row: rows of zeros stand for those before
            x = np.concatenate([np.zeros((row, x.shape[1]), dtype), x])
        self._row = row
        self._masks = layers.masks(plan.keep_prob, plan.seed, step * len(self._layers))
        self._traces = layers.forward(self._layers, x, self._masks)
        return self._traces[-1].y[row:]

    def backward(self, dscores: np.ndarray, scalars: np.ndarray, bias_scalars: np.ndarray, measure: bool) -> bool:
        plan = self._plan
        if self._row > 0:
            dscores = np.concatenate([np.zeros((self._row, dscores.shape[1]), dscores.dtype), dscores])
        gradients = layers.backward(self._layers, self._traces, self._masks, dscores)
        if not all(np.isfinite(gradient).all() for gradient in gradients):
            return False
        changing = [array for param, state in zip(self._parameters, self._states) for array in (param, *state)]
        before_all = [array.copy() for array in (*changing, *self._averages)]
        norm = _norm(gradients) if measure or plan.clip_norm < math.inf else math.nan
        moved = 0.0
        size = _norm(self._parameters[0::2]) if measure else 0.0
        for k, (param, gradient, state) in enumerate(zip(self._parameters, gradients, self._states)):
            if norm > plan.clip_norm:
                gradient = _flushed(_flushed(gradient) * gradient.dtype.type(plan.clip_norm / norm))
            if plan.clip_value < math.inf:
                gradient = np.clip(gradient, -gradient.dtype.type(plan.clip_value), gradient.dtype.type(plan.clip_value))
            before = param.astype(np.float64) if measure and k % 2 == 0 else None
            apply(plan.update, param, gradient, state, scalars if k % 2 == 0 else bias_scalars)
            if before is not None:
                moved += float(np.square(param - before).sum())
            if plan.max_norm < math.inf and k % 2 == 0:
                _limit_columns(param, plan.max_norm)
        rest = self._parameters[0].dtype.type(1.0 - plan.average)
        for average, param in zip(self._averages, self._parameters):
            average[...] = _flushed(_flushed(average) + _flushed(rest * _flushed(_flushed(param) - _flushed(average))))
        if not all(np.isfinite(array).all() for array in changing):
            for array, kept in zip((*changing, *self._averages), before_all):
                array[...] = kept
            return False
        if measure:
            ratio = math.sqrt(moved) / size if size > 0 else math.nan
            self._sums = self._sums._replace(gradient_norm=norm, weight_norm=size, update_ratio=ratio)
        return True


def apply(update: str, param: np.ndarray, grad: np.ndarray, state: tuple[np.ndarray, ...], scalars: np.ndarray) -> None:
    """One update in place by the kernel of that name, with a row of `Optimizer.scalars`."""
    decay, l1, rate, *rest = scalars.tolist()
    if update == "sgd":
        kernels.sgd_update(param, grad, learning_rate=rate, weight_decay=decay, l1=l1)
    elif update in ("momentum", "nesterov"):
        kernels.momentum_update(param, grad, *state, learning_rate=rate, momentum=rest[0], nesterov=update == "nesterov",
                                weight_decay=decay, l1=l1)
    elif update == "adagrad":
        kernels.adagrad_update(param, grad, *state, learning_rate=rate, eps=rest[0], weight_decay=decay, l1=l1)
    elif update == "rmsprop":
        kernels.rmsprop_update(param, grad, *state, learning_rate=rate, eps=rest[0], decay_rate=rest[1], weight_decay=decay, l1=l1)
    else:
        eps, beta1, _, beta2, _, shrink = rest
        if shrink != 1.0:
            param[...] = _flushed(_flushed(param) * param.dtype.type(shrink))
        kernels.adam_update(param, grad, *state, 1, learning_rate=rate, beta1=beta1, beta2=beta2, eps=eps, bias_correction=False,
                            weight_decay=decay, l1=l1)


def _norm(arrays: Sequence[np.ndarray]) -> float:
    return math.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays))


def _limit_columns(w: np.ndarray, max_norm: float) -> None:
    limit = w.dtype.type(max_norm)
    squares = np.zeros(w.shape[1], w.dtype)
    for row in _flushed(w):
        squares += _flushed(row * row)
    norms = np.sqrt(squares)
    for j in np.flatnonzero(norms > limit):
        w[:, j] = _flushed(_flushed(w[:, j]) * (limit / norms[j]))


def _flushed(x: np.ndarray) -> np.ndarray:
    """`x` with zeros, of the same sign, in place of subnormal numbers."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)
