from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

import fastnn
from fastnn import EMA, MLP, Adam, Momentum, ReduceOnPlateau, Standardizer, StepDecay, Trainer, Warmup, fit_many, many

RNG = np.random.default_rng(5)
X = RNG.normal(size=(211, 7)).astype(np.float32)
Y = (X @ RNG.normal(size=(7, 4))).argmax(axis=1)
ROWS = [RNG.permutation(211)[:count] for count in (150, 211, 40, 1, 99)]


def nets(count=5):
    return [MLP((7, 12 + k, 4), seed=k, keep_prob=(0.9, 0.5 + 0.1 * k), activation="relu" if k % 2 else "tanh") for k in range(count)]


def bits(trainers):
    return [array.tobytes() for trainer in trainers for array in trainer.net.parameters()]


@pytest.mark.parametrize("rows", [None, ROWS], ids=["all rows", "own rows"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_members_end_as_they_would_have_alone(rows, shuffle):
    settings = [{"optimizer": Adam(10.0 ** -(k % 3 + 1), weight_decay=1e-3 * k), "schedule": schedule}
                for k, schedule in enumerate([None, StepDecay(every=1), Warmup(9), ReduceOnPlateau(patience=1), None])]  # fmt: skip
    alone = [Trainer(net, **own) for net, own in zip(nets(), settings)]
    validation = X[:30], Y[:30]
    apart = [trainer.fit(X if rows is None else X[rows[k]], Y if rows is None else Y[rows[k]], epochs=4, batch_size=16, shuffle=shuffle,
                         validation_data=validation) for k, trainer in enumerate(alone)]  # fmt: skip
    together = nets()
    histories = fit_many(together, X, Y, optimizer=[own["optimizer"] for own in settings], schedule=[own["schedule"] for own in settings],
                         rows=rows, epochs=4, batch_size=16, shuffle=shuffle, validation_data=validation)  # fmt: skip
    assert bits(alone) == [array.tobytes() for net in together for array in net.parameters()]
    for one, other in zip(apart, histories):
        assert one["loss"] == other["loss"]
        assert one["val_loss"] == other["val_loss"]
        assert one["accuracy"] == other["accuracy"]
        assert other.stopped == "epochs"
    assert len({tuple(history["loss"]) for history in histories}) == 5


def test_every_member_may_have_its_own_batch_size():
    alone, together, sizes = nets(3), nets(3), [16, 50, 999]
    for net, size in zip(alone, sizes):
        net.fit(X, Y, epochs=2, batch_size=size)
    fit_many(together, X, Y, epochs=2, batch_size=sizes)
    assert [a.tobytes() for net in alone for a in net.parameters()] == [a.tobytes() for net in together for a in net.parameters()]
    with pytest.raises(ValueError, match=r"fit_many: argument 'batch_size' must be one for all or one each \(expected 3 values, got 2\)"):
        fit_many(nets(3), X, Y, batch_size=[1, 2])


def test_one_optimizer_under_schedules_of_their_own():
    """Members with the same settings share the numbers that these come to, and no others do."""
    schedules = [None, None, Warmup(9), StepDecay(0.1, every=1, unit="step"), Warmup(9)]
    alone, together = nets(), nets()
    for net, schedule in zip(alone, schedules):
        net.fit(X, Y, optimizer=Adam(0.01), schedule=schedule, epochs=2, batch_size=16)
    fit_many(together, X, Y, optimizer=Adam(0.01), schedule=schedules, epochs=2, batch_size=16)
    assert [a.tobytes() for net in alone for a in net.parameters()] == [a.tobytes() for net in together for a in net.parameters()]


def test_prepared_trainers_go_on():
    def trainers():
        return [Trainer(net, optimizer=Momentum(0.05), average=EMA(0.9), max_norm=1.0, preprocessing=Standardizer()) for net in nets(3)]

    alone, together = trainers(), trainers()
    for trainer in alone:
        trainer.fit(X, Y, epochs=3, batch_size=50)
    fit_many(together, X, Y, epochs=1, batch_size=50)
    fit_many(together, X, Y, epochs=2, batch_size=50)
    assert bits(alone) == bits(together)
    assert [trainer.steps for trainer in together] == [15, 15, 15]
    assert all(a.averaged().parameters()[0].tobytes() == b.averaged().parameters()[0].tobytes() for a, b in zip(alone, together))


@pytest.mark.parametrize("rows", [None, ROWS], ids=["all rows", "own rows"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("chunk", [many.CHUNK, 5])
def test_many_epochs_in_one_job_are_those_of_one_after_another(rows, shuffle, chunk, monkeypatch):
    def trainers():
        return [Trainer(net, optimizer=Adam(0.01), schedule=schedule, average=EMA(0.9))
                for net, schedule in zip(nets(), (None, StepDecay(every=2), None, Warmup(9), None))]  # fmt: skip

    alone, together, sizes = trainers(), trainers(), [16, 999, 7, 16, 50]
    losses = [trainer.fit(X if rows is None else X[rows[k]], Y if rows is None else Y[rows[k]], epochs=5, batch_size=sizes[k],
                          shuffle=shuffle)["loss"] for k, trainer in enumerate(alone)]  # fmt: skip
    monkeypatch.setattr(many, "CHUNK", chunk)
    data = together[0]._samples("f", X, Y, None)
    members = [many.Member("f", trainer, data, None if rows is None else rows[k], sizes[k], shuffle, 5)
               for k, trainer in enumerate(together)]  # fmt: skip
    for epochs in (1, 4):
        many.train(members, epochs)
        assert all(member.complete for member in members)
        for trainer in together:
            trainer.end_epoch()
    assert [member.losses for member in members] == losses
    assert bits(together) == bits(alone)
    assert [(trainer.steps, trainer.epochs) for trainer in together] == [(trainer.steps, trainer.epochs) for trainer in alone]
    assert [trainer._engine.statistics for trainer in together] == [trainer._engine.statistics for trainer in alone]


@pytest.mark.usefixtures("interruptible")
def test_a_job_that_was_interrupted_within_its_epochs_goes_on():
    trainers, whole = [Trainer(net) for net in nets(3)], [Trainer(net) for net in nets(3)]
    data = trainers[0]._samples("f", X, Y, None)
    timer = threading.Timer(0.15, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        many.train([many.Member("f", trainer, data, None, 20, True, 10**6) for trainer in trainers], 10**6)
    for trainer, other in zip(trainers, whole):
        assert 0 <= trainer.steps - 11 * trainer.epochs <= 11
        assert trainer.epochs > 0
        other.fit(X, Y, epochs=trainer.epochs + 1, batch_size=20)
        trainer.fit(X, Y, epochs=1, batch_size=20)
    assert bits(trainers) == bits(whole)


KINDS = [("relu", np.float32, "float32"), ("tanh", np.float64, "float32"), ("leaky_relu", np.uint8, "float32"),
         ("sigmoid", np.float32, "float64"), ("linear", np.uint8, "float64")]  # fmt: skip


@pytest.mark.parametrize("scaler", [None, Standardizer()], ids=["raw", "standardised"])
@pytest.mark.parametrize(("activation", "elements", "dtype"), KINDS, ids=[kind[0] for kind in KINDS])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge"])
def test_members_are_judged_as_they_would_be_alone(activation, elements, dtype, scaler, loss):
    x = np.abs(40 * np.tile(X, (3, 1))).astype(elements)
    y = np.tile(Y, 3)
    shapes = [(7, 4), (7, 33, 4), (7, 20, 50, 4), (7, 5, 6, 9, 4)]
    networks = [MLP(sizes, activation=activation, dtype=dtype, keep_prob=(0.9,) + (0.5,) * (len(sizes) - 2)) for sizes in shapes]
    trainers = [Trainer(net, loss, preprocessing=scaler) for net in networks]
    for trainer in trainers:
        trainer.epoch(x, y)
    data = [trainer._samples("f", x[:count], y[:count], None) for trainer, count in zip(trainers, (633, 1, 256, 300))]
    assert many.evaluated("f", trainers, data) == [trainer.evaluate(rows.x, rows.y) for trainer, rows in zip(trainers, data)]


def test_scores_of_many_slices_are_those_of_one():
    trainers = [Trainer(MLP((7, 2000, 2000, 4), seed=seed)) for seed in range(3)]
    data = [trainer._samples("f", np.tile(X, (20, 1)), np.tile(Y, 20), None) for trainer in trainers]
    assert many.evaluated("f", trainers, data) == [trainer.evaluate(rows.x, rows.y) for trainer, rows in zip(trainers, data)]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_bits_do_not_depend_on_threads(threads):
    before = fastnn.get_num_threads()
    first, second = nets(), nets()
    fit_many(first, X, Y, epochs=2)
    try:
        fastnn.set_num_threads(threads)
        fit_many(second, X, Y, epochs=2)
    finally:
        fastnn.set_num_threads(before)
    assert [a.tobytes() for net in first for a in net.parameters()] == [a.tobytes() for net in second for a in net.parameters()]


def test_own_loss_objects_are_trained_one_after_another():
    class Squared:
        def value_and_gradient(self, scores, y, sample_weight=None):
            error = scores - np.eye(4, dtype=scores.dtype)[y]
            return float(np.mean(error**2)), 2 * error / error.size

        def predict(self, scores):
            return scores

    loss = Squared()
    alone = [Trainer(net, loss) for net in nets(2)]
    for trainer in alone:
        trainer.fit(X, Y, epochs=2)
    together = [Trainer(net, loss) for net in nets(2)]
    fit_many(together, X, Y, epochs=2)
    assert bits(alone) == bits(together)


def test_one_that_diverges_drops_out():
    members = nets(3)
    histories = fit_many(members, X * 1e3, Y, optimizer=[Adam(1e-3), Momentum(1e30), Adam(1e-3)], epochs=3)
    assert [history.stopped for history in histories] == ["epochs", "diverged", "epochs"]
    assert len(histories[0]) == 3 > len(histories[1])


def test_time_limit():
    histories = fit_many(nets(2), X, Y, epochs=10**6, time_limit=0.2)
    assert [history.stopped for history in histories] == ["time_limit"] * 2


def test_callbacks_come_after_epochs_that_a_member_completed():
    seen = []
    members = [Trainer(net, optimizer=Momentum(rate)) for net, rate in zip(nets(3), (1e30, 1e-3, 1e-3))]
    histories = fit_many(members, X * 1e3, Y, epochs=3, callbacks=[lambda trainers: seen.append([len(t.history) for t in trainers])])
    assert seen[-1][1:] == [3, 3]
    assert [each[1] for each in seen] == [1, 2, 3]
    assert histories[0].stopped == "diverged"
    seen.clear()
    histories = fit_many(nets(2), X, Y, epochs=3, time_limit=0.0, callbacks=[seen.append])
    assert seen == []
    assert [history.stopped for history in histories] == ["time_limit"] * 2
    with pytest.raises(TypeError, match=r"^fastnn.fit_many: argument 'callbacks' must be callables"):
        fit_many(nets(2), X, Y, callbacks=[3])


@pytest.mark.usefixtures("interruptible")
def test_interrupt_leaves_completed_updates():
    trainers = [Trainer(net) for net in nets(3)]
    timer = threading.Timer(0.15, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fit_many(trainers, X, Y, epochs=10**6, batch_size=20)
    for trainer, net in zip(trainers, nets(3)):
        again = Trainer(net)
        epochs, rest = divmod(trainer.steps, 11)
        if epochs:
            again.fit(X, Y, epochs=epochs, batch_size=20)
        order = again.order(211)
        for step in range(rest):
            rows = order[20 * step:20 * step + 20]
            again.step(X[rows], Y[rows])
        assert bits([again]) == bits([trainer])


@pytest.mark.parametrize(("wrong", "match"), [
    ({"networks": []}, "networks"), ({"networks": [1]}, "networks"), ({"networks": MLP((7, 4))}, "networks"),
    ({"networks": [MLP((7, 4)), MLP((7, 5))]}, "same inputs"), ({"optimizer": ["adam"] * 3}, "optimizer"), ({"rows": [[0]]}, "rows"),
    ({"rows": [[0], [211]]}, "rows"), ({"rows": [[0], [-1]]}, "rows"), ({"rows": [[0], []]}, "rows"), ({"rows": [[0], [0.5]]}, "rows"),
    ({"epochs": 0}, "epochs"), ({"batch_size": 0}, "batch_size"), ({"time_limit": -1}, "time_limit"),
    ({"validation_data": X}, "validation"),
])  # fmt: skip
def test_wrong_arguments(wrong, match):
    networks = nets(2)
    before = [array.copy() for net in networks for array in net.parameters()]
    with pytest.raises((TypeError, ValueError), match=match):
        fit_many(**{"networks": networks, "x": X, "y": Y, "epochs": 1, **wrong})
    assert all(np.array_equal(a, b) for a, b in zip(before, (array for net in networks for array in net.parameters())))


def test_the_same_network_twice():
    net = MLP((7, 4))
    with pytest.raises(ValueError, match="different objects"):
        fit_many([net, net], X, Y)


@pytest.mark.parametrize("at", [0, 5])
def test_what_a_schedule_raises_comes_through(at):
    """From the first job as from a later one, with the weights of a completed update."""
    class Broken(fastnn.schedules.Schedule):
        def multipliers(self, steps, epoch, state):
            if epoch >= at:
                raise RuntimeError("mine")
            return np.ones(len(steps))

    trainers = [Trainer(MLP((7, 5, 4), seed=seed), schedule=Broken()) for seed in range(3)]
    with pytest.raises(RuntimeError, match="mine"):
        fit_many(trainers, X, Y, epochs=9)
    assert [trainer.epochs for trainer in trainers] == [at] * 3
