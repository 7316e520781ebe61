"""What the two engines share: the description that they are built from, and the sums that they keep."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Plan(NamedTuple):
    """What an engine is built from; `inf` and 0.0 switch a limit and the average off. `loss` is None where it is a user's object."""

    sizes: tuple[int, ...]
    activation: str
    slope: float
    keep_prob: tuple[float, ...]
    seed: int
    loss: str | None
    margin: float
    update: str
    slots: int
    clip_value: float
    clip_norm: float
    max_norm: float
    average: float
    mean: np.ndarray | None
    inverse_std: np.ndarray | None


class Statistics(NamedTuple):
    """Sums over the batches since `reset`, and what the last measured update left (NaN before one).

    `loss_sum` adds mean loss * batch weight, `weight_sum` the weights (rows, where none are given), `metric_sum` rows * metric ** power.
    """

    loss_sum: float = 0.0
    weight_sum: float = 0.0
    metric_sum: float = 0.0
    rows: int = 0
    gradient_norm: float = math.nan
    weight_norm: float = math.nan
    update_ratio: float = math.nan

    @property
    def loss(self) -> float:
        """The mean loss."""
        return self.loss_sum / self.weight_sum if self.weight_sum > 0 else 0.0
