"""The embedded digits are the published ones, and nobody can spoil them for the next caller."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np

from fastnn.datasets import load_digits

# The first line of optdigits.tes and its class counts, as published with the file (optdigits.names).
FIRST = """0,0,5,13,9,1,0,0,0,0,13,15,10,15,5,0,0,3,15,2,0,11,8,0,0,4,12,0,0,8,8,0,0,5,8,0,0,9,8,0,0,4,11,0,1,12,7,0,0,2,14,5,10,12,0,0,
0,0,6,13,10,0,0,0"""
COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_the_published_ones():
    x, y = load_digits()
    assert x.shape == (1797, 64)
    assert x.dtype == y.dtype == np.uint8
    assert (x.min(), x.max()) == (0, 16)
    assert x[0].tolist() == [int(value) for value in FIRST.split(",")]
    assert np.bincount(y).tolist() == COUNTS


def test_digits_match_the_checksum_their_readme_states():
    x, y = load_digits()
    readme = resources.files("fastnn.data").joinpath("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest() in readme
    assert "CC BY 4.0" in readme


def test_each_call_returns_arrays_of_its_own():
    x, y = load_digits()
    x[:] = 1
    y[:] = 1
    again_x, again_y = load_digits()
    assert again_x.max() == 16
    assert again_y.max() == 9


def test_the_file_is_small_and_holds_no_pickle():
    file = resources.files("fastnn.data").joinpath("digits.npz")
    with file.open("rb") as handle:
        assert len(handle.read()) < 100_000
    with file.open("rb") as handle, np.load(handle, allow_pickle=False) as data:
        assert sorted(data) == ["x", "y"]
        assert all(data[name].dtype != object for name in data)
