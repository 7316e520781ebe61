"""Preprocessing whose statistics come from the training rows and are then applied to every other row (CS231n notes, "Data
preprocessing")."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import arrays, checks

_BLOCK_ELEMENTS = 2**18  # bounds the float64 temporaries to 2 MiB


class Standardizer:
    """`(x - mean) / std` of every feature (column); `axis` names what shares a statistic and is `"feature"`.

    `mean` and `std` are float64 `(i,)`, None before `fit`. A feature that is constant in the training rows has `std` 1, so it becomes 0.
    """

    def __init__(self, axis: str = "feature") -> None:
        if axis != "feature":
            raise checks.fail(ValueError, "Standardizer", "axis", "name an axis", "'feature'", repr(axis))
        self.axis = axis
        self.mean: np.ndarray | None = None
        self.std: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Standardizer(axis={self.axis!r})"

    def fit(self, x: Any) -> Standardizer:
        """Take mean and population standard deviation of `x (n, i)`, accumulated in float64; returns self.

        ValueError for no rows and for values that are not finite.
        """
        x = _rows("Standardizer.fit", x, None)
        if len(x) == 0:
            raise checks.fail(ValueError, "Standardizer.fit", "x", "have at least one row", "shape (n, i)", checks.shape_text(x.shape))
        low, high = x.min(axis=0), x.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise checks.fail(ValueError, "Standardizer.fit", "x", "be finite", "finite numbers", "a value that is not")
        mean = np.add.reduce(x, axis=0, dtype=np.float64) / len(x)
        squares = sum(np.square(x[block] - mean).sum(axis=0) for block in _blocks(x))
        # Not `std == 0`: the mean of equal values is rounded, and their difference from it would be scaled up to 1.
        self.mean, self.std = mean, np.where(low == high, 1.0, np.sqrt(squares / len(x)))
        return self

    def transform(self, x: Any, dtype: Any = None) -> np.ndarray:
        """A new array `(x - mean) / std`, worked out in float64 and rounded once to `dtype` (None: float64 for float64, else float32)."""
        mean, std = self._statistics("Standardizer.transform")
        return _map(_rows("Standardizer.transform", x, len(mean)), dtype, lambda block: (block - mean) / std)

    def fit_transform(self, x: Any, dtype: Any = None) -> np.ndarray:
        """`fit(x).transform(x, dtype)`."""
        return self.fit(x).transform(x, dtype)

    def scaling(self, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """`(mean, 1 / std)` rounded to `dtype`, for `standardised`."""
        mean, std = self._statistics("Standardizer.scaling")
        return mean.astype(dtype), (1.0 / std).astype(dtype)

    def inverse_transform(self, x: Any, dtype: Any = None) -> np.ndarray:
        """A new array `x * std + mean`, with the dtypes of `transform`."""
        mean, std = self._statistics("Standardizer.inverse_transform")
        return _map(_rows("Standardizer.inverse_transform", x, len(mean)), dtype, lambda block: block * std + mean)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able settings and statistics."""
        mean, std = self._statistics("Standardizer.to_dict")
        return {"kind": "standardizer", "axis": self.axis, "mean": mean.tolist(), "std": std.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Standardizer:
        """The standardizer that `to_dict` described; ValueError for anything else."""
        function = "Standardizer.from_dict"
        if not isinstance(values, dict) or values.get("kind") != "standardizer" or not {"axis", "mean", "std"} <= values.keys():
            expected = "kind 'standardizer', axis, mean and std"
            raise checks.fail(ValueError, function, "values", "come from to_dict", expected, repr(values)[:60])
        scaler = cls(values["axis"])
        mean = arrays.as_array(function, "mean", values["mean"])
        scaler.mean = arrays.targets(function, mean, (mean.size,), np.float64, name="mean")
        scaler.std = arrays.targets(function, values["std"], mean.shape, np.float64, name="std")
        if not (scaler.std > 0).all():
            raise checks.fail(ValueError, function, "std", "be positive", "positive numbers", f"{scaler.std.min():g}")
        return scaler

    def _statistics(self, function: str) -> tuple[np.ndarray, np.ndarray]:
        if self.mean is None or self.std is None:
            raise checks.fail(ValueError, function, "self", "be fitted first", "a call of fit before", "no statistics")
        return self.mean, self.std


def standardised(x: np.ndarray, mean: np.ndarray, inverse_std: np.ndarray) -> np.ndarray:
    """`(x - mean) * inverse_std`, each operation rounded in the one dtype of the arrays: what a net with preprocessing computes."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = x - mean
        result *= inverse_std
    return result


def _rows(function: str, x: Any, width: int | None) -> np.ndarray:
    array = arrays.as_array(function, "x", x)
    return arrays.inputs(function, array, width, array.dtype)


def _blocks(x: np.ndarray) -> list[slice]:
    rows = max(1, _BLOCK_ELEMENTS // max(1, x.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(x), rows)]


def _map(x: np.ndarray, dtype: Any, body: Any) -> np.ndarray:
    out = np.empty(x.shape, dtype if dtype is not None else np.float64 if x.dtype == np.float64 else np.float32)
    for block in _blocks(x):
        out[block] = body(x[block].astype(np.float64))
    return out
