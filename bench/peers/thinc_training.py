"""thinc trains: `chain` of its layers on `NumpyOps`, whose products are cython-blis's, on one thread; Adam without clipping, decay or
averages, which the others do not do either."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from thinc.api import Adam, NumpyOps, Relu, Softmax, chain, set_current_ops
from training import Training, rows, weights

from .loops import Loop

set_current_ops(NumpyOps())


def prepare(case: Training) -> dict[str, Callable[[], Loop]]:
    return {"NumpyOps": lambda: loop(case)}


def loop(case: Training) -> Loop:
    *hidden, (inputs, outputs) = pairwise(case.sizes)
    dropout = 1 - case.keep_prob if case.keep_prob < 1.0 else None
    model = chain(*(Relu(o, i, dropout=dropout) for i, o in hidden), Softmax(outputs, inputs))
    model.initialize()
    start = weights(case)
    layers = [node for node in model.walk(order="dfs_pre") if node.has_param("W")]
    for layer, w, b in zip(layers, start[0::2], start[1::2]):
        layer.set_param("W", np.ascontiguousarray(w.T))
        layer.set_param("b", b)
    optimizer = Adam(case.rate, L2=0.0, grad_clip=0.0, use_averages=False)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        p, backprop = model.begin_update(x)
        numbers = np.arange(len(y))
        loss = -np.log(p[numbers, y]).mean()
        p[numbers, y] -= 1
        p /= len(y)
        backprop(p)
        model.finish_update(optimizer)
        return float(loss)

    return Loop(case, step, *rows(case), np.random.default_rng(case.seed).permutation, lambda x: model.predict(x).argmax(1))
