"""Regression by bins beside plain L2 on the California housing data: errors of predictions, and whether intervals hold what they say.

    python bench/bench_binned.py --json binned.json --plot binned.png
    python bench/bench_binned.py --quick

The same hidden layers, dropout, optimizer, schedule, epochs and early stopping (on the loss of the validation rows) for both. A seed fixes
the split into 15480 training, 2064 validation and 3096 test rows, weights, dropout and order; settings were chosen on validation rows, and
all figures are of test rows, mean and standard deviation over the seeds. L2 says one number; its intervals are those of a normal
distribution around it, as wide as the errors on the validation rows. CRPS is `Distribution.crps`, mean over the rows, in dollars. The
picture shows the first seed.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import report
from contest import QUICK, Peaks, machine, options, progress, smoke, write_json

import fastnn
from fastnn import table, tabular, text

HOUSING = Path(__file__).resolve().parents[2] / "shared" / "data" / "housing.csv.gz"  # beside the checkout
ABSENT = f"housing is absent: its rows need {HOUSING.name} in ../{HOUSING.parent.parent.name}/{HOUSING.parent.name}"
SEEDS = range(10, 15)  # others than settings were chosen with
HIDDEN, KEEP_PROB = (256, 128), (1.0, 0.95, 0.95)
BINS, SMOOTHING = 100, 2.0
EPOCHS, BATCH, RATE, PATIENCE = 40, 32, 3e-3, 10
LEVELS = (0.5, 0.8, 0.9)
HONEST = (0.77, 0.83)  # what intervals of 80 % are to hold

Rows = tuple[np.ndarray, np.ndarray]


def settings(quick: bool) -> dict[str, Any]:
    epochs = 2 if quick else EPOCHS
    return {"optimizer": fastnn.Adam(RATE), "schedule": fastnn.CosineDecay(epochs), "epochs": epochs, "batch_size": BATCH,
            "early_stopping": fastnn.EarlyStopping(PATIENCE)}  # fmt: skip


def errors(predicted: np.ndarray, y: np.ndarray) -> dict[str, float]:
    error = predicted - y
    return {"rmse": math.sqrt(np.square(error).mean()), "mae": float(np.abs(error).mean()),
            "r2": float(1 - np.square(error).sum() / np.square(y - y.mean()).sum())}  # fmt: skip


def by_l2(train: Rows, validation: Rows, test: Rows, seed: int, quick: bool) -> dict[str, float]:
    """A net of one output, with a normal distribution of its errors on the validation rows around it."""
    mean, std = train[1].mean(), train[1].std()
    (x, y), held = ((x, (y - mean) / std) for x, y in (train, validation))
    net = fastnn.MLP((x.shape[1], *HIDDEN, 1), keep_prob=KEEP_PROB, seed=seed)
    net.fit(x, y, loss="l2", validation_data=held, **settings(quick))
    predicted, expected = (net.predict(rows)[:, 0].astype(np.float64) * std + mean for rows in (test[0], validation[0]))
    spread, normal = errors(expected, validation[1])["rmse"], NormalDist()
    z = (test[1] - predicted) / spread
    halves = {level: normal.inv_cdf((1 + level) / 2) for level in LEVELS}
    # Gneiting and Raftery 2007, the score of a normal distribution
    scores = [spread * (value * (2 * normal.cdf(value) - 1) + 2 * normal.pdf(value) - 1 / math.sqrt(math.pi)) for value in z.tolist()]
    return {**errors(predicted, test[1]), "crps": statistics.fmean(scores), "width": 2 * halves[0.8] * spread,
            **{f"covered {level:.0%}": float(np.mean(np.abs(z) <= half)) for level, half in halves.items()}}  # fmt: skip


def by_bins(train: Rows, validation: Rows, test: Rows, seed: int, quick: bool) -> tuple[dict[str, float], fastnn.BinnedRegression]:
    model = fastnn.BinnedRegression(HIDDEN, bins=BINS, smoothing=SMOOTHING, keep_prob=KEEP_PROB, seed=seed)
    model.fit(*train, validation_data=validation, **settings(quick))
    coverage = model.coverage(*test, LEVELS)
    return {**errors(model.predict(test[0]), test[1]), "crps": coverage.crps, "width": coverage.widths[LEVELS.index(0.8)],
            **{f"covered {level:.0%}": share for level, share in zip(LEVELS, coverage.covered)}}, model  # fmt: skip


def measure(quick: bool, picture: Path | None = None) -> dict[str, Any]:
    """Both methods on every seed."""
    peaks = Peaks()
    peaks.measure(QUICK)
    about, start = machine(peaks, QUICK, ()) | {"quick": quick}, time.perf_counter()
    if not HOUSING.exists():
        return {"machine": about, "notes": [ABSENT], "runs": {}}
    rows, runs = table.read(HOUSING), {"L2": [], f"{BINS} bins": []}
    for seed in SEEDS[: 1 if quick else None]:
        progress(f"seed {seed} ...")
        data = tabular.prepare(rows, "median_house_value", "regression", seed)
        parts = [(x, data.target.decode(y)) for x, y in (data.train, data.validation, data.test)]
        runs["L2"].append(by_l2(*parts, seed, quick))
        reached, model = by_bins(*parts, seed, quick)
        runs[f"{BINS} bins"].append(reached)
        if picture is not None and seed == SEEDS[0]:
            model.plot(*parts[2], picture)
    progress()
    return {"machine": about, "notes": [], "runs": runs, "bins": str(model.bins), "seconds": time.perf_counter() - start}


def lines(runs: dict[str, list[dict[str, float]]]) -> str:
    """A line a method: means, and standard deviations over the seeds where there are several."""
    names = {"rmse": "RMSE", "mae": "MAE", "r2": "R^2", "crps": "CRPS", **{f"covered {level:.0%}": f"in {level:.0%}" for level in LEVELS},
             "width": "width of 80%"}  # fmt: skip
    cells = [["test rows", *names.values()]]
    for method, reached in runs.items():
        cells.append([method])
        for name in names:
            values = [run[name] for run in reached]
            show = "{:.1%}".format if name.startswith("covered") else "{:.3f}".format if name == "r2" else text.amount
            apart = f" ±{show(statistics.stdev(values))}" if len(values) > 1 else ""
            cells[-1].append(show(statistics.fmean(values)) + apart)
    return text.aligned(cells, left=1)


def verdict(runs: dict[str, list[dict[str, float]]]) -> str:
    """Whether the intervals of 80 % are honest, on the mean and seed by seed."""
    shares = [run["covered 80%"] for run in runs[f"{BINS} bins"]]
    low, high = HONEST
    kept = sum(low <= share <= high for share in shares)
    honest = "within" if low <= statistics.fmean(shares) <= high else "NOT within"
    return (f"intervals of 80 % hold {statistics.fmean(shares):.1%} of the test rows, {honest} {low:.0%} to {high:.0%}; {kept} of "
            f"{len(shares)} seeds are ({', '.join(f'{share:.1%}' for share in shares)})")


def main(argv: Sequence[str] | None = None) -> None:
    args = options(__doc__, argv)
    data = measure(args.quick, args.plot)
    print(*report.header(data["machine"]), *data["notes"], sep="\n", end="\n\n")
    if data["runs"]:
        print(f"{lines(data['runs'])}\n\n{data['bins']}\n{verdict(data['runs'])}")
    if args.json:
        write_json(args.json, data)


def bench_binned(request, capsys, tmp_path):
    """Both methods as a part of `pytest bench`, with file and picture."""
    smoke(main, request, capsys, tmp_path, {"--json": "binned.json", **({"--plot": "binned.png"} if HOUSING.exists() else {})})


if __name__ == "__main__":
    main()
