"""Raw, centred, standardised and min-max scaled inputs under the same training, and what statistics of the wrong rows are answered with."""

from __future__ import annotations

import warnings

import numpy as np

import fastnn
from fastnn.datasets import load_digits

x, y = load_digits()
order = np.random.default_rng(0).permutation(len(x))
train, validation, test = order[:1200], order[1200:1500], order[1500:]


def fitted(preprocessing: object, rate: float) -> tuple[fastnn.MLP, fastnn.History]:
    net = fastnn.MLP((64, 64, 10), seed=1)
    history = net.fit(x[train], y[train], preprocessing=preprocessing, optimizer=fastnn.SGD(rate), epochs=10, batch_size=32,
                      validation_data=(x[validation], y[validation]))
    return net, history


# 1. Pixels count from 0 to 16. The same network, the same plain SGD: only what the first layer is given differs.
settings = {"raw pixels": None, "mean subtracted": fastnn.Standardizer(divide=False), "standardised": fastnn.Standardizer(),
            "one mean and deviation": fastnn.Standardizer(axis="global"), "min-max to [-1, 1]": fastnn.MinMaxScaler(),
            "min-max to [0, 1]": fastnn.MinMaxScaler(0, 1)}  # fmt: skip
print("validation accuracy after 10 epochs of SGD, by learning rate")
print(f"{'':24}{'0.003':>8}{'0.03':>8}{'0.3':>8}")
for name, preprocessing in settings.items():
    cells = []
    for rate in (0.003, 0.03, 0.3):
        try:
            cells.append(f"{fitted(preprocessing, rate)[1]['val_accuracy'][-1]:8.1%}")
        except FloatingPointError:
            cells.append(f"{'diverged':>8}")
    print(f"{name:24}{''.join(cells)}")

# 2. Statistics belong to the training rows. Those of all rows have seen the rows that are to judge the net.
leaky = fastnn.Standardizer().fit(x)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fitted(leaky, 0.03)
    shares = leaky.check(validation=x[validation], test=x[test])
print(f"\n{len(caught)} warnings about statistics of all rows; the first one:\n  {caught[0].message}")
print("rows that the statistics have seen:", ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))

# 3. The net keeps its preprocessing; folded into the first layer it is one step less for whoever uses the weights elsewhere.
net, _ = fitted(fastnn.Standardizer(), 0.03)
folded = net.fold_preprocessing()
apart = np.abs(folded.forward(x[test]) - net.forward(x[test])).max()
print(f"\nfolded into the first layer: scores within {apart:.1e}, test accuracy {np.mean(folded.predict(x[test]) == y[test]):.1%}")
