"""Checking second derivatives by centered differences of the gradient: `(g(w + h v) - g(w - h v)) / 2h` in float64 against `H @ v`.

A direction is one weight or bias (a column of the Hessian), or random in all of them at once. Its relative error is
`|a - n| / max(|a|, |n|)` in the Euclidean norm, and the verdict is read off the worst on the scale of `fastnn.gradcheck`. Directions along
which a ReLU or a hinge margin changes sides are counted apart as kinks, and those whose curvature is below the rounding of the
differences as below noise. That the Hessian is symmetric is checked apart: `u @ (H @ v)` against `v @ (H @ u)` for random `u` and `v`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import checks, losses, text
from .curvature import Objective
from .gradcheck import Report, Row, group, relative, sides
from .model import MLP, checked

_ROUNDINGS = 16.0 * float(np.finfo(np.float64).eps)  # by which a gradient is off, relatively, allowing for the sums inside it


@dataclass(frozen=True, repr=False)
class HessianReport(Report):
    """What `hessian_check` found; prints as a table with a verdict. `rows` are the directions in each array, and the random ones;
    `asymmetry` is relative to the larger of the two products."""

    rows: tuple[Row, ...]
    asymmetry: float
    h: float

    def _rows(self) -> Sequence[Row]:
        return self.rows

    @property
    def max_relative_error(self) -> float:
        """Over every judged direction, and the asymmetry."""
        return max(self.asymmetry, super().max_relative_error)

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("directions", "judged", "kinks", "below noise", "max relative error")]
        rows += [(row.name, *row.cells()) for row in self.rows]
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
    objective = Objective(function, checked(function, net).astype("float64"), x, y, loss, weight_decay, sample_weight)
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
    return HessianReport(tuple(rows), relative(float(np.abs(both - both.T).max()), float(np.abs(both).max())), h)


def _judge(objective: Objective, directions: np.ndarray, h: float, name: str) -> Row:
    weights = objective.weights()
    groups: list[list[float]] = [[], [], []]
    for direction, exact in zip(directions, objective.products(directions)):
        gradients, patterns = [], []
        for side in (-h, h):
            objective.move(weights + side * direction)
            gradients.append(objective.value_and_gradient()[1])
            patterns.append(sides(objective.net, objective.x, objective.y, objective.loss))
        objective.move(weights)
        difference = (gradients[1] - gradients[0]) / (2 * h)
        apart, scale = float(np.linalg.norm(exact - difference)), float(max(np.linalg.norm(exact), np.linalg.norm(difference)))
        noise = _ROUNDINGS * max(float(np.linalg.norm(gradient)) for gradient in gradients) / h
        groups[group(patterns, apart, scale, noise)].append(relative(apart, scale))
    return Row(name, tuple(groups[0]), len(groups[1]), len(groups[2]))
