"""Checking second derivatives by centered differences of the gradient: `(g(w + h v) - g(w - h v)) / 2h` in float64 against `H @ v`.

A direction is one weight or bias (a column of the Hessian), or random in all of them at once. Its relative error is
`|a - n| / max(|a|, |n|)` in the Euclidean norm, and the verdict is read off the worst on the scale of `fastnn.gradcheck`. Directions along
which a ReLU or a hinge margin changes sides are counted apart as kinks, and those whose curvature is below the rounding of the
differences as below noise. That the Hessian is symmetric is checked apart: `u @ (H @ v)` against `v @ (H @ u)` for random `u` and `v`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import checks, losses, text
from .curvature import Objective
from .gradcheck import SCALE, sides
from .model import MLP

_ROUNDINGS = 16.0  # units in the last place by which a gradient is off, allowing for the sums inside it


@dataclass(frozen=True)
class Directions:
    """The directions in one array, or the random ones: relative errors of those judged, and how many were counted apart."""

    name: str
    errors: tuple[float, ...]
    kinks: int
    below_noise: int

    @property
    def max_relative_error(self) -> float:
        """Over the judged directions; 0 where there are none."""
        return max(self.errors, default=0.0)


@dataclass(frozen=True, repr=False)
class HessianReport:
    """What `hessian_check` found; prints as a table with a verdict. `asymmetry` is relative to the larger of the two products."""

    rows: tuple[Directions, ...]
    asymmetry: float
    h: float

    @property
    def max_relative_error(self) -> float:
        """Over every judged direction, and the asymmetry."""
        return max(self.asymmetry, *(row.max_relative_error for row in self.rows))

    @property
    def verdict(self) -> str:
        """"happy", "fine", "uncomfortable" or "wrong", as in `gradient_check`; "unjudged" where no direction could be judged."""
        if not any(row.errors for row in self.rows):
            return "unjudged"
        return next(name for limit, name in SCALE if self.max_relative_error <= limit)

    @property
    def passed(self) -> bool:
        """Whether the verdict is "happy" or "fine"."""
        return self.verdict in ("happy", "fine")

    def __str__(self) -> str:
        rows = [("directions", "judged", "kinks", "below noise", "max relative error")]
        rows += [(row.name, str(len(row.errors)), str(row.kinks), str(row.below_noise),
                  f"{row.max_relative_error:.1e}" if row.errors else "-") for row in self.rows]
        return (f"Hessian check: {self.verdict}, max relative error {self.max_relative_error:.1e} (h = {self.h:g}), asymmetry "
                f"{self.asymmetry:.1e}\n\n{text.aligned(rows, left=1)}")

    def __repr__(self) -> str:
        return f"<HessianReport: {self.verdict}, max relative error {self.max_relative_error:.1e}, asymmetry {self.asymmetry:.1e}>"


def hessian_check(net: MLP, x: Any, y: Any, *, loss: str | losses.Loss = "softmax_cross_entropy", h: float = 1e-5, samples: int = 10,
                  weight_decay: float = 0.0, sample_weight: Any = None, seed: int = 0) -> HessianReport:
    """Compare exact Hessian-vector products with centered differences of the gradient, on a float64 copy of the net.

    `samples` columns of every weight and bias array, and as many random directions of length 1, are drawn with `seed`. Bring a few rows of
    `x`: with many, some ReLU is always near its kink. Raises what `hessian_vector_product` raises; the net is not changed.
    """
    function = "hessian_check"
    h = checks.number(function, "h", h, 0.0, 1.0, open_low=True)
    samples = checks.integer(function, "samples", samples, 1, 2**31 - 1)
    rng = np.random.default_rng(checks.integer(function, "seed", seed, 0, 2**64 - 1))
    objective = Objective(function, net.astype("float64"), x, y, loss, weight_decay, sample_weight)
    objective.require_curvature()
    rows, start = [], 0
    for k, array in enumerate(net.parameters()):
        chosen = start + np.sort(rng.choice(array.size, min(samples, array.size), replace=False))
        columns = np.zeros((len(chosen), objective.parameters))
        columns[np.arange(len(chosen)), chosen] = 1.0
        rows.append(_judge(objective, columns, h, f"layers[{k // 2}].{('weight', 'bias')[k % 2]}"))
        start += array.size
    random = rng.normal(size=(samples, objective.parameters))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    rows.append(_judge(objective, random, h, "random in all"))
    both = random @ objective.products(random).T
    return HessianReport(tuple(rows), float(np.abs(both - both.T).max() / (np.abs(both).max() or 1.0)), h)


def _judge(objective: Objective, directions: np.ndarray, h: float, name: str) -> Directions:
    weights, errors, kinks, below = objective.weights(), [], 0, 0
    for direction, exact in zip(directions, objective.products(directions)):
        gradients, patterns = [], []
        for side in (-h, h):
            objective.move(weights + side * direction)
            gradients.append(objective.value_and_gradient()[1])
            patterns.append(sides(objective.net, objective.x, objective.y, objective.loss))
        objective.move(weights)
        difference = (gradients[1] - gradients[0]) / (2 * h)
        apart, scale = float(np.linalg.norm(exact - difference)), float(max(np.linalg.norm(exact), np.linalg.norm(difference)))
        noise = _ROUNDINGS * np.finfo(np.float64).eps * max(float(np.linalg.norm(gradient)) for gradient in gradients) / h
        if any((before != after).any() for before, after in zip(*patterns)):
            kinks += 1
        elif 0 < scale < noise / SCALE[0][0] and apart <= noise:
            below += 1
        else:
            errors.append(apart / scale if scale > 0 else 0.0)
    return Directions(name, tuple(errors), kinks, below)
