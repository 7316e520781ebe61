"""scikit-learn trains: `MLPClassifier.partial_fit`, one pass over what it is given, whether that is a batch or all the rows (`fit` is the
same loop, but would begin anew). It has no dropout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.neural_network import MLPClassifier
from training import Training, rows, weights

from .loops import Loop


def prepare(case: Training) -> dict[str, Callable[[], Loop]]:
    return {"partial_fit": lambda: loop(case)} if case.keep_prob == 1.0 else {}


def loop(case: Training) -> Loop:
    net, step = learner(case)
    return (Pass if case.samples else Loop)(case, step, *rows(case), np.random.default_rng(case.seed).permutation, net.predict)


def learner(case: Training) -> tuple[MLPClassifier, Callable[[np.ndarray, np.ndarray], float]]:
    classes = np.arange(case.sizes[-1])
    net = MLPClassifier(case.sizes[1:-1], alpha=0.0, batch_size=1, learning_rate_init=case.rate, random_state=case.seed)
    net.partial_fit(np.zeros((1, case.sizes[0]), case.dtype), classes[:1], classes=classes)  # makes the arrays that are filled now
    net.set_params(batch_size=case.batch)
    start = weights(case)
    for arrays, values in ((net.coefs_, start[0::2]), (net.intercepts_, start[1::2])):
        for array, value in zip(arrays, values):
            array[...] = value
    return net, lambda x, y: net.partial_fit(x, y).loss_


class Pass(Loop):
    """A call is a pass over all rows, which scikit-learn shuffles and cuts into batches by itself."""

    def __call__(self) -> float:
        return self.step(self.x, self.y)
