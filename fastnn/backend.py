"""Chooses, once, which kernels the network runs on: the compiled `ops`, or their NumPy twin when `FASTNN_BACKEND=numpy` asks for it.

`engine` is the compiled training engine; `train_members` trains many of them, and `score_members` has their scores, as one job. All are
None where training is left to the engine of `fastnn.loop`, which calls `kernels`.

There is no silent fallback: without the compiled module the import of `ops` fails with a sentence that says what to do.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

NAMES = ("compiled", "numpy")


def _choose() -> tuple[str, ModuleType, Any, Any, Any]:
    name = os.environ.get("FASTNN_BACKEND", "compiled") or "compiled"
    if name not in NAMES:
        raise ImportError(f"fastnn: environment variable FASTNN_BACKEND must be one of {', '.join(NAMES)} (got {name!r})")
    if name == "numpy":
        from . import reference

        return name, reference, None, None, None
    from . import ops

    return name, ops, ops._core.Engine, ops._core.train_members, ops._core.score_members


name, kernels, engine, train_members, score_members = _choose()
