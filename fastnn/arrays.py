"""Turns what a user hands in (arrays, lists, frames) into the arrays the network computes on, or answers with the library's sentence."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks


def as_array(function: str, name: str, value: Any) -> np.ndarray:
    """Return `value` as a plain ndarray of numbers in native byte order; no copy is made where none is needed."""
    if isinstance(value, np.ma.MaskedArray):
        raise checks.fail(TypeError, function, name, "not be a masked array", "an array of numbers", "MaskedArray")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise checks.fail(TypeError, function, name, "be an array of numbers", "an array of numbers", type(value).__name__) from error
    if array.dtype.kind not in "fiub":
        got = f"{checks.shape_text(array.shape)} {array.dtype}"
        raise checks.fail(TypeError, function, name, "be an array of numbers", "real numbers", got)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def inputs(function: str, x: Any, width: int | None, dtype: Any, *, name: str = "x") -> np.ndarray:
    """Return `x (n, width)` as uint8 when it is uint8, else in `dtype`; the values are converted, never scaled."""
    array = as_array(function, name, x)
    wanted = ("n", "i" if width is None else width)
    if array.ndim != 2 or (width is not None and array.shape[1] != width):
        expected = f"shape {checks.shape_text(wanted)}"
        raise checks.fail(ValueError, function, name, f"have {expected}", expected, f"{checks.shape_text(array.shape)} {array.dtype}")
    return array if array.dtype == np.uint8 else _converted(array, dtype)


def targets(function: str, y: Any, shape: tuple[int, ...], dtype: Any, *, name: str = "y") -> np.ndarray:
    """Return real `y` of `shape` in `dtype` after checking that every value is finite."""
    array = as_array(function, name, y)
    expected = f"shape {checks.shape_text(shape)} finite numbers"
    if array.shape != shape:
        got = f"{checks.shape_text(array.shape)} {array.dtype}"
        raise checks.fail(ValueError, function, name, f"have shape {checks.shape_text(shape)}", expected, got)
    array = _converted(array, dtype)
    if not np.isfinite(array).all():
        raise checks.fail(ValueError, function, name, "be finite", expected, f"a value that is not finite in {np.dtype(dtype)}")
    return array


def sample_weights(function: str, value: Any, samples: int, dtype: Any) -> np.ndarray | None:
    """Return `value (n,)` in `dtype` after checking that every weight is finite and not negative; None stays None."""
    if value is None:
        return None
    return checks.weights(function, "sample_weight", _converted(as_array(function, "sample_weight", value), dtype), samples, dtype)


def _converted(array: np.ndarray, dtype: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)
