"""Every part of an update against formulas written out here in NumPy, on each engine there is."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from fastnn import backend, loop, losses, optimizers
from fastnn.loop import Driver, Plan, Statistics
from fastnn.model import MLP
from fastnn.optimizers import SGD, AdaGrad, Adam, Momentum, RMSProp
from fastnn.trainer import Trainer

RNG = np.random.default_rng(71)
X = RNG.normal(size=(23, 5))
LABELS = RNG.integers(0, 4, 23)
SOFT = RNG.dirichlet(np.ones(4), 23)
REAL = RNG.normal(size=(23, 4))
WEIGHT = RNG.uniform(0.5, 2.0, 23)
W = [RNG.normal(size=shape) for shape in ((5, 6), (6,), (6, 4), (4,))]
OFF = {"clip_value": math.inf, "clip_norm": math.inf, "max_norm": math.inf, "average": 0.0, "mean": None, "inverse_std": None}


class Setting:
    """An engine of a 5-6-4 net of tanh units with arrays of its own."""

    def __init__(self, engine, optimizer=None, dtype="float64", **changes):
        self.optimizer = SGD(0.1) if optimizer is None else optimizer
        plan = Plan(**{"sizes": (5, 6, 4), "activation": "tanh", "slope": 0.01, "keep_prob": (1.0, 1.0), "seed": 3,
                       "loss": "softmax_cross_entropy", "margin": 1.0, "update": self.optimizer.kernel, "slots": self.optimizer.slots,
                       **OFF, **changes})
        self.dtype = np.dtype(dtype)
        self.parameters = [array.astype(dtype) for array in W]
        self.states = [self.optimizer.state(array) for array in self.parameters]
        self.averages = [array.copy() for array in self.parameters] if plan.average else []
        self.engine = engine(plan, self.parameters, self.states, self.averages)
        self.steps = 0

    def typed(self, y):
        return y if y is None or y.dtype.kind == "i" else y.astype(self.dtype)

    def run(self, y=LABELS, *, x=X, weight=None, order=None, batch_size=23, micro_batch=None, first=0, updates=1, rates=None,
            decay=0.0, bias_decay=0.0, measure=False, deadline=math.inf):
        rates = np.full(updates, self.optimizer.learning_rate) if rates is None else np.asarray(rates)
        scalars = [self.optimizer.scalars(rates, self.steps, value) for value in (decay, bias_decay)]
        done = self.engine.run(x if x.dtype == np.uint8 else x.astype(self.dtype), self.typed(y), self.typed(weight), order, batch_size,
                               micro_batch or batch_size, first, updates, *scalars, self.steps, measure, deadline)
        assert done == self.engine.done
        self.steps += done
        return done

    def bits(self):
        arrays = [*self.parameters, *(array for state in self.states for array in state), *self.averages]
        return [array.tobytes() for array in arrays]


def softmax_gradients(parameters, x, y, share=None):
    """Mean loss and gradients of the 5-6-4 net, by hand."""
    w0, b0, w1, b1 = parameters
    share = np.full(len(x), 1 / len(x)) if share is None else share
    h = np.tanh(x @ w0 + b0)
    e = np.exp(h @ w1 + b1)
    p = e / e.sum(axis=1, keepdims=True)
    target = np.eye(4)[y] if y.ndim == 1 else y
    loss = -(share[:, None] * target * np.log(p)).sum()
    ds = (p - target) * share[:, None]
    dh = (ds @ w1.T) * (1 - h * h)
    return loss, [x.T @ dh, dh.sum(axis=0), h.T @ ds, ds.sum(axis=0)]


def same(found, expected, rel=1e-11):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rel, atol=1e-13)


def gradients(y=LABELS, **kwargs):
    return softmax_gradients(W, X, y, **kwargs)[1]


def total_norm(arrays):
    return math.sqrt(sum((array**2).sum() for array in arrays))


# --- one update ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [LABELS, SOFT], ids=["labels", "probabilities"])
def test_an_update_of_gradient_descent(engine, y):
    made = Setting(engine)
    assert made.run(y) == 1
    same(made.parameters, [w - 0.1 * g for w, g in zip(W, gradients(y))])
    assert made.engine.statistics.loss == pytest.approx(softmax_gradients(W, X, y)[0], rel=1e-12)


def test_weights_of_rows_are_shares_of_the_batch(engine):
    made = Setting(engine)
    made.run(weight=WEIGHT)
    share = WEIGHT / WEIGHT.sum()
    same(made.parameters, [w - 0.1 * g for w, g in zip(W, gradients(share=share))])
    statistics = made.engine.statistics
    assert statistics.loss == pytest.approx(softmax_gradients(W, X, LABELS, share)[0], rel=1e-12)
    assert statistics.weight_sum == pytest.approx(WEIGHT.sum(), rel=1e-12)


def test_decay_of_weights_and_biases_is_told_apart(engine):
    made = Setting(engine)
    made.run(decay=0.5, bias_decay=0.25)
    decays = (0.5, 0.25, 0.5, 0.25)
    same(made.parameters, [w - 0.1 * (g + decay * w) for w, g, decay in zip(W, gradients(), decays)])


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_clipping_by_norm_scales_all_gradients_when_they_exceed_it(engine, share):
    norm = total_norm(gradients())
    made = Setting(engine, clip_norm=share * norm)
    made.run()
    same(made.parameters, [w - 0.1 * min(1.0, share) * g for w, g in zip(W, gradients())])


def test_clipping_by_value_cuts_every_element(engine):
    made = Setting(engine, clip_value=0.02)
    made.run()
    clipped = [np.clip(g, -0.02, 0.02) for g in gradients()]
    assert sum(np.count_nonzero(np.abs(c) == 0.02) for c in clipped) > 10
    same(made.parameters, [w - 0.1 * c for w, c in zip(W, clipped)])


def test_the_norm_is_clipped_before_the_values(engine):
    norm = total_norm(gradients())
    made = Setting(engine, clip_value=0.02, clip_norm=norm / 4)
    made.run(measure=True)
    same(made.parameters, [w - 0.1 * np.clip(g / 4, -0.02, 0.02) for w, g in zip(W, gradients())])
    assert made.engine.statistics.gradient_norm == pytest.approx(norm, rel=1e-12)  # before both


def test_max_norm_holds_the_incoming_weights_of_every_unit(engine):
    made = Setting(engine, max_norm=2.0)
    made.run()
    expected = [w - 0.1 * g for w, g in zip(W, gradients())]
    for w in expected[0::2]:
        norms = np.sqrt((w**2).sum(axis=0))
        assert (norms > 2.0).any()
        assert (norms < 2.0).any()
        w *= np.minimum(1.0, 2.0 / norms)
    same(made.parameters, expected)


def test_the_average_follows_what_an_update_leaves(engine):
    made = Setting(engine, average=0.75, max_norm=2.0)
    average = [w.copy() for w in W]
    for _ in range(3):
        made.run()
        average = [a + 0.25 * (p - a) for a, p in zip(average, made.parameters)]
        same(made.averages, average)


def test_the_measured_update_is_the_last_of_a_run(engine):
    made = Setting(engine)
    assert math.isnan(made.engine.statistics.gradient_norm)
    made.run(batch_size=10, updates=2)
    assert math.isnan(made.engine.statistics.update_ratio)
    before = [p.copy() for p in made.parameters]
    made.run(batch_size=23, measure=True)
    _, g = softmax_gradients(before, X, LABELS)
    moved = total_norm([p - b for p, b in zip(made.parameters[0::2], before[0::2])])
    statistics = made.engine.statistics
    assert statistics.gradient_norm == pytest.approx(total_norm(g), rel=1e-12)
    assert statistics.weight_norm == pytest.approx(total_norm(before[0::2]), rel=1e-12)
    assert statistics.update_ratio == pytest.approx(moved / total_norm(before[0::2]), rel=1e-12)
    made.run()
    assert made.engine.statistics[4:] == statistics[4:]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x", [X, RNG.integers(0, 255, (23, 5), dtype=np.uint8)], ids=["floats", "uint8"])
def test_rows_are_standardised_in_the_nets_dtype(engine, x, dtype):
    mean, inverse = (RNG.normal(size=5) * 10).astype(dtype), RNG.uniform(0.01, 0.02, 5).astype(dtype)
    raw, ready = Setting(engine, dtype=dtype, mean=mean, inverse_std=inverse), Setting(engine, dtype=dtype)
    raw.run(x=x)
    ready.run(x=(x.astype(dtype) - mean) * inverse)
    assert raw.bits() == ready.bits()
    assert raw.bits() != Setting(engine, dtype=dtype).bits()


def test_masks_are_those_of_the_step_and_the_row(engine):
    keep = (0.6, 0.7)
    made = Setting(engine, keep_prob=keep)
    made.steps = 9
    made.run()
    dropped = backend.kernels.dropout_forward(X, keep[0], seed=3, stream=18)
    w0, b0, w1, b1 = W
    mask = backend.kernels.dropout_forward(np.ones((23, 6)), keep[1], seed=3, stream=19)
    h = np.tanh(dropped @ w0 + b0)
    e = np.exp((h * mask) @ w1 + b1)
    ds = (e / e.sum(axis=1, keepdims=True) - np.eye(4)[LABELS]) / 23
    dh = (ds @ w1.T) * mask * (1 - h * h)
    same(made.parameters, [w - 0.1 * g for w, g in zip(W, [dropped.T @ dh, dh.sum(0), (h * mask).T @ ds, ds.sum(0)])])


def test_the_slope_is_that_of_the_plan(engine):
    made = Setting(engine, activation="leaky_relu", slope=0.3, loss="l2")
    made.run(REAL)
    w0, b0, w1, b1 = W
    z = X @ w0 + b0
    h = np.where(z <= 0, 0.3 * z, z)
    ds = (h @ w1 + b1 - REAL) / 23
    dh = (ds @ w1.T) * np.where(z <= 0, 0.3, 1.0)
    same(made.parameters, [w - 0.1 * g for w, g in zip(W, [X.T @ dh, dh.sum(0), h.T @ ds, ds.sum(0)])])


def test_the_margin_is_that_of_the_plan(engine):
    losses_found = []
    for margin in (0.5, 2.0):
        made = Setting(engine, loss="hinge", margin=margin)
        made.run()
        scores = np.tanh(X @ W[0] + W[1]) @ W[2] + W[3]
        terms = np.maximum(0.0, scores - scores[np.arange(23), LABELS][:, None] + margin)
        losses_found.append(made.engine.statistics.loss)
        assert losses_found[-1] == pytest.approx((terms.sum() - 23 * margin) / 23, rel=1e-12)
    assert losses_found[0] != losses_found[1]


@pytest.mark.parametrize("optimizer", [
    SGD(0.1), Momentum(0.1), Momentum(0.1, nesterov=True), AdaGrad(0.1), RMSProp(0.01), Adam(0.01), Adam(0.01, bias_correction=False),
    Adam(0.01, decoupled=True),
], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_optimizers_kernels_get_the_gradients(engine, optimizer, dtype):
    made = Setting(engine, optimizer, dtype)
    parameters = [array.astype(dtype).astype(np.float64) for array in W]
    states = [optimizer.state(array) for array in parameters]
    for step in range(1, 4):
        _, g = softmax_gradients(parameters, X.astype(dtype).astype(np.float64), LABELS)
        made.run(decay=0.1, rates=[0.01 * step])
        for k, (param, gradient, state) in enumerate(zip(parameters, g, states)):
            optimizer.update(param, gradient, state, step, 0.01 * step, 0.1 if k % 2 == 0 else 0.0)
    same(made.parameters, parameters, rel=2e-4 if dtype == "float32" else 1e-9)


# --- many updates --------------------------------------------------------------------------------------------------------------------


def test_updates_take_their_rows_in_order_and_the_rest_at_the_end(engine):
    order = RNG.permutation(23)
    whole, by_one = Setting(engine, Momentum(0.1)), Setting(engine, Momentum(0.1))
    assert whole.run(order=order, batch_size=6, updates=4, rates=[0.1, 0.2, 0.3, 0.4]) == 4
    for start, rate in zip(range(0, 23, 6), (0.1, 0.2, 0.3, 0.4)):
        rows = order[start:start + 6]
        by_one.run(LABELS[rows], x=X[rows], batch_size=len(rows), rates=[rate])
    assert whole.bits() == by_one.bits()
    assert whole.engine.statistics == pytest.approx(by_one.engine.statistics, nan_ok=True)
    assert whole.engine.statistics.rows == 23


@pytest.mark.parametrize("shuffled", [True, False])
def test_a_run_goes_on_where_another_ended(engine, shuffled):
    order = RNG.permutation(23) if shuffled else None
    once, twice = (Setting(engine, Adam(0.01), keep_prob=(0.9, 0.5), average=0.5) for _ in range(2))
    once.run(order=order, batch_size=4, updates=6)
    twice.run(order=order, batch_size=4, updates=2)
    twice.run(order=order, batch_size=4, first=2, updates=4)
    assert once.bits() == twice.bits()
    assert once.engine.statistics[:4] == twice.engine.statistics[:4]


@pytest.mark.parametrize("changes", [{}, {"keep_prob": (0.8, 0.5)}, {"clip_norm": 0.3, "clip_value": 0.01}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_in_parts_has_the_bits_of_the_whole(engine, dtype, changes):
    whole, parts = (Setting(engine, Adam(0.01), dtype, **changes) for _ in range(2))
    whole.run(weight=WEIGHT, batch_size=20, updates=2)
    parts.run(weight=WEIGHT, batch_size=20, micro_batch=6, updates=2)
    assert whole.bits() == parts.bits()
    assert whole.engine.statistics == pytest.approx(parts.engine.statistics, nan_ok=True)


@pytest.mark.parametrize(("loss", "y", "metric"), [
    ("softmax_cross_entropy", LABELS, lambda s: np.sum(s.argmax(axis=1) == LABELS)),
    ("softmax_cross_entropy", SOFT, lambda s: np.sum(s.argmax(axis=1) == SOFT.argmax(axis=1))),
    ("hinge", LABELS, lambda s: np.sum(s.argmax(axis=1) == LABELS)),
    ("l2", REAL, lambda s: ((s - REAL) ** 2).sum() / 4),
], ids=["labels", "probabilities", "hinge", "l2"])
def test_statistics_are_sums_until_reset(engine, loss, y, metric):
    made = Setting(engine, SGD(0.0), loss=loss)
    made.run(y, weight=WEIGHT, batch_size=6, updates=4)
    scores = np.tanh(X @ W[0] + W[1]) @ W[2] + W[3]
    found = made.engine.statistics
    mean, _ = losses.get(loss).value_and_gradient(scores, y, WEIGHT)
    assert found[:4] == pytest.approx((mean * WEIGHT.sum(), WEIGHT.sum(), metric(scores), 23), rel=1e-10)
    made.engine.reset()
    assert made.engine.statistics == pytest.approx(Statistics(), nan_ok=True)
    made.engine.reset(found)
    made.run(y, weight=WEIGHT, batch_size=6, updates=4)
    assert made.engine.statistics[:4] == pytest.approx([2 * value for value in found[:4]], rel=1e-10)


def test_the_first_of_equal_scores_is_the_answer(engine):
    made = Setting(engine, SGD(0.0))
    for array in made.parameters:
        array[...] = 0.0
    made.run(np.arange(23) % 4)
    assert made.engine.statistics.metric_sum == 6


def test_no_weight_at_all_is_nothing_to_learn_from(engine):
    made = Setting(engine)
    assert made.run(weight=np.zeros(23)) == 1
    assert made.engine.statistics.loss == 0.0
    same(made.parameters, W, rel=0.0)


@pytest.mark.parametrize("seconds", [-1.0, 0.0])
def test_nothing_is_done_past_the_deadline(engine, seconds):
    made = Setting(engine)
    before = made.bits()
    assert made.run(deadline=time.monotonic() + seconds) == 0
    assert made.bits() == before
    assert not made.engine.failure


def test_a_run_ends_at_its_deadline(engine):
    made = Setting(engine, SGD(0.0))
    updates = 2_000_000
    order = np.zeros(updates, np.int64)
    rates = np.zeros(updates)
    done, wait = 0, 0.1
    while done == 0 and wait < 60:  # a busy machine may take that long to begin
        wait *= 2
        began = time.monotonic()
        done = made.run(order=order, batch_size=1, updates=updates, rates=rates, deadline=began + wait)
    assert 0 < done < updates
    assert time.monotonic() - began >= wait
    assert made.engine.statistics.rows == done


# --- what is not finite --------------------------------------------------------------------------------------------------------------


def spoiled(what):
    """Rows with which update 2 of 4 fails; the loss or only a gradient is not finite."""
    x, y = X.copy(), REAL.copy()
    if what == "input":
        x[13] = np.nan
    elif what == "target":
        y[13] = 1e300  # the square overflows
    else:  # scores of 1e150 have a finite loss, but their gradient meets hidden units of 1e160
        x[13] = 1e160
    return x, y


@pytest.mark.parametrize("what", ["input", "target", "gradient"])
@pytest.mark.parametrize("measure", [False, True])
def test_a_failing_update_writes_nothing(engine, what, measure):
    settings = {"loss": "l2", "activation": "linear", "average": 0.5, "max_norm": 5.0}
    made, until = Setting(engine, SGD(1e-30), **settings), Setting(engine, SGD(1e-30), **settings)
    for setting in (made, until):
        setting.parameters[2] *= 1e-10
    x, y = spoiled(what)
    assert made.run(y, x=x, batch_size=6, updates=4, measure=measure) == 2
    assert made.engine.failure
    until.run(y, x=x, batch_size=6, updates=2)
    assert not until.engine.failure
    assert made.bits() == until.bits()
    assert made.engine.statistics == pytest.approx(until.engine.statistics, nan_ok=True)
    assert made.run(REAL, batch_size=6, updates=1) == 1
    assert not made.engine.failure


@pytest.mark.parametrize("row", range(6))
@pytest.mark.parametrize("sizes", [(5, 3), (5, 4, 3)])
def test_products_that_overflow_are_foreseen_in_whichever_row(engine, sizes, row):
    """Loss, activations and their gradients are finite, sums of gradients as well; only inputs times gradients are not."""
    net = MLP(sizes, activation="tanh", seed=3)
    net.layers[0].weight[...] = 0
    x, y = np.ones((6, 5), np.float32), np.zeros((6, 3), np.float32)
    x[row], y[row] = 1e30, 1e12
    trainer = Trainer(net, "l2", SGD(1e-30))
    before = [array.copy() for array in net.parameters()]
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="gradient"):
        trainer.step(x, y)
    same(net.parameters(), before)


LARGE = {"x": X * 1e3, "y": REAL * 1e3}
RASH = {
    "a weight": (SGD(1e38), {"loss": "l2"}, LARGE),
    "velocity": (Momentum(1e38), {"loss": "l2"}, LARGE),
    "a bias": (SGD(1e38), {"loss": "l2"}, {"x": np.zeros((23, 5)), "y": REAL * 1e3}),
    "a squared gradient": (Adam(1e-3), {"loss": "l2", "activation": "linear"}, {"x": X * 1e3, "y": REAL * 1e18}),
    "decay": (SGD(1e10, weight_decay=1e30), {}, {"decay": 1e30}),
    "decoupled decay": (Adam(1.0, weight_decay=1e38, decoupled=True), {}, {"decay": 1e38}),
    "with a norm": (SGD(1e38), {"loss": "l2", "clip_norm": 1e3}, LARGE),
}  # fmt: skip


@pytest.mark.parametrize("what", RASH)
def test_an_update_that_leaves_the_range_of_numbers_is_not_made(engine, what):
    """Loss and gradients are finite, what would become of weights or state is not: all is as before, in whichever array it happens."""
    optimizer, settings, how = RASH[what]
    made = Setting(engine, optimizer, "float32", average=0.5, **settings)
    made.parameters[0] *= np.float32(1e3)
    before, statistics = made.bits(), made.engine.statistics
    with np.errstate(over="ignore", invalid="ignore"):
        assert made.run(measure=True, **how) == 0
    assert made.engine.failure
    assert made.bits() == before
    assert repr(made.engine.statistics) == repr(statistics)
    assert made.run(**{**how, "y": how.get("y", LABELS) * 0, "decay": 0.0}, rates=[1e-30]) == 1  # with less there is no harm
    assert not made.engine.failure
    assert made.bits() != before


# --- a user's loss -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_object_drives_an_engine_to_the_same_bits(engine, dtype):
    changes = {"keep_prob": (0.8, 0.5), "average": 0.5, "clip_norm": 0.5}
    own, driven = Setting(engine, Adam(0.01), dtype, **changes), Setting(engine, Adam(0.01), dtype, loss=None, **changes)
    driven.engine = Driver(driven.engine, losses.SoftmaxCrossEntropy())
    for made in (own, driven):
        made.run(weight=WEIGHT, batch_size=6, updates=4, measure=True)
    assert own.bits() == driven.bits()
    assert own.engine.statistics == pytest.approx(driven.engine.statistics, rel=1e-6)
    assert not driven.engine.failure


def test_forward_counts_rows_from_where_it_is_told(engine):
    made = Setting(engine, loss=None, keep_prob=(0.5, 0.5))
    whole = made.engine.forward(X, 4)
    part = made.engine.forward(X[9:], 4, 9)
    same([part], [whole[9:]])
    assert np.abs(made.engine.forward(X[9:], 4) - whole[9:]).max() > 0.1


def test_backward_is_the_update_of_the_last_forward(engine):
    made = Setting(engine, loss=None)
    dscores = RNG.normal(size=(23, 4))
    made.engine.forward(X, 0)
    assert made.engine.backward(dscores, np.array([0.0, 0.0, 0.1]), np.array([0.0, 0.0, 0.2]), True)
    h = np.tanh(X @ W[0] + W[1])
    dh = (dscores @ W[2].T) * (1 - h * h)
    rates = (0.1, 0.2, 0.1, 0.2)
    g = [X.T @ dh, dh.sum(0), h.T @ dscores, dscores.sum(0)]
    same(made.parameters, [w - rate * gradient for w, rate, gradient in zip(W, rates, g)])
    assert made.engine.statistics.gradient_norm == pytest.approx(total_norm(g), rel=1e-12)
    before = made.bits()
    made.engine.forward(X, 1)
    dscores[3, 2] = np.inf
    assert not made.engine.backward(dscores, np.array([0.0, 0.0, 0.1]), np.array([0.0, 0.0, 0.2]), False)
    assert made.bits() == before


# --- scalars -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1, 500, 60_000])
@pytest.mark.parametrize("decay", [(0.0, 0.0), (0.03, 0.0), (0.0, 0.02), (0.03, 0.02)])
@pytest.mark.parametrize("optimizer", [
    SGD(), Momentum(momentum=0.7), Momentum(nesterov=True), AdaGrad(eps=1e-3), RMSProp(decay_rate=0.9, eps=1e-5),
    Adam(beta1=0.83, beta2=0.991, eps=1e-5), Adam(bias_correction=False), Adam(decoupled=True),
], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalars_have_the_bits_of_the_update_functions(optimizer, decay, first, dtype):
    rng = np.random.default_rng(first)
    param, grads = rng.normal(size=400).astype(dtype), rng.normal(size=(7, 400)).astype(dtype)
    rates = rng.uniform(0.0, 0.3, 7)
    state = tuple(np.abs(rng.normal(size=400)).astype(dtype) for _ in range(optimizer.slots))
    other, other_state = param.copy(), tuple(array.copy() for array in state)
    scalars = optimizer.scalars(rates, first, *decay)
    assert (scalars.dtype, len(scalars)) == (np.float64, 7)
    for u, (grad, rate) in enumerate(zip(grads, rates)):
        optimizer.update(param, grad, state, first + 1 + u, rate, *decay)
        loop.apply(optimizer.kernel, other, grad, other_state, scalars[u])
    assert [a.tobytes() for a in (param, *state)] == [a.tobytes() for a in (other, *other_state)]


def test_scalars_cover_every_optimizer():
    for kind in optimizers.OPTIMIZERS.values():
        assert len(kind().scalars(np.ones(3), 0, 0.0)) == 3
