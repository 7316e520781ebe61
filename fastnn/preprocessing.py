"""Preprocessing whose statistics come from the training rows and are then applied to every other row (CS231n notes, "Data
preprocessing").

Every scaler is an affine map of each column, `(x - shift) / spread`. Its statistics are gathered in one pass over blocks of rows, in
float64: of each block, less a row near it, the mean and the sum of squared differences from it, which are then merged (Chan, Golub
and LeVeque 1983), so that neither a large mean nor many rows cost digits. Columns that share a statistic are merged in the same way. The
statistics remember which rows they are of (`fastnn.fingerprint`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import reduce
from itertools import repeat
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from . import arrays, checks, fingerprint
from .backend import kernels
from .fingerprint import Fingerprint

AXES = ("feature", "global", "channel")
_BLOCK_ELEMENTS = 2**17  # bounds the float64 temporaries to 1 MiB
_BLOCKS = 8  # looked at together, by as many threads as there are
_TINY = np.finfo(np.float64).tiny  # the reciprocal of anything less may overflow


class Moments(NamedTuple):
    """Of `rows` values of every column: `origin + mean`, and the sum of squared differences from it."""

    rows: int
    origin: np.ndarray  # a row of them, so that means are small, and equal values are exactly 0
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, block: int) -> Moments:
        origin, counts = x[0].astype(np.float64), [min(block, len(x) - start) for start in range(0, len(x), block)]
        return reduce(cls.merged, map(cls, counts, repeat(origin), *kernels.column_moments(x, block)))

    def merged(self, other: Moments) -> Moments:
        rows = self.rows + other.rows
        apart = (other.mean - self.mean) + (other.origin - self.origin)
        squares = self.squares + other.squares + apart * apart * (self.rows * (other.rows / rows))
        return Moments(rows, self.origin, self.mean + apart * (other.rows / rows), squares)

    def grouped(self, groups: int) -> Moments:
        origin = self.origin.reshape(-1, groups)
        mean = self.mean.reshape(-1, groups) + (origin - origin[0])
        common = mean[0] + (mean - mean[0]).mean(axis=0)
        squares = self.squares.reshape(-1, groups).sum(axis=0) + self.rows * np.square(mean - common).sum(axis=0)
        return Moments(self.rows * len(mean), origin[0], common, squares)


class Extremes(NamedTuple):
    """The least and the largest value of every column."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, block: int) -> Extremes:
        low, high = kernels.column_extremes(x, block)
        return cls(low.min(axis=0), high.max(axis=0))

    def merged(self, other: Extremes) -> Extremes:
        return Extremes(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def grouped(self, groups: int) -> Extremes:
        return Extremes(self.low.reshape(-1, groups).min(axis=0), self.high.reshape(-1, groups).max(axis=0))


class Scaler:
    """What `Standardizer` and `MinMaxScaler` share: `(x - shift) / spread` of every column, with statistics of the rows of `fit`.

    `axis` names what shares a statistic: `"feature"` for each column its own, `"global"` for one of all values, `"channel"` for one a
    channel of images `(h, w, channels)` that were flattened in this order, so that column `j` is of channel `j % channels`. Statistics are
    float64 `(i,)` whatever shares them, and None before `fit`.

    Attributes: the arguments; `shift`, `spread`; `seen`, the `fastnn.fingerprint.Fingerprint` of the rows of `fit`.
    """

    kind: ClassVar[str]  # in files
    arguments: ClassVar[tuple[str, ...]]
    statistics: ClassVar[tuple[str, str]]  # their attributes
    _gathered: ClassVar[Any]  # what is merged over blocks and columns

    def __init__(self, axis: str, channels: int | None) -> None:
        name = type(self).__name__
        if axis not in AXES:
            raise checks.fail(ValueError, name, "axis", "name an axis", f"one of {', '.join(map(repr, AXES))}", repr(axis))
        if (axis == "channel") != (channels is not None):
            expected = "channels=3, say, with axis='channel', else None"
            raise checks.fail(ValueError, name, "channels", "come with axis='channel'", expected, f"{channels!r} with axis={axis!r}")
        self.axis = axis
        self.channels = None if channels is None else checks.integer(name, "channels", channels, 1, 2**31 - 1)
        self.shift: np.ndarray | None = None
        self.spread: np.ndarray | None = None
        self.seen: Fingerprint | None = None

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings().items() if value is not None)
        return f"{type(self).__name__}({settings})"

    @property
    def fitted(self) -> bool:
        """Whether there are statistics."""
        return self.shift is not None

    def settings(self) -> dict[str, Any]:
        """The arguments that make this scaler, without statistics."""
        return {name: getattr(self, name) for name in self.arguments}

    def fresh(self) -> Self:
        """A scaler of the same settings that is not fitted."""
        return type(self)(**self.settings())

    def fit(self, x: Any) -> Self:
        """Take the statistics of `x (n, i)` in one pass and float64; returns self.

        `x` is what NumPy makes an array of, of any real dtype (of a memory map one block at a time is read), or another iterable of such
        blocks `(any, i)`, which is read once. ValueError for no rows, values that are not finite, blocks of different widths; then nothing
        has changed.
        """
        function = f"{type(self).__name__}.fit"
        total: Any = None
        sketch, rows, groups, width = fingerprint.Sketch(), 0, 0, 0
        for piece in _pieces(function, x):
            if total is None:
                width = piece.shape[1]
                groups = self._groups(function, width)
            numbers = piece if piece.dtype.name in arrays.ENGINE_DTYPES else piece.astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                found = self._gathered.of(numbers, _block_rows(width))
                total = found if total is None else total.merged(found)
            if not all(np.isfinite(values).all() for values in found):
                raise _not_finite(function, piece, rows)
            sketch.add(piece)
            rows += len(piece)
        if total is None:
            expected, got = ("blocks (rows, i)", "an iterator without a row") if _is_stream(x) else ("shape (n, i)", _shape_of(x))
            raise checks.fail(ValueError, function, "x", "have at least one row", expected, got)
        with np.errstate(over="ignore", invalid="ignore"):
            statistics = self._of_groups(total.grouped(groups))
        self._adopt(function, "x", statistics, width)
        self.seen = sketch.fingerprint()
        return self

    def transform(self, x: Any, dtype: Any = None, *, role: str | None = None) -> np.ndarray:
        """A new array `(x - shift) / spread`, worked out in float64 and rounded once to the float type `dtype` (None: float64 for
        float64, else float32).

        `role`, such as `"validation"` or `"test"`, names rows that training must not have seen: `DataLeakWarning` where `check` warns.
        """
        function = f"{type(self).__name__}.transform"
        shift, spread = self._affine(function)
        x = _rows(function, "x", x, len(shift))
        if role is not None:
            if not isinstance(role, str):
                raise checks.fail(TypeError, function, "role", "be a name", "'validation', 'test' or None", repr(role))
            self._look(function, role, fingerprint.row_hashes(x))
        return _map(function, x, dtype, lambda block: (block - shift) / spread)

    def fit_transform(self, x: Any, dtype: Any = None) -> np.ndarray:
        """`fit(x).transform(x, dtype)`; TypeError for an iterator, which can be read only once."""
        if _is_stream(x):
            function = f"{type(self).__name__}.fit_transform"
            raise checks.fail(TypeError, function, "x", "be an array, which can be read twice", "shape (n, i)", type(x).__name__)
        return self.fit(x).transform(x, dtype)

    def inverse_transform(self, x: Any, dtype: Any = None) -> np.ndarray:
        """A new array `x * spread + shift`, with the dtypes of `transform`."""
        function = f"{type(self).__name__}.inverse_transform"
        shift, spread = self._affine(function)
        return _map(function, _rows(function, "x", x, len(shift)), dtype, lambda block: block * spread + shift)

    def check(self, /, **rows: Any) -> dict[str, float]:
        """The part of the rows of each argument that `fit` saw, by name: `scaler.check(validation=x_validation, test=x_test)`.

        A `DataLeakWarning` names each argument of which more was seen than repeats by nature, see `fastnn.fingerprint`. Exact where `fit`
        saw no more than 2048 different rows, else estimated from a sample of that size; NaN where that has nothing to say: for too few
        rows, or statistics from a file that does not tell whose they are.
        """
        function = f"{type(self).__name__}.check"
        shift, _ = self._affine(function)
        hashes = {name: fingerprint.row_hashes(_rows(function, name, x, len(shift))) for name, x in rows.items()}
        return {name: self._look(function, name, own) for name, own in hashes.items()}

    def scaling(self, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """`(shift, 1 / spread)` rounded to `dtype`, for `standardised`; ValueError where `dtype` cannot hold them."""
        function = f"{type(self).__name__}.scaling"
        shift, spread = self._affine(function)
        with np.errstate(over="ignore"):
            rounded = shift.astype(dtype), (1.0 / spread).astype(dtype)
        if not all(np.isfinite(values).all() for values in rounded):
            raise checks.fail(ValueError, function, "dtype", "hold the statistics", "float64", f"{np.dtype(dtype)}, in which they overflow")
        return rounded

    def to_dict(self) -> dict[str, Any]:
        """JSON-able settings and statistics; what columns share stands there once."""
        function = f"{type(self).__name__}.to_dict"
        inputs = len(self._affine(function)[0])
        groups = self._groups(function, inputs)
        return {"kind": self.kind, **self.settings(), "inputs": inputs,
                **{name: getattr(self, name)[:groups].tolist() for name in self.statistics},
                "seen": None if self.seen is None else self.seen.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The scaler that `to_dict` described; ValueError or TypeError for anything else."""
        function, (first, second) = f"{cls.__name__}.from_dict", cls.statistics
        if not isinstance(values, dict) or values.get("kind") != cls.kind or not {"axis", first, second} <= values.keys():
            expected = f"kind '{cls.kind}', axis, {first} and {second}"
            raise checks.fail(ValueError, function, "values", "come from to_dict", expected, repr(values)[:60])
        scaler = cls(**{name: values[name] for name in cls.arguments if name in values})
        shape = (arrays.as_array(function, first, values[first]).size,)
        inputs = checks.integer(function, "inputs", values.get("inputs", shape[0]), 1, 2**31 - 1)
        statistics = [arrays.targets(function, values[name], shape, np.float64, name=name) for name in (first, second)]
        groups = scaler._groups(function, inputs)
        if shape != (groups,) and "inputs" in values:
            raise checks.fail(ValueError, function, first, "fit axis and inputs", f"shape ({groups},)", checks.shape_text(shape))
        seen = None if values.get("seen") is None else Fingerprint.from_dict(values["seen"])
        scaler._adopt(function, "values", statistics, inputs)
        scaler.seen = seen
        return scaler

    def _of_groups(self, total: Any) -> tuple[np.ndarray, np.ndarray]:
        """The statistics, from all that was gathered."""
        raise NotImplementedError

    def _map_of(self, function: str, first: np.ndarray, second: np.ndarray, /) -> tuple[np.ndarray, np.ndarray]:
        """Shift and spread, from the statistics."""
        raise NotImplementedError

    def _adopt(self, function: str, name: str, statistics: Sequence[np.ndarray], inputs: int) -> None:
        first, second = (np.tile(values, inputs // len(values)) for values in statistics)
        with np.errstate(over="ignore", invalid="ignore"):
            shift, spread = self._map_of(function, first, second)
        if not (np.isfinite(shift) & np.isfinite(spread) & (spread >= _TINY)).all():
            raise checks.fail(ValueError, function, name, "be of moderate size", "statistics that float64 can hold", "an overflow")
        for statistic, values in zip(self.statistics, (first, second)):
            setattr(self, statistic, values)
        self.shift, self.spread = shift, spread

    def _affine(self, function: str) -> tuple[np.ndarray, np.ndarray]:
        if self.shift is None or self.spread is None:
            raise checks.fail(ValueError, function, "self", "be fitted first", "a call of fit before", "no statistics")
        return self.shift, self.spread

    def _groups(self, function: str, inputs: int) -> int:
        """How many statistics `inputs` columns have."""
        if self.channels is not None and inputs % self.channels:
            expected = f"a multiple of {self.channels} columns"
            raise checks.fail(ValueError, function, "x", "have every channel of every pixel", expected, f"{inputs} columns")
        return inputs if self.axis == "feature" else 1 if self.channels is None else self.channels

    def _look(self, function: str, name: str, hashes: np.ndarray, owner: str = "") -> float:
        """The part of the rows that `fit` saw; warns of a leak."""
        if self.seen is None:
            return math.nan
        overlap = self.seen.overlap(hashes)
        if overlap.leak:
            fingerprint.warn(function, name, overlap.share, self.seen.rows, f"{self!r}{owner}")
        return overlap.share


class Standardizer(Scaler):
    """`(x - mean) / std` of every column, or `x - mean` with `divide=False`; `axis` and `channels` as in `Scaler`.

    `mean` and `std` (of the population; 1 with `divide=False`) are float64 `(i,)`, None before `fit`. What is constant in the training
    rows, or varies by less than float64 can square, has `std` 1, so it becomes 0.
    """

    kind = "standardizer"
    arguments = ("axis", "divide", "channels")
    statistics = ("mean", "std")
    _gathered = Moments

    def __init__(self, axis: str = "feature", divide: bool = True, *, channels: int | None = None) -> None:
        super().__init__(axis, channels)
        if not isinstance(divide, bool):
            raise checks.fail(TypeError, "Standardizer", "divide", "be a bool", "True or False", repr(divide))
        self.divide = divide
        self.mean: np.ndarray | None = None
        self.std: np.ndarray | None = None

    def _of_groups(self, total: Moments) -> tuple[np.ndarray, np.ndarray]:
        std = np.sqrt(total.squares / total.rows)
        return total.origin + total.mean, np.where((std < _TINY) | (not self.divide), 1.0, std)

    def _map_of(self, function: str, mean: np.ndarray, std: np.ndarray, /) -> tuple[np.ndarray, np.ndarray]:
        if not (std > 0).all():
            raise checks.fail(ValueError, function, "std", "be positive", "positive numbers", f"{std.min():g}")
        return mean, std


class MinMaxScaler(Scaler):
    """`low + (x - minimum) * (high - low) / (maximum - minimum)` of every column, which takes the training rows to `low .. high`.

    `minimum` and `maximum` are float64 `(i,)`, None before `fit`; `axis` and `channels` as in `Scaler`. Other rows may lie outside, for
    nothing is cut. What is constant in the training rows becomes the middle of the range. Ends are met up to rounding.
    """

    kind = "min_max"
    arguments = ("low", "high", "axis", "channels")
    statistics = ("minimum", "maximum")
    _gathered = Extremes

    def __init__(self, low: float = -1.0, high: float = 1.0, axis: str = "feature", *, channels: int | None = None) -> None:
        super().__init__(axis, channels)
        self.low = checks.number("MinMaxScaler", "low", low)
        self.high = checks.number("MinMaxScaler", "high", high, self.low, open_low=True)
        self.minimum: np.ndarray | None = None
        self.maximum: np.ndarray | None = None

    def _of_groups(self, total: Extremes) -> tuple[np.ndarray, np.ndarray]:
        return total.low, total.high

    def _map_of(self, function: str, minimum: np.ndarray, maximum: np.ndarray, /) -> tuple[np.ndarray, np.ndarray]:
        if not (minimum <= maximum).all():
            raise checks.fail(ValueError, function, "maximum", "be at least the minimum", "minimum <= maximum", "less in some column")
        spread = (maximum - minimum) / (self.high - self.low)
        spread[spread < _TINY] = 1.0
        return minimum / 2 + maximum / 2 - (self.low / 2 + self.high / 2) * spread, spread


KINDS: dict[str, type[Standardizer] | type[MinMaxScaler]] = {"standardizer": Standardizer, "min_max": MinMaxScaler}


def from_dict(values: Any) -> Standardizer | MinMaxScaler:
    """The scaler, of whatever kind, that `to_dict` described; ValueError or TypeError for anything else."""
    return _kind(values).from_dict(values)


def unfitted(values: Any) -> Standardizer | MinMaxScaler:
    """The scaler of `{"kind": ..., **settings}`; a mere string is the axis of a `Standardizer`, as files had it at first."""
    if isinstance(values, str):
        return Standardizer(values)
    return _kind(values)(**{name: value for name, value in values.items() if name != "kind"})


def warn_of_leaks(function: str, name: str, x: np.ndarray, scalers: Sequence[Scaler | None]) -> None:
    """`DataLeakWarning` where rows of `x (n, i)`, the argument `name`, were part of the statistics of a scaler; of the first such."""
    if any(scaler is not None and scaler.seen is not None for scaler in scalers):
        hashes = fingerprint.row_hashes(x)
        for k, scaler in enumerate(scalers):
            if scaler is not None and scaler.seen is not None and scaler.seen.overlap(hashes).leak:
                scaler._look(function, name, hashes, f" of networks[{k}]" if len(scalers) > 1 else "")
                break


def standardised(x: np.ndarray, shift: np.ndarray, inverse_spread: np.ndarray) -> np.ndarray:
    """`(x - shift) * inverse_spread`, each operation rounded in the one dtype of the arrays: what a net with preprocessing computes."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = x - shift
        result *= inverse_spread
    return result


def _kind(values: Any) -> type[Standardizer] | type[MinMaxScaler]:
    if not isinstance(values, dict) or values.get("kind") not in KINDS:
        expected = f"kind {' or '.join(map(repr, KINDS))}"
        raise checks.fail(ValueError, "Scaler.from_dict", "values", "come from to_dict", expected, repr(values)[:60])
    return KINDS[values["kind"]]


def _is_stream(x: Any) -> bool:
    """Whether `x` gives blocks one by one, instead of being an array or what NumPy makes one of."""
    return isinstance(x, Iterable) and not isinstance(x, (Sequence, Mapping, Set)) and not hasattr(x, "__array__")


def _block_rows(width: int) -> int:
    return max(1, _BLOCK_ELEMENTS // max(1, width))


def _pieces(function: str, x: Any) -> Iterator[np.ndarray]:
    """Native arrays of real numbers, of some blocks of rows each, all of one width and of bounded size."""
    width = None
    for number, piece in enumerate(x if _is_stream(x) else [x], 1):
        array = piece if isinstance(piece, np.ndarray) else arrays.as_array(function, "x", piece)
        if array.ndim != 2 or array.shape[1] == 0:
            got = f"{checks.shape_text(array.shape)} {array.dtype}"
            raise checks.fail(ValueError, function, "x", "have shape (n, i)", "shape (n, i), i at least 1", got)
        if width is None:
            width = array.shape[1]
        if array.shape[1] != width:
            got = f"{checks.shape_text(array.shape)} {array.dtype} in block {number}"
            raise checks.fail(ValueError, function, "x", "have blocks of one width", f"shape (any, {width})", got)
        rows = _BLOCKS * _block_rows(width)
        for start in range(0, len(array), rows):
            yield arrays.as_array(function, "x", array[start:start + rows])


def _not_finite(function: str, piece: np.ndarray, before: int) -> Exception:
    """The exception for a piece of the rows, of which there were some `before`, whose statistics are not finite."""
    places = np.argwhere(~np.isfinite(piece))
    if len(places) == 0:
        return checks.fail(ValueError, function, "x", "be of moderate size", "statistics that float64 can hold", "an overflow")
    row, column = places[0]
    got = f"{piece[row, column]} in row {before + row}, column {column}"
    return checks.fail(ValueError, function, "x", "be finite", "finite numbers", got)


def _shape_of(x: Any) -> str:
    return checks.shape_text(np.shape(x))


def _rows(function: str, name: str, x: Any, width: int) -> np.ndarray:
    array = arrays.as_array(function, name, x)
    return arrays.inputs(function, array, width, array.dtype, name=name)


def _map(function: str, x: np.ndarray, dtype: Any, body: Any) -> np.ndarray:
    dtype = np.dtype(dtype if dtype is not None else np.float64 if x.dtype == np.float64 else np.float32)
    if dtype.kind != "f":
        raise checks.fail(TypeError, function, "dtype", "be a float type: others cut off decimals", "float32 or float64",
                          str(dtype))
    out = np.empty(x.shape, dtype)
    rows = _block_rows(x.shape[1])
    for start in range(0, len(x), rows):
        out[start:start + rows] = body(x[start:start + rows].astype(np.float64))
    return out
