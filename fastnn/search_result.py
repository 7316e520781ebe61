"""What a search found: its trials in order of their score, the best networks, what lies on a border, and pictures of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from . import checks, plots, space, text
from .history import improves
from .model import MLP
from .space import Range, Side, Space
from .trials import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class BorderWarning(UserWarning):
    """The best value of a hyperparameter lies near the border of the range that was searched: better ones may lie beyond."""


class Border(NamedTuple):
    """The best `value` of `parameter` is near that `side` of `searched`; `wider` is the range to search."""

    parameter: str
    value: float
    side: Side
    searched: Range
    wider: Range

    def __str__(self) -> str:
        end = {"low": "lower", "high": "upper"}[self.side]
        return f"the best {self.parameter}, {self.value:.4g}, is near the {end} border of {self.searched}: search {self.wider}"


@dataclass
class SearchResult:
    """The trials of a search, filled while it runs; `str(result)` is the table of the best ones.

    `space` are the ranges that were searched, those that `extend` made wider as they are now. `monitor` is what trials are compared by,
    such as `"val_accuracy"`: accuracies are to rise, all else is to fall. `stages` counts the stages that were begun.
    """

    space: Space
    trials: list[Trial]
    trainer: Callable[[list[Trial]], list[MLP]]  # trains networks of trials anew
    monitor: str
    stages: int = 0
    kept: dict[int, MLP] = field(default_factory=dict)  # networks by the index of their trial

    @property
    def best(self) -> Trial:
        """The trial with the best score; ValueError where none has one."""
        return self.top(1)[0]

    def top(self, k: int) -> list[Trial]:
        """The best `k` trials, best first (the lower loss first of equal scores), or as many as there are.

        Of trials that continue one another, which are states of one network, only the best one is there. ValueError where no trial has a
        score.
        """
        k = checks.integer("SearchResult.top", "k", k, 1, 2**53)
        states: dict[int, Trial] = {}
        for trial in sorted((trial for trial in self.trials if not trial.exploded), key=self._place):
            states.setdefault(self._origin(trial), trial)
        ranked = list(states.values())
        if not ranked:
            got = f"{len(self.trials)} trials, {sum(trial.exploded for trial in self.trials)} of which exploded"
            raise checks.fail(ValueError, "SearchResult.top", "self", "have a trial with a score", "at least one", got)
        return ranked[:k]

    @property
    def exploded(self) -> list[Trial]:
        """The trials that exploded; each knows the `reason`."""
        return [trial for trial in self.trials if trial.exploded]

    @property
    def borders(self) -> list[Border]:
        """The best values that are near a border which is not one of nature."""
        best = self.best.parameters
        return [Border(name, best[name], side, dimension, dimension.wider(side))
                for name, side in space.borders(self.space, best).items() if isinstance(dimension := self.space[name], Range)]

    def networks(self, k: int = 1) -> list[MLP]:
        """The trained networks of `top(k)`, best first: for ensembles, and `networks()[0]` for use.

        With a validation set they are those that were scored, trained on the training rows; with folds, networks of the same parameters
        trained on all rows (without the first fold where their schedule watches it). What was not kept (`keep_networks`, a search that
        was resumed) is trained now, which gives the same bits.
        """
        wanted = self.top(k)
        missing = [trial for trial in wanted if trial.index not in self.kept]
        if missing:
            self.kept.update(zip((trial.index for trial in missing), self.trainer(missing)))
        return [self.kept[trial.index] for trial in wanted]

    def table(self, k: int = 10) -> None:
        """Print the best `k` trials."""
        print(self._table(k))

    def __str__(self) -> str:
        return self._table(10)

    def __repr__(self) -> str:
        return f"<SearchResult of {len(self.trials)} trials of {', '.join(self.space)}>"

    @property
    def _rising(self) -> bool:
        return improves(self.monitor, 1.0, 0.0)

    def _origin(self, trial: Trial) -> int:
        """The trial that it was at first."""
        while trial.continues is not None:
            trial = self.trials[trial.continues]
        return trial.index

    def _place(self, trial: Trial) -> tuple[float, float, int]:
        score, loss = trial.score or 0.0, trial.loss or 0.0  # numbers of every trial that did not explode
        return (-score if self._rising else score), loss, trial.index

    def _table(self, k: int) -> str:
        names = list(self.space)
        loss = [] if self.monitor == "val_loss" else ["val_loss"]
        rows = [["trial", "stage", "epochs", self.monitor, *loss, *names]]
        best = self.top(k) if len(self.exploded) < len(self.trials) else []
        for trial in best:
            measured = [f"{trial.score:.4f}", f"{trial.loss:.4f}"][: 1 + len(loss)]
            rows.append([str(trial.index), str(trial.stage + 1), f"{trial.epochs:g}", *measured,
                         *(_cell(trial.parameters[name]) for name in names)])
        count, exploded = len(self.trials), len(self.exploded)
        stages = "one stage" if self.stages == 1 else f"{self.stages} stages"
        return f"{text.aligned(rows)}\n{count} trials in {stages}, {exploded} of which exploded"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """A picture with a panel a hyperparameter: its values (on its own scale) against the score, coloured by stage; returned, and
        written to `path`. A star is the best trial, crosses below are those that exploded, lines the borders of the ranges."""
        names = list(self.space)
        columns = 2 if len(names) == 4 else min(3, len(names))
        lines = -(-len(names) // columns)
        figure = plots.figure("SearchResult.plot", 3.4 * columns, 2.9 * lines + 0.4)
        axes = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        best = self.best
        for axis, name in zip(axes, names):
            self._panel(axis, name, best)
        for axis in axes[len(names):]:
            axis.set_axis_off()
        for axis in axes[::columns]:
            axis.set_ylabel(self.monitor)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
        return plots.finish(figure, path)

    def _panel(self, axis: Any, name: str, best: Trial) -> None:
        dimension = self.space[name]
        place = _axis_place(axis, name, self)
        for stage in range(self.stages):
            own = [trial for trial in self.trials if trial.stage == stage and not trial.exploded]
            axis.scatter([place(trial) for trial in own], [trial.score for trial in own], s=16, alpha=0.8, color=f"C{stage}",
                         label=f"stage {stage + 1}")
        scores = [trial.score for trial in self.trials if trial.score is not None]
        worst = min(scores) if self._rising else max(scores)
        if self.exploded:
            axis.scatter([place(trial) for trial in self.exploded], [worst] * len(self.exploded), marker="x", s=22, color="0.5",
                         label="exploded")
        axis.scatter([place(best)], [best.score], marker="*", s=130, color="k", zorder=3, label="best")
        if isinstance(dimension, Range):
            for end in (dimension.low, dimension.high):
                axis.axvline(end, color="0.8", linewidth=0.8, zorder=0)


def plot_search_projections(grid: SearchResult, random: SearchResult, parameters: tuple[str, str],
                            path: str | os.PathLike[str] | None = None) -> Figure:
    """Why random trials are better than a grid of as many (Bergstra and Bengio 2012): two searches over the same two `parameters`, the
    first of which matters more.

    Above, where the trials lie; the ticks on the upper edge are their projections on the first parameter, of which a grid tries few values
    and random trials as many as there are trials. Below, these values against the score.
    """
    function = "plot_search_projections"
    for name in parameters:
        for result in (grid, random):
            if name not in result.space:
                expected = f"of {', '.join(result.space)}"
                raise checks.fail(ValueError, function, "parameters", "name parameters of both searches", expected, repr(name))
    first, second = parameters
    figure = plots.figure(function, 7.5, 6.0)
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for (above, below), (name, result) in zip(axes.T, (("grid", grid), ("random", random))):
        x, y = _axis_place(above, first, result), _axis_place(above, second, result, "y")
        _axis_place(below, first, result)
        own = [trial for trial in result.trials if not trial.exploded]
        points = [x(trial) for trial in result.trials]
        above.scatter(points, [y(trial) for trial in result.trials], s=24, color="C0" if name == "grid" else "C1")
        above.plot(points, [1.0] * len(points), "|", color="k", markersize=14, transform=above.get_xaxis_transform(), clip_on=False)
        above.set_title(f"{name}: {len(points)} trials,\n{len(set(points))} values of {first}", fontsize="medium", pad=12)
        above.set_xlabel("")
        below.scatter([x(trial) for trial in own], [trial.score for trial in own], s=24, color="C0" if name == "grid" else "C1")
    axes[0, 1].set_ylabel("")
    axes[1, 0].set_ylabel(grid.monitor)
    return plots.finish(figure, path)


def _axis_place(axis: Any, name: str, result: SearchResult, which: str = "x") -> Callable[[Trial], Any]:
    """Label and scale an axis for a parameter; returns where a trial lies on it."""
    dimension = result.space[name]
    getattr(axis, f"set_{which}label")(name)
    if isinstance(dimension, Range):
        if dimension.log:
            getattr(axis, f"set_{which}scale")("log")
            if dimension.high < 100 * dimension.low:  # matplotlib's own labels, powers of ten and their multiples, would overlap
                ticks = dimension.grid(5)
                getattr(axis, f"set_{which}ticks")(ticks, list(map(_cell, ticks)))
                getattr(axis, f"set_{which}ticks")([], minor=True)
        return lambda trial: trial.parameters[name]
    options = [repr(option) for option in dimension.options]
    getattr(axis, f"set_{which}ticks")(range(len(options)), [_cell(option) for option in dimension.options])
    return lambda trial: options.index(repr(trial.parameters[name]))


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(_cell, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
