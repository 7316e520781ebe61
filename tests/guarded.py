"""Run by test_tiles.py in a process of its own: `guarded.py ISA front|back` calls every kernel on arrays flush against unmapped pages."""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Any

import cases
import numpy as np
from cases import KERNELS, Arguments, Kernel

from fastnn import _core, ops

PAGE = mmap.PAGESIZE
MOST_BYTES = 64 * PAGE


class Region:
    """Memory for one array between two pages that may not be touched."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, MOST_BYTES + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for address in (start, start + PAGE + MOST_BYTES):
            if protect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def empty(self, shape: tuple[int, ...], dtype: Any, order: str, side: str) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        offset = PAGE if side == "front" else PAGE + MOST_BYTES - size
        return np.ndarray(shape, dtype, buffer=self.memory, offset=offset, order=order)  # type: ignore[call-overload]


def sizes_of(kernel: Kernel) -> list[tuple[int, ...]]:
    """The sizes of the cases that fit, and all tails."""
    if kernel.sizes is cases.PRODUCT_SIZES:
        rng = np.random.default_rng(0)
        tails = [tuple(int(size) for size in rng.integers(1, [20, 40, 140])) for _ in range(150)]
        return [size for size in kernel.sizes if max(size) < 1000] + tails
    if kernel.sizes is cases.SCORES:
        return kernel.sizes + [(n, c) for c in range(1, 70) for n in (1, 3)]
    return kernel.sizes + ([(n,) for n in range(131)] + [(3, n) for n in range(1, 131, 7)] if kernel.sizes is cases.SHAPES else [])


def outputs(name: str, kernel: Kernel, arguments: Arguments, size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of what `out` takes."""
    if kernel.output is not None:
        return [(size[0], size[2])] if kernel.output == "no" else [arguments[kernel.output].shape]
    if kernel.promise == "product":
        return [(size[0], size[1]), (size[1], size[2]), (size[2],)]
    return []


def run(side: str) -> None:
    regions = [Region() for _ in range(8)]
    for name, kernel in KERNELS.items():
        for dtype in cases.DTYPES:
            print(name, dtype, flush=True)
            rng = np.random.default_rng(1)
            for size in sizes_of(kernel):
                arguments = kernel.make(rng, dtype, size)
                for order in "CF" if len(size) > 1 else "C":
                    free = iter(regions)
                    given: dict[str, Any] = dict(arguments)
                    for key, array in cases.arrays(arguments).items():
                        given[key] = next(free).empty(array.shape, array.dtype, order, side)
                        given[key][...] = array
                    out = [next(free).empty(shape, dtype, order, side) for shape in outputs(name, kernel, arguments, size)]
                    if out:
                        given["out"] = out[0] if len(out) == 1 else tuple(out)
                    getattr(ops, cases.public(name))(**given)


def beyond(side: str) -> None:
    print("beyond", flush=True)
    array = Region().empty((5,), np.float32, "C", side)
    array[...] = 1
    wider = np.lib.stride_tricks.as_strided(array, (6,)) if side == "back" else np.lib.stride_tricks.as_strided(array, (2,), (-4,))
    ops.relu_forward(wider)


if __name__ == "__main__":
    _core.use_isa(sys.argv[1])
    (beyond if sys.argv[3:] == ["beyond"] else run)(sys.argv[2])
    print("all kernels")
