"""fastnn trains: `Trainer.step` or `Trainer.epoch` a call, `fit_many` where there are many networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from training import Training, mnist, rows, weights

import fastnn

from .loops import labellings


def network(case: Training, member: int = 0) -> fastnn.MLP:
    keep = case.keep_prob if len(case.sizes) > 2 else 1.0
    start = weights(case)
    return fastnn.MLP.from_parameters(start, case.sizes, keep_prob=keep, dtype=case.dtype, seed=case.seed + member)


def prepare(case: Training) -> dict[str, Callable[[], Callable[[], float]]]:
    if case.members > 1:
        return {"fit_many": lambda: together(case)} if hasattr(fastnn, "fit_many") else {}
    return {"": lambda: Work(case)}


class Work:
    """A call does the case's work and returns its mean loss."""

    def __init__(self, case: Training) -> None:
        self.case, self.net = case, network(case)
        self.trainer = fastnn.Trainer(self.net, optimizer=fastnn.Adam(learning_rate=case.rate))
        self.x, self.y = rows(case)
        self.labels = None if case.samples else labellings(self.y)

    def __call__(self) -> float:
        if self.labels is not None:
            return self.trainer.step(self.x, next(self.labels))
        return self.trainer.epoch(self.x, self.y, batch_size=self.case.batch)

    def accuracy(self) -> float:
        data = mnist()
        return float(np.mean(self.net.predict(data["x_test"]) == data["y_test"]))


def settings(case: Training) -> dict[str, Any]:
    return {"optimizer": fastnn.Adam(learning_rate=case.rate), "epochs": case.epochs, "batch_size": case.batch}


def together(case: Training) -> Callable[[], float]:
    networks, (x, y) = [network(case, member) for member in range(case.members)], rows(case)

    def work() -> float:
        histories = fastnn.fit_many(networks, x, y, **settings(case))
        return float(np.mean([history[-1]["loss"] for history in histories]))

    return work
