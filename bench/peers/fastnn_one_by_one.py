"""fastnn trains many networks one after another on one thread: what `fit_many` is to beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from training import Training, rows

import fastnn

from .fastnn_training import network, settings


def prepare(case: Training) -> Callable[[], float]:
    fastnn.set_num_threads(1)
    networks, (x, y) = [network(case, member) for member in range(case.members)], rows(case)
    return lambda: float(np.mean([net.fit(x, y, **settings(case))[-1]["loss"] for net in networks]))
