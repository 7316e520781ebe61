"""Initial weights: one function a scheme, drawn from the caller's generator, so that equal seeds give equal nets.

With `w (i, o)` and inputs of unit variance, `Var(x @ w) = i * Var(w)` a unit, so `Var(w) = 1 / i` keeps the variance through a linear
layer (CS231n notes, "Setting up the data and the model"; LeCun et al. 1998). ReLU halves the second moment, hence `2 / i` (He et al.
2015); `2 / (i + o)` is the compromise between the forward and the backward pass (Glorot and Bengio 2010). `Normal(std)` pays no heed to
the shape, which is what those replace: through many layers its activations die out or saturate.
The normals are not truncated; the uniforms span `+- sqrt(3 Var)`. Biases start at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import checks

Initializer = Callable[[np.random.Generator, tuple[int, int]], Any]

_VARIANCES: dict[str, Callable[[int, int], float]] = {
    "lecun": lambda i, o: 1.0 / i,
    "he": lambda i, o: 2.0 / i,
    "glorot": lambda i, o: 2.0 / (i + o),
}


def _normal(variance: Callable[[int, int], float]) -> Initializer:
    return lambda rng, shape: rng.standard_normal(shape) * math.sqrt(variance(*shape))


def _uniform(variance: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        limit = math.sqrt(3.0 * variance(*shape))
        return rng.uniform(-limit, limit, shape)

    return draw


@dataclass(frozen=True)
class Normal:
    """`std * standard normal` whatever the shape, an `init=` for `MLP`: `Normal(0.01)` are the notes' "small random numbers"."""

    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", checks.number("init.Normal", "std", self.std, 0.0))

    def __call__(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Weights `shape`, float64."""
        return rng.standard_normal(shape) * self.std


INITIALIZERS: dict[str, Initializer] = {
    f"{scheme}_{law}": make_law(variance)
    for scheme, variance in _VARIANCES.items()
    for law, make_law in (("normal", _normal), ("uniform", _uniform))
}


_latest: ContextVar[dict[str, Any] | None] = ContextVar("latest", default=None)


@contextmanager
def drawn_once() -> Iterator[None]:
    """Within it, nets that are made one after another and begin alike, as those of the folds of a trial do, are drawn once and copied."""
    token = _latest.set({})
    try:
        yield
    finally:
        _latest.reset(token)


def weights(init: str | Initializer, seed: int, sizes: Sequence[int], dtype: Any) -> list[np.ndarray]:
    """Fresh weights of all layers between `sizes`, drawn in their order by one generator; see `make`."""
    latest, what = _latest.get(), (init, seed, tuple(sizes), dtype)
    if latest is None or not isinstance(init, (str, Normal)):  # a function may give others the next time
        return _drawn(*what)
    if latest.get("what") != what:
        latest.update(arrays=_drawn(*what), what=what)
    return [array.copy() for array in latest["arrays"]]


def _drawn(init: str | Initializer, seed: int, sizes: Sequence[int], dtype: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [make(init, rng, shape, dtype) for shape in pairwise(sizes)]


def make(init: str | Initializer, rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> np.ndarray:
    """Return fresh weights `shape = (i, o)` of `dtype`, C-ordered.

    `init` is a name of `INITIALIZERS` or a callable `f(rng, shape)` that returns real numbers of that shape. Raises TypeError for any
    other `init`, ValueError for an unknown name and for a callable whose result has another shape or is not finite.
    """
    if isinstance(init, str) and init not in INITIALIZERS:
        raise checks.fail(ValueError, "MLP", "init", "name an initialiser", f"one of {', '.join(INITIALIZERS)}, or a callable", repr(init))
    function = INITIALIZERS[init] if isinstance(init, str) else init
    if not callable(function):
        raise checks.fail(TypeError, "MLP", "init", "be a name or a callable", "a name or f(rng, shape)", type(init).__name__)
    drawn = np.asarray(function(rng, shape))
    if drawn.shape != shape or drawn.dtype.kind not in "fiu":
        raise _refused("return weights of the shape it is given", drawn, shape)
    with np.errstate(over="ignore"):
        weights = np.array(drawn, dtype, order="C")
    if not np.isfinite(weights).all():
        raise _refused("return finite weights", drawn, shape, " with values that are not")
    return weights


def _refused(rule: str, drawn: np.ndarray, shape: tuple[int, int], more: str = "") -> Exception:
    got = f"{checks.shape_text(drawn.shape)} {drawn.dtype}{more}"
    return checks.fail(ValueError, "MLP", "init", rule, f"shape {checks.shape_text(shape)} finite numbers", got)
