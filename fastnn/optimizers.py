"""Optimizers: frozen settings, and one in-place kernel call a parameter array and step.

The equations below are for every element of a parameter, `g` its gradient at step `t = 1, 2, ...`; state begins at 0.

An optimizer owns no arrays. `state(param)` gives the zero arrays that belong to one parameter, and `update` writes parameter and state.
The recurrences, the place of `eps` and the bias correction are those of the kernels in `fastnn.reference`. Weight decay is L2,
`l1` is L1, both together the elastic net (Zou and Hastie 2005): the gradient becomes `grad + weight_decay * param + l1 * sign(param)`, for
weights, and for biases where `decay_biases`. `Adam(decoupled=True)` is AdamW, whose weight decay is no part of the gradient; `l1` stays in
it.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar, cast

import numpy as np

from . import checks
from .backend import kernels

_RANGES: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 0.0},
    "weight_decay": {"low": 0.0},
    "l1": {"low": 0.0},
    "momentum": {"low": 0.0, "high": 1.0},
    "decay_rate": {"low": 0.0, "high": 1.0},
    "beta1": {"low": 0.0, "high": 1.0, "open_high": True},
    "beta2": {"low": 0.0, "high": 1.0, "open_high": True},
    "eps": {"low": 0.0},
}


@dataclass(frozen=True)
class Optimizer:
    """What every optimizer has: `learning_rate >= 0`, `weight_decay >= 0`, `l1 >= 0`, `decay_biases`, and `slots` state arrays a
    parameter."""

    learning_rate: float = 0.01
    _: KW_ONLY
    weight_decay: float = 0.0
    l1: float = 0.0
    decay_biases: bool = False
    slots: ClassVar[int] = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _RANGES:
                value = checks.number(type(self).__name__, field.name, value, **_RANGES[field.name])
            elif not isinstance(value, (bool, np.bool_)):
                raise checks.fail(TypeError, type(self).__name__, field.name, "be True or False", "a bool", repr(value))
            else:
                value = bool(value)
            object.__setattr__(self, field.name, value)

    def state(self, param: np.ndarray) -> tuple[np.ndarray, ...]:
        """The `slots` zero arrays that go with `param`."""
        return tuple(np.zeros_like(param) for _ in range(self.slots))

    def update(self, param: np.ndarray, grad: np.ndarray, state: tuple[np.ndarray, ...], step: int, learning_rate: float,
               weight_decay: float, l1: float = 0.0) -> None:
        """One step (counted from 1) in place: writes `param` and the arrays of `state`, reads `grad`.

        `learning_rate`, `weight_decay` and `l1` are those of this step and this array; the fields of the same name are their base.
        """
        raise NotImplementedError

    @property
    def kernel(self) -> str:
        """The update operation: `"sgd"`, `"momentum"`, `"nesterov"`, `"adagrad"`, `"rmsprop"` or `"adam"`."""
        return type(self).__name__.lower()

    def scalars(self, rates: np.ndarray, first_step: int, weight_decay: float, l1: float = 0.0) -> np.ndarray:
        """The numbers that `kernel` takes besides arrays, a row an update, float64 `(updates, k)` in the order of `csrc/fastnn.h`.

        `rates` are the learning rates of the updates that follow `first_step` finished ones. A row has the bits that `update` works out.
        """
        columns = self._columns(rates, first_step, weight_decay, l1)
        rows = np.empty((len(rates), len(columns)))
        for k, column in enumerate(columns):
            rows[:, k] = column
        return rows

    def _columns(self, rates: np.ndarray, first_step: int, weight_decay: float, l1: float) -> tuple[Any, ...]:
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """`param -= learning_rate * g`: gradient descent, each step on the gradient of one batch (Robbins and Monro 1951; CS231n notes,
    "Vanilla update")."""

    learning_rate: float = 0.01

    def update(self, param, grad, state, step, learning_rate, weight_decay, l1=0.0):
        kernels.sgd_update(param, grad, learning_rate=learning_rate, weight_decay=weight_decay, l1=l1)

    def _columns(self, rates, first_step, weight_decay, l1):
        return weight_decay, l1, rates


@dataclass(frozen=True)
class Momentum(Optimizer):
    """`v = momentum * v - learning_rate * g; param += v` (Polyak 1964; CS231n notes, "Momentum update").

    `nesterov=True` takes the gradient where the velocity is about to lead (Nesterov 1983; Sutskever et al. 2013). As the notes rewrite it,
    the weights kept are those looked ahead to: `u = v; v = momentum * v - learning_rate * g; param += (1 + momentum) * v - momentum * u`.
    """

    learning_rate: float = 0.01
    _: KW_ONLY
    momentum: float = 0.9
    nesterov: bool = False
    slots: ClassVar[int] = 1

    def update(self, param, grad, state, step, learning_rate, weight_decay, l1=0.0):
        kernels.momentum_update(param, grad, *state, learning_rate=learning_rate, momentum=self.momentum, nesterov=self.nesterov,
                                weight_decay=weight_decay, l1=l1)

    @property
    def kernel(self) -> str:
        return "nesterov" if self.nesterov else "momentum"

    def _columns(self, rates, first_step, weight_decay, l1):
        return weight_decay, l1, rates, self.momentum


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """`cache += g * g; param -= learning_rate * g / (sqrt(cache) + eps)` (Duchi et al. 2011)."""

    learning_rate: float = 0.01
    _: KW_ONLY
    eps: float = 1e-8
    slots: ClassVar[int] = 1

    def update(self, param, grad, state, step, learning_rate, weight_decay, l1=0.0):
        kernels.adagrad_update(param, grad, *state, learning_rate=learning_rate, eps=self.eps, weight_decay=weight_decay, l1=l1)

    def _columns(self, rates, first_step, weight_decay, l1):
        return weight_decay, l1, rates, self.eps


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """`cache = decay_rate * cache + (1 - decay_rate) * g * g; param -= learning_rate * g / (sqrt(cache) + eps)` (Tieleman and Hinton
    2012)."""

    learning_rate: float = 0.001
    _: KW_ONLY
    decay_rate: float = 0.99
    eps: float = 1e-8
    slots: ClassVar[int] = 1

    def update(self, param, grad, state, step, learning_rate, weight_decay, l1=0.0):
        kernels.rmsprop_update(param, grad, *state, learning_rate=learning_rate, decay_rate=self.decay_rate, eps=self.eps,
                               weight_decay=weight_decay, l1=l1)

    def _columns(self, rates, first_step, weight_decay, l1):
        return weight_decay, l1, rates, self.eps, self.decay_rate, 1.0 - self.decay_rate


@dataclass(frozen=True)
class Adam(Optimizer):
    """`m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g * g`, then `param -= learning_rate * mt / (sqrt(vt) + eps)` with
    `mt = m / (1 - beta1**t)` and `vt = v / (1 - beta2**t)` (Kingma and Ba 2015).

    `bias_correction=False` is the simplified form of the CS231n notes, `mt = m` and `vt = v`: at the usual settings its first steps are up
    to 6.6 times as long. `decoupled=True` is AdamW (Loshchilov and Hutter 2019): `param -= learning_rate * weight_decay * param` first,
    and no decay in `g`.
    """

    learning_rate: float = 0.001
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    bias_correction: bool = True
    decoupled: bool = False
    slots: ClassVar[int] = 2

    def update(self, param, grad, state, step, learning_rate, weight_decay, l1=0.0):
        kernels.adam_update(param, grad, *state, step, learning_rate=learning_rate, beta1=self.beta1, beta2=self.beta2, eps=self.eps,
                            bias_correction=self.bias_correction, weight_decay=weight_decay, decoupled=self.decoupled,
                            l1=l1)

    def _columns(self, rates, first_step, weight_decay, l1):
        eps: Any = self.eps
        corrected = rates
        if self.bias_correction:
            root = np.sqrt(1.0 - _powers(self.beta2, first_step, len(rates)))
            corrected = rates * root / (1.0 - _powers(self.beta1, first_step, len(rates)))
            eps = eps * root
        decay, shrink = (0.0, 1.0 - rates * weight_decay) if self.decoupled else (weight_decay, 1.0)
        return decay, l1, corrected, eps, self.beta1, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2, shrink


@lru_cache(maxsize=32)
def _powers(base: float, first_step: int, count: int) -> np.ndarray:
    """`base ** step` of the `count` steps after `first_step`; the same ones for most networks that are trained together."""
    # Python's power is the C library's, like the kernel's; NumPy's may round differently.
    powers = np.array([base**step for step in range(first_step + 1, first_step + count + 1)])
    powers.flags.writeable = False
    return powers


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__.lower(): kind for kind in (SGD, Momentum, AdaGrad, RMSProp, Adam)}


def get(optimizer: str | Optimizer, function: str = "optimizers.get") -> Optimizer:
    """Return the optimizer of that name with its defaults, or `optimizer` itself; else raise."""
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        return OPTIMIZERS[optimizer]()
    if type(optimizer) not in OPTIMIZERS.values():
        kind = ValueError if isinstance(optimizer, str) else TypeError
        expected = f"an optimizer such as Adam(learning_rate=0.001), or one of {', '.join(OPTIMIZERS)}"
        raise checks.fail(kind, function, "optimizer", "be an optimizer", expected, repr(optimizer))
    return cast(Optimizer, optimizer)


def to_config(optimizer: Optimizer) -> dict[str, Any]:
    """JSON-able description."""
    return {"name": type(optimizer).__name__.lower(), **asdict(optimizer)}


def from_config(config: dict[str, Any]) -> Optimizer:
    """The optimizer that `to_config` described."""
    return OPTIMIZERS[config["name"]](**{key: value for key, value in config.items() if key != "name"})
