"""Where a training pass that ended in numbers that are not finite went wrong: the pass done again, looking at everything on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import layers, losses

if TYPE_CHECKING:
    from .model import MLP

_ADVICE = "lower the learning rate, or standardise the inputs and targets"


def explain(net: MLP, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, loss: Any, dropout: tuple[int, int],
            rows: np.ndarray) -> tuple[str, str]:
    """`(what became what, advice)` for the first number that is not finite in a pass over the batch.

    `dropout` is as in `MLP.loss_and_gradients`, and `rows` are the numbers the user knows the rows of the batch by.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        for place, value in _quantities(net, x, y, weight, loss, dropout):
            array = np.asarray(value)
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                found = array[tuple(bad[0])]
                if place == "the input":
                    return f"the input, row {rows[bad[0][0]]}, became {found}", "look for values in x that are not finite"
                return f"{place} became {found}", _ADVICE
    # Another order of summation may just stay within range.
    return "the loss, a gradient or an update became too large", _ADVICE


def _quantities(net: MLP, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, loss: Any,
                dropout: tuple[int, int]) -> Iterator[tuple[str, Any]]:
    batch, masks = net._batch(x), net._dropouts(dropout)
    yield "the input", batch
    names = [f"layers[{k}].{kind}" for k in range(len(net.layers)) for kind in ("weight", "bias")]
    yield from zip(names, net.parameters())
    traces = net._trace(batch, masks)
    for k, trace in enumerate(traces):
        yield f"the output of layers[{k}]", trace.y
    value, dscores = losses.value_and_gradient(loss, traces[-1].y, y, weight, "Trainer")
    yield "the loss", value
    yield "the gradient of the scores", dscores
    gradients = layers.backward(net.layers, traces, masks, dscores)
    for name, gradient in reversed(list(zip(names, gradients))):
        yield f"the gradient of {name}", gradient
