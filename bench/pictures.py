"""Pictures of training: a map of widths and batches, lines of cost, accuracy over seconds, training cost over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report import best_rival, caption


def plot_scaling(path: Path, data: dict[str, Any], fits: Sequence[tuple[float, float, float]]) -> None:
    """The map of times relative to fastnn, and below it a panel for each line with its fit `(start, slope, worst error)`."""
    from matplotlib.figure import Figure

    points, lines = data["points"], data["lines"]
    figure = Figure(figsize=(12, 9.5), layout="constrained")
    upper, lower = figure.subfigures(2, height_ratios=(5, 4))
    if points:
        _map(upper, points)
    grid = lower.subplots(1, max(len(lines), 1), squeeze=False)[0]
    for axes, line, (start, slope, worst) in zip(grid, lines, fits):
        counts = np.asarray(line["counts"], float)
        unit = 1e3 if max(line["seconds"]) < 1 else 1.0
        axes.plot(counts, unit * (start + slope * counts), color="0.6", linewidth=1, label=f"straight line, within {100 * worst:.0f} %")
        axes.plot(counts, unit * np.asarray(line["seconds"]), "o", label="fastnn")
        axes.set_xlabel(line["name"], fontsize=8)
        axes.set_ylabel("milliseconds" if unit > 1 else "seconds")
        axes.set_xlim(0, None)
        axes.set_ylim(0, None)
        axes.grid(linewidth=0.3)
        axes.legend(fontsize=8)
    figure.suptitle("\n".join(caption(data["machine"])), fontsize=8)
    figure.savefig(path, dpi=150)


def _map(figure: Any, points: Sequence[dict[str, Any]]) -> None:
    from matplotlib.colors import TwoSlopeNorm

    widths, batches = (sorted({point[name] for point in points}) for name in ("width", "batch"))
    ratios = np.full((len(batches), len(widths)), np.nan)
    axes = figure.subplots()
    for point in points:
        if rival := best_rival(point):
            place = batches.index(point["batch"]), widths.index(point["width"])
            ratios[place] = np.log2(rival[1])
            axes.text(place[1], place[0], f"{rival[1]:.2f}\n{rival[0]}", ha="center", va="center", fontsize=8)
    top = float(np.nanmax(np.abs(ratios), initial=1.0))
    image = axes.imshow(ratios, cmap="RdYlGn", norm=TwoSlopeNorm(0.0, -top, top), aspect="auto", origin="lower")
    axes.set_xticks(range(len(widths)), map(str, widths))
    axes.set_yticks(range(len(batches)), map(str, batches))
    axes.set_xlabel("width of the network (inputs, two hidden layers)")
    axes.set_ylabel("batch")
    axes.set_title("a training step: time of the best rival relative to fastnn's (green: fastnn is faster)", fontsize=9)
    figure.colorbar(image, ax=axes, format=lambda power, _: f"{2**power:.3g}")


def plot_accuracy(path: Path, data: dict[str, Any], accuracies: Sequence[float]) -> None:
    """Per cent of wrong test digits over seconds of training, a line for each library and seed, on logarithmic scales."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(curve["name"] for curve in data["curves"]))
    for curve in data["curves"]:
        seconds, seen = zip(*curve["points"])
        label = curve["name"] if curve["seed"] == 0 else None
        color = f"C{names.index(curve['name'])}"
        axes.plot(seconds, [100 * (1 - part) for part in seen], color=color, marker=".", linewidth=1, label=label)
    for accuracy in accuracies:
        axes.axhline(100 * (1 - accuracy), color="0.5", linewidth=0.7, linestyle="--")
    if names:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("{x:g}")
        axes.legend()
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("per cent of MNIST's test digits named wrong")
    axes.grid(which="both", linewidth=0.3)
    axes.set_title("\n".join(caption(data["machine"])), fontsize=8)
    figure.savefig(path, dpi=150)


def plot_literature(path: Path, data: dict[str, Any], accuracy: float) -> None:
    """A panel for each experiment: accuracy over epochs beside the reported one; training cost over epochs of each method."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    studies = data["studies"]
    figure = Figure(figsize=(5.5 * max(len(studies), 1), 4.5), layout="constrained")
    for axes, study in zip(figure.subplots(1, max(len(studies), 1), squeeze=False)[0], studies):
        if "curves" in study:
            for name, curve in study["curves"].items():
                label = f"{name}, rate {curve['rate']:g}, {curve['decay']}"
                axes.plot(range(1, len(curve["costs"]) + 1), curve["costs"], marker=".", label=label)
            axes.set_yscale("log")
            axes.set_ylabel("training cost, dropout 0.5")
        else:
            parts = [100 * part for part in study["accuracies"]]
            axes.plot(range(1, len(parts) + 1), parts, marker=".", label="fastnn")
            axes.axhline(100 * accuracy, color="0.5", linewidth=0.7, linestyle="--", label="as reported after 20 epochs")
            axes.set_ylabel("per cent of test digits named right")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(study["name"])
        axes.grid(which="both", linewidth=0.3)
        axes.legend(fontsize=8)
    figure.suptitle("\n".join(caption(data["machine"])), fontsize=8)
    figure.savefig(path, dpi=150)
