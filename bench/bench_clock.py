"""What keeps products from the peak: the clock that the processor leaves them, and the rest.

    python bench/bench_clock.py --json clock.json  (under a minute on an idle machine)
    python bench/bench_clock.py --rows 4096

The peak is what multiply-adds on registers reach by themselves. Many processors lower their clock for code that also moves data through
wide registers, and they do so for the whole core at once: multiply-adds on registers that start right after a product, and end before the
clock can rise again, show the rate that was to be had during the product. `peak` is measured before each row and is the best of many
pieces; `peak then` is the median of one piece (tens of microseconds, on one thread, times the threads) right after each chunk of the
product, `rate` the median of the chunks, and `of it` the median of their ratios: what is lost to memory, caches and edges.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import report
from cases import Case
from contest import COMPETITORS, FULL, QUICK, QUICK_LIMIT, THREADS, Peaks, machine, progress, smoke, study
from peers import fastnn_kernels

import fastnn
from fastnn import _core
from fastnn.benchmark import calls_for, chunk
from fastnn.text import aligned

PRODUCTS = ("linear_relu_forward", "linear_relu_backward")
SIZES = ((32, 64, 32), (64, 784, 128), (128, 784, 1024), (128, 1024, 1024), (512, 512, 512), (256, 4096, 4096))
CHUNKS, SECONDS = 60, 0.002


def cases() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for kernel in PRODUCTS:
            yield from (Case(kernel, size, dtype) for size in SIZES)


def row(case: Case, threads: int, quick: bool) -> dict[str, Any]:
    """Chunks of a case and, right after each, multiply-adds on registers."""
    fastnn.set_num_threads(threads)
    effort = QUICK if quick else FULL
    peak = threads * _core.fma_peak(case.dtype, effort.peak_seconds)
    work, amount = fastnn_kernels.prepare(case), case.work().amount
    calls = calls_for(work, SECONDS)
    rates, peaks = [], []
    for _ in range(3 if quick else max(10, min(CHUNKS, int(2 / (calls * amount / peak))))):
        rates.append(amount / chunk(work, calls))
        peaks.append(threads * _core.fma_peak(case.dtype, 0.0))
    shares = [rate / then for rate, then in zip(rates, peaks)]
    return {"case": str(case), "threads": threads, "peak": peak, "rate": statistics.median(rates), "peak_then": statistics.median(peaks),
            "of_it": statistics.median(shares)}  # fmt: skip


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    peaks, rows = Peaks(), []
    effort = QUICK if quick else FULL
    peaks.measure(effort)
    about = machine(peaks, effort, COMPETITORS[:1])
    for case in cases():
        if re.search(pattern, str(case)) and not (quick and case.work().amount > QUICK_LIMIT):
            for threads in (1, THREADS):
                progress(f"{case} ...")
                rows.append(row(case, threads, quick))
    progress()
    fastnn.set_num_threads(None)
    return {"machine": about, "notes": [], "rows": rows}


def table(data: dict[str, Any]) -> str:
    lines = [["product", "threads", "rate", "peak", "of the peak", "peak then", "of it"]]
    for found in data["rows"]:
        rates = [f"{found[name] / 1e9:.0f} GFLOP/s" for name in ("rate", "peak", "peak_then")]
        lines.append([found["case"], str(found["threads"]), rates[0], rates[1], report.per_cent(found["rate"] / found["peak"]), rates[2],
                      report.per_cent(found["of_it"])])  # fmt: skip
    return aligned(lines, left=1)


def main(argv: Sequence[str] | None = None) -> None:
    study(__doc__, argv, measure, table)


def bench_clock(request, capsys, tmp_path):
    """The rows as a part of `pytest bench`, with file."""
    smoke(main, request, capsys, tmp_path, {"--json": "clock.json"})


if __name__ == "__main__":
    main()
