"""Ensembles: several networks whose predictions are averaged, which nearly always predict better than one of them (CS231n notes, "Model
ensembles"; Hansen and Salamon 1990).

The notes name four ways to come by members: different initialisations (`Ensemble.from_seeds`), the top models of a search
(`Ensemble.from_search`), checkpoints of one run (`Ensemble.from_checkpoints`), and a running average of the weights, which makes one
network of many (`fit(..., average=EMA())`, and every other way can be given averaged members).
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checkpoint, checks, io, losses, plots, text
from .averaging import EMA
from .history import History, improves
from .interrupts import Held
from .many import fit_many
from .model import MLP
from .preprocessing import Scaler
from .trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "fastnn-ensemble"
VERSION = 1
_ROTATIONS = 10  # orders of the members that the curve of a report is the mean of


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `Ensemble.from_seeds`; `ensemble` has the members as the last complete epoch left them, None before the first."""

    def __init__(self, sentence: str, ensemble: Ensemble | None) -> None:
        super().__init__(sentence)
        self.ensemble = ensemble


class Ensemble:
    """`members` are nets with the same inputs, outputs, dtype and loss; hidden layers, preprocessing and all else are their own.

    They are kept, not copied. What is averaged hangs on the loss: after softmax the probabilities, otherwise the scores, which are the
    predictions themselves for L2; hinge scores have a common scale by their margin.

    Attributes: `members`, a tuple; `histories`, the `History` of each where `from_seeds` trained them, else empty.
    """

    def __init__(self, members: Iterable[MLP]) -> None:
        self.members = _alike("Ensemble", members)
        self.histories: tuple[History, ...] = ()

    @classmethod
    def from_seeds(cls, network: Sequence[int] | Callable[[int], MLP | Trainer], x: Any, y: Any, *, members: int = 5,
                   seeds: Sequence[int] | None = None, loss: str | losses.Loss = "softmax_cross_entropy", optimizer: Any = "adam",
                   schedule: Any = None, average: EMA | None = None, preprocessing: Scaler | None = None,
                   callbacks: Sequence[Callable[[list[Trainer]], Any]] = (), **training: Any) -> Ensemble:
        """Train one network from each of `seeds` (default: 0 to `members - 1`), all at the same time, by `fit_many`.

        `network` is the sizes of a net, or a function that makes one of a seed: `lambda seed: MLP((784, 256, 10), keep_prob=0.5,
        seed=seed)`. It may return a prepared `Trainer`, which brings its own loss, optimizer, schedule, average and preprocessing. The
        seed fixes weights, dropout and the order of the samples, so that members differ in all of these. With `average` each member is
        the running average of its weights. `loss`, `optimizer`, `schedule`, `average` and `preprocessing` are those of `Trainer`, one for
        all; the other arguments are those of `fit_many`, of which `rows` gives every member rows of its own (bagging, Breiman 1996).

        A member that diverges is left out with a RuntimeWarning, and FloatingPointError is raised where no other is left. Ctrl-C raises
        `fastnn.ensemble.Interrupted`, a KeyboardInterrupt, whose `ensemble` has the members as the last complete epoch left them.
        """
        function = "Ensemble.from_seeds"
        trainers = []
        for seed in _seeds(function, members, seeds):
            made = network(seed) if callable(network) else MLP(network, seed=seed)
            if not isinstance(made, (MLP, Trainer)):
                raise checks.fail(TypeError, function, "network", "make networks", "MLP or Trainer", type(made).__name__)
            trainers.append(made if isinstance(made, Trainer) else Trainer(
                made, loss, optimizer, schedule, average=average, preprocessing=preprocessing))
        kept = _Kept()
        try:
            fit_many(trainers, x, y, callbacks=[kept, *callbacks], **training)
        except KeyboardInterrupt as stop:
            if not kept.networks:
                raise Interrupted(str(stop) or "interrupted before the first epoch was complete", None) from None
            sentence = str(stop) or f"interrupted after epoch {kept.epoch}, whose members are the exception's 'ensemble'"
            raise Interrupted(sentence, cls._of(kept.networks, kept.histories)) from None
        return cls._of([_result(trainer) for trainer in trainers], [trainer.history for trainer in trainers])

    @classmethod
    def from_search(cls, result: Any, k: int = 5) -> Ensemble:
        """The `k` best networks of a finished search, `result.networks(k)`, fewer where fewer trials have a score.

        Models of a search may differ in more than their seed, which lets them err in different places. ValueError where no trial has a
        score, or where the networks differ in dtype or loss.
        """
        function = "Ensemble.from_search"
        k = checks.integer(function, "k", k, 1, 2**31 - 1)
        if not callable(getattr(result, "networks", None)):
            raise checks.fail(TypeError, function, "result", "be of a search", "a SearchResult", type(result).__name__)
        return cls(_alike(function, result.networks(k)))

    @classmethod
    def from_checkpoints(cls, sources: Iterable[MLP | str | os.PathLike[str]]) -> Ensemble:
        """The nets of `sources`: a `Snapshots` that was a callback of a run, or files (those of `Trainer.save`, `MLP.save` and of
        `Snapshots(folder=...)`) and nets.

        Checkpoints of one run make an ensemble without more training than one net takes; its members are alike, so that it gains less.
        ValueError that names the file for one that is damaged or whose net has other inputs, outputs or loss than the first; no file is
        ever changed.
        """
        function = "Ensemble.from_checkpoints"
        if isinstance(sources, (str, bytes, os.PathLike)) or not isinstance(sources, Iterable):
            raise checks.fail(TypeError, function, "sources", "be several", "paths, nets or Snapshots", repr(sources))
        given = list(sources)
        for source in given:
            if not isinstance(source, (MLP, str, os.PathLike)):
                raise checks.fail(TypeError, function, "sources", "be several", "paths, nets or Snapshots", repr(source))
        names = [f"member {k}" if isinstance(source, MLP) else repr(os.fspath(source)) for k, source in enumerate(given)]
        return cls(_alike(function, [source if isinstance(source, MLP) else _network(function, source) for source in given], names))

    @classmethod
    def _of(cls, networks: Sequence[MLP], histories: Sequence[History]) -> Ensemble:
        sound = [k for k, history in enumerate(histories) if history.stopped != "diverged"]
        if not sound:
            raise FloatingPointError("fastnn.Ensemble.from_seeds: every member diverged; lower the learning rate, or scale the inputs")
        if len(sound) < len(networks):
            lost = ", ".join(str(k) for k in range(len(networks)) if k not in sound)
            warnings.warn(f"fastnn.Ensemble.from_seeds: members that diverged are left out: {lost}", RuntimeWarning, stacklevel=3)
        result = cls(networks[k] for k in sound)
        result.histories = tuple(histories[k] for k in sound)
        return result

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self)}: {', '.join(sorted({'-'.join(map(str, net.sizes)) for net in self.members}))}>"

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[MLP]:
        return iter(self.members)

    @property
    def loss(self) -> Any:
        """The members' loss."""
        return self.members[0].loss

    @property
    def sizes(self) -> tuple[int, int]:
        """Inputs and outputs."""
        return self.members[0].sizes[0], self.members[0].sizes[-1]

    @property
    def dtype(self) -> np.dtype:
        """That of the members and of what `forward` returns."""
        return self.members[0].dtype

    def forward(self, x: Any) -> np.ndarray:
        """Scores `(n, o)` from which the loss reads the averaged prediction, `x` being as for the members.

        After softmax the logarithm of the mean probability, whose softmax that mean is again; otherwise the mean of the scores. Worked
        out in float64 and rounded to the members' dtype.
        """
        pool = _Pool(self.loss)
        for net in self.members:
            pool.add(net.forward(x))
        return pool.scores().astype(self.dtype)

    def predict(self, x: Any) -> np.ndarray:
        """What the loss reads from `forward`: the class of the highest mean probability (mean score) int64 `(n,)`, or the mean
        prediction `(n, o)`."""
        if self.loss is None:
            raise checks.fail(ValueError, "Ensemble.predict", "self.loss", "be set", "the loss the nets were trained with", "None")
        return self.loss.predict(self.forward(x))

    def predict_proba(self, x: Any) -> np.ndarray:
        """The mean of the members' probabilities, `(n, o)`; ValueError unless the loss gives probabilities."""
        if not hasattr(self.loss, "probabilities"):
            expected = "SoftmaxCrossEntropy()"
            raise checks.fail(ValueError, "Ensemble.predict_proba", "self.loss", "give probabilities", expected, repr(self.loss))
        total = np.zeros(())
        for net in self.members:
            total = total + net.predict_proba(x).astype(np.float64)
        return (total / len(self)).astype(self.dtype)

    def summary(self) -> str:
        """A table of the members with their parameter counts."""
        counts = [sum(array.size for array in net.parameters()) for net in self.members]
        rows = [("member", "sizes", "activation", "parameters")]
        rows += [(str(k), "-".join(map(str, net.sizes)), net.activation, f"{count:,}") for k, (net, count)
                 in enumerate(zip(self.members, counts), 1)]
        rows.append(("total", "", self.dtype.name, f"{sum(counts):,}"))
        return text.aligned(rows)

    def report(self, x: Any, y: Any) -> EnsembleReport:
        """What averaging gains on rows `x` that no member was trained on, with targets `y` as the loss takes them."""
        function, loss = "Ensemble.report", self.loss
        losses.get(loss, function)
        scores = [net.forward(x).astype(np.float64) for net in self.members]
        rows = len(scores[0])
        if rows == 0:
            raise checks.fail(ValueError, function, "x", "have at least one row", f"shape (n, {self.sizes[0]})", "no rows")
        y = losses.prepare_targets(loss, y, rows, self.sizes[1], np.float64, function)
        metric = losses.metric(loss)

        def reached(scores: np.ndarray) -> dict[str, float]:
            found = {"loss": losses.value_and_gradient(loss, scores, y, None, function)[0]}
            return found if metric is None else {**found, metric.name: float(loss.metric(scores, y))}

        judged = "loss" if metric is None else metric.name
        starts = {len(self) * turn // _ROTATIONS for turn in range(_ROTATIONS)}
        sums = np.zeros(len(self))
        for start in starts:
            pool = _Pool(loss)
            for k in range(len(self)):
                pool.add(scores[(start + k) % len(self)])
                sums[k] += reached(pool.scores())[judged]
        together = pool.scores()
        predictions = [loss.predict(each) for each in scores]
        classes = predictions[0].ndim == 1 and predictions[0].dtype.kind in "iu"
        pairs = list(combinations(predictions, 2))
        return EnsembleReport(
            rows, tuple(reached(each) for each in scores), reached(together), judged, tuple((sums / len(starts)).tolist()),
            float(np.mean([np.mean(a != b) for a, b in pairs])) if classes and pairs else 0.0 if classes else None,
            float(np.mean([0.5 * np.square(each - together).sum(axis=1).mean() for each in scores]))
            if losses.kernel(loss) == "l2" else None,
        )

    def save(self, path: str | os.PathLike[str], metadata: dict[str, Any] | None = None) -> None:
        """Write all members and JSON-able `metadata` to one `.npz` or `.safetensors` file, atomically, like `fastnn.save`.

        Histories are not saved, nor a loss of the user's own, which is None in the loaded ensemble.
        """
        header = {"format": FORMAT, "version": VERSION, "members": [io.describe(net) for net in self.members], "metadata": metadata or {}}
        arrays = {_name(k, name): array for k, net in enumerate(self.members)
                  for name, array in zip(io.names(len(net.layers)), net.parameters())}  # fmt: skip
        io.write("Ensemble.save", path, header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ensemble:
        """The ensemble of a file that `save` wrote; `fastnn.ensemble.load` returns its metadata too."""
        return load(path)[0]


def load(path: str | os.PathLike[str]) -> tuple[Ensemble, dict[str, Any]]:
    """`(ensemble, metadata)` of a file that `Ensemble.save` wrote.

    FileNotFoundError for a missing file, ValueError with one sentence for anything that is not a complete file of this format.
    """
    with io.reading("Ensemble.load", path, FORMAT, VERSION) as (header, array):
        if not isinstance(header["metadata"], dict):
            raise ValueError("its metadata is not a JSON object")
        return Ensemble([io.build(each, _member(array, k)) for k, each in enumerate(header["members"])]), header["metadata"]
    raise AssertionError("refusing hides no exception")


def load_any(path: str | os.PathLike[str]) -> tuple[MLP | Ensemble, dict[str, Any]]:
    """`(network or ensemble, metadata)` of a file that `fastnn.save` or `Ensemble.save` wrote."""
    return load(path) if io.format_of(path) == FORMAT else io.load(path)


@dataclass(frozen=True)
class EnsembleReport:
    """What an ensemble gains over its members on `rows` rows; `str` is a table.

    `members` and `ensemble` are dicts of the loss and the loss's metric, like those of `Trainer.evaluate`. `judged` names the metric, or
    `"loss"` where there is none, and `curve[m - 1]` is its value for ensembles of `m` members, the mean over up to ten orders that begin
    with different members. `disagreement` is the share of rows that two members put into different classes, the mean over all pairs;
    None unless members predict classes. `ambiguity` is, for L2, the mean over members and rows of `0.5 * sum((prediction - mean
    prediction)**2)`: what the ensemble's loss lies below its members' mean loss, exactly (Krogh and Vedelsby 1995); else None.
    """

    rows: int
    members: tuple[dict[str, float], ...]
    ensemble: dict[str, float]
    judged: str
    curve: tuple[float, ...]
    disagreement: float | None
    ambiguity: float | None

    @property
    def mean_member(self) -> dict[str, float]:
        """The mean of each quantity over the members."""
        return {name: float(np.mean([member[name] for member in self.members])) for name in self.ensemble}

    @property
    def best_member(self) -> dict[str, float]:
        """The member that is best by `judged` on these rows, which nobody knows beforehand."""
        best = self.members[0]
        for member in self.members[1:]:
            if improves(self.judged, member[self.judged], best[self.judged]):
                best = member
        return best

    @property
    def gain(self) -> dict[str, float]:
        """By how much the ensemble is better than the mean member; negative where it is worse."""
        return self._better_than(self.mean_member)

    @property
    def gain_over_best(self) -> dict[str, float]:
        """By how much the ensemble is better than the best member."""
        return self._better_than(self.best_member)

    def _better_than(self, other: dict[str, float]) -> dict[str, float]:
        return {name: value - other[name] if name.endswith("accuracy") else other[name] - value for name, value in self.ensemble.items()}

    def __str__(self) -> str:
        names = list(self.ensemble)
        lines = [["", *(f"{name}, %" if name.endswith("accuracy") else name for name in names)]]
        lines += [[f"member {k}", *(_cell(name, member[name]) for name in names)] for k, member in enumerate(self.members, 1)]
        lines += [[what, *(_cell(name, values[name]) for name in names)] for what, values in
                  (("mean member", self.mean_member), ("best member", self.best_member), ("ensemble", self.ensemble))]  # fmt: skip
        lines += [[what, *(_cell(name, values[name], "+") for name in names)] for what, values in
                  (("gain over the mean member", self.gain), ("gain over the best member", self.gain_over_best))]  # fmt: skip
        table = text.aligned(lines, left=1)
        if self.disagreement is not None:
            table += f"\ntwo members disagree on {self.disagreement:.2%} of {self.rows:,} rows"
        if self.ambiguity is not None:
            table += f"\nambiguity {self.ambiguity:.4g}: the members' mean loss less the ensemble's, on {self.rows:,} rows"
        return table

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """A picture of `curve` against the number of members, with every member as a dot (extra `plot`); also written to `path`."""
        figure = plots.figure("EnsembleReport.plot")
        axes = figure.add_subplot()
        counts = range(1, len(self.curve) + 1)
        axes.plot(counts, self.curve, marker="o", label="averaged predictions")
        axes.scatter([1] * len(self.members), [member[self.judged] for member in self.members], color="gray", alpha=0.6, zorder=3,
                     label="one member")
        axes.set_xlabel("members")
        axes.set_ylabel(f"{self.judged} on {self.rows:,} rows")
        axes.set_xticks(counts if len(counts) <= 20 else counts[::len(counts) // 10])
        axes.grid(alpha=0.3)
        axes.legend()
        return plots.finish(figure, path)


class _Pool:
    """The averaged prediction of the scores that were added, in float64."""

    def __init__(self, loss: Any) -> None:
        self._probabilities = losses.kernel(loss) == "softmax_cross_entropy"
        self._total: np.ndarray | None = None
        self._count = 0

    def add(self, scores: np.ndarray) -> None:
        scores = scores.astype(np.float64)
        with np.errstate(invalid="ignore"):
            if self._probabilities:
                scores -= scores.max(axis=1, keepdims=True)
                scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
            if self._total is not None:
                scores = np.logaddexp(self._total, scores) if self._probabilities else self._total + scores
        self._total = scores
        self._count += 1

    def scores(self) -> np.ndarray:
        """The logarithm of the mean probabilities, or the mean scores."""
        assert self._total is not None
        return self._total - math.log(self._count) if self._probabilities else self._total / self._count


class _Kept:
    """Keeps what every member would be if the epoch that was just completed were the last."""

    def __init__(self) -> None:
        self.epoch = 0
        self.networks: list[MLP] = []
        self.histories: list[History] = []

    def __call__(self, trainers: list[Trainer]) -> None:
        networks = [_result(trainer, copied=True) for trainer in trainers]
        histories = [History(list(trainer.history.records), trainer.history.stopped) for trainer in trainers]
        with Held():
            self.epoch, self.networks, self.histories = max(map(len, histories)), networks, histories


def _result(trainer: Trainer, copied: bool = False) -> MLP:
    if trainer.average is not None:
        return trainer.averaged()
    return trainer.net.astype(trainer.net.dtype) if copied else trainer.net


def _seeds(function: str, members: int, seeds: Sequence[int] | None) -> list[int]:
    if seeds is None:
        return list(range(checks.integer(function, "members", members, 1, 2**20)))
    if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Iterable):
        raise checks.fail(TypeError, function, "seeds", "be a sequence of integers", "seeds=(3, 5, 8), say", repr(seeds))
    found = [checks.integer(function, "seeds", seed, 0, 2**64 - 1) for seed in seeds]
    if not found or len(set(found)) < len(found):
        raise checks.fail(ValueError, function, "seeds", "differ", "at least one seed, none of them twice", repr(found))
    return found


def _alike(function: str, members: Iterable[MLP], names: Sequence[str] = ()) -> tuple[MLP, ...]:
    """`members` as a tuple that can be averaged; else the sentence for the first that does not fit the first, by its name."""
    if not isinstance(members, Iterable):
        raise checks.fail(TypeError, function, "members", "be networks", "a list of at least one MLP", type(members).__name__)
    found = tuple(members)
    for k, net in enumerate(found):
        if not isinstance(net, MLP):
            raise checks.fail(TypeError, function, "members", "be networks", "MLP", type(net).__name__)
        expected, got = _kind(found[0]), _kind(net)
        if got != expected:
            name = names[k] if names else f"member {k}"
            raise checks.fail(ValueError, function, "members", "have the same inputs, outputs, dtype and loss", expected, f"{name}: {got}")
    if not found:
        raise checks.fail(ValueError, function, "members", "be networks", "at least one MLP", "none")
    return found


def _kind(net: MLP) -> str:
    loss = repr(net.loss) if net.loss is None or losses.kernel(net.loss) else type(net.loss).__name__
    return f"{net.sizes[0]} -> {net.sizes[-1]} {net.dtype}, {loss}"


def _network(function: str, path: str | os.PathLike[str]) -> MLP:
    """The net of a checkpoint or of a saved net."""
    known = (checkpoint.FORMAT, checkpoint.VERSION) if io.format_of(path) == checkpoint.FORMAT else (io.FORMAT, io.VERSION)
    with io.reading(function, path, *known) as (header, array):
        return io.build(header, array)
    raise AssertionError("refusing hides no exception")


def _name(member: int, name: str) -> str:
    return f"members.{member}.{name}"


def _member(array: io.Reader, member: int) -> io.Reader:
    return lambda name, shape, dtype: array(_name(member, name), shape, dtype)


def _cell(name: str, value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f}" if name.endswith("accuracy") else f"{value:{sign}.4f}"
