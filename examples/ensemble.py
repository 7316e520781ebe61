"""The four ways of the notes to an ensemble, on the digits: different seeds, the best of a search, checkpoints of one run, and a running
average of the weights."""

from __future__ import annotations

import warnings

import numpy as np

import fastnn
from fastnn.datasets import load_digits

EPOCHS, BATCH = 30, 16
x, y = load_digits()
order = np.random.default_rng(0).permutation(len(x))
train, validation, test = order[:600], order[600:800], order[800:]
x = fastnn.Standardizer(axis="global").fit(x[train]).transform(x).astype(np.float32)


def line(name: str, report: fastnn.EnsembleReport) -> str:
    values = report.mean_member, report.best_member, report.ensemble
    return (f"{name:22}{len(report.members):7d}" + "".join(f"{value['accuracy']:10.2%}" for value in values)
            + f"{100 * report.gain['accuracy']:+10.2f}{report.disagreement:10.2%}")  # fmt: skip


# 1. Different initialisations: ten networks with seeds of their own, trained together.
seeds = fastnn.Ensemble.from_seeds((64, 32, 10), x[train], y[train], members=10, optimizer=fastnn.Adam(0.003), epochs=EPOCHS,
                                   batch_size=BATCH)
report = seeds.report(x[test], y[test])
print(f"ten seeds, on {report.rows} test rows\n{report}")


# 2. Top models of a search: they differ in more than the seed.
def build(learning_rate: float, hidden: int, keep_prob: float, seed: int) -> fastnn.Trainer:
    return fastnn.Trainer(fastnn.MLP((64, hidden, 10), keep_prob=(1.0, keep_prob), seed=seed), optimizer=fastnn.Adam(learning_rate))


space = {"learning_rate": fastnn.LogUniform(1e-4, 1e-1), "hidden": fastnn.IntUniform(8, 64), "keep_prob": fastnn.Uniform(0.5, 1.0)}
search = fastnn.RandomSearch(build, space, [fastnn.Stage(20, epochs=4), fastnn.Stage(10, epochs=EPOCHS)])
with warnings.catch_warnings():
    warnings.simplefilter("ignore", fastnn.BorderWarning)
    result = search.run(x[train], y[train], validation_data=(x[validation], y[validation]), batch_size=BATCH, keep_networks=5)
searched = fastnn.Ensemble.from_search(result, 5)

# 3. Checkpoints of one run: what the callback kept after the last epochs of the training of a single network.
snapshots = fastnn.Snapshots(epochs=5, last=5)
one = fastnn.MLP((64, 32, 10), seed=0)
one.fit(x[train], y[train], optimizer=fastnn.Adam(0.003), epochs=EPOCHS, batch_size=BATCH, callbacks=[snapshots])
checkpoints = fastnn.Ensemble.from_checkpoints(snapshots)

# 4. A running average of the weights: one network, as fast as any. It helps where a constant rate keeps the last weights from settling.
SHOWN = (2, 5, 10, EPOCHS)


def mean_accuracy(networks: list[fastnn.MLP]) -> float:
    return float(np.mean([np.mean(net.predict(x[test]) == y[test]) for net in networks]))


def run(rate: float) -> tuple[list[fastnn.MLP], list[tuple[float, float]]]:
    """The averages of ten seeds at the end, and on the way the mean accuracies of last weights and of averages."""
    trainers = [fastnn.Trainer(fastnn.MLP((64, 32, 10), seed=seed), optimizer=fastnn.Adam(rate), average=fastnn.EMA(0.99))
                for seed in range(10)]  # fmt: skip
    seen: list[tuple[float, float]] = []

    def look(trainers: list[fastnn.Trainer]) -> None:
        if len(trainers[0].history) in SHOWN:
            pairs = [(trainer.net, trainer.averaged()) for trainer in trainers]
            seen.append((mean_accuracy([net for net, _ in pairs]), mean_accuracy([average for _, average in pairs])))

    fastnn.fit_many(trainers, x[train], y[train], epochs=EPOCHS, batch_size=BATCH, callbacks=[look])
    return [trainer.averaged() for trainer in trainers], seen


print(f"\n{'mean test accuracy of ten seeds, after epoch':46}" + "".join(f"{epoch:>9}" for epoch in SHOWN))
for rate in (0.003, 0.03):
    networks, seen = run(rate)
    for name, values in zip((f"Adam at a constant {rate:<6g} last weights", f"{'':26}running average"), zip(*seen)):
        print(f"{name:46}" + "".join(f"{value:9.2%}" for value in values))
averages = fastnn.Ensemble(networks)

print(f"\n{'test accuracy':22}{'members':>7}{'mean':>10}{'best':>10}{'ensemble':>10}{'gain':>10}{'disagree':>10}")
for name, ensemble in (("different seeds", seeds), ("top of a search", searched), ("checkpoints of a run", checkpoints),
                       ("averages, rate 0.03", averages)):  # fmt: skip
    print(line(name, ensemble.report(x[test], y[test])))

# One file holds all members.
seeds.save("ensemble.npz", {"trained on": "digits"})
loaded = fastnn.Ensemble.load("ensemble.npz")
print(f"\n{loaded!r} from ensemble.npz: the same predictions: {np.array_equal(loaded.predict(x[test]), seeds.predict(x[test]))}")

try:
    report.plot("ensemble.png")
    print("drawn: ensemble.png")
except ImportError as error:
    print(error)
