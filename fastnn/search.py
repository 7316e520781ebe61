"""Search for hyperparameters: random trials in stages from coarse to fine (CS231n notes, "Hyperparameter optimization"), and a grid to
compare them with.

Random trials beat a grid of as many where few of the parameters matter: every trial tries a new value of each of them (Bergstra and
Bengio 2012). A first stage tries wide ranges for an epoch or less, which tells what explodes and what does not learn at all; later
stages train longer, in narrower ranges around the best.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from . import arrays, checks
from . import space as ranges
from .interrupts import Held
from .model import MLP
from .search_result import BorderWarning, SearchResult
from .search_training import Field, Outcome, Plan, Run, Split, alone, made, splits, takes
from .space import Parameters, Space
from .text import Line
from .trials import Log, Trial

EXTENSIONS = 3  # rounds beyond the borders, at most
BACKENDS = ("threads", "joblib")


@dataclass(frozen=True)
class Stage:
    """`trials` configurations, each trained for `epochs` epochs; less than 1 is one pass over that part of the training rows.

    A stage after the first draws its trials around the best `keep` ones so far, from ranges that are `narrow` times as wide as those of
    the stage before, each in its own scale. With `warm` its first trials are these best ones themselves, which are trained on for
    `epochs` more.
    """

    trials: int
    epochs: float = 1
    keep: int = 3
    narrow: float = 0.4
    warm: bool = False

    def __post_init__(self) -> None:
        for name, high in (("trials", 10**6), ("keep", 10**6)):
            object.__setattr__(self, name, checks.integer("Stage", name, getattr(self, name), 1, high))
        epochs = checks.number("Stage", "epochs", self.epochs, 0.0, 2.0**53, open_low=True)
        if epochs > 1 and epochs != int(epochs):
            raise checks.fail(ValueError, "Stage", "epochs", "be whole beyond one", "a part of one epoch, or 1, 2, 3...", f"{epochs:g}")
        object.__setattr__(self, "epochs", int(epochs) if epochs >= 1 else epochs)
        object.__setattr__(self, "narrow", checks.number("Stage", "narrow", self.narrow, 0.0, 1.0, open_low=True))


@dataclass(frozen=True)
class Proposal:
    """What a trial is to be."""

    index: int
    parameters: Parameters
    continues: int | None = None


class _Search:
    """What random search and grid search share: training, the log, what is kept. A subclass proposes the trials of stage after stage."""

    result: SearchResult
    _advice = ""

    def __init__(self, build: Callable[..., Any], space: Mapping[str, ranges.Dimension], seed: int, monitor: str | None,
                 explosion: float) -> None:
        name = type(self).__name__
        if not callable(build):
            raise checks.fail(TypeError, name, "build", "be a function", "build(learning_rate=..., ...) -> Trainer", repr(build))
        self.build = build
        self.space: Space = ranges.checked(name, space)
        self.seed = checks.integer(name, "seed", seed, 0, 2**32 - 1)
        if monitor is not None and not isinstance(monitor, str):
            raise checks.fail(TypeError, name, "monitor", "be a name", "'accuracy', 'loss' or None", repr(monitor))
        self.monitor = None if monitor is None else monitor.removeprefix("val_")
        self.explosion = checks.number(name, "explosion", explosion, 1.0, open_low=True)

    def run(self, x: Any, y: Any, *, validation_data: tuple[Any, Any] | None = None, folds: int | None = None, batch_size: int = 128,
            log: str | os.PathLike[str] | None = None, keep_networks: int = 1, together: int = 16, backend: str = "threads",
            n_jobs: int | None = None, progress: bool = False) -> SearchResult:
        """Train the trials on `x (n, i)` and `y`, and return what was found, which is `self.result` already while it runs.

        Trials are judged on the rows of `validation_data = (x, y)`, or by cross-validation: `folds=k` trains each one `k` times, without
        one part of the rows that judges it, and takes the mean. Statistics of unfitted preprocessing are of the training rows of each
        split. `batch_size` is that of trials whose parameters have no `batch_size`.

        `log` names a file of JSON lines (`fastnn.trials`). Every trial is in it as soon as the `together` trials that are trained as one
        job are; a search that was killed and is run again goes on after the last one. Whether `build` is still the same function is
        not known to it. The networks of the best `keep_networks` trials are kept in memory for `result.networks`.

        `backend="threads"` trains trials together as one job, on all cores and one copy of the data. `backend="joblib"` (extra
        `parallel`) makes a task of every trial for `n_jobs` processes, or for the Dask or Ray cluster of the `joblib.parallel_config`
        around the call; `build` has to be known there. The scores are the same bits. `progress` shows one line on stderr.

        `BorderWarning` for each parameter whose best value is near a border of its range, which names a wider one.

        Errors: the library's sentences before anything is trained; FloatingPointError where every trial exploded; what `build` raises;
        KeyboardInterrupt. Whatever it is, the trials that were finished are in `self.result` and in the log.
        """
        function = type(self).__name__
        x, y = arrays.as_array(function, "x", x), arrays.as_array(function, "y", y)
        if x.ndim != 2 or len(x) < 2 or y.ndim == 0 or len(y) != len(x):
            got = f"{checks.shape_text(x.shape)} and {checks.shape_text(y.shape)}"
            raise checks.fail(ValueError, function, "x", "have a row for every row of y", "shapes (n, i) and (n,) or (n, o), n > 1", got)
        size = checks.integer(function, "batch_size", batch_size, 1, 2**53)
        together = checks.integer(function, "together", together, 1, 2**31)
        keep_networks = checks.integer(function, "keep_networks", keep_networks, 0, 2**31)
        field = Field(function, self.build, x, y, splits(function, x, y, validation_data, folds, self.seed), size, self.seed, self.monitor,
                      self.explosion)
        tasks = _tasks(function, backend, n_jobs)
        result = self.result = SearchResult(self.space, [], partial(self._train_anew, field, folds is not None), self._probe(field))
        checksum = None if log is None else crc32(np.ascontiguousarray(y), crc32(np.ascontiguousarray(x)))
        description = {**self._describe(), "rows": list(x.shape), "data": checksum, "folds": folds, "batch_size": size}
        line = _Progress(progress)
        try:
            with Log(function, log, description, self.space) as lines:
                job = _Job(self, field, lines, together, keep_networks if folds is None else 0, tasks, line)
                while (proposals := self._propose(result)) is not None:
                    job.stage(result, proposals)
                    if len(result.exploded) == len(result.trials):
                        raise FloatingPointError(
                            f"fastnn.{function}: all {len(result.trials)} trials exploded, the first because {result.trials[0].reason}: "
                            "search lower learning rates, or standardise the inputs and targets"
                        )
        finally:
            line.finish()
        for border in result.borders:
            warnings.warn(f"fastnn.{function}: {border}{self._advice}", BorderWarning, stacklevel=2)
        return result

    def stage_of(self, number: int) -> Stage:
        """The settings of a stage; those of the last one for the rounds of `extend`."""
        raise NotImplementedError

    def _propose(self, result: SearchResult) -> list[Proposal] | None:
        """The trials of the next stage, from those of all stages before; None at the end."""
        raise NotImplementedError

    def _describe(self) -> dict[str, Any]:
        """What tells this search from others, JSON-able."""
        return {"search": type(self).__name__, "space": {name: each.to_dict() for name, each in self.space.items()}, "seed": self.seed,
                "monitor": self.monitor, "explosion": self.explosion}  # fmt: skip

    def plan(self, result: SearchResult, trial: Trial | Proposal) -> Plan:
        """How a trial is trained from the very beginning; its seed is that of the trial it began as."""
        number = trial.stage if isinstance(trial, Trial) else result.stages - 1
        phases = [self.stage_of(number).epochs]
        index, before = trial.index, trial.continues
        while before is not None:
            index, earlier = before, result.trials[before]
            phases.insert(0, self.stage_of(earlier.stage).epochs)
            before = earlier.continues
        return Plan(trial.parameters, tuple(phases), int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0]))

    def _probe(self, field: Field) -> str:
        """Build one trial, so that what is wrong with `build` or the rows is said before anything is trained; the name of the score."""
        trainer = made(field.function, self.build, Plan(ranges.sample(self.space, np.random.default_rng(0)), (1,), 0))
        trainer._samples(field.function, field.x, field.y, None)
        for split in field.splits:
            trainer._samples(f"{field.function} (validation_data)", split.x, split.y, None)
        return f"val_{field.monitored(trainer)}"

    def _train_anew(self, field: Field, folds: bool, trials: list[Trial]) -> list[MLP]:
        plans = [self.plan(self.result, trial) for trial in trials]
        if folds:
            watched = made(field.function, field.build, plans[0]).schedule.monitor == "val_loss"
            split = field.splits[0] if watched else Split(None, field.x[:0], field.y[:0])
            field = replace(field, splits=(split,), scalers={}, leaks=set(), checked={})
        return [run.nets[0] for run in field.train(plans, [None] * len(plans))]


class RandomSearch(_Search):
    """Random trials of `build` in `space`, in `stages` from coarse to fine.

    `build(**parameters)` returns what is trained: a new `Trainer`, which brings net, loss, optimizer, schedule, limits and unfitted
    preprocessing, or an `MLP`, which is trained by `Trainer(net, net.loss)`. `space` is a dict of `LogUniform`, `Uniform`, `IntUniform`
    and `Choice` by parameter. A parameter `batch_size` is the batch size of the trial. Where `build` has arguments `epochs` or `seed` that
    are not in `space`, it gets the epochs of the trial, for schedules, and a seed of the trial's own.

    Trial `k` has parameters that are a function of `seed`, `k` and the scores of the stages before. `monitor` is the score: the loss's
    metric unless `"loss"` is asked for. A trial explodes, and is dropped, as soon as its loss or a gradient is not finite, or its loss of
    a later epoch (after only one, that of the validation rows) is more than `explosion` times that of the first epoch, and of a net that
    says nothing; it is looked for after 1, 2, 4, 8... epochs.

    Where best values are near a border that is not one of nature, `extend=True` makes these ranges wider there: for the next stage, and
    after the last one for as many more trials as that had, up to `EXTENSIONS` times.
    """

    def __init__(self, build: Callable[..., Any], space: Mapping[str, ranges.Dimension],
                 stages: Sequence[Stage] = (Stage(20), Stage(10, epochs=5)), seed: int = 0, *, monitor: str | None = None,
                 extend: bool = False, explosion: float = 3.0) -> None:
        super().__init__(build, space, seed, monitor, explosion)
        if not isinstance(stages, (list, tuple)) or not stages or not all(isinstance(stage, Stage) for stage in stages):
            raise checks.fail(TypeError, "RandomSearch", "stages", "be a list of stages", "[Stage(40), Stage(20, epochs=5)]", repr(stages))
        self.stages = tuple(stages)
        self.extend = bool(extend)
        self._advice = "" if self.extend else " (extend=True does)"
        if any(stage.warm for stage in self.stages) and "epochs" not in self.space and takes(build, "epochs"):
            expected = "build(...) without epochs, or warm=False"
            got = "a build that plans for the epochs of one stage"
            raise checks.fail(ValueError, "RandomSearch", "stages", "not be warm, for a planned schedule cannot go on", expected, got)

    def stage_of(self, number: int) -> Stage:
        return self.stages[min(number, len(self.stages) - 1)]

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "stages": [asdict(stage) for stage in self.stages], "extend": self.extend}

    def _propose(self, result: SearchResult) -> list[Proposal] | None:
        number, first = result.stages, len(result.trials)
        stage, beyond = self.stage_of(number), number - len(self.stages)
        draws = [(index, np.random.default_rng([self.seed, index])) for index in range(first, first + stage.trials)]
        if number == 0:
            return [Proposal(index, ranges.sample(result.space, rng)) for index, rng in draws]
        sides = ranges.borders(result.space, result.best.parameters)
        if beyond >= 0 and not (self.extend and sides and beyond < EXTENSIONS):
            return None
        if self.extend:
            result.space = ranges.widened(result.space, sides)
        around = result.top(self.stage_of(number - 1).keep)
        share = math.prod(each.narrow for each in self.stages[1 : number + 1])
        warm = around if stage.warm and beyond < 0 else []
        proposals = [Proposal(index, trial.parameters, trial.index) for (index, _), trial in zip(draws, warm)]
        for k, (index, rng) in enumerate(draws[len(proposals):]):
            proposals.append(Proposal(index, ranges.sample(ranges.narrowed(result.space, around[k % len(around)].parameters, share), rng)))
        return proposals


class GridSearch(_Search):
    """Every combination of `points` values of every parameter (a number for all, or a dict), evenly spaced in its scale; to compare with.

    Each trial is trained for `epochs`; the other arguments are those of `RandomSearch`, which finds more with as many trials.
    """

    def __init__(self, build: Callable[..., Any], space: Mapping[str, ranges.Dimension], points: int | Mapping[str, int] = 3,
                 epochs: float = 1, seed: int = 0, *, monitor: str | None = None, explosion: float = 3.0) -> None:
        super().__init__(build, space, seed, monitor, explosion)
        given = points if isinstance(points, Mapping) else dict.fromkeys(self.space, points)
        if given.keys() != self.space.keys():
            raise checks.fail(ValueError, "GridSearch", "points", "name the parameters of the space", ", ".join(self.space), repr(points))
        self.points = {name: checks.integer("GridSearch", "points", value, 1, 10**6) for name, value in given.items()}
        self.combinations = ranges.grid(self.space, self.points)
        self.stage = Stage(len(self.combinations), epochs)

    def stage_of(self, number: int) -> Stage:
        return self.stage

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "points": self.points, "epochs": self.stage.epochs}

    def _propose(self, result: SearchResult) -> list[Proposal] | None:
        return [Proposal(index, each) for index, each in enumerate(self.combinations)] if result.stages == 0 else None


class _Job:
    """The trials of a search at work: batch after batch is trained, or taken from the log, and recorded."""

    def __init__(self, search: _Search, field: Field, log: Log, together: int, keep: int, tasks: Tasks | None, line: _Progress) -> None:
        self.search, self.field, self.log, self.together, self.keep, self.tasks, self.line = search, field, log, together, keep, tasks, line
        self.runs: dict[int, Run] = {}  # to go on with in a warm stage

    def stage(self, result: SearchResult, proposals: list[Proposal]) -> None:
        """Bring all proposals into `result`, in their order."""
        result.stages += 1
        for start in range(0, len(proposals), self.together):
            batch = proposals[start:start + self.together]
            for proposal in batch:
                self._check(proposal)
            fresh = [proposal for proposal in batch if proposal.index not in self.log.trials]
            trained = self._train(result, fresh) if fresh else []
            with Held():  # what is in the log is in the result
                self.log.add(trained)
                known = self.log.trials | {trial.index: trial for trial in trained}
                result.trials += [known[proposal.index] for proposal in batch]
                self._tidy(result)
            self.line(result, len(proposals))

    def _check(self, proposal: Proposal) -> None:
        logged = self.log.trials.get(proposal.index)
        if logged is not None and not (logged.continues == proposal.continues and _alike(logged.parameters, proposal.parameters)):
            expected, got = f"trial {proposal.index} with {proposal.parameters}", f"{logged.parameters}"
            raise checks.fail(ValueError, self.field.function, "log", "hold the trials of this search", expected, got)

    def _train(self, result: SearchResult, proposals: list[Proposal]) -> list[Trial]:
        began = time.perf_counter()
        plans = [self.search.plan(result, proposal) for proposal in proposals]
        if self.tasks is not None:
            found = self.tasks(self.field, plans)
        else:
            before = [-1 if proposal.continues is None else proposal.continues for proposal in proposals]
            for index in before:
                result.kept.pop(index, None)  # its net is trained on
            runs = self.field.train(plans, [self.runs.pop(index, None) for index in before])
            self.runs.update(zip((each.index for each in proposals), runs))
            found = [(outcome, run.nets) for outcome, run in zip(self.field.judge(runs), runs)]
        seconds = (time.perf_counter() - began) / len(proposals)
        result.kept.update((each.index, nets[0]) for each, (outcome, nets) in zip(proposals, found) if outcome.reason is None)
        return [_trial(result.stages - 1, proposal, plan, outcome, seconds)
                for proposal, plan, (outcome, _) in zip(proposals, plans, found)]  # fmt: skip

    def _tidy(self, result: SearchResult) -> None:
        """Let go of the networks that nobody will ask for."""
        count = max(self.keep, self.search.stage_of(result.stages - 1).keep)
        best = [] if len(result.exploded) == len(result.trials) else result.top(count)
        warm = self.search.stage_of(result.stages).warm
        self.runs = {trial.index: self.runs[trial.index] for trial in best if warm and trial.index in self.runs}
        result.kept = {trial.index: result.kept[trial.index] for trial in best[: self.keep] if trial.index in result.kept}


Tasks = Callable[[Field, list[Plan]], list[tuple[Outcome, list[MLP]]]]


def _trial(stage: int, proposal: Proposal, plan: Plan, outcome: Outcome, seconds: float) -> Trial:
    lost = outcome.reason is not None
    return Trial(
        proposal.index, stage, proposal.parameters, sum(plan.phases), score=None if lost else float(np.mean(outcome.scores)),
        loss=None if lost else float(np.mean(outcome.losses)), scores=tuple(outcome.scores), reason=outcome.reason,
        seconds=round(seconds, 4), continues=proposal.continues,
    )


def _alike(logged: Parameters, proposed: Parameters) -> bool:
    """Whether these are the same, but for the last digits of another machine's logarithms."""
    return all(math.isclose(logged[name], value, rel_tol=1e-9) if isinstance(value, float) and isinstance(logged[name], (int, float))
               else logged[name] == value for name, value in proposed.items())  # fmt: skip


def _tasks(function: str, backend: str, n_jobs: int | None) -> Tasks | None:
    """Trains plans by joblib; None for threads."""
    if backend not in BACKENDS:
        raise checks.fail(ValueError, function, "backend", "name a backend", f"one of {', '.join(BACKENDS)}", repr(backend))
    if backend == "threads":
        if n_jobs is not None:
            expected = "backend='joblib', or fastnn.set_num_threads"
            raise checks.fail(ValueError, function, "n_jobs", "come with processes", expected, f"n_jobs={n_jobs!r} with backend='threads'")
        return None
    try:
        import joblib
    except ImportError as error:
        raise ImportError(f"fastnn.{function}: backend='joblib' needs the extra: pip install 'fastnn[parallel]'") from error
    return lambda field, plans: joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(alone)(field, plan) for plan in plans)


class _Progress:
    """A line of progress after every batch, where it is to be shown."""

    def __init__(self, shown: bool) -> None:
        self.shown, self.line = shown, Line()

    def __call__(self, result: SearchResult, trials: int) -> None:
        if not self.shown:
            return
        done = sum(trial.stage == result.stages - 1 for trial in result.trials)
        line = f"stage {result.stages}  trial {done}/{trials}"
        if len(result.exploded) < len(result.trials):
            line += f"  best {result.monitor} {result.best.score:.4g}"
        self.line.write(f"{line}  exploded {len(result.exploded)}")

    def finish(self) -> None:
        """End the line."""
        self.line.finish()
