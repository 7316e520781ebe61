"""What a network's numbers say before and while it is trained (CS231n notes, "Weight initialization", "Sanity checks", "Ratio of weights :
updates"), each with a verdict in words.

One batch is sent through the net without dropout, one gradient is taken, one update is made on a copy, and one small batch is trained on
until it is known by heart, on another copy. The verdicts are read off `SCALES`:

    quantity       good            watch           what is judged
    variance       1e-2 .. 1e2     1e-4 .. 1e4     of the inputs and of a hidden layer's activations, over rows and units
    dead units     <= 10 %         <= 40 %         ReLU: zero for every row; tanh, sigmoid: slope under 1/20 of its largest in most rows
    gradient norm  >= 1e-2         >= 1e-4         of the weights, as a share of the largest layer's (Glorot and Bengio 2010)
    update ratio   1e-4 .. 1e-2    1e-7 .. 1e-1    norm of one update by the norm of the weights; about 1e-3 is wanted
    loss           <= 1.25         <= 4            first loss by the expected one; for L2, which is a square, the root of that
    small batch    <= 0.05         <= 0.5          what is left of the expected loss

Everything else is bad, and so is a number that is not finite, and a layer whose units all have the same weights: they stay alike.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import arrays, checks, losses, optimizers, plots, text
from .init import Normal
from .model import MLP, checked
from .preprocessing import Scaler
from .trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICTS = ("good", "watch", "bad")
WANTED_RATIO = 1e-3
BINS = 50
_STEEPEST = {"tanh": 1.0, "sigmoid": 0.25}  # the largest slope, at 0
_FLAT = 0.05


class Scale(NamedTuple):
    """Intervals, ends included, within which a number is good, or to be watched."""

    good: tuple[float, float]
    watch: tuple[float, float]

    def verdict(self, value: float) -> str:
        """"good", "watch" or "bad"; NaN is bad."""
        return next((name for name, (low, high) in zip(VERDICTS, self) if low <= value <= high), "bad")


SCALES = {
    "variance": Scale((1e-2, 1e2), (1e-4, 1e4)),
    "dead units": Scale((0.0, 0.1), (0.0, 0.4)),
    "gradient norm": Scale((1e-2, math.inf), (1e-4, math.inf)),
    "update ratio": Scale((1e-4, 1e-2), (1e-7, 1e-1)),
    "loss": Scale((-math.inf, 1.25), (-math.inf, 4.0)),
    "small batch": Scale((-math.inf, 0.05), (-math.inf, 0.5)),
}


@dataclass(frozen=True)
class Finding:
    """One judged quantity: its verdict, what it is in words, and where it is not good what to do about it."""

    quantity: str
    verdict: str
    words: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.quantity}: {self.verdict}, {self.words}" + (f": {self.advice}" if self.advice else "")


@dataclass(frozen=True, eq=False)
class LayerReport:
    """One layer: of its outputs (after the activation, without dropout) mean and variance over all rows and units, and their histogram
    `(counts, edges)`; share of dead units, None where the activation has none; norm of the weights' gradient and update ratio, None
    without targets."""

    name: str
    units: int
    mean: float
    variance: float
    histogram: tuple[np.ndarray, np.ndarray]
    dead: float | None
    gradient_norm: float | None
    update_ratio: float | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """The worst of the findings."""
        return _worst(self.findings)


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """What `diagnose` found; prints as a table, with a sentence for everything that is not good.

    `inputs` and `layers` (the last one gives the scores) are `LayerReport`s. `loss` and `expected_loss` are those of the net as it is,
    without dropout and decay; `overfit` holds the loss of the small batch before each update. All are None / empty without targets.
    `findings` are those that belong to no layer.
    """

    inputs: LayerReport
    layers: tuple[LayerReport, ...]
    rows: int
    loss: float | None
    expected_loss: float | None
    overfit: tuple[float, ...]
    findings: tuple[Finding, ...]

    @property
    def all_findings(self) -> tuple[tuple[str, Finding], ...]:
        """`(where, finding)` of everything that was judged."""
        found = [(layer.name, finding) for layer in (self.inputs, *self.layers) for finding in layer.findings]
        return (*found, *(("network", finding) for finding in self.findings))

    @property
    def verdict(self) -> str:
        """The worst of all findings: "good", "watch" or "bad"."""
        return _worst([finding for _, finding in self.all_findings])

    @property
    def passed(self) -> bool:
        """Whether nothing is bad."""
        return self.verdict != "bad"

    def __str__(self) -> str:
        rows = [("layer", "units", "mean", "variance", "dead", "gradient norm", "update ratio", "verdict")]
        for layer in (self.inputs, *self.layers):
            dead = "-" if layer.dead is None else f"{layer.dead:.1%}"
            norm, ratio = ("-" if value is None else f"{value:.1e}" for value in (layer.gradient_norm, layer.update_ratio))
            rows.append((layer.name, str(layer.units), f"{layer.mean:.3g}", f"{layer.variance:.3g}", dead, norm, ratio, layer.verdict))
        counts = [sum(finding.verdict == name for _, finding in self.all_findings) for name in VERDICTS]
        head = f"diagnosis: {self.verdict} ({', '.join(f'{count} {name}' for count, name in zip(counts, VERDICTS))}; {self.rows:,} rows)"
        network = "\n".join(map(str, self.findings))
        return "\n\n".join(filter(None, [head, text.aligned(rows, left=1), network, "\n".join(self._troubles())]))

    def _troubles(self) -> Iterator[str]:
        """A sentence for what is not good in the layers: of layers with the same trouble, the first one's numbers."""
        alike: dict[tuple[str, str, str], list[tuple[str, Finding]]] = {}
        for layer in (self.inputs, *self.layers):
            for finding in layer.findings:
                if finding.verdict != "good":
                    alike.setdefault((finding.quantity, finding.verdict, finding.advice), []).append((layer.name, finding))
        for (quantity, verdict, advice), members in alike.items():
            names = ", ".join(name for name, _ in members)
            yield f"{quantity}: {verdict} in {names} ({'first: ' if len(members) > 1 else ''}{members[0][1].words}): {advice}"

    def __repr__(self) -> str:
        bad = sum(finding.verdict == "bad" for _, finding in self.all_findings)
        return f"<Diagnosis: {self.verdict}, {len(self.layers)} layers, {bad} findings bad>"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Histograms of the activations through depth, and where targets were given gradient norms, update ratios and the loss of the
        small batch. Returns the matplotlib `Figure`, written to `path` where one is given; ImportError without the extra `plot`."""
        shown = (self.inputs, *self.layers)
        judged = self.loss is not None
        figure = plots.figure("Diagnosis.plot", max(7.0, 1.5 * len(shown)), 5.5 if judged else 2.8)
        parts = figure.subfigures(2 if judged else 1, 1, squeeze=False)[:, 0]
        for axes, layer in zip(parts[0].subplots(1, len(shown), squeeze=False)[0], shown):
            _histogram(axes, *layer.histogram)
            axes.set_title(f"{layer.name}\nvariance {layer.variance:.2g}", fontsize=8)
        if judged:
            self._plot_training(*parts[1].subplots(1, 3))
        return plots.finish(figure, path)

    def _plot_training(self, norms: Any, ratios: Any, batch: Any) -> None:
        names = [layer.name for layer in self.layers]
        for axes, title, values in ((norms, "gradient norm", [layer.gradient_norm for layer in self.layers]),
                                    (ratios, "update ratio", [layer.update_ratio for layer in self.layers])):
            known = [value if value is not None and 0 < value < math.inf else math.nan for value in values]
            axes.plot(names, known, "o")
            axes.set(title=title, yscale="log", ylim=(np.nanmin([*known, 1e-4]) / 2, np.nanmax([*known, 1.0]) * 2))
            axes.tick_params(axis="x", rotation=60, labelsize=7)
        ratios.axhspan(*SCALES["update ratio"].good, alpha=0.15)
        ratios.axhline(WANTED_RATIO, linestyle="--", linewidth=1)
        batch.plot(self.overfit)
        batch.set(title="small batch", xlabel="updates", ylabel="loss", yscale="log")


def diagnose(net: MLP, x: Any, y: Any = None, *, loss: str | losses.Loss | None = None, optimizer: str | optimizers.Optimizer = "adam",
             preprocessing: Scaler | None = None, rows: int = 1000, overfit_rows: int = 20, overfit_updates: int = 500, seed: int = 0,
             progress: bool = False) -> Diagnosis:
    """Judge `net` on at most `rows` rows of `x (n, i)`, drawn with `seed`; without `y` only what a forward pass shows.

    * Of every layer: mean and variance of the activations, share of dead units (the fewer the rows, the more units seem dead), norm of
      the gradient of the loss by the weights, and `norm(change) / norm(weight)` of the first update of a fresh `optimizer`, with
      dropout as in training. An optimizer that gathers momentum starts with its smallest steps, one that divides by a running
      root mean square (Adam) with steps of its learning rate whatever the gradient.
    * Once: the loss against what scores of zero give (`log(classes)` for softmax, `(classes - 1) * margin` for hinge), for L2 against
      the best constant, half the variance of the targets. A net that is trained lies below.
    * Once: whether `overfit_rows` rows can be learnt by heart within `overfit_updates` updates of `optimizer`, dropout and decay off.
      For targets that are probabilities their entropy is taken off first.

    `loss` is the net's unless given. `preprocessing` is what `fit` will be given; one that is not fitted is a setting, and the statistics
    of all rows of `x` are taken. `progress` shows the epochs of that training on stderr. The net is not changed. Raises the library's
    sentences for bad arguments; a net whose numbers overflow gets a verdict instead.
    """
    function = "diagnose"
    checked(function, net)
    if loss is None and net.loss is None:
        raise checks.fail(ValueError, function, "loss", "be given", "the loss the net is trained with", "None")
    objective = losses.get(net.loss if loss is None else loss, function)
    optimizer = optimizers.get(optimizer, function)
    rows = checks.integer(function, "rows", rows, 1, 2**53)
    overfit_rows = checks.integer(function, "overfit_rows", overfit_rows, 1, 2**53)
    overfit_updates = checks.integer(function, "overfit_updates", overfit_updates, 1, 2**53)
    seed = checks.integer(function, "seed", seed, 0, 2**64 - 1)
    x = arrays.rows(function, x, net.sizes[0], net.dtype)
    net = _preprocessed(net, preprocessing, x)
    drawn = np.random.default_rng(seed).permutation(len(x))[:rows]
    targets = None if y is None else losses.prepare_targets(objective, y, len(x), net.sizes[-1], net.dtype, function)
    x = x[drawn]
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = activations(net, x)
        if targets is None:
            layers = tuple(_layer(net, k, outputs[k + 1], None, None) for k in range(len(net.layers)))
            return Diagnosis(_inputs(outputs[0]), layers, len(x), None, None, (), ())
        # A loss may convert its targets to something else than it takes: training gets the caller's, calculations get these.
        y, targets = np.asarray(y)[drawn], targets[drawn]
        value, gradients = net.loss_and_gradients(x, y, loss=objective)
        norms = [float(np.linalg.norm(gradient.astype(np.float64))) for gradient in gradients[0::2]]
        ratios = _update_ratios(net, x, y, objective, optimizer)
        layers = tuple(_layer(net, k, outputs[k + 1], norms, ratios) for k in range(len(net.layers)))
        expected = _expected(objective, targets, net)
        curve, found = _overfit(net, x[:overfit_rows], y[:overfit_rows], targets[:overfit_rows], objective,
                                replace(optimizer, weight_decay=0.0, l1=0.0), overfit_updates, progress)
        return Diagnosis(_inputs(outputs[0]), layers, len(x), value, expected, curve,
                         (*_judged_loss(value, expected, objective, net), *found))


def activations(net: MLP, x: Any) -> list[np.ndarray]:
    """`[what the first layer is given, output of layer 1, ..., scores]`, each `(n, units)`, without dropout."""
    inputs = net._batch(arrays.inputs("diagnostics.activations", x, net.sizes[0], net.dtype))
    return [inputs, *(trace.active for trace in net._trace(inputs))]


def depth_nets(inputs: int, hidden: Sequence[int] = (256,) * 6) -> dict[str, MLP]:
    """The networks of the notes' argument, by activation and initialiser: equal but for these two."""
    inits: list[tuple[str, str | Normal]] = [("tanh", Normal(0.01)), ("tanh", Normal(1.0)), ("tanh", "glorot_normal"),
                                             ("relu", Normal(0.01)), ("relu", "glorot_normal"), ("relu", "he_normal")]  # fmt: skip
    return {f"{activation}, {init}": MLP((inputs, *hidden, 10), activation=activation, init=init) for activation, init in inits}


def depth_picture(x: Any, nets: Mapping[str, MLP] | None = None, path: str | os.PathLike[str] | None = None) -> Figure:
    """Histograms of the hidden activations of rows `x (n, i)`: a row of pictures a net, a column a layer, one range a net.

    The range leaves out the thousandth on either side of the layer that is spread widest, and numbers that are not finite.
    `nets` maps captions to networks, `depth_nets(i)` unless given. Returns the matplotlib `Figure`, written to `path` where one is given;
    ImportError without the extra `plot`.
    """
    function = "diagnostics.depth_picture"
    x = arrays.rows(function, x, None, np.float64)
    nets = depth_nets(x.shape[1]) if nets is None else nets
    if not isinstance(nets, Mapping) or not nets or not all(isinstance(net, MLP) and len(net.layers) > 1 for net in nets.values()):
        raise checks.fail(ValueError, function, "nets", "hold networks with hidden layers", "{caption: MLP, ...}", repr(nets))
    columns = max(len(net.layers) - 1 for net in nets.values())
    figure = plots.figure(function, 1.5 * columns + 1, 1.35 * len(nets) + 0.5)
    grid = figure.subplots(len(nets), columns, squeeze=False)
    for line, (caption, net) in zip(grid, nets.items()):
        with np.errstate(over="ignore", invalid="ignore"):
            hidden = activations(net, x)[1:-1]
            deviations = [float(values.std(dtype=np.float64)) for values in hidden]
        ends = _ends(hidden)
        for k, axes in enumerate(line):
            axes.axis("on" if k < len(hidden) else "off")
            if k < len(hidden):
                _histogram(axes, *np.histogram(hidden[k], BINS, ends))
                axes.set_title(f"layer {k + 1}, deviation {deviations[k]:.2g}", fontsize=7)
        line[0].set_ylabel(caption, fontsize=7)
    return plots.finish(figure, path)


def _preprocessed(net: MLP, scaler: Scaler | None, x: np.ndarray) -> MLP:
    """The net, or a copy with this preprocessing."""
    if scaler is None:
        return net
    if not isinstance(scaler, Scaler):
        raise checks.fail(TypeError, "diagnose", "preprocessing", "be a scaler", "Standardizer(), MinMaxScaler() or None", repr(scaler))
    scaler = scaler if scaler.fitted else scaler.fresh().fit(x)
    if scaler.shift is not None and len(scaler.shift) != net.sizes[0]:
        expected, got = f"statistics of {net.sizes[0]} features", f"of {len(scaler.shift)}"
        raise checks.fail(ValueError, "diagnose", "preprocessing", "fit the net's inputs", expected, got)
    copy = net.astype(net.dtype)
    copy.preprocessing = scaler
    return copy


def _worst(findings: Sequence[Finding]) -> str:
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="good")


def _judge(quantity: str, value: float, words: str, advice: str = "") -> Finding:
    verdict = SCALES[quantity].verdict(value)
    words += "" if math.isfinite(value) else ", not a finite number"
    return Finding(quantity, verdict, words, "" if verdict == "good" else advice)


def _histogram(axes: Any, counts: np.ndarray, edges: np.ndarray) -> None:
    axes.stairs(counts, edges, fill=True)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)


def _drawable(values: np.ndarray) -> np.ndarray:
    """The numbers whose differences do not overflow, in float64."""
    values = values.astype(np.float64)
    return values[np.abs(values) < 1e300]


def _ends(layers: Sequence[np.ndarray]) -> tuple[float, float]:
    quantiles = [np.quantile(finite, (0.001, 0.999)) for finite in map(_drawable, layers) if finite.size]
    return (float(min(low for low, _ in quantiles)), float(max(high for _, high in quantiles))) if quantiles else (0.0, 1.0)


def _summary(values: np.ndarray) -> tuple[int, float, float, tuple[np.ndarray, np.ndarray]]:
    """Units, mean, variance and histogram."""
    return (values.shape[1], float(values.mean(dtype=np.float64)), float(values.var(dtype=np.float64)),
            np.histogram(_drawable(values), BINS))


def _spread(variance: float, advice: str) -> Finding:
    words = f"a deviation of {math.sqrt(variance):.2g}" + (", hardly any signal" if variance < SCALES["variance"].good[0] else "")
    return _judge("variance", variance, words, advice)


def _inputs(x: np.ndarray) -> LayerReport:
    units, mean, variance, histogram = _summary(x)
    return LayerReport("inputs", units, mean, variance, histogram, None, None, None,
                       (_spread(variance, "give fit preprocessing=Standardizer()"),))


def _layer(net: MLP, k: int, y: np.ndarray, norms: Sequence[float] | None, ratios: Sequence[float] | None) -> LayerReport:
    layer, last = net.layers[k], k == len(net.layers) - 1
    units, mean, variance, histogram = _summary(y)
    dead = _dead(layer.activation, y)
    norm, ratio = (None if values is None else values[k] for values in (norms, ratios))
    findings = [] if last and math.isfinite(variance) else [_spread(variance, "look at the initial weights (he_normal for ReLU, "
                                                                    "glorot_normal for tanh) and the scale of the inputs")]
    if dead is not None:
        findings.append(_judged_dead(layer.activation, dead))
    if units > 1 and (layer.weight == layer.weight[:, :1]).all() and (layer.bias == layer.bias[0]).all():
        findings.append(Finding("symmetry", "bad", "all units have the same weights and stay alike", "draw them at random"))
    if norms is not None and norm is not None:
        findings.append(_judged_norm(norm, max(norms)))
    if ratio is not None and norm != 0.0:
        findings.append(_judged_ratio(ratio))
    return LayerReport(f"{k + 1} {'scores' if last else layer.activation}", units, mean, variance, histogram, dead, norm, ratio,
                       tuple(findings))


def _dead(activation: str, y: np.ndarray) -> float | None:
    if activation == "relu":
        return float(np.mean(~(y != 0).any(axis=0)))
    if activation not in _STEEPEST:
        return None
    slope = 1.0 - np.square(y, dtype=np.float64) if activation == "tanh" else y * (1.0 - y.astype(np.float64))
    return float(np.mean(np.mean(slope < _FLAT * _STEEPEST[activation], axis=0) > 0.5))


def _judged_dead(activation: str, dead: float) -> Finding:
    fault, advice = (("zero for every row", "a lower learning rate, or initial weights by he_normal") if activation == "relu" else
                     ("saturated for most rows", "smaller initial weights (glorot_normal), or standardised inputs"))
    return _judge("dead units", dead, f"{dead:.1%} of the units are {fault}", advice)


def _judged_norm(norm: float, largest: float) -> Finding:
    if largest == 0.0:
        return Finding("gradient norm", "bad", "zero in every layer", "nothing can be learnt: look at the initial weights and the loss")
    share = norm / largest if math.isfinite(largest) else math.nan
    return _judge("gradient norm", share, f"{share:.1e} of the largest layer's", "learning hardly gets here; look at the initial weights")


def _judged_ratio(ratio: float) -> Finding:
    advice = "raise the learning rate" if ratio < WANTED_RATIO else "lower the learning rate, or warm it up"
    return _judge("update ratio", ratio, f"an update is {ratio:.1e} of the weights by norm, about {WANTED_RATIO:g} is wanted", advice)


def _update_ratios(net: MLP, x: np.ndarray, y: np.ndarray, loss: Any, optimizer: optimizers.Optimizer) -> list[float]:
    """`norm(change) / norm(weight)` of every layer, in float64; NaN where there is no update because it would not be finite."""
    copy = net.astype(net.dtype)
    try:
        Trainer(copy, loss, optimizer).step(x, y)
    except FloatingPointError:
        return [math.nan] * len(net.layers)
    return list(_ratios(net, copy))


def _ratios(net: MLP, updated: MLP) -> Iterator[float]:
    for before, after in zip(net.layers, updated.layers):
        weight = before.weight.astype(np.float64)
        change, size = float(np.linalg.norm(after.weight - weight)), float(np.linalg.norm(weight))
        yield change / size if size > 0 else math.inf if change > 0 else 0.0


def _expected(loss: Any, y: np.ndarray, net: MLP) -> float:
    if isinstance(loss, losses.L2):
        return 0.5 * float(y.var(axis=0, dtype=np.float64).sum())
    return losses.value_and_gradient(loss, np.zeros((len(y), net.sizes[-1]), net.dtype), y, None, "diagnose")[0]


def _judged_loss(value: float, expected: float, loss: Any, net: MLP) -> list[Finding]:
    """One finding; none where no loss is expected, because any constant fits the targets."""
    if expected <= 0.0:
        return []
    reference = {"softmax_cross_entropy": f"log({net.sizes[-1]})", "l2": "half the variance of the targets"}.get(
        str(losses.kernel(loss)), "scores of zero")
    words = f"{value:.4g} against {expected:.4g} ({reference})"
    if value < 0.75 * expected:
        words += ", so these weights have learnt already"
    square = isinstance(loss, losses.L2)
    advice = "centre and scale the targets" if square else "standardise the inputs, or draw smaller weights for the last layer"
    return [_judge("loss", (value / expected) ** (0.5 if square else 1.0), words, f"the scores are large for a start; {advice}")]


def _overfit(net: MLP, x: np.ndarray, y: np.ndarray, targets: np.ndarray, loss: Any, optimizer: optimizers.Optimizer, updates: int,
             progress: bool) -> tuple[tuple[float, ...], list[Finding]]:
    """The losses of a copy that is trained on these rows alone, and the verdict."""
    expected, floor = _expected(loss, targets, net), 0.0
    if isinstance(loss, losses.SoftmaxCrossEntropy) and targets.ndim == 2:
        floor = float(-np.sum(np.where(targets > 0, targets * np.log(np.where(targets > 0, targets, 1.0)), 0.0)) / len(targets))
    scale = expected - floor
    if scale <= 0.0:
        return (), []
    copy = MLP.from_parameters(net.parameters(), **{**net.config(), "keep_prob": 1.0})
    copy.preprocessing = net.preprocessing
    trainer = Trainer(copy, loss, optimizer)
    goal = floor + SCALES["small batch"].good[1] * scale
    try:
        trainer.fit(x, y, epochs=updates, batch_size=len(x), shuffle=False, progress=progress,
                    callbacks=[lambda trainer, record: record["loss"] <= goal])
    except FloatingPointError as error:
        return tuple(trainer.history["loss"]), [Finding("small batch", "bad", f"training on {len(x)} rows alone diverged", str(error))]
    curve = tuple(trainer.history["loss"])
    words = f"{len(x)} rows alone: loss {curve[0]:.4g}, {curve[-1]:.4g} after {len(curve) - 1} updates"
    advice = (f"they should be learnt by heart; look at the learning rate ({optimizer.learning_rate:g}), the size of the net, "
              "equal rows with two labels")
    return curve, [_judge("small batch", (curve[-1] - floor) / scale, words, advice)]
