"""A running average of the weights, which often predicts better than the last weights do (Polyak and Juditsky 1992)."""

from __future__ import annotations

from dataclasses import dataclass

from . import checks


@dataclass(frozen=True)
class EMA:
    """After every update `average += (1 - decay) * (weights - average)`, in the net's dtype; the average starts as the initial weights.

    It remembers about `1 / (1 - decay)` updates. `0 < decay < 1`.
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", checks.number("EMA", "decay", self.decay, 0.0, 1.0, open_low=True, open_high=True))
