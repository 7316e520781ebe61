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
from .trainer import CHUNK, Cut, Samples, Scalars, Trainer


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
    members = [Member(function, trainer, data, own, size, shuffle, epochs) for trainer, own, size in zip(trainers, own_rows, sizes)]
    for trainer in trainers:
        trainer.history = History()
    judges = None if validation_data is None else trainers[0]._validation(function, validation_data)
    if judges is not None:
        warn_of_leaks(function, "validation_data", judges.x, [trainer.net.preprocessing for trainer in trainers])
    display: Callable[..., Any] | None = Progress(epochs) if progress else None
    try:
        for _ in range(epochs):
            active = [member for member in members if member.stopped is None]
            train(active, 1, deadline)
            concluded = [member for member in active if member.complete]
            for member in active:
                member.trainer.history.stopped = member.stopped
            conclude(function, concluded, [judges] * len(concluded))
            if display is not None and active and len(active[0].trainer.history):
                display(active[0].trainer, active[0].trainer.history[-1])
            if concluded and True in [callback(trainers) is True for callback in callbacks]:
                for member in members:
                    member.stopped = member.stopped or "callback"
                break
    finally:
        if isinstance(display, Progress):
            display.finish()
    for member in members:
        member.trainer.history.stopped = member.stopped or "epochs"
    return [trainer.history for trainer in trainers]


class Member:
    """A trainer at work on `rows` of `data` (None: all), whose epochs are cut into batches of `batch_size`.

    `epochs` is how many are foreseen. `losses` has the mean loss of every epoch that was finished by `train`; `stopped` is why no more will
    be, or None.
    """

    def __init__(self, function: str, trainer: Trainer, data: Samples, rows: np.ndarray | None, batch_size: int, shuffle: bool,
                 epochs: int) -> None:
        if trainer.schedule.monitor not in (None, "loss", "val_loss"):
            raise checks.fail(ValueError, function, "schedule", "monitor a loss", "'loss' or 'val_loss'", repr(trainer.schedule.monitor))
        self.trainer, self.data, self.rows = trainer, data, rows
        n = len(data.x) if rows is None else len(rows)
        batch = min(checks.integer(function, "batch_size", batch_size, 1, 2**53), n)
        self.cut = Cut(n, batch, bool(shuffle))
        self.updates = -(-n // batch)  # of an epoch
        self.foreseen = min(CHUNK, epochs * self.updates)
        self.losses: list[float] = []
        self.stopped: str | None = None
        unfitted = trainer.preprocessing is not None and not trainer.preprocessing.fitted
        trainer._ready(function, data.x if rows is None or not unfitted else data.x[rows])

    def begin(self, epochs: int) -> None:
        """Set out on so many epochs, the first of which may be one that was not finished."""
        trainer = self.trainer
        self.began = time.perf_counter()
        self.goal = (trainer._first_step if trainer._cut == self.cut else trainer.steps) + epochs * self.updates

    @property
    def at_work(self) -> bool:
        """Whether there is more to do of what was begun."""
        return self.stopped is None and self.trainer.steps < self.goal

    def job(self, ahead: Scalars | None = None) -> tuple[Any, ...]:
        """What `backend.train_members` wants to know. `ahead` are scalars of another member, which may have the same settings."""
        trainer, cut = self.trainer, self.cut
        trainer._ahead = trainer._ahead or ahead
        if trainer._cut == cut and trainer._complete(cut):
            trainer.end_epoch()
        trainer._steps += trainer._engine.done
        trainer._engine.done = 0
        if trainer._cut != cut:
            trainer._cut = None
            trainer._engine.reset()
            trainer._first_step, trainer._cut = trainer._steps, cut
        first, by_epoch = trainer._steps - trainer._first_step, trainer.schedule.by_epoch
        self.wanted = min(CHUNK, self.goal - trainer._steps)
        if by_epoch or not self.compiled:
            self.wanted = min(self.wanted, self.updates - first)
        weights, biases = trainer._scalars(self.wanted, 0 if by_epoch else self.foreseen)
        return (self.data.x, self.data.y, self.data.weight, self.rows, cut.shuffle, trainer.seed, layers.ORDER_STREAM + trainer.epochs,
                self.updates, cut.batch, first, self.wanted, weights, biases, trainer._steps)

    @property
    def compiled(self) -> bool:
        """Whether the job is one for `backend.train_members`."""
        return backend.engine is not None and type(self.trainer._engine) is backend.engine

    def run(self, deadline: float) -> None:
        """Do the job alone."""
        x, y, weight, rows, shuffle, _, _, updates, batch, first, wanted, weights, biases, step = self.job()
        engine = self.trainer._engine
        order = self.trainer.order(self.cut.rows) if shuffle else None
        order = order if rows is None else rows if order is None else rows[order]
        engine.run(x, y, weight, order, batch, batch, first, wanted, weights, biases, step, first + wanted == updates, deadline)
        self.losses += [engine.statistics.loss] if self.complete else []
        self.see()

    def settle(self) -> None:
        """Take what `backend.train_members` left with the engine: the losses, and how many epochs were begun beyond the first."""
        trainer, engine = self.trainer, self.trainer._engine
        self.losses += engine.losses
        trainer.epochs += engine.begun
        trainer._first_step += engine.begun * self.updates
        engine.losses, engine.begun = [], 0
        self.see()

    def see(self) -> None:
        """Take note of why the job ended early, if it did."""
        engine = self.trainer._engine
        if engine.failure:
            self.stopped = "diverged"
        elif engine.done < self.wanted:
            self.stopped = "time_limit"

    @property
    def complete(self) -> bool:
        """Whether the epoch under way has only to be ended."""
        return self.trainer._cut == self.cut and self.trainer._complete(self.cut)


def train(members: Sequence[Member], epochs: int, deadline: float = math.inf) -> None:
    """Train all members that did not stop for `epochs` epochs as one job. The last epoch is left to be ended by `Trainer.end_epoch`.

    After KeyboardInterrupt every member has completed the update under way.
    """
    ahead = None
    for member in members:
        member.begin(epochs)
    while at_work := [member for member in members if member.at_work]:
        compiled = [member for member in at_work if member.compiled]
        if compiled and backend.train_members is not None:
            engines, jobs = [member.trainer._engine for member in compiled], []
            for member in compiled:
                jobs.append(member.job(ahead))
                ahead = member.trainer._ahead
            try:
                backend.train_members(engines, jobs, deadline)
            finally:
                for member in compiled:
                    member.settle()
        for member in at_work:
            if not member.compiled:
                member.run(deadline)


def conclude(function: str, members: Sequence[Member], judges: Sequence[Samples | None]) -> None:
    """End the epoch of every member, record it, with how it does on the rows that judge, and tell its schedule."""
    judged = [(member.trainer, rows) for member, rows in zip(members, judges) if rows is not None]
    found = iter(evaluated(function, [trainer for trainer, _ in judged], [rows for _, rows in judged]))
    for member, rows in zip(members, judges):
        trainer = member.trainer
        record = trainer._record(member.began, {} if rows is None else next(found))
        trainer.end_epoch()
        trainer.history.records.append(record)
        trainer.observe(record)


def evaluated(function: str, trainers: Sequence[Trainer], data: Sequence[Samples]) -> list[dict[str, float]]:
    """`trainer.evaluate(*rows)` of every trainer and its checked rows, with the scores worked out as one job."""
    engines = [trainer._ready(function, None) for trainer in trainers]
    if backend.score_members is not None and all(type(engine) is backend.engine for engine in engines):
        scores = backend.score_members(engines, [rows.x for rows in data])
    else:
        scores = [trainer.net.forward(rows.x) for trainer, rows in zip(trainers, data)]
    return [trainer._judged(rows, own) for trainer, rows, own in zip(trainers, data, scores)]


def _trainers(function: str, networks: Any, loss: Any, optimizer: Any, schedule: Any) -> list[Trainer]:
    if not isinstance(networks, (list, tuple)) or not networks:
        raise checks.fail(TypeError, function, "networks", "be networks", "a list of at least one MLP or Trainer", type(networks).__name__)
    optimizer = optimizers.get(optimizer, function) if isinstance(optimizer, str) else optimizer  # one object, one set of scalars
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
