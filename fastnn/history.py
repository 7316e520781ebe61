"""What a fit reports: one record an epoch."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, Any]
SMALL = ("learning_rate", "update_ratio", "penalty")  # shown by their digits, not by places
FORM = 'JSON {"epochs": [{...}, ...]}'


def improves(monitor: str, value: float, best: float | None, min_delta: float = 0.0) -> bool:
    """Whether `value` beats `best` by more than `min_delta`: upwards for accuracies, downwards for all else; NaN never does."""
    if math.isnan(value):
        return False
    return best is None or (value - best if monitor.endswith("accuracy") else best - value) > min_delta


class History:
    """A sequence of records `{"epoch": 1, "loss": ..., "val_loss": ..., "learning_rate": ..., "seconds": ...}`.

    `history["loss"]` is the list of that quantity over the epochs, `history[-1]` the last record; `str(history)` is a table, and
    `history.plot()` a picture. `history.stopped` says what ended the fit: `"epochs"`, `"early_stopping"`, `"callback"` or
    `"time_limit"`; None before that, and after an exception. `history.best_epoch` is the best epoch as `EarlyStopping` saw it (by its
    monitor and `min_delta`), the one whose weights it puts back; None for a fit without early stopping.
    """

    def __init__(self, records: list[Record] | None = None, stopped: str | None = None, best_epoch: int | None = None) -> None:
        self.records: list[Record] = [] if records is None else records
        self.stopped = stopped
        self.best_epoch = best_epoch

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, key: str | int) -> Any:
        return [record[key] for record in self.records] if isinstance(key, str) else self.records[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self.records == other.records

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<History of {len(self)} epochs: {', '.join(self.names())}>"

    def names(self) -> list[str]:
        """The quantities recorded, in order of appearance."""
        return list(dict.fromkeys(name for record in self.records for name in record))

    def best(self, monitor: str = "val_loss") -> Record:
        """The record with the best value of `monitor` (highest for accuracies, else lowest; the first of equals).

        ValueError where it was never recorded as a number.
        """
        found: Record | None = None
        for record in self.records:
            if monitor in record and improves(monitor, record[monitor], None if found is None else found[monitor]):
                found = record
        if found is None:
            expected = f"one of {', '.join(self.names())}" if self.records else "a history of at least one epoch"
            raise checks.fail(ValueError, "History.best", "monitor", "have been recorded", expected, repr(monitor))
        return found

    def __str__(self) -> str:
        names = self.names()
        rows = [names] + [[_cell(name, record.get(name, "")) for name in names] for record in self.records]
        lines = text.aligned(rows).split("\n")
        marks = ["", *("  best" if record.get("epoch", math.nan) == self.best_epoch else "" for record in self.records)]
        return "\n".join(line + mark for line, mark in zip(lines, marks))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """`fastnn.curves.plot` of this history alone (extra `plot`): training curves, also written to `path` when one is given."""
        from . import curves

        return curves.plot(self, path)

    def to_json(self) -> str:
        """The history as JSON text, in which numbers that are not finite are null.

        TypeError for a value, put into a record by a callback, that is neither JSON's own kind nor NumPy's.
        """
        records = [{name: _plain(value) for name, value in record.items()} for record in self.records]
        try:
            return json.dumps({"epochs": records, "stopped": self.stopped, "best_epoch": self.best_epoch}, indent=1, allow_nan=False)
        except (TypeError, ValueError) as error:
            expected = "finite numbers, strings, lists, dicts, None"
            raise checks.fail(TypeError, "History.to_json", "self", "hold what JSON can", expected, str(error)) from None

    @classmethod
    def from_json(cls, source: str) -> History:
        """The history of a text that `to_json` wrote, nulls read as NaN; ValueError for any other text."""
        found = _read(source)
        if isinstance(found, str):
            raise checks.fail(ValueError, "History.from_json", "source", "come from to_json", FORM, found)
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to `path`, atomically: it holds the old file or the complete new one, whatever happens."""
        from . import io

        io.write_atomically(path, (self.to_json() + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> History:
        """The history of a file that `save` wrote; FileNotFoundError for a missing file, ValueError for a damaged or foreign one."""
        function = "History.load"
        if not Path(path).exists():
            raise checks.fail(FileNotFoundError, function, "path", "name a file", "a saved history", f"no file {os.fspath(path)!r}")
        found = _read(Path(path).read_bytes())
        if isinstance(found, str):
            raise checks.fail(ValueError, function, "path", "name a file written by save", FORM, f"{os.fspath(path)!r}: {found}")
        return found


def _plain(value: Any) -> Any:
    value = value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(source: str | bytes) -> History | str:
    """The history of a text, or what is wrong with it."""
    try:
        values = json.loads(source)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"
    records = values.get("epochs") if isinstance(values, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        return "JSON of another kind"
    stopped, best_epoch = values.get("stopped"), values.get("best_epoch")
    if not isinstance(stopped, (str, type(None))) or not (best_epoch is None or (type(best_epoch) is int and 0 <= best_epoch < 2**53)):
        return "its end is not that of a fit"
    nan = math.nan
    return History([{name: nan if value is None else value for name, value in record.items()} for record in records], stopped, best_epoch)


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if name == "seconds" else f"{value:.4g}" if name in SMALL else f"{value:.4f}"
