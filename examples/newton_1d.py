"""Newton's method in one dimension, where one sees what it does: digits gained a step, and the three ways in which it fails."""

from __future__ import annotations

import math
from collections.abc import Callable

Function = Callable[[float], float]


def newton(slope: Function, curvature: Function, w: float, steps: int) -> list[float]:
    """`w - slope(w) / curvature(w)`, again and again."""
    path = [w]
    for _ in range(steps):
        w -= slope(w) / curvature(w)
        path.append(w)
    return path


def damped(f: Function, slope: Function, curvature: Function, w: float, steps: int) -> tuple[list[float], list[float]]:
    """`w - slope / (curvature + damping)`: the damping doubles until the sum is positive and the step gains a quarter of what the parabola
    promised, and shrinks after it."""
    path, dampings, damping = [w], [], 1e-3
    for _ in range(steps):
        while True:
            step = -slope(w) / (curvature(w) + damping)
            promised = -slope(w) * step - curvature(w) * step * step / 2
            if curvature(w) + damping > 0 and f(w) - f(w + step) >= promised / 4:
                break
            damping *= 2
        w += step
        path.append(w)
        dampings.append(damping)
        damping /= 8
    return path, dampings


def digits(w: float, minimum: float) -> str:
    return "all" if w == minimum else f"{max(0.0, -math.log10(abs(w - minimum))):.1f}"


# 1. A smooth loss with a penalty, log(1 + exp(-w)) + w**2 / 20. Newton doubles its digits every step; gradient descent, whose rate is the
# largest that is safe, 1 / (largest curvature), gains about as many with every step.
def logistic(w: float) -> float:
    return 1 / (1 + math.exp(w))  # of minus w


def loss_slope(w: float) -> float:
    return -logistic(w) + w / 10


def loss_curvature(w: float) -> float:
    return logistic(w) * (1 - logistic(w)) + 0.1


minimum = newton(loss_slope, loss_curvature, 1.0, 20)[-1]
by_newton = newton(loss_slope, loss_curvature, 0.0, 5)
w, by_descent = 0.0, [0.0]
for _ in range(5):
    w -= loss_slope(w) / 0.35
    by_descent.append(w)
print(f"correct digits of the minimum w = {minimum:.6f} after so many steps")
print(f"{'step':>18}" + "".join(f"{k:>6}" for k in range(6)))
print(f"{'Newton':>18}" + "".join(f"{digits(w, minimum):>6}" for w in by_newton))
print(f"{'gradient descent':>18}" + "".join(f"{digits(w, minimum):>6}" for w in by_descent))

# 2. Too far away: sqrt(1 + w**2) has its minimum at 0, and a Newton step takes w to -w**3. From 0.9 that is nearer, from 1.1 farther.
print("\nsqrt(1 + w**2), Newton from 0.9 and from 1.1: each step takes w to -w**3")
for start in (0.9, 1.1):
    path = newton(lambda w: w / math.sqrt(1 + w * w), lambda w: (1 + w * w) ** -1.5, start, 5)
    print("  " + "  ".join(f"{w:9.3g}" for w in path))
path, _ = damped(lambda w: math.sqrt(1 + w * w), lambda w: w / math.sqrt(1 + w * w), lambda w: (1 + w * w) ** -1.5, 1.1, 5)
print("damped, from 1.1")
print("  " + "  ".join(f"{w:9.3g}" for w in path))

# 3. The wrong way: where the curvature is negative, Newton climbs to the maximum. w**4 / 4 - w**2 / 2 has minima at -1 and 1, and a
# maximum at 0.
print("\nw**4 / 4 - w**2 / 2 from 0.3, where the curvature is negative")
path = newton(lambda w: w**3 - w, lambda w: 3 * w * w - 1, 0.3, 5)
print("Newton  " + "  ".join(f"{w:9.6f}" for w in path) + "   the maximum")
path, dampings = damped(lambda w: w**4 / 4 - w * w / 2, lambda w: w**3 - w, lambda w: 3 * w * w - 1, 0.3, 5)
print("damped  " + "  ".join(f"{w:9.6f}" for w in path) + "   a minimum")
print("damping " + " " * 11 + "  ".join(f"{damping:9.2g}" for damping in dampings))

# 4. No curvature to speak of: abs(w) is straight, so that w - slope / curvature divides by 0. So are ReLU nets with the hinge loss, almost
# everywhere, which is why `fastnn.minimize` refuses that loss for Newton's methods.
try:
    newton(lambda w: math.copysign(1.0, w), lambda w: 0.0, 0.5, 1)
except ZeroDivisionError:
    print("\nabs(w): slope 1, curvature 0, and no Newton step at all")
