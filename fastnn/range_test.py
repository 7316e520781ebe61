"""The learning-rate range test: train a copy of the net while the rate grows, and see where the loss falls and where it explodes (Smith
2017, "Cyclical learning rates for training neural networks", section 3.3; with an exponential ramp, which sweeps decades evenly).

Step `k` of `steps` takes the rate `low * (high / low)**(k / (steps - 1))`. The losses are those of the batches before each update, as
training sees them, and `smoothed[k] = a_k / (1 - smoothing**(k + 1))` with `a_k = smoothing * a_(k-1) + (1 - smoothing) * losses[k]`. The
run ends where the loss, a gradient or an update is not finite, where the smoothed loss has risen above `explosion` times its best, or by
Ctrl-C.

The suggestion is **a tenth of the rate at which the smoothed loss was lowest**: at the minimum the loss no longer falls, and smoothing
lags behind. The rate of steepest descent, the largest fall of the smoothed loss by decade of the rate, is told beside it. The first tenth
of the steps, whose averages are of few batches, counts for neither; nothing is suggested unless the loss fell by a twentieth of what it
was there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, losses, optimizers, plots
from .interrupts import Held
from .model import MLP, checked
from .preprocessing import Scaler
from .schedules import Schedule
from .text import Line
from .trainer import Samples, Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FALL = 0.05  # of the first losses: less is noise
_SHARE = 0.1  # of the rate of the lowest loss
_LINES = 20  # of progress


@dataclass(frozen=True)
class Growth(Schedule):
    """`span ** (t / (steps - 1))` at step `t`: from 1 to `span` in `steps` steps, then constant."""

    span: float
    steps: int

    @property
    def by_epoch(self) -> bool:
        return False

    def multipliers(self, steps: np.ndarray, epoch: int, state: Any) -> np.ndarray:
        return self.span ** np.minimum(1.0, steps / (self.steps - 1))


@dataclass(frozen=True, eq=False)
class RangeReport:
    """What `learning_rate_range_test` saw; prints as a sentence.

    `rates`, `losses` and `smoothed` are float64 `(s,)`, a value for each of the `s` steps that were made; `stopped` is `"steps"`,
    `"exploded"`, `"not finite"` or `"interrupted"`, and `skipped` the number of first steps that count for no judgement.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    stopped: str
    skipped: int

    @property
    def suggested(self) -> float | None:
        """A tenth of the rate at which the smoothed loss was lowest; None where no rate lowered the loss."""
        return None if self.lowest is None else _SHARE * self.lowest

    @property
    def lowest(self) -> float | None:
        """The rate at which the smoothed loss was lowest; None where no rate lowered the loss."""
        return None if self._minimum is None else float(self.rates[self._minimum])

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss fell fastest by decade of the rate; None where no rate lowered the loss."""
        if self._minimum is None:
            return None
        half = max(1, self.skipped // 4)
        # Differences over `2 * half` steps, whose middles are the steps from `skipped + half` on; the decades between are all the same.
        fall = self.smoothed[self.skipped:-2 * half] - self.smoothed[self.skipped + 2 * half:]
        fall = fall[:max(1, self._minimum - self.skipped - 2 * half + 1)]
        return float(self.rates[self.skipped + half + int(np.argmax(fall))]) if len(fall) else self.lowest

    @property
    def _minimum(self) -> int | None:
        if len(self.losses) <= self.skipped:
            return None
        before = self.losses[:max(1, self.skipped)].mean()
        minimum = self.skipped + int(np.argmin(self.smoothed[self.skipped:]))
        return minimum if self.smoothed[minimum] < before - _FALL * abs(before) else None

    def __str__(self) -> str:
        last, whole = f"{self.rates[-1:].sum():.2g}", self.stopped in ("exploded", "not finite")
        ends = {"steps": f"the loss did not explode up to {last}", "exploded": f"the loss exploded at {last}",
                "not finite": "the loss ended in numbers that are not finite", "interrupted": f"interrupted at {last}"}
        end = f"{ends[self.stopped]} after {len(self.losses)} steps"
        if self._minimum is None:
            advice = "test lower rates" if whole else "test higher rates"
            return f"learning-rate range test: no rate is suggested, none lowered the loss, {advice}; {end}"
        still = not whole and self._minimum >= len(self.losses) - self.skipped
        more = ", and was still falling: test higher rates" if still else ""
        return (f"learning-rate range test: {self.suggested:.2g} is suggested, a tenth of {self.lowest:.2g}, where the smoothed loss was "
                f"lowest ({self.smoothed[self._minimum]:.3g}); it fell fastest at {self.steepest:.2g}; {end}{more}")

    def __repr__(self) -> str:
        rate = "no rate" if self.suggested is None else f"rate {self.suggested:.2g}"
        return f"<RangeReport: {rate} suggested, {len(self.losses)} steps, {self.stopped}>"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """The losses over the rate, with the suggestion (extra `plot`), also written to `path`."""
        figure = plots.figure("RangeReport.plot")
        axis = figure.subplots()
        axis.semilogx(self.rates, self.losses, color="0.8", label="loss of the batch")
        axis.semilogx(self.rates, self.smoothed, color="C0", label="smoothed")
        for name, style in (("suggested", "-"), ("steepest", ":"), ("lowest", "--")):
            rate = getattr(self, name)
            if rate is not None:
                axis.axvline(rate, color="C1", linestyle=style, label=f"{name}: {rate:.2g}")
        axis.set(xlabel="learning rate", ylabel="loss")
        axis.legend(fontsize="small")
        return plots.finish(figure, path)


def learning_rate_range_test(net: MLP, x: Any, y: Any, *, loss: str | losses.Loss = "softmax_cross_entropy",
                             optimizer: str | optimizers.Optimizer = "adam", low: float = 1e-6, high: float = 10.0, steps: int = 200,
                             batch_size: int = 128, smoothing: float = 0.9, explosion: float = 4.0, seed: int | None = None,
                             clip_value: float | None = None, clip_norm: float | None = None, max_norm: float | None = None,
                             preprocessing: Scaler | None = None, progress: bool = False) -> RangeReport:
    """Train a copy of `net` with a rate that grows from `low` to `high` over `steps` updates, and suggest a rate (Smith 2017).

    Neither the net nor the arrays are changed. `x (n, i)`, `y`, `loss`, `optimizer` (whose own rate does not matter), `seed` and the
    limits are those of `Trainer`; give what the training will have, above all `batch_size`, for the right rate depends on it. Batches are
    full ones, in the order of shuffled epochs. See the head of `fastnn.range_test` for what is measured and which rule suggests.
    `progress` shows one line on stderr. Ctrl-C after the first step ends the test with the steps made, and the report says so.

    Errors: the library's sentences before anything is trained.
    """
    function = "learning_rate_range_test"
    low = checks.number(function, "low", low, 0.0, open_low=True)
    high = checks.number(function, "high", high, low, 1e300 * low, open_low=True)
    steps = checks.integer(function, "steps", steps, 10, 2**31 - 1)
    batch_size = checks.integer(function, "batch_size", batch_size, 1, 2**53)
    smoothing = checks.number(function, "smoothing", smoothing, 0.0, 1.0, open_high=True)
    explosion = checks.number(function, "explosion", explosion, 1.0, open_low=True)
    settings = replace(optimizers.get(optimizer, function), learning_rate=low)
    copy = checked(function, net).astype(net.dtype)
    trainer = Trainer(copy, loss, settings, Growth(high / low, steps), seed, clip_value=clip_value, clip_norm=clip_norm, max_norm=max_norm,
                      preprocessing=preprocessing)
    data = trainer._samples(function, x, y, None)
    if trainer.preprocessing is not None and not trainer.preprocessing.fitted:
        trainer.preprocessing.fit(data.x)
    seen: list[float] = []
    smoothed: list[float] = []
    stopped, average, best, line = "steps", 0.0, math.inf, Line()
    try:
        with Held() as held:
            for batch in _batches(trainer, data, min(batch_size, len(data.x)), steps):
                seen.append(trainer.step(batch.x, batch.y))
                average = smoothing * average + (1.0 - smoothing) * seen[-1]
                smoothed.append(average / (1.0 - smoothing ** len(seen)))
                best = min(best, smoothed[-1])
                if progress and len(seen) * _LINES % steps < _LINES:
                    line.write(f"step {len(seen)}/{steps}  loss {seen[-1]:.4g}  smoothed {smoothed[-1]:.4g}")
                if smoothed[-1] > best + (explosion - 1.0) * abs(best):
                    stopped = "exploded"
                    break
                held.check()
    except FloatingPointError:
        stopped = "not finite"
    except KeyboardInterrupt:
        if not seen:
            raise
        stopped = "interrupted"
    finally:
        line.finish()
    rates = trainer.schedule.rates(low, first_step=0, steps=len(seen), epoch=0)
    return RangeReport(rates, np.array(seen, np.float64), np.array(smoothed, np.float64), stopped, steps // 10)


def _batches(trainer: Trainer, data: Samples, rows: int, count: int) -> Iterator[Samples]:
    """The first `count` full batches of shuffled epochs."""
    while True:
        order = trainer.order(len(data.x))
        for start in range(0, len(data.x) - rows + 1, rows):
            if count == 0:
                return
            count -= 1
            batch = order[start:start + rows]
            yield Samples(data.x[batch], data.y[batch], None)
        trainer.end_epoch()
