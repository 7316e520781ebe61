"""Bins of a real target, and its targets over them: what turns a regression into a classification.

The mass of a bin is thought of as spread evenly between its edges; where values repeat so much that a bin holds one value only, all of it
lies on that value, which is then called an atom.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays, checks

MOST = 65536
SMOOTHING = 0.75  # bins, unless asked for another
_WIDEST = 100.0  # bins that a smoothing may be wide
_BLOCK_ELEMENTS = 2**20


class EmptyBinWarning(UserWarning):
    """Most bins hold no row of the targets they were made from."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Bins:
    """`c` bins between increasing `edges (c + 1,)`: bin `k` is `edges[k] <= y < edges[k + 1]`, the last one with its upper edge.

    `centers (c,)` stand for their bins in a mean: the mean of the rows in the bin where rows were given, else (and where a bin has none)
    the middle. `atoms (c,)` marks the bins whose rows, two or more, all have one value, the centre. All are read-only arrays, edges and
    centres float64. `kind`, `asked` (the number of bins that was wanted) and `empty` (the number of those without rows) are told by
    `str`. Values beyond the edges belong to the end bins.

    `Bins(edges)` takes edges of one's own; `Bins.uniform`, `Bins.quantile` and `Bins.logarithmic` choose them. ValueError for edges that
    do not increase.
    """

    edges: np.ndarray
    centers: np.ndarray
    atoms: np.ndarray
    kind: str
    asked: int
    empty: int

    def __init__(self, edges: Any, centers: Any = None, atoms: Any = None, kind: str = "given", asked: int | None = None,
                 empty: int = 0) -> None:
        edges = arrays.as_array("Bins", "edges", edges)
        if edges.ndim != 1 or not 3 <= len(edges) <= MOST + 1:
            expected = f"shape (c + 1,), c from 2 to {MOST}"
            raise checks.fail(ValueError, "Bins", "edges", "be the ends of two bins or more", expected, checks.shape_text(edges.shape))
        edges = edges.astype(np.float64)
        if not _increasing(edges):
            raise checks.fail(ValueError, "Bins", "edges", "be finite and increase", "each above the one before", "others")
        count = len(edges) - 1
        centers = _middles(edges) if centers is None else arrays.targets("Bins", centers, (count,), np.float64, name="centers").copy()
        if not ((edges[:-1] <= centers) & (centers <= edges[1:])).all() or not (np.diff(centers) > 0).all():
            raise checks.fail(ValueError, "Bins", "centers", "lie in their bins", "edges[k] <= centers[k] <= edges[k + 1]", "others")
        atoms = np.zeros(count, bool) if atoms is None else np.array(atoms, bool)
        if atoms.shape != (count,):
            raise checks.fail(ValueError, "Bins", "atoms", f"have shape ({count},)", "a flag a bin", checks.shape_text(atoms.shape))
        for array in (edges, centers, atoms):
            array.flags.writeable = False
        asked = count if asked is None else checks.integer("Bins", "asked", asked, count, MOST)
        empty = checks.integer("Bins", "empty", empty, 0, count)
        for name, value in {"edges": edges, "centers": centers, "atoms": atoms, "kind": kind, "asked": asked, "empty": empty}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def uniform(cls, y: Any, count: int) -> Bins:
        """`count` bins of one width from the smallest to the largest of `y (n,)`.

        A bin without rows stays, for a gap in the targets or a thin tail is no mistake and other rows may lie there: `str` tells how many
        there are, and where they are more than half, so that another kind or fewer bins would serve better, an `EmptyBinWarning`.
        Errors, of this and its siblings: the library's sentence for values that are not finite and for fewer distinct values than bins.
        """
        y, distinct = _distinct("Bins.uniform", y, count)
        with np.errstate(over="ignore", invalid="ignore"):
            edges = np.linspace(distinct[0], distinct[-1], count + 1)
        return cls._cut("Bins.uniform", y, edges, "uniform", count)

    @classmethod
    def logarithmic(cls, y: Any, count: int) -> Bins:
        """`count` bins from the smallest to the largest of `y (n,)`, each wider than the one before by one factor; `y` must be positive.

        Empty bins are treated as by `uniform`.
        """
        y, distinct = _distinct("Bins.logarithmic", y, count)
        if distinct[0] <= 0:
            raise checks.fail(ValueError, "Bins.logarithmic", "y", "be positive", "values above 0", f"{distinct[0]:g}")
        return cls._cut("Bins.logarithmic", y, np.geomspace(distinct[0], distinct[-1], count + 1), "logarithmic", count)

    @classmethod
    def quantile(cls, y: Any, count: int) -> Bins:
        """Bins of about `n / count` rows of `y (n,)` each, whose edges lie halfway between neighbouring values of `y`.

        Equal values are never parted: where one value would fill several bins these are merged, so that there are fewer than `count`,
        as `repr` tells, and every bin holds rows.
        """
        y, distinct = _distinct("Bins.quantile", y, count)
        upto = np.searchsorted(np.sort(y), distinct, side="right")  # rows up to each distinct value; a cut comes after one of these
        ideal = np.arange(1, count) * (len(y) / count)
        above = np.clip(np.searchsorted(upto, ideal), 1, len(upto) - 1)
        cuts = np.where(upto[above] - ideal < ideal - upto[above - 1], above, above - 1)
        cuts = np.unique(np.minimum(cuts, len(upto) - 2))
        low, high = distinct[cuts], distinct[cuts + 1]
        middle = low / 2 + high / 2
        edges = np.concatenate([distinct[:1], np.where(middle > low, middle, high), distinct[-1:]])
        return cls._cut("Bins.quantile", y, edges, "quantile", count)

    @classmethod
    def _cut(cls, function: str, y: np.ndarray, edges: np.ndarray, kind: str, asked: int) -> Bins:
        """The bins of these edges with the centres of `y`; ValueError where float64 has no such edges."""
        if not _increasing(edges):
            expected, got = "a range, and distances within it, that float64 can hold", f"{edges[0]:g} to {edges[-1]:g}"
            raise checks.fail(ValueError, function, "y", "leave room for the bins", expected, got)
        return cls(edges, kind=kind, asked=asked).centered(y)

    def __len__(self) -> int:
        return len(self.centers)

    def __repr__(self) -> str:
        return f"<Bins: {self}>"

    def __str__(self) -> str:
        about = f" (of {self.asked}; equal values share one)" if self.asked != len(self) else ""
        about += f" ({self.empty} without rows)" if self.empty else ""
        return f"{len(self)} {self.kind} bins{about} from {self.edges[0]:g} to {self.edges[-1]:g}"

    def centered(self, y: Any) -> Bins:
        """These bins with the centres and atoms of the rows `y (n,)`; `EmptyBinWarning` where more than half of them have none."""
        y = np.clip(column("Bins.centered", "y", y), self.edges[0], self.edges[-1])
        labels, count = self.labels(y), len(self)
        rows, sums = np.bincount(labels, minlength=count), np.bincount(labels, weights=y, minlength=count)
        low, high = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(low, labels, y)
        np.maximum.at(high, labels, y)
        empty = np.flatnonzero(rows == 0)
        if 2 * len(empty) > count:
            first, last = self.edges[empty[0]:empty[0] + 2]
            checks.warn(EmptyBinWarning, f"fastnn.Bins: {len(empty)} of {count} {self.kind} bins hold no row, the first from {first:g} to "
                                         f"{last:g}: fewer bins, or those of kind 'quantile', have rows in each")
        centers = _middles(self.edges)
        held = rows > 0
        centers[held] = np.clip(sums[held] / rows[held], low[held], high[held])
        return Bins(self.edges, centers, (rows > 1) & (low == high), self.kind, self.asked, len(empty))

    def labels(self, y: Any) -> np.ndarray:
        """The bin of each of `y (n,)`, int64 `(n,)`; the end bins take what lies beyond the edges."""
        return np.searchsorted(self.edges[1:-1], column("Bins.labels", "y", y), side="right").astype(np.int64)

    def encode(self, y: Any, smoothing: float | str = 0.0, dtype: Any = np.float32) -> np.ndarray:
        """Targets of a softmax for `y (n,)`, by `smoothing`:

        * 0: hard labels, int64 `(n,)`;
        * a number: probabilities `(n, c)`, the mass of a normal distribution around `y` of that many bins' deviation, cut to the bins
          and scaled to 1 (HL-Gauss of Imani and White 2018; 0.75 in Farebrother et al. 2024). Distances are counted in bins, so that bins
          of any widths are smoothed alike; an atom lies in the middle of its bin;
        * `"linear"`: probabilities `(n, c)`, shared by the two bins whose centres `y` lies between so that their mean is `y`.

        Values beyond the edges (for `"linear"`, the outer centres) are taken to lie on them.
        """
        y, smoothing = column("Bins.encode", "y", y), smoothing_of("Bins.encode", smoothing)
        if np.dtype(dtype).kind != "f":
            raise checks.fail(TypeError, "Bins.encode", "dtype", "be a float type", "float32 or float64", str(np.dtype(dtype)))
        if smoothing == 0.0:
            return self.labels(y)
        targets = np.zeros((len(y), len(self)), dtype)
        rows = max(1, _BLOCK_ELEMENTS // len(self))
        spread = self._linear if isinstance(smoothing, str) else functools.partial(self._gaussian, smoothing)
        for start in range(0, len(y), rows):
            spread(y[start:start + rows], targets[start:start + rows])
        return targets

    def _linear(self, y: np.ndarray, targets: np.ndarray) -> None:
        lower = np.clip(np.searchsorted(self.centers, y, side="right") - 1, 0, len(self) - 2)
        start, end = self.centers[lower], self.centers[lower + 1]
        upper = np.clip((y - start) / (end - start), 0.0, 1.0)
        each = np.arange(len(y))
        targets[each, lower], targets[each, lower + 1] = 1.0 - upper, upper

    def _gaussian(self, deviation: float, y: np.ndarray, targets: np.ndarray) -> None:
        labels = self.labels(y)
        start, end = self.edges[labels], self.edges[labels + 1]
        place = labels + np.where(self.atoms[labels], 0.5, np.clip((y - start) / (end - start), 0.0, 1.0))
        with np.errstate(over="ignore"):
            below = _normal((np.arange(len(self) + 1) - place[:, None]) / deviation)
        targets[...] = np.diff(below, axis=1) / (below[:, -1:] - below[:, :1])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, for `from_dict`."""
        return {"kind": self.kind, "asked": self.asked, "edges": self.edges.tolist(), "centers": self.centers.tolist(),
                "atoms": np.flatnonzero(self.atoms).tolist(), "empty": self.empty}

    @classmethod
    def from_dict(cls, values: Any) -> Bins:
        """The bins that `to_dict` described; ValueError or TypeError for anything else."""
        function, names = "Bins.from_dict", ("kind", "asked", "edges", "centers", "atoms", "empty")
        if not isinstance(values, dict) or not all(name in values for name in names) or not isinstance(values["atoms"], list):
            raise checks.fail(ValueError, function, "values", "come from to_dict", ", ".join(names), repr(values)[:60])
        count = max(np.size(values["edges"]) - 1, 0)
        atoms = np.zeros(count, bool)
        for place in values["atoms"]:
            atoms[checks.integer(function, "atoms", place, 0, count - 1)] = True
        return cls(values["edges"], values["centers"], atoms, str(values["kind"]), values["asked"], values["empty"])


def _middles(edges: np.ndarray) -> np.ndarray:
    """Of neighbouring edges."""
    return edges[:-1] / 2 + edges[1:] / 2


def _increasing(edges: np.ndarray) -> bool:
    """Whether edges, and the middles between them, rise over a range that does not overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool((np.diff(edges) > 0).all() and (np.diff(_middles(edges)) > 0).all() and math.isfinite(edges[-1] - edges[0]))


KINDS: dict[str, Callable[[Any, int], Bins]] = {"uniform": Bins.uniform, "quantile": Bins.quantile, "logarithmic": Bins.logarithmic}


def kind_of(function: str, kind: Any) -> str:
    """`kind` if it is one of `KINDS`, else the library's sentence."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise checks.fail(ValueError, function, "kind", "name a kind of bins", f"one of {', '.join(KINDS)}", repr(kind))
    return kind


def smoothing_of(function: str, smoothing: Any) -> float | str:
    """`smoothing` if `Bins.encode` knows it, else the library's sentence."""
    if isinstance(smoothing, str):
        if smoothing != "linear":
            raise checks.fail(ValueError, function, "smoothing", "be known", "a number of bins or 'linear'", repr(smoothing))
        return smoothing
    return checks.number(function, "smoothing", smoothing, 0.0, _WIDEST)


def column(function: str, name: str, y: Any, samples: int | None = None) -> np.ndarray:
    """Finite `y (n,)` as float64, of `samples` rows where that is given."""
    array = arrays.as_array(function, name, y)
    if array.ndim != 1 or (samples is not None and len(array) != samples):
        expected = f"shape ({'n' if samples is None else samples},)"
        raise checks.fail(ValueError, function, name, f"have {expected}", expected, f"{checks.shape_text(array.shape)} {array.dtype}")
    return arrays.targets(function, array, array.shape, np.float64, name=name)


def _distinct(function: str, y: Any, count: Any) -> tuple[np.ndarray, np.ndarray]:
    """Checked `y`, and its distinct values in order, of which there are at least `count`."""
    y = column(function, "y", y)
    count = checks.integer(function, "count", count, 2, MOST)
    distinct = np.unique(y)
    if len(distinct) < count:
        expected = f"at least {count} distinct values"
        raise checks.fail(ValueError, function, "y", "have as many distinct values as bins", expected, str(len(distinct)))
    return y, distinct


@functools.cache
def _normal_table() -> tuple[np.ndarray, np.ndarray]:
    z = np.linspace(-8.0, 8.0, 8193)
    return z, np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z.tolist()])


def _normal(z: np.ndarray) -> np.ndarray:
    """The normal distribution function within 1.3e-7, and monotone: read from a table between whose nodes it is linear."""
    return np.interp(z, *_normal_table())
