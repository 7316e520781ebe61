"""A running average of the weights, which often predicts better than the last weights do (Polyak and Juditsky 1992)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import checks


@dataclass(frozen=True)
class EMA:
    """After every update `sum = decay * sum + (1 - decay) * weights`, in the net's dtype, from 0 on; the average is `sum / share(updates)`.

    Divided so, the weights after each update count as `decay**age` from the first update on, and the random weights that training began
    from do not count at all: the correction that Kingma and Ba (2015) make to Adam's moments. The average remembers about
    `1 / (1 - decay)` updates. `0 < decay < 1`.
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", checks.number("EMA", "decay", self.decay, 0.0, 1.0, open_low=True, open_high=True))

    def share(self, updates: int) -> float:
        """`1 - decay**updates`, what the weights after `updates` updates make up in the sum."""
        return -math.expm1(updates * math.log(self.decay))
