"""The `fastnn` command: one function a subcommand, and one sentence with exit status 2 for everything a user can get wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from . import cli_diagnose, cli_ensemble, cli_plot, cli_search, cli_train

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
WRONG = 2


class _Parser(argparse.ArgumentParser):
    """argparse, answering with one sentence instead of the usage and a sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"{self.prog}: {message} (try {self.prog} --help)\n")


class _Version(argparse.Action):
    """Asks for the version only when told to: the metadata takes longer to read than everything else here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from . import __version__

        print(f"fastnn {__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fastnn ARGV` and return its exit status: 0, 1 (a check failed), 2 (the user's error), 130 (Ctrl-C)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv[0] if argv and not argv[0].startswith("-") else ""
    try:
        arguments = parser().parse_args(argv)
        return arguments.run(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else WRONG if stop.code else 0
    except KeyboardInterrupt as stop:
        return _say(command, str(stop) or "interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as head, has gone: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _say(command, f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error), WRONG)
    except (ValueError, FloatingPointError, MemoryError, ImportError) as error:
        return _say(command, str(error) or type(error).__name__, WRONG)


def parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    top = _Parser(prog="fastnn", description="Train multilayer perceptrons on the CPU.", allow_abbrev=False)
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    train = commands.add_parser("train", help="train on a table, or without one on the embedded digits", allow_abbrev=False)
    cli_train.add_arguments(train)
    cli_ensemble.add_arguments(train)
    train.set_defaults(run=cli_train.run)
    predict = commands.add_parser("predict", help="predict the rows of a table with a trained network", allow_abbrev=False)
    predict.add_argument("net", help="what fastnn train --out wrote")
    predict.add_argument("data", help="a .csv, .csv.gz or .npz file with the columns of training; the target may be absent")
    predict.add_argument("--out", help="the .csv file to write (default: standard output)")
    predict.set_defaults(run=_predict)
    search = commands.add_parser("search", help="search hyperparameters on a table, or on the embedded digits", allow_abbrev=False)
    cli_search.add_arguments(search)
    search.set_defaults(run=cli_search.run)
    plot = commands.add_parser("plot", help="draw training curves of saved histories", allow_abbrev=False)
    cli_plot.add_arguments(plot)
    plot.set_defaults(run=cli_plot.run)
    diagnose = commands.add_parser("diagnose", help="judge a network layer by layer before it is trained, or after", allow_abbrev=False)
    cli_diagnose.add_arguments(diagnose)
    diagnose.set_defaults(run=cli_diagnose.run)
    info = commands.add_parser("info", help="say what fastnn runs on here, or what a saved network is", allow_abbrev=False)
    info.add_argument("net", nargs="?", help="a saved network or ensemble")
    info.set_defaults(run=_info)
    gradcheck = commands.add_parser("gradcheck", help="check every gradient against centered differences", allow_abbrev=False)
    gradcheck.add_argument("--seed", type=cli_train.seed, default=0)
    gradcheck.set_defaults(run=_gradcheck)
    bench = commands.add_parser("bench", help="measure this machine against NumPy", allow_abbrev=False)
    bench.add_argument("--quick", action="store_true", help="measure for a moment only, to see that everything runs")
    bench.set_defaults(run=_bench)
    return top


def _predict(arguments: argparse.Namespace) -> int:
    from . import table, tabular

    if arguments.out:
        table.check_writable(arguments.out, (".csv",))
    net, features, target = tabular.load(arguments.net)
    table.write(arguments.out, target.columns(net, features.encode(table.read(arguments.data))))
    return 0


def _info(arguments: argparse.Namespace) -> int:
    import fastnn

    if arguments.net is None:
        fastnn.show_config()
        return 0
    from . import ensemble

    net, metadata = ensemble.load_any(arguments.net)
    print(net.summary())
    if metadata and "target" in metadata:
        target = metadata["target"]
        print(f"{target['task']} of {target['name']}")
    return 0


def _gradcheck(arguments: argparse.Namespace) -> int:
    from .gradcheck import gradient_check
    from .model import MLP

    rng = np.random.default_rng(arguments.seed)
    x = rng.standard_normal((16, 7))
    labels, amounts = rng.integers(0, 4, 16), rng.standard_normal((16, 4))
    passed = True
    for loss, y in (("softmax_cross_entropy", labels), ("hinge", labels), ("l2", amounts)):
        for activation in ("relu", "leaky_relu", "tanh", "sigmoid"):
            net = MLP((7, 9, 8, 4), activation=activation, dtype="float64", seed=arguments.seed)
            report = gradient_check(net, x, y, loss=loss, weight_decay=1e-3, l1=1e-3, seed=arguments.seed)
            print(f"{loss:22} {activation:11} {report.max_relative_error:9.2e}  {report.verdict}")
            if not report.passed:
                passed = False
                print(report)
    return 0 if passed else 1


def _bench(arguments: argparse.Namespace) -> int:
    from . import benchmark

    return benchmark.main(arguments)


def _say(command: str, sentence: str, status: int) -> int:
    print(f"fastnn {command}".rstrip() + f": {' '.join(sentence.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
