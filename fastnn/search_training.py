"""How the trials of a search are trained: many together as one job, or one a task of joblib.

A trial is a configuration with one trainer a split of the rows: one for a validation set, `k` for `k` folds. Everything is a function of
the seeds, so that a trial has the same bits whatever is trained together with it, in whatever process, and however often it stops.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from . import arrays, checks, losses
from .init import drawn_once
from .many import Member, conclude, evaluated, train
from .model import MLP
from .preprocessing import Scaler, warn_of_leaks
from .space import Parameters
from .trainer import Samples, Trainer

OFFERED = ("epochs", "seed")  # what `build` gets beside the parameters where it has an argument of that name
_SILENT_ROWS = 4096  # of which the loss of a net that says nothing is taken


class Split(NamedTuple):
    """Training row numbers, None for all rows, and the rows that judge."""

    rows: np.ndarray | None
    x: np.ndarray
    y: np.ndarray


class Plan(NamedTuple):
    """A configuration to be trained: `phases` are the epochs of the stages it goes through, the last one now."""

    parameters: Parameters
    phases: tuple[float, ...]
    seed: int


class Outcome(NamedTuple):
    """Scores and losses of the splits, or the reason why there are none."""

    scores: list[float]
    losses: list[float]
    reason: str | None


@dataclass
class Run:
    """A configuration in training: a trainer a split, the first epoch's losses, how many epochs are done, and why it exploded, if so."""

    plan: Plan
    trainers: list[Trainer]
    first: dict[int, float] = field(default_factory=dict)
    epochs: int = 0
    reason: str | None = None

    @property
    def nets(self) -> list[MLP]:
        """The networks, one a split."""
        return [trainer.net for trainer in self.trainers]


@dataclass
class Field:
    """What all trials of a search have in common. `explosion` is how many times its first epoch's loss a trial may reach."""

    function: str
    build: Callable[..., Any]
    x: np.ndarray
    y: np.ndarray
    splits: tuple[Split, ...]
    batch_size: int
    seed: int
    monitor: str | None
    explosion: float
    scalers: dict[tuple[str, int, float], Scaler] = field(default_factory=dict)
    leaks: set[int] = field(default_factory=set)
    silent: dict[str, float] = field(default_factory=dict)
    checked: dict[tuple[Any, ...], Samples] = field(default_factory=dict)

    def start(self, plan: Plan) -> Run:
        """The trainers of a configuration, not trained yet."""
        trainers = [made(self.function, self.build, plan) for _ in self.splits]
        for number, trainer in enumerate(trainers):
            self._preprocess(trainer, number, plan.phases[0])
        return Run(plan, trainers)

    def train(self, plans: Sequence[Plan], runs: Sequence[Run | None]) -> list[Run]:
        """Bring every plan to its end, from the run of its phases before where there is one."""
        with drawn_once():
            ready = [run if run is not None else self._brought(plan) for plan, run in zip(plans, runs)]
        for plan, run in zip(plans, ready):
            run.plan = plan
        for epochs in dict.fromkeys(plan.phases[-1] for plan in plans):
            self._advance([run for run in ready if run.plan.phases[-1] == epochs], epochs)
        return ready

    def judge(self, runs: Sequence[Run]) -> list[Outcome]:
        """Score and loss of every run on the rows that judge."""
        sound = [run for run in runs if run.reason is None]
        judged = [(trainer, self._checked(trainer, number)) for run in sound for number, trainer in enumerate(run.trainers)]
        found = iter(evaluated(self.function, [trainer for trainer, _ in judged], [rows for _, rows in judged]))
        return [self._outcome(run, [] if run.reason is not None else list(islice(found, len(self.splits)))) for run in runs]

    def _outcome(self, run: Run, found: list[dict[str, float]]) -> Outcome:
        if run.reason is None:
            name = self.monitored(run.trainers[0])
            scores, values = [each[name] for each in found], [each["loss"] for each in found]
            grown = [loss for number, loss in enumerate(values) if run.epochs == 1 and loss > self._limit(run, number) > 0]
            if not all(map(math.isfinite, scores + values)):
                run.reason = "its loss on the validation rows was not finite"
            elif grown:
                run.reason = f"its loss on the validation rows was {max(grown):.4g}, after {max(run.first.values()):.4g} in training"
            else:
                return Outcome(scores, values, None)
        return Outcome([], [], run.reason)

    def monitored(self, trainer: Trainer) -> str:
        """The quantity that trials are compared by: what was asked for, or the loss's metric, or the loss."""
        metric = losses.metric(trainer.loss)
        names = ["loss"] + ([metric.name] if metric is not None else [])
        if self.monitor is None:
            return names[-1]
        if self.monitor not in names:
            expected = f"one of {', '.join(names)}"
            raise checks.fail(ValueError, self.function, "monitor", "be measured on the validation rows", expected, repr(self.monitor))
        return self.monitor

    def part(self, number: int, epochs: float) -> np.ndarray | None:
        """The rows that a split's net learns from: less than one epoch visits a random part of them, the same for every trial."""
        rows = self.splits[number].rows
        if epochs >= 1:
            return rows
        count = len(self.x) if rows is None else len(rows)
        chosen = np.random.default_rng([self.seed, number]).permutation(count)[: max(1, round(epochs * count))]
        return chosen if rows is None else rows[chosen]

    def _brought(self, plan: Plan) -> Run:
        """A run that has the phases of the plan but the last behind it."""
        run = self.start(plan)
        for epochs in plan.phases[:-1]:
            self._advance([run], epochs)
        return run

    def _preprocess(self, trainer: Trainer, number: int, epochs: float) -> None:
        """Fit preprocessing on the split's training rows, once for all trials that have it."""
        scaler = trainer.preprocessing
        if scaler is None:
            return
        if not scaler.fitted:
            key = repr(scaler), number, min(epochs, 1.0)
            if key not in self.scalers:
                rows = self.part(number, epochs)
                self.scalers[key] = scaler.fit(self.x if rows is None else self.x[rows])
            trainer.preprocessing = scaler = self.scalers[key]
            trainer._adopt(trainer.net, scaler)
        if id(scaler) not in self.leaks:
            self.leaks.add(id(scaler))
            self.scalers.setdefault(("kept", id(scaler), 0.0), scaler)  # so that no other takes its id
            warn_of_leaks(self.function, "validation_data", self.splits[number].x, [scaler])

    def _advance(self, runs: Sequence[Run], epochs: float) -> None:
        """Train together, with a look at the losses after 1, 2, 4, 8... epochs, so that who explodes is dropped early."""
        whole, done = max(1, int(epochs)), 0
        members = {id(run): self._members(run, epochs, whole) for run in runs if run.reason is None}
        while done < whole and (at_work := [run for run in runs if run.reason is None]):
            step = min(max(1, done), whole - done)
            self._together([each for run in at_work for each in enumerate(members[id(run)])], step)
            for run in at_work:
                for number, member in enumerate(members[id(run)]):
                    if run.reason is None:
                        self._watch(run, number, member.losses[done:], member.stopped)
                run.epochs += step
            done += step

    def _members(self, run: Run, epochs: float, whole: int) -> list[Member]:
        size = run.plan.parameters.get("batch_size", self.batch_size)
        return [Member(self.function, trainer, self._checked(trainer, None), self.part(number, epochs), size, True, whole)
                for number, trainer in enumerate(run.trainers)]

    def _together(self, members: list[tuple[int, Member]], epochs: int) -> None:
        """One job for the members of all splits; those whose schedule watches a loss come back after every epoch."""
        free = [member for _, member in members if member.trainer.schedule.monitor is None]
        if free:
            train(free, epochs)
        for member in free:
            if member.complete:
                member.trainer.end_epoch()
        watching = [each for each in members if each[1].trainer.schedule.monitor is not None]
        for _ in range(epochs):
            going = [each for each in watching if each[1].stopped is None]
            if not going:
                break
            train([member for _, member in going], 1)
            ended = [each for each in going if each[1].complete]
            judges = [self._checked(member.trainer, number) if member.trainer.schedule.monitor == "val_loss" else None
                      for number, member in ended]  # fmt: skip
            conclude(self.function, [member for _, member in ended], judges)

    def _checked(self, trainer: Trainer, number: int | None) -> Samples:
        """The rows that a split is judged by, or all rows to learn from, as the trainer wants them; checked once for all trainers alike."""
        function, x, y = self.function, self.x, self.y
        if number is not None:
            function, x, y = f"{function} (validation_data)", self.splits[number].x, self.splits[number].y
        net = trainer.net
        kind = number, net.sizes[0], net.sizes[-1], net.dtype.name, repr(trainer.loss)
        if kind in self.checked:
            return self.checked[kind]
        samples = trainer._samples(function, x, y, None)
        if losses.kernel(trainer.loss) is not None:  # what else a user's own loss makes of targets is not known
            self.checked[kind] = samples
        return samples

    def _limit(self, run: Run, number: int) -> float:
        """The loss above which a split's net has exploded."""
        return self.explosion * max(run.first[number], self._silent(run.trainers[number]))

    def _watch(self, run: Run, number: int, losses: list[float], stopped: str | None) -> None:
        if stopped == "diverged":
            run.reason = f"its loss or a gradient was not finite in epoch {run.epochs + len(losses) + 1}"
            return
        run.first.setdefault(number, losses[0])
        limit = self._limit(run, number)
        for k, loss in enumerate(losses):
            if loss > limit > 0:
                run.reason = f"its loss was {loss:.4g} in epoch {run.epochs + k + 1}, after {run.first[number]:.4g} in the first"
                return

    def _silent(self, trainer: Trainer) -> float:
        """The loss of a net whose scores are all 0."""
        name = repr(trainer.loss)
        if name not in self.silent:
            self.silent[name] = self._measure_silence(trainer)
        return self.silent[name]

    def _measure_silence(self, trainer: Trainer) -> float:
        outputs, dtype = trainer.net.sizes[-1], trainer.net.dtype
        y = losses.prepare_targets(trainer.loss, self.y[:_SILENT_ROWS], min(len(self.y), _SILENT_ROWS), outputs, dtype, self.function)
        scores = np.zeros((len(y), outputs), dtype)
        return losses.value_and_gradient(trainer.loss, scores, y, None, self.function)[0]


def made(function: str, build: Callable[..., Any], plan: Plan) -> Trainer:
    """What `build` makes of a plan's parameters."""
    arguments = dict(plan.parameters)
    signature = inspect.signature(build)
    free = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    if "batch_size" in arguments and "batch_size" not in signature.parameters and not free:
        del arguments["batch_size"]
    offers = {"epochs": max(1, math.ceil(sum(plan.phases))), "seed": plan.seed}
    arguments |= {name: offers[name] for name in OFFERED if name in signature.parameters and name not in arguments}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        expected = f"build({', '.join(plan.parameters)})"
        raise checks.fail(TypeError, function, "build", "take the parameters of the space by name", expected, str(error)) from None
    built = build(**arguments)
    if isinstance(built, MLP):
        return Trainer(built, built.loss)
    if not isinstance(built, Trainer) or built.steps:
        got = type(built).__name__ if not isinstance(built, Trainer) else f"a Trainer after {built.steps} updates"
        raise checks.fail(TypeError, function, "build", "return a new Trainer or MLP", "Trainer(MLP(...), ...)", got)
    return built


def takes(build: Callable[..., Any], name: str) -> bool:
    """Whether `build` has an argument of that name."""
    return name in inspect.signature(build).parameters


def alone(shared: Field, plan: Plan) -> tuple[Outcome, list[MLP]]:
    """A whole trial, for a process of its own: the outcome, and the networks."""
    (run,) = shared.train([plan], [None])
    return shared.judge([run])[0], run.nets


def splits(function: str, x: np.ndarray, y: np.ndarray, validation_data: Any, folds: int | None, seed: int) -> tuple[Split, ...]:
    """The validation set, or folds that are dealt out in the order of the targets, so that each has its share of every class."""
    if (validation_data is None) == (folds is None):
        expected, got = "validation_data=(x, y) or folds=5, say", "neither" if folds is None else "both"
        raise checks.fail(ValueError, function, "validation_data", "be given, or folds, to judge trials by", expected, got)
    if folds is None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            raise checks.fail(TypeError, function, "validation_data", "be a pair", "(x, y)", type(validation_data).__name__)
        x_val, y_val = (arrays.as_array(function, "validation_data", part) for part in validation_data)
        return (Split(None, x_val, y_val),)
    count = checks.integer(function, "folds", folds, 2, len(x))
    order = np.random.default_rng(seed).permutation(len(x))
    if y.ndim == 1:
        order = order[np.argsort(y[order], kind="stable")]
    parts = [np.sort(order[k::count]) for k in range(count)]
    return tuple(Split(np.setdiff1d(np.arange(len(x)), held), x[held], y[held]) for held in parts)
