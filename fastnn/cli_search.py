"""`fastnn search`: random search from coarse to fine on a table, and the best network trained and saved as by `fastnn train`."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

from . import cli_train, io, table, tabular
from .callbacks import EarlyStopping
from .cli_plot import PICTURES
from .model import MLP
from .optimizers import OPTIMIZERS
from .schedules import CosineDecay
from .search import RandomSearch, Stage
from .search_result import BorderWarning, SearchResult
from .space import Choice, Dimension, LogUniform, Uniform
from .trainer import Trainer

HIDDEN = ((64,), (128,), (256,), (128, 64), (256, 128))
COARSE = 2 / 3  # of the trials, which run one epoch
AROUND = 30.0  # times the optimizer's own rate, and that part of it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `fastnn search`."""
    parser.add_argument("data", nargs="?", help="a table as for fastnn train; left out: the embedded digits")
    parser.add_argument("--target", metavar="COLUMN", help="the column to learn (default for .npz: y)")
    parser.add_argument("--task", choices=tabular.TASKS, default="auto", help="auto: text and few whole numbers are classes")
    parser.add_argument("--trials", type=cli_train.whole(1, 10**6), default=60,
                        help="configurations, two thirds of which run one epoch (default 60)")
    parser.add_argument("--epochs", type=cli_train.count, default=10, help="of the other trials, and of the best network (default 10)")
    parser.add_argument("--folds", type=cli_train.whole(2, 1000), metavar="K", help="judge by K folds of the training rows")
    parser.add_argument("--extend", action="store_true", help="search on beyond a border that the best value is near")
    parser.add_argument("--batch-size", type=cli_train.count, default=32, help="rows a step (default 32)")
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adam")
    parser.add_argument("--seed", type=cli_train.seed, default=0, help="fixes split, trials, weights, dropout and order (default 0)")
    parser.add_argument("--log", metavar="FILE", help="write every trial here as a line of JSON, and go on from there if it exists, .jsonl")
    parser.add_argument("--plot", metavar="FILE", help="draw hyperparameters against the score, .png, .svg or .pdf")
    parser.add_argument("--out", metavar="FILE", help="save the best network here, .npz or .safetensors")


def run(arguments: argparse.Namespace) -> int:
    """Search as `arguments` say, print the best trials and what is near a border, train the best network, save."""
    for path, suffixes in ((arguments.log, (".jsonl",)), (arguments.plot, PICTURES), (arguments.out, cli_train.SAVED)):
        if path:
            table.check_writable(path, suffixes)
    data = cli_train.prepared(arguments)
    for note in data.notes:
        print(note)
    search = _search(arguments, data)
    for name, dimension in search.space.items():
        print(f"{name}: {dimension}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BorderWarning)  # said below, in a sentence
        try:
            result = search.run(*data.train, validation_data=None if arguments.folds else data.validation, folds=arguments.folds,
                                batch_size=arguments.batch_size, log=arguments.log, progress=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_after_interrupt(arguments, search.result)) from None
    print()
    result.table()
    for border in result.borders:
        print(f"{border}" + ("" if arguments.extend else " (--extend does)"))
    if arguments.plot:
        result.plot(arguments.plot)
        print(f"drawn in {arguments.plot}")
    trainer = search.build(**result.best.parameters, epochs=arguments.epochs)
    trainer.fit(*data.train, epochs=arguments.epochs, batch_size=arguments.batch_size, validation_data=data.validation,
                early_stopping=EarlyStopping(cli_train.patience(arguments)))
    if arguments.out:
        io.save(arguments.out, trainer.net, data.metadata())
    print(f"\nthe best of them, trained for {arguments.epochs} epochs\n" + cli_train.report(trainer.net, data))
    if arguments.out:
        print(f"saved in {arguments.out}")
    return 0


def _search(arguments: argparse.Namespace, data: tabular.Prepared) -> RandomSearch:
    classes = isinstance(data.target, tabular.Classes)
    kind: Any = OPTIMIZERS[arguments.optimizer]

    def build(learning_rate: float, weight_decay: float, keep_prob: float, hidden: tuple[int, ...], epochs: int) -> Trainer:
        net = MLP((data.train[0].shape[1], *hidden, data.target.outputs), keep_prob=keep_prob, seed=arguments.seed)
        optimizer = kind(learning_rate, weight_decay=weight_decay)
        return Trainer(net, "softmax_cross_entropy" if classes else "l2", optimizer, CosineDecay(epochs))

    rate = kind().learning_rate
    space: dict[str, Dimension] = {
        "learning_rate": LogUniform(rate / AROUND, rate * AROUND), "weight_decay": LogUniform(1e-7, 1e-2),
        "keep_prob": Uniform(0.5, 1.0), "hidden": Choice(HIDDEN),
    }  # fmt: skip
    coarse = round(COARSE * arguments.trials)
    stages = [Stage(trials, epochs) for trials, epochs in ((coarse, 1), (arguments.trials - coarse, arguments.epochs)) if trials]
    return RandomSearch(build, space, stages, arguments.seed, extend=arguments.extend)


def _after_interrupt(arguments: argparse.Namespace, result: SearchResult) -> str:
    print()
    result.table()
    kept = f"they are in {arguments.log}, and the same command goes on after them" if arguments.log else "nothing was saved, without --log"
    return f"interrupted after {len(result.trials)} trials: {kept}"
