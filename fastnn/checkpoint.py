"""Checkpoints: all that training goes on from, in one `.npz` of numbers and JSON.

What N steps, `save`, `load` and N more steps compute has the bits of 2N steps: the file holds weights, optimizer state, running average,
the settings of net, loss, optimizer, schedule and trainer, the schedule's state, the seed that all random numbers are a function of, the
counters, and how far the epoch under way has come. It does not hold training data, callbacks, the history, or what `EarlyStopping`
remembers within one fit; sample and class weights are given to `fit` again.

The arrays are named `layers.<k>.weight` and `layers.<k>.bias` like those of a net, with `.state.<slot>` and `.average` appended.
"""

from __future__ import annotations

import json
import os
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from . import checks, io, losses, optimizers, schedules
from .averaging import EMA
from .plan import Statistics
from .preprocessing import unfitted
from .schedules import Schedule
from .trainer import Cut, Trainer

FORMAT = "fastnn-trainer"
VERSION = 1
_OPTIONS = ("clip_value", "clip_norm", "max_norm")


def save(path: str | os.PathLike[str], trainer: Trainer) -> None:
    """Write `trainer` to `path`, which ends in `.npz`; atomic like `fastnn.save`.

    It may be called whenever no update is under way, so also by a callback. TypeError for a state of a user's own schedule that is not
    None, a number, a string, or a flat tuple of these.
    """
    _check_suffix("Trainer.save", path)
    state, cut = trainer._schedule_state, trainer._cut
    if not all(isinstance(value, (bool, int, float, str, type(None))) for value in (state if isinstance(state, tuple) else (state,))):
        expected = "None, a number, a string or a flat tuple"
        raise checks.fail(TypeError, "Trainer.save", "schedule", "have a state that can be written", expected, repr(state))
    scaler = trainer.preprocessing
    header = {
        "format": FORMAT, "version": VERSION, **io.describe(trainer.net), "optimizer": optimizers.to_config(trainer.optimizer),
        "schedule": schedules.to_config(trainer.schedule), "schedule_state": state, "seed": trainer.seed, "steps": trainer.steps,
        "epochs": trainer.epochs, "average": _describe_average(trainer),
        "options": {name: getattr(trainer, name) for name in _OPTIONS},
        "to_be_fitted": {"kind": scaler.kind, **scaler.settings()} if scaler is not None and not scaler.fitted else None,
        "epoch_under_way": None if cut is None else {**cut._asdict(), "updates": trainer.steps - trainer._first_step},
        "statistics": trainer._statistics._asdict(),
    }
    arrays = {name: io.little_endian(array) for name, array in _arrays(trainer).items()}
    io.write_atomically(path, io.pack_npz(json.dumps(header), arrays))


def load(path: str | os.PathLike[str], *, loss: losses.Loss | None = None, schedule: Schedule | None = None) -> Trainer:
    """Return the trainer of a file that `save` wrote, with a net of its own.

    `loss` and `schedule` take the place of those in the file, and must be given where these were of the user's own making: of a schedule
    the file holds the state then, of a loss nothing. FileNotFoundError for a missing file, ValueError with one sentence for anything that
    is not a complete checkpoint; no array is read before its size is known to be right.
    """
    function = "Trainer.load"
    _check_suffix(function, path)
    if loss is not None:
        losses.get(loss, function)
    if schedule is not None and not isinstance(schedule, Schedule):
        raise checks.fail(TypeError, function, "schedule", "be a schedule", "a schedule or None", repr(schedule))
    trainer = None
    with io.refusing(function, path, FORMAT, VERSION), io.read_npz(path) as (text, array):
        header = io.parse(text, FORMAT, VERSION)
        missing = [name for name, given in (("loss", loss), ("schedule", schedule)) if header[name] is None and given is None]
        if not missing:
            trainer = _restored(header, array, loss, schedule)
    if trainer is None:
        expected, got = f"Trainer.load(path, {missing[0]}=...)", f"a checkpoint of a user's own {missing[0]}"
        raise checks.fail(ValueError, function, missing[0], "be given again", expected, got)
    return trainer


def _restored(header: dict[str, Any], array: io.Reader, loss: Any, schedule: Schedule | None) -> Trainer:
    net = io.build(header, array)
    trainer = Trainer(
        net, net.loss if loss is None else loss, optimizers.from_config(header["optimizer"]),
        schedules.from_config(header["schedule"]) if schedule is None else schedule, header["seed"],
        average=None if header["average"] is None else _average(header["average"]),
        preprocessing=None if header["to_be_fitted"] is None else unfitted(header["to_be_fitted"]),
        **{name: header["options"][name] for name in _OPTIONS},
    )
    for name, kept in _arrays(trainer).items():
        kept[...] = array(name, kept.shape, io.file_dtype(net.dtype.name))
    start, state = trainer.schedule.start(), header["schedule_state"]
    if isinstance(state, list):
        state = start._make(state) if hasattr(start, "_make") else tuple(state)
    trainer._schedule_state = state
    trainer.steps, trainer.epochs = _count(header, "steps"), _count(header, "epochs")
    if trainer.average is not None:
        trainer._unaveraged = trainer.steps - _count(header["average"], "updates")
    sums: dict[str, Any] = {name: float(value) for name, value in header["statistics"].items()}
    trainer._carried = Statistics(**{**sums, "rows": _count(header["statistics"], "rows")})
    if header["epoch_under_way"] is not None:
        cut = header["epoch_under_way"]
        trainer._cut = Cut(_count(cut, "rows"), _count(cut, "batch"), bool(cut["shuffle"]))
        trainer._first_step = trainer.steps - _count(cut, "updates")
        if not 0 <= trainer._first_step <= trainer.steps:
            raise ValueError("its epoch under way has more updates than the run")
    return trainer


def _describe_average(trainer: Trainer) -> dict[str, Any] | None:
    if trainer.average is None:
        return None
    return {"decay": trainer.average.decay, "updates": trainer.steps - trainer._unaveraged}


def _average(header: Any) -> EMA:
    if not isinstance(header, dict):
        raise ValueError("its running average began as the initial weights, which averages no longer do; train anew to have one")
    return EMA(header["decay"])


def _count(values: dict[str, Any], name: str) -> int:
    return checks.integer("Trainer", name, values[name], 0, 2**53)


def _arrays(trainer: Trainer) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by their names: parameters, state, averages."""
    parameters = dict(zip(io.names(len(trainer.net.layers)), trainer.net.parameters()))
    states = ((f"{name}.state.{slot}", array) for name, state in zip(parameters, trainer._state) for slot, array in enumerate(state))
    averages = ((f"{name}.average", array) for name, array in zip(parameters, trainer._averages))
    return dict(chain(parameters.items(), states, averages))


def _check_suffix(function: str, path: str | os.PathLike[str]) -> None:
    if Path(path).suffix != ".npz":
        raise checks.fail(ValueError, function, "path", "name a format", "a path ending in .npz", repr(os.fspath(path)))
