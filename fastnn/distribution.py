"""Predicted distributions over bins: means, quantiles, intervals, and how well they cover the truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arrays, checks, plots, text
from .bins import Bins, column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.5, 0.8, 0.9, 0.95)
_CELLS = 80  # of a picture, in which bins of any width and atoms can be compared


@dataclass(frozen=True)
class Coverage:
    """How often central intervals held the truth of `rows` rows: for each of `levels` the share that was `covered` and the mean `widths`
    in units of y; and the mean `crps` (see `Distribution.crps`). Prints as a table."""

    rows: int
    levels: tuple[float, ...]
    covered: tuple[float, ...]
    widths: tuple[float, ...]
    crps: float

    def __str__(self) -> str:
        lines = [["interval", "covered", "mean width"]]
        lines += [[f"{level:.4g}", f"{share:.1%}", text.amount(width)]
                  for level, share, width in zip((f * 100 for f in self.levels), self.covered, self.widths)]
        for line in lines[1:]:
            line[0] += " %"
        return f"{text.aligned(lines)}\n{self.rows:,} rows, CRPS {text.amount(self.crps)}"


@dataclass(frozen=True, eq=False)
class Distribution:
    """One distribution a row: `probabilities (n, c)` of the `bins`, the mass of each spread evenly between its edges (an atom's mass
    lies on its centre)."""

    probabilities: np.ndarray
    bins: Bins

    def __post_init__(self) -> None:
        if not isinstance(self.bins, Bins):
            raise checks.fail(TypeError, "Distribution", "bins", "be bins", "Bins(edges)", type(self.bins).__name__)
        name, width = "probabilities", len(self.bins)
        probabilities = arrays.inputs("Distribution", self.probabilities, width, np.float64, name=name, keep=checks.FLOATS)
        if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1, dtype=np.float64), 1.0, atol=1e-3):
            got = "others" if np.isfinite(probabilities).all() else "values that are not finite, as of a net that has diverged"
            raise checks.fail(ValueError, "Distribution", name, "be probabilities", "rows of at least 0 that sum to 1", got)
        object.__setattr__(self, name, probabilities)

    def __repr__(self) -> str:
        return f"<Distribution of {len(self.probabilities)} rows over {self.bins!r}>"

    @property
    def edges(self) -> np.ndarray:
        """`(c + 1,)` ends of the bins."""
        return self.bins.edges

    def mean(self) -> np.ndarray:
        """`sum_k probability_k * center_k / sum_k probability_k`, float64 `(n,)`."""
        return self.probabilities @ self.bins.centers / self.probabilities.sum(axis=1, dtype=np.float64)

    def cdf(self, y: Any) -> np.ndarray:
        """The probability of at most `y`: `(n,)` for a number, `(n, m)` for `y (m,)`; non-decreasing in `y`."""
        points = _points("Distribution.cdf", "y", y)
        below, (low, high) = self._below(), self._ends()
        labels = self.bins.labels(points.reshape(-1))
        columns = [below[:, k] + _part(np.array(point), low[k], high[k]) * (below[:, k + 1] - below[:, k])
                   for k, point in zip(labels.tolist(), points.reshape(-1).tolist())]
        return _shaped(columns, points, len(below))

    def quantile(self, q: Any) -> np.ndarray:
        """The smallest value that is not exceeded with probability `q` in [0, 1], interpolated inside its bin: `(n,)` for a number,
        `(n, m)` for `q (m,)`. Non-decreasing in `q`."""
        wanted = _points("Distribution.quantile", "q", q)
        if not ((wanted >= 0) & (wanted <= 1)).all():
            raise checks.fail(ValueError, "Distribution.quantile", "q", "lie between 0 and 1", "probabilities", f"{wanted.min():g} to "
                              f"{wanted.max():g}")
        below, (low, high) = self._below(), self._ends()
        rows, columns = np.arange(len(below)), []
        for level in wanted.reshape(-1).tolist():
            k = np.count_nonzero(below[:, 1:] < level, axis=1)  # the first bin that `level` is reached in
            part = _part(np.array(level), below[rows, k], below[rows, k + 1])
            columns.append(np.minimum(low[k] + part * (high[k] - low[k]), high[k]))
        return _shaped(columns, wanted, len(below))

    def interval(self, level: float = 0.8) -> np.ndarray:
        """The central interval that holds `level` of the mass, `(n, 2)`: the quantiles `(1 - level) / 2` and `(1 + level) / 2`."""
        level = checks.number("Distribution.interval", "level", level, 0.0, 1.0)
        return self.quantile([(1 - level) / 2, (1 + level) / 2])

    def crps(self, y: Any) -> np.ndarray:
        """The continuous ranked probability score of the truth `y (n,)`, `integral (cdf(z) - [z >= y])^2 dz` (Matheson and Winkler
        1976), `(n,)` in units of y, exact: lower is better, and for a point prediction it is the absolute error."""
        below, (low, high) = self._below(), self._ends()
        y = column("Distribution.crps", "y", y, len(below))
        score = np.maximum(low[0] - y, 0.0) + np.maximum(y - high[-1], 0.0)  # where the mass is all on one side
        for k in range(len(low)):
            score += _between(y, low[k], high[k], below[:, k], below[:, k + 1])
            if k + 1 < len(low):  # an atom leaves room to the next bin
                score += _between(y, high[k], low[k + 1], below[:, k + 1], below[:, k + 1])
        return score

    def coverage(self, y: Any, levels: Sequence[float] = LEVELS) -> Coverage:
        """How often the central intervals of `levels` hold the truth `y (n,)`, ends included."""
        y = column("Distribution.coverage", "y", y, len(self.probabilities))
        if len(y) == 0:
            raise checks.fail(ValueError, "Distribution.coverage", "y", "have at least one row", "shape (n,), n at least 1", "(0,)")
        if np.ndim(levels) != 1:
            raise checks.fail(TypeError, "Distribution.coverage", "levels", "be several", "(0.5, 0.8)", repr(levels))
        levels = tuple(checks.number("Distribution.coverage", "levels", level, 0.0, 1.0) for level in levels)
        intervals = [self.interval(level).T for level in levels]
        return Coverage(len(y), levels, tuple(float(np.mean((low <= y) & (y <= high))) for low, high in intervals),
                        tuple(float(np.mean(high - low)) for low, high in intervals), float(self.crps(y).mean()))

    def plot(self, y: Any, path: str | os.PathLike[str] | None = None, *, rows: Sequence[int] | None = None) -> Figure:
        """A picture: the distributions of some `rows` (by default four, from a low to a high mean) with their truth `y (n,)`, and beside
        it for central intervals of every level the share that holds the truth, over all rows: honest ones lie on the diagonal.

        Returns matplotlib's `Figure`, written to `path` where one is given; ImportError without the extra `plot`."""
        function = "Distribution.plot"
        levels = [step / 20 for step in range(1, 20)]
        coverage, count = self.coverage(y, levels), len(self.probabilities)
        y = column(function, "y", y)
        if rows is None:
            rows = np.argsort(self.mean(), kind="stable")[[int(part * count) for part in (0.1, 0.37, 0.63, 0.9)]].tolist()
        if np.ndim(rows) != 1:
            raise checks.fail(TypeError, function, "rows", "be several", "row numbers such as [0, 5]", repr(rows))
        rows = [checks.integer(function, "rows", row, 0, count - 1) for row in rows]
        figure = plots.figure(function, 9.0, 4.0)
        shown, reliability = figure.subplots(1, 2, width_ratios=(3, 2))
        grid = np.linspace(self.edges[0], self.edges[-1], _CELLS + 1)
        below = Distribution(self.probabilities[rows], self.bins).cdf(grid)
        below[:, 0] = 0.0  # of an atom on the lowest edge, which belongs to the first cell
        for k, row in enumerate(rows):
            shown.stairs(np.diff(below[k]), grid, fill=True, alpha=0.4, color=f"C{k}", label=f"row {row}")
            shown.axvline(y[row], color=f"C{k}", linestyle="--", linewidth=1)
        shown.set_xlabel("y (dashed: the truth)")
        shown.set_ylabel(f"probability, in cells of {text.amount(grid[1] - grid[0])}")
        if rows:
            shown.legend(fontsize=8)
        reliability.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        reliability.plot(levels, coverage.covered, "o-", markersize=3)
        reliability.set_xlabel("level of the interval")
        reliability.set_ylabel(f"share of {count:,} rows inside")
        reliability.set_aspect("equal")
        return plots.finish(figure, path)

    def _below(self) -> np.ndarray:
        """The mass below every edge, `(n, c + 1)` float64: from exactly 0 to exactly 1."""
        below = np.zeros((len(self.probabilities), len(self.bins) + 1))
        np.cumsum(self.probabilities, axis=1, out=below[:, 1:])
        below /= below[:, -1:]
        return below

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Between which values the mass of each bin is spread."""
        bins = self.bins
        return np.where(bins.atoms, bins.centers, bins.edges[:-1]), np.where(bins.atoms, bins.centers, bins.edges[1:])


def _points(function: str, name: str, value: Any) -> np.ndarray:
    """A finite number `()` or several `(m,)`, float64."""
    array = arrays.as_array(function, name, value)
    if array.ndim > 1:
        raise checks.fail(ValueError, function, name, "be a number or several", "shape () or (m,)", checks.shape_text(array.shape))
    return arrays.targets(function, array, array.shape, np.float64, name=name)


def _shaped(columns: list[np.ndarray], points: np.ndarray, rows: int) -> np.ndarray:
    return columns[0] if points.ndim == 0 else np.stack(columns, axis=1) if columns else np.empty((rows, 0))


def _part(value: np.ndarray, low: Any, high: Any) -> Any:
    """How far `value` is from `low` to `high`, within 0 and 1; without room between them, whether it has come there."""
    room = np.asarray(high - low)
    return np.where(room > 0, np.clip((value - low) / np.where(room > 0, room, 1.0), 0.0, 1.0), value >= low)


def _between(y: np.ndarray, low: float, high: float, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The integral of `(cdf(z) - [z >= y])^2` from `low` to `high`, where the distribution function rises evenly from `start` to `end`."""
    if high <= low:
        return np.zeros(len(y))
    at = np.clip(y, low, high)
    middle = start + (end - start) * ((at - low) / (high - low))
    return (at - low) * _mean_square(start, middle) + (high - at) * _mean_square(1 - middle, 1 - end)


def _mean_square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of what goes evenly from `a` to `b`."""
    return (a * a + a * b + b * b) / 3
