"""Time to accuracy: how long fastnn, PyTorch and scikit-learn train before 97.5, 98.0 and 98.3 % of MNIST's test digits are named right.

    python bench/bench_accuracy.py --json accuracy.json --plot accuracy.png
    python bench/bench_accuracy.py --quick

One network, 784-512-512-10, batch 128, Adam with its usual rate and no schedule; 0.2 of the hidden units are dropped, but not by
scikit-learn, which has no dropout. Seconds are those of training: shuffling, gathering and updates, not the look at the test set after each
epoch. A figure is the median over seeds, and a seed counts as never where the accuracy was not seen within the epochs allowed. Each library
has a process of its own; they take turns epoch by epoch, so that a disturbance meets all of them.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pictures
from contest import FULL, QUICK, THREADS, TRAINERS, Competitor, Contest, Peaks, machine, progress, smoke, study
from training import Training, mnist_note

from fastnn.benchmark import time_text
from fastnn.text import aligned

ACCURACIES = (0.975, 0.980, 0.983)
CASE = Training((784, 512, 512, 10), 128, keep_prob=0.8, samples=60_000, data="mnist", rate=1e-3)
EPOCHS, SEEDS = 30, 3
NEVER = float("inf")


@dataclass(frozen=True)
class Runner:
    """A library and what it trains."""

    competitor: Competitor
    case: Training


def runners(quick: bool) -> list[Runner]:
    case = replace(CASE, sizes=(784, 32, 10), samples=2_000) if quick else CASE
    keep = {"fastnn": case.keep_prob, "PyTorch": case.keep_prob, "scikit-learn": 1.0}
    return [Runner(trainer, replace(case, keep_prob=keep[trainer.name])) for trainer in TRAINERS if trainer.name in keep]


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """Train all of them with each seed; `curves`: a list of (seconds so far, test accuracy) by library and seed."""
    effort, peaks, curves = QUICK if quick else FULL, Peaks(), []
    peaks.measure(QUICK)
    epochs = 2 if quick else EPOCHS
    wanted = [runner for runner in runners(quick) if re.search(pattern, runner.competitor.name)]
    with Contest([runner.competitor for runner in wanted], effort) as contest:
        about, notes = machine(peaks, effort, contest.competitors), [*contest.notes, *filter(None, [mnist_note()])]
        present = [] if mnist_note() else [runner for runner in wanted if runner.competitor in contest.competitors]
        for seed in range(1 if quick else SEEDS):
            progress(f"seed {seed} ...")
            curves += [{"name": name, "seed": seed, "points": points} for name, points in run(contest, present, seed, epochs)]
    progress()
    return {"machine": about, "notes": notes, "curves": curves, "epochs": epochs}


def run(contest: Contest, present: Sequence[Runner], seed: int, epochs: int) -> list[tuple[str, list[tuple[float, float]]]]:
    """One run of each, epoch by epoch, until all have reached the last accuracy."""
    curves: list[tuple[str, list[tuple[float, float]]]] = [(runner.competitor.name, []) for runner in present]
    peers = [contest.peer(runner.competitor, THREADS) for runner in present]
    for runner, peer in zip(present, peers):
        peer.begin(replace(runner.case, seed=seed))
    for _ in range(epochs):
        for peer, (_, points) in zip(peers, curves):
            if points and points[-1][1] >= ACCURACIES[-1]:
                continue
            (seconds,) = peer.chunks(1)
            points.append((seconds + (points[-1][0] if points else 0.0), peer.tell("accuracy")))
            peer.settle()
    return curves


def reached(points: Sequence[tuple[float, float]], accuracy: float) -> float:
    """Seconds of training until `accuracy` was first seen."""
    return next((seconds for seconds, seen in points if seen >= accuracy), NEVER)


def table(curves: Sequence[dict[str, Any]]) -> str:
    """A line a library: the median over seeds for each accuracy, times fastnn's time, seconds an epoch, the best accuracy seen."""
    names = list(dict.fromkeys(curve["name"] for curve in curves))
    figures = {name: [statistics.median(reached(curve["points"], accuracy) for curve in curves if curve["name"] == name)
                      for accuracy in ACCURACIES] for name in names}  # fmt: skip
    lines = [["library", *(f"{100 * accuracy:.1f} %" for accuracy in ACCURACIES), "an epoch", "best seen"]]
    for name, times in figures.items():
        cells = ["never" if seconds == NEVER else time_text(seconds) + ratio(seconds, own)
                 for seconds, own in zip(times, figures.get("fastnn", times))]  # fmt: skip
        own = [curve["points"] for curve in curves if curve["name"] == name]
        epoch = statistics.median(points[-1][0] / len(points) for points in own)
        lines.append([name, *cells, time_text(epoch), f"{100 * max(seen for points in own for _, seen in points):.2f} %"])
    return aligned(lines)


def ratio(seconds: float, own: float) -> str:
    """How many times fastnn's time that is, in brackets; nothing for fastnn, or where it never got there."""
    return "" if own in (seconds, NEVER) else f" ({seconds / own:.2f})"


def text(data: dict[str, Any]) -> str:
    """The table, and what it says; nothing without MNIST."""
    what = f"seconds of training until this part of MNIST's test digits was named right, within {data['epochs']} epochs:"
    return f"{what}\n{table(data['curves'])}" if data["curves"] else ""


def main(argv: Sequence[str] | None = None) -> None:
    args, data = study(__doc__, argv, measure, text)
    if args.plot:
        pictures.plot_accuracy(args.plot, data, ACCURACIES)


def bench_accuracy(request, capsys, tmp_path):
    """The runs as a part of `pytest bench`, with file and picture."""
    smoke(main, request, capsys, tmp_path, {"--json": "accuracy.json", "--plot": "accuracy.png"})


if __name__ == "__main__":
    main()
