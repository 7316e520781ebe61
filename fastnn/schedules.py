"""Learning-rate schedules: frozen settings that say what the base rate is multiplied by, and when.

Time-based schedules are pure functions of time, `multiplier(t)`. With `unit="epoch"` the time is the number of finished epochs, so the
rate is constant within one; with `unit="step"` it is the number of finished steps. Both count from 0. A schedule never holds state:
`ReduceOnPlateau` hands its state out (`start`, `observe`), and the trainer keeps it.

The trainer asks for the rates of a whole epoch in advance: `rates(learning_rate, first_step=, steps=, epoch=, state=)`.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from . import checks

_MAX = 2**53


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
        """`learning_rate * multiplier` for steps `first_step .. first_step + steps - 1` of `epoch`; float64 `(steps,)`."""
        return learning_rate * self.multipliers(np.arange(first_step, first_step + steps), epoch, state)

    def preview(self, learning_rate: float, epochs: int, steps_per_epoch: int) -> np.ndarray:
        """The rate of every step of a run, float64 `(epochs * steps_per_epoch,)`; ValueError for one that depends on the run itself."""
        if self.monitor is not None:
            raise checks.fail(ValueError, "preview", "schedule", "be a function of time", "a schedule without a monitor", repr(self))
        return np.concatenate([np.zeros(0)] + [
            self.rates(learning_rate, first_step=epoch * steps_per_epoch, steps=steps_per_epoch, epoch=epoch) for epoch in range(epochs)
        ])


@dataclass(frozen=True)
class _Timed(Schedule):
    """A schedule that is a pure function of its clock."""

    _: KW_ONLY
    unit: str = "epoch"

    def __post_init__(self) -> None:
        if self.unit not in ("epoch", "step"):
            raise checks.fail(ValueError, type(self).__name__, "unit", "name a clock", "'epoch' or 'step'", repr(self.unit))

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
        return self.factor ** (t // self.every)


@dataclass(frozen=True)
class ExponentialDecay(_Timed):
    """`exp(-rate * t)`."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("rate")

    def multiplier(self, t: float) -> float:
        return math.exp(-self.rate * t)


@dataclass(frozen=True)
class InverseTimeDecay(_Timed):
    """`1 / (1 + rate * t)`."""

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
    """`min(1, (t + 1) / steps)` with `t` in steps, times the multiplier of `then`.

    Both run on one clock from the first step: `then` is not put off until the warm-up ends, so the product has no jump.
    """

    steps: int
    then: Schedule | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", checks.integer("Warmup", "steps", self.steps, 1, _MAX))
        if self.then is not None and not isinstance(self.then, Schedule):
            raise checks.fail(TypeError, "Warmup", "then", "be a schedule", "a schedule or None", repr(self.then))

    @property
    def monitor(self) -> str | None:
        """What `then` monitors."""
        return self._rest.monitor

    @property
    def by_epoch(self) -> bool:
        return self._rest.by_epoch

    @property
    def _rest(self) -> Schedule:
        return Schedule() if self.then is None else self.then

    def start(self) -> Any:
        return self._rest.start()

    def observe(self, state: Any, value: float) -> Any:
        return self._rest.observe(state, value)

    def multiplier(self, t: float) -> float:
        """The warm-up alone at step `t`."""
        return min(1.0, (t + 1) / self.steps)

    def multipliers(self, steps: np.ndarray, epoch: int, state: Any) -> np.ndarray:
        return np.minimum(1.0, (steps + 1) / self.steps) * self._rest.multipliers(steps, epoch, state)


class PlateauState(NamedTuple):
    """What `ReduceOnPlateau` remembers: the best value, the epochs since, the factor so far."""

    best: float
    waited: int
    multiplier: float


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Multiplies the rate by `factor` whenever `patience` epochs in a row bring the monitored loss no lower than `best - min_delta`.

    `monitor` is `"val_loss"` or `"loss"`. A NaN is no improvement.
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
