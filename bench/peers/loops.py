"""The loop around a competitor's training step, for those that have none of their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from training import PROBE, Training, mnist


def labellings(labels: Sequence[Any]) -> itertools.chain[Any]:
    """The labels of step after step: the first ones for as long as a loss has to be seen falling, then all in turn."""
    return itertools.chain(itertools.repeat(labels[0], PROBE), itertools.cycle(labels))


class Loop:
    """A call does the case's work and returns its mean loss; `step(x, y)` is one update, and `permutation(n)` an order of rows as `x` and
    `y` can be indexed by. `predict(x)`, of NumPy rows, is for `accuracy`."""

    def __init__(self, case: Training, step: Callable[[Any, Any], Any], x: Any, y: Any, permutation: Callable[[int], Any],
                 predict: Callable[[np.ndarray], np.ndarray]) -> None:  # fmt: skip
        self.case, self.step, self.x, self.y, self.permutation, self.predict = case, step, x, y, permutation, predict
        self.labels = None if case.samples else labellings(y)

    def __call__(self) -> float:
        if self.labels is not None:
            return float(self.step(self.x, next(self.labels)))
        x, y, step, batch = self.x, self.y, self.step, self.case.batch
        order = self.permutation(len(x))
        losses = [step(x[rows], y[rows]) for rows in (order[start : start + batch] for start in range(0, len(x), batch))]
        return float(sum(losses) / len(losses))

    def accuracy(self) -> float:
        """The part of MNIST's test rows that is named right."""
        data = mnist()
        return float(np.mean(self.predict(data["x_test"]) == data["y_test"]))
