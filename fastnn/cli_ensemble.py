"""`fastnn train --ensemble 5` and `--average 0.999`: several networks trained together, and running averages of weights."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from . import cli_train, tabular
from .averaging import EMA
from .ensemble import Ensemble
from .history import improves
from .many import fit_many
from .model import MLP
from .trainer import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two options."""
    parser.add_argument("--ensemble", type=cli_train.whole(1, 1000), metavar="N",
                        help="train N networks of the seeds from --seed on at the same time and average their predictions")
    parser.add_argument("--average", type=float, metavar="DECAY",
                        help="use the running average of the weights, such as 0.999, in place of the weights themselves")


class Best:
    """A callback that keeps the networks of the epoch at which they, taken together, had the lowest loss on the validation rows; it
    ends the training when that was `patience` epochs ago. Networks are those of the running averages where such are kept."""

    def __init__(self, validation: Any, patience: int) -> None:
        self.validation, self.patience = validation, patience
        self.done = self.epoch = 0
        self.loss: float | None = None
        self.networks: list[MLP] = []

    def __call__(self, trainers: list[Trainer]) -> bool:
        self.done += 1
        # One that diverged made fewer epochs.
        sound = [trainer for trainer in trainers if len(trainer.history) == self.done]
        networks = [trainer.averaged() if trainer.average else trainer.net.astype(trainer.net.dtype) for trainer in sound]
        loss = cli_train.reached(Ensemble(networks), *self.validation)["loss"]
        if improves("loss", loss, self.loss):
            self.epoch, self.loss, self.networks = self.done, loss, networks
        return self.done - self.epoch >= self.patience

    @property
    def network(self) -> MLP | Ensemble:
        """What is used and saved: one net, or the ensemble of several."""
        return self.networks[0] if len(self.networks) == 1 else Ensemble(self.networks)


def run(arguments: argparse.Namespace, data: tabular.Prepared, schedule: Any) -> int:
    """Train, print the table, save: `cli_train.run` for more than the weights of one network."""
    count = arguments.ensemble or 1
    if arguments.history and count > 1:
        raise ValueError("--history is the history of one network, and --ensemble trains several")
    average = None if arguments.average is None else EMA(arguments.average)
    trainers = []
    for seed in range(arguments.seed, arguments.seed + count):
        net, optimizer, loss = cli_train.build(argparse.Namespace(**{**vars(arguments), "seed": seed}), data)
        trainers.append(Trainer(net, loss, optimizer, schedule, average=average, max_norm=arguments.max_norm))
    several = "" if count == 1 else f"{count} networks with seeds {arguments.seed} to {arguments.seed + count - 1}, each as "
    print(f"{several}{trainers[0].net!r}\n{optimizer!r}\n{schedule!r}" + (f"\n{average!r}" if average else ""), flush=True)
    train, validation = data.learnt()
    best = Best(validation, cli_train.patience(arguments))
    settings: dict[str, Any] = {"epochs": arguments.epochs, "batch_size": arguments.batch_size, "validation_data": validation,
                                "progress": True}  # fmt: skip
    began = time.perf_counter()
    try:
        if count == 1:  # alone it is given all cores
            trainers[0].fit(*train, callbacks=[lambda trainer, record: best([trainer])], **settings)
        else:
            fit_many(trainers, *train, callbacks=[best], **settings)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_after_interrupt(arguments.out, best, data)) from None
    finally:
        if arguments.history and best.done:
            trainers[0].history.best_epoch = best.epoch
            trainers[0].history.save(arguments.history)
    seconds = time.perf_counter() - began
    if not best.networks:
        raise FloatingPointError("every network diverged in its first epoch; lower --learning-rate")
    if arguments.out:
        best.network.save(arguments.out, data.metadata())
    print("\n" + cli_train.report(best.network, data))
    if isinstance(best.network, Ensemble):
        print("\n" + _members(best.network, data))
    rows = sum(len(trainer.history) for trainer in trainers) * len(data.train[0])
    what = "averages" if average else "weights"
    print(f"\n{best.done} epochs, the {what} are those of epoch {best.epoch}; {seconds:.2f} s, {rows / seconds:,.0f} samples/s "
          f"with validation; {cli_train.machine()}")
    if len(best.networks) < count:
        print(f"{count - len(best.networks)} of the {count} networks diverged and are left out")
    if arguments.out:
        print(f"saved in {arguments.out}")
    if arguments.history:
        print(f"history saved in {arguments.history}, for fastnn plot")
    return 0


def _members(together: Ensemble, data: tabular.Prepared) -> str:
    """What the networks reach alone on the test rows."""
    target, (x, y) = data.target, data.test
    if isinstance(target, tabular.Classes):
        report = together.report(x, y)
        name, rest = report.judged, f"; two of them disagree on {report.disagreement:.2%} of the rows"
        alone, whole = [member[name] for member in report.members], report.ensemble[name]
        low, high, mean, reached = (f"{value:.2%}" for value in (min(alone), max(alone), np.mean(alone), whole))
    else:
        name, rest = "RMSE", ""
        *alone, whole = (np.sqrt(np.mean(np.square(target.amounts(net, x) - target.decode(y)))) for net in (*together, together))
        low, high, mean, reached = (f"{value:.4g}" for value in (min(alone), max(alone), np.mean(alone), whole))
    return f"test {name} of one network {low} to {high}, mean {mean}; of all {len(together)} together {reached}{rest}"


def _after_interrupt(out: str | None, best: Best, data: tabular.Prepared) -> str:
    if not best.networks:
        return "interrupted before the first epoch was complete; nothing was saved"
    if not out:
        return f"interrupted after epoch {best.done}; nothing was saved, because --out was not given"
    best.network.save(out, data.metadata())
    return f"interrupted after epoch {best.done}; what was best on the validation rows, of epoch {best.epoch}, is saved in {out}"
