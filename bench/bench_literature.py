"""What the literature says of MNIST and multilayer perceptrons, trained again by fastnn: verdicts, not speed.

    python bench/bench_literature.py --json literature.json --plot literature.png
    python bench/bench_literature.py --rows Keras
    python bench/bench_literature.py --quick

- The MNIST example of Keras (mnist_mlp.py): 784-512-512-10, ReLU, dropout 0.2, RMSProp with a rate of 0.001 and a decay of 0.9, Glorot's
  weights, batch 128, 20 epochs; its head says 98.40 % of test digits after 20 epochs. Reached within 0.2 points.
- Kingma and Ba (2015), section 6.2, the figure with dropout: two hidden layers of 1000 ReLU units, batch 128, dropout 0.5. Adam's training
  cost falls below that of RMSProp, AdaGrad and SGD with Nesterov momentum. As in the paper, each method has the best of some learning
  rates, the one with the least cost after the last epoch; each rate stays constant or, as in section 6.1 of the paper, falls with
  1 / sqrt(t), here with t in epochs. The cost is the mean over an epoch's batches, dropout on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pictures
import report
from contest import QUICK, Peaks, machine, options, progress, smoke, write_json
from training import mnist, mnist_note

import fastnn
from fastnn.benchmark import time_text
from fastnn.text import aligned

ACCURACY, TOLERANCE = 0.984, 0.002
BATCH, EPOCHS = 128, 20
RIVALS: dict[str, tuple[Callable[[float], Any], tuple[float, ...]]] = {
    "Adam": (lambda rate: fastnn.Adam(rate), (1e-4, 3e-4, 1e-3, 3e-3)),
    "RMSProp": (lambda rate: fastnn.RMSProp(rate, decay_rate=0.9), (1e-4, 3e-4, 1e-3, 3e-3)),
    "AdaGrad": (lambda rate: fastnn.AdaGrad(rate), (3e-3, 1e-2, 3e-2)),
    "Nesterov momentum": (lambda rate: fastnn.Momentum(rate, momentum=0.9, nesterov=True), (1e-2, 3e-2, 1e-1, 3e-1)),
}


def data_of(quick: bool) -> dict[str, Any]:
    rows = 640 if quick else None
    return {name: array[:rows] for name, array in mnist().items()}


def keras(quick: bool) -> dict[str, Any]:
    """The recipe of the example; accuracies of the test digits after each epoch."""
    data, epochs = data_of(quick), 1 if quick else EPOCHS
    net = fastnn.MLP((784, 512, 512, 10), keep_prob=0.8, init="glorot_uniform", seed=0)
    start = time.perf_counter()
    history = net.fit(data["x_train"], data["y_train"], optimizer=fastnn.RMSProp(1e-3, decay_rate=0.9, eps=1e-7), epochs=epochs,
                      batch_size=BATCH, validation_data=(data["x_test"], data["y_test"]))  # fmt: skip
    accuracies = [record["val_accuracy"] for record in history]
    return {"name": "Keras MNIST", "accuracies": accuracies, "seconds": time.perf_counter() - start}


class RootDecay(fastnn.schedules.Schedule):
    """`1 / sqrt(t)` in epoch `t = 1, 2, ...`."""

    def multipliers(self, steps: np.ndarray, epoch: int, state: Any) -> np.ndarray:
        return np.full(len(steps), 1.0 / np.sqrt(epoch + 1.0))


def descent(make: Callable[[float], Any], rate: float, schedule: Any, epochs: int, quick: bool) -> list[float]:
    """Training cost of each epoch; a run that diverges ends with an infinite one."""
    data = data_of(quick)
    hidden = 32 if quick else 1000
    trainer = fastnn.Trainer(fastnn.MLP((784, hidden, hidden, 10), keep_prob=0.5, seed=0), optimizer=make(rate), schedule=schedule)
    costs = []
    try:
        for _ in range(epochs):
            costs.append(trainer.epoch(data["x_train"], data["y_train"], batch_size=BATCH))
    except FloatingPointError:
        costs.append(float("inf"))
    return costs


def contest(quick: bool) -> dict[str, Any]:
    """Adam and its rivals, each with the rate that is best in the end: one chosen after a few epochs is too high for the others."""
    start, curves = time.perf_counter(), {}
    for name, (make, rates) in RIVALS.items():
        trials = {}
        for rate in rates[: 1 if quick else None]:
            for decay, schedule in (("constant", None), ("1/sqrt(t)", RootDecay())):
                progress(f"{name}, rate {rate:g}, {decay} ...")
                trials[rate, decay] = descent(make, rate, schedule, 1 if quick else EPOCHS, quick)
        rate, decay = min(trials, key=lambda trial: trials[trial][-1])
        curves[name] = {"rate": rate, "decay": decay, "trials": [(*trial, costs[-1]) for trial, costs in trials.items()],
                        "costs": trials[rate, decay]}
    progress()
    return {"name": "Adam", "curves": curves, "seconds": time.perf_counter() - start}


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """The experiments whose name `pattern` finds."""
    peaks = Peaks()
    peaks.measure(QUICK)
    studies = {"Keras MNIST": keras, "Adam": contest}
    found = [] if mnist_note() else [study(quick) for name, study in studies.items() if re.search(pattern, name)]
    return {"machine": machine(peaks, QUICK, ()) | {"quick": quick}, "notes": [note for note in [mnist_note()] if note], "studies": found}


def verdict(study: dict[str, Any]) -> tuple[bool, str]:
    """Whether an experiment came out as the literature has it, and the sentence that says so."""
    if study["name"] == "Adam":
        last = {name: curve["costs"][-1] for name, curve in study["curves"].items()}
        behind = [name for name, cost in last.items() if name != "Adam" and not last["Adam"] < cost]
        costs = ", ".join(f"{name} {cost:.4f}" for name, cost in last.items())
        said = f"Adam's training cost is not below that of {' and '.join(behind)}" if behind else "Adam has the least training cost"
        return not behind, f"{said} after {len(study['curves']['Adam']['costs'])} epochs: {costs}"
    last = study["accuracies"][-1]
    epochs = len(study["accuracies"])
    return (abs(last - ACCURACY) <= TOLERANCE,
            f"{100 * last:.2f} % of test digits after {epochs} epochs, where about {100 * ACCURACY:.1f} % were reported")  # fmt: skip


def table(study: dict[str, Any]) -> str:
    """The methods' rates and costs at the ends of a few epochs."""
    curves = study["curves"]
    epochs = len(next(iter(curves.values()))["costs"])
    shown = sorted({1, 2, 5, 10, epochs} & set(range(1, epochs + 1)))
    lines = [["method", "rate", "decay", *(f"epoch {epoch}" for epoch in shown)]]
    for name, curve in curves.items():
        costs = curve["costs"] + [float("inf")] * (epochs - len(curve["costs"]))
        lines.append([name, f"{curve['rate']:g}", curve["decay"], *(f"{costs[epoch - 1]:.4f}" for epoch in shown)])
    return aligned(lines)


def main(argv: Sequence[str] | None = None) -> None:
    args = options(__doc__, argv)
    data = measure(args.rows, args.quick)
    print(*report.header(data["machine"]), *data["notes"], sep="\n", end="\n\n")
    for study in data["studies"]:
        right, sentence = verdict(study)
        judged = "not judged, a quick run" if args.quick else "as reported" if right else "NOT as reported"
        study["verdict"] = {"judged": judged, "sentence": sentence}
        print(f"{study['name']}: {judged}. {sentence} ({time_text(study['seconds'])})")
        if "curves" in study:
            print(table(study))
    if args.json:
        write_json(args.json, data)
    if args.plot:
        pictures.plot_literature(args.plot, data, ACCURACY)


def bench_literature(request, capsys, tmp_path):
    """The experiments as a part of `pytest bench`, with file and picture."""
    smoke(main, request, capsys, tmp_path, {"--json": "literature.json", "--plot": "literature.png"})


if __name__ == "__main__":
    main()
