"""fastnn's memory while it trains, beyond data, weights and optimizer state (Linux: what the kernel counts as resident)."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from training import Training

from .fastnn_training import Work

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def prepare(case: Training) -> Callable[[], float]:
    return Memory(case)


def resident(field: str) -> int:
    """Bytes that are resident now, of no file (`RssAnon`) or of files (`RssFile`), or were of both at most since the peak was set back
    (`VmHWM`)."""
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def give_back() -> None:
    """What is free in the allocator's hands goes back to the system, where the C library can do so (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Memory:
    """A call is an epoch. A small network is trained first, so that threads and Python's objects are there when counting starts; pages of
    files, which are code, are not counted."""

    def __init__(self, case: Training) -> None:
        Work(replace(case, sizes=(8, 8, 8), batch=8, samples=16))()
        gc.collect()
        give_back()
        self.before = resident("RssAnon")
        self.work = Work(case)
        give_back()
        RESET.write_text("5", encoding="ascii")  # the peak becomes what is resident now: making the data took more for a moment

    def __call__(self) -> float:
        return self.work()

    def beyond(self) -> int:
        """Bytes at the peak of training, less what was there before and what a person handed in or asked for."""
        parameters = sum(array.nbytes for array in self.work.net.parameters())
        slots = self.work.trainer.optimizer.slots
        return resident("VmHWM") - resident("RssFile") - self.before - self.work.x.nbytes - self.work.y.nbytes - (1 + slots) * parameters
