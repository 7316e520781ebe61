"""The one list of cases every kernel test runs over. A public kernel without an entry here fails `test_mirror.py`.

A case is made by name of argument, so that every test can call kernel and twin alike and look at each array by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arguments = dict[str, Any]
DTYPES = ("float32", "float64")

# Around the tiles in use (up to 8 rows, up to 8 vectors of 2 to 16 columns), around blocks of k, and zero.
PRODUCT_SIZES = [
    (0, 3, 2), (3, 0, 2), (3, 2, 0), (0, 0, 0), (1, 1, 1), (1, 7, 5), (2, 3, 4), (3, 5, 8), (4, 4, 8), (5, 9, 7), (7, 2, 15), (8, 16, 16),
    (9, 17, 17), (13, 31, 10), (16, 8, 9), (17, 33, 33), (31, 12, 47), (33, 64, 49), (5, 513, 6), (6, 7, 520), (2, 1030, 3), (520, 5, 7),
]  # fmt: skip
SHAPES = [
    (), (0,), (1,), (2,), (7,), (8,), (9,), (15,), (17,), (31,), (33,), (127,), (129,), (300,),
    (4, 0), (0, 4), (3, 5), (5, 8), (6, 33), (2, 3, 9),
]  # fmt: skip
TABLES = [(0, 0), (0, 3), (3, 0), (1, 1), (7, 1), (8, 2), (15, 7), (13, 255), (9, 256), (14, 257), (50, 600)]
SCORES = [(0, 1), (0, 4), (1, 1), (1, 2), (3, 5), (5, 10), (4, 15), (4, 16), (7, 17), (3, 33), (65, 3), (35, 10), (35, 18), (48, 31),
          (2, 300)]  # fmt: skip

SPECIALS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1e-310, -1e-310, 1e-38, 1e-160, 3e38, -3e38, 1e308, 1.0, -1.0)


@dataclass(frozen=True)
class Kernel:
    """`make(rng, dtype, size)` gives the arguments; `writes` names those changed in place; `promise` is how results are held to the
    twin's: "bits", "product" (bound on sums of products), "ulp" (4 units in the last place) or "loss"."""

    make: Callable[[np.random.Generator, str, tuple[int, ...]], Arguments]
    sizes: list[tuple[int, ...]]
    promise: str
    writes: tuple[str, ...] = ()
    output: str | None = None  # argument whose shape `out` has


def normal(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def positive(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    return np.asarray(np.abs(normal(rng, dtype, *shape)) + np.asarray(0.01, dtype))


def _linear(rng, dtype, size):
    n, i, o = size
    return {"x": normal(rng, dtype, n, i), "w": normal(rng, dtype, i, o), "b": normal(rng, dtype, o)}


def _linear_dropout(rng, dtype, size):
    return {**_linear(rng, dtype, size), "keep_prob": 0.7, "seed": int(rng.integers(2**63)), "stream": int(rng.integers(2**63))}


def _linear_backward(rng, dtype, size):
    n, i, o = size
    return {"dy": normal(rng, dtype, n, o), "x": normal(rng, dtype, n, i), "w": normal(rng, dtype, i, o)}


def _gated_backward(rng, dtype, size):
    arguments = _linear_backward(rng, dtype, size)
    return {**arguments, "y": np.maximum(normal(rng, dtype, size[0], size[2]), 0)}


def _dropout(name):
    return lambda rng, dtype, shape: {
        name: normal(rng, dtype, *shape),
        "keep_prob": float(rng.choice([0.5, 0.8, 1e-5, 1.0])),
        "seed": int(rng.integers(2**63)),
        "stream": int(rng.integers(2**63)),
    }


def _forward(**scalars):
    return lambda rng, dtype, shape: {"x": normal(rng, dtype, *shape), **scalars}


def _backward(**scalars):
    return lambda rng, dtype, shape: {"dy": normal(rng, dtype, *shape), "y": normal(rng, dtype, *shape), **scalars}


def _update(*state, **scalars):
    def make(rng, dtype, shape):
        arrays = {"param": normal(rng, dtype, *shape), "grad": normal(rng, dtype, *shape)}
        arrays |= {name: (normal if name in ("velocity", "m") else positive)(rng, dtype, *shape) for name in state}
        return {**arrays, "learning_rate": 0.0123, **scalars}

    return make


def _labelled(name):
    def make(rng, dtype, size):
        n, c = size
        arguments = {name: 3 * normal(rng, dtype, n, c), "labels": rng.integers(c, size=n)}
        return {**arguments, "sample_weight": positive(rng, dtype, n)} if n % 2 else arguments

    return make


def _permutation(rng, dtype, size):
    return {"n": size[0], "seed": int(rng.integers(2**63)), "stream": 5}


def _soft_labelled(rng, dtype, size):
    n, c = size
    target = rng.dirichlet(np.ones(c), size=n).astype(dtype).reshape(n, c)
    return {"logits": 3 * normal(rng, dtype, n, c), "labels": target}


def _table(**scalars):
    """Rows of so many columns; three where one size is asked for."""
    return lambda rng, dtype, size: {"x": normal(rng, dtype, size[0], *(size[1:] or (3,))), **scalars}


def _l2(rng, dtype, size):
    arguments = {"pred": normal(rng, dtype, *size), "target": normal(rng, dtype, *size)}
    return {**arguments, "sample_weight": positive(rng, dtype, size[0])} if size[0] % 2 else arguments


# A name may carry a variant after a slash; what is before it is the public kernel.
KERNELS: dict[str, Kernel] = {
    "linear_forward": Kernel(_linear, PRODUCT_SIZES, "product", output="no"),
    "linear_forward/no bias": Kernel(lambda *a: {**_linear(*a), "b": None}, PRODUCT_SIZES, "product", output="no"),
    "linear_relu_forward": Kernel(_linear, PRODUCT_SIZES, "product", output="no"),
    "linear_relu_dropout_forward": Kernel(_linear_dropout, PRODUCT_SIZES, "product", output="no"),
    "linear_backward": Kernel(_linear_backward, PRODUCT_SIZES, "product"),
    "linear_relu_backward": Kernel(_gated_backward, PRODUCT_SIZES, "product"),
    "linear_relu_dropout_backward": Kernel(lambda *a: {**_gated_backward(*a), "keep_prob": 0.7}, PRODUCT_SIZES, "product"),
    "dropout_forward": Kernel(_dropout("x"), SHAPES, "bits", output="x"),
    "dropout_backward": Kernel(_dropout("dy"), SHAPES, "bits", output="dy"),
    "permutation": Kernel(_permutation, [(0,), (1,), (2,), (5,), (301,)], "bits"),
    "column_moments": Kernel(_table(block=7), TABLES, "bits"),
    "column_extremes": Kernel(_table(block=7), TABLES, "bits"),
    "row_hashes": Kernel(_table(), TABLES, "bits"),
    "relu_forward": Kernel(_forward(), SHAPES, "bits", output="x"),
    "relu_backward": Kernel(_backward(), SHAPES, "bits", output="dy"),
    "leaky_relu_forward": Kernel(_forward(slope=0.07), SHAPES, "bits", output="x"),
    "leaky_relu_backward": Kernel(_backward(slope=0.07), SHAPES, "bits", output="dy"),
    "tanh_forward": Kernel(_forward(), SHAPES, "ulp", output="x"),
    "tanh_backward": Kernel(_backward(), SHAPES, "bits", output="dy"),
    "sigmoid_forward": Kernel(_forward(), SHAPES, "ulp", output="x"),
    "sigmoid_backward": Kernel(_backward(), SHAPES, "bits", output="dy"),
    "softmax_cross_entropy": Kernel(_labelled("logits"), SCORES, "loss", output="logits"),
    "softmax_cross_entropy/probabilities": Kernel(_soft_labelled, SCORES, "loss", output="logits"),
    "l2_loss": Kernel(_l2, SCORES, "loss", output="pred"),
    "hinge_loss": Kernel(_labelled("scores"), SCORES, "loss", output="scores"),
    "sgd_update": Kernel(_update(), SHAPES, "bits", ("param",)),
    "sgd_update/decay": Kernel(_update(weight_decay=0.03), SHAPES, "bits", ("param",)),
    "momentum_update": Kernel(_update("velocity", momentum=0.85), SHAPES, "bits", ("param", "velocity")),
    "momentum_update/nesterov": Kernel(_update("velocity", nesterov=True, weight_decay=0.03), SHAPES, "bits", ("param", "velocity")),
    "adagrad_update": Kernel(_update("cache", weight_decay=0.03), SHAPES, "bits", ("param", "cache")),
    "rmsprop_update": Kernel(_update("cache", decay_rate=0.93, weight_decay=0.03), SHAPES, "bits", ("param", "cache")),
    "adam_update": Kernel(_update("m", "v", step=7), SHAPES, "bits", ("param", "m", "v")),
    "adam_update/decay": Kernel(_update("m", "v", step=1, weight_decay=0.03), SHAPES, "bits", ("param", "m", "v")),
    "adam_update/decoupled": Kernel(_update("m", "v", step=3, weight_decay=0.03, decoupled=True), SHAPES, "bits", ("param", "m", "v")),
    "sgd_update/l1": Kernel(_update(l1=0.02), SHAPES, "bits", ("param",)),
    "sgd_update/elastic net": Kernel(_update(weight_decay=0.03, l1=0.02), SHAPES, "bits", ("param",)),
    "momentum_update/l1": Kernel(_update("velocity", momentum=0.85, l1=0.02), SHAPES, "bits", ("param", "velocity")),
    "momentum_update/nesterov l1": Kernel(_update("velocity", nesterov=True, l1=0.02), SHAPES, "bits", ("param", "velocity")),
    "adagrad_update/l1": Kernel(_update("cache", l1=0.02), SHAPES, "bits", ("param", "cache")),
    "rmsprop_update/l1": Kernel(_update("cache", decay_rate=0.93, l1=0.02), SHAPES, "bits", ("param", "cache")),
    "adam_update/elastic net": Kernel(_update("m", "v", step=2, weight_decay=0.03, l1=0.02), SHAPES, "bits", ("param", "m", "v")),
    "adam_update/decoupled l1": Kernel(_update("m", "v", step=3, weight_decay=0.03, decoupled=True, l1=0.02), SHAPES, "bits",
                                       ("param", "m", "v")),
    "adam_update/uncorrected": Kernel(_update("m", "v", step=3, bias_correction=False), SHAPES, "bits", ("param", "m", "v")),
}


def public(name: str) -> str:
    return name.split("/")[0]


def arrays(arguments: Arguments) -> dict[str, np.ndarray]:
    return {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}


def copied(arguments: Arguments) -> Arguments:
    """Copies that keep each array's layout and alignment out of the picture: plain C order."""
    return {name: value.copy(order="C") if isinstance(value, np.ndarray) else value for name, value in arguments.items()}


def sprinkled(rng: np.random.Generator, arguments: Arguments) -> Arguments:
    """The arguments with special values in about a third of the entries of every floating array."""
    changed = copied(arguments)
    for array in arrays(changed).values():
        if array.dtype.kind == "f":
            chosen = rng.random(array.shape) < 0.35
            with np.errstate(over="ignore"):
                specials = rng.choice(np.array(SPECIALS), size=array.shape).astype(array.dtype)
            array[...] = np.where(chosen, specials, array)
    return changed


def strided(array: np.ndarray) -> np.ndarray:
    """The same values in every second element of a larger array along each axis."""
    large = np.full(tuple(2 * size + 1 for size in array.shape), 99, array.dtype)
    view = large[(*(slice(1, 2 * size, 2) for size in array.shape), ...)]
    view[...] = array
    return view


def reversed_axes(array: np.ndarray) -> np.ndarray:
    """The same values behind negative strides."""
    flip = (*(slice(None, None, -1),) * array.ndim, ...)
    return array[flip].copy()[flip]


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same values one byte off their alignment."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def in_records(array: np.ndarray) -> np.ndarray:
    """The same values as a field of packed records: strides that are no whole number of elements."""
    records = np.zeros(array.shape, np.dtype([("value", array.dtype), ("flag", "u1")]))
    records["value"] = array
    return records["value"]


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran": lambda a: np.array(a, order="F", copy=True),
    "transposed": lambda a: np.array(a.T, order="C", copy=True).T,
    "strided": strided,
    "reversed": reversed_axes,
    "misaligned": misaligned,
    "records": in_records,
}
