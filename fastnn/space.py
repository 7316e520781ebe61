"""What a search draws hyperparameters from: ranges that know their own scale and where nature ends them (CS231n notes, "Hyperparameter
optimization").

A range works in its scale: the value itself, or its logarithm where ratios count, as with learning rates, whose effect is multiplicative.
Positions, borders, narrower and wider ranges are all reckoned there. A value is near a border where it lies within `NEAR` of the range's
width of an end. By chance alone the best value of a parameter that does not matter lies there one time in five.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, ClassVar, Literal, Self

import numpy as np

from . import checks

Side = Literal["low", "high"]
Parameters = dict[str, Any]

NEAR = 0.1  # of a range's width
STEP = 0.5  # of a range's width, by which a wider one goes beyond it
_LIMIT = 2**53
_LARGEST, _LARGEST_LOG = 1e300, 690.0  # so that nothing overflows on the way

# Where a parameter of this name, or of one that ends in it, ends by nature: nothing lies beyond, so that a border there is none.
NATURAL: dict[str, tuple[float, float]] = {
    "learning_rate": (0.0, math.inf), "weight_decay": (0.0, math.inf), "l1": (0.0, math.inf), "keep_prob": (0.0, 1.0),
    "momentum": (0.0, 1.0), "decay_rate": (0.0, 1.0), "beta1": (0.0, 1.0), "beta2": (0.0, 1.0), "batch_size": (1.0, math.inf),
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Range:
    """What the three ranges share: numbers from `low` to `high`, both included.

    `natural=(low, high)` says where the parameter ends by nature; None leaves it to the parameter's name (`NATURAL`), or to nothing.
    """

    low: float
    high: float
    natural: tuple[float, float] | None = None
    log: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        for end in ("low", "high"):
            object.__setattr__(self, end, self._number(name, end, getattr(self, end)))
        if self.low >= self.high:
            expected, got = "two different numbers, the smaller first", f"low={self.low:g} and high={self.high:g}"
            raise checks.fail(ValueError, name, "high", "be greater than low, for an empty range has nothing to try", expected, got)
        if self.log and self.low <= 0:
            got = f"low={self.low:g}"
            raise checks.fail(ValueError, name, "low", "be greater than 0, for a logarithm has no zero", "a positive number", got)
        if self.natural is not None:
            object.__setattr__(self, "natural", self._natural(name))

    def __repr__(self) -> str:
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name in ("log", "natural")}
        more = "".join(f", {name}={value!r}" for name, value in given.items() if value)
        return f"{type(self).__name__}({self.low!r}, {self.high!r}{more})"

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.low:.4g}, {self.high:.4g})"

    def sample(self, rng: np.random.Generator) -> Any:
        """A value, uniform in the range's scale."""
        return self._value(rng.uniform(self._scaled(self.low), self._scaled(self.high)))

    def position(self, value: float) -> float:
        """Where `value` lies in the range's scale: 0 at `low`, 1 at `high`."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def border(self, value: float) -> Side | None:
        """The border that `value` is near, within `NEAR` of the width or beyond; None where there is none, or a natural one."""
        position, (least, most) = self.position(value), self._ends()
        if position <= NEAR and self.low > least:
            return "low"
        return "high" if position >= 1.0 - NEAR and self.high < most else None

    def wider(self, side: Side) -> Self:
        """This range, longer by `STEP` of its width at `side`, as far as nature lets it; its new end has three digits."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        step, (least, most) = STEP * (high - low), self._ends()
        if side == "low":
            return replace(self, low=type(self.low)(max(self._beyond(low - step, min), least)))
        return replace(self, high=type(self.high)(min(self._beyond(high + step, max), most)))

    def narrowed(self, best: float, share: float) -> Self:
        """The part of this range, `share` of its width, that has `best` in its middle; what would lie outside is cut off."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        half, middle = 0.5 * share * (high - low), self._scaled(best)
        ends = (self._value(min(max(end, low), high)) for end in (middle - half, middle + half))
        return self._between(*ends)

    def grid(self, points: int) -> list[Any]:
        """`points` values, evenly spaced in the range's scale, both ends included; the middle for one."""
        places = np.linspace(self._scaled(self.low), self._scaled(self.high), points) if points > 1 else [
            0.5 * (self._scaled(self.low) + self._scaled(self.high))]  # fmt: skip
        return list(dict.fromkeys(self._value(float(place)) for place in places))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what a log knows the range by."""
        natural = None if self.natural is None else [None if math.isinf(end) else end for end in self.natural]
        return {"kind": type(self).__name__, "low": self.low, "high": self.high, "log": self.log, "natural": natural}

    def encode(self, value: Any) -> Any:
        """`value` as JSON has it."""
        return value

    def decode(self, written: Any) -> Any:
        """The value that was encoded; ValueError for what is none."""
        if isinstance(written, bool) or not isinstance(written, (int, float)):
            raise ValueError(f"{written!r} is no number")
        return written

    def _number(self, name: str, end: str, value: Any) -> float:
        return checks.number(name, end, value, -_LARGEST, _LARGEST)

    def _ends(self) -> tuple[float, float]:
        """Where nature ends the parameter."""
        return self.natural or (-math.inf, math.inf)

    def _beyond(self, place: float, further: Callable[..., float]) -> float:
        """The value at `place` with three digits, or all of them where three do not leave the range."""
        exact = self._unscaled(place)
        rounded = float(f"{exact:.3g}")
        return rounded if further(rounded, self.low, self.high) == rounded and rounded not in (self.low, self.high) else exact

    def _natural(self, name: str) -> tuple[float, float]:
        natural = self.natural
        expected = f"a pair that encloses {self.low:g} .. {self.high:g}, such as (0, 1)"
        if not isinstance(natural, (tuple, list)) or len(natural) != 2 or not all(isinstance(end, (int, float)) for end in natural):
            raise checks.fail(TypeError, name, "natural", "be a pair of numbers", expected, repr(natural))
        low, high = float(natural[0]), float(natural[1])
        if not (low <= self.low and self.high <= high):
            raise checks.fail(ValueError, name, "natural", "enclose the range", expected, f"({low:g}, {high:g})")
        return low, high

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def _unscaled(self, place: float) -> float:
        return math.exp(min(max(place, -_LARGEST_LOG), _LARGEST_LOG)) if self.log else place

    def _value(self, place: float) -> Any:
        """The value at a place of the scale, within the range whatever rounding does."""
        return min(max(self._unscaled(place), self.low), self.high)

    def _between(self, low: float, high: float) -> Self:
        return replace(self, low=low, high=high) if low < high else self


@dataclass(frozen=True, repr=False)
class Uniform(Range):
    """Numbers from `low` to `high`, all alike: for keep probabilities, momenta."""


@dataclass(frozen=True, repr=False)
class LogUniform(Range):
    """Positive numbers whose logarithm is uniform, `10**uniform(log10(low), log10(high))`: for learning rates and weight decay."""

    log: ClassVar[bool] = True


@dataclass(frozen=True, repr=False)
class IntUniform(Range):
    """Whole numbers from `low` to `high`, both included; `log=True` makes their logarithm uniform, for sizes."""

    log: bool = False  # type: ignore[misc] # a setting here, what the class is elsewhere

    def sample(self, rng: np.random.Generator) -> int:
        """A whole number; every one has the share of the scale that is nearest to it."""
        return self._value(rng.uniform(self._scaled(self.low - 0.5), self._scaled(self.high + 0.5)))

    def _ends(self) -> tuple[float, float]:
        """Whole numbers count something: a range from 0 or 1 on does not go below."""
        least, most = super()._ends()
        return max(least, 1.0 if self.low >= 1 else 0.0 if self.low == 0 else -math.inf), most

    def _beyond(self, place: float, further: Callable[..., float]) -> int:
        return int(further(round(self._unscaled(place)), further(self.low, self.high) + (1 if further is max else -1)))

    def _number(self, name: str, end: str, value: Any) -> int:
        return checks.integer(name, end, value, -_LIMIT, _LIMIT)

    def _value(self, place: float) -> int:
        return int(min(max(round(self._unscaled(place)), self.low), self.high))

    def _between(self, low: float, high: float) -> Self:
        if low == high:  # one number has nothing to try: its neighbours within the range
            low, high = max(low - 1, self.low), min(high + 1, self.high)
        return replace(self, low=int(low), high=int(high))


@dataclass(frozen=True)
class Choice:
    """One of `options`, all alike: hidden layers, optimizers, activations. They have no order, so there is no border."""

    options: tuple[Any, ...]
    log: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.options, (tuple, list)):
            raise checks.fail(TypeError, "Choice", "options", "be a list", "a list or tuple of options", repr(self.options))
        object.__setattr__(self, "options", tuple(tuple(option) if isinstance(option, list) else option for option in self.options))
        if not self.options:
            expected = "at least one option"
            raise checks.fail(ValueError, "Choice", "options", "not be empty, for an empty range has nothing to try", expected, "none")
        if len({repr(option) for option in self.options}) < len(self.options):
            raise checks.fail(ValueError, "Choice", "options", "print differently", "each option once", repr(self.options))

    def __repr__(self) -> str:
        return f"Choice({list(self.options)!r})"

    def sample(self, rng: np.random.Generator) -> Any:
        """One of the options."""
        return self.options[int(rng.integers(len(self.options)))]

    def border(self, value: Any) -> None:
        """None: options have no order."""
        return None

    def narrowed(self, best: Any, share: float) -> Choice:
        """Only `best`."""
        return Choice((best,))

    def grid(self, points: int) -> list[Any]:
        """All options, however many points are asked for."""
        return list(self.options)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what a log knows the options by."""
        return {"kind": "Choice", "options": [self.encode(option) for option in self.options]}

    def encode(self, value: Any) -> Any:
        """`value` as JSON has it: numbers, strings and tuples of these as they are, all else by its `repr`."""
        if isinstance(value, tuple):
            return [self.encode(part) for part in value]
        return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)

    def decode(self, written: Any) -> Any:
        """The option that was encoded; ValueError for what is none."""
        for option in self.options:
            if repr(self.encode(option)) == repr(written):
                return option
        raise ValueError(f"{written!r} is none of the options")


Dimension = Range | Choice
Space = dict[str, Dimension]


def checked(function: str, space: Any) -> Space:
    """`space` with the natural bounds of its parameters' names filled in, or the library's sentence."""
    expected = '{"learning_rate": LogUniform(1e-4, 1e-1), ...}'
    if not isinstance(space, Mapping) or not all(isinstance(name, str) for name in space):
        raise checks.fail(TypeError, function, "space", "be a dict of ranges by name", expected, type(space).__name__)
    if not space:
        raise checks.fail(ValueError, function, "space", "have a parameter", expected, "an empty dict")
    for name, dimension in space.items():
        if not isinstance(dimension, (Range, Choice)):
            got = f"{name}: {dimension!r}"
            raise checks.fail(TypeError, function, "space", "hold ranges", "LogUniform, Uniform, IntUniform or Choice", got)
    return {name: _with_natural(function, name, dimension) for name, dimension in space.items()}


def sample(space: Space, rng: np.random.Generator) -> Parameters:
    """A value of every parameter, drawn in the order of `space`."""
    return {name: dimension.sample(rng) for name, dimension in space.items()}


def narrowed(space: Space, best: Parameters, share: float) -> Space:
    """Every range narrowed to `share` of its width around the best value."""
    return {name: dimension.narrowed(best[name], share) for name, dimension in space.items()}


def grid(space: Space, points: Mapping[str, int]) -> list[Parameters]:
    """Every combination of so many points of every parameter; the last parameter changes fastest."""
    lines = [dimension.grid(points[name]) for name, dimension in space.items()]
    return [dict(zip(space, values)) for values in product(*lines)]


def borders(space: Space, best: Parameters) -> dict[str, Side]:
    """The borders that the best values are near, by parameter; natural ones are left out."""
    sides = {name: dimension.border(best[name]) for name, dimension in space.items()}
    return {name: side for name, side in sides.items() if side is not None}


def widened(space: Space, sides: Mapping[str, Side]) -> Space:
    """Wider ranges where `sides` names a border."""
    return {name: dimension.wider(sides[name]) if name in sides and isinstance(dimension, Range) else dimension
            for name, dimension in space.items()}  # fmt: skip


def _with_natural(function: str, name: str, dimension: Dimension) -> Dimension:
    known = next((bounds for ending, bounds in NATURAL.items() if name.endswith(ending)), None)
    if not isinstance(dimension, Range) or dimension.natural is not None or known is None:
        return dimension
    if not (known[0] <= dimension.low and dimension.high <= known[1]):
        expected = f"a range within {known[0]:g} .. {known[1]:g}"
        raise checks.fail(ValueError, function, f"space[{name!r}]", "stay within the natural bounds", expected, repr(dimension))
    return replace(dimension, natural=known)
