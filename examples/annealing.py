"""The schedules of the lecture notes: their rates before any training, a range test to find the base rate, and what annealing is worth."""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.datasets import load_digits

EPOCHS, BATCH, ROWS = 20, 32, 1200
STEPS = -(-ROWS // BATCH)  # of an epoch
SCHEDULES = {
    "constant": fastnn.schedules.Schedule(),
    "step": fastnn.StepDecay(factor=0.5, every=4),
    "exponential": fastnn.ExponentialDecay(rate=0.15),
    "1/t": fastnn.InverseTimeDecay(rate=0.3),
    "cosine, by step": fastnn.CosineDecay(over=EPOCHS * STEPS, unit="step"),
    "plateau": fastnn.ReduceOnPlateau(factor=0.5, patience=2),
    "warm-up, cosine": fastnn.Warmup(3 * STEPS, fastnn.CosineDecay(over=EPOCHS)),
}

x, y = load_digits()
order = np.random.default_rng(0).permutation(len(x))
train, validation = order[:ROWS], order[ROWS:]
scaler = fastnn.Standardizer().fit(x[train])
x = scaler.transform(x).astype(np.float32)


def networks(count: int) -> list[fastnn.MLP]:
    return [fastnn.MLP((64, 64, 10), keep_prob=0.5, seed=seed) for seed in range(count)]


# 1. What a schedule will do is known before it is used. Reduce on plateau answers to losses, so it is shown what to assume.
assumed = [1.0, 0.6, 0.5, 0.5, 0.5, 0.4] + [0.4] * 14
print("factor on the base rate at the first step of an epoch")
shown = (0, 1, 2, 5, 10, 15, 19)
print(f"{'':18}" + "".join(f"{epoch:8d}" for epoch in shown))
for name, schedule in SCHEDULES.items():
    factors = schedule.preview(EPOCHS, steps_per_epoch=STEPS, monitored=assumed)
    print(f"{name:18}" + "".join(f"{factors[epoch * STEPS]:8.3f}" for epoch in shown))

# 2. Where to begin: a copy of the network is trained while the rate grows.
report = fastnn.learning_rate_range_test(networks(1)[0], x[train], y[train], batch_size=BATCH)
print(f"\n{report}")

# 3. The same schedules on the digits, from a tenth of that rate, from it, and from five times as much. Means of five networks each.
print(f"\nvalidation loss and accuracy after {EPOCHS} epochs of Adam")
bases = (report.suggested or 0.001) * np.array([0.1, 1, 5])
print(f"{'base rate':18}" + "".join(f"{base:16.2g}" for base in bases))
for name, schedule in SCHEDULES.items():
    cells = []
    for base in bases:
        histories = fastnn.fit_many(networks(5), x[train], y[train], optimizer=fastnn.Adam(base), schedule=schedule, epochs=EPOCHS,
                                    batch_size=BATCH, validation_data=(x[validation], y[validation]))
        losses, accuracies = (np.mean([history[name][-1] for history in histories]) for name in ("val_loss", "val_accuracy"))
        cells.append(f"{losses:9.3f}{accuracies:7.1%}")
    print(f"{name:18}" + "".join(cells))

# 4. Where one would rather look.
try:
    fastnn.plot_schedules(SCHEDULES, EPOCHS, steps_per_epoch=STEPS, monitored=assumed, path="schedules.png")
    report.plot("range_test.png")
    print("\ndrawn: schedules.png, range_test.png")
except ImportError as error:
    print(f"\n{error}")
