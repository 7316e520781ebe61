"""What bias correction does to the first steps of Adam, and the update rules of the lecture notes beside each other on the digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import fastnn
from fastnn.datasets import load_digits

STEPS, EPOCHS, BATCH = 1000, 20, 32
METHODS = {
    "SGD": fastnn.SGD(),
    "momentum": fastnn.Momentum(),
    "Nesterov": fastnn.Momentum(nesterov=True),
    "AdaGrad": fastnn.AdaGrad(),
    "RMSProp": fastnn.RMSProp(),
    "Adam, uncorrected": fastnn.Adam(bias_correction=False),
    "Adam": fastnn.Adam(),
}
ADAMS = ("Adam", "Adam, uncorrected")

x, y = load_digits()
order = np.random.default_rng(0).permutation(len(x))
train, validation = order[:1200], order[1200:]
scaler = fastnn.Standardizer().fit(x[train])
x = scaler.transform(x).astype(np.float32)


def networks(count: int) -> list[fastnn.MLP]:
    return [fastnn.MLP((64, 64, 10), keep_prob=0.5, seed=seed) for seed in range(count)]


def step_sizes(optimizer: fastnn.Adam) -> np.ndarray:
    """How far one weight goes at each step by the learning rate, under a gradient that never changes."""
    weight, gradient = np.zeros(1), np.ones(1)
    state, sizes = optimizer.state(weight), []
    for step in range(1, STEPS + 1):
        before = weight[0]
        optimizer.update(weight, gradient, state, step, optimizer.learning_rate, 0.0)
        sizes.append((before - weight[0]) / optimizer.learning_rate)
    return np.array(sizes)


# 1. Both averages of Adam begin at 0. The one of the squares is the slower one, so that their quotient is too large until it has caught up.
sizes = {name: step_sizes(METHODS[name]) for name in ADAMS}
print("size of a step by the learning rate, under a constant gradient")
shown = (1, 2, 5, 10, 20, 50, 100, 1000)
print(f"{'step':18}" + "".join(f"{step:7d}" for step in shown))
for name, values in sizes.items():
    print(f"{name:18}" + "".join(f"{values[step - 1]:7.2f}" for step in shown))
print(f"largest without the correction: {sizes['Adam, uncorrected'].max():.2f} at step {sizes['Adam, uncorrected'].argmax() + 1}")

# 2. The same on the digits: how far all weights together go in a step, and the loss of the batch before it.
print("\nlength of a step on the digits, and the loss before it, rate 0.01")
shown = (1, 2, 5, 10, 20, 50, 100)
print(f"{'step':18}" + "".join(f"{step:13d}" for step in shown))
for name in ADAMS:
    net = networks(1)[0]
    trainer = fastnn.Trainer(net, optimizer=replace(METHODS[name], learning_rate=0.01))
    cells = []
    for step in range(1, max(shown) + 1):
        rows = train[(step - 1) * BATCH % 1184:][:BATCH]
        before = np.concatenate([array.ravel() for array in net.parameters()])
        loss = trainer.step(x[rows], y[rows])
        length = np.linalg.norm(np.concatenate([array.ravel() for array in net.parameters()]) - before)
        if step in shown:
            cells.append(f"{length:7.3f}{loss:6.2f}")
    print(f"{name:18}" + "".join(cells))

# 3. Every method with the rate that the same range test suggests for it, kept constant and annealed. Means of five networks each.
print("\ntraining loss by epoch at a constant rate, and validation accuracy at the end, constant and with a cosine")
shown = (1, 2, 5, 10, EPOCHS)
print(f"{'method':18}{'rate':>8}" + "".join(f"{epoch:8d}" for epoch in shown) + f"{'constant':>10}{'cosine':>8}")
for name, method in METHODS.items():
    report = fastnn.learning_rate_range_test(networks(1)[0], x[train], y[train], optimizer=method, batch_size=BATCH)
    tuned = replace(method, learning_rate=report.suggested or method.learning_rate)
    constant, annealed = (
        fastnn.fit_many(networks(5), x[train], y[train], optimizer=tuned, schedule=schedule, epochs=EPOCHS, batch_size=BATCH,
                        validation_data=(x[validation], y[validation]))
        for schedule in (None, fastnn.CosineDecay(EPOCHS))
    )
    losses = np.mean([history["loss"] for history in constant], axis=0)
    reached = [np.mean([history["val_accuracy"][-1] for history in histories]) for histories in (constant, annealed)]
    print(f"{name:18}{tuned.learning_rate:8.2g}" + "".join(f"{losses[epoch - 1]:8.3f}" for epoch in shown)
          + "{:10.1%}{:8.1%}".format(*reached))

# 4. Where one would rather look.
try:
    from fastnn import plots

    figure = plots.figure("adaptive_methods")
    axis = figure.subplots()
    for name, values in sizes.items():
        axis.semilogx(np.arange(1, STEPS + 1), values, label=name)
    axis.set(xlabel="step", ylabel="step size / learning rate", ylim=(0, None), title="under a constant gradient")
    axis.legend()
    plots.finish(figure, "bias_correction.png")
    print("\ndrawn: bias_correction.png")
except ImportError as error:
    print(f"\n{error}")
