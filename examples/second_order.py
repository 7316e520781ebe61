"""L-BFGS, Newton-CG and Newton's method on the digits, beside Adam: losses reached and seconds; and the Hessian that Newton needs."""

from __future__ import annotations

import importlib.util
import time

import numpy as np

import fastnn
from fastnn.datasets import load_digits

x, y = load_digits()
order = np.random.default_rng(0).permutation(len(x))
train, test = order[:600], order[600:]
scaler = fastnn.Standardizer().fit(x[train])
DECAY = 1e-3


def fresh() -> fastnn.MLP:
    net = fastnn.MLP((64, 8, 10), activation="tanh", init="glorot_normal", seed=0)
    net.preprocessing = scaler
    return net


def report(name: str, net: fastnn.MLP, seconds: float, what: str) -> None:
    loss, gradients = net.loss_and_gradients(x[train], y[train], weight_decay=DECAY)
    norm = np.sqrt(sum(float(np.square(gradient).sum()) for gradient in gradients))
    accuracy = np.mean(net.predict(x[test]) == y[test])
    print(f"{name:10}  loss {loss:.4f}  gradient {norm:.0e}  test accuracy {accuracy:.1%}  {seconds:5.2f} s  {what}")


# 1. The derivatives first: exact Hessian-vector products against differences of the gradient, in float64.
print(str(fastnn.hessian_check(fresh(), x[train][:20], y[train][:20], weight_decay=DECAY)).splitlines()[0])

# 2. One objective, mean cross-entropy over the training rows and an L2 penalty. Adam sees it in batches of 64, the others whole.
print(f"\n{fresh().sizes} on {len(train)} digits: objective on the training rows, and test accuracy")
net = fresh()
began = time.perf_counter()
net.fit(x[train], y[train], optimizer=fastnn.Adam(3e-3, weight_decay=DECAY), epochs=1000, batch_size=64)
report("adam", net, time.perf_counter() - began, "1000 epochs")
results = {}
for method, iterations in (("l-bfgs", 300), ("newton-cg", 60), ("newton", 40)):
    if method != "newton" and not importlib.util.find_spec("scipy"):
        print(f"{method:10}  left out: it needs the extra, pip install 'fastnn[scipy]'")
        continue
    net = fresh()
    result = results[method] = fastnn.minimize(net, x[train], y[train], method=method, weight_decay=DECAY, max_iterations=iterations)
    report(method, net, result.seconds, f"{result.iterations} iterations, {result.evaluations} gradients, {result.products:,} products")
print()
print(results["newton"])

# 3. Why nobody does this to large networks: the Hessian has a row and a column a parameter.
curvatures = np.linalg.eigvalsh(fastnn.hessian(net, x[train], y[train], weight_decay=DECAY).astype(np.float64))
print(f"\ncurvatures of the objective where Newton ended: {len(curvatures)} from {curvatures[0]:.1e} to {curvatures[-1]:.1e}")
try:
    fastnn.minimize(fastnn.MLP((784, 1000, 200, 10)), np.zeros((1, 784)), [0], method="newton")
except MemoryError as error:
    print(f"a larger one is refused: {error}")

# 4. The picture, where matplotlib is there.
if importlib.util.find_spec("matplotlib"):
    list(results.values())[-2:][0].plot("second_order.png")
    print("picture: second_order.png")
