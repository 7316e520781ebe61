"""The settings; the arithmetic is checked against the update written out here, in float64, over several steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastnn import optimizers
from fastnn.optimizers import SGD, AdaGrad, Adam, Momentum, RMSProp

LR, WD, L1 = 0.05, 0.01, 0.02


def expected(optimizer, param, grads, l1):
    """The recurrences of the papers, on Python floats."""
    values = []
    for p, column in zip(param.tolist(), np.transpose(grads).tolist()):
        a = b = 0.0
        for t, g in enumerate(column, 1):
            if isinstance(optimizer, Adam) and optimizer.decoupled:
                p -= LR * WD * p
            else:
                g += WD * p
            g += l1 * ((p > 0) - (p < 0))
            if isinstance(optimizer, SGD):
                p -= LR * g
            elif isinstance(optimizer, Momentum):
                previous, a = a, optimizer.momentum * a - LR * g
                # Nesterov in the form of the CS231n notes.
                p += -optimizer.momentum * previous + (1 + optimizer.momentum) * a if optimizer.nesterov else a
            elif isinstance(optimizer, AdaGrad):
                a += g * g
                p -= LR * g / (math.sqrt(a) + optimizer.eps)
            elif isinstance(optimizer, RMSProp):
                a = optimizer.decay_rate * a + (1 - optimizer.decay_rate) * g * g
                p -= LR * g / (math.sqrt(a) + optimizer.eps)
            else:
                a = optimizer.beta1 * a + (1 - optimizer.beta1) * g
                b = optimizer.beta2 * b + (1 - optimizer.beta2) * g * g
                corrected = optimizer.bias_correction
                m, v = (a / (1 - optimizer.beta1**t), b / (1 - optimizer.beta2**t)) if corrected else (a, b)
                p -= LR * m / (math.sqrt(v) + optimizer.eps)
        values.append(p)
    return values


@pytest.mark.parametrize("optimizer", [
    SGD(LR), Momentum(LR, momentum=0.8), Momentum(LR, momentum=0.8, nesterov=True), AdaGrad(LR, eps=1e-3),
    RMSProp(LR, decay_rate=0.9, eps=1e-3),
    Adam(LR, beta1=0.8, beta2=0.95, eps=1e-3), Adam(LR, beta1=0.8, beta2=0.95, bias_correction=False, eps=1e-3), Adam(LR, decoupled=True),
], ids=repr)
@pytest.mark.parametrize("l1", [0.0, L1])
def test_several_updates(optimizer, l1):
    rng = np.random.default_rng(5)
    param = rng.normal(size=6)
    param[2] = 0.0
    grads = rng.normal(size=(4, 6))
    grads[0, 2] = 0.0
    want = expected(optimizer, param, grads, l1)
    state = optimizer.state(param)
    assert len(state) == optimizer.slots
    for step, grad in enumerate(grads, 1):
        optimizer.update(param, grad, state, step, LR, WD, l1)
    assert param == pytest.approx(want, rel=1e-12)


def step_sizes(optimizer, steps):
    """What a weight moves by at each step, under the gradient 3."""
    param, sizes = np.zeros(1), []
    state = optimizer.state(param)
    for step in range(1, steps + 1):
        before = param[0]
        optimizer.update(param, np.full(1, 3.0), state, step, LR, 0.0)
        sizes.append(before - param[0])
    return np.array(sizes)


def test_bias_correction_makes_the_first_steps_of_adam_as_long_as_the_later_ones():
    # Under a constant gradient the sums of m and v are geometric: m = g (1 - beta1**t), v = g**2 (1 - beta2**t).
    t = np.arange(1, 101)
    assert step_sizes(Adam(eps=0.0), 100) == pytest.approx(np.full(100, LR), rel=1e-9)
    longer = step_sizes(Adam(bias_correction=False, eps=0.0), 100) / LR
    assert longer == pytest.approx((1 - 0.9**t) / np.sqrt(1 - 0.999**t), rel=1e-9)
    assert longer[0] == pytest.approx(math.sqrt(10.0))
    assert 6.5 < longer.max() < 6.6


def test_adagrad_and_rmsprop_under_a_constant_gradient():
    t = np.arange(1, 51)
    assert step_sizes(AdaGrad(eps=0.0), 50) == pytest.approx(LR / np.sqrt(t), rel=1e-9)
    assert step_sizes(RMSProp(decay_rate=0.9, eps=0.0), 50) == pytest.approx(LR / np.sqrt(1 - 0.9**t), rel=1e-9)


def test_nesterov_is_the_look_ahead():
    # On 0.5 * c * w**2: the gradient is taken at w + momentum * v, and the weights kept by the notes' form are that very place.
    momentum, curvature, w, v = 0.8, 1.7, 0.6, 0.0
    optimizer, kept = Momentum(momentum=momentum, nesterov=True), np.array([w])
    state = optimizer.state(kept)
    for step in range(1, 20):
        v = momentum * v - LR * curvature * (w + momentum * v)
        w += v
        optimizer.update(kept, curvature * kept, state, step, LR, 0.0)
        assert kept[0] == pytest.approx(w + momentum * v, rel=1e-12)


def test_the_rate_and_decay_of_the_call_count_not_the_base():
    param = np.ones(3)
    SGD(learning_rate=100.0, weight_decay=100.0).update(param, np.full(3, 2.0), (), 1, 0.25, 0.0)
    assert param.tolist() == [0.5] * 3


def test_state_is_zero_and_like_the_parameter():
    state = Adam().state(np.ones((2, 3), np.float32))
    assert [(a.shape, a.dtype.name, a.any()) for a in state] == [((2, 3), "float32", np.False_)] * 2
    assert not np.shares_memory(*state)


def test_they_print_as_the_call_that_makes_them():
    for optimizer in (SGD(0.1), Momentum(nesterov=True), AdaGrad(), RMSProp(weight_decay=1e-4), Adam(np.float32(0.5), decoupled=True)):
        names = {kind.__name__: kind for kind in optimizers.OPTIMIZERS.values()}
        call, arguments = repr(optimizer).rstrip(")").split("(")
        values = {key: {"True": True, "False": False}.get(value) if value in ("True", "False") else float(value)
                  for key, value in (pair.split("=") for pair in arguments.split(", "))}
        assert names[call](**values) == optimizer


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda: SGD(-0.1), ValueError, r"^fastnn.SGD: argument 'learning_rate' must be finite and in range \(expected .* got -0.1\)"),
    (lambda: SGD(float("nan")), ValueError, "learning_rate"),
    (lambda: Adam("fast"), TypeError, "'learning_rate' must be a real number"),
    (lambda: SGD(weight_decay=-1), ValueError, "weight_decay"),
    (lambda: Adam(l1=-1e-9), ValueError, "l1"),
    (lambda: Adam(l1="a"), TypeError, "l1"),
    (lambda: Momentum(momentum=1.5), ValueError, "momentum"),
    (lambda: Momentum(nesterov=1), TypeError, "'nesterov' must be True or False"),
    (lambda: RMSProp(decay_rate=2), ValueError, "decay_rate"),
    (lambda: Adam(beta1=1.0), ValueError, "beta1"),
    (lambda: Adam(beta2=1.0), ValueError, "beta2"),
    (lambda: AdaGrad(eps=-1e-8), ValueError, "eps"),
    (lambda: Adam(bias_correction="no"), TypeError, "bias_correction"),
])
def test_bad_settings_are_answered(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


def test_get():
    adam = Adam(0.5)
    assert optimizers.get(adam) is adam
    assert optimizers.get("rmsprop") == RMSProp()
    with pytest.raises(ValueError, match=r"argument 'optimizer' must be an optimizer .*sgd, momentum, adagrad, rmsprop, adam, got 'lion'"):
        optimizers.get("lion")
    with pytest.raises(TypeError, match="must be an optimizer"):
        optimizers.get(Adam)
