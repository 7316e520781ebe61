"""What averaging gains on MNIST: the predictions of ten networks, and the weights along a run. Accuracies, not speed.

    python bench/bench_ensemble.py --json ensemble.json --plot ensemble.png
    python bench/bench_ensemble.py --rows seeds
    python bench/bench_ensemble.py --quick

- "seeds": 784-256-10, ReLU, no dropout, pixels standardised by one mean and deviation, Adam at its usual constant rate, batch 128, 10
  epochs, for seeds 0 to 9, trained together by `fit_many`. The ensemble of all ten names at least 0.3 points more test digits right than
  its mean member.
- "average": of the same ten runs the running average of the weights, `EMA(0.999)`, names no fewer right than the last weights do, in the
  mean over the seeds. It also says what the ensemble of the ten averages reaches.
- "checkpoints": of the run of seed 0 the weights after each of the last five epochs, an ensemble against the last of them. Without a
  target: members of one run are alike.

Standardising was chosen on the last 10,000 training rows, where six other networks gained 0.69 points with it (97.69 to 98.38 %) and 0.30
with pixels from 0 to 1 (97.93 to 98.23 %). On the test digits ten networks with pixels from 0 to 1 gained 0.29 points (98.00 to 98.29 %).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import report
from contest import QUICK, Peaks, machine, options, progress, smoke, write_json
from training import mnist, mnist_note

import fastnn
from fastnn.benchmark import time_text
from fastnn.text import aligned

GAIN = 0.003
MEMBERS, EPOCHS, KEPT = 10, 10, 5
STUDIES = ("seeds", "average", "checkpoints")


def reports(quick: bool) -> dict[str, Any]:
    """Train the ten networks once; `EnsembleReport`s on the test digits of last weights, averages and the checkpoints of one run."""
    rows, hidden, epochs = (640, 32, 2) if quick else (None, 256, EPOCHS)
    data = {name: array[:rows] for name, array in mnist().items()}
    scaler = fastnn.Standardizer(axis="global").fit(data["x_train"])
    trainers = [fastnn.Trainer(fastnn.MLP((784, hidden, 10), seed=seed), average=fastnn.EMA(0.999), preprocessing=scaler)
                for seed in range(MEMBERS)]  # fmt: skip
    snapshots = fastnn.Snapshots(last=KEPT)

    def after_epoch(trainers: list[fastnn.Trainer]) -> None:
        progress(f"epoch {len(trainers[0].history)} of {epochs} ...")
        snapshots(trainers[0], trainers[0].history[-1])

    start = time.perf_counter()
    fastnn.fit_many(trainers, data["x_train"], data["y_train"], epochs=epochs, callbacks=[after_epoch])
    seconds = time.perf_counter() - start
    progress()
    members = {"last": [trainer.net for trainer in trainers], "averaged": [trainer.averaged() for trainer in trainers],
               "checkpoints": list(snapshots)}  # fmt: skip
    found: dict[str, Any] = {name: fastnn.Ensemble(nets).report(data["x_test"], data["y_test"]) for name, nets in members.items()}
    return {**found, "seconds": seconds}


def study(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """The figures of one study and whether they are what was aimed at (None without an aim), as they are written to the file."""
    last, averaged, checkpoints = found["last"], found["averaged"], found["checkpoints"]
    if name == "seeds":
        return {"name": name, **figures(last), "reached": last.gain["accuracy"] >= GAIN}
    if name == "average":
        gains = [own["accuracy"] - old["accuracy"] for own, old in zip(averaged.members, last.members)]
        mean = averaged.mean_member["accuracy"] - last.mean_member["accuracy"]
        return {"name": name, **figures(averaged), "last": last.mean_member["accuracy"], "gains": gains, "reached": mean >= 0.0}
    return {"name": name, **figures(checkpoints), "last": checkpoints.members[-1]["accuracy"], "reached": None}


def figures(of: fastnn.EnsembleReport) -> dict[str, Any]:
    """The accuracies of a report."""
    return {"members": [member["accuracy"] for member in of.members], "mean": of.mean_member["accuracy"],
            "ensemble": of.ensemble["accuracy"], "disagreement": of.disagreement, "curve": list(of.curve)}  # fmt: skip


def sentence(study: dict[str, Any]) -> str:
    """What a study found, in words."""
    mean, together = 100 * study["mean"], 100 * study["ensemble"]
    if study["name"] == "seeds":
        return (f"{len(study['members'])} networks {together:.2f} %, their mean {mean:.2f} %, gain {together - mean:+.2f} points, "
                f"{100 * GAIN:.1f} wanted")  # fmt: skip
    last = 100 * study["last"]
    if study["name"] == "average":
        better = sum(gain > 0 for gain in study["gains"])
        return (f"running averages {mean:.2f} %, last weights {last:.2f} % in the mean, {mean - last:+.2f} points, better in {better} of "
                f"{len(study['gains'])} runs; the averages together {together:.2f} %")  # fmt: skip
    return f"{len(study['members'])} checkpoints of one run {together:.2f} %, the last of them {last:.2f} %, {together - last:+.2f} points"


def measure(pattern: str, quick: bool) -> dict[str, Any]:
    """The studies whose name `pattern` finds."""
    peaks = Peaks()
    peaks.measure(QUICK)
    wanted = [name for name in STUDIES if re.search(pattern, name)]
    found = reports(quick) if wanted and not mnist_note() else {}
    return {"machine": machine(peaks, QUICK, ()) | {"quick": quick}, "notes": [note for note in [mnist_note()] if note],
            "seconds": found.get("seconds"), "studies": [study(name, found) for name in wanted] if found else []}  # fmt: skip


def table(studies: Sequence[dict[str, Any]]) -> str:
    """A line a study, and a column for every number of members that were averaged."""
    most = max(len(study["curve"]) for study in studies)
    lines = [["members", *map(str, range(1, most + 1)), "least", "most", "disagreement"]]
    for study in studies:
        cells = [f"{100 * value:.2f}" for value in study["curve"]] + [""] * (most - len(study["curve"]))
        lines.append([study["name"], *cells, *(f"{100 * end(study['members']):.2f}" for end in (min, max)), f"{study['disagreement']:.2%}"])
    return aligned(lines, left=1)


def plot(path: Any, studies: Sequence[dict[str, Any]]) -> None:
    """Accuracy against the number of members averaged, every member as a dot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    names = {"seeds": "different seeds", "average": "different seeds, running averages", "checkpoints": "checkpoints of one run"}
    for study in studies:
        (line,) = axes.plot(range(1, len(study["curve"]) + 1), [100 * value for value in study["curve"]], "o-", label=names[study["name"]])
        axes.plot([1] * len(study["members"]), [100 * value for value in study["members"]], ".", color=line.get_color(), alpha=0.5)
    axes.set_xlabel("networks whose predictions are averaged (dots: one network alone)")
    axes.set_ylabel("MNIST test digits named right, %")
    axes.grid(linewidth=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    args = options(__doc__, argv)
    data = measure(args.rows, args.quick)
    print(*report.header(data["machine"]), *data["notes"], sep="\n", end="\n\n")
    for each in data["studies"]:
        judged = "not judged, a quick run" if args.quick else {True: "reached", False: "NOT reached", None: "no target"}[each["reached"]]
        each["verdict"] = {"judged": judged, "sentence": sentence(each)}
        print(f"{each['name']}: {judged}. {each['verdict']['sentence']}")
    if data["studies"]:
        print(f"\n{table(data['studies'])}\ntrained in {time_text(data['seconds'])}")
    if args.json:
        write_json(args.json, data)
    if args.plot and data["studies"]:
        plot(args.plot, data["studies"])


def bench_ensemble(request, capsys, tmp_path):
    """The studies as a part of `pytest bench`, with file and picture."""
    smoke(main, request, capsys, tmp_path, {"--json": "ensemble.json"} | ({} if mnist_note() else {"--plot": "ensemble.png"}))


if __name__ == "__main__":
    main()
