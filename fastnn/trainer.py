"""The training loop around the engine: a net, a loss, an optimizer with its state, a schedule, and the counters that make every step
reproducible.

Everything random is a function of the seed and the counters (see `fastnn.layers`), so N epochs in one call, N calls of one epoch, and the
same batches given to `step` one by one end in the same bits. `fastnn.loop` says what one update computes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import arrays, backend, checks, divergence, layers, loop, losses, optimizers
from .averaging import EMA
from .callbacks import EarlyStopping, Every, Progress
from .history import History, Record
from .interrupts import Held
from .plan import Plan, Statistics
from .preprocessing import Scaler, warn_of_leaks
from .schedules import CONSTANT, Schedule

if TYPE_CHECKING:
    from .model import MLP

CHUNK = 1024  # updates a call of the engine, so that their scalars take little memory
AHEAD = 256  # updates whose scalars are worked out together where nothing that they depend on changes soon


class Samples(NamedTuple):
    """Checked rows: `x (n, i)` of a dtype that the engine converts on the way, targets with a row a sample, `sample_weight (n,)` or
    None."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


class Cut(NamedTuple):
    """How an epoch is cut into updates: of how many rows, by how many, and whether they are shuffled."""

    rows: int
    batch: int
    shuffle: bool


class Scalars(NamedTuple):
    """What the optimizer's kernel takes in the steps from `first` on, and what that was worked out from."""

    first: int
    rates: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    epoch: int
    optimizer: optimizers.Optimizer
    schedule: Schedule
    state: Any


class Trainer:
    """Trains `net` in place: `optimizer` (settings, or a name) minimises `loss` at `schedule`'s multiple of `optimizer.learning_rate`.

    The optimizer's `weight_decay` (L2) and `l1` are not part of the losses reported but a quantity of their own, `penalty`. `seed`
    (default: the net's) fixes dropout masks and the order of samples. `net.loss` is set to `loss`. Every update may be held within
    bounds, None leaving it free:

    * `clip_norm`: all gradients together are scaled down to this Euclidean norm (Pascanu et al. 2013);
    * `clip_value`: every element of a gradient is cut to `-clip_value .. clip_value`, after that;
    * `max_norm`: the incoming weights of every unit are scaled down to this norm after an update (Srivastava et al. 2014).

    `average=EMA(0.999)` keeps a running average of the weights after every update beside them, which `averaged()` returns as a net.
    `preprocessing=Standardizer()` (or `MinMaxScaler()`) becomes `net.preprocessing`: the net takes raw rows from then on. One that is not
    fitted is a setting: the trainer fits one of its own like it on the rows of the first `fit` or `epoch`, so that it may be given to any
    number of trainers. One that is fitted is used as it is.

    Counters: `steps` and `epochs` finished. `fit` and `epoch` count both; who drives `step` by hand calls `end_epoch` where an epoch
    ends, for the schedules that count epochs. A schedule with a monitor is told by `observe`, which `fit` does. An epoch that was not
    finished (Ctrl-C, `time_limit`, a callback, an exception) goes on at its next batch when `fit` or `epoch` is called again with as many
    rows, the same rows an update and the same `shuffle`; otherwise a new one begins.

    Attributes: the arguments; `history`, that of the latest `fit`, filled while it runs.
    """

    def __init__(self, net: MLP, loss: str | losses.Loss = "softmax_cross_entropy", optimizer: str | optimizers.Optimizer = "adam",
                 schedule: Schedule | None = None, seed: int | None = None, *, clip_value: float | None = None,
                 clip_norm: float | None = None, max_norm: float | None = None, average: EMA | None = None,
                 preprocessing: Scaler | None = None) -> None:
        self.loss = losses.get(loss, "Trainer")
        self.optimizer = optimizers.get(optimizer, "Trainer")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise checks.fail(TypeError, "Trainer", "schedule", "be a schedule", "a schedule such as StepDecay(), or None", repr(schedule))
        self.schedule = CONSTANT if schedule is None else schedule
        self.seed = net.seed if seed is None else checks.integer("Trainer", "seed", seed, 0, 2**64 - 1)
        self.clip_value, self.clip_norm, self.max_norm = (
            None if value is None else checks.number("Trainer", name, value, 0.0, open_low=True)
            for name, value in (("clip_value", clip_value), ("clip_norm", clip_norm), ("max_norm", max_norm))
        )
        if average is not None and not isinstance(average, EMA):
            raise checks.fail(TypeError, "Trainer", "average", "be settings", "EMA(0.999) or None", repr(average))
        self.average = average
        if preprocessing is not None and not isinstance(preprocessing, Scaler):
            raise checks.fail(TypeError, "Trainer", "preprocessing", "be a scaler", "Standardizer(), MinMaxScaler() or None",
                              repr(preprocessing))
        if preprocessing is not None and not preprocessing.fitted:
            preprocessing = preprocessing.fresh()
        self.preprocessing = net.preprocessing if preprocessing is None else preprocessing
        if self.preprocessing is not None and self.preprocessing.fitted:
            self._adopt(net, self.preprocessing)
        net.loss = self.loss
        self.net = net
        self.epochs = 0
        self.history = History()
        self._schedule_state = self.schedule.start()
        self._state = [self.optimizer.state(param) for param in net.parameters()]
        self._averages = [np.zeros_like(param) for param in net.parameters()] if average is not None else []
        self._engine: Any = None
        self._engine_shift: np.ndarray | None = None  # of the preprocessing it was made with
        self._carried = Statistics()  # for the engine to begin with
        self._steps = 0  # before the engine's latest run
        self._cut: Cut | None = None  # of the epoch under way
        self._first_step = 0  # of that epoch
        self._unaveraged = 0  # of `steps`
        self._ahead: Scalars | None = None

    def __repr__(self) -> str:
        schedule = None if type(self.schedule) is Schedule else self.schedule
        settings = {name: getattr(self, name) for name in ("clip_value", "clip_norm", "max_norm", "average", "preprocessing")}
        more = "".join(f", {name}={value!r}" for name, value in settings.items() if value is not None)
        return f"Trainer({self.net}, loss={self.loss}, optimizer={self.optimizer}, schedule={schedule}, seed={self.seed}{more})"

    @property
    def steps(self) -> int:
        """Updates finished; exact at any moment, also after an exception."""
        return self._steps + (0 if self._engine is None else self._engine.done)

    @steps.setter
    def steps(self, value: int) -> None:
        self._cut = None
        self._unaveraged += value - self.steps
        self._steps = value
        if self._engine is not None:
            self._engine.done = 0

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self._rates(self.steps, 1)[0])

    def order(self, samples: int) -> np.ndarray:
        """The order in which the next shuffled epoch visits `samples` rows, int64 `(samples,)`."""
        return backend.kernels.permutation(samples, seed=self.seed, stream=layers.ORDER_STREAM + self.epochs)

    def step(self, x_batch: Any, y_batch: Any, sample_weight: Any = None) -> float:
        """One update from one batch; returns the mean loss before it. FloatingPointError, and no update, where that or a gradient is not
        finite."""
        if sample_weight is None and self._cut is None and type(self._engine) is backend.engine:
            loss = self._quick_step(x_batch, y_batch)
            if loss is not None:
                return loss
        data = self._samples("Trainer.step", x_batch, y_batch, sample_weight)
        engine, n = self._ready("Trainer.step", None), len(data.x)
        under_way = None if self._cut is None else (engine.statistics, self.steps - self._first_step)
        engine.reset()
        try:
            self._run(data, None, n, n, 0, 1, self._scalars(1, AHEAD), False, math.inf)
            return engine.statistics.loss
        finally:
            if under_way is not None:
                engine.reset(under_way[0])
                self._first_step = self.steps - under_way[1]

    def _quick_step(self, x: Any, y: Any) -> float | None:
        """`step` by one call, for a batch that is as the engine wants it; None for any other."""
        if self.net.preprocessing is not self.preprocessing or (self.preprocessing and self.preprocessing.shift is not self._engine_shift):
            return None
        engine = self._engine
        self._steps += engine.done
        engine.done = 0
        scalars = self._foresee(self._steps, 1, AHEAD)
        loss = engine.step(x, y, scalars.weights, scalars.biases, self._steps - scalars.first, self._steps)
        if loss is not None and engine.failure:
            raise self._diverged(Samples(x, y, None), slice(None))
        return loss

    def epoch(self, x: Any, y: Any, batch_size: int = 128, sample_weight: Any = None, shuffle: bool = True, *,
              class_weight: Any = None, accumulate: int = 1) -> float:
        """Visit every row once, the last batch being what is left; returns the mean loss over the rows (by weight where given).

        The arguments and the exceptions are those of `fit`.
        """
        data, cut, micro = self._plan_epoch("Trainer.epoch", x, y, batch_size, sample_weight, shuffle, class_weight, accumulate)
        self._updates(data, cut, micro)
        loss = self._engine.statistics.loss
        self.end_epoch()
        return loss

    def end_epoch(self) -> None:
        """Count an epoch."""
        self._cut = None
        self.epochs += 1

    def abandon_epoch(self) -> None:
        """Let the next `fit` or `epoch` begin an epoch anew instead of going on with one that was not finished."""
        self._cut = None

    def observe(self, record: Record) -> None:
        """Tell the schedule the quantity it monitors, once an epoch."""
        if self.schedule.monitor is not None:
            self._schedule_state = self.schedule.observe(self._schedule_state, record[self.schedule.monitor])

    def averaged(self) -> MLP:
        """A copy of the net with the running average of its weights, its own weights before any update; ValueError without `average`."""
        if self.average is None:
            raise checks.fail(ValueError, "Trainer.averaged", "self", "keep an average", "Trainer(..., average=EMA(0.999))", "none")
        copy = self.net.astype(self.net.dtype)
        share = self.average.share(self.steps - self._unaveraged)
        if share > 0.0:
            for array, average in zip(copy.parameters(), self._averages):
                np.divide(average, share, out=array, casting="same_kind", dtype=np.float64)
        return copy

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """`{"loss": mean loss, metric_name: metric}` without dropout; the loss is weighted, the metric (where the loss has one) is not."""
        data = self._samples("Trainer.evaluate", x, y, sample_weight)
        return self._judged(data, self.net.forward(data.x))

    def fit(self, x: Any, y: Any, *, epochs: int = 20, batch_size: int = 128, validation_data: tuple[Any, Any] | None = None,
            early_stopping: EarlyStopping | None = None, callbacks: Sequence[Callable[..., Any] | Every] = (), progress: bool = False,
            sample_weight: Any = None, class_weight: Any = None, shuffle: bool = True, accumulate: int = 1,
            time_limit: float | None = None) -> History:
        """Train for `epochs` more epochs (the rest of one that was not finished counts as one) and return their history.

        A record holds `epoch` (from 1), `loss` and the loss's metric as the batches saw them (dropout on, weights on the move), `val_loss`
        and the metric on `validation_data = (x, y)`; of the epoch's last update the `learning_rate`, the `gradient_norm` (of all
        gradients together, before clipping), the `weight_norm` (of all weights together, biases apart, before it) and the `update_ratio`
        (norm of what the optimizer changed in the weights by their norm); where the optimizer has `weight_decay` or `l1` the `penalty`,
        `0.5 * weight_decay * sum(w**2) + l1 * sum(|w|)` of the weights as the epoch left them; and `seconds`. Callbacks see it after the
        schedule has; `early_stopping` is asked last. `progress` shows one line on stderr.

        `sample_weight (n,)` weighs the rows in the loss; `class_weight` multiplies it by a weight of the row's label: `"balanced"` for
        `n / (classes that occur * rows of the class)`, a dict of labels (1 where left out), or an array `(o,)`. `accumulate` batches
        make one update, with the bits of one batch of `accumulate * batch_size` rows in the memory of one of `batch_size`; a user's loss
        object gets that whole batch. After `time_limit` seconds the update under way is the last; `history.stopped` says what ended
        the fit.

        `DataLeakWarning` where rows of `validation_data` were part of the statistics of the net's preprocessing, as far as these remember
        (`Scaler.check`): when they were taken from all rows, and when validation rows are among the training rows.

        Errors: the library's sentences before anything is trained; FloatingPointError for a loss or gradient that is not finite, which
        says where it first appeared, with the weights of the last update kept; KeyboardInterrupt after a completed update. Then
        `steps` counts the updates made, and `history` has the epochs that were completed.
        """
        function = "Trainer.fit"
        epochs = checks.integer(function, "epochs", epochs, 1, 2**53)
        deadline = math.inf if time_limit is None else checks.number(function, "time_limit", time_limit, 0.0) + time.monotonic()
        for callback in callbacks:
            if not callable(callback) and not isinstance(callback, Every):
                raise checks.fail(TypeError, function, "callbacks", "be callables", "callback(trainer, record), or Every", repr(callback))
        judges = None if validation_data is None else self._validation(function, validation_data)
        self._check_monitors(function, judges is not None, early_stopping)
        data, cut, micro = self._plan_epoch(function, x, y, batch_size, sample_weight, shuffle, class_weight, accumulate)
        if judges is not None:
            warn_of_leaks(function, "validation_data", judges.x, [self.net.preprocessing])
        every = [callback for callback in callbacks if isinstance(callback, Every)]
        watch = None if early_stopping is None else early_stopping.start()
        display = Progress(epochs) if progress else None
        after_epoch: list[Callable[..., Any]] = [] if display is None else [display]
        after_epoch += [callback for callback in callbacks if not isinstance(callback, Every)]
        history = self.history = History()
        stopped = None
        try:
            for _ in range(epochs):
                began = time.perf_counter()
                stopped = self._updates(data, cut, micro, every, deadline, began)
                if stopped is not None and not self._complete(cut):
                    break
                validated = {} if judges is None else self._judged(judges, self.net.forward(judges.x))
                record = self._record(began, validated)
                with Held():
                    self.end_epoch()
                    history.records.append(record)
                    self.observe(record)
                if True in [callback(self, record) is True for callback in after_epoch]:
                    stopped = "callback"
                if watch is not None:
                    if watch(self, record) and stopped is None:
                        stopped = "early_stopping"
                    history.best_epoch = watch.best_epoch
                if stopped is not None:
                    break
        finally:
            if display is not None:
                display.finish()
        if watch is not None:
            watch.finish(self)
        history.stopped = stopped or "epochs"
        return history

    def save(self, path: str | os.PathLike[str]) -> None:
        """`fastnn.checkpoint.save`: everything that training goes on from, into a `.npz` file."""
        from . import checkpoint

        checkpoint.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, loss: losses.Loss | None = None, schedule: Schedule | None = None) -> Trainer:
        """`fastnn.checkpoint.load`: the trainer of a saved file; a user's own `loss` object or `schedule` class is given again."""
        from . import checkpoint

        return checkpoint.load(path, loss=loss, schedule=schedule)

    def _updates(self, data: Samples, cut: Cut, micro: int, every: Sequence[Every] = (), deadline: float = math.inf,
                 began: float = 0.0) -> str | None:
        """Do what is left of the epoch's updates; returns what ended them before, `"time_limit"` or `"callback"`."""
        if self._cut != cut:
            self._cut = None
            self._engine.reset()
            self._first_step = self.steps
            self._cut = cut
        order = self.order(cut.rows) if cut.shuffle else None
        ahead = 0 if self.schedule.by_epoch else AHEAD
        while not self._complete(cut):
            done = self.steps - self._first_step
            updates = min([CHUNK, -(-cut.rows // cut.batch) - done, *(each.steps - self.steps % each.steps for each in every)])
            measure = done + updates == -(-cut.rows // cut.batch) or any((self.steps + updates) % each.steps == 0 for each in every)
            if self._run(data, order, cut.batch, micro, done, updates, self._scalars(updates, ahead), measure, deadline) < updates:
                return "time_limit"
            due = [each for each in every if self.steps % each.steps == 0]
            if True in [each.callback(self, self._record(began, {})) is True for each in due]:
                return "callback"
        return None

    def _complete(self, cut: Cut) -> bool:
        return (self.steps - self._first_step) * cut.batch >= cut.rows

    def _run(self, data: Samples, order: np.ndarray | None, batch: int, micro: int, first: int, updates: int,
             scalars: tuple[np.ndarray, np.ndarray], measure: bool, deadline: float) -> int:
        engine = self._engine
        # CPython answers signals at calls and at backward jumps, so that none comes between these two lines and `steps` is always right.
        self._steps += engine.done
        engine.done = 0
        done = engine.run(*data, order, batch, micro, first, updates, *scalars, self._steps, measure, deadline)
        if engine.failure:
            rows: Any = slice((first + done) * batch, (first + done + 1) * batch)
            raise self._diverged(data, rows if order is None else order[rows])
        return done

    def _diverged(self, data: Samples, rows: Any) -> FloatingPointError:
        batch = Samples(data.x[rows], data.y[rows], None if data.weight is None else data.weight[rows])
        numbers = np.arange(len(data.x))[rows]
        what, advice = divergence.explain(self.net, *batch, self.loss, (self.seed, self.steps * len(self.net.layers)), numbers)
        return FloatingPointError(
            f"fastnn.Trainer: {what} in epoch {self.epochs + 1}, step {self.steps + 1} with learning_rate={self.learning_rate:g}; "
            f"the net keeps the weights of the step before ({advice})"
        )

    def _record(self, began: float, validated: dict[str, float]) -> Record:
        """The record of the epoch under way, so far."""
        statistics, metric = self._engine.statistics, losses.metric(self.loss)
        record: Record = {"epoch": self.epochs + 1, "loss": statistics.loss}
        if metric is not None:
            record[metric.name] = (statistics.metric_sum / max(statistics.rows, 1)) ** (1 / metric.power)
        record.update({f"val_{name}": value for name, value in validated.items()})
        latest = self.steps - 1
        known = self._foresee(latest, 1, 0)
        return {**record, "learning_rate": float(known.rates[latest - known.first]), "gradient_norm": statistics.gradient_norm,
                "weight_norm": statistics.weight_norm, "update_ratio": statistics.update_ratio, **self._penalty(),
                "seconds": time.perf_counter() - began}

    def _penalty(self) -> Record:
        optimizer = self.optimizer
        if optimizer.weight_decay == optimizer.l1 == 0.0:
            return {}
        arrays = self.net.parameters()
        decayed = arrays if optimizer.decay_biases else arrays[0::2]
        return {"penalty": losses.penalty(decayed, optimizer.weight_decay, optimizer.l1)}

    def _rates(self, first_step: int, steps: int) -> np.ndarray:
        rates = self.schedule.rates(self.optimizer.learning_rate, first_step=first_step, steps=steps, epoch=self.epochs,
                                    state=self._schedule_state)
        if not (np.isfinite(rates) & (rates >= 0.0)).all():
            raise checks.fail(ValueError, "Trainer", "schedule", "give finite learning rates", "rates of at least 0", repr(self.schedule))
        return rates

    def _foresee(self, first: int, updates: int, ahead: int) -> Scalars:
        """Those of at least `updates` updates from step `first` on; worked out for `ahead` at once where single steps are to come."""
        kept, optimizer = self._ahead, self.optimizer
        if (kept is None or kept.optimizer is not optimizer or kept.schedule is not self.schedule
                or (self.schedule.by_epoch and (kept.state is not self._schedule_state or kept.epoch != self.epochs))
                or not kept.first <= first <= kept.first + len(kept.weights) - updates):
            rates, decays = self._rates(first, max(updates, ahead)), (optimizer.weight_decay, optimizer.l1)
            weights = optimizer.scalars(rates, first, *decays)
            biases = weights if optimizer.decay_biases or not any(decays) else optimizer.scalars(rates, first, 0.0, 0.0)
            self._ahead = kept = Scalars(first, rates, weights, biases, self.epochs, optimizer, self.schedule, self._schedule_state)
        return kept

    def _scalars(self, updates: int, ahead: int) -> tuple[np.ndarray, np.ndarray]:
        """Those of the next `updates` updates, for weights and biases."""
        kept = self._foresee(self.steps, updates, ahead)
        start = self.steps - kept.first
        return kept.weights[start:start + updates], kept.biases[start:start + updates]

    def _plan_epoch(self, function: str, x: Any, y: Any, batch_size: int, sample_weight: Any, shuffle: bool, class_weight: Any,
                    accumulate: int) -> tuple[Samples, Cut, int]:
        """The checked rows, how they are cut into updates, and the rows of one pass."""
        data = self._samples(function, x, y, sample_weight, class_weight)
        n = len(data.x)
        batch_size = min(checks.integer(function, "batch_size", batch_size, 1, 2**53), n)
        accumulate = checks.integer(function, "accumulate", accumulate, 1, 2**53)
        self._ready(function, data.x)
        return data, Cut(n, min(batch_size * accumulate, n), bool(shuffle)), batch_size

    def _ready(self, function: str, x: np.ndarray | None) -> Any:
        """The engine, made anew when the net's preprocessing has changed; `x` are rows to fit that on."""
        net, scaler = self.net, self.preprocessing
        if scaler is not None:
            if not scaler.fitted:
                if x is None:
                    expected = "a call of fit or epoch before"
                    raise checks.fail(ValueError, function, "preprocessing", "be fitted first", expected, repr(scaler))
                scaler.fit(x)
            self._adopt(net, scaler)
        scaler = net.preprocessing
        shift = None if scaler is None else scaler.shift
        if self._engine is None or shift is not self._engine_shift:
            plan = self._plan(scaler)
            engine = (backend.engine or loop.Engine)(plan, net.parameters(), self._state, self._averages)
            if plan.loss is None:
                engine = loop.Driver(engine, self.loss)
            engine.reset(self._statistics)
            self._steps, self._engine, self._engine_shift = self.steps, engine, shift
        return self._engine

    def _plan(self, scaler: Scaler | None) -> Plan:
        net, optimizer, own = self.net, self.optimizer, losses.kernel(self.loss)
        limits = self.clip_value, self.clip_norm, self.max_norm
        clip_value, clip_norm, max_norm = (math.inf if value is None else value for value in limits)
        mean, inverse_std = (None, None) if scaler is None else scaler.scaling(net.dtype)
        return Plan(
            sizes=net.sizes, activation=net.activation, slope=layers.SLOPE, keep_prob=net.keep_prob, seed=self.seed, loss=own,
            margin=0.0 if own is None else getattr(self.loss, "margin", 0.0), update=optimizer.kernel, slots=optimizer.slots,
            clip_value=clip_value, clip_norm=clip_norm, max_norm=max_norm, average=0.0 if self.average is None else self.average.decay,
            mean=mean, inverse_std=inverse_std,
        )

    @property
    def _statistics(self) -> Statistics:
        """Of the epoch under way."""
        return self._carried if self._engine is None else self._engine.statistics

    def _adopt(self, net: MLP, scaler: Scaler) -> None:
        if scaler.shift is not None and len(scaler.shift) != net.sizes[0]:
            expected = f"statistics of {net.sizes[0]} features"
            raise checks.fail(ValueError, "Trainer", "preprocessing", "fit the net's inputs", expected, f"of {len(scaler.shift)}")
        net.preprocessing = scaler

    def _samples(self, function: str, x: Any, y: Any, sample_weight: Any, class_weight: Any = None) -> Samples:
        net = self.net
        x = arrays.inputs(function, x, net.sizes[0], net.dtype, keep=arrays.ENGINE_DTYPES)
        if len(x) == 0:
            raise checks.fail(ValueError, function, "x", "have at least one row", f"shape (n, {net.sizes[0]})", checks.shape_text(x.shape))
        y = losses.prepare_targets(self.loss, y, len(x), net.sizes[-1], net.dtype, function)
        weight = arrays.sample_weights(function, sample_weight, len(x), net.dtype)
        if class_weight is not None:
            by_label = arrays.class_weights(function, class_weight, y, net.sizes[-1])[y]
            weight = arrays.sample_weights(function, by_label if weight is None else by_label * weight, len(x), net.dtype)
        if losses.kernel(self.loss) is not None:
            y = np.ascontiguousarray(y)
        return Samples(np.ascontiguousarray(x), y, None if weight is None else np.ascontiguousarray(weight))

    def _judged(self, data: Samples, scores: np.ndarray) -> dict[str, float]:
        """What `evaluate` returns, from the scores."""
        result = {"loss": losses.value_and_gradient(self.loss, scores, data.y, data.weight, "Trainer.evaluate")[0]}
        metric = losses.metric(self.loss)
        if metric is not None:
            result[metric.name] = self.loss.metric(scores, data.y)
        return result

    def _validation(self, function: str, data: Any) -> Samples:
        """Checked and converted validation data."""
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise checks.fail(TypeError, function, "validation_data", "be a pair", "(x, y) or None", type(data).__name__)
        x, y, _ = self._samples(f"{function} (validation_data)", data[0], data[1], None)
        return Samples(arrays.inputs(function, x, None, self.net.dtype), y, None)

    def _check_monitors(self, function: str, validated: bool, early_stopping: EarlyStopping | None) -> None:
        if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
            raise checks.fail(TypeError, function, "early_stopping", "be settings", "EarlyStopping() or None", repr(early_stopping))
        metric = losses.metric(self.loss)
        names = ["loss"] + ([metric.name] if metric is not None else [])
        names += [f"val_{name}" for name in names] if validated else []
        for name, monitor in (("early_stopping", getattr(early_stopping, "monitor", None)), ("schedule", self.schedule.monitor)):
            if monitor is not None and monitor not in names:
                raise checks.fail(ValueError, function, name, "monitor what is recorded (give validation_data for val_...)",
                                  f"one of {', '.join(names)}", repr(monitor))
