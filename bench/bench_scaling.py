"""Where fastnn wins and by how much, over widths and batches; and what training costs as samples, layers and parameters grow.

    python bench/bench_scaling.py --json scaling.json --plot scaling.png  (about ten minutes on an idle machine)
    python bench/bench_scaling.py --rows 'batch 32' --quick

A point of the map is a step of a network of two hidden layers, all as wide as the input, and ten outputs, measured as
`bench_training.py` measures; the rivals are those that need not compile C++ for every point. The lines are fastnn's: an epoch over so many
samples, a step of so many hidden layers, a step of so many parameters. A straight line is fitted to each (least squares of relative errors,
so that the small ends count) and its worst deviation is shown: cost that is linear has a small one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pictures
import report
from contest import FULL, QUICK, QUICK_LIMIT, THREADS, TRAINERS, Contest, Peaks, machine, progress, smoke, study
from training import Training

from fastnn.benchmark import time_text
from fastnn.text import aligned

WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 8, 32, 128, 512)
EFFORT = replace(FULL, rounds=3, chunks=24, seconds=0.004)
RIVALS = tuple(trainer for trainer in TRAINERS if trainer.name != "PyTorch compiled")
SAMPLES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
LAYERS = (1, 2, 3, 4, 6, 8, 12, 16)
HIDDEN = (64, 128, 192, 256, 384, 512, 768, 1024)


def points(quick: bool) -> Iterator[tuple[int, int, Training]]:
    """Width, batch, and what is trained there."""
    for batch in BATCHES[:: 2 if quick else 1]:
        for width in WIDTHS[:: 3 if quick else 1]:
            yield width, batch, Training((width, width, width, 10), batch)


def lines(quick: bool) -> dict[str, list[tuple[int, Training]]]:
    """For each thing that grows: how much of it, and what is trained then."""
    stride = 3 if quick else 1
    by_width = [Training((256, width, width, 10), 64) for width in HIDDEN[::stride]]
    return {
        "samples (784-128-10, batch 64)": [(n, Training((784, 128, 10), 64, samples=n)) for n in SAMPLES[: 3 if quick else None]],
        "hidden layers (of 256, batch 64)": [(k, Training((256, *[256] * k, 10), 64)) for k in LAYERS[::stride]],
        "parameters (256-w-w-10, batch 64)": [(case.parameters, case) for case in by_width],
    }


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """Race the points and walk the lines whose names `pattern` finds."""
    effort, peaks = QUICK if quick else EFFORT, Peaks()
    peaks.measure(effort)
    found, walks = [], []
    with Contest(RIVALS, effort) as contest:
        about, notes = machine(peaks, effort, contest.competitors), contest.notes
        for width, batch, case in points(quick):
            name = f"map, batch {batch}, width {width}"
            if re.search(pattern, name) and not (quick and case.work().amount > QUICK_LIMIT):
                progress(f"{name} ...")
                results = contest.race(case, (THREADS,))[THREADS]
                found.append({"width": width, "batch": batch, "amount": case.work().amount, "peak": peaks.rate(case, THREADS),
                              "results": results})  # fmt: skip
    with Contest(RIVALS[:1], effort) as alone:
        for name, cases in lines(quick).items():
            if re.search(pattern, f"line, {name}"):
                progress(f"{name} ...")
                seconds = [alone.race(case, (THREADS,))[THREADS]["fastnn"]["seconds"] for _, case in cases]
                walks.append({"name": name, "counts": [count for count, _ in cases], "seconds": seconds})
    progress()
    return {"machine": about, "notes": notes, "points": found, "lines": walks}


def straight(counts: Sequence[float], seconds: Sequence[float]) -> tuple[float, float, float]:
    """`(start, slope, worst)`: the line start + slope * count with the least squares of relative errors, and its largest relative error."""
    x, t = np.asarray(counts, float), np.asarray(seconds, float)
    (start, slope), *_ = np.linalg.lstsq(np.stack([1 / t, x / t], axis=1), np.ones(len(t)), rcond=None)
    return float(start), float(slope), float(np.max(np.abs((start + slope * x) / t - 1)))


def table(found: Sequence[dict[str, Any]]) -> str:
    """Times of fastnn's time that the best rival takes, and who it is: a line a width, a column a batch."""
    batches = sorted({point["batch"] for point in found})
    cells = {(point["width"], point["batch"]): report.best_rival(point) for point in found}
    rows = [["width", *(f"batch {batch}" for batch in batches)]]
    for width in sorted({point["width"] for point in found}):
        rivals = [cells.get((width, batch)) for batch in batches]
        rows.append([str(width), *(f"{rival[1]:.2f} {rival[0]}" if rival else "-" for rival in rivals)])
    return aligned(rows)


def line_text(line: dict[str, Any]) -> str:
    """What one more costs, and how straight the line is."""
    start, slope, worst = straight(line["counts"], line["seconds"])
    ends = f"{time_text(line['seconds'][0])} for {line['counts'][0]:,} to {time_text(line['seconds'][-1])} for {line['counts'][-1]:,}"
    return f"{line['name']}: {ends}; {time_text(max(start, 0.0))} and {time_text(slope)} for each, within {100 * worst:.0f} %"


def main(argv: Sequence[str] | None = None) -> None:
    args, data = study(__doc__, argv, measure, lambda data: "\n".join(
        ["times of fastnn's time that the best rival takes:", table(data["points"]), "", *map(line_text, data["lines"])]))
    if args.plot:
        fits = [straight(line["counts"], line["seconds"]) for line in data["lines"]]
        pictures.plot_scaling(args.plot, data, fits)


def bench_scaling(request, capsys, tmp_path):
    """Map and lines as a part of `pytest bench`, with file and picture."""
    smoke(main, request, capsys, tmp_path, {"--json": "scaling.json", "--plot": "scaling.png"})


if __name__ == "__main__":
    main()
