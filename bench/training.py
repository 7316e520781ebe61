"""What is trained: a network, a batch, the data, and how much of it one call visits. The same data and weights for every competitor.

The rows that are not MNIST's are few, and repeated with other labels: every row has a class, but half of its labels are drawn at random.
Such a loss falls, and then stays where the noise holds it. A batch that can be learnt by heart would end in gradients so small that
what is timed is arithmetic on denormal numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.benchmark import Work, step_flops

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"  # beside the checkout
LABELLINGS = 16  # the labels of a step change from call to call
PROBE = 8  # the first steps keep theirs, so that their loss falls
SAME, ALIKE = 1e-3, 0.3  # how far first losses may differ, and those that random masks and orders, or steps before, are behind
NOISE = 0.5


@dataclass(frozen=True)
class Training:
    """A call does one update from `batch` rows, or, with `samples`, `epochs` epochs over so many rows; softmax cross-entropy, Adam.

    `keep_prob` is that of the hidden layers. `data` is "noise" or "mnist". `members` networks are trained independently of each other.
    """

    sizes: tuple[int, ...]
    batch: int
    keep_prob: float = 1.0
    samples: int = 0
    data: str = "noise"
    members: int = 1
    epochs: int = 1
    rate: float = 3e-4
    seed: int = 0
    dtype: str = "float32"

    def __str__(self) -> str:
        parts = ["-".join(map(str, self.sizes)), f"batch {self.batch}"]
        parts += [f"dropout {1 - self.keep_prob:g}"] if self.keep_prob < 1.0 else []
        parts += [f"{self.samples} rows"] if self.samples else []
        parts += [f"{self.members} networks"] if self.members > 1 else []
        return ", ".join(parts)

    @property
    def updates(self) -> int:
        """Updates of one network in one call."""
        return self.epochs * math.ceil(self.samples / self.batch) if self.samples else 1

    @property
    def parameters(self) -> int:
        return sum((i + 1) * o for i, o in pairwise(self.sizes))

    def work(self) -> Work:
        """Operations of the matrix products of one call."""
        step = step_flops(self.sizes, self.batch)
        times = self.members * (self.epochs * self.samples / self.batch if self.samples else 1)
        return Work(step.amount * times, step.unit)

    def probe(self, work: Callable[[], Any]) -> dict[str, Any]:
        """`losses`: of the first calls."""
        return {"losses": [float(work()) for _ in range(2 if self.samples else PROBE)]}

    def complaint(self, first: dict[str, Any], other: dict[str, Any]) -> str | None:
        """What is wrong with a competitor's first losses, beside fastnn's: it has to start where fastnn starts, and to learn."""
        (start, *_, end), (own_start, *_, own_end) = other["losses"], first["losses"]
        if not all(map(math.isfinite, other["losses"])):
            return f"has the losses {other['losses']}"
        if end >= start:
            return f"does not learn: its loss goes from {start:.4g} to {end:.4g}"
        random = self.keep_prob < 1.0 or self.samples > 0
        if abs(start - own_start) > (ALIKE if random else SAME) * own_start:
            return f"starts at a loss of {start:.5g}, fastnn at {own_start:.5g}"
        if abs(end - own_end) > ALIKE * (own_start if random else own_start - own_end):
            return f"comes to a loss of {end:.4g}, fastnn to {own_end:.4g}"
        return None


@functools.cache
def mnist() -> dict[str, np.ndarray]:
    """`x_train`, `y_train`, `x_test`, `y_test`: pixels from 0 to 1 in float32, labels int64. FileNotFoundError where it is absent."""
    with np.load(MNIST) as file:
        return {name: file[name].astype(np.int64) if name.startswith("y") else np.divide(file[name], 255, dtype=np.float32)
                for name in ("x_train", "y_train", "x_test", "y_test")}  # fmt: skip


def mnist_note() -> str:
    """The sentence that says that the rows of MNIST are missing, empty where they are not."""
    return "" if MNIST.exists() else f"MNIST is absent: its rows need {MNIST.name} in ../{MNIST.parent.parent.name}/{MNIST.parent.name}"


def rows(case: Training) -> tuple[np.ndarray, np.ndarray]:
    """`x (n, i)` and labels int64: `(n,)` where a call is an epoch, `(LABELLINGS, n)` where it is a step."""
    if case.data == "mnist":
        data = mnist()
        return data["x_train"][: case.samples], data["y_train"][: case.samples]
    rng = np.random.default_rng(case.seed + 5)
    x, classes = rng.standard_normal((case.batch, case.sizes[0]), dtype=case.dtype), rng.integers(0, case.sizes[-1], case.batch)
    count = -(-case.samples // case.batch) if case.samples else LABELLINGS
    random = rng.integers(0, case.sizes[-1], (count, case.batch))
    labels = np.where(rng.random((count, case.batch)) < NOISE, random, classes)
    if not case.samples:
        return x, labels
    return np.tile(x, (count, 1))[: case.samples], labels.ravel()[: case.samples]


def weights(case: Training) -> list[np.ndarray]:
    """`[w0, b0, w1, ...]` that every competitor starts from: normal with a variance of 2 / inputs, and zeros."""
    rng = np.random.default_rng(case.seed)
    pairs = ((rng.standard_normal((i, o), dtype=case.dtype) * np.sqrt(2 / i, dtype=case.dtype), np.zeros(o, case.dtype))
             for i, o in pairwise(case.sizes))  # fmt: skip
    return [array for pair in pairs for array in pair]
