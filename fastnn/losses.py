"""Losses: what training minimises, and how scores `(n, o)` become predictions.

A loss is any object with two methods::

    value_and_gradient(scores, y, sample_weight=None) -> (loss, dscores)   # the mean over the samples, and its gradient
    predict(scores) -> array (n, ...)

`scores` and `dscores` share shape and dtype (that of the net), `y` holds the rows of the batch, `sample_weight` is None or `(n,)`; the
mean is `sum(weight * loss) / sum(weight)`. Optional: `metric_name` with `metric(scores, y) -> float` for display (the metric of a whole
epoch is the power mean of its batches, of exponent `metric_power`, 1 unless given), `targets(y, samples, outputs, dtype, function)`,
which checks and converts the targets once a fit, `probabilities(scores)` for `predict_proba`, `active(scores, y)`, the boolean
pattern whose changes are the kinks of the loss, and `hessian_product(scores, y, directions, sample_weight=None)` for second-order
methods: the derivative of `dscores` along each of `m` directions, `directions (n, m, o)` and the result alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from . import arrays, checks
from .backend import kernels


class Loss(Protocol):
    """The two methods that make an object a loss."""

    def value_and_gradient(self, scores: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """`(mean loss, dscores)`."""
        ...

    def predict(self, scores: np.ndarray) -> np.ndarray:
        """One prediction a row."""
        ...


class _Classification:
    """Classes are columns of the scores; the prediction is the highest one, the first of equals."""

    metric_name: ClassVar[str] = "accuracy"
    metric_power: ClassVar[int] = 1

    def predict(self, scores: np.ndarray) -> np.ndarray:
        """Class index, int64 `(n,)`."""
        return np.argmax(scores, axis=1).astype(np.int64)

    def metric(self, scores: np.ndarray, y: np.ndarray) -> float:
        """Share of the samples whose highest score is the label, or the highest of the target probabilities."""
        return float(np.mean(self.predict(scores) == (y if y.ndim == 1 else np.argmax(y, axis=1))))

    def targets(self, y: Any, samples: int, outputs: int, dtype: Any, function: str) -> np.ndarray:
        """Integer labels `(n,)` in `0..outputs - 1`, as int64."""
        return checks.labels(function, "y", arrays.as_array(function, "y", y), samples, outputs)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(_Classification):
    """`-log softmax(scores)[label]`, mean over the batch; `y` is labels `(n,)` or probabilities `(n, o)` (CS231n notes, "Softmax
    classifier")."""

    name: ClassVar[str] = "softmax_cross_entropy"

    def value_and_gradient(self, scores: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """`(loss, dscores)` of `fastnn.softmax_cross_entropy`."""
        return kernels.softmax_cross_entropy(scores, y, sample_weight=sample_weight)

    def targets(self, y: Any, samples: int, outputs: int, dtype: Any, function: str) -> np.ndarray:
        """Integer labels `(n,)`, or finite float probabilities `(n, outputs)`, which become `dtype`."""
        array = arrays.as_array(function, "y", y)
        if array.dtype.kind == "f" and array.ndim == 2:
            return arrays.targets(function, array, (samples, outputs), dtype)
        return super().targets(array, samples, outputs, dtype, function)

    def hessian_product(self, scores: np.ndarray, y: np.ndarray, directions: np.ndarray,
                        sample_weight: np.ndarray | None = None) -> np.ndarray:
        """`(p * r - p * (p . r)) * weight / sum(weight)` for every direction `r`, with `p = softmax(scores)`; times `sum(y)` of the row
        where `y` is probabilities."""
        p = self.probabilities(scores)
        share = _shares(scores, sample_weight) * (1 if y.ndim == 1 else y.sum(axis=1))
        mean = np.einsum("no,nmo->nm", p, directions)
        return (p * share[:, None])[:, None, :] * (directions - mean[:, :, None])

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """`exp(s - max) / sum(exp(s - max))` of every row."""
        with np.errstate(invalid="ignore"):
            e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Hinge(_Classification):
    """`sum over j != label of max(0, s_j - s_label + margin)`, mean over the batch: the multiclass SVM of Weston and Watkins (1999)."""

    margin: float = 1.0
    name: ClassVar[str] = "hinge"

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin", checks.number("Hinge", "margin", self.margin, 0.0))

    def value_and_gradient(self, scores: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """`(loss, dscores)` of `fastnn.hinge_loss`."""
        return kernels.hinge_loss(scores, y, margin=self.margin, sample_weight=sample_weight)

    def hessian_product(self, scores: np.ndarray, y: np.ndarray, directions: np.ndarray,
                        sample_weight: np.ndarray | None = None) -> np.ndarray:
        """0: the loss is piecewise linear in the scores; right wherever no margin is exactly on its kink."""
        return np.zeros_like(directions)

    def active(self, scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Where `s_j - s_label + margin > 0`."""
        return scores - scores[np.arange(len(y)), y][:, None] + self.margin > 0


@dataclass(frozen=True)
class L2:
    """`0.5 * sum_j (score_j - y_j)**2`, mean over the batch; `y` is real `(n, o)`, or `(n,)` for a net of one output."""

    name: ClassVar[str] = "l2"
    metric_name: ClassVar[str] = "rmse"
    metric_power: ClassVar[int] = 2

    def value_and_gradient(self, scores: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """`(loss, dscores)` of `fastnn.l2_loss`."""
        return kernels.l2_loss(scores, y, sample_weight=sample_weight)

    def hessian_product(self, scores: np.ndarray, y: np.ndarray, directions: np.ndarray,
                        sample_weight: np.ndarray | None = None) -> np.ndarray:
        """`directions * weight / sum(weight)`."""
        return directions * _shares(scores, sample_weight)[:, None, None]

    def predict(self, scores: np.ndarray) -> np.ndarray:
        """The scores themselves, `(n, o)`."""
        return scores

    def metric(self, scores: np.ndarray, y: np.ndarray) -> float:
        """`sqrt(mean((scores - y)**2))` over samples and outputs."""
        return math.sqrt(np.mean(np.square(scores - y, dtype=np.float64)))

    def targets(self, y: Any, samples: int, outputs: int, dtype: Any, function: str) -> np.ndarray:
        """Finite real `(n, outputs)`, or `(n,)` where there is one output, in `dtype`."""
        array = arrays.as_array(function, "y", y)
        return arrays.targets(function, array[:, None] if array.ndim == 1 and outputs == 1 else array, (samples, outputs), dtype)


def _shares(scores: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    """The part of every sample in the mean, `(n,)` in the dtype of the scores; 0 where there is no weight at all."""
    if sample_weight is None:
        return np.full(len(scores), 1.0 / max(len(scores), 1), scores.dtype)
    total = sample_weight.sum(dtype=np.float64)
    return (sample_weight / (total if total > 0 else 1.0)).astype(scores.dtype)


LOSSES: dict[str, type[Any]] = {kind.name: kind for kind in (SoftmaxCrossEntropy, L2, Hinge)}


def get(loss: str | Loss, function: str = "losses.get") -> Any:
    """Return the loss of that name, or `loss` itself when it has the two methods of the interface; else raise."""
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise checks.fail(ValueError, function, "loss", "name a loss", f"one of {', '.join(LOSSES)}, or an object", repr(loss))
        return LOSSES[loss]()
    if isinstance(loss, type) or not all(callable(getattr(loss, name, None)) for name in ("value_and_gradient", "predict")):
        expected = "a name or an object with value_and_gradient and predict"
        got = f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
        raise checks.fail(TypeError, function, "loss", "be a loss", expected, got)
    return loss


def prepare_targets(loss: Any, y: Any, samples: int, outputs: int, dtype: Any, function: str) -> np.ndarray:
    """Return `y` checked and converted for `loss`, once a fit: row `k` belongs to sample `k`."""
    if hasattr(loss, "targets"):
        return loss.targets(y, samples, outputs, dtype, function)
    array = np.asarray(y)
    if array.ndim == 0 or len(array) != samples:
        expected = f"{samples} rows"
        raise checks.fail(ValueError, function, "y", "have a row for every sample", expected, checks.shape_text(array.shape))
    return array


def value_and_gradient(loss: Any, scores: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None,
                       function: str) -> tuple[float, np.ndarray]:
    """`loss.value_and_gradient`, its answer held to the interface: a real number and a gradient like the scores."""
    value, gradient = loss.value_and_gradient(scores, y, sample_weight=sample_weight)
    gradient = np.asarray(gradient)
    if gradient.shape != scores.shape or gradient.dtype.kind not in "fiu":
        expected = f"a gradient of shape {checks.shape_text(scores.shape)}"
        got = f"{checks.shape_text(gradient.shape)} {gradient.dtype}"
        raise checks.fail(ValueError, function, "loss", "return a gradient like the scores", expected, got)
    return float(value), gradient.astype(scores.dtype, copy=False)


def kernel(loss: Any) -> str | None:
    """The name of a loss that the training engine computes itself; None for a user's own object."""
    name = getattr(loss, "name", None)
    return name if isinstance(name, str) and type(loss) is LOSSES.get(name) else None


class Metric(NamedTuple):
    """Name and exponent of a loss's metric."""

    name: str
    power: int


def metric(loss: Any) -> Metric | None:
    """What `loss.metric` is called and averaged with; None for a loss without one."""
    name = getattr(loss, "metric_name", None)
    return Metric(name, getattr(loss, "metric_power", 1)) if name is not None and callable(getattr(loss, "metric", None)) else None


def to_config(loss: Any) -> dict[str, Any] | None:
    """JSON-able description of a loss of this module; None for a user's own object."""
    name = kernel(loss)
    return None if name is None else {"name": name, **asdict(loss)}


def from_config(config: dict[str, Any] | None) -> Any:
    """The loss that `to_config` described, or None."""
    if config is None:
        return None
    fields = {key: value for key, value in config.items() if key != "name"}
    return LOSSES[config["name"]](**fields)


def penalty(weights: Iterable[np.ndarray], weight_decay: float, l1: float) -> float:
    """`sum over the arrays of 0.5 * weight_decay * sum(w**2) + l1 * sum(|w|)`, in float64: what the decays of an optimizer minimise."""
    total = 0.0
    for w in weights:
        if weight_decay > 0:
            total += 0.5 * weight_decay * float(np.square(w, dtype=np.float64).sum())
        if l1 > 0:
            total += l1 * float(np.abs(w).sum(dtype=np.float64))
    return total
