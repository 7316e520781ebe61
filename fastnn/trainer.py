"""The training loop: a net, a loss, an optimizer with its state, a schedule, and the counters that make every step reproducible.

Everything random is a function of the seed and the counters (see `fastnn.layers`), so N epochs in one call, N calls of one epoch, and the
same batches given to `step` one by one end in the same bits.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import arrays, checks, losses, optimizers
from .backend import kernels
from .callbacks import EarlyStopping, Progress
from .history import History, Record
from .layers import ORDER_STREAM
from .schedules import Schedule

if TYPE_CHECKING:
    from .model import MLP


class Samples(NamedTuple):
    """Checked rows: `x (n, i)`, targets with a row a sample, `sample_weight (n,)` or None."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


class Trainer:
    """Trains `net` in place: `optimizer` (settings, or a name) minimises `loss` at `schedule`'s multiple of `optimizer.learning_rate`.

    Weight decay acts on weights, not on biases, and is not part of the losses reported. `seed` (default: the net's) fixes dropout
    masks and the order of samples. `net.loss` is set to `loss`.

    Counters: `steps` and `epochs` finished. `fit` and `epoch` count both; who drives `step` by hand calls `end_epoch` where an epoch
    ends, for the schedules that count epochs. A schedule with a monitor is told by `observe`, which `fit` does.
    """

    def __init__(self, net: MLP, loss: str | losses.Loss = "softmax_cross_entropy", optimizer: str | optimizers.Optimizer = "adam",
                 schedule: Schedule | None = None, seed: int | None = None) -> None:
        self.loss = losses.get(loss, "Trainer")
        self.optimizer = optimizers.get(optimizer, "Trainer")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise checks.fail(TypeError, "Trainer", "schedule", "be a schedule", "a schedule such as StepDecay(), or None", repr(schedule))
        self.schedule = Schedule() if schedule is None else schedule
        self.seed = net.seed if seed is None else checks.integer("Trainer", "seed", seed, 0, 2**64 - 1)
        self.net = net
        self.steps = 0
        self.epochs = 0
        net.loss = self.loss
        self._schedule_state = self.schedule.start()
        self._state = [self.optimizer.state(param) for param in net.parameters()]

    def __repr__(self) -> str:
        schedule = None if type(self.schedule) is Schedule else self.schedule
        return f"Trainer({self.net}, loss={self.loss}, optimizer={self.optimizer}, schedule={schedule}, seed={self.seed})"

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self._rates(1)[0])

    def order(self, samples: int) -> np.ndarray:
        """The order in which the next shuffled epoch visits `samples` rows, int64 `(samples,)`."""
        return kernels.permutation(samples, seed=self.seed, stream=ORDER_STREAM + self.epochs)

    def step(self, x_batch: Any, y_batch: Any, sample_weight: Any = None) -> float:
        """One update from one batch; returns the mean loss before it. FloatingPointError, and no update, where that is not finite."""
        data = self._samples("Trainer.step", x_batch, y_batch, sample_weight)
        with HeldInterrupt():
            return self._step(data, self.learning_rate)[0]

    def epoch(self, x: Any, y: Any, batch_size: int = 128, sample_weight: Any = None, shuffle: bool = True) -> float:
        """Visit every row once, the last batch being what is left; returns the mean loss over the rows (by weight where given).

        Ctrl-C raises KeyboardInterrupt after the step under way. FloatingPointError for a loss that is not finite, before its update.
        """
        data = self._samples("Trainer.epoch", x, y, sample_weight)
        return self._epoch(data, checks.integer("Trainer.epoch", "batch_size", batch_size, 1, 2**53), shuffle, None)[0]

    def end_epoch(self) -> None:
        """Count an epoch."""
        self.epochs += 1

    def observe(self, record: Record) -> None:
        """Tell the schedule the quantity it monitors, once an epoch."""
        if self.schedule.monitor is not None:
            self._schedule_state = self.schedule.observe(self._schedule_state, record[self.schedule.monitor])

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """`{"loss": mean loss, metric_name: metric}` without dropout; the loss is weighted, the metric (where the loss has one) is not."""
        data = self._samples("Trainer.evaluate", x, y, sample_weight)
        scores = self.net.forward(data.x)
        result = {"loss": losses.value_and_gradient(self.loss, scores, data.y, data.weight, "Trainer.evaluate")[0]}
        if self._metric is not None:
            result[self._metric] = self.loss.metric(scores, data.y)
        return result

    def fit(self, x: Any, y: Any, *, epochs: int = 20, batch_size: int = 128, validation_data: tuple[Any, Any] | None = None,
            early_stopping: EarlyStopping | None = None, callbacks: Sequence[Callable[..., Any]] = (), progress: bool = False,
            sample_weight: Any = None, shuffle: bool = True) -> History:
        """Train for `epochs` more epochs and return their history.

        A record holds `epoch` (from 1), `loss` and the loss's metric as the batches saw them (dropout on, weights on the move), `val_loss`
        and the metric on `validation_data = (x, y)`, the `learning_rate` of the last step and `seconds`. Callbacks see it after the
        schedule has; `early_stopping` is asked last. `progress` shows one line on stderr.

        Errors: the library's sentences before anything is trained; FloatingPointError for a loss that is not finite, with the weights of
        the last update kept; KeyboardInterrupt after a completed step.
        """
        function = "Trainer.fit"
        data = self._samples(function, x, y, sample_weight)
        epochs = checks.integer(function, "epochs", epochs, 1, 2**53)
        batch_size = checks.integer(function, "batch_size", batch_size, 1, 2**53)
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise checks.fail(TypeError, function, "validation_data", "be a pair", "(x, y) or None", type(validation_data).__name__)
            validation_data = self._samples(f"{function} (validation_data)", *validation_data, None)[:2]
        self._check_monitors(function, validation_data is not None, early_stopping)
        for callback in callbacks:
            if not callable(callback):
                raise checks.fail(TypeError, function, "callbacks", "be callables", "callback(trainer, record)", repr(callback))
        watch = None if early_stopping is None else early_stopping.start()
        display = Progress(epochs) if progress else None
        history = History()
        try:
            for _ in range(epochs):
                history.records.append(self._record(data, batch_size, shuffle, validation_data))
                self.observe(history[-1])
                called = [callback(self, history[-1]) for callback in (display, *callbacks, watch) if callback is not None]
                if any(answer is True for answer in called):
                    break
        finally:
            if display is not None:
                display.finish()
        if watch is not None:
            watch.finish(self)
        return history

    @property
    def _metric(self) -> str | None:
        name = getattr(self.loss, "metric_name", None)
        return name if callable(getattr(self.loss, "metric", None)) else None

    def _record(self, data: Samples, batch_size: int, shuffle: bool, validation: tuple[Any, Any] | None) -> Record:
        start = time.perf_counter()
        loss, metric, rate = self._epoch(data, batch_size, shuffle, self._metric)
        record: Record = {"epoch": self.epochs, "loss": loss}
        if self._metric is not None:
            record[self._metric] = metric
        if validation is not None:
            record.update({f"val_{name}": value for name, value in self.evaluate(*validation).items()})
        return {**record, "learning_rate": rate, "seconds": time.perf_counter() - start}

    def _epoch(self, data: Samples, batch_size: int, shuffle: bool, metric: str | None) -> tuple[float, float, float]:
        """`(mean loss, metric, last learning rate)`; the metric is NaN unless asked for."""
        n = len(data.x)
        starts = range(0, n, batch_size)
        rates = self._rates(len(starts)).tolist()
        order = self.order(n) if shuffle else None
        power = getattr(self.loss, "metric_power", 1)
        loss_sum = metric_sum = weight_sum = 0.0
        with HeldInterrupt() as interrupt:
            for start, rate in zip(starts, rates):
                rows = slice(start, start + batch_size) if order is None else order[start:start + batch_size]
                batch = Samples(data.x[rows], data.y[rows], None if data.weight is None else data.weight[rows])
                loss, scores = self._step(batch, rate)
                share = len(batch.x) if batch.weight is None else float(batch.weight.sum(dtype=np.float64))
                loss_sum += loss * share
                weight_sum += share
                if metric is not None:
                    metric_sum += len(batch.x) * self.loss.metric(scores, batch.y) ** power
                interrupt.check()
        self.end_epoch()
        mean = loss_sum / weight_sum if weight_sum > 0 else 0.0
        return mean, math.nan if metric is None else (metric_sum / n) ** (1 / power), rates[-1]

    def _step(self, batch: Samples, rate: float) -> tuple[float, np.ndarray]:
        net = self.net
        # A net that diverges is answered by the sentence below, not by NumPy's warnings.
        with np.errstate(over="ignore", invalid="ignore"):
            dropouts = net._dropouts((self.seed, self.steps * len(net.layers)))
            loss, scores, gradients = net._gradients(net._batch(batch.x), batch.y, self.loss, batch.weight, dropouts, "Trainer")
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"fastnn.Trainer: the loss became {loss} in epoch {self.epochs + 1}, step {self.steps + 1} with learning_rate={rate:g}; "
                "the net keeps the weights of the step before (lower the learning rate, or standardise the inputs and targets)"
            )
        self.steps += 1
        for k, (param, gradient, state) in enumerate(zip(net.parameters(), gradients, self._state)):
            decay = self.optimizer.weight_decay if k % 2 == 0 else 0.0
            self.optimizer.update(param, gradient, state, self.steps, rate, decay)
        return loss, scores

    def _rates(self, steps: int) -> np.ndarray:
        return self.schedule.rates(self.optimizer.learning_rate, first_step=self.steps, steps=steps, epoch=self.epochs,
                                   state=self._schedule_state)

    def _samples(self, function: str, x: Any, y: Any, sample_weight: Any) -> Samples:
        net = self.net
        x = arrays.inputs(function, x, net.sizes[0], net.dtype)
        if len(x) == 0:
            raise checks.fail(ValueError, function, "x", "have at least one row", f"shape (n, {net.sizes[0]})", checks.shape_text(x.shape))
        y = losses.prepare_targets(self.loss, y, len(x), net.sizes[-1], net.dtype, function)
        return Samples(x, y, arrays.sample_weights(function, sample_weight, len(x), net.dtype))

    def _check_monitors(self, function: str, validated: bool, early_stopping: EarlyStopping | None) -> None:
        if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
            raise checks.fail(TypeError, function, "early_stopping", "be settings", "EarlyStopping() or None", repr(early_stopping))
        names = ["loss"] + ([self._metric] if self._metric is not None else [])
        names += [f"val_{name}" for name in names] if validated else []
        for name, monitor in (("early_stopping", getattr(early_stopping, "monitor", None)), ("schedule", self.schedule.monitor)):
            if monitor is not None and monitor not in names:
                raise checks.fail(ValueError, function, name, "monitor what is recorded (give validation_data for val_...)",
                                  f"one of {', '.join(names)}", repr(monitor))


class HeldInterrupt:
    """Holds Ctrl-C back until a step is complete: `check` between steps, and leaving the block, let it through.

    Only the main thread receives signals; elsewhere this does nothing. The handler found on entry is put back on exit.
    """

    def __enter__(self) -> HeldInterrupt:
        self._held: tuple[int, Any] | None = None
        self._previous = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
        if callable(self._previous):
            signal.signal(signal.SIGINT, self._hold)
        return self

    def _hold(self, number: int, frame: Any) -> None:
        self._held = (number, frame)

    def check(self) -> None:
        """Hand a held signal to the handler it was meant for."""
        if self._held is not None and callable(self._previous):
            held, self._held = self._held, None
            self._previous(*held)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if callable(self._previous):
            signal.signal(signal.SIGINT, self._previous)
        self.check()
