"""Whether the net without dropout predicts what its thinned networks predict on average.

Training with dropout trains `2**units` networks that share their weights. To average them all, one would draw masks over and over (Monte
Carlo); instead one forward pass is made with every unit kept. Its activations have their expected size because dropout scaled by
`1 / keep_prob` in training (Hinton et al. 2012; Srivastava et al. 2014, who compare the two; CS231n notes, "Regularization").

Without a hidden nonlinearity the scores are linear in every mask, and masks of different layers are independent, so the one pass *is*
the mean: any difference must be the noise of sampling, and the check is a test of the implementation. With hidden units that are not
linear it is an approximation, `f(mean)` for `mean(f)`, and the check says how good one. Softmax of the mean scores is the normalised
geometric mean of the thinned networks' probabilities; classes are compared with the arithmetic mean of the probabilities, the average a
person would take.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import arrays, checks, plots, text
from .interrupts import Held
from .model import MLP, checked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_SAMPLES = 10
CLOSE_BIAS, CLOSE_AGREEMENT = 0.25, 0.98
_SIGMAS = 5.0
_ROWS = 2**20  # numbers of the widest layer held at once
_ADVICE = {
    "nothing to check": "every unit is kept, so there is only one network",
    "exact": "as it must be without a hidden nonlinearity, the difference is what sampling noise explains",
    "wrong": "without a hidden nonlinearity the two must agree, and noise does not explain the difference: one of the passes is wrong",
    "close": "hidden units are not linear, so this is an approximation, and here a good one: predict with the one pass",
    "apart": "hidden units are not linear, so this is an approximation, and here a coarse one: averaging over masks predicts otherwise",
}


class Point(NamedTuple):
    """After `samples` passes: the distance of their mean scores from the predicted ones (root mean square over rows and outputs), and the
    share of the rows in which the mean probabilities (for a loss without them, the mean scores) have the predicted class; None without
    classes."""

    samples: int
    difference: float
    agreement: float | None


@dataclass(frozen=True, repr=False)
class DropoutReport:
    """What `dropout_check` found; prints as a table with a verdict. All numbers are root mean squares over rows and outputs.

    `difference`: predicted scores against the mean of the `samples` passes; `standard_error`: what of it sampling explains; `one_pass`:
    the deviation of a single pass; `bias`: `sqrt(difference**2 - standard_error**2)`, 0 where noise may explain all. `within`: share of the
    scores within two standard errors of the prediction, about 95 % where they agree. `limit`: the ratio `difference / standard_error`
    that noise hardly exceeds. `agreement`: share of the rows whose class is the same; None without classes.
    `probability_difference`: of predicted and mean probabilities; None without these. `convergence`: `Point`s along the way.
    `samples < requested` after Ctrl-C.
    """

    keep_prob: tuple[float, ...]
    linear: bool
    rows: int
    requested: int
    samples: int
    difference: float
    standard_error: float
    one_pass: float
    within: float
    limit: float
    agreement: float | None
    probability_difference: float | None
    convergence: tuple[Point, ...]

    @property
    def bias(self) -> float:
        """What of the difference is not noise."""
        explained = self.difference <= self.limit * self.standard_error
        return 0.0 if explained else math.sqrt(self.difference**2 - self.standard_error**2)

    @property
    def verdict(self) -> str:
        """"exact" or "wrong" for a net without hidden nonlinearity; else "close" where the bias is at most a quarter of a single pass's
        deviation and at least 98 % of the rows keep their class, or "apart"; "nothing to check" where no unit is ever dropped."""
        if min(self.keep_prob) == 1.0:
            return "nothing to check"
        if self.linear:
            return "exact" if self.bias == 0.0 else "wrong"
        same = self.agreement is None or self.agreement >= CLOSE_AGREEMENT
        return "close" if same and self.bias <= CLOSE_BIAS * self.one_pass else "apart"

    @property
    def passed(self) -> bool:
        """Whether the verdict is neither "wrong" nor "apart"."""
        return self.verdict not in ("wrong", "apart")

    def __str__(self) -> str:
        drawn = f"{self.samples:,}" + (f" of {self.requested:,}" if self.samples < self.requested else "")
        rows = [("root mean squares of scores", ""), ("predicted against mean of the passes", f"{self.difference:.3g}"),
                ("  of that, noise of sampling", f"{self.standard_error:.3g}"), ("  of that, bias", f"{self.bias:.3g}"),
                ("deviation of a single pass", f"{self.one_pass:.3g}"), ("within two standard errors", f"{self.within:.1%}")]
        if self.probability_difference is not None:
            rows.append(("predicted against mean probabilities", f"{self.probability_difference:.3g}"))
        if self.agreement is not None:
            rows.append(("rows with the same class", f"{self.agreement:.2%}"))
        head = f"dropout check: {self.verdict} (keep_prob {self.keep_prob}, {self.rows:,} rows, {drawn} passes)"
        return f"{head}\n{_ADVICE[self.verdict]}\n\n{text.aligned(rows, left=1)}"

    def __repr__(self) -> str:
        return f"<DropoutReport: {self.verdict}, bias {self.bias:.2g}, one pass {self.one_pass:.2g}, {self.samples} passes>"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """The distance of the mean of n passes from the prediction against n, beside the noise `one_pass / sqrt(n)` and the bias it comes
        down to; with classes, the share of rows that differ. Returns the matplotlib `Figure`, written to `path` where one is given;
        ImportError without the extra `plot`."""
        figure = plots.figure("DropoutReport.plot", 7.0 if self.agreement is None else 10.0)
        panels = figure.subplots(1, 1 if self.agreement is None else 2, squeeze=False)[0]
        n = np.array([point.samples for point in self.convergence], float)
        left = panels[0]
        left.plot(n, [point.difference for point in self.convergence], "o", label="measured")
        left.plot(n, np.sqrt(self.bias**2 + self.one_pass**2 / n), label="bias and noise")
        left.plot(n, self.one_pass / np.sqrt(n), "--", label="noise alone, 1/sqrt(n)")
        if self.bias > 0:
            left.axhline(self.bias, linestyle=":", color="gray", label="bias")
        left.set(xscale="log", xlabel="passes n", ylabel="distance from the prediction", title="scores")
        if self.one_pass > 0:
            left.set_yscale("log")
        left.legend()
        if self.agreement is not None:
            panels[1].plot(n, [1.0 - (point.agreement or 0.0) for point in self.convergence], "o-")
            panels[1].set(xscale="log", xlabel="passes n", ylabel="share of rows", title="another class than predicted", ylim=(0.0, None))
        return plots.finish(figure, path)


class _Sums:
    """Mean and sum of squared deviations of arrays that come one after another (Welford 1962), in float64."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)

    def add(self, values: np.ndarray, count: int) -> None:
        """The `count`-th array, from 1."""
        apart = values - self.mean
        self.mean += apart / count
        self.squares += apart * (values - self.mean)


def dropout_check(net: MLP, x: Any, *, samples: int = 1000, seed: int = 0, progress: bool = False) -> DropoutReport:
    """Compare `net.forward(x)` with the mean of `samples` forward passes under dropout, whose masks are drawn with `seed`.

    `x (n, i)`: a few hundred rows are enough, more make the check sharper. Memory: five arrays of `n * outputs` float64. `progress` shows
    one line on stderr, at 1, 2, 5, 10, ... passes. Ctrl-C after the tenth pass ends the check with the passes made, and the report says how
    many. The net is not changed. ValueError / TypeError with the library's sentence for bad arguments, FloatingPointError where the
    predicted scores are not finite.
    """
    function = "dropout_check"
    checked(function, net)
    samples = checks.integer(function, "samples", samples, FEWEST_SAMPLES, 2**32)
    seed = checks.integer(function, "seed", seed, 0, 2**64 - 1)
    x = arrays.rows(function, x, net.sizes[0], net.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        predicted = net.forward(x)
    if not np.isfinite(predicted).all():
        raise FloatingPointError(f"fastnn.{function}: the net's scores without dropout are not finite, so there is nothing to compare with")
    classes = hasattr(net.loss, "probabilities")
    scores, likely = _Sums(predicted.shape), _Sums(predicted.shape) if classes else None
    points: list[Point] = []
    made, line = 0, text.Line()
    try:
        with Held() as held, np.errstate(over="ignore", invalid="ignore"):
            for made in range(1, samples + 1):
                passed = _dropped(net, x, seed, made - 1)
                scores.add(passed, made)
                if likely is not None:
                    likely.add(net.loss.probabilities(passed), made)
                if _marked(made) or made == samples:
                    points.append(_point(net, predicted, scores, likely, made))
                    if progress:
                        line.write(f"pass {made:,}/{samples:,}  difference {points[-1].difference:.4g}")
                held.check()
    except KeyboardInterrupt:
        if made < FEWEST_SAMPLES:
            raise
    finally:
        line.finish()
    if points[-1].samples < made:
        points.append(_point(net, predicted, scores, likely, made))
    if not np.isfinite(scores.squares).all():
        raise FloatingPointError(f"fastnn.{function}: the net's scores under dropout are not finite")
    return _report(net, predicted, scores, likely, points, samples)


def _dropped(net: MLP, x: np.ndarray, seed: int, sample: int) -> np.ndarray:
    """Scores of one pass, every block of rows with masks of its own."""
    rows = max(256, _ROWS // max(net.sizes))
    starts = range(0, len(x), rows)
    first = sample * len(starts)
    return np.concatenate([net._trace(net._batch(x[start:start + rows]), net._dropouts((seed, (first + k) * len(net.layers))))[-1].y
                           for k, start in enumerate(starts)])


def _marked(count: int) -> bool:
    """1, 2, 5, 10, 20, 50, ..."""
    return str(count).rstrip("0") in ("1", "2", "5")


def _rms(values: np.ndarray) -> float:
    return math.sqrt(np.mean(np.square(values, dtype=np.float64)))


def _point(net: MLP, predicted: np.ndarray, scores: _Sums, likely: _Sums | None, made: int) -> Point:
    return Point(made, _rms(predicted - scores.mean), _agreement(net.loss, predicted, scores, likely))


def _agreement(loss: Any, predicted: np.ndarray, scores: _Sums, likely: _Sums | None) -> float | None:
    if likely is not None:
        return float(np.mean(predicted.argmax(axis=1) == likely.mean.argmax(axis=1)))
    if loss is None or (classes := loss.predict(predicted)).dtype.kind not in "iu":
        return None
    return float(np.mean(classes == loss.predict(scores.mean.astype(predicted.dtype))))


def _report(net: MLP, predicted: np.ndarray, scores: _Sums, likely: _Sums | None, points: Sequence[Point],
            requested: int) -> DropoutReport:
    made = points[-1].samples
    variance = scores.squares / (made - 1)
    # What a score is off by rounding counts as noise too: both passes sum as many products as there are inputs.
    rounding = math.sqrt(max(net.sizes)) * float(np.finfo(net.dtype).eps) * _rms(predicted)
    errors = variance / made + rounding**2
    # If the scores of a row were one number and normal, its share of `difference**2` would have a deviation of sqrt(2) times its error;
    # rows are independent. The variance is an estimate, too, for which Student's distribution is wider.
    by_row = errors.mean(axis=1)
    limit = (1.0 + _SIGMAS * math.sqrt(2.0 * np.square(by_row).sum()) / max(by_row.sum(), np.finfo(float).tiny)) * (made - 1) / (made - 3)
    apart = None if likely is None else _rms(net.loss.probabilities(predicted) - likely.mean)
    return DropoutReport(
        keep_prob=net.keep_prob, linear=len(net.layers) == 1 or net.activation == "linear", rows=len(predicted),
        requested=requested, samples=made, difference=points[-1].difference, standard_error=math.sqrt(errors.mean()),
        one_pass=math.sqrt(variance.mean()), within=float(np.mean(np.abs(predicted - scores.mean) <= 2.0 * np.sqrt(errors))),
        limit=math.sqrt(limit), agreement=points[-1].agreement, probability_difference=apart, convergence=tuple(points),
    )
