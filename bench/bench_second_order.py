"""How far down the objective second-order methods come, in what time: `fastnn.minimize` beside SciPy over gradients written in NumPy.

    python bench/bench_second_order.py --json second_order.json
    python bench/bench_second_order.py --rows newton
    python bench/bench_second_order.py --quick

One objective a network: softmax cross-entropy of tanh units with an L2 penalty of 1e-3, float32, all rows in every step, the same weights
to begin with. SciPy over NumPy runs L-BFGS only: without Hessian-vector products its Newton-CG takes differences of the gradient, which in
float32 are noise. "seconds" is the whole run, "until the level" the seconds until the loss was down to the level named: 5 % above the best
end of all the runs on that network.
"""

from __future__ import annotations

import importlib.util
import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import training
from contest import QUICK, Peaks, machine, progress, smoke, study

import fastnn
from fastnn.benchmark import time_text
from fastnn.datasets import load_digits
from fastnn.text import aligned

DECAY = 1e-3
ITERATIONS = {"l-bfgs": 200, "newton-cg": 40, "newton": 40}
Curve = list[tuple[float, float]]  # seconds and loss


def problems(quick: bool) -> dict[str, tuple[tuple[int, ...], np.ndarray, np.ndarray]]:
    """Sizes, rows and labels by name; MNIST where it is there."""
    x, y = load_digits()
    found = {"digits": ((64, 16, 10), x[:300] if quick else x, y[:300] if quick else y)}
    if not training.mnist_note():
        with np.load(training.MNIST) as file:
            rows = 300 if quick else 10_000
            found["MNIST"] = ((784, 64, 10), file["x_train"][:rows].reshape(rows, -1), file["y_train"][:rows].astype(np.int64))
    return {name: (sizes, (x / np.float32(x.max())).astype(np.float32), y) for name, (sizes, x, y) in found.items()}


def by_numpy(parameters: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The objective of one hidden layer and its gradient, as one writes them."""
    shapes, rows = [array.shape for array in parameters], np.arange(len(x))

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        w0, b0, w1, b1 = (part.reshape(shape) for part, shape in zip(np.split(flat.astype(np.float32), ends), shapes))
        hidden = np.tanh(x @ w0 + b0)
        scores = hidden @ w1 + b1
        scores -= scores.max(axis=1, keepdims=True)
        p = np.exp(scores)
        total = p.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - scores[rows, y], dtype=np.float64))
        p /= total
        p[rows, y] -= 1
        p /= len(x)
        dz = p @ w1.T * (1 - hidden**2)
        gradient = [x.T @ dz + DECAY * w0, dz.sum(axis=0), hidden.T @ p + DECAY * w1, p.sum(axis=0)]
        penalty = 0.5 * DECAY * float(np.square(w0, dtype=np.float64).sum() + np.square(w1, dtype=np.float64).sum())
        return loss + penalty, np.concatenate([part.ravel() for part in gradient]).astype(np.float64)

    return value


def ours(net: fastnn.MLP, x: np.ndarray, y: np.ndarray, method: str, iterations: int) -> Curve:
    result = fastnn.minimize(net, x, y, method=method, weight_decay=DECAY, max_iterations=iterations)
    return list(zip(result.history["seconds"], result.history["loss"]))


def scipys(net: fastnn.MLP, x: np.ndarray, y: np.ndarray, method: str, iterations: int) -> Curve:
    from scipy.optimize import minimize

    value = by_numpy(net.parameters(), x, y)
    start = np.concatenate([array.ravel() for array in net.parameters()]).astype(np.float64)
    curve: Curve = [(0.0, value(start)[0])]
    began = time.perf_counter()

    def note(intermediate_result: Any) -> None:
        curve.append((time.perf_counter() - began, float(intermediate_result.fun)))

    minimize(value, start, method="L-BFGS-B", jac=True, callback=note, options={"maxiter": iterations})
    return curve


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """The runs whose name `pattern` finds."""
    peaks, runs, note = Peaks(), [], training.mnist_note()
    peaks.measure(QUICK)
    notes = [note] if note else []
    if not importlib.util.find_spec("scipy"):
        notes.append("SciPy is not installed: its methods, here and beside fastnn, are left out")
    for problem, (sizes, x, y) in problems(quick).items():
        for method, iterations in ITERATIONS.items():
            racers = {"fastnn": ours} | ({"SciPy over NumPy": scipys} if method == "l-bfgs" else {})
            wanted = re.search(pattern, f"{problem} {method}") and not (method == "newton" and problem == "MNIST")
            for name, race in racers.items():
                if wanted and (method == "newton" or importlib.util.find_spec("scipy")):
                    progress(f"{problem}, {method}, {name} ...")
                    net = fastnn.MLP(sizes, activation="tanh", init="glorot_normal", seed=0)
                    curve = race(net, x, y, method, 3 if quick else iterations)
                    runs.append({"problem": problem, "sizes": sizes, "rows": len(x), "method": method, "by": name, "curve": curve})
    progress()
    return {"machine": machine(peaks, QUICK, ()) | {"quick": quick}, "notes": notes, "runs": runs}


def table(runs: Sequence[dict[str, Any]]) -> str:
    """A line a run."""
    lines = [["network", "method", "by", "iterations", "loss", "seconds", "level", "until the level"]]
    for run in runs:
        level = 1.05 * min(loss for each in runs if each["problem"] == run["problem"] for _, loss in each["curve"])
        reached = [seconds for seconds, loss in run["curve"] if loss <= level]
        seconds, loss = run["curve"][-1]
        lines.append([f"{'-'.join(map(str, run['sizes']))}, {run['rows']} rows", run["method"], run["by"], str(len(run["curve"]) - 1),
                      f"{loss:.4f}", time_text(seconds), f"{level:.4f}", time_text(reached[0]) if reached else "never"])  # fmt: skip
    return aligned(lines, left=3)


def main(argv: Sequence[str] | None = None) -> None:
    study(__doc__, argv, measure, lambda data: table(data["runs"]))


def bench_second_order(request, capsys, tmp_path):
    """The runs as a part of `pytest bench`, with the file."""
    smoke(main, request, capsys, tmp_path, {"--json": "second_order.json"})


if __name__ == "__main__":
    main()
