"""Gradient checking by centered differences (CS231n notes, "Gradient checks").

The numeric gradient is `(f(w + h) - f(w - h)) / 2h` in float64, the relative error `|a - n| / max(|a|, |n|)`, and the verdict is the scale
of the notes, read off the largest relative error:

    > 1e-2           wrong
    1e-4 .. 1e-2     uncomfortable
    1e-7 .. 1e-4     fine for an objective with kinks; high for a smooth one
    <= 1e-7          happy

Two kinds of entries are counted apart, because their relative error says nothing about the gradient:

* **kinks**: some ReLU or leaky ReLU changes sides between `w - h` and `w + h` (or some hinge margin becomes active or inactive), so the
  function is not differentiable in between;
* **below noise**: the two gradients differ by no more than the rounding of the loss values explains, about `eps * |f| / h`, and are too
  small for a relative error of 1e-7 to be seen above it. A wrong gradient larger than that noise is still judged.

The regulariser is checked apart from the data loss, which it could otherwise drown: `weight_decay * w + l1 * sign(w)` against differences
of `0.5 * weight_decay * sum(w**2) + l1 * sum(|w|)`, which has a kink at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays, checks, losses, text
from .layers import KINKED
from .model import MLP

SCALE = ((1e-7, "happy"), (1e-4, "fine"), (1e-2, "uncomfortable"), (float("inf"), "wrong"))
_ADVICE = {
    "happy": "the gradients agree",
    "fine": "fine for an objective with kinks",
    "uncomfortable": "too large for a correct gradient in float64: look at the worst entries",
    "wrong": "the analytic gradient does not belong to this loss",
    "unjudged": "every entry sat on a kink or below the rounding noise: try other data or another h",
}
_SMOOTH_ADVICE = "high for a smooth objective such as this: look at the worst entries"
_ROUNDINGS = 4.0  # units in the last place by which a loss value is off, allowing for the sums inside it


@dataclass(frozen=True)
class Entry:
    """One compared derivative."""

    name: str
    analytic: float
    numeric: float

    @property
    def relative_error(self) -> float:
        """`|a - n| / max(|a|, |n|)`, 0 where both are 0, inf where one is not finite."""
        if not np.isfinite([self.analytic, self.numeric]).all():
            return float("inf")
        scale = max(abs(self.analytic), abs(self.numeric))
        return abs(self.analytic - self.numeric) / scale if scale > 0 else 0.0


@dataclass(frozen=True)
class ArrayReport:
    """One array of the net: the entries judged, and how many were counted apart."""

    name: str
    size: int
    judged: tuple[Entry, ...]
    kinks: int
    below_noise: int

    @property
    def max_relative_error(self) -> float:
        """Over the judged entries; 0 where there are none."""
        return max((entry.relative_error for entry in self.judged), default=0.0)


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `gradient_check` found; prints as a table with a verdict."""

    arrays: tuple[ArrayReport, ...]
    smooth: bool
    h: float

    @property
    def max_relative_error(self) -> float:
        """Over every judged entry; 0 where there are none."""
        return max((array.max_relative_error for array in self.arrays), default=0.0)

    @property
    def verdict(self) -> str:
        """"happy", "fine", "uncomfortable" or "wrong"; "unjudged" where no entry could be judged."""
        if not any(array.judged for array in self.arrays):
            return "unjudged"
        return next(name for limit, name in SCALE if self.max_relative_error <= limit)

    @property
    def passed(self) -> bool:
        """Whether the verdict is "happy" or "fine"."""
        return self.verdict in ("happy", "fine")

    @property
    def kinks(self) -> int:
        """Entries on a kink."""
        return sum(array.kinks for array in self.arrays)

    @property
    def below_noise(self) -> int:
        """Entries too small to be judged."""
        return sum(array.below_noise for array in self.arrays)

    def worst(self, count: int = 5) -> list[Entry]:
        """The judged entries of largest relative error, worst first."""
        return sorted((entry for array in self.arrays for entry in array.judged), key=lambda entry: -entry.relative_error)[:count]

    def __str__(self) -> str:
        rows = [("array", "size", "judged", "kinks", "below noise", "max relative error")]
        rows += [(array.name, str(array.size), str(len(array.judged)), str(array.kinks), str(array.below_noise),
                  f"{array.max_relative_error:.1e}" if array.judged else "-") for array in self.arrays]
        worst = [("worst entries", "analytic", "numeric", "relative error")]
        worst += [(entry.name, f"{entry.analytic:.9e}", f"{entry.numeric:.9e}", f"{entry.relative_error:.1e}") for entry in self.worst()]
        verdict = f"gradient check: {self.verdict}, max relative error {self.max_relative_error:.1e} (h = {self.h:g})"
        advice = _SMOOTH_ADVICE if self.smooth and self.verdict == "fine" else _ADVICE[self.verdict]
        tables = [text.aligned(table, left=1) for table in (rows, worst) if len(table) > 1]
        return "\n\n".join([f"{verdict}\n{advice}", *tables])

    def __repr__(self) -> str:
        return f"<GradientReport: {self.verdict}, max relative error {self.max_relative_error:.1e}, {self.kinks} kinks>"


def gradient_check(net: MLP, x: Any, y: Any, *, loss: str | losses.Loss = "softmax_cross_entropy", h: float = 1e-5, samples: int = 20,
                   weight_decay: float = 0.0, l1: float = 0.0, sample_weight: Any = None, dropout: tuple[int, int] | None = None,
                   seed: int = 0) -> GradientReport:
    """Compare `net.loss_and_gradients` with centered differences, on a float64 copy of the net.

    `samples` entries of every weight and bias array are drawn with `seed` (all of a smaller one). `dropout=(seed, stream)` holds one
    mask fixed. A loss object of the user's own is taken to have no kinks unless it has `active`. A few rows of `x` are enough, and a
    net trained for a moment tells more than a fresh one. Raises what `loss_and_gradients` raises; the net is not changed.
    """
    function = "gradient_check"
    h = checks.number(function, "h", h, 0.0, 1.0, open_low=True)
    samples = checks.integer(function, "samples", samples, 1, 2**53)
    decay, l1 = checks.number(function, "weight_decay", weight_decay, 0.0), checks.number(function, "l1", l1, 0.0)
    rng = np.random.default_rng(checks.integer(function, "seed", seed, 0, 2**64 - 1))
    objective = losses.get(loss, function)
    copy = net.astype("float64")
    x = arrays.inputs(function, x, copy.sizes[0], copy.dtype)
    y = losses.prepare_targets(objective, y, len(x), copy.sizes[-1], copy.dtype, function)
    weight = arrays.sample_weights(function, sample_weight, len(x), copy.dtype)

    def data(copy: MLP) -> tuple[float, list[np.ndarray]]:
        return copy.loss_and_gradients(x, y, loss=objective, sample_weight=weight, dropout=dropout)

    rows = list(_compare(copy, data, lambda copy: sides(copy, x, y, objective, dropout), h, samples, rng, ""))
    if decay > 0 or l1 > 0:
        def regulariser(copy: MLP) -> tuple[float, list[np.ndarray]]:
            return copy.loss_and_gradients(x[:0], y[:0], loss=_Nothing(), weight_decay=decay, l1=l1)

        def signs(copy: MLP) -> list[np.ndarray]:
            return [layer.weight > 0 for layer in copy.layers] if l1 > 0 else []

        rows += _compare(copy, regulariser, signs, h, samples, rng, "regulariser of ")
    smooth = not hasattr(objective, "active") and (copy.activation not in KINKED or len(copy.layers) == 1)
    return GradientReport(tuple(rows), smooth, h)


def sides(net: MLP, x: np.ndarray, y: np.ndarray, objective: Any, dropout: tuple[int, int] | None = None) -> list[np.ndarray]:
    """On which side of its kink every unit and margin is, as boolean arrays; `x` and `y` as prepared for the net."""
    traces = net._trace(net._batch(x), net._dropouts(dropout))
    found = [trace.active > 0 for trace in traces[:-1]] if net.activation in KINKED else []
    return found + [objective.active(traces[-1].y, y)] if hasattr(objective, "active") else found


class _Nothing:
    """The loss that is always 0, which leaves the regulariser alone."""

    def value_and_gradient(self, scores: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        return 0.0, np.zeros_like(scores)

    def predict(self, scores: np.ndarray) -> np.ndarray:
        return scores


def _compare(net: MLP, f: Callable[[MLP], tuple[float, list[np.ndarray]]], sides: Callable[[MLP], list[np.ndarray]], h: float, samples: int,
             rng: np.random.Generator, prefix: str) -> Iterator[ArrayReport]:
    """Check sampled entries of every array of `net` that `f` differentiates; each entry is put back after its two evaluations."""
    names = [f"layers[{k}].{kind}" for k in range(len(net.layers)) for kind in ("weight", "bias")]
    gradients = f(net)[1]
    for name, array, gradient in zip(names, net.parameters(), gradients):
        judged, kinks, below = [], 0, 0
        for flat in sorted(rng.choice(array.size, min(samples, array.size), replace=False).tolist()):
            index = tuple(int(k) for k in np.unravel_index(flat, array.shape))
            kept = array[index]
            ends, values, patterns = [], [], []
            for end in (kept - h, kept + h):
                array[index] = end
                ends.append(float(end))
                values.append(f(net)[0])
                patterns.append(sides(net))
            array[index] = kept
            width = ends[1] - ends[0]
            entry = Entry(f"{prefix}{name}[{', '.join(map(str, index))}]", float(gradient[index]), (values[1] - values[0]) / width)
            noise = _ROUNDINGS * np.finfo(np.float64).eps * max(map(abs, values)) / h
            scale = max(abs(entry.analytic), abs(entry.numeric))
            if any((before != after).any() for before, after in zip(*patterns)):
                kinks += 1
            elif 0 < scale < noise / SCALE[0][0] and abs(entry.analytic - entry.numeric) <= noise:
                below += 1
            else:
                judged.append(entry)
        yield ArrayReport(prefix + name, array.size, tuple(judged), kinks, below)

