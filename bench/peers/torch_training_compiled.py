"""PyTorch trains with network and loss through `torch.compile`, which compiles their backward pass, too; fused Adam."""

from __future__ import annotations

from collections.abc import Callable

import torch
from training import Training

from .loops import Loop
from .torch_training import loop


def prepare(case: Training) -> dict[str, Callable[[], Loop]]:
    torch.compiler.reset()  # each case is a first one, or sizes would be guessed at
    return {"compiled": lambda: loop(case, lambda function: torch.compile(function, dynamic=False, fullgraph=True))}
