"""Tests run against the installed, compiled package. A source folder named like the package lies beside them, so the checkout is
taken off the import path before anything imports fastnn (an editable install is found by its own finder)."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or os.curdir).resolve() != ROOT]
for name in [name for name in sys.modules if name.split(".")[0] == "fastnn"]:
    del sys.modules[name]

from fastnn import _core, backend, loop  # noqa: E402

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell starts its children with Ctrl-C ignored


@pytest.fixture(params=[name for name, usable in _core.isas().items() if usable])
def isa(request):
    """Run the test once on each instruction set this CPU has."""
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


@pytest.fixture
def interruptible():
    """For tests that press Ctrl-C at a moment of chance. CPython drops it where a callback of the garbage collector runs, and hypothesis
    leaves one behind: of 546 presses one was lost."""
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = callbacks


@pytest.fixture
def load(monkeypatch):
    """Import a module of `bench/`, whose names are too short to stay importable."""
    bench = str(ROOT / "bench")
    # tests/cases.py has the name, too.
    monkeypatch.delitem(sys.modules, "cases", raising=False)
    monkeypatch.syspath_prepend(bench)
    yield importlib.import_module
    for name in [name for name, module in sys.modules.items() if bench in str(getattr(module, "__file__", ""))]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture(params=["loop"] if backend.engine is None else ["loop", "compiled"])
def engine(request, monkeypatch):
    """Run the test once on each training engine; the class."""
    if request.param == "compiled":
        return backend.engine
    monkeypatch.setattr(backend, "engine", None)
    return loop.Engine
