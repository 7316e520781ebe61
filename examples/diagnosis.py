"""Small random numbers, large ones, and initialisers that know the shape, through six layers; then a sick network, and the same cured."""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn import diagnostics
from fastnn.datasets import load_digits

x, y = load_digits()
order = np.random.default_rng(0).permutation(len(x))
train, validation = order[:1200], order[1200:1500]
scaler = fastnn.Standardizer().fit(x[train])
z = scaler.transform(x, "float32")

# 1. Equal networks, but for activation and initial weights: what is left of the signal layer by layer, and what comes of training.
print("deviation of the activations in layers 1 to 6, and validation accuracy after 5 epochs of SGD at the best of three rates")
for name, net in diagnostics.depth_nets(64).items():
    layers = fastnn.diagnose(net, z[train]).layers[:6]
    reached = []
    for rate in (0.01, 0.03, 0.1):
        copy = net.astype("float32")
        copy.fit(z[train], y[train], optimizer=fastnn.SGD(rate), epochs=5, batch_size=32)
        reached.append(np.mean(copy.predict(z[validation]) == y[validation]))
    print(f"{name:24}" + "".join(f"{layer.variance**0.5:9.2g}" for layer in layers) + f"{max(reached):9.1%}")

# 2. Raw pixels, weights that are too large, a rate that is too high: the report says so before an epoch is wasted.
sick = fastnn.MLP((64, 128, 64, 10), activation="tanh", init=fastnn.init.Normal(1.0))
report = fastnn.diagnose(sick, x[train], y[train], optimizer=fastnn.SGD(3.0))
print(f"\n{report}\n\npassed: {report.passed}")
cured = fastnn.MLP((64, 128, 64, 10), activation="tanh", init="glorot_normal")
report = fastnn.diagnose(cured, z[train], y[train], optimizer=fastnn.SGD(0.03))
print(f"\n{report}\n\npassed: {report.passed}")

# 3. Where one would rather look.
try:
    diagnostics.depth_picture(z[train], path="depth.png")
    report.plot("diagnosis.png")
    print("\ndrawn: depth.png, diagnosis.png")
except ImportError as error:
    print(f"\n{error}")
