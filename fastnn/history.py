"""What a fit reports: one record an epoch."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import checks, text

Record = dict[str, Any]


def improves(monitor: str, value: float, best: float | None, min_delta: float = 0.0) -> bool:
    """Whether `value` beats `best` by more than `min_delta`: upwards for accuracies, downwards for all else; NaN never does."""
    if math.isnan(value):
        return False
    return best is None or (value - best if monitor.endswith("accuracy") else best - value) > min_delta


class History:
    """A sequence of records `{"epoch": 1, "loss": ..., "val_loss": ..., "learning_rate": ..., "seconds": ...}`.

    `history["loss"]` is the list of that quantity over the epochs, `history[-1]` the last record; `str(history)` is a table.
    `history.stopped` says what ended the fit: `"epochs"`, `"early_stopping"`, `"callback"` or `"time_limit"`; None before that, and
    after an exception.
    """

    def __init__(self, records: list[Record] | None = None, stopped: str | None = None) -> None:
        self.records: list[Record] = [] if records is None else records
        self.stopped = stopped

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
        return text.aligned(rows)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The records as JSON text, also written to `path` when one is given."""
        written = json.dumps({"epochs": self.records, "stopped": self.stopped}, indent=1)
        if path is not None:
            Path(path).write_text(written + "\n", encoding="utf-8")
        return written

    @classmethod
    def from_json(cls, source: str) -> History:
        """The history of a text that `to_json` wrote; ValueError for any other text."""
        try:
            values = json.loads(source)
        except ValueError:
            values = None
        records = values.get("epochs") if isinstance(values, dict) else None
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            expected = 'JSON {"epochs": [{...}, ...]}'
            raise checks.fail(ValueError, "History.from_json", "source", "come from to_json", expected, repr(source[:40]))
        return cls(records, values.get("stopped"))


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if name == "seconds" else f"{value:.4g}" if name in ("learning_rate", "update_ratio") else f"{value:.4f}"
