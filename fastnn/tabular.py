"""Turns the columns of a table into a network's inputs and targets, with statistics of the training rows only.

A column of numbers becomes one input: missing values take the training median, then mean 0 and standard deviation 1. A column
of text becomes one input a category seen in training (1 where equal, else 0; unknown and missing text is all zeros). Images are
standardised by one mean and one deviation over all pixels. What is fitted is a small frozen dataclass that turns into a JSON
dict and back, so that a saved network carries it and `predict` repeats it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .bins import KINDS, SMOOTHING, Bins, EmptyBinWarning, smoothing_of
from .distribution import Distribution
from .ensemble import Ensemble, load_any
from .model import MLP
from .preprocessing import Standardizer
from .table import Table, number

TASKS = ("auto", "classification", "regression")
MOST_CATEGORIES = 50  # a text column with more is a name or a sentence, not a category
MOST_INTEGER_CLASSES = 20  # an integer target with more is an amount
FEWEST_ROWS = 10
VALIDATION, TEST = 0.1, 0.15


@dataclass(frozen=True)
class Numbers:
    """Columns of numbers -> one standardised input each."""

    names: tuple[str, ...]
    medians: tuple[float, ...]
    scaler: Standardizer

    def encode(self, table: Table) -> np.ndarray:
        columns = [_numbers(table, name) for name in self.names]
        filled = [np.where(np.isnan(values), median, values) for values, median in zip(columns, self.medians)]
        return self.scaler.transform(np.stack(filled, axis=1), np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "numbers", "names": list(self.names), "medians": list(self.medians), "scaler": self.scaler.to_dict()}


@dataclass(frozen=True)
class Categories:
    """A column of text -> one input a category."""

    name: str
    values: tuple[str, ...]

    def encode(self, table: Table) -> np.ndarray:
        place = {value: k for k, value in enumerate(self.values)}
        codes = np.array([place.get(cell, -1) for cell in table.text(self.name)])
        return (codes[:, None] == np.arange(len(self.values))).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "categories", "name": self.name, "values": list(self.values)}


@dataclass(frozen=True)
class Pixels:
    """uint8 images -> float32 with the mean and deviation of all training pixels taken together."""

    inputs: int
    scaler: Standardizer

    def encode(self, table: Table) -> np.ndarray:
        if table.pixels is None:
            raise ValueError(f"{table.path}: must be a .npz file with uint8 images x (rows, {self.inputs}) like those of training")
        if table.pixels.shape[1] != self.inputs:
            raise ValueError(f"{table.path}: x must have {self.inputs} pixels a row as in training (got {table.pixels.shape[1]})")
        width = 1 if self.scaler.mean is None else len(self.scaler.mean)  # 1 in old files
        return self.scaler.transform(table.pixels.reshape(-1, width), np.float32).reshape(table.pixels.shape)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "pixels", "inputs": self.inputs, "scaler": self.scaler.to_dict()}


Encoder = Numbers | Categories | Pixels


@dataclass(frozen=True)
class Features:
    """`encode(table) -> x (rows, i)` float32: the inputs of all parts side by side."""

    parts: tuple[Encoder, ...]

    def encode(self, table: Table) -> np.ndarray:
        return np.concatenate([part.encode(table) for part in self.parts], axis=1)

    def to_dict(self) -> dict[str, Any]:
        return {"parts": [part.to_dict() for part in self.parts]}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Features:
        return cls(tuple(_encoder(part) for part in state["parts"]))


@dataclass(frozen=True)
class Classes:
    """A target of named classes <-> int64 codes; -1 is a missing or unknown class."""

    name: str
    labels: tuple[str, ...]
    loss: ClassVar[str] = "softmax_cross_entropy"

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def encode(self, table: Table) -> np.ndarray:
        place = {label: k for k, label in enumerate(self.labels)}
        return np.array([place.get(label, -1) for label in _labels(table, self.name)], np.int64)

    def learnt(self, y: np.ndarray) -> np.ndarray:
        """What the loss is given for `y`."""
        return y

    def decode(self, predicted: np.ndarray) -> list[str]:
        return [self.labels[code] for code in predicted.tolist()]

    def columns(self, net: Any, x: np.ndarray) -> dict[str, list[str]]:
        """What is written for rows `x` of inputs."""
        probabilities = net.predict_proba(x)
        labels = self.decode(probabilities.argmax(axis=1))
        return {f"predicted {self.name}": labels, "probability": [f"{value:.6f}" for value in probabilities.max(axis=1)]}

    def to_dict(self) -> dict[str, Any]:
        return {"task": "classification", "name": self.name, "labels": list(self.labels)}


@dataclass(frozen=True)
class Amount:
    """A target of numbers <-> float32 with mean 0 and deviation 1 in training; NaN is missing. `decode` gives the target's own units."""

    name: str
    mean: float
    std: float
    loss: ClassVar[str] = "l2"

    @property
    def outputs(self) -> int:
        return 1

    def encode(self, table: Table) -> np.ndarray:
        return ((_numbers(table, self.name) - self.mean) / self.std).astype(np.float32)

    def learnt(self, y: np.ndarray) -> np.ndarray:
        return y

    def decode(self, predicted: np.ndarray) -> np.ndarray:
        return predicted.reshape(-1).astype(np.float64) * self.std + self.mean

    def amounts(self, net: Any, x: np.ndarray) -> np.ndarray:
        """Predictions for rows `x` of inputs, in the target's own units."""
        return self.decode(net.predict(x))

    def columns(self, net: Any, x: np.ndarray) -> dict[str, list[str]]:
        return {f"predicted {self.name}": _texts(self.amounts(net, x))}

    def to_dict(self) -> dict[str, Any]:
        return {"task": "regression", "name": self.name, "mean": self.mean, "std": self.std}


@dataclass(frozen=True)
class BinnedAmount:
    """A target of numbers, float64 in its own units, that is learnt as a distribution over bins of the training rows; NaN is missing."""

    name: str
    bins: Bins
    smoothing: float | str
    loss: ClassVar[str] = "softmax_cross_entropy"

    @property
    def outputs(self) -> int:
        return len(self.bins)

    def encode(self, table: Table) -> np.ndarray:
        return _numbers(table, self.name)

    def learnt(self, y: np.ndarray) -> np.ndarray:
        return self.bins.encode(y, self.smoothing)

    def decode(self, y: np.ndarray) -> np.ndarray:
        return y.astype(np.float64)

    def distribution(self, net: Any, x: np.ndarray) -> Distribution:
        return Distribution(net.predict_proba(x), self.bins)

    def amounts(self, net: Any, x: np.ndarray) -> np.ndarray:
        return self.distribution(net, x).mean()

    def columns(self, net: Any, x: np.ndarray) -> dict[str, list[str]]:
        distribution = self.distribution(net, x)
        low, high = distribution.interval(0.8).T
        return {f"predicted {self.name}": _texts(distribution.mean()), f"{self.name} 10 %": _texts(low), f"{self.name} 90 %": _texts(high)}

    def to_dict(self) -> dict[str, Any]:
        return {"task": "binned regression", "name": self.name, "bins": self.bins.to_dict(), "smoothing": self.smoothing}


Target = Classes | Amount | BinnedAmount


@dataclass(frozen=True)
class Prepared:
    """Three disjoint parts `(x, y)` of a table, what encodes them, and what was done to the columns in sentences."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    features: Features
    target: Target
    notes: tuple[str, ...]

    def learnt(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The training and the validation part with targets as the loss takes them."""
        return [(x, self.target.learnt(y)) for x, y in (self.train, self.validation)]

    def metadata(self) -> dict[str, Any]:
        return {"features": self.features.to_dict(), "target": self.target.to_dict()}


def from_metadata(metadata: dict[str, Any]) -> tuple[Features, Target]:
    """What `Prepared.metadata` described; ValueError when the dict does not describe it."""
    try:
        return Features.from_dict(metadata["features"]), _target(metadata["target"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the network says nothing usable about the columns it was trained on ({error!r})") from None


def prepare(table: Table, target: str, task: str = "auto", seed: int = 0, bins: tuple[str, int] | None = None) -> Prepared:
    """Split the rows by a permutation of `seed`, fit the encoding on the training rows, encode every part.

    `bins = (kind, count)` has an amount learnt over bins; `task="auto"` takes the target for an amount then.
    """
    notes: list[str] = []
    if bins is not None and task == "classification":
        raise ValueError(f"{table.path}: bins are for an amount, and the task of '{target}' is a classification")
    kind = _task(table, target, "regression" if bins is not None else task)
    present = ~np.isnan(_numbers(table, target)) if kind == "regression" else np.array([label != "" for label in _labels(table, target)])
    lost = int(table.rows - present.sum())
    if lost == table.rows:
        raise ValueError(f"{table.path}: column '{target}' has no value in any row, so there is nothing to learn")
    if lost:
        notes.append(f"{lost} rows without a value of {target}: dropped")
    parts = _split(table, np.flatnonzero(present), seed)
    codec: Target
    if kind == "classification":
        codec = _fit_classes(table, target)
    else:
        codec = _fit_amount(table, target, parts[0]) if bins is None else _fit_bins(table, target, parts[0], *bins, notes)
    features = _fit_features(table, target, parts[0], notes)
    x, y = features.encode(table), codec.encode(table)
    train, validation, test = ((x[rows], y[rows]) for rows in parts)
    return Prepared(train, validation, test, features, codec, tuple(notes))


def _task(table: Table, target: str, task: str) -> str:
    values = table.numbers(target)
    if task == "regression" and values is None:
        raise ValueError(f"{table.path}: column '{target}' must hold numbers for a regression (got '{_first_text(table.text(target))}')")
    if task != "auto":
        return task
    if values is None:
        return "classification"
    distinct = np.unique(values[~np.isnan(values)])
    return "classification" if len(distinct) <= MOST_INTEGER_CLASSES and (distinct % 1 == 0).all() else "regression"


def _split(table: Table, rows: np.ndarray, seed: int) -> list[np.ndarray]:
    """Training, validation and test rows; a file with a test set of its own keeps it."""
    if len(rows) < FEWEST_ROWS:
        raise ValueError(f"{table.path}: must have at least {FEWEST_ROWS} rows with a target (got {len(rows)})")
    order = np.random.default_rng(seed).permutation(rows)
    if table.test_from is None:
        held = max(1, round(TEST * len(order)))
        test, order = order[:held], order[held:]
    else:
        test, order = np.sort(order[order >= table.test_from]), order[order < table.test_from]
    held = max(1, round(VALIDATION * len(rows)))
    if len(order) <= held or not len(test):
        raise ValueError(f"{table.path}: must leave rows for training, validation and test (got {len(order)} and {len(test)} test rows)")
    return [order[held:], order[:held], test]


def _fit_classes(table: Table, target: str) -> Classes:
    labels = sorted({label for label in _labels(table, target) if label}, key=_order)
    if len(labels) < 2:
        raise ValueError(f"{table.path}: column '{target}' must have at least two classes (got only '{labels[0]}')")
    if len(labels) > table.rows // 2:
        raise ValueError(
            f"{table.path}: column '{target}' must have fewer classes than half the rows (got {len(labels)} in {table.rows} rows)"
        )
    return Classes(target, tuple(labels))


def _fit_amount(table: Table, target: str, rows: np.ndarray) -> Amount:
    values = _numbers(table, target)[rows]
    mean, std = float(values.mean()), float(values.std())
    if values.min() == values.max():
        raise ValueError(f"{table.path}: column '{target}' must vary (got {values[0]:g} in every training row)")
    if std < np.finfo(np.float64).tiny:
        raise ValueError(f"{table.path}: column '{target}' must vary by more than float64 can square (got a deviation of {std:g})")
    return Amount(target, mean, std)


def _fit_bins(table: Table, target: str, rows: np.ndarray, kind: str, count: int, notes: list[str]) -> BinnedAmount:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EmptyBinWarning)
        try:
            bins = KINDS[kind](_numbers(table, target)[rows], count)
        except ValueError as error:
            raise ValueError(f"{table.path}: column '{target}' cannot be cut into {count} {kind} bins: {error}") from None
    notes.append(f"{target}: {bins}")
    notes += [f"{target}: {warning.message}" for warning in caught]
    return BinnedAmount(target, bins, SMOOTHING)


def _fit_features(table: Table, target: str, rows: np.ndarray, notes: list[str]) -> Features:
    parts: list[Encoder] = []
    if table.pixels is not None:
        images = table.pixels[rows]
        parts.append(Pixels(images.shape[1], Standardizer("global").fit(images)))
        notes.append(f"images of {images.shape[1]} pixels: one mean and one deviation over all pixels")
    numbers: dict[str, np.ndarray] = {}
    for name in table.columns:
        if name == target:
            continue
        values = table.numbers(name)
        if values is not None:
            _fit_numbers(name, values[rows], numbers, notes)
        else:
            _fit_categories(table, name, rows, parts, notes)
    if numbers:
        medians = {name: float(np.nanmedian(values)) for name, values in numbers.items()}
        filled = np.stack([np.where(np.isnan(values), medians[name], values) for name, values in numbers.items()], axis=1)
        parts.insert(0, Numbers(tuple(numbers), tuple(medians.values()), Standardizer().fit(filled)))
        notes.insert(0, f"{_count(len(numbers), 'column')} of numbers: standardised")
    if not parts:
        raise ValueError(f"{table.path}: no column beside '{target}' can be learnt from" + "".join(f"; {note}" for note in notes))
    return Features(tuple(parts))


def _fit_numbers(name: str, values: np.ndarray, numbers: dict[str, np.ndarray], notes: list[str]) -> None:
    missing = int(np.isnan(values).sum())
    known = values[~np.isnan(values)]
    if len(known) == 0 or known.min() == known.max():
        notes.append(f"{name}: dropped, " + (f"always {known[0]:g}" if len(known) else "no value") + " in the training rows")
        return
    if missing:
        notes.append(f"{name}: {missing} missing values in the training rows, replaced by their median {np.median(known):g}")
    numbers[name] = values


def _fit_categories(table: Table, name: str, rows: np.ndarray, parts: list[Encoder], notes: list[str]) -> None:
    cells = table.text(name)
    seen = [cells[row] for row in rows.tolist()]
    values = sorted(set(seen) - {""})
    if not values or (len(values) == 1 and "" not in seen):
        notes.append(f"{name}: dropped, " + (f"always '{values[0]}'" if values else "no value") + " in the training rows")
    elif len(values) > MOST_CATEGORIES:
        notes.append(f"{name}: dropped, text with {len(values)} distinct values (such as '{_first_text(seen)}')")
    else:
        parts.append(Categories(name, tuple(values)))
        notes.append(f"{name}: text, one input for each of {_count(len(values), 'category', 'categories')}")


def load(path: str) -> tuple[MLP | Ensemble, Features, Target]:
    """What `fastnn train --out` saved: the net or ensemble, and how a table's columns become its inputs and targets."""
    net, metadata = load_any(path)
    try:
        features, target = from_metadata(metadata)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if net.sizes[-1] != target.outputs or hasattr(net.loss, "probabilities") != (target.loss == "softmax_cross_entropy"):
        raise ValueError(f"{path}: the network does not fit the target '{target.name}' that is saved with it")
    return net, features, target


def _target(state: dict[str, Any]) -> Target:
    name = state["name"]
    if state["task"] == "classification":
        return Classes(name, tuple(state["labels"]))
    if state["task"] == "binned regression":
        return BinnedAmount(name, Bins.from_dict(state["bins"]), smoothing_of("Bins.encode", state["smoothing"]))
    return Amount(name, float(state["mean"]), float(state["std"]))


def _encoder(state: dict[str, Any]) -> Encoder:
    if state["kind"] == "categories":
        return Categories(state["name"], tuple(state["values"]))
    scaler = Standardizer.from_dict(state["scaler"])
    if state["kind"] == "numbers":
        return Numbers(tuple(state["names"]), tuple(state["medians"]), scaler)
    return Pixels(int(state["inputs"]), scaler)


def _numbers(table: Table, name: str) -> np.ndarray:
    values = table.numbers(name)
    if values is None:
        raise ValueError(f"{table.path}: column '{name}' must hold numbers as in training (got '{_first_text(table.text(name))}')")
    return values


def _texts(values: np.ndarray) -> list[str]:
    return [f"{value:.8g}" for value in values]


def _labels(table: Table, name: str) -> list[str]:
    """The cells of a target as class names, "" where missing: the numbers 1 and 1.0 are one class."""
    values = table.numbers(name)
    if values is None:
        return table.text(name)
    return ["" if value != value else str(int(value)) if value.is_integer() else repr(value) for value in values.tolist()]


def _order(label: str) -> tuple[float, str]:
    """Classes named by numbers stand in the order of the numbers, before all others."""
    try:
        return number(label), label
    except ValueError:
        return float("inf"), label


def _first_text(cells: list[str]) -> str:
    """The first cell that is no number, shortened: why a column is text."""
    for cell in cells:
        if cell and _order(cell)[0] == float("inf"):
            return cell if len(cell) <= 40 else cell[:37] + "..."
    return ""


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
