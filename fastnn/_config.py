"""What the compiled kernels run on."""

from __future__ import annotations

from typing import Any

from . import _core


def describe() -> dict[str, Any]:
    """Instruction set in use, those of this build (with whether this CPU runs them), and threads a kernel uses."""
    choices = ", ".join(name if usable else f"{name} (not on this CPU)" for name, usable in _core.isas().items())
    return {"isa": _core.isa(), "isa choices": choices, "threads": 1}
