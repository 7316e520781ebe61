"""L1 and the elastic net through everything that trains, against NumPy written out here; and how regularisation shows in the history."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import fastnn
from fastnn import EMA, MLP, SGD, AdaGrad, Adam, History, Momentum, RMSProp, Trainer, backend, cli, curves, loop
from fastnn.losses import penalty
from fastnn.plan import Plan

RNG = np.random.default_rng(83)
X = RNG.normal(size=(103, 6)).astype(np.float32)
Y = np.minimum((X @ RNG.normal(size=(6, 3))).argmax(axis=1) * RNG.integers(0, 2, 103), 2)
OPTIMIZERS = (SGD(0.1, l1=0.01), SGD(0.1, weight_decay=0.02, l1=0.01), Momentum(0.02, l1=0.01), Momentum(0.02, nesterov=True, l1=0.01),
              AdaGrad(0.05, l1=0.01), RMSProp(0.01, l1=0.01), Adam(0.01, l1=0.01), Adam(0.01, weight_decay=0.02, l1=0.01),
              Adam(0.01, weight_decay=0.02, decoupled=True, l1=0.01))  # fmt: skip
each = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def net(**settings):
    return MLP((6, 16, 3), **{"seed": 5, **settings})


def bits(trainer):
    arrays = [*trainer.net.parameters(), *(array for state in trainer._state for array in state), *trainer._averages]
    return [array.tobytes() for array in arrays]


# --- the engines -------------------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("limits", "threads", "micro"), [
    ({}, 1, None), ({}, 3, None), ({"clip_value": 1e-3}, 2, None), ({"max_norm": 0.6, "average": 0.9}, 2, None), ({}, 2, 7),
], ids=["alone", "three threads", "clipped", "max-norm, averaged", "in parts"])
@pytest.mark.skipif(backend.engine is None, reason="FASTNN_BACKEND=numpy has no compiled engine")
def test_both_engines_have_the_same_bits(optimizer, dtype, limits, threads, micro):
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    rng = np.random.default_rng(1)
    start = [rng.normal(0, 0.4, shape).astype(dtype) for shape in ((6, 33), (33,), (33, 3), (3,))]
    start[0][rng.random((6, 33)) < 0.2] = 0.0
    start[2][:5] = -0.0
    off = {"clip_value": math.inf, "clip_norm": math.inf, "max_norm": math.inf, "average": 0.0, "mean": None, "inverse_std": None}
    plan = Plan(sizes=(6, 33, 3), activation="relu", slope=0.01, keep_prob=(1.0, 0.6), seed=7, loss="softmax_cross_entropy", margin=1.0,
                update=optimizer.kernel, slots=optimizer.slots, **{**off, **limits})
    rates = np.full(20, optimizer.learning_rate)
    scalars = optimizer.scalars(rates, 0, optimizer.weight_decay, optimizer.l1), optimizer.scalars(rates, 0, 0.0, 0.0)
    found, norms = [], []
    for kind in (backend.engine, loop.Engine):
        parameters = [array.copy() for array in start]
        states = [optimizer.state(array) for array in parameters]
        averages = [array.copy() for array in parameters] if plan.average else []
        made = kind(plan, parameters, states, averages)
        assert made.run(X[:100].astype(dtype), Y[:100], None, None, 5, micro or 5, 0, 20, *scalars, 0, True, math.inf) == 20
        found.append([array.tobytes() for array in (*parameters, *(a for state in states for a in state), *averages)])
        norms.append(made.statistics.weight_norm)
    assert found[0] == found[1]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    fastnn.set_num_threads(before)


def by_hand(parameters, x, y, steps, rate, l2, l1):
    """Full-batch SGD on softmax + L2 + L1 of a ReLU net with one hidden layer, in NumPy alone."""
    w0, b0, w1, b1 = (array.astype(np.float64) for array in parameters)
    for _ in range(steps):
        hidden = x @ w0 + b0
        active = np.maximum(hidden, 0.0)
        scores = active @ w1 + b1
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        slope = odds / odds.sum(axis=1, keepdims=True)
        slope[np.arange(len(x)), y] -= 1.0
        slope /= len(x)
        back = (slope @ w1.T) * (hidden > 0)
        g0, g1 = x.T @ back + l2 * w0 + l1 * np.sign(w0), active.T @ slope + l2 * w1 + l1 * np.sign(w1)
        w0, b0, w1, b1 = w0 - rate * g0, b0 - rate * back.sum(axis=0), w1 - rate * g1, b1 - rate * slope.sum(axis=0)
    return [w0, b0, w1, b1]


@pytest.mark.parametrize(("l2", "l1"), [(0.0, 0.01), (0.02, 0.01)])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_run_written_out_in_numpy(engine, l2, l1, accumulate):
    x = X.astype(np.float64)
    made = net(dtype="float64")
    made.layers[0].weight[0] = 0.0
    want = by_hand(made.parameters(), x, Y, 30, 0.3, l2, l1)
    made.fit(x, Y, optimizer=SGD(0.3, weight_decay=l2, l1=l1), epochs=30, batch_size=103 if accumulate == 1 else 26, accumulate=accumulate,
             shuffle=False)
    for got, expected in zip(made.parameters(), want):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_l1_empties_what_does_not_matter_and_l2_does_not(engine):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 20))
    truth = np.zeros((20, 1))
    truth[:4, 0] = 1.0, -2.0, 1.5, -1.0
    y = x @ truth + 0.5 * rng.normal(size=(400, 1))
    shares, weights = {}, {}
    for name, optimizer in (("none", SGD(0.05)), ("l2", SGD(0.05, weight_decay=0.1)), ("l1", SGD(0.05, l1=0.1))):
        made = MLP((20, 1), dtype="float64", seed=1)
        made.fit(x, y, loss="l2", optimizer=optimizer, schedule=fastnn.CosineDecay(400), epochs=400, batch_size=400)
        weights[name] = made.layers[0].weight
        shares[name] = float((np.abs(weights[name]) < 0.005).mean())
    # The subgradient method on the same objective, by its own code: constants of the data, then 400 steps.
    w, b, gram, cross = MLP((20, 1), dtype="float64", seed=1).layers[0].weight.copy(), 0.0, x.T @ x / 400, x.T @ y / 400
    for step in range(400):
        rate = 0.05 * (1 + math.cos(math.pi * step / 400)) / 2
        slope_b = float((x @ w + b - y).mean())
        w, b = w - rate * (gram @ w + x.mean(axis=0)[:, None] * b - cross + 0.1 * np.sign(w)), b - rate * slope_b
    np.testing.assert_allclose(weights["l1"], w, atol=1e-9)
    assert shares["l1"] >= 0.7
    assert max(shares["l2"], shares["none"]) <= 0.2
    assert (np.abs(weights["l1"][:4]) > 0.5).all()


@each
def test_biases_are_left_alone_unless_asked(engine, optimizer):
    start = net()
    for layer in start.layers:
        layer.bias[...] = 0.5
    trainers = [Trainer(start.astype("float64"), optimizer=made) for made in (
        type(optimizer)(**{**vars(optimizer), "l1": 0.0, "weight_decay": 0.0}), optimizer,
        type(optimizer)(**{**vars(optimizer), "decay_biases": True}))]
    for trainer in trainers:
        trainer.step(X, Y)
    plain, own, all_of_them = ([layer.bias for layer in trainer.net.layers] for trainer in trainers)
    assert all(np.array_equal(a, b) for a, b in zip(plain, own))
    if not isinstance(optimizer, (AdaGrad, RMSProp, Adam)):  # whose first step is as long for any gradient
        for a, b in zip(own, all_of_them):
            pull = optimizer.learning_rate * (0.01 + 0.5 * optimizer.weight_decay) * (1.9 if optimizer.kernel == "nesterov" else 1.0)
            np.testing.assert_allclose(a - b, pull, rtol=1e-9)


@each
def test_many_networks_are_trained_as_each_alone(engine, optimizer):
    alone = [Trainer(net(seed=seed), optimizer=optimizer) for seed in (1, 2)]
    histories = [trainer.fit(X, Y, epochs=3, batch_size=20) for trainer in alone]
    together = [Trainer(net(seed=seed), optimizer=optimizer) for seed in (1, 2)]
    found = fastnn.fit_many(together, X, Y, epochs=3, batch_size=20)
    assert [bits(trainer) for trainer in together] == [bits(trainer) for trainer in alone]
    for history, other in zip(histories, found):
        assert history["penalty"] == other["penalty"]
        assert history["weight_norm"] == other["weight_norm"]


@each
def test_a_checkpoint_goes_on_with_the_same_bits(engine, optimizer, tmp_path):
    through, before = (Trainer(net(), optimizer=optimizer, average=EMA(0.9), max_norm=2.0) for _ in range(2))
    through.fit(X, Y, epochs=4, batch_size=20)
    before.fit(X, Y, epochs=2, batch_size=20)
    before.save(tmp_path / "trainer.npz")
    after = Trainer.load(tmp_path / "trainer.npz")
    assert after.optimizer == optimizer
    after.fit(X, Y, epochs=2, batch_size=20)
    assert bits(after) == bits(through)


def test_a_checkpoint_from_before_l1_is_read(tmp_path):
    trainer = Trainer(net(), optimizer=Adam(0.01, weight_decay=0.1))
    trainer.fit(X, Y, epochs=1)
    trainer.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())
    assert header["optimizer"].pop("l1") == 0.0
    header["statistics"].pop("weight_norm")
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "old.npz", **arrays)
    assert Trainer.load(tmp_path / "old.npz").optimizer == trainer.optimizer


def test_clipping_comes_before_and_does_not_hold_the_pull_back(engine):
    # Scores that are right beyond doubt have no gradient, so that what moves the weights is the pull alone.
    made = MLP((1, 2), dtype="float64", seed=0)
    made.layers[0].weight[...], made.layers[0].bias[...] = [[3.0, -3.0]], [2000.0, -2000.0]
    Trainer(made, optimizer=SGD(0.5, l1=0.25), clip_value=1e-3, clip_norm=1e-3).step(np.zeros((4, 1)), np.zeros(4, np.int64))
    np.testing.assert_array_equal(made.layers[0].weight, [[2.875, -2.875]])


def test_an_l1_that_would_overflow_is_not_applied(engine):
    made = net()
    before = [array.copy() for array in made.parameters()]
    with pytest.raises(FloatingPointError, match="step 1 "):
        Trainer(made, optimizer=SGD(1e5, l1=1e38)).step(X, Y)
    assert all(np.array_equal(a, b) for a, b in zip(before, made.parameters()))


# --- the objective -----------------------------------------------------------------------------------------------------------------


def test_the_objective_has_the_penalty_and_its_gradient():
    made = net(dtype="float64")
    made.layers[0].weight[2] = 0.0
    loss, plain = made.loss_and_gradients(X, Y)
    value, gradients = made.loss_and_gradients(X, Y, weight_decay=0.5, l1=0.125)
    w = [layer.weight for layer in made.layers]
    expected = sum(math.fsum((0.25 * a**2 + 0.125 * abs(a)) for a in array.ravel().tolist()) for array in w)
    assert value - loss == pytest.approx(expected, rel=1e-12)
    assert penalty(w, 0.5, 0.125) == pytest.approx(expected, rel=1e-12)
    assert penalty(w, 0.0, 0.0) == 0.0
    for k in (0, 1):
        np.testing.assert_allclose(gradients[2 * k] - plain[2 * k], 0.5 * w[k] + 0.125 * np.sign(w[k]), atol=1e-15)
        np.testing.assert_array_equal(gradients[2 * k + 1], plain[2 * k + 1])
    with pytest.raises(ValueError, match="argument 'l1' must"):
        made.loss_and_gradients(X, Y, l1=-1.0)


def test_gradient_check_knows_the_kink_at_zero(monkeypatch):
    made = net(dtype="float64", activation="tanh")
    made.layers[1].weight[...] = 0.0
    report = fastnn.gradient_check(made, X[:8], Y[:8], weight_decay=0.1, l1=0.01)
    assert report.passed, str(report)
    found = {array.name: array for array in report.arrays}
    assert found["regulariser of layers[1].weight"].kinks == 20
    assert found["regulariser of layers[0].weight"].kinks == 0
    assert len(found["regulariser of layers[0].weight"].judged) == 20
    alone = fastnn.gradient_check(net(), X[:8], Y[:8], l1=0.01)
    assert len(alone.arrays) == 8
    assert alone.passed
    with pytest.raises(ValueError, match="gradient_check: argument 'l1'"):
        fastnn.gradient_check(made, X[:8], Y[:8], l1=math.nan)
    real = MLP.loss_and_gradients

    def wrong(self, *data, l1=0.0, **settings):
        loss, gradients = real(self, *data, l1=l1, **settings)
        return loss, [gradient * (1.01 if l1 else 1.0) for gradient in gradients]

    monkeypatch.setattr(MLP, "loss_and_gradients", wrong)
    assert not fastnn.gradient_check(net(), X[:8], Y[:8], l1=0.01).passed


# --- the history -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD(0.1, l1=0.01), Adam(0.01, weight_decay=0.1), SGD(0.1, weight_decay=0.02, l1=0.01),
                                       SGD(0.1, weight_decay=0.02, l1=0.01, decay_biases=True)], ids=repr)
def test_a_record_tells_the_penalty_of_the_weights_it_left(engine, optimizer):
    made = net()
    made.layers[0].bias[...] = 0.5
    seen = []
    history = Trainer(made, optimizer=optimizer).fit(
        X, Y, epochs=3, batch_size=40, callbacks=[lambda trainer, record: seen.append([p.copy() for p in trainer.net.parameters()])])
    for record, parameters in zip(history, seen):
        decayed = [p.astype(np.float64) for p in (parameters if optimizer.decay_biases else parameters[0::2])]
        expected = sum(0.5 * optimizer.weight_decay * (p**2).sum() + optimizer.l1 * np.abs(p).sum() for p in decayed)
        assert record["penalty"] == pytest.approx(expected, rel=1e-6)
    assert "penalty" not in Trainer(net()).fit(X, Y, epochs=1).names()


def test_the_weight_norm_is_that_before_the_last_update(engine):
    made, stopped = net(), net()
    record = Trainer(made, optimizer=SGD(0.5)).fit(X, Y, epochs=1, batch_size=40)[0]
    trainer = Trainer(stopped, optimizer=SGD(0.5))
    order = trainer.order(103)
    for start in (0, 40):
        trainer.step(X[order[start:start + 40]], Y[order[start:start + 40]])
    squares = sum(float((layer.weight.astype(np.float64) ** 2).sum()) for layer in stopped.layers)
    assert record["weight_norm"] == pytest.approx(math.sqrt(squares), rel=1e-6)


class Own(fastnn.SoftmaxCrossEntropy):
    """A loss of a user's own, for which the trainer calls the engine in two halves."""


def test_a_users_loss_leaves_the_same_numbers(engine):
    own, built_in = (net().fit(X, Y, loss=loss, optimizer=SGD(0.1, l1=0.01), epochs=2, batch_size=20) for loss in (
        Own(), "softmax_cross_entropy"))
    for name in ("weight_norm", "penalty", "update_ratio"):
        assert own[name] == pytest.approx(built_in[name], rel=1e-5)


def test_regularisation_shows_in_the_history_and_in_the_picture(tmp_path):
    histories = {name: net().fit(X, Y, optimizer=optimizer, epochs=10, batch_size=20) for name, optimizer in (
        ("none", SGD(0.1)), ("l2", SGD(0.1, weight_decay=0.1)), ("l1", SGD(0.1, l1=0.05)))}
    norms = {name: history["weight_norm"][-1] for name, history in histories.items()}
    assert norms["l2"] < 0.8 * norms["none"]
    assert norms["l1"] < 0.8 * norms["none"]
    histories["l1"].save(tmp_path / "l1.json")
    assert History.load(tmp_path / "l1.json")["penalty"] == histories["l1"]["penalty"]
    figure = curves.plot(histories, quantities=["penalty", "weight_norm"])
    assert [axes.get_title() for axes in figure.axes] == ["penalty", "weight norm"]


# --- the command -------------------------------------------------------------------------------------------------------------------


def test_the_command_regularises(capsys, tmp_path, monkeypatch):
    given = {}
    fit = MLP.fit
    monkeypatch.setattr(MLP, "fit", lambda self, *data, **settings: given.update(settings) or fit(self, *data, **settings))
    path = tmp_path / "history.json"
    quick = ("train", "--hidden", "8", "--epochs", "1")
    assert cli.main([*quick, "--weight-decay", "0.01", "--l1", "0.001", "--max-norm", "2", "--history", str(path)]) == 0
    assert (given["optimizer"], given["max_norm"]) == (Adam(weight_decay=0.01, l1=0.001), 2.0)
    assert History.load(path)["penalty"][0] > 0.0
    made = []
    init = Trainer.__init__
    monkeypatch.setattr(Trainer, "__init__", lambda self, *data, **settings: made.append(self) or init(self, *data, **settings))
    assert cli.main([*quick, "--average", "0.9", "--l1", "0.001", "--max-norm", "2", "--history", str(path)]) == 0
    assert (made[0].optimizer, made[0].max_norm) == (Adam(l1=0.001), 2.0)
    assert History.load(path).best_epoch == 1
    assert cli.main([*quick]) == 0
    assert (given["optimizer"], given["max_norm"]) == (Adam(), None)
    for option, sentence in (("--l1", "'l1'"), ("--weight-decay", "'weight_decay'"), ("--max-norm", "'max_norm'")):
        capsys.readouterr()
        assert cli.main([*quick, option, "-1"]) == 2
        err = capsys.readouterr().err
        assert sentence in err
        assert err.count("\n") == 1
