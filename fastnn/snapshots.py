"""Networks kept on the way of one run: members of an ensemble that cost no training of their own (CS231n notes, "Model ensembles")."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import checks
from .interrupts import Held
from .model import MLP

if TYPE_CHECKING:
    from .trainer import Trainer

_SUFFIXES = (".npz", ".safetensors")


class Snapshots:
    """A callback of `fit` that keeps a copy of the net as it is after chosen epochs, or, in `Every(steps, Snapshots())`, at every call.

    `epochs`: a number takes every so many epochs, a collection those epochs (counted from 1 over the life of the trainer). `last` keeps
    no more than the newest so many. With `average` it is the running average that is kept, `trainer.averaged()`, which the trainer must
    have. With `folder`, which is made where it is missing, nets are written there as `step-<updates made><suffix>` (readable by
    `MLP.load`; `suffix` is `.npz` or `.safetensors`) instead of kept in memory; files that `last` lets go of stay where they are, and a
    file of the same name is replaced.

    Attributes: the arguments; `steps`, the number of updates made at each snapshot; `kept`, the nets, or with a folder their paths. Both
    are lists, oldest first, and complete after Ctrl-C. Iterating gives the nets, which are read anew from a folder.
    """

    def __init__(self, epochs: int | Iterable[int] = 1, *, last: int | None = None, average: bool = False,
                 folder: str | os.PathLike[str] | None = None, suffix: str = ".npz") -> None:
        if isinstance(epochs, Iterable) and not isinstance(epochs, (str, bytes)):
            self.epochs: int | frozenset[int] = frozenset(checks.integer("Snapshots", "epochs", epoch, 1, 2**53) for epoch in epochs)
            if not self.epochs:
                raise checks.fail(ValueError, "Snapshots", "epochs", "name an epoch", "a number, or at least one epoch", "none")
        else:
            self.epochs = checks.integer("Snapshots", "epochs", epochs, 1, 2**53)
        self.last = None if last is None else checks.integer("Snapshots", "last", last, 1, 2**53)
        if suffix not in _SUFFIXES:
            raise checks.fail(ValueError, "Snapshots", "suffix", "name a format", "'.npz' or '.safetensors'", repr(suffix))
        if not isinstance(folder, (str, os.PathLike, type(None))):
            raise checks.fail(TypeError, "Snapshots", "folder", "be a path", "a folder, or None", repr(folder))
        self.average, self.folder, self.suffix = bool(average), None if folder is None else Path(folder), suffix
        self.steps: list[int] = []
        self.kept: list[MLP | Path] = []

    def __repr__(self) -> str:
        epochs = self.epochs if isinstance(self.epochs, int) else sorted(self.epochs)
        return f"<{len(self)} Snapshots, epochs={epochs}>"

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[MLP]:
        return (kept if isinstance(kept, MLP) else MLP.load(kept) for kept in self.kept)

    def __call__(self, trainer: Trainer, record: dict[str, Any]) -> None:
        between = record["epoch"] > trainer.epochs  # called by `Every`: the epoch under way is not counted yet
        due = trainer.epochs % self.epochs == 0 if isinstance(self.epochs, int) else trainer.epochs in self.epochs
        if not (between or due):
            return
        net = trainer.averaged() if self.average else trainer.net.astype(trainer.net.dtype)
        kept: MLP | Path = net
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = self.folder / f"step-{trainer.steps:09d}{self.suffix}"
            net.save(kept, {"steps": trainer.steps, "epochs": trainer.epochs})
        with Held():
            self.steps.append(trainer.steps)
            self.kept.append(kept)
            if self.last is not None:
                del self.steps[:-self.last], self.kept[:-self.last]
