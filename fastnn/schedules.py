"""Learning-rate schedules: frozen settings that say what the base rate is multiplied by, and when.

Time-based schedules are pure functions of time, `multiplier(t)`. With `unit="epoch"` the time is the number of finished epochs, so the
rate is constant within one; with `unit="step"` it is the number of finished steps. Both count from 0. A schedule never holds state:
`ReduceOnPlateau` hands its state out (`start`, `observe`), and the trainer keeps it.

The trainer asks for the rates of a whole epoch in advance: `rates(learning_rate, first_step=, steps=, epoch=, state=)`. `preview` gives
those of a whole run before there is one, `plot_schedules` draws them, and `parse` reads a schedule as the command line writes it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import checks, plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX = 2**53
_UNITS = ("epoch", "step")


@dataclass(frozen=True)
class Schedule:
    """The constant schedule, and the interface of the others."""

    @property
    def monitor(self) -> str | None:
        """The recorded quantity that `observe` wants; None for schedules that are functions of time."""
        return None

    @property
    def by_epoch(self) -> bool:
        """Whether the factor of a step depends on the epoch it falls in, or on the state; of a user's own schedule that is assumed."""
        return type(self) is not Schedule

    def start(self) -> Any:
        """The state before the first epoch; None for schedules that are functions of time."""
        return None

    def observe(self, state: Any, value: float) -> Any:
        """The state after an epoch whose monitored quantity was `value`."""
        return state

    def multipliers(self, steps: np.ndarray, epoch: int, state: Any) -> np.ndarray:
        """The factor of each of `steps` (numbers of finished steps), all within `epoch`; float64."""
        return np.ones(len(steps))

    def rates(self, learning_rate: float, *, first_step: int, steps: int, epoch: int, state: Any = None) -> np.ndarray:
        """`learning_rate * multiplier` for steps `first_step .. first_step + steps - 1` of `epoch`; float64 `(steps,)`.

        ValueError where a schedule of your own gives another number of factors than there are steps.
        """
        factors = np.asarray(self.multipliers(np.arange(first_step, first_step + steps), epoch, state), np.float64)
        if factors.shape != (steps,):
            function, expected = f"{type(self).__name__}.multipliers", f"shape ({steps},)"
            raise checks.fail(ValueError, function, "factors", "be one for each step", expected, checks.shape_text(factors.shape))
        return learning_rate * factors

    def preview(self, epochs: int, *, steps_per_epoch: int = 1, learning_rate: float = 1.0, monitored: Sequence[float] | None = None,
                path: str | os.PathLike[str] | None = None) -> np.ndarray:
        """The rate of every step of a run of `epochs`, float64 `(epochs * steps_per_epoch,)`; with `path` also drawn there.

        `learning_rate` is the base rate; 1 gives the factors. A schedule with a monitor (`ReduceOnPlateau`) needs `monitored`, an assumed
        value of what it watches for every epoch but the last; ValueError without. `plot_schedules` draws several in one picture.
        """
        rates = self._preview("preview", epochs, steps_per_epoch, learning_rate, monitored)
        if path is not None:
            plot_schedules([self], epochs, steps_per_epoch=steps_per_epoch, learning_rate=learning_rate, monitored=monitored, path=path)
        return rates

    def _preview(self, function: str, epochs: int, steps_per_epoch: int, learning_rate: float, monitored: Any) -> np.ndarray:
        epochs = checks.integer(function, "epochs", epochs, 0, _MAX)
        steps = checks.integer(function, "steps_per_epoch", steps_per_epoch, 1, _MAX)
        learning_rate = checks.number(function, "learning_rate", learning_rate, 0.0)
        values: list[float] = []
        if self.monitor is not None:
            try:
                seen = np.asarray(monitored, np.float64)
            except (TypeError, ValueError):
                seen = np.array(math.nan)
            if seen.ndim != 1 or len(seen) < epochs - 1:
                expected = f"at least {max(epochs - 1, 0)} values of {self.monitor}"
                got = f"{len(seen)} values" if seen.ndim == 1 else "None" if monitored is None else type(monitored).__name__
                raise checks.fail(ValueError, function, "monitored", f"say what {type(self).__name__} is to see", expected, got)
            values = seen.tolist()
        state, parts = self.start(), [np.zeros(0)]
        for epoch in range(epochs):
            parts.append(self.rates(learning_rate, first_step=epoch * steps, steps=steps, epoch=epoch, state=state))
            if epoch < len(values):
                state = self.observe(state, values[epoch])
        return np.concatenate(parts)


def _check_unit(schedule: Any) -> None:
    if schedule.unit not in _UNITS:
        raise checks.fail(ValueError, type(schedule).__name__, "unit", "name a clock", "'epoch' or 'step'", repr(schedule.unit))


CONSTANT = Schedule()


@dataclass(frozen=True)
class _Timed(Schedule):
    """A schedule that is a pure function of its clock."""

    _: KW_ONLY
    unit: str = "epoch"

    def __post_init__(self) -> None:
        _check_unit(self)

    @property
    def by_epoch(self) -> bool:
        return self.unit == "epoch"

    def multiplier(self, t: float) -> float:
        """The factor on the base rate at time `t`."""
        raise NotImplementedError

    def multipliers(self, steps: np.ndarray, epoch: int, state: Any) -> np.ndarray:
        if self.unit == "epoch":
            return np.full(len(steps), self.multiplier(epoch))
        return np.array([self.multiplier(step) for step in steps.tolist()], np.float64)

    def _number(self, name: str, low: float = 0.0, high: float = math.inf, *, open_low: bool = False) -> None:
        object.__setattr__(self, name, checks.number(type(self).__name__, name, getattr(self, name), low, high, open_low=open_low))


@dataclass(frozen=True)
class StepDecay(_Timed):
    """`factor ** floor(t / every)`: the rate drops by `factor` every `every` units (CS231n notes, "Annealing the learning rate")."""

    factor: float = 0.5
    every: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("factor")
        object.__setattr__(self, "every", checks.integer("StepDecay", "every", self.every, 1, _MAX))

    def multiplier(self, t: float) -> float:
        try:
            return self.factor ** (t // self.every)
        except OverflowError:  # of a factor above 1
            return math.inf


@dataclass(frozen=True)
class ExponentialDecay(_Timed):
    """`exp(-rate * t)` (CS231n notes, "Annealing the learning rate")."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("rate")

    def multiplier(self, t: float) -> float:
        return math.exp(-self.rate * t)


@dataclass(frozen=True)
class InverseTimeDecay(_Timed):
    """`1 / (1 + rate * t)`, the 1/t decay of the CS231n notes."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("rate")

    def multiplier(self, t: float) -> float:
        return 1.0 / (1.0 + self.rate * t)


@dataclass(frozen=True)
class CosineDecay(_Timed):
    """`floor + (1 - floor) * (1 + cos(pi * min(t, over) / over)) / 2`: from 1 to `floor` over `over` units, then constant (Loshchilov
    and Hutter 2017, without restarts)."""

    over: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("floor", 0.0, 1.0)
        object.__setattr__(self, "over", checks.integer("CosineDecay", "over", self.over, 1, _MAX))

    def multiplier(self, t: float) -> float:
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * min(t, self.over) / self.over))


@dataclass(frozen=True)
class Warmup(Schedule):
    """`min(1, (t + 1) / steps)` times the multiplier of `then` (Goyal et al. 2017 warm up so).

    `t` and `steps` are counted in steps, or with `unit="epoch"` in epochs, the rate then being constant within one. Both factors run from
    the first step: `then` is not put off until the warm-up ends, so the product has no jump.
    """

    steps: int
    then: Schedule | None = None
    _: KW_ONLY
    unit: str = "step"

    def __post_init__(self) -> None:
        _check_unit(self)
        object.__setattr__(self, "steps", checks.integer("Warmup", "steps", self.steps, 1, _MAX))
        if self.then is not None and not isinstance(self.then, Schedule):
            raise checks.fail(TypeError, "Warmup", "then", "be a schedule", "a schedule or None", repr(self.then))

    @property
    def monitor(self) -> str | None:
        """What `then` monitors."""
        return self._rest.monitor

    @property
    def by_epoch(self) -> bool:
        return self.unit == "epoch" or self._rest.by_epoch

    @property
    def _rest(self) -> Schedule:
        return Schedule() if self.then is None else self.then

    def start(self) -> Any:
        return self._rest.start()

    def observe(self, state: Any, value: float) -> Any:
        return self._rest.observe(state, value)

    def multiplier(self, t: float) -> float:
        """The warm-up alone at time `t`."""
        return min(1.0, (t + 1) / self.steps)

    def multipliers(self, steps: np.ndarray, epoch: int, state: Any) -> np.ndarray:
        time = steps if self.unit == "step" else np.full(len(steps), epoch)
        return np.minimum(1.0, (time + 1) / self.steps) * self._rest.multipliers(steps, epoch, state)


class PlateauState(NamedTuple):
    """What `ReduceOnPlateau` remembers: the best value, the epochs since, the factor so far."""

    best: float
    waited: int
    multiplier: float


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Multiplies the rate by `factor` whenever `patience` epochs in a row bring the monitored loss no lower than `best - min_delta`.

    `monitor` is `"val_loss"` or `"loss"`, which are known once an epoch. A NaN is no improvement. The CS231n notes name the heuristic:
    halve the rate when the validation error stops improving.
    """

    factor: float = 0.5
    patience: int = 5
    min_delta: float = 0.0
    monitor: str = "val_loss"

    def __post_init__(self) -> None:
        for name, high in (("factor", 1.0), ("min_delta", math.inf)):
            object.__setattr__(self, name, checks.number("ReduceOnPlateau", name, getattr(self, name), 0.0, high))
        object.__setattr__(self, "patience", checks.integer("ReduceOnPlateau", "patience", self.patience, 1, _MAX))
        if self.monitor not in ("val_loss", "loss"):
            raise checks.fail(ValueError, "ReduceOnPlateau", "monitor", "name a loss", "'val_loss' or 'loss'", repr(self.monitor))

    def start(self) -> PlateauState:
        return PlateauState(math.inf, 0, 1.0)

    def observe(self, state: PlateauState, value: float) -> PlateauState:
        if value < state.best - self.min_delta:
            return PlateauState(value, 0, state.multiplier)
        if state.waited + 1 < self.patience:
            return state._replace(waited=state.waited + 1)
        return PlateauState(state.best, 0, state.multiplier * self.factor)

    def multiplier(self, state: PlateauState) -> float:
        """The factor on the base rate in `state`."""
        return state.multiplier

    def multipliers(self, steps: np.ndarray, epoch: int, state: PlateauState) -> np.ndarray:
        return np.full(len(steps), self.multiplier(state))


SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (Schedule, StepDecay, ExponentialDecay, InverseTimeDecay, CosineDecay, Warmup, ReduceOnPlateau)
}


def to_config(schedule: Schedule) -> dict[str, Any] | None:
    """JSON-able description of a schedule of this module; None for one that is, or holds, a user's own."""
    if type(schedule) not in SCHEDULES.values():
        return None
    values = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    for name, value in values.items():
        if isinstance(value, Schedule):
            values[name] = to_config(value)
            if values[name] is None:
                return None
    return {"name": type(schedule).__name__, **values}


def from_config(config: dict[str, Any]) -> Schedule:
    """The schedule that `to_config` described."""
    values = {key: from_config(value) if isinstance(value, dict) else value for key, value in config.items() if key != "name"}
    return SCHEDULES[config["name"]](**values)


def parse(text: str, epochs: int | None = None) -> Schedule:
    """The schedule that `text` describes, as `fastnn train --schedule` takes it::

        none                          the rate stays as it is
        step:FACTOR:EVERY             StepDecay(FACTOR, EVERY)
        exponential:RATE              ExponentialDecay(RATE)
        inverse:RATE                  InverseTimeDecay(RATE)
        cosine[:OVER[:FLOOR]]         CosineDecay(OVER, FLOOR); OVER is `epochs` where it is left out
        plateau[:FACTOR[:PATIENCE]]   ReduceOnPlateau(FACTOR, PATIENCE)
        warmup:STEPS                  Warmup(STEPS); with +SCHEDULE after it Warmup(STEPS, then=SCHEDULE)

    `:step` or `:epoch` at the end of a part sets its clock (`exponential:0.001:step`, `warmup:3:epoch+cosine`); otherwise everything but
    the warm-up counts epochs. ValueError / TypeError with one sentence for any other text, and for values that the schedule refuses.
    """
    if not isinstance(text, str):
        raise checks.fail(TypeError, "schedules.parse", "text", "be a text", "such as 'step:0.5:5'", repr(text))
    part, plus, rest = text.partition("+")
    name, *numbers = (field.strip() for field in part.split(":"))
    unit = {"unit": numbers.pop()} if numbers and numbers[-1] in _UNITS else {}
    if name not in _GRAMMAR:
        raise _wrong(text, "name a schedule", f"one of {', '.join(_GRAMMAR)}")
    kind, form, required, types = _GRAMMAR[name]
    if not required <= len(numbers) <= len(types) or (unit and "unit" not in (field.name for field in fields(kind))):
        raise _wrong(text, f"have the form of '{name}'", form)
    if plus and kind is not Warmup:
        raise _wrong(text, "begin with a warm-up where it has a '+'", "warmup:STEPS+SCHEDULE")
    try:
        values: list[Any] = [convert(number) for convert, number in zip(types, numbers)]
    except ValueError:
        raise _wrong(text, f"have the form of '{name}'", form) from None
    if kind is CosineDecay and not values:
        if epochs is None or unit.get("unit") == "step":
            raise _wrong(text, "say over how many steps or epochs the cosine falls", form)
        values = [epochs]
    return kind(*values, **({"then": parse(rest, epochs)} if plus else {}), **unit)


def _wrong(text: str, requirement: str, expected: str) -> Exception:
    return checks.fail(ValueError, "schedules.parse", "text", requirement, expected, repr(text))


# Name: class, form, how many numbers it must have, and the types of those it may have.
_GRAMMAR: dict[str, tuple[type[Any], str, int, tuple[type, ...]]] = {
    "none": (Schedule, "none", 0, ()),
    "step": (StepDecay, "step:FACTOR:EVERY such as step:0.5:5", 2, (float, int)),
    "exponential": (ExponentialDecay, "exponential:RATE such as exponential:0.1", 1, (float,)),
    "inverse": (InverseTimeDecay, "inverse:RATE such as inverse:0.1", 1, (float,)),
    "cosine": (CosineDecay, "cosine, cosine:OVER or cosine:OVER:FLOOR such as cosine:20:0.01", 0, (int, float)),
    "plateau": (ReduceOnPlateau, "plateau, plateau:FACTOR or plateau:FACTOR:PATIENCE such as plateau:0.5:5", 0, (float, int)),
    "warmup": (Warmup, "warmup:STEPS or warmup:STEPS+SCHEDULE such as warmup:500+step:0.5:5", 1, (int,)),
}


def plot_schedules(schedules: Mapping[str, Schedule] | Sequence[Schedule], epochs: int, *, steps_per_epoch: int = 1,
                   learning_rate: float = 1.0, monitored: Sequence[float] | None = None,
                   path: str | os.PathLike[str] | None = None) -> Figure:
    """The rates of `schedules` over a run in one picture (extra `plot`), also written to `path`; the arguments are those of `preview`.

    The keys of a mapping are the names shown; without one a schedule is shown as the call that makes it. `monitored` goes to those with a
    monitor. The figure's one axis may be set as any of matplotlib's, `figure.axes[0].set_yscale("log")`.
    """
    if not isinstance(schedules, (Mapping, list, tuple)) or not schedules:
        expected = "a dict {name: schedule} or a list of schedules, at least one"
        raise checks.fail(TypeError, "plot_schedules", "schedules", "be schedules", expected, repr(schedules))
    epochs = checks.integer("plot_schedules", "epochs", epochs, 1, _MAX)
    named = schedules.items() if isinstance(schedules, Mapping) else [(repr(schedule), schedule) for schedule in schedules]
    rates = {}
    for name, schedule in named:
        if not isinstance(schedule, Schedule):
            raise checks.fail(TypeError, "plot_schedules", "schedules", "be schedules", "a schedule such as StepDecay()", repr(schedule))
        rates[name] = schedule._preview("plot_schedules", epochs, steps_per_epoch, learning_rate, monitored)
    figure = plots.figure("plot_schedules")
    axis = figure.subplots()
    for name, values in rates.items():
        axis.step(np.arange(len(values) + 1) / steps_per_epoch, [*values, *values[-1:]], where="post", label=name)
    axis.set(xlabel="epoch", ylabel="learning rate")
    axis.locator_params(axis="x", integer=True)
    axis.legend(fontsize="small")
    return plots.finish(figure, path)
