"""`fastnn train`: read, split, encode, fit with early stopping, and end with a table of what was reached."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import backend, bins, datasets, io, losses, schedules, table, tabular
from .averaging import EMA
from .callbacks import EarlyStopping
from .ensemble import Ensemble
from .history import History
from .model import MLP
from .optimizers import OPTIMIZERS
from .text import aligned, amount

SAVED = (".npz", ".safetensors")
DIGITS_TEST = 297
SCHEDULE_HELP = ("none, step:FACTOR:EVERY, exponential:RATE, inverse:RATE, cosine[:OVER[:FLOOR]], plateau[:FACTOR[:PATIENCE]], or "
                 "warmup:STEPS[+SCHEDULE]; they count epochs, warmup counts steps, unless :step or :epoch follows (default cosine)")


def hidden(text: str) -> tuple[int, ...]:
    """An argparse type: `128,64` -> (128, 64); `none` -> ()."""
    if text == "none":
        return ()
    sizes = text.split(",")
    if not all(size.strip().isascii() and size.strip().isdecimal() and 1 <= int(size) <= 65536 for size in sizes):
        raise argparse.ArgumentTypeError(f"must be layer sizes from 1 to 65536 such as 128,64, or none (got '{text}')")
    return tuple(int(size) for size in sizes)


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def convert(text: str) -> int:
        value = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high} (got '{text}')")
        return value

    return convert


count, seed = whole(1, 2**31 - 1), whole(0, 2**32 - 1)


def binning(text: str) -> tuple[str, int]:
    """An argparse type: `50` -> ("quantile", 50); `uniform:50` -> ("uniform", 50)."""
    kind, _, number = text.rpartition(":") if ":" in text else ("quantile", "", text)
    if kind not in bins.KINDS:
        raise argparse.ArgumentTypeError(f"must be a number of bins, or one of {', '.join(bins.KINDS)} and a number as in uniform:50 "
                                         f"(got '{text}')")
    return kind, whole(2, bins.MOST)(number)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `fastnn train`; a default of None depends on the task and is said in its help."""
    parser.add_argument("data", nargs="?", help=".csv, .csv.gz, or .npz with x and y or x_train, y_train, x_test, y_test; left out: digits")
    parser.add_argument("--target", metavar="COLUMN", help="the column to learn (default for .npz: y)")
    parser.add_argument("--task", choices=tabular.TASKS, default="auto", help="auto: text and few whole numbers are classes")
    parser.add_argument("--bins", type=binning, metavar="[KIND:]N", help="learn an amount as a distribution over N bins: quantile, uniform "
                                                                         "or logarithmic ones (default: one number, by L2)")
    parser.add_argument("--hidden", type=hidden, default=(256, 128), metavar="N,N", help="hidden layer sizes, or none (default 256,128)")
    parser.add_argument("--keep-prob", type=float, help="probability that a hidden unit stays (default 0.8 for classes, 1 for amounts)")
    parser.add_argument("--epochs", type=count, default=40, help="at most so many passes over the training rows (default 40)")
    parser.add_argument("--batch-size", type=count, default=32, help="rows a step (default 32)")
    parser.add_argument("--learning-rate", type=float, help="the rate before its schedule (default: the optimizer's)")
    parser.add_argument("--schedule", default="cosine", metavar="NAME:...", help=SCHEDULE_HELP)
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adam")
    parser.add_argument("--weight-decay", type=float, default=0.0, metavar="L2", help="L2 penalty of the weights (default 0)")
    parser.add_argument("--l1", type=float, default=0.0, metavar="L1", help="L1 penalty of the weights (default 0)")
    parser.add_argument("--max-norm", type=float, metavar="NORM", help="hold the incoming weights of every unit to this norm")
    parser.add_argument("--seed", type=seed, default=0, help="fixes split, weights, dropout and order (default 0)")
    parser.add_argument("--out", metavar="FILE", help="save the network here, .npz or .safetensors")
    parser.add_argument("--history", metavar="FILE", help="save the history here, .json, for fastnn plot")


def schedule(arguments: argparse.Namespace) -> schedules.Schedule:
    """What --schedule asks for, for a run of --epochs; the library's sentence for a text that is none."""
    return schedules.parse(arguments.schedule, arguments.epochs)


class LastEpoch:
    """A callback that keeps the weights of the last epoch that was completed, for the Ctrl-C that comes in the middle of the next."""

    def __init__(self) -> None:
        self.epoch = 0
        self.weights: list[np.ndarray] = []
        self.history = History()

    def __call__(self, trainer: Any, record: dict[str, Any]) -> None:
        self.epoch, self.weights = record["epoch"], [array.copy() for array in trainer.net.parameters()]
        self.history = trainer.history

    def restore(self, net: MLP) -> None:
        for array, kept in zip(net.parameters(), self.weights):
            array[...] = kept


def run(arguments: argparse.Namespace) -> int:
    """Train as `arguments` say, print the table, save."""
    if arguments.out:
        table.check_writable(arguments.out, SAVED)
    if arguments.history:
        table.check_writable(arguments.history, (".json",))
    plan = schedule(arguments)
    optimizer_of(arguments)  # what it or the average refuses is said before a table is read
    if arguments.average is not None:
        EMA(arguments.average)
    data = prepared(arguments)
    for note in data.notes:
        print(note)
    if arguments.ensemble is not None or arguments.average is not None:
        from . import cli_ensemble

        return cli_ensemble.run(arguments, data, plan)
    net, optimizer, loss = build(arguments, data)
    print(f"{net!r}\n{optimizer!r}\n{plan!r}", flush=True)
    train, validation = data.learnt()
    last = LastEpoch()
    began = time.perf_counter()
    try:
        history = net.fit(
            *train, loss=loss, optimizer=optimizer, schedule=plan, epochs=arguments.epochs,
            batch_size=arguments.batch_size, validation_data=validation, early_stopping=EarlyStopping(patience(arguments)),
            callbacks=[last], progress=True, seed=arguments.seed, max_norm=arguments.max_norm,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_after_interrupt(arguments.out, net, data, last)) from None
    finally:
        if arguments.history and last.epoch:
            last.history.save(arguments.history)
    seconds = time.perf_counter() - began
    if arguments.out:  # first of all: whatever fails below, the training is not lost
        io.save(arguments.out, net, data.metadata())
    print("\n" + report(net, data))
    best = history.best("val_loss")
    samples = len(history) * len(data.train[0])
    print(f"\n{len(history)} epochs, the weights are those of epoch {best['epoch']}; {seconds:.2f} s, {samples / seconds:,.0f} samples/s "
          f"with validation; {machine()}")
    if arguments.out:
        print(f"saved in {arguments.out}")
    if arguments.history:
        print(f"history saved in {arguments.history}, for fastnn plot")
    return 0


def digits() -> table.Table:
    """The embedded digits with test rows that do not depend on --seed, so that runs can be compared; shuffled, for their writers differ."""
    x, y = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(x))
    return table.Table(len(x), {"digit": y[order]}, x[order], test_from=len(x) - DIGITS_TEST, path="the embedded digits")


def prepared(arguments: argparse.Namespace) -> tabular.Prepared:
    """The parts of the table that data, --target, --task and --seed say, for every command that starts from one."""
    binned = getattr(arguments, "bins", None)  # not every command has it
    if arguments.data is None:
        if arguments.target is not None or arguments.task != "auto" or binned is not None:
            raise ValueError("--target, --task and --bins are for a data file, and the embedded digits have a fixed target")
        return tabular.prepare(digits(), "digit", seed=arguments.seed)
    read = table.read(arguments.data)
    target = arguments.target
    if target is None:
        if Path(arguments.data).suffix.lower() != ".npz":
            raise ValueError(f"--target must name the column of {arguments.data} to learn (columns: {', '.join(read.columns)})")
        target = "y"
    return tabular.prepare(read, target, arguments.task, arguments.seed, binned)


def patience(arguments: argparse.Namespace) -> int:
    """Epochs without a better validation loss that end the training."""
    return max(10, arguments.epochs // 4)


def build(arguments: argparse.Namespace, data: tabular.Prepared) -> tuple[MLP, Any, str]:
    """A network with the seed of `arguments`, the optimizer and the loss."""
    classes = isinstance(data.target, tabular.Classes)
    keep_prob = arguments.keep_prob
    if keep_prob is None:
        keep_prob = 0.8 if classes and arguments.hidden else 1.0
    sizes = (data.train[0].shape[1], *arguments.hidden, data.target.outputs)
    net = MLP(sizes, keep_prob=keep_prob, seed=arguments.seed)
    return net, optimizer_of(arguments), data.target.loss


def optimizer_of(arguments: argparse.Namespace) -> Any:
    """The optimizer with the settings of `arguments`; ValueError in a sentence for one out of range."""
    settings = {"weight_decay": arguments.weight_decay, "l1": arguments.l1}
    if arguments.learning_rate is not None:
        settings["learning_rate"] = arguments.learning_rate
    return OPTIMIZERS[arguments.optimizer](**settings)


def reached(net: MLP | Ensemble, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The loss, and the loss's metric by its name."""
    scores = net.forward(x)
    y = losses.prepare_targets(net.loss, y, len(x), scores.shape[1], scores.dtype, "train")
    return {"loss": net.loss.value_and_gradient(scores, y)[0], net.loss.metric_name: net.loss.metric(scores, y)}


def report(net: MLP | Ensemble, data: tabular.Prepared) -> str:
    """The table: one line a part, and for a regression two plain models on the test rows beside it."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    if isinstance(data.target, tabular.Classes):
        lines = [["", "rows", "loss", "accuracy"]]
        for name, (x, y) in parts.items():
            found = reached(net, x, y)
            lines.append([name, f"{len(y):,}", f"{found['loss']:.4f}", f"{found['accuracy']:.2%}"])
        common = np.bincount(data.train[1]).argmax()
        lines.append(["test, most frequent class", f"{len(data.test[1]):,}", "", f"{np.mean(data.test[1] == common):.2%}"])
        return aligned(lines, left=1)
    target = data.target
    binned = isinstance(target, tabular.BinnedAmount)
    lines = [[f"in units of {target.name}", "rows", "MAE", "RMSE", "R^2", *(["in 80 % interval", "its width"] if binned else [])]]
    for name, (x, y) in parts.items():
        lines.append(_errors(name, target.amounts(net, x), target.decode(y)))
        if isinstance(target, tabular.BinnedAmount):
            covered = target.distribution(net, x).coverage(y, [0.8])
            lines[-1] += [f"{covered.covered[0]:.1%}", amount(covered.widths[0])]
    x, y = data.test
    lines.append(_errors("test, least squares", target.decode(_least_squares(*data.train, x)), target.decode(y)))
    lines.append(_errors("test, training median", np.full(len(y), np.median(target.decode(data.train[1]))), target.decode(y)))
    return aligned([line + [""] * (len(lines[0]) - len(line)) for line in lines], left=1)


def _errors(name: str, predicted: np.ndarray, y: np.ndarray) -> list[str]:
    error = predicted - y
    spread = np.square(y - y.mean()).sum()
    fit = f"{1.0 - np.square(error).sum() / spread:.3f}" if spread > 0 else ""
    sizes = (np.abs(error).mean(), np.sqrt(np.square(error).mean()))
    return [name, f"{len(y):,}", *map(amount, sizes), fit]


def _least_squares(x_train: np.ndarray, y_train: np.ndarray, x: np.ndarray) -> np.ndarray:
    def with_one(x: np.ndarray) -> np.ndarray:
        return np.column_stack([x, np.ones(len(x))]).astype(np.float64)

    return with_one(x) @ np.linalg.lstsq(with_one(x_train), y_train.astype(np.float64), rcond=None)[0]


def machine() -> str:
    """What trained, in a few words."""
    if backend.name == "numpy":
        return "NumPy kernels"
    from . import _config

    config = _config.describe()
    threads = config["threads"]
    return f"{config['isa']}, {threads} thread{'s' * (threads != 1)}"


def _after_interrupt(out: str | None, net: MLP, data: tabular.Prepared, last: LastEpoch) -> str:
    if not last.epoch:
        return "interrupted before the first epoch was complete; nothing was saved"
    if not out:
        return f"interrupted after epoch {last.epoch}; nothing was saved, because --out was not given"
    last.restore(net)
    io.save(out, net, data.metadata())
    return f"interrupted after epoch {last.epoch}, whose weights are saved in {out}"
