"""Training curves (CS231n notes, "Babysitting the learning process"): loss, metric, learning rate and update ratio over the epochs, of one
fit, or of several laid over one another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, plots
from .history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WANTED_RATIO = 1e-3  # about as much of itself a layer's weights should change in an update, say the notes
_LOG_FROM = 20.0  # times that the largest value must be the smallest
_NOT_CURVES = ("epoch", "gradient_norm", "weight_norm", "penalty", "seconds")  # unless asked for
_ONE_EACH = ("learning_rate", "update_ratio")  # of the training alone, and shown last


def plot(histories: Any, path: str | os.PathLike[str] | None = None, *, quantities: Sequence[str] | None = None) -> Figure:
    """Draw training curves, a panel a quantity, and return the `Figure`, also written to `path` (.png, .svg, .pdf) when one is given.

    `histories` is a `History`, the path of one that `History.save` wrote, a sequence of these, or a dict that gives each its label;
    a colour is a history, training rows are dashed, validation rows solid. The best epoch (`History.best_epoch`, else the one of the
    lowest `val_loss`) is a dotted line with a dot, the end by early stopping a cross.

    `quantities` names what to show, by default the loss, the metric and whatever else callbacks recorded, `learning_rate` and
    `update_ratio`; `gradient_norm`, `weight_norm`, `penalty` and `seconds` are there for the asking. `val_` is put before a name where
    validation rows have it too. Numbers that are not finite leave a gap.

    Errors: TypeError for anything else, ValueError for a history of no epochs and a quantity that no history has, FileNotFoundError and
    ValueError as `History.load`; ImportError without matplotlib (extra `plot`).
    """
    if isinstance(quantities, str) or not isinstance(quantities, (Iterable, type(None))):
        raise checks.fail(TypeError, "curves.plot", "quantities", "be several", "['loss', 'penalty'], say, or None", repr(quantities))
    named = _named(histories)
    recorded = _quantities(named)
    chosen = [name for name in recorded if name not in _NOT_CURVES] if quantities is None else list(quantities)
    unknown = [name for name in chosen if name not in recorded]
    if unknown or not chosen:
        got = repr(unknown) if unknown else "none of them that is a curve"
        raise checks.fail(ValueError, "curves.plot", "quantities", "have been recorded", f"some of {', '.join(recorded)}", got)
    columns = min(2, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = plots.figure("curves.plot", 4.6 * columns, 3.1 * rows + 0.4)
    panels = [figure.add_subplot(rows, columns, k + 1) for k in range(len(chosen))]
    for axes, quantity in zip(panels, chosen):
        _panel(axes, quantity, named)
    styles = [panels[0].plot([], [], style, color="0.4", label=label)[0] for style, label in (("--", "training"), ("-", "validation"))]
    colours = [panels[0].plot([], [], color=f"C{k}", label=" ".join(filter(None, (label, outcome(history)))) or "fit")[0]
               for k, (label, history) in enumerate(named.items())]
    figure.legend(handles=[*styles, *colours], loc="outside lower center", ncols=2 if len(named) > 1 else 3, fontsize="small")
    return plots.finish(figure, path)


def best_epoch(history: History) -> int | None:
    """`history.best_epoch`, or without early stopping the epoch of the lowest `val_loss`; None where there is none."""
    epochs, values = series(history, "val_loss")
    if history.best_epoch is None and np.isfinite(values).any():
        return int(epochs[np.nanargmin(values)])
    return history.best_epoch


def outcome(history: History) -> str:
    """How a fit went in a few words: `(best epoch 12, stopped early at 22)`."""
    best = best_epoch(history)
    words = [] if best is None else [f"best epoch {best}"]
    if history.stopped == "early_stopping":
        words.append(f"stopped early at {series(history, 'epoch')[0][-1]:.0f}")
    return f"({', '.join(words)})" if words else ""


def series(history: History, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The epochs, and the values of one quantity in them, float64 `(epochs,)` both; NaN where it is absent or not a finite number."""
    epochs = [_number(record.get("epoch"), k) for k, record in enumerate(history, 1)]
    return np.array(epochs, np.float64), np.array([_number(record.get(name), np.nan) for record in history], np.float64)


def _number(value: Any, otherwise: float) -> float:
    number = value.item() if isinstance(value, np.generic) else value
    return float(number) if type(number) in (int, float) and abs(number) <= sys.float_info.max else otherwise


def _panel(axes: Axes, quantity: str, named: Mapping[str, History]) -> None:
    from matplotlib.ticker import MaxNLocator

    shown = []
    for k, history in enumerate(named.values()):
        colour, best = f"C{k}", best_epoch(history)
        epochs, validated = series(history, f"val_{quantity}")
        plain, drawn = series(history, quantity)[1], np.isfinite(validated).any()
        one_each = quantity in _ONE_EACH or quantity in _NOT_CURVES
        dot = "." if len(epochs) == 1 else None
        axes.plot(epochs, plain, "-" if one_each else "--", color=colour, marker=dot, linewidth=1.2)
        if drawn:
            axes.plot(epochs, validated, "-", color=colour, marker=dot, linewidth=1.6)
        shown += [plain, validated]
        last = validated if drawn else plain
        if best is not None:
            axes.axvline(best, color=colour, linestyle=":", linewidth=1.0)
            axes.plot(epochs[epochs == best], last[epochs == best], "o", color=colour)
        if history.stopped == "early_stopping":
            axes.plot(epochs[-1:], last[-1:], "x", color=colour)
    values = np.concatenate(shown)
    values = values[np.isfinite(values)]
    if quantity == "update_ratio":
        axes.axhline(WANTED_RATIO, color="0.6", linestyle="-.", linewidth=1.0)
        axes.annotate("about 1e-3 is wanted", (0.99, WANTED_RATIO), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                      fontsize="x-small", color="0.4")
    if len(values) and values.min() > 0 and not quantity.endswith("accuracy") and \
            (quantity == "update_ratio" or values.max() > _LOG_FROM * values.min()):
        axes.set_yscale("log")
    axes.set_title(quantity.replace("_", " "), fontsize="medium")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _quantities(named: Mapping[str, History]) -> list[str]:
    """What can be drawn, by the name without `val_`, in order of appearance and what is of the training alone last."""
    found = {name.removeprefix("val_"): None for history in named.values() for name in history.names()
             if np.isfinite(series(history, name)[1]).any()}
    return [name for name in found if name not in _ONE_EACH] + [name for name in _ONE_EACH if name in found]


def _named(histories: Any) -> dict[str, History]:
    """The histories by their labels: those given, a file's name, or numbers; a single one needs none."""
    if isinstance(histories, (History, str, os.PathLike)):
        histories = {"": histories}
    elif isinstance(histories, Sequence):
        stems = [Path(each).stem if isinstance(each, (str, os.PathLike)) else f"fit {k}" for k, each in enumerate(histories, 1)]
        names = [stem if stems.count(stem) == 1 else str(each) for stem, each in zip(stems, histories)]
        histories = dict(zip(names, histories))
    if not isinstance(histories, Mapping) or not histories:
        expected = "a History, the path of a saved one, or a sequence or dict of these"
        got = "none" if histories == {} else type(histories).__name__
        raise checks.fail(TypeError, "curves.plot", "histories", "be histories", expected, got)
    named = {}
    for label, each in histories.items():
        history = History.load(each) if isinstance(each, (str, os.PathLike)) else each
        if not isinstance(history, History):
            raise checks.fail(TypeError, "curves.plot", "histories", "be histories", "History, or the path of one", type(each).__name__)
        if not len(history):
            name = f"none in {label!r}" if label else "none"
            raise checks.fail(ValueError, "curves.plot", "histories", "have epochs", "at least one each", name)
        named[str(label)] = history
    return named
