"""Newton's method with the explicit Hessian, damped (Levenberg 1944, Marquardt 1963): `step = -inverse(H + damping * I) @ gradient`.

The damping starts as good as absent, so that a quadratic is solved by the first step. It is doubled while the damped Hessian is
not positive definite or its step gains less than a quarter of what the quadratic model foretold, and divided by 8 after a step that gains
three quarters: another factor costs less than another Hessian.

A symmetric matrix needs one triangle only. `Square` keeps the Hessian above the diagonal and the Cholesky factor of the damped Hessian
below it, so that the whole method holds one array of P**2 numbers; all else is P times a few hundred.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from . import checks
from .backend import kernels
from .curvature import Objective

_BLOCK = 64  # columns factored at once: few enough for LAPACK to stay on one thread, beside those of the kernels
_GOOD, _POOR = 0.75, 0.25  # of the decrease that the model foretold
_ROUNDINGS = 4 * np.finfo(np.float64).eps  # by which two equal losses may differ


def size_text(size: float) -> str:
    """`512 B`, `5.6 MiB`, `3,725 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB" if size < 100 else f"{size:,.0f} GiB"


def check_memory(function: str, parameters: int, dtype: np.dtype, memory_limit: int) -> int:
    """Bytes of the Hessian, `itemsize * P**2`; MemoryError with that figure where they are more than the limit."""
    size = dtype.itemsize * parameters**2
    if size > memory_limit:
        expected = f"at least {size_text(size)} for {parameters:,} parameters"
        requirement = f"hold the Hessian, {dtype.itemsize} * P**2 bytes in {dtype}"
        raise checks.fail(MemoryError, function, "memory_limit", requirement, expected, size_text(memory_limit))
    return size


class Square:
    """The one array: `values (P, P)` takes the Hessian whole, then `factor` and `solve` as often as wanted."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self._diagonal = np.empty(0)
        self._inverses: list[np.ndarray] = []  # of the factor's blocks on the diagonal
        self._columns = [slice(start, min(start + _BLOCK, len(values))) for start in range(0, len(values), _BLOCK)]

    @property
    def scale(self) -> float:
        """The largest element of the Hessian's diagonal, 1 where that is 0."""
        return float(np.abs(self._diagonal).max()) or 1.0

    def filled(self) -> None:
        """Say that `values` is a Hessian now."""
        self._diagonal = self.values.diagonal().astype(np.float64)

    def factor(self, damping: float) -> bool:
        """Factor `H + damping * I` below the diagonal, in float64 column block by column block, each rounded to the array's dtype once;
        False where it is not positive definite."""
        a = self.values
        self._inverses.clear()
        for k, own in enumerate(self._columns):
            upper = np.triu(a[own, own], 1).astype(np.float64)
            panel = np.concatenate([upper + upper.T + np.diag(self._diagonal[own] + damping), a[own, own.stop:].T])
            for left in self._columns[:k]:
                panel -= kernels.linear_forward(a[own.start:, left].astype(np.float64), a[own, left].astype(np.float64).T)
            width = own.stop - own.start
            try:
                corner = np.linalg.cholesky(panel[:width])
            except np.linalg.LinAlgError:
                return False
            self._inverses.append(np.linalg.inv(corner))
            a[own, own] = np.triu(a[own, own], 1) + corner
            a[own.stop:, own] = kernels.linear_forward(panel[width:], self._inverses[k].T)
        return True

    def solve(self, right: np.ndarray) -> np.ndarray:
        """`inverse(H + damping * I) @ right` after `factor`, by substitution forwards and backwards; float64 `(P,)`."""
        a, x = self.values, right.astype(np.float64)
        for own, inverse in zip(self._columns, self._inverses):
            x[own] = inverse @ (x[own] - a[own, :own.start] @ x[:own.start])
        for own, inverse in zip(reversed(self._columns), reversed(self._inverses)):
            x[own] = inverse.T @ (x[own] - a[own.stop:, own].T @ x[own.stop:])
        return x


def descend(objective: Objective, evaluate: Callable[[np.ndarray], tuple[float, np.ndarray]], iterated: Callable[[np.ndarray], None],
            weights: np.ndarray) -> str:
    """Take damped steps from `weights` until none lowers the objective, and say so; `iterated(weights)` ends it earlier by raising.

    `evaluate(weights) -> (loss, gradient)` moves the objective. MemoryError where there is no room for the Hessian.
    """
    square = Square(np.empty((len(weights), len(weights)), objective.net.dtype))
    least = max(16 * float(np.finfo(objective.net.dtype).eps), 1e-12)
    loss, gradient = evaluate(weights)
    damping = 0.0
    while True:
        objective.hessian(square.values)
        square.filled()
        if not math.isfinite(square.scale):
            return "the Hessian was not finite; the best weights before it are kept"
        damping = max(damping, least * square.scale)
        while True:
            if square.factor(damping):
                step = -square.solve(gradient)
                foretold = 0.5 * (damping * float(step @ step) - float(gradient @ step))
                found = evaluate(weights + step)
                enough = loss - found[0] > _POOR * foretold - _ROUNDINGS * abs(loss)
                if enough and better(found[0], float(np.linalg.norm(found[1])), loss, float(np.linalg.norm(gradient))):
                    break
            damping *= 2
            if damping > 1e6 * square.scale:
                return f"no step lowers the loss further (the limit of {objective.net.dtype}, or a kink)"
        if loss - found[0] > _GOOD * foretold:
            damping /= 8
        weights, (loss, gradient) = weights + step, found
        iterated(weights)


def better(loss: float, gradient_norm: float, old_loss: float, old_norm: float) -> bool:
    """Whether the loss is lower than the old one, or the same within rounding with a smaller gradient; NaN never is."""
    slack = _ROUNDINGS * abs(old_loss)
    return bool(loss < old_loss - slack or (loss <= old_loss + slack and gradient_norm < old_norm))
