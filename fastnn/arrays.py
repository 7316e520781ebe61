"""Turns what a user hands in (arrays, lists, frames) into the arrays the network computes on, or answers with the library's sentence."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks

ENGINE_DTYPES = ("uint8", "float32", "float64")  # of rows that an engine converts on the way, batch by batch


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


def inputs(function: str, x: Any, width: int | None, dtype: Any, *, name: str = "x", keep: tuple[str, ...] = ("uint8",)) -> np.ndarray:
    """Return `x (n, width)` as it is when its dtype is one of `keep`, else in `dtype`; the values are converted, never scaled."""
    array = as_array(function, name, x)
    wanted = ("n", "i" if width is None else width)
    if array.ndim != 2 or (width is not None and array.shape[1] != width):
        expected = f"shape {checks.shape_text(wanted)}"
        raise checks.fail(ValueError, function, name, f"have {expected}", expected, f"{checks.shape_text(array.shape)} {array.dtype}")
    return array if array.dtype.name in keep else _converted(array, dtype)


def rows(function: str, x: Any, width: int | None, dtype: Any) -> np.ndarray:
    """`inputs` with at least one row."""
    x = inputs(function, x, width, dtype)
    if len(x) == 0:
        raise checks.fail(ValueError, function, "x", "have at least one row", f"shape (n, {x.shape[1]})", checks.shape_text(x.shape))
    return x


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


def class_weights(function: str, value: Any, y: np.ndarray, classes: int) -> np.ndarray:
    """Return the weight of every class, float64 `(classes,)`, from `"balanced"`, a dict of labels (1 where left out), or an array.

    Balanced is `samples / (classes that occur * samples of the class)`, so that every class has the same sum.
    """
    if y.dtype.kind not in "iu" or y.ndim != 1:
        got = f"{checks.shape_text(y.shape)} {y.dtype}"
        raise checks.fail(ValueError, function, "class_weight", "come with integer labels y", "labels (n,)", got)
    if isinstance(value, str):
        if value != "balanced":
            raise checks.fail(ValueError, function, "class_weight", "name a rule", "'balanced', a dict, an array or None", repr(value))
        counts = np.bincount(y, minlength=classes)
        return np.where(counts > 0, len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)
    if isinstance(value, dict):
        weights = np.ones(classes)
        for label, weight in value.items():
            index = checks.integer(function, "class_weight", label, 0, classes - 1)
            weights[index] = checks.number(function, "class_weight", weight, 0.0)
        return weights
    array = as_array(function, "class_weight", value)
    if array.shape != (classes,):
        shape = checks.shape_text((classes,))
        raise checks.fail(ValueError, function, "class_weight", f"have shape {shape}", f"a weight a class, {shape}",
                          checks.shape_text(array.shape))
    return checks.weights(function, "class_weight", array.astype(np.float64), classes, "float64")


def _converted(array: np.ndarray, dtype: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)
