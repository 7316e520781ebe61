"""Searches: what a search of 60 trials finds on MNIST, how long 64 small networks on the digits take beside scikit-learn's
`RandomizedSearchCV`, and what the second thread is worth.

    python bench/bench_search.py --json search.json --plot search.png
    python bench/bench_search.py --rows digits
    python bench/bench_search.py --quick

"mnist": 44 trials of one epoch and 16 of fifteen, 784-n-n-10, Adam, on 50,000 rows of the training set, judged by the other
10,000. "digits":
64 configurations of one hidden layer, the same ones for both libraries, with the same epochs, batch size and folds; scikit-learn has a
process of its own and is timed with `n_jobs` 1 and 2, without the start of its processes. "threads": this search, and one of 16 networks
784-128-10 with one epoch of each of three folds of 18,000 rows of MNIST, by two threads that train 16 trials together, by one, and by one
thread that trains one trial after another; the three take turns. Then the coarse stage of "mnist" itself, of which 8 trials, by two threads
and by one that train them together, in turns. Seconds are medians.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import report
import training
from contest import QUICK, THREADS, Peaks, machine, options, progress, smoke, write_json

import fastnn
from fastnn.benchmark import time_text
from fastnn.datasets import load_digits
from fastnn.text import aligned

BATCH, WANTED = 128, 0.983
SMALL: dict[str, Any] = {"epochs": 20, "batch": 64, "folds": 3}
COUNT, ROUNDS = 64, 3
COARSE = 8  # trials of the coarse stage that are timed
WAYS = {"2 threads, 16 together": (THREADS, 16), "1 thread, 16 together": (1, 16), "1 thread, one after another": (1, 1)}
TOGETHER = tuple(WAYS)[:2]


def quietly(search: Any, *rows: Any, **settings: Any) -> fastnn.SearchResult:
    """The result of a search whose borders are of no interest here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastnn.BorderWarning)
        return search.run(*rows, **settings)


def held_out(quick: bool) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Rows of MNIST's training set to learn from, and the settings of a search that is judged by the sixth of them that is held out."""
    with np.load(training.MNIST) as file:
        order = np.random.default_rng(0).permutation(60_000)[: 2400 if quick else None]
        x, y = file["x_train"][order], file["y_train"][order]
    held = len(x) // 6
    return x[held:], y[held:], {"validation_data": (x[:held], y[:held]), "batch_size": BATCH}


def deep(stages: Sequence[fastnn.Stage], rows: int) -> fastnn.RandomSearch:
    """The search of networks of two hidden layers for so many rows of MNIST."""
    updates = math.ceil(rows / BATCH)

    def build(learning_rate: float, weight_decay: float, keep_prob: float, width: int, epochs: int) -> fastnn.Trainer:
        net = fastnn.MLP((784, width, width, 10), keep_prob=keep_prob, seed=1)
        return fastnn.Trainer(net, optimizer=fastnn.Adam(learning_rate, weight_decay=weight_decay),
                              schedule=fastnn.CosineDecay(epochs * updates, unit="step"), preprocessing=fastnn.Standardizer(axis="global"))

    space = {"learning_rate": fastnn.LogUniform(1e-5, 1e-1), "weight_decay": fastnn.LogUniform(1e-8, 1e-3),
             "keep_prob": fastnn.Uniform(0.5, 1.0), "width": fastnn.IntUniform(256, 1024, log=True)}  # fmt: skip
    return fastnn.RandomSearch(build, space, stages)


def mnist(quick: bool) -> tuple[dict[str, Any], fastnn.SearchResult]:
    """The search on MNIST."""
    x, y, settings = held_out(quick)
    with np.load(training.MNIST) as file:
        x_test, y_test = file["x_test"], file["y_test"]
    stages = [fastnn.Stage(4), fastnn.Stage(2, epochs=2)] if quick else [fastnn.Stage(44), fastnn.Stage(16, epochs=15)]
    start = time.perf_counter()
    result = quietly(deep(stages, len(x)), x, y, **settings, progress=sys.stderr.isatty())
    seconds = time.perf_counter() - start
    best, good = result.best, [trial for trial in result.trials if (trial.score or 0.0) >= WANTED]
    predicted = result.networks()[0].predict(x_test)
    return {"seconds": seconds, "trials": len(result.trials), "one epoch": sum(trial.epochs == 1 for trial in result.trials),
            "exploded": len(result.exploded), "best": best.score, "parameters": best.parameters, "epochs": best.epochs,
            "good": len(good),
            "first good": good[0].index if good else None, "test": float(np.mean(predicted == y_test))}, result  # fmt: skip


def small(quick: bool) -> tuple[fastnn.RandomSearch, np.ndarray, np.ndarray, dict[str, Any]]:
    """The search of small networks on the digits, its rows, and its settings."""
    x, y = load_digits()
    x = ((x - x.mean()) / x.std()).astype(np.float32)
    settings = SMALL | ({"epochs": 2} if quick else {})

    def build(learning_rate: float, weight_decay: float, width: int) -> fastnn.Trainer:
        return fastnn.Trainer(fastnn.MLP((64, width, 10)), optimizer=fastnn.Adam(learning_rate, weight_decay=weight_decay))

    space = {"learning_rate": fastnn.LogUniform(1e-4, 1e-1), "weight_decay": fastnn.LogUniform(1e-6, 1e-1),
             "width": fastnn.IntUniform(16, 64, log=True)}  # fmt: skip
    search = fastnn.RandomSearch(build, space, [fastnn.Stage(6 if quick else COUNT, settings["epochs"])])
    return search, x, y, {"folds": settings["folds"], "batch_size": settings["batch"]}


def wide(quick: bool) -> tuple[fastnn.RandomSearch, np.ndarray, np.ndarray, dict[str, Any]]:
    """The search of networks on rows of MNIST, its rows, and its settings."""
    with np.load(training.MNIST) as file:
        count = 900 if quick else 18_000
        x, y = file["x_train"][:count], file["y_train"][:count]

    def build(learning_rate: float, keep_prob: float) -> fastnn.Trainer:
        net = fastnn.MLP((784, 128, 10), keep_prob=keep_prob)
        return fastnn.Trainer(net, optimizer=fastnn.Adam(learning_rate), preprocessing=fastnn.Standardizer(axis="global"))

    space = {"learning_rate": fastnn.LogUniform(1e-4, 1e-1), "keep_prob": fastnn.Uniform(0.5, 1.0)}
    return fastnn.RandomSearch(build, space, [fastnn.Stage(4 if quick else 16)]), x, y, {"folds": 3, "batch_size": BATCH}


def coarse(quick: bool) -> tuple[fastnn.RandomSearch, np.ndarray, np.ndarray, dict[str, Any]]:
    """A part of the coarse stage of the search on MNIST, its rows, and its settings."""
    x, y, settings = held_out(quick)
    return deep([fastnn.Stage(2 if quick else COARSE)], len(x)), x, y, settings


def turns(case: Any, quick: bool, ways: Sequence[str] = tuple(WAYS)) -> tuple[dict[str, list[float]], fastnn.SearchResult]:
    """Seconds of a search in each of the ways, which take turns, and the result, which is the same in all."""
    search, x, y, settings = case(quick)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    try:
        for turn in range(2 if quick else ROUNDS + 1):
            for way in ways:
                threads, together = WAYS[way]
                progress(f"{case.__name__}, {way}, round {turn} ...")
                fastnn.set_num_threads(threads)
                start = time.perf_counter()
                result = quietly(search, x, y, **settings, together=together)
                taken[way].append(time.perf_counter() - start)
    finally:
        fastnn.set_num_threads(THREADS)
    return {way: seconds[1:] for way, seconds in taken.items()}, result  # the first round warms up


def sklearn(trials: Sequence[fastnn.search_result.Trial], quick: bool, n_jobs: int) -> dict[str, Any]:
    """What scikit-learn takes for the same configurations."""
    request = {"trials": [trial.parameters for trial in trials], **SMALL, "n_jobs": n_jobs, "rounds": 1 if quick else ROUNDS}
    request |= {"epochs": 2} if quick else {}
    progress(f"digits, scikit-learn, n_jobs={n_jobs} ...")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(__file__).resolve().parent)}
    answer = subprocess.run([sys.executable, "-P", "-m", "peers.sklearn_search"], input=json.dumps(request) + "\n", env=environment,
                            stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
    return json.loads(answer.stdout)


def measure(pattern: str, quick: bool) -> tuple[dict[str, Any], fastnn.SearchResult | None]:
    """The parts whose name `pattern` finds."""
    peaks, data, picture = Peaks(), {}, None
    peaks.measure(QUICK)
    notes = []
    if re.search(pattern, "digits") or re.search(pattern, "threads"):
        taken, result = turns(small, quick)
        rivals = {}
        if re.search(pattern, "digits"):
            if importlib.util.find_spec("sklearn"):
                rivals = {f"scikit-learn, n_jobs={n_jobs}": sklearn(result.trials, quick, n_jobs) for n_jobs in (1, 2)}
            else:
                notes.append("scikit-learn is absent: sklearn not installed")
        data["digits"] = {"fastnn": taken, "best": result.best.score, "rivals": rivals, **SMALL, "trials": len(result.trials)}
        picture = result
    if re.search(pattern, "threads"):
        if note := training.mnist_note():
            notes.append(note)
        else:
            data["wide"] = turns(wide, quick)[0]
            data["coarse"] = turns(coarse, quick, TOGETHER)[0]
    if re.search(pattern, "mnist"):
        if note := training.mnist_note():
            notes.append(note)
        else:
            data["mnist"], picture = mnist(quick)
    progress()
    return {"machine": machine(peaks, QUICK, ()) | {"quick": quick}, "notes": sorted(set(notes)), **data}, picture


def gains(medians: dict[str, float]) -> str:
    """How many times as fast the first way is as each of the others."""
    (first, fastest), *others = medians.items()
    return "\n".join(f"{first}: {seconds / fastest:.2f} times as fast as {way}" for way, seconds in others)


def text(data: dict[str, Any]) -> str:
    """What was found, in tables and sentences."""
    parts = []
    if "digits" in data:
        own = data["digits"]
        medians = {way: statistics.median(seconds) for way, seconds in own["fastnn"].items()}
        fastest = medians["2 threads, 16 together"]
        lines = [["digits", "seconds", "times fastnn's", "best accuracy"]]
        accuracy = f"{own['best']:.2%}"
        lines += [[f"fastnn, {way}", time_text(seconds), f"{seconds / fastest:.2f}", accuracy] for way, seconds in medians.items()]
        for name, rival in own["rivals"].items():
            seconds = statistics.median(rival["seconds"])
            lines.append([name, time_text(seconds), f"{seconds / fastest:.2f}", f"{rival['best']:.2%}"])
        parts.append(aligned(lines, left=1))
        parts.append(gains(medians))
    for name, title in (("wide", "16 networks on rows of MNIST"), ("coarse", f"{COARSE} trials of the coarse stage of MNIST")):
        if name in data:
            medians = {way: statistics.median(seconds) for way, seconds in data[name].items()}
            lines = [[title, "seconds"], *([f"fastnn, {way}", time_text(taken)] for way, taken in medians.items())]
            parts += [aligned(lines, left=1), gains(medians)]
    if "mnist" in data:
        found = data["mnist"]
        parameters = ", ".join(f"{name} {value:.3g}" for name, value in found["parameters"].items())
        first = f"the first of them number {found['first good'] + 1}" if found["good"] else "none"
        parts.append(f"MNIST: {found['trials']} trials, {found['one epoch']} of one epoch, {found['exploded']} exploded, "
                     f"{time_text(found['seconds'])}\n"
                     f"best {found['best']:.2%} of the validation rows after {found['epochs']} epochs ({parameters}), {found['test']:.2%} "
                     f"of the test rows\n{found['good']} trials with at least {WANTED:.1%}, {first}")
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    args = options(__doc__, argv)
    data, result = measure(args.rows, args.quick)
    print(*report.header(data["machine"]), *data["notes"], sep="\n", end="\n\n")
    print(text(data))
    if args.json:
        write_json(args.json, data)
    if args.plot and result is not None:
        result.plot(args.plot)


def bench_search(request, capsys, tmp_path):
    """The searches as a part of `pytest bench`, with the files."""
    smoke(main, request, capsys, tmp_path, {"--json": "search.json", "--plot": "search.png"})


if __name__ == "__main__":
    main()
