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

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays, checks, losses, text
from .layers import KINKED
from .model import MLP, checked

SCALE = ((1e-7, "happy"), (1e-4, "fine"), (1e-2, "uncomfortable"), (float("inf"), "wrong"))
_ADVICE = {
    "happy": "the gradients agree",
    "fine": "fine for an objective with kinks",
    "uncomfortable": "too large for a correct gradient in float64: look at the worst entries",
    "wrong": "the analytic gradient does not belong to this loss",
    "unjudged": "every entry sat on a kink or below the rounding noise: try other data or another h",
}
_SMOOTH_ADVICE = "high for a smooth objective such as this: look at the worst entries"
_ROUNDINGS = 4.0 * float(np.finfo(np.float64).eps)  # by which a loss value is off, relatively, allowing for the sums inside it


@dataclass(frozen=True)
class Entry:
    """One compared derivative."""

    name: str
    analytic: float
    numeric: float

    @property
    def relative_error(self) -> float:
        """`|a - n| / max(|a|, |n|)`, 0 where both are 0, inf where one is not finite."""
        return relative(abs(self.analytic - self.numeric), max(abs(self.analytic), abs(self.numeric)))


@dataclass(frozen=True)
class Row:
    """A line of a report: the relative errors that were judged, and how many were counted apart."""

    name: str
    judged: tuple[Any, ...]
    kinks: int
    below_noise: int

    @property
    def errors(self) -> tuple[float, ...]:
        """The relative errors."""
        return self.judged

    @property
    def max_relative_error(self) -> float:
        """Over all that was judged; 0 where nothing was."""
        return max(self.errors, default=0.0)

    def cells(self) -> tuple[str, ...]:
        """What a table says of it."""
        return str(len(self.judged)), str(self.kinks), str(self.below_noise), f"{self.max_relative_error:.1e}" if self.judged else "-"


@dataclass(frozen=True)
class ArrayReport(Row):
    """One array of the net: the entries judged, and how many were counted apart."""

    judged: tuple[Entry, ...]
    size: int

    @property
    def errors(self) -> tuple[float, ...]:
        return tuple(entry.relative_error for entry in self.judged)


class Report:
    """The verdict on rows, read off the largest relative error."""

    def _rows(self) -> Sequence[Row]:
        raise NotImplementedError

    @property
    def max_relative_error(self) -> float:
        """Over all that was judged; 0 where nothing was."""
        return max(row.max_relative_error for row in self._rows())

    @property
    def verdict(self) -> str:
        """"happy", "fine", "uncomfortable" or "wrong"; "unjudged" where nothing could be judged."""
        if not any(row.judged for row in self._rows()):
            return "unjudged"
        return next(name for limit, name in SCALE if self.max_relative_error <= limit)

    @property
    def passed(self) -> bool:
        """Whether the verdict is "happy" or "fine"."""
        return self.verdict in ("happy", "fine")


@dataclass(frozen=True, repr=False)
class GradientReport(Report):
    """What `gradient_check` found; prints as a table with a verdict."""

    arrays: tuple[ArrayReport, ...]
    smooth: bool
    h: float

    def _rows(self) -> Sequence[Row]:
        return self.arrays

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
        rows: list[tuple[str, ...]] = [("array", "size", "judged", "kinks", "below noise", "max relative error")]
        rows += [(array.name, str(array.size), *array.cells()) for array in self.arrays]
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
    copy = checked(function, net).astype("float64")
    x = arrays.rows(function, x, copy.sizes[0], copy.dtype)
    y = losses.prepare_targets(objective, y, len(x), copy.sizes[-1], copy.dtype, function)
    weight = arrays.sample_weights(function, sample_weight, len(x), copy.dtype)
    if weight is not None and not weight.any():
        raise checks.fail(ValueError, function, "sample_weight", "weigh something", "a positive sum", "only zeros")

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


def group(patterns: Sequence[list[np.ndarray]], apart: float, scale: float, noise: float) -> int:
    """Where a pair of derivatives belongs that is `apart` by so much and as large as `scale`: 0, it is judged; 1, `patterns`, the `sides`
    of the two ends, tell of a kink; 2, it is below `noise`."""
    if any((before != after).any() for before, after in zip(*patterns)):
        return 1
    return 2 if 0 < scale < noise / SCALE[0][0] and apart <= noise else 0


def relative(apart: float, scale: float) -> float:
    """`apart / scale`: 0 where both are 0, inf where one is not finite."""
    if not (math.isfinite(apart) and math.isfinite(scale)):
        return math.inf
    return apart / scale if scale > 0 else 0.0


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
        groups: list[list[Entry]] = [[], [], []]
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
            width = (ends[1] - ends[0]) or 1.0  # an h that moves no weight makes no difference
            entry = Entry(f"{prefix}{name}[{', '.join(map(str, index))}]", float(gradient[index]), (values[1] - values[0]) / width)
            apart, scale = abs(entry.analytic - entry.numeric), max(abs(entry.analytic), abs(entry.numeric))
            groups[group(patterns, apart, scale, _ROUNDINGS * max(map(abs, values)) / h)].append(entry)
        yield ArrayReport(prefix + name, tuple(groups[0]), len(groups[1]), len(groups[2]), array.size)
