"""The kernels against the machine's limits and against NumPy, PyTorch and thinc, in one run.

    python bench/bench_limits.py                                    the table (about five minutes on an idle machine)
    python bench/bench_limits.py --json limits.json --plot limits.png
    python bench/bench_limits.py --rows adam --quick                some rows, and for a moment only
    python bench/bench_limits.py --from limits.json --readme README.md

Each competitor has a process of its own and is left out, which is said, where it is not installed; they take turns in every round. Ordinary
row-major NumPy arrays go in and come out, and a call from Python is what is timed. fastnn writes into `out=`; of the forms that the
same work can take in another library the fastest one stands for it. Two threads and float32 unless a row says otherwise. A figure is the
median over rounds of the best of many short chunks; beside fastnn's stands the median of all chunks. Per cent are of the peak measured in
the same run: fused multiply-adds in registers of one thread, times the threads, or the stream triad on all threads. The triad is counted
as three arrays, though the processor reads the one that is written, too: updates in place, which do not pay that, can pass 100 %. The
targets in seconds were set for two Zen 3 cores at 100 GFLOP/s each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import report
from cases import Case
from contest import COMPETITORS, FULL, QUICK, QUICK_LIMIT, THREADS, Contest, Peaks, machine, options, progress, smoke, write_json

SCALING = 1.95


@dataclass(frozen=True)
class Limit:
    """A case, what it is to reach (`seconds`, or `share` of the peak and the `aim` beyond; nothing: be the fastest), where it is shown."""

    case: Case
    target: dict[str, float] = field(default_factory=dict)
    threads: tuple[int, ...] = (THREADS,)
    readme: bool = True


def limits() -> Iterator[Limit]:
    forward, backward = "linear_relu_forward", "linear_relu_backward"
    middle, large = (128, 784, 1024), (256, 4096, 4096)
    products = {
        (forward, middle): (0.78, 0.85), (forward, large): (0.86, 0.92),
        (backward, middle): (0.76, 0.83), (backward, large): (0.84, 0.90),
    }  # fmt: skip
    yield Limit(Case(forward, (32, 64, 32)), {"seconds": 3e-6})
    for (kernel, size), (share, aim) in products.items():
        yield Limit(Case(kernel, size), {"share": share, "aim": aim}, threads=(1, THREADS))
    for batch in (1, 2, 4, 8, 16, 32, 64):
        yield Limit(Case(forward, (batch, 1024, 1024)), threads=(1, THREADS), readme=batch in (1, 8, 32))
    for shape, target in (((10, 1000), {"seconds": 5e-6}), ((1000, 1000), {"seconds": 0.22e-3}), ((30000, 1000), {"share": 0.85})):
        yield Limit(Case("dropout_forward", shape), target)
    for size, target in ((10_000, {"seconds": 6e-6}), (1_000_000, {"seconds": 0.27e-3}), (30_000_000, {"share": 0.90})):
        yield Limit(Case("adam_update", (size,)), target)
    yield Limit(Case("rmsprop_update", (1_000_000,)), {"seconds": 0.25e-3})
    yield Limit(Case("momentum_update", (1_000_000,)), {"seconds": 0.2e-3})
    yield Limit(Case("softmax_cross_entropy", (128, 10)), {"seconds": 4e-6})
    yield Limit(Case("softmax_cross_entropy", (256, 1000)), {"seconds": 0.12e-3})
    for (kernel, size), (share, aim) in products.items():
        yield Limit(Case(kernel, size, "float64"), {"share": share, "aim": aim}, readme=size == large)


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """Race the rows that `pattern` finds; the data of the table."""
    effort, peaks, rows = QUICK if quick else FULL, Peaks(), []
    peaks.measure(effort)
    with Contest(COMPETITORS, effort) as contest:
        about = machine(peaks, effort, contest.competitors)
        for limit in limits():
            if not re.search(pattern, str(limit.case)) or (quick and limit.case.work().amount > QUICK_LIMIT):
                continue
            progress(f"{limit.case} ...")
            peaks.look()
            for threads, results in contest.race(limit.case, limit.threads).items():
                rows.append((limit, threads, results))
            if peaks.rate(limit.case, THREADS) == peaks.bandwidth:
                peaks.measure(effort)  # other guests of the machine take bandwidth: look while the row is run, too
        notes = contest.notes
    progress()
    peaks.measure(effort)
    about |= {key: value for key, value in machine(peaks, effort, contest.competitors).items() if key != "load"}
    return {"machine": about, "notes": notes, "rows": [_row(limit, threads, results, peaks) for limit, threads, results in rows]}


def _row(limit: Limit, threads: int, results: dict[str, Any], peaks: Peaks) -> dict[str, Any]:
    case, work = limit.case, limit.case.work()
    return {
        "kernel": case.kernel,
        "size": list(case.size),
        "dtype": case.dtype,
        "threads": threads,
        "unit": work.unit,
        "amount": work.amount,
        "peak": peaks.rate(case, threads),
        "target": limit.target,
        "readme": limit.readme and threads == THREADS,
        "results": results,
    }


def main(argv: Sequence[str] | None = None) -> None:
    args = options(
        __doc__, argv,
        readme={"metavar": "FILE", "type": Path, "help": f"write the short table into FILE, between {report.START} and {report.END}"},
        **{"from": {"metavar": "FILE", "type": Path, "dest": "source", "help": "take the figures of an earlier --json, measure nothing"}},
    )  # fmt: skip
    data = json.loads(args.source.read_text(encoding="utf-8")) if args.source else measure(args.rows, args.quick)
    print(*report.header(data["machine"]), *data["notes"], sep="\n", end="\n\n")
    print(report.table(data["rows"]), end="\n\n")
    if report.scaling(data["rows"]):
        print(report.scaling_table(data["rows"], SCALING), end="\n\n")
    print("(times fastnn's time); best rival: the least of them\nthe fastest forms:", *report.forms(data["rows"]), sep="\n  ")
    if args.json:
        write_json(args.json, data)
    if args.plot:
        report.plot_table(args.plot, data)
    if args.readme:
        report.write_readme(args.readme, report.START, report.readme_table(data))


def bench_limits(request, capsys, tmp_path):
    """The rows as a part of `pytest bench`, with file, picture and README."""
    smoke(main, request, capsys, tmp_path, {"--json": "limits.json", "--plot": "limits.png", "--readme": "README.md"})


if __name__ == "__main__":
    main()
