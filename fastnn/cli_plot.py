"""`fastnn plot`: training curves of saved histories, one picture for all of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import curves, table
from .history import History
from .text import aligned

PICTURES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `fastnn plot`."""
    parser.add_argument("histories", nargs="+", metavar="HISTORY", help="a .json file that fastnn train --history or History.save wrote")
    parser.add_argument("--out", metavar="FILE", help="the picture, .png, .svg or .pdf (default: the first history's name with .png)")


def run(arguments: argparse.Namespace) -> int:
    """Draw the histories, and print a line for each."""
    out = arguments.out or str(Path(arguments.histories[0]).with_suffix(".png"))
    histories = [History.load(path) for path in arguments.histories]
    table.check_writable(out, PICTURES)
    curves.plot(arguments.histories, out)
    print(aligned([("history", "epochs", "last loss", "last val_loss", ""), *map(_row, arguments.histories, histories)], left=1))
    print(f"saved in {out}")
    return 0


def _row(path: str, history: History) -> tuple[str, ...]:
    last = [f"{curves.series(history, name)[1][-1]:.4f}" for name in ("loss", "val_loss")]
    return path, str(len(history)), *last, curves.outcome(history)
