"""fastnn trains multilayer perceptrons on a CPU as fast as the CPU allows: NumPy arrays in, compiled C11 kernels inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import backend as _backend
from . import curves
from .averaging import EMA
from .binned import BinnedRegression
from .bins import Bins, EmptyBinWarning
from .callbacks import EarlyStopping, Every
from .diagnostics import Diagnosis, diagnose
from .distribution import Distribution
from .dropout import DropoutReport, dropout_check
from .ensemble import Ensemble, EnsembleReport
from .fingerprint import DataLeakWarning
from .gradcheck import GradientReport, gradient_check
from .hessiancheck import HessianReport, hessian_check
from .history import History
from .io import load, save
from .losses import L2, Hinge, SoftmaxCrossEntropy
from .many import fit_many
from .model import MLP
from .optimizers import SGD, AdaGrad, Adam, Momentum, RMSProp
from .preprocessing import MinMaxScaler, Standardizer
from .range_test import RangeReport, learning_rate_range_test
from .schedules import CosineDecay, ExponentialDecay, InverseTimeDecay, ReduceOnPlateau, StepDecay, Warmup, plot_schedules
from .search import GridSearch, RandomSearch, Stage
from .search_result import BorderWarning, SearchResult, plot_search_projections
from .second_order import MinimizeResult, hessian, hessian_vector_product, minimize
from .snapshots import Snapshots
from .space import Choice, IntUniform, LogUniform, Uniform
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
    "EMA",
    "L2",
    "MLP",
    "SGD",
    "AdaGrad",
    "Adam",
    "BinnedRegression",
    "Bins",
    "BorderWarning",
    "Choice",
    "CosineDecay",
    "DataLeakWarning",
    "Diagnosis",
    "Distribution",
    "DropoutReport",
    "EarlyStopping",
    "EmptyBinWarning",
    "Ensemble",
    "EnsembleReport",
    "Every",
    "ExponentialDecay",
    "GradientReport",
    "GridSearch",
    "HessianReport",
    "Hinge",
    "History",
    "IntUniform",
    "InverseTimeDecay",
    "LogUniform",
    "MinMaxScaler",
    "MinimizeResult",
    "Momentum",
    "RMSProp",
    "RandomSearch",
    "RangeReport",
    "ReduceOnPlateau",
    "SearchResult",
    "Snapshots",
    "SoftmaxCrossEntropy",
    "Stage",
    "Standardizer",
    "StepDecay",
    "Trainer",
    "Uniform",
    "Warmup",
    "adagrad_update",
    "adam_update",
    "curves",
    "diagnose",
    "dropout_backward",
    "dropout_check",
    "dropout_forward",
    "fit_many",
    "get_num_threads",
    "gradient_check",
    "hessian",
    "hessian_check",
    "hessian_vector_product",
    "hinge_loss",
    "l2_loss",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "learning_rate_range_test",
    "linear_backward",
    "linear_forward",
    "linear_relu_backward",
    "linear_relu_dropout_backward",
    "linear_relu_dropout_forward",
    "linear_relu_forward",
    "load",
    "minimize",
    "momentum_update",
    "plot_schedules",
    "plot_search_projections",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "save",
    "set_num_threads",
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


def set_num_threads(n: int | None) -> None:
    """Let kernels use `n` threads, the caller's included, 1 to 256; None goes back to the default: `FASTNN_NUM_THREADS`, else
    `OMP_NUM_THREADS`, else the processors this process may run on. Results have the same bits for any n.

    On the NumPy backend this does nothing: there NumPy's own libraries decide.
    """
    if _backend.name == "compiled":
        from . import _config

        _config.set_num_threads(n)


def get_num_threads() -> int:
    """Threads a kernel may use, the caller's included; 1 on the NumPy backend."""
    if _backend.name == "numpy":
        return 1
    from . import _config

    return _config.get_num_threads()


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
