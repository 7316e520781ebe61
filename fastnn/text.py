"""Tables, amounts and lines of progress for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """The rows as lines of columns two spaces apart: the first `left` columns flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]

    def line(row: Sequence[str]) -> str:
        cells = (cell.ljust(width) if k < left else cell.rjust(width) for k, (cell, width) in enumerate(zip(row, widths)))
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, rows))


def amount(value: float) -> str:
    """A number in the units of a target: whole where it has four digits or more, as far as float64 holds whole numbers."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 2**53 else f"{value:.4g}"


class Line:
    """One line on stderr that is written anew as work goes on; on a stderr that is no terminal, line after line."""

    def __init__(self) -> None:
        self.width = 0

    def write(self, line: str) -> None:
        """Show `line` in place of the one before."""
        terminal = sys.stderr.isatty()
        sys.stderr.write(f"\r{line.ljust(self.width)}" if terminal else line + "\n")
        sys.stderr.flush()
        self.width = len(line) if terminal else 0

    def finish(self) -> None:
        """End the line."""
        if self.width:
            sys.stderr.write("\n")
