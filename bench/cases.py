"""What is measured: each kernel at a few sizes, its inputs, and the work that one call is declared to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.benchmark import Work, flops, step_flops

LAYERS = ((32, 64, 32), (64, 784, 128), (128, 1024, 1024))  # n, i, o
ARRAYS = ((32, 128), (128, 1024), (4096, 1024))  # n, o: first-level cache, second-level cache, memory
SCORES = ((32, 10), (128, 10), (128, 1000))  # n, c
PARAMETERS = ((1024,), (100_000,), (4_000_000,))
STEPS = (((64, 32, 10), 32), ((784, 128, 10), 64))  # sizes, batch

# Arrays read and arrays written by one call, for the kernels that are bound by memory.
PASSES = {
    "dropout_forward": 2, "dropout_backward": 2,
    "relu_forward": 2, "leaky_relu_forward": 2, "tanh_forward": 2, "sigmoid_forward": 2,
    "relu_backward": 3, "leaky_relu_backward": 3, "tanh_backward": 3, "sigmoid_backward": 3,
    "softmax_cross_entropy": 2, "l2_loss": 3, "hinge_loss": 2,
    "sgd_update": 3, "momentum_update": 5, "adagrad_update": 5, "rmsprop_update": 5, "adam_update": 7,
}  # fmt: skip
LOSSES = ("softmax_cross_entropy", "l2_loss", "hinge_loss")
PRODUCTS = {
    "linear_forward": 1, "linear_relu_forward": 1, "linear_relu_dropout_forward": 1,
    "linear_backward": 2, "linear_relu_backward": 2, "linear_relu_dropout_backward": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One kernel (or "training_step") on arrays of one size and dtype."""

    kernel: str
    size: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.kernel}-{'x'.join(map(str, self.size))}-{self.dtype}"

    def work(self) -> Work:
        if self.kernel == "training_step":
            return step_flops(self.size[1:], self.size[0])
        if self.kernel in PRODUCTS:
            return flops(2.0 * math.prod(self.size) * PRODUCTS[self.kernel])
        return Work(float(PASSES[self.kernel] * math.prod(self.size) * np.dtype(self.dtype).itemsize), "GB/s")

    def probe(self, work: Callable[[], Any]) -> dict[str, Any]:
        """`sum`: a number that tells whether two competitors made the same thing."""
        return {"sum": total(work())}

    def complaint(self, first: dict[str, Any], other: dict[str, Any]) -> str | None:
        """What is wrong with another probe than fastnn's; random masks differ, so dropout is compared loosely."""
        tolerance = 0.2 if "dropout" in self.kernel else 1e-3
        wrong = abs(other["sum"] - first["sum"]) > tolerance * abs(first["sum"])
        return f"made {other['sum']}, fastnn {first['sum']}" if wrong else None


def total(result: Any) -> float:
    """The sum of absolute values over all that a call made."""
    if isinstance(result, tuple):
        return sum(total(part) for part in result)
    return float(np.abs(result).sum(dtype=np.float64))


def kernel_cases() -> list[Case]:
    """Float32 throughout, and float64 where it says something new."""

    def sizes(name: str) -> tuple[tuple[int, ...], ...]:
        if name in PRODUCTS:
            return LAYERS
        if name.endswith("_update"):
            return PARAMETERS
        return SCORES if name in LOSSES else ARRAYS

    single = [Case(name, size) for name in (*PRODUCTS, *PASSES) for size in sizes(name)]
    return [*single, Case("linear_relu_forward", LAYERS[-1], "float64"), Case("adam_update", PARAMETERS[-1], "float64")]


def step_cases() -> list[Case]:
    """`size` is (batch, *sizes)."""
    return [Case("training_step", (batch, *sizes)) for sizes, batch in STEPS]


def inputs(case: Case) -> dict[str, np.ndarray]:
    """The arrays of a case by their names in the library; the same for every competitor."""
    rng = np.random.default_rng(5)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=case.dtype)

    if case.kernel in PRODUCTS:
        n, i, o = case.size
        x, w, b = normal(n, i), normal(i, o), normal(o)
        return {"x": x, "w": w, "b": b, "dy": normal(n, o), "y": np.maximum(x @ w + b, 0)}
    if case.kernel.endswith("_update"):
        # From 0, so that what the first call leaves in `param` is its update alone.
        return {"grad": normal(*case.size), **{name: np.zeros(case.size, case.dtype) for name in ("param", "m", "v")}}
    if case.kernel == "training_step":
        batch, *sizes = case.size
        return {"x": normal(batch, sizes[0]), "labels": rng.integers(0, sizes[-1], batch)}
    n, c = case.size
    if case.kernel == "dropout_forward":
        return {"x": normal(n, c)}
    return {"x": normal(n, c), "dy": normal(n, c), "y": np.tanh(normal(n, c)), "labels": rng.integers(0, c, n)}
