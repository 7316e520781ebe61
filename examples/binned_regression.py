"""Regression by classification over bins beside plain L2: where the truth has two peaks and their mean is never right, and on house prices
where the file is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fastnn
from fastnn import table, tabular, text

HOUSING = Path(__file__).resolve().parents[2] / "shared" / "data" / "housing.csv.gz"  # beside the checkout


def errors(predicted: np.ndarray, y: np.ndarray) -> str:
    error = predicted - y
    return f"MAE {text.amount(np.abs(error).mean())}, RMSE {text.amount(np.sqrt(np.square(error).mean()))}"


def least_squares(x: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray], hidden: tuple[int, ...], **settings: object):
    """A net of the same hidden layers that predicts one number by L2: a function from rows to predictions."""
    mean, std = y.mean(), y.std()
    net = fastnn.MLP((x.shape[1], *hidden, 1), seed=1)
    net.fit(x, (y - mean) / std, loss="l2", validation_data=(validation[0], (validation[1] - mean) / std), **settings)
    return lambda rows: net.predict(rows)[:, 0].astype(float) * std + mean


# 1. Minutes to work by hour and distance: one road takes long, the other does not, and which one is open is not among the inputs.
rng = np.random.default_rng(0)
x = rng.uniform(0, 1, (4000, 2))
slow = rng.random(4000) < 0.4
y = 10 + 20 * x[:, 1] + np.where(slow, 25, 0) + (1 + 3 * x[:, 0]) * rng.normal(size=4000)
train, validation, test = slice(2600), slice(2600, 3000), slice(3000, None)
settings = {"optimizer": fastnn.Adam(3e-3), "epochs": 30, "batch_size": 32, "early_stopping": fastnn.EarlyStopping(8)}
held = x[validation], y[validation]
point = least_squares(x[train], y[train], held, (64, 64), **settings)
model = fastnn.BinnedRegression((64, 64), bins=50, kind="uniform", seed=1)
model.fit(x[train], y[train], validation_data=held, **settings)

print(f"two roads, {model.bins}")
print("L2:  ", errors(point(x[test]), y[test]))
print("bins:", errors(model.predict(x[test]), y[test]))
near = np.abs(point(x[test]) - y[test]) < 3
print(f"\nwithin 3 minutes of L2's prediction: {near.mean():.0%} of the test rows; the mean lies between the roads, where nobody arrives")
row = np.array([[0.2, 0.5]])
distribution = model.predict_distribution(row)
print(f"at hour 0.2 and distance 0.5: L2 {point(row)[0]:.1f} minutes, mean of the distribution {distribution.mean()[0]:.1f}, and the "
      "distribution itself")
cells = np.arange(10, 56, 5)
for start, mass in zip(cells, np.diff(distribution.cdf(cells))[0]):
    print(f"  {start:2} to {start + 5} minutes {mass:6.1%}  {'#' * round(60 * mass)}".rstrip())
print(f"\n{model.coverage(x[test], y[test])}")
try:
    model.plot(x[test], y[test], "binned_regression.png")
    print("\ndrawn: binned_regression.png")
except ImportError as error:
    print(f"\n{error}")

# 2. House prices: a long tail, and a cap at 500,001 dollars that one row in twenty has.
if HOUSING.exists():
    data = tabular.prepare(table.read(HOUSING), "median_house_value", seed=0)
    (x_train, y_train), held, (x_test, y_test) = ((x, data.target.decode(y)) for x, y in (data.train, data.validation, data.test))
    settings |= {"epochs": 12, "schedule": fastnn.CosineDecay(12)}
    point = least_squares(x_train, y_train, held, (128, 64), **settings)
    model = fastnn.BinnedRegression((128, 64), seed=1)
    model.fit(x_train, y_train, validation_data=held, **settings)
    print(f"\nhouse prices, {model.bins}")
    print("L2:  ", errors(point(x_test), y_test))
    print("bins:", errors(model.predict(x_test), y_test))
    print(model.coverage(x_test, y_test))
else:
    print(f"\nhouse prices are absent: they need {HOUSING.name} in ../{HOUSING.parent.parent.name}/{HOUSING.parent.name}")
