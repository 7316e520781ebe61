"""A small problem to search the hyperparameters of, and what the tests of searches compare trials with."""

from __future__ import annotations

import warnings

import numpy as np

from fastnn import MLP, Adam, BorderWarning, IntUniform, LogUniform, Standardizer, Trainer

RNG = np.random.default_rng(8)
X = RNG.normal(size=(240, 6)) * [1, 2, 3, 4, 5, 6] + 10
Y = ((X - 10) @ RNG.normal(size=(6, 3))).argmax(axis=1)
TRAIN, VALIDATION = (X[:180], Y[:180]), (X[180:], Y[180:])
SPACE = {"learning_rate": LogUniform(1e-3, 1e-1), "width": IntUniform(4, 20)}


def build(learning_rate, width=8, **settings):
    return Trainer(MLP((6, width, 3), seed=3), optimizer=Adam(learning_rate), preprocessing=Standardizer(), **settings)


def run(search, folds=None, **options):
    """The result, with borders left unsaid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BorderWarning)
        return search.run(*TRAIN, validation_data=None if folds else VALIDATION, folds=folds, **{"batch_size": 32, **options})


def bits(net):
    return [array.tobytes() for array in net.parameters()]


def timeless(trials):
    return [trial.to_json(SPACE | {"batch_size": IntUniform(1, 999)}).partition('"seconds"')[0] for trial in trials]


def by_hand(trial, epochs, split=None):
    """A trial's net and score by a plain trainer."""
    (x, y), judge = (TRAIN, VALIDATION) if split is None else split
    trainer = build(**trial.parameters)
    trainer.fit(x, y, epochs=epochs, batch_size=32)
    return trainer, trainer.evaluate(*judge)


class Counted:
    """A build that counts, and breaks at its `last` call."""

    def __init__(self, last=10**9, error=KeyboardInterrupt):
        self.calls, self.last, self.error = 0, last, error

    def __call__(self, learning_rate, width):
        self.calls += 1
        if self.calls == self.last:
            raise self.error
        return build(learning_rate, width)
