"""`fastnn diagnose`: the network that `fastnn train` would begin with, or one that it has saved, judged layer by layer."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from . import cli_train, plots, table, tabular
from .cli_plot import PICTURES
from .diagnostics import diagnose
from .init import INITIALIZERS, Initializer, Normal
from .layers import ACTIVATIONS
from .model import MLP
from .optimizers import OPTIMIZERS

# What --net replaces; their options default to None, so that one given beside --net is noticed.
BUILD: dict[str, Any] = {"hidden": (256, 128), "activation": "relu", "init": "he_normal", "keep_prob": 1.0, "task": "auto",
                         "bins": None}


def initialiser(text: str) -> str | Initializer:
    """An argparse type: a name of `fastnn.init`, or `normal:0.01` for normal numbers of that deviation."""
    name, _, std = text.partition(":")
    try:
        if name == "normal" and std:
            return Normal(table.number(std))
    except ValueError:
        pass
    if text not in INITIALIZERS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(INITIALIZERS)}, or normal:DEVIATION (got '{text}')")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `fastnn diagnose`."""
    parser.add_argument("data", nargs="?", help="a table as for fastnn train; left out: the embedded digits")
    parser.add_argument("--target", metavar="COLUMN", help="the column to learn (default for .npz: y)")
    parser.add_argument("--task", choices=tabular.TASKS, help="auto: text and few whole numbers are classes")
    parser.add_argument("--bins", type=cli_train.binning, metavar="[KIND:]N", help="learn an amount over bins, as fastnn train does")
    parser.add_argument("--net", metavar="FILE", help="judge this network, which fastnn train --out wrote, instead of a new one")
    parser.add_argument("--hidden", type=cli_train.hidden, metavar="N,N", help="hidden layer sizes, or none (default 256,128)")
    parser.add_argument("--activation", choices=sorted(ACTIVATIONS), help="default relu")
    parser.add_argument("--init", type=initialiser, metavar="NAME", help=f"{', '.join(INITIALIZERS)} or normal:0.01 (default he_normal)")
    parser.add_argument("--keep-prob", type=float, help="probability that a hidden unit stays (default 1)")
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adam")
    parser.add_argument("--learning-rate", type=float, help="default: the optimizer's")
    parser.add_argument("--seed", type=cli_train.seed, default=0, help="fixes split, weights and rows (default 0)")
    parser.add_argument("--plot", metavar="FILE", help="draw what was found, .png, .svg or .pdf")


def run(arguments: argparse.Namespace) -> int:
    """Print the diagnosis; 0 when nothing is bad, else 1."""
    if arguments.plot:
        table.check_writable(arguments.plot, PICTURES)
        plots.figure("diagnose")  # says so now where pictures cannot be drawn
    net, loss, x, y = _built(arguments) if arguments.net is None else _saved(arguments)
    rate = {} if arguments.learning_rate is None else {"learning_rate": arguments.learning_rate}
    optimizer = OPTIMIZERS[arguments.optimizer](**rate)
    print(f"{net!r}\n{optimizer!r}\n", flush=True)
    report = diagnose(net, x, y, loss=loss, optimizer=optimizer, seed=arguments.seed)
    print(report)
    if arguments.plot:
        report.plot(arguments.plot)
        print(f"\npicture in {arguments.plot}")
    return 0 if report.passed else 1


def _built(arguments: argparse.Namespace) -> tuple[MLP, Any, np.ndarray, np.ndarray]:
    """A new network and the training rows."""
    settings = {name: default if getattr(arguments, name) is None else getattr(arguments, name) for name, default in BUILD.items()}
    data = cli_train.prepared(argparse.Namespace(**{**vars(arguments), **settings}))
    x, y = data.learnt()[0]
    net = MLP((x.shape[1], *settings["hidden"], data.target.outputs), activation=settings["activation"], init=settings["init"],
              keep_prob=settings["keep_prob"], seed=arguments.seed)
    return net, data.target.loss, x, y


def _saved(arguments: argparse.Namespace) -> tuple[MLP, Any, np.ndarray, np.ndarray]:
    """The network of a file and all rows of the table that have a target."""
    unwanted = [f"--{name.replace('_', '-')}" for name in ("target", *BUILD) if getattr(arguments, name) is not None]
    if unwanted:
        raise ValueError(f"{', '.join(unwanted)}: not with --net, for the saved network knows")
    net, features, target = tabular.load(arguments.net)
    if not isinstance(net, MLP):
        raise ValueError(f"{arguments.net}: holds an ensemble, and one network is judged at a time")
    rows = cli_train.digits() if arguments.data is None else table.read(arguments.data)
    x, y = features.encode(rows), target.encode(rows)
    known = y >= 0 if isinstance(target, tabular.Classes) else ~np.isnan(y)
    if not known.any():
        raise ValueError(f"{rows.path}: no row has a value of {target.name} that the network knows")
    return net, net.loss, x[known], target.learnt(y[known])
