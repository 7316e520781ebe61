"""Saving and loading nets, as numbers and JSON only: nothing in a file is ever executed.

A file holds the arrays `layers.<k>.weight` and `layers.<k>.bias`, C-ordered and little-endian, and one JSON header: `format`, `version`,
the arguments of the `MLP`, its `loss`, its `preprocessing` and the caller's `metadata`. In a `.npz` (`np.savez`, uncompressed) the header
is the uint8 array `header`; in a `.safetensors` file it is the metadata entry `fastnn`.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from . import checks, losses, preprocessing
from .model import MLP

FORMAT = "fastnn-mlp"
VERSION = 1
READERS = {FORMAT: "fastnn.load", "fastnn-trainer": "fastnn.Trainer.load", "fastnn-ensemble": "fastnn.Ensemble.load"}
_MAX_HEADER = 2**24  # bytes
_NPY_SLACK = 2**12  # bytes an .npy header may take


def save(path: str | os.PathLike[str], net: MLP, metadata: dict[str, Any] | None = None) -> None:
    """Write `net` and JSON-able `metadata` to `path`, whose suffix chooses the format: `.npz`, or `.safetensors` (extra `safetensors`).

    The net's preprocessing is saved with it. Atomic: the path holds the old file or the complete new one, whatever happens. A loss of the
    user's own is not saved; `net.loss` of the loaded net is None then. ValueError for another suffix, TypeError for metadata that JSON
    cannot hold.
    """
    header = {"format": FORMAT, "version": VERSION, **describe(net), "metadata": metadata or {}}
    write("save", path, header, dict(zip(names(len(net.layers)), net.parameters())))


def load(path: str | os.PathLike[str]) -> tuple[MLP, dict[str, Any]]:
    """Return `(net, metadata)` of a file that `save` wrote.

    FileNotFoundError for a missing file, ValueError with one sentence for anything that is not a complete file of this format. No array
    is read before its size is known to be that of the net the header describes.
    """
    with reading("load", path, FORMAT, VERSION) as (header, array):
        net = build(header, array)
        if not isinstance(header["metadata"], dict):
            raise ValueError("its metadata is not a JSON object")
        return net, header["metadata"]
    raise AssertionError("refusing hides no exception")


def write(function: str, path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write `header`, whose `metadata` is the caller's, and `arrays` in the format that the suffix of `path` names, atomically."""
    suffix = _suffix(function, path)
    try:
        text = json.dumps(header)
    except (TypeError, ValueError) as error:
        expected = "dicts, lists, strings, numbers, bools, None"
        raise checks.fail(TypeError, function, "metadata", "be JSON-able", expected, str(error)) from None
    if len(text) > _MAX_HEADER:  # json.dumps writes ASCII
        got = f"{len(text)} bytes of settings, statistics and metadata"
        raise checks.fail(ValueError, function, "metadata", "fit a header", f"at most {_MAX_HEADER} bytes", got)
    arrays = {name: little_endian(array) for name, array in arrays.items()}
    if suffix == ".npz":
        content = pack_npz(text, arrays)
    else:
        content = _safetensors(function).numpy.save(arrays, metadata={"fastnn": text})
    write_atomically(path, content)


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file at `path` by `content`: a sibling file is written, flushed to disk and renamed; it is removed on any exception.

    A file that is replaced keeps its mode, and a symbolic link keeps pointing to it.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _suffix(function: str, path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix
    if suffix not in (".npz", ".safetensors"):
        raise checks.fail(ValueError, function, "path", "name a format", "a path ending in .npz or .safetensors", repr(os.fspath(path)))
    return suffix


def names(layers: int) -> list[str]:
    """What the arrays of `MLP.parameters` are called in a file."""
    return [f"layers.{k}.{kind}" for k in range(layers) for kind in ("weight", "bias")]


def describe(net: MLP) -> dict[str, Any]:
    """The part of a header that `build` makes a net from."""
    scaler = None if net.preprocessing is None else net.preprocessing.to_dict()
    return {"model": net.config(), "loss": losses.to_config(net.loss), "preprocessing": scaler}


def little_endian(array: np.ndarray) -> np.ndarray:
    """`array` as files hold it."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def pack_npz(header: str, arrays: dict[str, np.ndarray]) -> bytes:
    """The content of a `.npz` of a header and little-endian arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, header=np.frombuffer(header.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


Reader = Callable[[str, tuple[int, ...], np.dtype], np.ndarray]


@contextlib.contextmanager
def refusing(function: str, path: str | os.PathLike[str], format: str, version: int) -> Iterator[None]:
    """Answers whatever goes wrong in the block with the sentence for a file that is missing or not a complete one of this format."""
    if not os.path.exists(path):
        raise checks.fail(FileNotFoundError, function, "path", "name a file", "a saved file", f"no file {os.fspath(path)!r}")
    try:
        yield
    except (ImportError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # the bytes are anybody's: every parser on the way has failures of its own
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        expected, got = f"format {format} version {version}", f"{os.fspath(path)!r}: {reason}"
        raise checks.fail(ValueError, function, "path", "name a complete file written by save", expected, got) from error


@contextlib.contextmanager
def reading(function: str, path: str | os.PathLike[str], format: str, version: int) -> Iterator[tuple[dict[str, Any], Reader]]:
    """The header and a reader of the arrays of a file that `write` wrote; `refusing` answers for what goes wrong in the block."""
    read = read_npz if _suffix(function, path) == ".npz" else _read_safetensors
    with refusing(function, path, format, version), read(path) as (text, array):
        yield parse(text, format, version), array


def format_of(path: str | os.PathLike[str]) -> str | None:
    """What the header of a file says it is; None where it has none."""
    try:
        with (read_npz if Path(path).suffix == ".npz" else _read_safetensors)(path) as (text, _):
            return json.loads(text)["format"]
    except ImportError:
        raise
    except Exception:  # whoever reads it next says what is wrong
        return None


def parse(text: str, format: str, version: int) -> dict[str, Any]:
    """The header; ValueError for one of another format."""
    header = json.loads(text)
    if header["format"] != format or header["version"] != version:
        reader = READERS.get(header["format"]) if header["format"] != format else None
        hint = f", which {reader} reads" if reader else ""
        raise ValueError(f"its header says format {header['format']!r}, version {header['version']!r}{hint}")
    return header


def build(header: dict[str, Any], array: Reader) -> MLP:
    """The net that `describe` described, with its arrays."""
    config = header["model"]
    sizes, dtype = config["sizes"], file_dtype(config["dtype"])
    shapes = [shape for i, o in pairwise(sizes) for shape in ((i, o), (o,))]
    net = MLP.from_parameters([array(name, shape, dtype) for name, shape in zip(names(len(sizes) - 1), shapes)], **config)
    net.loss = losses.from_config(header["loss"])
    if header["preprocessing"] is not None:
        if header["preprocessing"].get("inputs", sizes[0]) != sizes[0]:  # before arrays of that size are made
            raise ValueError("its preprocessing has another width than its net")
        scaler = preprocessing.from_dict(header["preprocessing"])
        scaler.transform(np.zeros((0, net.sizes[0])))  # its width
        net.preprocessing = scaler
    return net


def file_dtype(name: str) -> np.dtype:
    """The little-endian dtype of a net's arrays."""
    return np.dtype({"float32": "<f4", "float64": "<f8"}[name])


@contextlib.contextmanager
def read_npz(path: str | os.PathLike[str]) -> Iterator[tuple[str, Reader]]:
    """The header of a `.npz`, and a reader of its arrays that takes in no more bytes than shape and dtype allow."""
    with zipfile.ZipFile(path) as archive:
        def array(name: str, shape: tuple[int, ...] | None, dtype: np.dtype) -> np.ndarray:
            limit = (_MAX_HEADER if shape is None else math.prod(shape) * dtype.itemsize) + _NPY_SLACK
            size = archive.getinfo(f"{name}.npy").file_size
            if size > limit:
                raise ValueError(f"{name} takes {size} bytes, more than the {limit} it may")
            content = io.BytesIO(archive.read(f"{name}.npy"))
            major = np.lib.format.read_magic(content)[0]
            read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            found, fortran, found_dtype = read_header(content)
            rest = content.read()
            if (shape is not None and found != shape) or found_dtype != dtype or fortran or len(rest) != math.prod(found) * dtype.itemsize:
                raise ValueError(f"{name} is {found} {found_dtype} in {len(rest)} bytes, not {shape} {dtype}")
            return np.frombuffer(rest, dtype).reshape(found)

        yield array("header", None, np.dtype(np.uint8)).tobytes().decode(), array


@contextlib.contextmanager
def _read_safetensors(path: str | os.PathLike[str]) -> Iterator[tuple[str, Reader]]:
    with _safetensors("load").safe_open(os.fspath(path), framework="numpy") as file:
        def array(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
            found = file.get_slice(name)
            if tuple(found.get_shape()) != shape or found.get_dtype() != {4: "F32", 8: "F64"}[dtype.itemsize]:
                raise ValueError(f"{name} is {tuple(found.get_shape())} {found.get_dtype()}, not {shape} {dtype}")
            return file.get_tensor(name)

        yield (file.metadata() or {})["fastnn"], array


def _safetensors(function: str) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(f"fastnn.{function}: a .safetensors file needs the extra: pip install 'fastnn[safetensors]'") from error
    return safetensors
