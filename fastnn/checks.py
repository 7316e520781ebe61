"""The sentences bad input is answered with, and the checks that say them.

One form everywhere::

    fastnn.<function>: argument '<name>' must be <requirement> (expected <what>, got <what>)

`TypeError` for a wrong type or dtype, `ValueError` for a wrong shape, layout or value. The compiled binding raises the same
sentences for the same input; `tests/test_errors.py` holds the two together. Nothing here writes to an array.
"""

from __future__ import annotations

import math
import operator
import sys
import warnings
from typing import Any

import numpy as np

FLOATS = ("float32", "float64")


def fail(kind: type[Exception], function: str, name: str, requirement: str, expected: str, got: str) -> Exception:
    """Return the exception with the library's one sentence; the caller raises it."""
    return kind(f"fastnn.{function}: argument '{name}' must {requirement} (expected {expected}, got {got})")


def warn(category: type[Warning], sentence: str) -> None:
    """Warn at the line outside the package that led here."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, category, stacklevel=level)


def shape_text(shape: tuple[Any, ...]) -> str:
    """`(3, 5)`; free axes are shown by their letter, `(3, o)`."""
    return "(" + ", ".join(str(axis) for axis in shape) + ("," if len(shape) == 1 else "") + ")"


def floats(function: str, name: str, value: Any, shape: tuple[Any, ...] | None = None, *, dtype: Any = None,
           write: bool = False, also: tuple[str, ...] = ()) -> np.ndarray:
    """Return `value` if it is a float32 / float64 ndarray of the wanted dtype and shape, else raise.

    `shape` mixes numbers (fixed) and letters (free); None takes any shape. `dtype=None` takes both float types, and those of `also`.
    """
    wanted = (*also, *FLOATS) if dtype is None else (str(dtype),)
    kinds = " or ".join(wanted)
    expected = f"{kinds} array" if shape is None else f"shape {shape_text(shape)} {kinds}"
    _ndarray(function, name, value, expected)
    got = f"{shape_text(value.shape)} {value.dtype}"
    if value.dtype.name not in wanted:
        raise fail(TypeError, function, name, f"be {kinds}", expected, got)
    if not value.dtype.isnative:
        raise fail(TypeError, function, name, "be in native byte order", expected, f"{got} in swapped byte order")
    _shape(function, name, value, shape, expected, got)
    if write:
        if not value.flags.writeable:
            raise fail(ValueError, function, name, "be writeable", expected, f"{got}, read-only")
        if _overlaps_itself(value):
            raise fail(ValueError, function, name, "not overlap itself", expected, f"{got} with strides {shape_text(value.strides)}")
    return value


def table(function: str, x: Any) -> np.ndarray:
    """Return `x (n, i)` if it is a uint8, float32 or float64 ndarray, else raise."""
    return floats(function, "x", x, ("n", "i"), also=("uint8",))


def labels(function: str, name: str, value: Any, samples: int, classes: int) -> np.ndarray:
    """Return integer `value (n,)` as int64 after checking `0 <= label < classes`."""
    expected = f"shape ({samples},) integer"
    _ndarray(function, name, value, expected)
    got = f"{shape_text(value.shape)} {value.dtype}"
    if value.dtype.kind not in "iu" or not value.dtype.isnative:
        raise fail(TypeError, function, name, "be integer class labels", expected, got)
    _shape(function, name, value, (samples,), expected, got)
    if value.size and (value.min() < 0 or value.max() >= classes):
        worst = int(value.min()) if value.min() < 0 else int(value.max())
        raise fail(ValueError, function, name, f"lie between 0 and {classes - 1}", f"labels of {classes} classes", f"label {worst}")
    return value.astype(np.int64)


def weights(function: str, name: str, value: Any, samples: int, dtype: Any) -> np.ndarray:
    """Return `value (n,)` after checking that every weight is finite and not negative."""
    value = floats(function, name, value, (samples,), dtype=dtype)
    if not (np.isfinite(value) & (value >= 0)).all():
        raise fail(ValueError, function, name, "be finite and not negative", "weights of at least 0", "a negative or non-finite weight")
    return value


def number(function: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf, *,
           open_low: bool = False, open_high: bool = False) -> float:
    """Return `value` as a finite float inside the interval, else raise."""
    interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    if isinstance(value, (str, bytes, np.ndarray)):
        raise fail(TypeError, function, name, "be a real number", f"a number in {interval}", type(value).__name__)
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise fail(TypeError, function, name, "be a real number", f"a number in {interval}", type(value).__name__) from None
    inside = (result > low if open_low else result >= low) and (result < high if open_high else result <= high)
    if not inside or math.isinf(result):
        raise fail(ValueError, function, name, "be finite and in range", f"a number in {interval}", f"{result:g}")
    return result


def integer(function: str, name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int in `low..high`, else raise."""
    try:
        result = operator.index(value)
    except TypeError:
        raise fail(TypeError, function, name, "be an integer", f"an integer in {low}..{high}", type(value).__name__) from None
    if not low <= result <= high:
        raise fail(ValueError, function, name, "be in range", f"an integer in {low}..{high}", str(result))
    return result


def disjoint(function: str, name: str, written: np.ndarray, others: dict[str, np.ndarray | None], *, allow_same: bool = False) -> None:
    """Raise when `written` shares memory with another argument; `allow_same` admits the very same view (in place)."""
    for other_name, other in others.items():
        if other is None or (allow_same and _same_view(written, other)):
            continue
        if shares_memory(written, other):
            raise fail(ValueError, function, name, f"not overlap '{other_name}'", "memory of its own", f"memory shared with '{other_name}'")


def shares_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Exact where NumPy can tell within bounded work, else by extent."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return bool(np.shares_memory(a, b, max_work=100_000))  # type: ignore[arg-type] # numpy's own stub knows -1 and 0 only
    except np.exceptions.TooHardError:
        return True


def _ndarray(function: str, name: str, value: Any, expected: str) -> None:
    if not isinstance(value, np.ndarray):
        raise fail(TypeError, function, name, "be a NumPy array", expected, type(value).__name__)
    if isinstance(value, np.ma.MaskedArray):
        raise fail(TypeError, function, name, "not be a masked array", expected, "MaskedArray")


def _shape(function: str, name: str, value: np.ndarray, shape: tuple[Any, ...] | None, expected: str, got: str) -> None:
    if shape is None:
        return
    fits = len(shape) == value.ndim and all(isinstance(want, str) or want == have for want, have in zip(shape, value.shape))
    if not fits:
        raise fail(ValueError, function, name, f"have shape {shape_text(shape)}", expected, got)


def _same_view(a: np.ndarray, b: np.ndarray) -> bool:
    return a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype


def _overlaps_itself(a: np.ndarray) -> bool:
    """True unless each axis steps over everything the smaller-stepping axes span: enough for every ordinary view."""
    span = a.itemsize
    for stride, length in sorted((abs(stride), length) for stride, length in zip(a.strides, a.shape) if length > 1):
        if stride < span:
            return a.size > 0
        span += stride * (length - 1)
    return False
