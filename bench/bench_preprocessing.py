"""What it takes to gather the statistics of MNIST's 60,000 training rows, and what part of that is remembering which rows they were.

    python bench/bench_preprocessing.py --json preprocessing.json
    python bench/bench_preprocessing.py --rows uint8
    python bench/bench_preprocessing.py --quick

Seconds are medians of `fit` calls that take turns: as it is, with the fingerprint of the rows left out, and what NumPy (mean and deviation
in float64, one after the other) and scikit-learn (`StandardScaler`, `MinMaxScaler`) take for the same statistics. `check` is the time to
look up the 10,000 test rows. "numbers at once" is the most memory that arrays took during `fit`, beside the rows themselves.
"""

from __future__ import annotations

import importlib.util
import re
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import training
from contest import QUICK, Peaks, machine, progress, smoke, study

import fastnn
from fastnn import fingerprint
from fastnn.benchmark import time_text
from fastnn.text import aligned

ROUNDS = 15
SCALERS: dict[str, tuple[Callable[[], Any], str, Callable[[np.ndarray], Any]]] = {
    "standardizer": (fastnn.Standardizer, "StandardScaler",
                     lambda x: (x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64))),
    "min-max": (fastnn.MinMaxScaler, "MinMaxScaler", lambda x: (x.min(axis=0), x.max(axis=0))),
}  # fmt: skip


class Nothing:
    """A sketch that remembers no rows."""

    def add(self, x: np.ndarray) -> None:
        pass

    def fingerprint(self) -> None:
        return None


def rows_of(dtype: str, quick: bool) -> tuple[np.ndarray, np.ndarray]:
    """Training and test pixels: bytes, or floats from 0 to 1."""
    count = 2000 if quick else None
    with np.load(training.MNIST) as file:
        both = file["x_train"][:count], file["x_test"][:count]
    return both if dtype == "uint8" else tuple(np.divide(x, 255, dtype=dtype) for x in both)  # type: ignore[return-value]


def without_fingerprint(fit: Callable[[], Any]) -> Any:
    kept = fingerprint.Sketch
    fingerprint.Sketch = Nothing  # type: ignore[assignment,misc]
    try:
        return fit()
    finally:
        fingerprint.Sketch = kept  # type: ignore[misc]


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(name: str, dtype: str, quick: bool) -> dict[str, Any]:
    """The medians of one scaler on rows of one dtype."""
    make, rival, by_numpy = SCALERS[name]
    x, test = rows_of(dtype, quick)
    fitted = make().fit(x)
    work = {"fit": lambda: make().fit(x), "without": lambda: without_fingerprint(lambda: make().fit(x)), "numpy": lambda: by_numpy(x),
            "check": lambda: fitted.check(test=test)}  # fmt: skip
    if importlib.util.find_spec("sklearn"):
        from sklearn import preprocessing

        work["sklearn"] = lambda: getattr(preprocessing, rival)().fit(x)
    times: dict[str, list[float]] = {each: [] for each in work}
    for turn in range(3 if quick else ROUNDS + 1):
        progress(f"{name}, {dtype}, round {turn} ...")
        for each, call in work.items():
            times[each].append(seconds(call))
    tracemalloc.start()
    make().fit(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"name": f"{name}, {dtype}", "bytes": x.nbytes, "peak": peak,
            "seconds": {each: statistics.median(taken[1:]) for each, taken in times.items()}}  # fmt: skip


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """The studies whose name `pattern` finds."""
    peaks = Peaks()
    peaks.measure(QUICK)
    note = training.mnist_note()
    names = [(name, dtype) for name in SCALERS for dtype in ("uint8", "float32") if re.search(pattern, f"{name}, {dtype}")]
    studies = [] if note else [medians(name, dtype, quick) for name, dtype in names]
    progress()
    return {"machine": machine(peaks, QUICK, ()) | {"quick": quick}, "notes": [note] if note else [], "studies": studies}


def table(studies: Sequence[dict[str, Any]]) -> str:
    """A line a study."""
    lines = [["rows", "fit", "of that the fingerprint", "NumPy", "scikit-learn", "check of test rows", "numbers at once"]]
    for each in studies:
        times = each["seconds"]
        cells = [time_text(times["fit"]), f"{max(0.0, 1 - times['without'] / times['fit']):.0%}", time_text(times["numpy"]),
                 time_text(times["sklearn"]) if "sklearn" in times else "absent", time_text(times["check"]),
                 f"{each['peak'] / 1e6:.1f} MB"]  # fmt: skip
        lines.append([each["name"], *cells])
    return aligned(lines, left=1)


def main(argv: Sequence[str] | None = None) -> None:
    study(__doc__, argv, measure, lambda data: table(data["studies"]))


def bench_preprocessing(request, capsys, tmp_path):
    """The studies as a part of `pytest bench`, with the file."""
    smoke(main, request, capsys, tmp_path, {"--json": "preprocessing.json"})


if __name__ == "__main__":
    main()
