"""What a search knows of every trial, and the file it is written to as soon as it is known: one line of JSON a trial.

The first line describes the search. A search that is started again with the same description reads the file and goes on after its last
trial; a last line that was cut off when the process was killed is dropped. Nothing else is ever changed or taken out of the file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from . import checks
from .space import Parameters, Space

FORMAT, VERSION = "fastnn-search", 1


@dataclass(frozen=True)
class Trial:
    """One configuration that was trained.

    `index` counts from 0 over the whole search, `stage` too. `epochs` is how long it was trained in all, with the epochs of the trial
    that it `continues`, if any. `score` is the value of the search's monitor on the validation rows, `loss` the loss there; with folds
    both are means, and `scores` has the score of every fold. A trial that exploded has neither, but a `reason`. `seconds` is the time of
    the trials that were trained together with it, divided by their number.
    """

    index: int
    stage: int
    parameters: Parameters
    epochs: float
    score: float | None = None
    loss: float | None = None
    scores: tuple[float, ...] = ()
    reason: str | None = None
    seconds: float = 0.0
    continues: int | None = None

    @property
    def exploded(self) -> bool:
        """Whether its loss stopped being finite, or grew instead of falling."""
        return self.reason is not None

    def to_json(self, space: Space) -> str:
        """One line."""
        values = asdict(self) | {"parameters": {name: space[name].encode(value) for name, value in self.parameters.items()}}
        return json.dumps({"trial": values.pop("index"), **values}, allow_nan=False)

    @classmethod
    def from_json(cls, line: str, space: Space) -> Trial:
        """The trial of a line that `to_json` wrote; ValueError for any other."""
        try:
            values = json.loads(line)
            values["parameters"] = {name: space[name].decode(value) for name, value in values["parameters"].items()}
            return cls(index=values.pop("trial"), **values | {"scores": tuple(values["scores"])})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{line[:40]!r} is no trial") from error


class Log:
    """The file of a search, open for more trials; `trials` are those it had, by index. Without a path nothing is kept.

    `description` says which search it is. ValueError for a file that is not of this search, before anything is written to it.
    """

    def __init__(self, function: str, path: str | os.PathLike[str] | None, description: dict[str, Any], space: Space) -> None:
        self.space = space
        self.trials: dict[int, Trial] = {}
        self._file: IO[bytes] | None = None
        if path is None:
            return
        header = json.loads(json.dumps({"format": FORMAT, "version": VERSION, **description}))
        whole = self._read(function, Path(path), header)
        self._file = Path(path).open("r+b" if whole else "wb")  # noqa: SIM115 # closed on exit
        self._file.seek(whole)
        self._file.truncate()
        if not whole:
            self._write([json.dumps(header)])

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, trials: list[Trial]) -> None:
        """Write trials, and see to it that they are on the disk."""
        self._write([trial.to_json(self.space) for trial in trials])

    def _write(self, lines: list[str]) -> None:
        if self._file is not None and lines:
            self._file.write("".join(line + "\n" for line in lines).encode())
            self._file.flush()
            os.fsync(self._file.fileno())

    def _read(self, function: str, path: Path, header: dict[str, Any]) -> int:
        """Take the trials of the file; returns the bytes of its complete lines."""
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if not whole:
            if content and not json.dumps(header).encode().startswith(content):
                raise checks.fail(ValueError, function, "log", "be new or of this search", "JSON lines", f"{path}, which has none")
            return 0
        first, *lines = content[:whole].decode("utf-8", "replace").splitlines()
        self._compare(function, path, first, header)
        for number, line in enumerate(lines, 2):
            try:
                trial = Trial.from_json(line, self.space)
            except ValueError as error:
                got = f"{path}, in whose line {number} {error}"
                raise checks.fail(ValueError, function, "log", "hold trials of this search", "a trial a line", got) from None
            self.trials[trial.index] = trial
        return whole

    def _compare(self, function: str, path: Path, first: str, header: dict[str, Any]) -> None:
        try:
            found = json.loads(first)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise checks.fail(ValueError, function, "log", "be new or of this search", "the log of a search", f"{path}, which is none")
        for name in header.keys() | found.keys():
            if found.get(name) != header.get(name):
                expected = f"{name} {json.dumps(header.get(name))[:60]}"
                got = f"{path} of another search: {name} {json.dumps(found.get(name))[:60]}"
                raise checks.fail(ValueError, function, "log", "be new or of this search", expected, got)
