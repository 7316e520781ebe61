"""fastnn trains multilayer perceptrons on a CPU as fast as the CPU allows: NumPy arrays in, compiled C11 kernels inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import backend as _backend
from .callbacks import EarlyStopping
from .gradcheck import GradientReport, gradient_check
from .history import History
from .io import load, save
from .losses import L2, Hinge, SoftmaxCrossEntropy
from .model import MLP
from .optimizers import SGD, AdaGrad, Adam, Momentum, RMSProp
from .preprocessing import Standardizer
from .schedules import CosineDecay, ExponentialDecay, InverseTimeDecay, ReduceOnPlateau, StepDecay, Warmup
from .trainer import Trainer

if TYPE_CHECKING:
    from .ops import (
        adagrad_update,
        adam_update,
        dropout_backward,
        dropout_forward,
        hinge_loss,
        l2_loss,
        leaky_relu_backward,
        leaky_relu_forward,
        linear_backward,
        linear_forward,
        linear_relu_backward,
        linear_relu_dropout_backward,
        linear_relu_dropout_forward,
        linear_relu_forward,
        momentum_update,
        relu_backward,
        relu_forward,
        rmsprop_update,
        sgd_update,
        sigmoid_backward,
        sigmoid_forward,
        softmax_cross_entropy,
        tanh_backward,
        tanh_forward,
    )

__all__ = [
    "L2",
    "MLP",
    "SGD",
    "AdaGrad",
    "Adam",
    "CosineDecay",
    "EarlyStopping",
    "ExponentialDecay",
    "GradientReport",
    "Hinge",
    "History",
    "InverseTimeDecay",
    "Momentum",
    "RMSProp",
    "ReduceOnPlateau",
    "SoftmaxCrossEntropy",
    "Standardizer",
    "StepDecay",
    "Trainer",
    "Warmup",
    "adagrad_update",
    "adam_update",
    "dropout_backward",
    "dropout_forward",
    "gradient_check",
    "hinge_loss",
    "l2_loss",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "linear_backward",
    "linear_forward",
    "linear_relu_backward",
    "linear_relu_dropout_backward",
    "linear_relu_dropout_forward",
    "linear_relu_forward",
    "load",
    "momentum_update",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "save",
    "sgd_update",
    "show_config",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_cross_entropy",
    "tanh_backward",
    "tanh_forward",
]

for _name in __all__:
    if hasattr(_backend.kernels, _name):
        globals()[_name] = getattr(_backend.kernels, _name)

__version__: str


def show_config() -> dict[str, Any]:
    """Print and return what the kernels run on: backend, instruction set, threads, versions."""
    import platform

    import numpy

    config = {"fastnn": _version(), "numpy": numpy.__version__, "python": platform.python_version(),
              "machine": platform.machine(), "backend": _backend.name}
    if _backend.name == "numpy":
        config.update(isa="numpy")
    else:
        from . import _config

        config.update(_config.describe())
    width = max(map(len, config))
    print("\n".join(f"{key.ljust(width)}  {value}" for key, value in config.items()))
    return config


def _version() -> str:
    # Imported here: reading package metadata takes longer than importing everything above.
    from importlib.metadata import version

    return version("fastnn")


if not TYPE_CHECKING:  # a type checker would take it for leave to import any name

    def __getattr__(name: str) -> str:
        if name == "__version__":
            return _version()
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
