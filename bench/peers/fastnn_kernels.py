"""fastnn as a competitor: outputs are allocated once and handed in, as its training loop does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from cases import PRODUCTS, Case, inputs

import fastnn

KEEP_PROB, SEED = 0.5, 1
STATE = {"sgd": (), "momentum": ("m",), "adagrad": ("v",), "rmsprop": ("v",), "adam": ("m", "v")}


def prepare(case: Case) -> Callable[[], Any]:
    a = inputs(case)
    if case.kernel == "training_step":
        return _training_step(case, a)
    kernel = getattr(fastnn, case.kernel)
    if case.kernel.endswith("_update"):
        state = [a[name] for name in STATE[case.kernel.removesuffix("_update")]]
        step = (10,) if case.kernel == "adam_update" else ()

        def update() -> np.ndarray:
            kernel(a["param"], a["grad"], *state, *step, learning_rate=1e-3)
            return a["param"]

        return update
    dropout = {"keep_prob": KEEP_PROB, "seed": SEED}
    if case.kernel in PRODUCTS:
        if case.kernel.endswith("_forward"):
            random = dropout if "dropout" in case.kernel else {}
            return partial(kernel, a["x"], a["w"], a["b"], out=np.empty_like(a["y"]), **random)
        gradients = tuple(np.empty_like(a[name]) for name in ("x", "w", "b"))
        masked = () if case.kernel == "linear_backward" else (a["y"],)
        random = {"keep_prob": KEEP_PROB} if "dropout" in case.kernel else {}
        return partial(kernel, a["dy"], a["x"], a["w"], *masked, out=gradients, **random)
    out = np.empty_like(a["x"])
    if case.kernel in ("softmax_cross_entropy", "hinge_loss"):
        return partial(kernel, a["x"], a["labels"], out=out)
    if case.kernel == "l2_loss":
        return partial(kernel, a["x"], a["dy"], out=out)
    if case.kernel.startswith("dropout"):
        return partial(kernel, a["x"], out=out, **dropout)
    return partial(kernel, *((a["x"],) if case.kernel.endswith("_forward") else (a["dy"], a["y"])), out=out)


def _training_step(case: Case, a: dict[str, np.ndarray]) -> Callable[[], float]:
    net = fastnn.MLP(case.size[1:], dtype=case.dtype, seed=0)
    trainer = fastnn.Trainer(net, optimizer=fastnn.Adam(learning_rate=1e-3))
    return partial(trainer.step, a["x"], a["labels"])
