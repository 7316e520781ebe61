"""Data sets that come with the package, so that a first run needs no download."""

from __future__ import annotations

from importlib import resources

import numpy as np


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return `x (1797, 64)` and `y (1797,)`, both uint8: handwritten digits of 8 x 8 pixels and the digit each one shows.

    A row of `x` is an image row by row; a pixel counts the inked dots, 0..16, of a 4 x 4 block of the 32 x 32 scan. `y` is 0..9.
    The arrays are new at every call. Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (the test part),
    UCI Machine Learning Repository, 1998, CC BY 4.0.
    """
    with resources.files("fastnn.data").joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as data:
        return data["x"], data["y"]
