"""Training with fastnn beside NumPy, PyTorch (eager and compiled), JAX, scikit-learn and thinc, in one run: steps, MNIST epochs, memory.

    python bench/bench_training.py                                  the table (about ten minutes on an idle machine)
    python bench/bench_training.py --json training.json --plot training.png
    python bench/bench_training.py --rows 'MNIST' --quick           some rows, and for a moment only
    python bench/bench_training.py --from training.json --plot bench/training.png --readme README.md

Two threads, float32, Adam, softmax cross-entropy. Each competitor has a process of its own and is left out, which is said, where it is not
installed; they take turns in every round. All start from the same weights and see the same rows, and each is held to its first losses: one
that does not start where fastnn starts, or does not learn, ends the run. "a call" is one update from a batch that is handed in
(`Trainer.step`), "inside an epoch" an epoch over resident rows (`Trainer.epoch`: shuffling and gathering included) divided by its
updates. Of the forms that the same work can take in another library the fastest one stands for it. A figure is the median over rounds of
the best of many short chunks; beside fastnn's stands the median of all chunks. Per cent are of the multiply-adds measured in the same run,
of which an update is declared to do batch * (3 * weights - weights of the first layer). Memory is the peak of a fastnn process while it
trains, less data, weights and optimizer state. The targets in seconds were set for two Zen 3 cores at 100 GFLOP/s each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import report
from contest import FULL, QUICK, QUICK_LIMIT, THREADS, TRAINERS, Competitor, Contest, Peaks, machine, options, progress, smoke, write_json
from training import Training, mnist_note

import fastnn

EFFORT = replace(FULL, rounds=5, chunks=80, seconds=0.005)
TOGETHER = (TRAINERS[0], Competitor("one after another, one thread", "fastnn_one_by_one", environment=()))
MEMORY = Competitor("fastnn", "fastnn_memory", environment=())
MEMORY_CASE = Training((784, 1024, 1024, 10), 128, keep_prob=0.5, samples=1280)
NOTE = ", measured in the same run."


@dataclass(frozen=True)
class Row:
    """A line of the table: what is trained, its target (as in `bench_limits.py`), by how many updates its time is divided, who runs."""

    name: str
    case: Training
    target: dict[str, float] = field(default_factory=dict)
    per: int = 1
    competitors: tuple[Competitor, ...] = TRAINERS


def table_rows(quick: bool) -> Iterator[Row]:
    """The rows; a quick run sees a small part of each data set."""
    small, medium, large, huge = (64, 32, 10), (784, 128, 10), (784, 1024, 1024, 10), (2048, 4096, 4096, 1000)
    yield Row("step 64-32-10, batch 32, a call", Training(small, 32), {"seconds": 9e-6})
    resident = Training(small, 32, samples=320 if quick else 64 * 32)
    yield Row("step 64-32-10, batch 32, inside an epoch", resident, {"seconds": 7.5e-6}, resident.updates)
    yield Row("step 784-128-10, batch 64", Training(medium, 64), {"seconds": 0.2e-3})
    yield Row("step 784-128-10, batch 1", Training(medium, 1), {"seconds": 50e-6})
    yield Row("step 784-1024-1024-10, batch 128, dropout 0.5", Training(large, 128, keep_prob=0.5), {"seconds": 7.9e-3, "aim": 7.4e-3})
    yield Row("step 2048-4096-4096-1000, batch 256", Training(huge, 256), {"seconds": 0.245})
    if not mnist_note():
        images, part = (1000, ", 1000 rows") if quick else (60_000, "")
        first = Training(medium, 64, samples=images, data="mnist")
        yield Row(f"MNIST epoch 784-128-10, batch 64{part}", first, {} if quick else {"seconds": 0.21})
        keras = Training((784, 512, 512, 10), 128, keep_prob=0.8, samples=images, data="mnist")
        yield Row(f"MNIST epoch 784-512-512-10, batch 128, dropout 0.2{part}", keras, {} if quick else {"seconds": 1.3})
    many = Training(small, 32, samples=64 if quick else 1792, members=64, epochs=1 if quick else 4)
    if hasattr(fastnn, "fit_many"):
        yield Row("64 networks 64-32-10 trained together", many, {"gain": 1.9}, competitors=TOGETHER)


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """Race the rows that `pattern` finds; the data of the table."""
    effort, peaks, measured = QUICK if quick else EFFORT, Peaks(), []
    peaks.measure(effort)
    with Contest(TRAINERS, effort) as contest, Contest(TOGETHER, effort) as together:
        about = machine(peaks, effort, contest.competitors)
        notes = [*contest.notes, *filter(None, (mnist_note(), "" if hasattr(fastnn, "fit_many") else
                 "this fastnn has no fit_many: the row of many networks is absent"))]  # fmt: skip
        for row in table_rows(quick):
            if re.search(pattern, row.name) and not (quick and row.case.work().amount > 10 * QUICK_LIMIT):
                progress(f"{row.name} ...")
                peaks.look()
                results = (contest if row.competitors is TRAINERS else together).race(row.case, (THREADS,))[THREADS]
                measured.append((row, results))
        progress("memory ...")
        memory = beyond(contest) if re.search(pattern, "memory") else None
    progress()
    peaks.measure(effort)
    about["together"] = peaks.together
    about["gflops_per_thread"] = {dtype: rate / 1e9 for dtype, rate in peaks.flops.items()}
    return {"machine": about, "notes": notes, "rows": [as_data(row, results, peaks) for row, results in measured], "memory": memory}


def as_data(row: Row, results: dict[str, Any], peaks: Peaks) -> dict[str, Any]:
    """A row as the tables take it."""
    case, work = row.case, row.case.work()
    scaled = {name: {**result, "seconds": result["seconds"] / row.per, "median": result["median"] / row.per}
              for name, result in results.items()}  # fmt: skip
    return {
        "name": row.name,
        "kernel": "an epoch a call" if case.samples else "a step a call",
        "size": [case.batch, *case.sizes],
        "dtype": case.dtype,
        "threads": THREADS,
        "unit": work.unit,
        "amount": work.amount / row.per,
        "peak": peaks.rate(case, THREADS),
        "target": row.target,
        "readme": True,
        "results": scaled,
    }


def beyond(contest: Contest) -> dict[str, Any]:
    """What training takes in memory beyond data, weights and optimizer state, and what it may: a batch's activations and 1 MB."""
    peer = contest.peer(MEMORY, THREADS)
    peer.prepare(MEMORY_CASE, 0.0)
    activations = MEMORY_CASE.batch * sum(MEMORY_CASE.sizes) * 4
    return {"name": str(MEMORY_CASE), "bytes": peer.tell("beyond"), "activations": activations, "limit": activations + 2**20}


def memory_text(memory: dict[str, Any]) -> str:
    """The line about memory."""
    used, activations, reached = memory["bytes"] / 2**20, memory["activations"] / 2**20, memory["bytes"] <= memory["limit"]
    return (f"memory of {memory['name']}, beyond data, weights and optimizer state: {used:.2f} MB; a batch's activations "
            f"({activations:.2f} MB) and 1 MB are the target; reached: {'yes' if reached else 'no'}")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    args = options(
        __doc__, argv,
        readme={"metavar": "FILE", "type": Path, "help": f"write table (and link to --plot) into FILE after {report.TRAINING_START}"},
        **{"from": {"metavar": "FILE", "type": Path, "dest": "source", "help": "take the figures of an earlier --json, measure nothing"}},
    )  # fmt: skip
    data = json.loads(args.source.read_text(encoding="utf-8")) if args.source else measure(args.rows, args.quick)
    print(*report.header(data["machine"]), *data["notes"], sep="\n", end="\n\n")
    print(report.table(data["rows"]), end="\n\n")
    if data["memory"]:
        print(memory_text(data["memory"]), end="\n\n")
    print("(times fastnn's time); best rival: the least of them\nthe fastest forms:", *report.forms(data["rows"]), sep="\n  ")
    if args.json:
        write_json(args.json, data)
    if args.plot:
        report.plot_table(args.plot, data)
    if args.readme:
        report.write_readme(args.readme, report.TRAINING_START, readme(data, args.readme, args.plot))


def readme(data: dict[str, Any], path: Path, picture: Path | None) -> str:
    """README's table, the line about memory, and the picture where it lies below the file."""
    parts = [report.readme_table(data, "training", NOTE), *data["notes"]]
    if data["memory"]:
        parts.append(f"M{memory_text(data['memory'])[1:]}.")
    if picture is not None and picture.resolve().is_relative_to(path.resolve().parent):
        parts.append(f"![time relative to fastnn]({picture.resolve().relative_to(path.resolve().parent).as_posix()})")
    return "\n\n".join(parts)


def bench_training(request, capsys, tmp_path):
    """The rows as a part of `pytest bench`, with file, picture and README."""
    smoke(main, request, capsys, tmp_path, {"--json": "training.json", "--plot": "training.png", "--readme": "README.md"})


if __name__ == "__main__":
    main()
