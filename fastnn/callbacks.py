"""What may happen between epochs, and between updates.

A callback is a callable `callback(trainer, record) -> bool | None`, called after every epoch with the trainer and the epoch's record
(a dict, already in the history; what a callback adds to it is kept). True ends the fit. `Every(steps, callback)` is called between
updates instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks
from .history import Record, improves
from .text import Line

if TYPE_CHECKING:
    from .trainer import Trainer


@dataclass(frozen=True)
class Every:
    """Calls `callback(trainer, record)` whenever `trainer.steps` is a multiple of `steps`, with the record of the epoch so far, which is
    not kept. True ends the fit."""

    steps: int
    callback: Callable[..., Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", checks.integer("Every", "steps", self.steps, 1, 2**53))
        if not callable(self.callback):
            raise checks.fail(TypeError, "Every", "callback", "be a callable", "callback(trainer, record)", repr(self.callback))


@dataclass(frozen=True)
class EarlyStopping:
    """Ends a fit after `patience` epochs in a row whose `monitor` did not beat the best by more than `min_delta`.

    Accuracies are to rise, all else is to fall. `restore_best` puts the weights of the best epoch back when the fit ends, for whatever
    reason but an exception.
    """

    patience: int = 10
    monitor: str = "val_loss"
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", checks.integer("EarlyStopping", "patience", self.patience, 1, 2**53))
        object.__setattr__(self, "min_delta", checks.number("EarlyStopping", "min_delta", self.min_delta, 0.0))
        if not isinstance(self.monitor, str):
            raise checks.fail(TypeError, "EarlyStopping", "monitor", "be a name", "the name of a recorded quantity", repr(self.monitor))

    def start(self) -> Watch:
        """The state of one fit."""
        return Watch(self)


class Watch:
    """`EarlyStopping` at work in one fit: a callback that remembers the best epoch."""

    def __init__(self, settings: EarlyStopping) -> None:
        self.settings = settings
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.waited = 0
        self.parameters: list[np.ndarray] = []

    def __call__(self, trainer: Trainer, record: Record) -> bool:
        monitor = self.settings.monitor
        if improves(monitor, record[monitor], self.best, self.settings.min_delta):
            self.best, self.best_epoch, self.waited = record[monitor], record["epoch"], 0
            if self.settings.restore_best:
                self.parameters = [array.copy() for array in trainer.net.parameters()]
        else:
            self.waited += 1
        return self.waited >= self.settings.patience

    def finish(self, trainer: Trainer) -> None:
        """Put the best weights back; an epoch under way, which began from others, is not gone on with."""
        if self.parameters:
            trainer.abandon_epoch()
        for array, best in zip(trainer.net.parameters(), self.parameters):
            array[...] = best


UNSHOWN = ("gradient_norm", "weight_norm", "update_ratio", "penalty")  # the line is to fit a terminal


class Progress:
    """A line of progress: a record every epoch (or other `unit`)."""

    def __init__(self, epochs: int, unit: str = "epoch") -> None:
        self.epochs = epochs
        self.unit = unit
        self.done = 0
        self.line = Line()

    def __call__(self, trainer: Trainer | None, record: Record) -> None:
        self.done += 1
        values = [f"{name} {value:.4g}" for name, value in record.items() if isinstance(value, float) and name not in UNSHOWN]
        self.line.write(f"{self.unit} {self.done}/{self.epochs}  " + "  ".join(values))

    def finish(self) -> None:
        """End the line."""
        self.line.finish()
