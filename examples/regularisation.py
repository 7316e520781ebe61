"""One large network on few digits under each way of regularisation: the gap between training and validation, and what becomes of the
weights; with training curves where matplotlib is installed."""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.datasets import load_digits

x, y = load_digits()
rng = np.random.default_rng(0)
order = rng.permutation(len(x))
train, validation, test = order[:300], order[300:800], order[800:]
learnt = np.where(rng.random(300) < 0.15, rng.integers(0, 10, 300), y[train])  # labels of a careless hand: about one in seven is anything
SEEDS = range(3)


def fitted(seed: int, optimizer: fastnn.Adam, keep_prob: float = 1.0, **settings: object) -> tuple[fastnn.MLP, fastnn.History]:
    net = fastnn.MLP((64, 256, 10), keep_prob=keep_prob, seed=seed)
    history = net.fit(x[train], learnt, preprocessing=fastnn.Standardizer(axis="global"), optimizer=optimizer, epochs=100, batch_size=25,
                      schedule=fastnn.CosineDecay(100), validation_data=(x[validation], y[validation]), **settings)
    return net, history


# 1. The same net of 19,210 parameters and the same 300 rows; means over three seeds.
ways = {
    "nothing": {"optimizer": fastnn.Adam(1e-3)},
    "L2 (weight_decay=0.02)": {"optimizer": fastnn.Adam(1e-3, weight_decay=0.02)},
    "L1 (l1=0.002)": {"optimizer": fastnn.Adam(1e-3, l1=0.002)},
    "elastic net (0.01, 0.001)": {"optimizer": fastnn.Adam(1e-3, weight_decay=0.01, l1=0.001)},
    "max-norm 0.8": {"optimizer": fastnn.Adam(1e-3), "max_norm": 0.8},
    "dropout (keep_prob=0.5)": {"optimizer": fastnn.Adam(1e-3), "keep_prob": 0.5},
    "early stopping": {"optimizer": fastnn.Adam(1e-3), "early_stopping": fastnn.EarlyStopping(10)},
}  # fmt: skip
print(f"{'':27}{'training':>9}{'validation':>12}{'test':>8}{'gap of loss':>13}{'norm':>7}{'|w|<0.001':>11}{'epochs':>8}")
histories = {}
for name, settings in ways.items():
    rows = []
    for seed in SEEDS:
        net, history = fitted(seed, **settings)
        on = {part: fastnn.Trainer(net).evaluate(x[chosen], labels)
              for part, chosen, labels in (("training", train, learnt), ("validation", validation, y[validation]), ("test", test, y[test]))}
        weights = np.concatenate([layer.weight.ravel() for layer in net.layers])
        rows.append([*(each["accuracy"] for each in on.values()), on["validation"]["loss"] - on["training"]["loss"],
                     np.linalg.norm(weights), np.mean(np.abs(weights) < 0.001), len(history)])
    a, b, c, gap, norm, empty, epochs = np.mean(rows, axis=0)
    print(f"{name:27}{a:9.1%}{b:12.1%}{c:8.1%}{gap:13.3f}{norm:7.1f}{empty:11.1%}{epochs:8.0f}")
    histories[name] = history

# 2. How it shows in the history: the penalty beside the loss, the norm of the weights, the best epoch.
for name in ("L1 (l1=0.002)", "early stopping"):
    lines = str(histories[name]).splitlines()
    best = histories[name].best_epoch
    shown = (1, len(lines) - 1) if best is None else (1, best, len(lines) - 1)
    print(f"\n{name}\n" + "\n".join(lines[k] for k in (0, *shown)))

# 3. Four of them as a picture.
try:
    shown = {name: histories[name] for name in ("nothing", "L2 (weight_decay=0.02)", "L1 (l1=0.002)", "early stopping")}
    fastnn.curves.plot(shown, "regularisation.png", quantities=["loss", "accuracy", "weight_norm", "update_ratio"])
    print("\ntraining curves in regularisation.png")
except ImportError as error:
    print(f"\n{error}")
