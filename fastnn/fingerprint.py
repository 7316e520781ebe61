"""Which rows statistics are of, remembered in 16 KiB, and the warning about rows that should not be among them.

The hash of a row is that of its values rounded to float32: a row is the same one as uint8, float32 or float64, and rows that a float32
net cannot tell apart are one. A `Fingerprint` keeps the `SIZE` smallest different hashes (a bottom-k sketch, Broder 1997). Hashes are as
good as random numbers, so those of any rows that lie below the largest one kept are a fair sample of these rows, and the part of the
sample that is known estimates the part of the rows that was seen; it is exact as long as no more than `SIZE` different rows were.

Rows may repeat by nature: blank images, tables of few categories. What part of fresh rows is known without any leak is estimated by the
part of the seen rows that came more than once (Good 1953); only more than that is called a leak.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import arrays, checks
from .backend import kernels

SIZE = 2048  # hashes kept
TOLERATED = 0.05  # part of the rows that may be known, beside those that repeat by nature, before it is called a leak
FEWEST = 3  # known rows that are called a leak
_BLOCK_ELEMENTS = 2**18  # bounds the float32 copies of other dtypes to 1 MiB
_PENDING = 2**16  # hashes gathered before they are sorted


class DataLeakWarning(UserWarning):
    """Rows that training must not have seen were part of the statistics that preprocessing uses."""


class Overlap(NamedTuple):
    """Of some rows: the part that was seen (NaN where none could be looked up), and whether it is a leak."""

    share: float
    leak: bool


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Of `rows` rows: the smallest `hashes`, uint64, ascending; whether they are all there were; the part of the rows that `repeats`."""

    rows: int
    hashes: np.ndarray
    complete: bool
    repeats: float

    def overlap(self, hashes: np.ndarray) -> Overlap:
        """What part of the rows with these hashes was seen.

        A leak is what exceeds the repeats by more than `TOLERATED` of the rest, by three standard deviations, and by `FEWEST` rows.
        """
        sample = hashes if self.complete else hashes[hashes <= self.hashes[-1]]
        if len(sample) == 0:
            return Overlap(math.nan, False)
        places = np.minimum(np.searchsorted(self.hashes, sample), len(self.hashes) - 1)
        known = int(np.count_nonzero(self.hashes[places] == sample))
        fresh = 1.0 - self.repeats
        excess = known - self.repeats * len(sample)
        noise = 3.0 * math.sqrt(len(sample) * self.repeats * fresh)
        return Overlap(known / len(sample), excess >= noise + FEWEST and excess > TOLERATED * fresh * len(sample))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; 22 KB at most."""
        text = base64.b64encode(self.hashes.astype("<u8").tobytes()).decode()
        return {"rows": self.rows, "hashes": text, "complete": self.complete, "repeats": self.repeats}

    @classmethod
    def from_dict(cls, values: Any) -> Fingerprint:
        """The fingerprint that `to_dict` described; ValueError for anything else."""
        function = "Fingerprint.from_dict"
        expected = "rows, hashes, complete and repeats"
        try:
            hashes = np.frombuffer(base64.b64decode(values["hashes"], validate=True), "<u8").astype(np.uint64)
            rows, complete, repeats = values["rows"], values["complete"], values["repeats"]
        except (KeyError, TypeError, ValueError) as error:
            raise checks.fail(ValueError, function, "values", "come from to_dict", expected, repr(values)[:60]) from error
        if not 1 <= len(hashes) <= SIZE or not (hashes[:-1] < hashes[1:]).all() or not isinstance(complete, bool):
            raise checks.fail(ValueError, function, "values", "come from to_dict", f"1 to {SIZE} ascending hashes", f"{len(hashes)} others")
        return cls(checks.integer(function, "rows", rows, len(hashes), 2**63), hashes, complete,
                   checks.number(function, "repeats", repeats, 0.0, 1.0))


class Sketch:
    """Makes a fingerprint of rows that come block by block, in little memory however many they are."""

    def __init__(self) -> None:
        self._rows = 0
        self._hashes: np.ndarray = np.zeros(0, np.uint64)  # the smallest so far, ascending
        self._counts: np.ndarray = np.zeros(0)  # how often each came
        self._complete = True
        self._pending: list[np.ndarray] = []
        self._waiting = 0

    def add(self, x: np.ndarray) -> None:
        """Take note of rows `x (n, i)`."""
        self._pending.append(row_hashes(x))
        self._rows += len(x)
        self._waiting += len(x)
        if self._waiting >= _PENDING:
            self._settle()

    def fingerprint(self) -> Fingerprint:
        """Of all rows so far, at least one."""
        self._settle()
        repeated = self._counts[self._counts > 1].sum() / self._counts.sum()
        return Fingerprint(self._rows, self._hashes, self._complete, float(repeated))

    def _settle(self) -> None:
        new = np.concatenate([np.zeros(0, np.uint64), *self._pending])
        if not self._complete:
            new = new[new <= self._hashes[-1]]
        hashes, places = np.unique(np.concatenate([self._hashes, new]), return_inverse=True)
        counts: np.ndarray = np.bincount(places, np.concatenate([self._counts, np.ones(len(new))]))
        self._complete = self._complete and len(hashes) <= SIZE
        self._hashes, self._counts = hashes[:SIZE].copy(), counts[:SIZE].copy()
        self._pending, self._waiting = [], 0


def row_hashes(x: np.ndarray) -> np.ndarray:
    """A hash of every row of `x (n, i)`, of any real dtype, uint64 `(n,)`."""
    if x.dtype.name in arrays.ENGINE_DTYPES:
        return kernels.row_hashes(x)
    hashes = np.empty(len(x), np.uint64)
    rows = max(1, _BLOCK_ELEMENTS // max(1, x.shape[1]))
    for start in range(0, len(x), rows):
        with np.errstate(over="ignore", invalid="ignore"):
            values = x[start:start + rows].astype(np.float32)
        hashes[start:start + rows] = kernels.row_hashes(values)
    return hashes


def warn(function: str, name: str, share: float, rows: int, whose: str) -> None:
    """The library's sentence about a leak, at the line outside the package that led here."""
    checks.warn(
        DataLeakWarning,
        f"fastnn.{function}: about {100 * share:.0f} % of the rows of '{name}' were part of the statistics of {whose}, taken from "
        f"{rows} rows: fit preprocessing on the training rows only",
    )
