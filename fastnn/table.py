"""Reads and writes files of rows and columns, without interpreting them: `.csv` and `.csv.gz` as text cells, `.npz` as the arrays it holds.

Everything that can be wrong with a file is one ValueError or OSError whose sentence starts with the file's name.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .io import write_atomically

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
LARGEST = 1e100  # squares of larger numbers would overflow the variance


@dataclass(frozen=True)
class Table:
    """`rows` rows of named `columns` (text cells of a CSV, or one array) and, when the file holds images, `pixels (rows, i)` uint8.

    Rows from `test_from` on are the file's own test set; None leaves the split to the caller.
    """

    rows: int
    columns: dict[str, list[str] | np.ndarray]
    pixels: np.ndarray | None = None
    test_from: int | None = None
    path: str = field(default="data", compare=False)

    def column(self, name: str) -> list[str] | np.ndarray:
        """The cells of a column; a ValueError that lists the columns when there is none of that name."""
        if name not in self.columns:
            have = ", ".join(list(self.columns)[:20]) + (", ..." if len(self.columns) > 20 else "")
            raise ValueError(f"{self.path}: there is no column '{name}' (columns: {have or 'only images'})")
        return self.columns[name]

    def text(self, name: str) -> list[str]:
        """A column as text, "" where missing."""
        cells = self.column(name)
        if isinstance(cells, np.ndarray):
            cells = [_plain(value) for value in cells.tolist()]
        return ["" if cell.lower() in MISSING else cell for cell in cells]

    def numbers(self, name: str) -> np.ndarray | None:
        """A column as float64, NaN where missing; None when a cell is not a number, ValueError when one is infinite."""
        cells = self.column(name)
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "biuf":
            values = cells.astype(np.float64)
        else:
            values = np.full(self.rows, np.nan)
            for row, cell in enumerate(self.text(name)):
                if cell:
                    try:
                        values[row] = number(cell)
                    except ValueError:
                        return None
        large = np.abs(values) > LARGEST
        if large.any():
            row = int(np.argmax(large))
            raise ValueError(f"{self.path}: column '{name}' must hold numbers up to {LARGEST:g} (got {values[row]:g} in row {row + 1})")
        return values


def write(path: str | Path | None, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Write `columns` of equal length as CSV: to a file that appears whole or not at all, or to standard output."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(zip(*(values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values())))
    if path is None:
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
    else:
        write_atomically(path, text.getvalue().encode())


def check_writable(path: str, suffixes: tuple[str, ...]) -> None:
    """Raise unless a file can be created beside `path`: better before the training than after it."""
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the name of the output must end in {' or '.join(suffixes)}")
    if target.is_dir():
        raise IsADirectoryError(f"{path}: is a directory, not a file")
    probe = target.with_name(f".{target.name}.{os.getpid()}.probe")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror})") from None


def number(cell: str) -> float:
    """`float(cell)`, except that Python's own digit grouping `1_000` is text here."""
    if "_" in cell:
        raise ValueError(cell)
    return float(cell)


def read(path: str | Path) -> Table:
    """Read `.csv`, `.csv.gz` or `.npz`; the whole table is held in memory."""
    path = Path(path)
    readers = {".csv": _read_csv, ".csv.gz": _read_csv, ".npz": _read_npz}
    for suffix, reader in readers.items():
        if path.name.lower().endswith(suffix):
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such file")
            if path.is_dir():
                raise IsADirectoryError(f"{path}: is a directory, not a file")
            return reader(path)
    raise ValueError(f"{path}: the name of a data file must end in {', '.join(readers)}")


def _read_csv(path: Path) -> Table:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.name.lower().endswith(".gz") else raw).decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: is not a complete gzip file ({error})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text in UTF-8 (byte {error.start} cannot be decoded)") from None
    if "\0" in text:
        raise ValueError(f"{path}: is not text (it contains NUL bytes)")
    if not text.strip():
        raise ValueError(f"{path}: is empty")
    first = text.lstrip().splitlines()[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows: list[list[str]] = []
    try:
        for cells in lines:
            if not cells:
                continue
            if rows and len(cells) != len(rows[0]):
                raise ValueError(f"{path}: line {lines.line_num} must have {len(rows[0])} cells like the header (got {len(cells)})")
            rows.append([cell.strip() for cell in cells])
    except csv.Error as error:
        raise ValueError(f"{path}: line {lines.line_num} is not valid CSV ({error})") from None
    header, *body = rows
    names = [name or f"column {k}" for k, name in enumerate(header, 1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: the header must name each column once (got '{twice}' twice)")
    if not body:
        raise ValueError(f"{path}: has a header but no rows")
    return Table(len(body), {name: list(cells) for name, cells in zip(names, zip(*body))}, path=str(path))


def _read_npz(path: Path) -> Table:
    """Arrays `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test`; `y` may be absent (nothing to learn, but enough to predict)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, np.ndarray] = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(f"{path}: is not a .npz archive of plain arrays") from None
    if "x" in arrays:
        return _table(path, arrays["x"], arrays.get("y"), None)
    if "x_train" not in arrays:
        raise ValueError(f"{path}: must hold arrays x and y, or x_train, y_train, x_test and y_test (got {', '.join(arrays) or 'nothing'})")
    lacking = [name for name in ("y_train", "x_test", "y_test") if name not in arrays]
    if lacking:
        raise ValueError(f"{path}: holds x_train and must hold {', '.join(lacking)} too")
    train, test = arrays["x_train"], arrays["x_test"]
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise ValueError(f"{path}: x_train and x_test must agree (got {train.shape} {train.dtype} and {test.shape} {test.dtype})")
    y = [_vector(path, arrays[name], name, len(x)) for name, x in (("y_train", train), ("y_test", test))]
    return _table(path, np.concatenate([train, test]), np.concatenate(y), len(train))


def _table(path: Path, x: np.ndarray, y: np.ndarray | None, test_from: int | None) -> Table:
    if x.ndim < 2 or x.size == 0 or x.dtype.kind not in "biuf":
        raise ValueError(f"{path}: x must be a non-empty array of numbers with one row a sample (got shape {x.shape} {x.dtype})")
    x = x.reshape(len(x), -1)
    target: dict[str, Any] = {} if y is None else {"y": _vector(path, y, "y", len(x))}
    if x.dtype == np.uint8:
        return Table(len(x), target, x, test_from, str(path))
    return Table(len(x), {**{f"x[{k}]": x[:, k] for k in range(x.shape[1])}, **target}, None, test_from, str(path))


def _vector(path: Path, y: np.ndarray, name: str, rows: int) -> np.ndarray:
    if y.shape not in ((rows,), (rows, 1)) or y.dtype.kind not in "biufU":
        raise ValueError(f"{path}: {name} must be one number or text a row, shape ({rows},) (got shape {y.shape} {y.dtype})")
    return y.reshape(rows)


def _plain(value: Any) -> str:
    """5.0 and 5 are the same class: a number is written without a fraction when it has none."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
