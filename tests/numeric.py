"""Centered differences for the tests, independent of `fastnn.gradcheck`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def gradient(f: Callable[[], float], array: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """d f() / d array, entry by entry; `f` reads `array`, which is changed and put back."""
    result = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + h
        above = f()
        array[index] = kept - h
        below = f()
        array[index] = kept
        result[index] = (above - below) / (2 * h)
    return result


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference relative to the largest entry."""
    return float(np.abs(a - b).max() / max(np.abs(a).max(), np.abs(b).max()))
