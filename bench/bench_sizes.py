"""Layers of many widths, fastnn and NumPy: per cent of the peak over the width, so that a width that falls behind its neighbours shows.

    python bench/bench_sizes.py --json sizes.json --plot sizes.png  (about five minutes on an idle machine)
    python bench/bench_sizes.py --rows 'backward, batch 32' --quick

As many inputs as outputs, float32, two threads; forward and backward, measured as `bench_limits.py` measures. Products of batch 1 read
each weight once for one multiply-add: memory is what limits them, not the peak.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import report
from cases import Case
from contest import FASTNN, FULL, NUMPY, QUICK, QUICK_LIMIT, THREADS, Contest, Peaks, machine, options, progress, smoke, write_json

WIDTHS = (8, 12, 16, 23, 32, 33, 48, 63, 64, 65, 96, 100, 127, 128, 130, 192, 250, 256, 257, 384, 500, 512, 513, 700, 784, 1000, 1024, 1030,
          1536, 2000, 2048, 2050, 3000, 4000, 4096)  # fmt: skip
BATCHES = (1, 8, 32, 128, 512)
DIRECTIONS = {"forward": "linear_relu_forward", "backward": "linear_relu_backward"}


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """Race the layers whose name `pattern` finds; a quick run takes every fifth width."""
    effort, peaks, points = QUICK if quick else replace(FULL, rounds=3, chunks=8, seconds=0.002), Peaks(), []
    peaks.measure(FULL if not quick else effort)
    with Contest((FASTNN, NUMPY), effort) as contest:
        about = machine(peaks, effort, contest.competitors)
        for direction, batch, width in product(DIRECTIONS, BATCHES, WIDTHS[:: 5 if quick else 1]):
            case, name = Case(DIRECTIONS[direction], (batch, width, width)), f"{direction}, batch {batch}, width {width}"
            if re.search(pattern, name) and not (quick and case.work().amount > QUICK_LIMIT):
                progress(f"{name} ...")
                results = contest.race(case, (THREADS,))[THREADS]
                points.append({"direction": direction, "batch": batch, "width": width, "amount": case.work().amount,
                               "peak": peaks.rate(case, THREADS), "results": results})  # fmt: skip
    progress()
    return {"machine": about, "points": points}


def table(points: Sequence[dict[str, Any]]) -> str:
    """Per cent of the peak: a line a width, a column for each direction and batch, fastnn/NumPy."""
    columns = list(dict.fromkeys((point["direction"], point["batch"]) for point in points))
    found = {(point["direction"], point["batch"], point["width"]): point for point in points}
    lines = [["width", *(f"{direction[:3]} {batch}" for direction, batch in columns)]]
    for width in sorted({point["width"] for point in points}):
        cells = [found.get((*column, width), {"results": {}}) for column in columns]
        lines.append([str(width), *("/".join(f"{100 * report.share(cell, name):.0f}" for name in cell["results"]) for cell in cells)])
    return report.aligned(lines)


def main(argv: Sequence[str] | None = None) -> None:
    args = options(__doc__, argv)
    data = measure(args.rows, args.quick)
    print(*report.header(data["machine"]), sep="\n", end="\n\nper cent of peak, fastnn/NumPy:\n")
    print(table(data["points"]), "", *report.holes_text(data["points"]), sep="\n")
    if args.json:
        write_json(args.json, data)
    if args.plot:
        report.plot_sizes(args.plot, data)


def bench_sizes(request, capsys, tmp_path):
    """The widths as a part of `pytest bench`, with file and picture."""
    smoke(main, request, capsys, tmp_path, {"--json": "sizes.json", "--plot": "sizes.png"})


if __name__ == "__main__":
    main()
