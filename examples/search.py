"""Hyperparameters by random search: why not a grid, from coarse to fine, what a border says, and how a killed search goes on."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np

import fastnn
from fastnn.datasets import load_digits

x, y = load_digits()
order = np.random.default_rng(0).permutation(len(x))
train, validation, test = order[:1200], order[1200:1500], order[1500:]
rows = {"validation_data": (x[validation], y[validation]), "batch_size": 32}


def build(learning_rate: float, weight_decay: float, keep_prob: float = 1.0, width: int = 64, epochs: int = 1) -> fastnn.Trainer:
    net = fastnn.MLP((64, width, 10), keep_prob=keep_prob, seed=1)
    return fastnn.Trainer(net, optimizer=fastnn.Adam(learning_rate, weight_decay=weight_decay), schedule=fastnn.CosineDecay(epochs),
                          preprocessing=fastnn.Standardizer())


def plain(learning_rate: float, weight_decay: float) -> fastnn.Trainer:
    net = fastnn.MLP((64, 64, 10), seed=1)
    return fastnn.Trainer(net, optimizer=fastnn.SGD(learning_rate, weight_decay=weight_decay), preprocessing=fastnn.Standardizer())


# 1. Sixteen trials of a grid and of random values, of which only the learning rate matters. Where a grid's four rates fall is luck, so the
# two meet eight times, in ranges that begin at different rates.
pairs = []
with warnings.catch_warnings():
    warnings.simplefilter("ignore", fastnn.BorderWarning)
    for k in range(8):
        two = {"learning_rate": fastnn.LogUniform(1e-6 * 10 ** (k / 4), 10 ** (k / 4)), "weight_decay": fastnn.LogUniform(1e-7, 1e-3)}
        grid = fastnn.GridSearch(plain, two, points=4).run(x[train], y[train], **rows)
        random = fastnn.RandomSearch(plain, two, [fastnn.Stage(16)], seed=k).run(x[train], y[train], **rows)
        pairs.append((grid, random))
print("best of 16 trials of one epoch, in eight ranges of rates    mean   worst")
for place, name in enumerate(("a grid of 4 x 4", "random")):
    scores = [pair[place].best.score for pair in pairs]
    print(f"{name:57}{np.mean(scores):7.1%} {min(scores):7.1%}")

# 2. From coarse to fine: most trials run one epoch; the others run ten, around the best of them.
space = {"learning_rate": fastnn.LogUniform(1e-5, 1), "weight_decay": fastnn.LogUniform(1e-7, 1e-2), "keep_prob": fastnn.Uniform(0.5, 1.0),
         "width": fastnn.IntUniform(16, 256, log=True)}  # fmt: skip
stages = [fastnn.Stage(40, epochs=1), fastnn.Stage(20, epochs=10)]
log = Path(tempfile.mkdtemp()) / "trials.jsonl"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = fastnn.RandomSearch(build, space, stages).run(x[train], y[train], log=log, keep_networks=5, **rows)
print()
result.table(5)
for each in caught:
    print(f"warning: {each.message}")
ensemble = fastnn.Ensemble.from_search(result, 5)
for name, model in (("the best network", result.networks()[0]), ("the five best, averaged", ensemble)):
    print(f"test accuracy of {name}: {np.mean(model.predict(x[test]) == y[test]):.1%}")

# 3. A range that ends too early is found out; with extend=True the search goes on beyond its border.
low = {"learning_rate": fastnn.LogUniform(1e-6, 1e-4), "weight_decay": fastnn.LogUniform(1e-7, 1e-2)}
print()
for extend in (False, True):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = fastnn.RandomSearch(build, low, [fastnn.Stage(20, epochs=2)], extend=extend).run(x[train], y[train], **rows)
    print(f"extend={extend}: best {found.best.score:.1%} at a learning rate of {found.best.parameters['learning_rate']:.2g}, "
          f"{len(found.trials)} trials")
    for each in caught:
        print(f"  {each.message}")

# 4. A search that was killed in the middle of writing a line reads its log and trains only what is missing.
whole = log.read_bytes()
rest = whole[: len(whole) // 2]
log.write_bytes(rest)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", fastnn.BorderWarning)
    again = fastnn.RandomSearch(build, space, stages).run(x[train], y[train], log=log, **rows)
same = [(trial.parameters, trial.score) for trial in again.trials] == [(trial.parameters, trial.score) for trial in result.trials]
finished = len(rest.splitlines()) - 2  # beside the header, and the line that was cut off
print(f"\nkilled after {finished} of {len(result.trials)} trials and run again: {'the same' if same else 'other'} trials\n")

try:
    fastnn.plot_search_projections(*pairs[2], ("learning_rate", "weight_decay"), "search_grid.png")
    result.plot("search.png")
    print("drawn in search_grid.png and search.png")
except ImportError as error:
    print(error)
