"""One pass of the whole network against the average of its thinned networks: where it must agree, where it nearly does, and how fast the
average settles."""

from __future__ import annotations

import numpy as np

import fastnn
from fastnn.datasets import load_digits

x, y = load_digits()
order = np.random.default_rng(0).permutation(len(x))
train, validation, test = order[:1200], order[1200:1500], order[1500:]


def trained(activation: str, keep_prob: tuple[float, ...]) -> fastnn.MLP:
    net = fastnn.MLP((64, 256, 128, 10), activation=activation, keep_prob=keep_prob, seed=1)
    net.fit(x[train], y[train], preprocessing=fastnn.Standardizer(), epochs=40, batch_size=32)
    return net


# 1. What a share of dropped inputs and hidden units does to the validation accuracy, and whether the one pass may be trusted.
print("keep_prob of input and hidden layers: validation accuracy, and the one pass against 300 thinned networks on those rows")
print(f"{'activation':12}{'keep_prob':18}{'accuracy':>10}{'one pass':>10}{'bias':>8}{'same class':>12}  verdict")
reports = {}
for activation, keep_prob in (("relu", (1.0, 1.0, 1.0)), ("relu", (1.0, 0.8, 0.8)), ("relu", (0.8, 0.5, 0.5)), ("relu", (0.5, 0.2, 0.2)),
                              ("tanh", (0.8, 0.5, 0.5)), ("linear", (0.8, 0.5, 0.5))):  # fmt: skip
    net = trained(activation, keep_prob)
    report = reports[activation, keep_prob] = fastnn.dropout_check(net, x[validation], samples=300)
    accuracy = np.mean(net.predict(x[validation]) == y[validation])
    print(f"{activation:12}{keep_prob!s:18}{accuracy:10.1%}{report.one_pass:10.2f}{report.bias:8.2f}{report.agreement:12.1%}  "
          f"{report.verdict}")

# 2. In full: a network without a hidden nonlinearity must agree, one with ReLU is close.
for key in (("linear", (0.8, 0.5, 0.5)), ("relu", (0.8, 0.5, 0.5))):
    print(f"\n{key[0]}\n{reports[key]}")

# 3. The noise falls by the square root of the number of passes, down to the bias.
report = reports["relu", (0.8, 0.5, 0.5)]
print("\npasses    distance from the prediction   of noise alone")
for samples, difference, _ in report.convergence:
    print(f"{samples:6}{difference:32.3f}{report.one_pass / samples**0.5:17.3f}")
try:
    report.plot("dropout.png")
    print("\ndrawn: dropout.png")
except ImportError as error:
    print(f"\n{error}")
