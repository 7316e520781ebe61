"""Many networks trained on the same rows as one job: for search, ensembles and cross-validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import backend, checks, layers, losses, optimizers
from .callbacks import Progress
from .history import History
from .model import MLP
from .preprocessing import warn_of_leaks
from .schedules import Schedule
from .trainer import CHUNK, Cut, Samples, Trainer


def fit_many(networks: Sequence[MLP | Trainer], x: Any, y: Any, *, loss: str | losses.Loss = "softmax_cross_entropy",
             optimizer: str | optimizers.Optimizer | Sequence[str | optimizers.Optimizer] = "adam",
             schedule: Schedule | Sequence[Schedule | None] | None = None, epochs: int = 20, batch_size: int | Sequence[int] = 128,
             rows: Sequence[Any] | None = None, validation_data: tuple[Any, Any] | None = None, sample_weight: Any = None,
             class_weight: Any = None, shuffle: bool = True, time_limit: float | None = None, progress: bool = False,
             callbacks: Sequence[Callable[[list[Trainer]], Any]] = ()) -> list[History]:
    """Train every network for `epochs` epochs, in place, and return their histories.

    Each member ends with the bits that `Trainer(network, ...).fit(x[rows[k]], y[rows[k]], ...)` alone would have given it; the members
    share one copy of the data and the cores of the machine, each on one at a time, which keeps all cores busy even with networks too
    small to be divided.

    `networks` have the same inputs, outputs and dtype; their seeds, keep probabilities and hidden layers are their own. `optimizer`,
    `schedule` and `batch_size` are one for all or a sequence with one each. Instead of a network a prepared `Trainer` may be given, which
    brings its own loss, optimizer, schedule and limits. `rows[k]` are the row numbers member `k` learns from (default: all). After every
    epoch that a member completed each `callback(trainers)` is called with all members' trainers, whose `history[-1]` is the newest
    record; True ends the training. The other arguments are those of `Trainer.fit`.

    A member whose loss or gradients stop being finite keeps the weights of its last update and drops out; the others go on. What ended a
    member's training is its `history.stopped`: `"epochs"`, `"time_limit"`, `"callback"` or `"diverged"`.

    Errors: the library's sentences before anything is trained; KeyboardInterrupt when every member has completed the update under way.
    """
    function = "fit_many"
    epochs = checks.integer(function, "epochs", epochs, 1, 2**53)
    deadline = math.inf if time_limit is None else checks.number(function, "time_limit", time_limit, 0.0) + time.monotonic()
    for callback in callbacks:
        if not callable(callback):
            raise checks.fail(TypeError, function, "callbacks", "be callables", "callback(trainers)", repr(callback))
    trainers = _trainers(function, networks, loss, optimizer, schedule)
    data = trainers[0]._samples(function, x, y, sample_weight, class_weight)
    own_rows, sizes = _rows(function, rows, data, trainers), _each(function, "batch_size", batch_size, len(trainers))
    members = [_Member(function, trainer, data, own, size, shuffle, epochs) for trainer, own, size in zip(trainers, own_rows, sizes)]
    if validation_data is not None:
        validation_data = trainers[0]._validation(function, validation_data)
        warn_of_leaks(function, "validation_data", validation_data[0], [trainer.net.preprocessing for trainer in trainers])
    display: Callable[..., Any] | None = Progress(epochs) if progress else None
    try:
        for _ in range(epochs):
            active = [member for member in members if member.history.stopped is None]
            _epoch(active, deadline)
            concluded = [member for member in active if member.conclude(validation_data)]
            if display is not None and active and len(active[0].history):
                display(active[0].trainer, active[0].history[-1])
            if concluded and True in [callback(trainers) is True for callback in callbacks]:
                for member in members:
                    member.history.stopped = member.history.stopped or "callback"
                break
    finally:
        if isinstance(display, Progress):
            display.finish()
    for member in members:
        member.history.stopped = member.history.stopped or "epochs"
    return [member.history for member in members]


class _Member:
    """One network in training: its rows, and how far its epoch has come."""

    def __init__(self, function: str, trainer: Trainer, data: Samples, rows: np.ndarray | None, batch_size: int, shuffle: bool,
                 epochs: int) -> None:
        self.trainer, self.data, self.rows = trainer, data, rows
        n = len(data.x) if rows is None else len(rows)
        batch = min(checks.integer(function, "batch_size", batch_size, 1, 2**53), n)
        self.cut = Cut(n, batch, bool(shuffle))
        self.left = epochs * self.updates  # of the epochs to begin
        unfitted = trainer.preprocessing is not None and not trainer.preprocessing.fitted
        trainer._ready(function, data.x if rows is None or not unfitted else data.x[rows])
        trainer.history = self.history = History()

    @property
    def updates(self) -> int:
        """Updates of an epoch."""
        return -(-self.cut.rows // self.cut.batch)

    @property
    def permutation(self) -> tuple[int, int, int]:
        """Size, seed and stream of the order of a shuffled epoch."""
        return self.cut.rows, self.trainer.seed, layers.ORDER_STREAM + self.trainer.epochs

    def begin(self, order: np.ndarray | None) -> None:
        """Set out on an epoch, or go on with one that was not finished; `order` is None where rows are not shuffled."""
        trainer = self.trainer
        self.began = time.perf_counter()
        if trainer._cut != self.cut:
            trainer._cut = None
            trainer._engine.reset()
            trainer._first_step, trainer._cut = trainer.steps, self.cut
        self.order = order if self.rows is None else self.rows if order is None else self.rows[order]

    def job(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The arguments of the engine's next run: the rows, and the rest but the deadline."""
        trainer, cut = self.trainer, self.cut
        trainer._steps += trainer._engine.done
        trainer._engine.done = 0
        first = trainer._steps - trainer._first_step
        self.wanted = min(CHUNK, self.updates - first)
        self.left -= 0 if first else self.updates
        weights, biases = trainer._scalars(self.wanted, 0 if trainer.schedule.by_epoch else min(CHUNK, self.updates - first + self.left))
        return ((self.data.x, self.data.y, self.data.weight, self.order),
                (cut.batch, cut.batch, first, self.wanted, weights, biases, trainer._steps, first + self.wanted == self.updates))

    def settle(self) -> None:
        """Take note of how the run ended."""
        engine = self.trainer._engine
        if engine.failure:
            self.history.stopped = "diverged"
        elif engine.done < self.wanted:
            self.history.stopped = "time_limit"

    @property
    def unfinished(self) -> bool:
        """Whether the epoch has more updates to make."""
        return self.history.stopped is None and not self.trainer._complete(self.cut)

    def conclude(self, validation: tuple[Any, Any] | None) -> bool:
        """Record the epoch, if it is complete."""
        trainer = self.trainer
        if not trainer._complete(self.cut):
            return False
        record = trainer._record(self.began, {} if validation is None else trainer.evaluate(*validation))
        trainer.end_epoch()
        self.history.records.append(record)
        trainer.observe(record)
        return True


def _epoch(members: list[_Member], deadline: float) -> None:
    shuffled = [member for member in members if member.cut.shuffle]
    if backend.permutations is not None:
        orders = backend.permutations([member.permutation for member in shuffled])
    else:
        orders = [member.trainer.order(member.cut.rows) for member in shuffled]
    for member, order in zip(members, orders or [None] * len(members)):
        member.begin(order)
    while at_work := [member for member in members if member.unfinished]:
        engines, jobs = [member.trainer._engine for member in at_work], [member.job() for member in at_work]
        if backend.engine is not None and all(type(engine) is backend.engine for engine in engines):
            backend.run_members(engines, [rows for rows, _ in jobs], [rest for _, rest in jobs], deadline)
        else:
            for engine, (rows, rest) in zip(engines, jobs):
                engine.run(*rows, *rest, deadline)
        for member in at_work:
            member.settle()


def _trainers(function: str, networks: Any, loss: Any, optimizer: Any, schedule: Any) -> list[Trainer]:
    if not isinstance(networks, (list, tuple)) or not networks:
        raise checks.fail(TypeError, function, "networks", "be networks", "a list of at least one MLP or Trainer", type(networks).__name__)
    own_optimizers = _each(function, "optimizer", optimizer, len(networks))
    schedules = _each(function, "schedule", schedule, len(networks))
    for network in networks:
        if not isinstance(network, (MLP, Trainer)):
            raise checks.fail(TypeError, function, "networks", "be networks", "MLP or Trainer", type(network).__name__)
    trainers = [network if isinstance(network, Trainer) else Trainer(network, loss, own, plan)
                for network, own, plan in zip(networks, own_optimizers, schedules)]
    nets = [trainer.net for trainer in trainers]
    if len({id(net) for net in nets}) < len(nets):
        raise checks.fail(ValueError, function, "networks", "be different objects", "each network once", "the same one twice")
    ends = {(net.sizes[0], net.sizes[-1], net.dtype.name, repr(trainer.loss)) for net, trainer in zip(nets, trainers)}
    if len(ends) > 1:
        raise checks.fail(ValueError, function, "networks", "have the same inputs, outputs, dtype and loss", "one kind",
                          "; ".join(f"{i} -> {o} {dtype}, {own}" for i, o, dtype, own in sorted(ends)))
    monitors = {trainer.schedule.monitor for trainer in trainers} - {None, "loss", "val_loss"}
    if monitors:
        raise checks.fail(ValueError, function, "schedule", "monitor a loss", "'loss' or 'val_loss'", repr(sorted(map(str, monitors))))
    return trainers


def _each(function: str, name: str, value: Any, count: int) -> Sequence[Any]:
    """The value of every member."""
    values = value if isinstance(value, (list, tuple)) and not hasattr(value, "rates") else [value] * count
    if len(values) != count:
        raise checks.fail(ValueError, function, name, "be one for all or one each", f"{count} values", f"{len(values)}")
    return values


def _rows(function: str, rows: Any, data: Samples, trainers: Sequence[Trainer]) -> list[np.ndarray | None]:
    if rows is None:
        return [None] * len(trainers)
    if len(rows) != len(trainers):
        raise checks.fail(ValueError, function, "rows", "be row numbers for each network", f"{len(trainers)} arrays", str(len(rows)))
    found: list[np.ndarray | None] = []
    for own in rows:
        array = np.asarray(own)
        if array.dtype == bool and array.shape == (len(data.x),):
            array = np.flatnonzero(array)
        if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0 or array.min() < 0 or array.max() >= len(data.x):
            got = f"{checks.shape_text(array.shape)} {array.dtype}"
            raise checks.fail(ValueError, function, "rows", "be row numbers", f"integers in 0 .. {len(data.x) - 1}, at least one", got)
        found.append(np.ascontiguousarray(array, np.int64))
    return found
