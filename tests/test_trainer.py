from __future__ import annotations

import math
import signal
import threading
import tracemalloc

import numpy as np
import pytest

import fastnn
from fastnn import EMA, MLP, Adam, EarlyStopping, Every, ReduceOnPlateau, Standardizer, StepDecay, Trainer, Warmup
from fastnn.backend import kernels
from fastnn.optimizers import OPTIMIZERS, SGD, Momentum
from fastnn.schedules import ExponentialDecay, Schedule

RNG = np.random.default_rng(31)
X = RNG.normal(size=(103, 6)).astype(np.float32)
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)
REAL = (X @ RNG.normal(size=(6, 3))).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2.0, 103).astype(np.float32)


def net(**kwargs):
    return MLP((6, 16, 3), **{"keep_prob": (0.9, 0.8), "seed": 5, **kwargs})


def bits(trainer):
    arrays = [*trainer.net.parameters(), *(array for state in trainer._state for array in state)]
    return [array.tobytes() for array in arrays] + [trainer.steps, trainer.epochs]


def schedules():
    return [None, Warmup(7, StepDecay(factor=0.5, every=1)), ExponentialDecay(0.01, unit="step")]


# --- the same bits, however the steps are asked for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", schedules(), ids=repr)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_fit_equals_epochs_equals_steps(optimizer, schedule, activation):
    settings = {"optimizer": OPTIMIZERS[optimizer](weight_decay=1e-3), "schedule": schedule, "seed": 12}
    fitted, by_epoch, by_step = (Trainer(net(activation=activation), **settings) for _ in range(3))
    fitted.fit(X, Y, epochs=3, batch_size=25, sample_weight=WEIGHT)
    for _ in range(3):
        by_epoch.epoch(X, Y, batch_size=25, sample_weight=WEIGHT)
        order = by_step.order(len(X))
        for start in range(0, len(X), 25):
            rows = order[start:start + 25]
            by_step.step(X[rows], Y[rows], WEIGHT[rows])
        by_step.end_epoch()
    assert bits(fitted) == bits(by_epoch)
    assert bits(fitted) == bits(by_step)
    assert fitted.steps == 15


def test_net_fit_is_a_trainer_fit():
    a, b = net(), net()
    history = a.fit(X, Y, optimizer=Adam(1e-2), epochs=2, seed=3, batch_size=50)
    other = Trainer(b, optimizer=Adam(1e-2), seed=3).fit(X, Y, epochs=2, batch_size=50)
    assert history["loss"] == other["loss"]
    assert [p.tobytes() for p in a.parameters()] == [p.tobytes() for p in b.parameters()]


def test_a_trainer_goes_on_where_it_stopped():
    once, twice = Trainer(net()), Trainer(net())
    once.fit(X, Y, epochs=4)
    twice.fit(X, Y, epochs=1)
    history = twice.fit(X, Y, epochs=3)
    assert bits(once) == bits(twice)
    assert history["epoch"] == [2, 3, 4]


def test_the_seed_fixes_dropout_and_order():
    def trained(**kwargs):
        trainer = Trainer(net(), seed=kwargs.pop("seed", None))
        trainer.epoch(X, Y, **kwargs)
        return bits(trainer)

    assert trained(seed=5) == trained()  # the net's own seed is the default
    assert trained(seed=6) != trained()
    assert trained(shuffle=False) != trained()


def test_the_order_is_the_documented_permutation_and_changes_every_epoch():
    trainer = Trainer(net(), seed=77)
    first = trainer.order(50)
    assert np.array_equal(first, kernels.permutation(50, seed=77, stream=2**63))
    trainer.end_epoch()
    assert np.array_equal(trainer.order(50), kernels.permutation(50, seed=77, stream=2**63 + 1))
    assert not np.array_equal(trainer.order(50), first)


def test_unshuffled_rows_come_in_order():
    seen = []

    class Spy(fastnn.L2):
        def value_and_gradient(self, scores, y, sample_weight=None):
            seen.extend(y[:, 0].tolist())
            return super().value_and_gradient(scores, y, sample_weight)

    Trainer(MLP((6, 1)), loss=Spy(), optimizer=SGD(0.0)).epoch(X, np.arange(103.0), batch_size=40, shuffle=False)
    assert seen == list(range(103))


def test_rows_of_another_float_are_converted_batch_by_batch(tmp_path):
    """A file of float64 rows, mapped, trains a float32 net without a copy of the whole: with the bits of a copy."""
    path = tmp_path / "x.npy"
    np.save(path, RNG.normal(size=(5000, 6)))
    mapped, labels = np.load(path, mmap_mode="r"), RNG.integers(0, 3, 5000)
    trainers = [Trainer(net()), Trainer(net())]
    trainers[0].epoch(mapped.astype(np.float32), labels)
    tracemalloc.start()
    trainers[1].epoch(mapped, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bits(trainers[0]) == bits(trainers[1])
    assert peak < 0.45 * mapped.nbytes  # a third for labels and order; a copy would be half of it more


def test_uint8_and_layout_do_not_matter():
    pixels = RNG.integers(0, 4, (103, 6), dtype=np.uint8)
    results = []
    for x in (pixels, *(pixels.astype(kind) for kind in ("f4", "f8", "i8", "f2")), np.asfortranarray(pixels.astype(np.float64))):
        for shuffle in (True, False):
            trainer = Trainer(net())
            trainer.epoch(x, Y, batch_size=25, shuffle=shuffle)
            results.append(bits(trainer))
    assert results[0::2] == results[:1] * 6
    assert results[1::2] == results[1:2] * 6
    assert results[0] != results[1]


# --- one step ------------------------------------------------------------------------------------------------------------------------


def test_a_step_is_loss_gradient_and_update():
    made, by_hand = net(), net()
    for parameter in (*made.parameters(), *by_hand.parameters()):
        parameter += np.float32(0.5)
    trainer = Trainer(made, optimizer=SGD(0.1, weight_decay=0.5), seed=8)
    trainer.steps = 4
    loss = trainer.step(X, Y)
    expected, gradients = by_hand.loss_and_gradients(X, Y, dropout=(8, 4 * 2))
    assert loss == expected * len(X) / len(X)  # a mean over batches by their rows, also of one batch
    for k, (p, q, g) in enumerate(zip(made.parameters(), by_hand.parameters(), gradients)):
        decayed = g + 0.5 * q if k % 2 == 0 else g  # weights decay, biases do not
        assert p == pytest.approx(q - 0.1 * decayed, abs=1e-6)
    assert made.parameters()[0] is trainer.net.layers[0].weight


def test_adam_counts_steps_from_1():
    made = MLP((6, 3))
    before = made.layers[0].weight.copy()
    Trainer(made, optimizer=Adam(0.01)).step(X, Y)
    # With bias correction the first step moves every weight by the learning rate.
    assert np.abs(made.layers[0].weight - before) == pytest.approx(np.full((6, 3), 0.01), rel=1e-3)


def test_the_loss_of_an_epoch_is_the_mean_over_rows():
    frozen = {"optimizer": SGD(0.0)}
    made = net(keep_prob=1.0, dtype="float64")
    assert Trainer(made, **frozen).epoch(X, Y, batch_size=40) == pytest.approx(made.loss_and_gradients(X, Y)[0], rel=1e-12)
    weighted = made.loss_and_gradients(X, Y, sample_weight=WEIGHT)[0]
    assert Trainer(made, **frozen).epoch(X, Y, batch_size=40, sample_weight=WEIGHT) == pytest.approx(weighted, rel=1e-6)


@pytest.mark.parametrize("outputs", [3, 10, 19, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge"])
def test_of_equal_scores_the_first_counts(loss, dtype, outputs):
    net = MLP((4, outputs), dtype=dtype)
    net.layers[0].weight[...] = 0
    net.layers[0].bias[1:3] = 7
    y = RNG.integers(0, 3, 37)
    history = Trainer(net, loss).fit(RNG.normal(size=(37, 4)).astype(dtype), y, epochs=1, batch_size=37)
    assert history["accuracy"] == [pytest.approx(np.mean(y == 1), rel=1e-12)]


@pytest.mark.parametrize(("loss", "y", "name"), [("softmax_cross_entropy", Y, "accuracy"), ("hinge", Y, "accuracy"), ("l2", REAL, "rmse")])
def test_metrics_of_epoch_and_evaluation_agree_when_nothing_moves(loss, y, name):
    made = net(keep_prob=1.0, dtype="float64")
    trainer = Trainer(made, loss=loss, optimizer=SGD(0.0))
    record = trainer.fit(X, y, epochs=1, batch_size=40, validation_data=(X[:30], y[:30]))[0]
    everything, part = trainer.evaluate(X, y), trainer.evaluate(X[:30], y[:30])
    assert set(everything) == {"loss", name}
    assert list(record) == ["epoch", "loss", name, "val_loss", f"val_{name}", "learning_rate", "gradient_norm", "weight_norm",
                            "update_ratio", "seconds"]
    assert (record["loss"], record[name]) == pytest.approx((everything["loss"], everything[name]), rel=1e-12)
    assert (record["val_loss"], record[f"val_{name}"]) == (part["loss"], part[name])
    assert everything != part


def test_evaluation_leaves_dropout_off_and_takes_weights():
    made = net(keep_prob=(0.5, 0.5))
    trainer = Trainer(made)
    assert trainer.evaluate(X, Y)["loss"] == pytest.approx(made.loss_and_gradients(X, Y)[0], rel=1e-6)
    assert trainer.evaluate(X, Y, WEIGHT)["loss"] == pytest.approx(made.loss_and_gradients(X, Y, sample_weight=WEIGHT)[0], rel=1e-6)


def test_what_a_step_is_given_is_answered_and_changes_nothing(engine):
    made = net()
    trainer = Trainer(made, optimizer=SGD(0.1))
    before = bits(trainer)
    for x, y, weight, kind, sentence in (
        (X[:, :5], Y, None, ValueError, r"'x' must have shape \(n, 6\)"),
        (X[:0], Y[:0], None, ValueError, "'x' must have at least one row"),
        (X, Y + 1, None, ValueError, "'y' must lie between 0 and 2"), (X, -Y, None, ValueError, "'y' must lie between 0 and 2"),
        (X, Y[:5], None, ValueError, r"'y' must have shape \(103,\)"), (X, Y * 0.5, None, TypeError, "'y' must be integer class labels"),
        (X, Y, -WEIGHT, ValueError, "'sample_weight' must be finite"), (3, Y, None, ValueError, "'x' must have shape"),
    ):
        with pytest.raises(kind, match=rf"^fastnn\.Trainer\.step: argument {sentence}"):
            trainer.step(x, y, weight)
        assert bits(trainer) == before
    trainer.step(X, Y)
    assert trainer.steps == 1


def test_a_step_takes_any_rows_it_can_convert(engine):
    batches = [(X, Y), (X.tolist(), Y.tolist()), (np.asfortranarray(X), Y.astype(np.uint8)), (X.astype(">f4"), Y.astype(">i8")),
               (np.repeat(X, 2, axis=0)[::2], np.repeat(Y, 2)[::2]), (X.astype(np.float64), Y)]
    results = []
    for x, y in batches:
        trainer = Trainer(net())
        trainer.step(x, y)
        results.append(bits(trainer))
    assert results[1:] == results[:-1]


def test_steps_taken_by_a_callback_leave_the_epoch_alone(engine):
    def interfere(trainer, record):
        trainer.step(X[:10], Y[:10])

    trainer, reference = Trainer(net(), optimizer=SGD(0.1)), Trainer(net(), optimizer=SGD(0.1))
    history = trainer.fit(X, Y, epochs=1, batch_size=40, callbacks=[Every(2, interfere)])
    order = reference.order(103)
    losses = [reference.step(X[rows], Y[rows]) for rows in (order[:40], order[40:80])]
    reference.step(X[:10], Y[:10])
    losses.append(reference.step(X[order[80:]], Y[order[80:]]))
    reference.step(X[:10], Y[:10])
    reference.end_epoch()
    assert bits(trainer) == bits(reference)
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[40, 40, 23]), rel=1e-12)]


# --- fitting -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_learns(optimizer, dtype):
    made = MLP((6, 16, 3), dtype=dtype, seed=1)
    rate = {"sgd": 0.5, "momentum": 0.1}.get(optimizer, 0.02)
    history = made.fit(X, Y, optimizer=OPTIMIZERS[optimizer](rate), epochs=30, batch_size=20)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert (made.predict(X) == Y).mean() > 0.9
    assert made.loss == fastnn.SoftmaxCrossEntropy()


def test_regression_learns_a_linear_map():
    made = MLP((6, 3), dtype="float64")
    made.fit(X, REAL, loss="l2", optimizer=Momentum(0.1), epochs=60, batch_size=20)
    assert np.abs(made.predict(X) - REAL).max() < 1e-3
    assert made.loss == fastnn.L2()


def test_a_schedule_reaches_the_update_and_the_record():
    history = net().fit(X, Y, optimizer=SGD(0.8), schedule=StepDecay(0.5, 2), epochs=5)
    assert history["learning_rate"] == [0.8, 0.8, 0.4, 0.4, 0.2]
    one_step, stopped = net(), net()
    Trainer(one_step, optimizer=SGD(0.8)).fit(X, Y, epochs=1, batch_size=200)
    Trainer(stopped, optimizer=SGD(0.8), schedule=StepDecay(factor=0.0, every=1, unit="step")).fit(X, Y, epochs=3, batch_size=200)
    assert [p.tobytes() for p in one_step.parameters()] == [p.tobytes() for p in stopped.parameters()]
    assert Trainer(net(), optimizer=SGD(1.0), schedule=Warmup(4)).learning_rate == 0.25
    history = net().fit(X, Y, optimizer=SGD(1.0), schedule=Warmup(8), epochs=3, batch_size=40)
    assert history["learning_rate"] == [3 / 8, 6 / 8, 1.0]  # of the last update


def test_a_plateau_schedule_is_told_every_epoch():
    trainer = Trainer(MLP((6, 3)), optimizer=SGD(1e-9), schedule=ReduceOnPlateau(factor=0.5, patience=1, min_delta=1.0))
    history = trainer.fit(X, Y, epochs=4, validation_data=(X, Y))
    assert history["learning_rate"] == pytest.approx([1e-9, 1e-9, 5e-10, 2.5e-10])
    trainer.observe({"val_loss": 100.0})
    assert trainer.learning_rate == pytest.approx(6.25e-11)


def test_a_plateau_seen_between_steps_counts_from_the_next(engine):
    trainer = Trainer(MLP((6, 3)), optimizer=SGD(0.5), schedule=ReduceOnPlateau(factor=0.0, patience=1, monitor="loss"))
    trainer.step(X, Y)
    trainer.observe({"loss": 1.0})
    before = bits(trainer)[:-2]
    trainer.step(X, Y)
    assert bits(trainer)[:-2] != before
    trainer.observe({"loss": 1.0})
    before = bits(trainer)[:-2]
    trainer.step(X, Y)
    assert bits(trainer)[:-2] == before


def test_a_schedule_that_gives_no_rate_is_answered():
    class Bad(Schedule):
        def multipliers(self, steps, epoch, state):
            return np.full(len(steps), -1.0)

    with pytest.raises(ValueError, match=r"^fastnn.Trainer: argument 'schedule' must give finite learning rates"):
        Trainer(net(), schedule=Bad()).step(X, Y)


def test_callbacks_see_every_epoch_and_may_end_the_fit():
    seen = []

    def callback(trainer, record):
        record["norm"] = float(np.abs(trainer.net.layers[0].weight).sum())
        seen.append((trainer.epochs, record["epoch"]))
        return record["epoch"] == 3

    history = net().fit(X, Y, epochs=10, callbacks=[callback])
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert len(history) == 3
    assert len(set(history["norm"])) == 3


def scripted(values):
    """A callback's record of val_loss as the script says."""
    values = iter(values)
    return lambda trainer, record: record.update(val_loss=next(values))


@pytest.mark.parametrize(("restore", "best"), [(True, 3), (False, 6)])
def test_early_stopping_waits_and_restores(restore, best):
    snapshots = []
    made = net()
    settings = EarlyStopping(patience=3, min_delta=0.1, restore_best=restore)
    history = made.fit(X, Y, epochs=20, validation_data=(X, Y), early_stopping=settings,
                       callbacks=[scripted([1.0, 1.2, 0.5, 0.45, math.nan, 0.6, 0.1]),
                                  lambda trainer, record: snapshots.append([p.copy() for p in trainer.net.parameters()])])
    assert len(history) == 6
    for k, snapshot in enumerate(snapshots, 1):
        assert all(np.array_equal(a, b) for a, b in zip(snapshot, made.parameters())) == (k == best)


def test_early_stopping_follows_accuracy_upwards_and_starts_afresh():
    settings = EarlyStopping(patience=2, monitor="val_accuracy")
    for _ in range(2):
        values = iter([0.1, 0.3, 0.2, 0.2, 0.9])
        history = net().fit(X, Y, epochs=9, validation_data=(X, Y), early_stopping=settings,
                            callbacks=[lambda trainer, record, values=values: record.update(val_accuracy=next(values))])
        assert history["val_accuracy"] == [0.1, 0.3, 0.2, 0.2]


def test_progress_is_on_stderr_only_and_off_by_default(capsys):
    net().fit(X, Y, epochs=2)
    assert capsys.readouterr() == ("", "")
    net().fit(X, Y, epochs=2, progress=True, validation_data=(X, Y))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[:3] for line in err.splitlines()] == [["epoch", "1/2", "loss"], ["epoch", "2/2", "loss"]]
    assert "val_accuracy" in err


def test_progress_rewrites_its_line_on_a_terminal(capsys, monkeypatch):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    net().fit(X, Y, epochs=2, progress=True)
    err = capsys.readouterr().err
    assert err.startswith("\repoch 1/2")
    assert err.count("\r") == 2
    assert err.endswith("\n")
    assert err.count("\n") == 1


# --- when things go wrong ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["l2", "softmax_cross_entropy"])
def test_divergence_is_answered_before_the_update(loss):
    made = MLP((6, 16, 3), dtype="float32")
    x = X.copy()
    x[60] = np.inf
    trainer = Trainer(made, loss=loss, optimizer=SGD(0.01))
    with pytest.raises(FloatingPointError, match=r"the input, row 60, became inf in epoch 1, step 4 with learning_rate=0.01;"):
        trainer.fit(x, REAL if loss == "l2" else Y, epochs=3, batch_size=20, shuffle=False)
    reference = Trainer(MLP((6, 16, 3), dtype="float32"), loss=loss, optimizer=SGD(0.01))
    for start in (0, 20, 40):
        reference.step(x[start:start + 20], (REAL if loss == "l2" else Y)[start:start + 20])
    assert bits(trainer) == bits(reference)


def test_a_huge_learning_rate_ends_in_the_sentence():
    made = MLP((6, 16, 3))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        made.fit(X, REAL, loss="l2", optimizer=SGD(1e6), epochs=50)


class Interrupting(fastnn.SoftmaxCrossEntropy):
    """Presses Ctrl-C in the middle of its third call."""

    calls = 0

    def value_and_gradient(self, scores, y, sample_weight=None):
        type(self).calls += 1
        if type(self).calls == 3:
            signal.raise_signal(signal.SIGINT)
        return super().value_and_gradient(scores, y, sample_weight)


@pytest.mark.parametrize("how", ["fit", "step"])
def test_ctrl_c_leaves_a_completed_step(how, monkeypatch):
    monkeypatch.setattr(Interrupting, "calls", 0)
    handler = signal.getsignal(signal.SIGINT)
    trainer, reference = Trainer(net(), loss=Interrupting()), Trainer(net())

    def batches():
        order = reference.order(103)
        return [order[start:start + 20] for start in range(0, 103, 20)]

    def train():
        if how == "fit":
            trainer.fit(X, Y, epochs=2, batch_size=20)
        for rows in batches():
            trainer.step(X[rows], Y[rows])

    with pytest.raises(KeyboardInterrupt):
        train()
    for rows in batches()[:3]:
        reference.step(X[rows], Y[rows])
    assert bits(trainer) == bits(reference)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_thread_of_its_own_can_train():
    trainer = Trainer(net())
    thread = threading.Thread(target=trainer.epoch, args=(X, Y))
    thread.start()
    thread.join()
    reference = Trainer(net())
    reference.epoch(X, Y)
    assert bits(trainer) == bits(reference)


FIT = {
    "x": ((X[:, :5], Y), {}, ValueError, r"Trainer.fit: argument 'x' must have shape \(n, 6\)"),
    "no rows": ((X[:0], Y[:0]), {}, ValueError, "'x' must have at least one row"),
    "lengths": ((X, Y[:50]), {}, ValueError, r"Trainer.fit: argument 'y' must have shape \(103,\)"),
    "labels": ((X, Y + 1), {}, ValueError, "'y' must lie between 0 and 2"),
    "weights": ((X, Y), {"sample_weight": -WEIGHT}, ValueError, "'sample_weight' must be finite and not negative"),
    "epochs": ((X, Y), {"epochs": 0}, ValueError, "'epochs' must be in range"),
    "batch": ((X, Y), {"batch_size": 0}, ValueError, "'batch_size' must be in range"),
    "batch type": ((X, Y), {"batch_size": 2.5}, TypeError, "'batch_size' must be an integer"),
    "pair": ((X, Y), {"validation_data": X}, TypeError, "'validation_data' must be a pair"),
    "validation": ((X, Y), {"validation_data": (X, Y - 1)}, ValueError, r"Trainer.fit \(validation_data\): argument 'y' must lie between"),
    "monitor": ((X, Y), {"early_stopping": EarlyStopping()}, ValueError,
                "'early_stopping' must monitor .*one of loss, accuracy, got 'val_loss'"),
    "schedule": ((X, Y), {"schedule": ReduceOnPlateau()}, ValueError, "'schedule' must monitor .*got 'val_loss'"),
    "stopping": ((X, Y), {"early_stopping": True}, TypeError, "'early_stopping' must be settings"),
    "callback": ((X, Y), {"callbacks": [EarlyStopping()]}, TypeError, "'callbacks' must be callables"),
    "accumulate": ((X, Y), {"accumulate": 0}, ValueError, "Trainer.fit: argument 'accumulate' must be in range"),
    "time": ((X, Y), {"time_limit": -1}, ValueError, "Trainer.fit: argument 'time_limit' must be finite and in range"),
    "class rule": ((X, Y), {"class_weight": "even"}, ValueError, "Trainer.fit: argument 'class_weight' must name a rule"),
    "class label": ((X, Y), {"class_weight": {3: 1.0}}, ValueError, "'class_weight' must be in range"),
    "class value": ((X, Y), {"class_weight": {2: -1.0}}, ValueError, "'class_weight' must be finite and in range"),
    "class array": ((X, Y), {"class_weight": [1.0, 2.0]}, ValueError, r"'class_weight' must have shape \(3,\)"),
    "class values": ((X, Y), {"class_weight": [1.0, 2.0, np.nan]}, ValueError, "'class_weight' must be finite and not negative"),
    "class type": ((X, Y), {"class_weight": object()}, TypeError, "'class_weight' must be an array of numbers"),
    "no classes": ((X, REAL), {"class_weight": "balanced", "loss": "l2"}, ValueError, "'class_weight' must come with integer labels"),
    "clip value": ((X, Y), {"clip_value": 0}, ValueError, "Trainer: argument 'clip_value' must be finite and in range"),
    "clip norm": ((X, Y), {"clip_norm": "much"}, TypeError, "Trainer: argument 'clip_norm' must be a real number"),
    "max norm": ((X, Y), {"max_norm": math.inf}, ValueError, "Trainer: argument 'max_norm' must be finite and in range"),
    "average": ((X, Y), {"average": 0.9}, TypeError, r"Trainer: argument 'average' must be settings .*EMA\(0.999\)"),
    "scaler": ((X, Y), {"preprocessing": True}, TypeError, "Trainer: argument 'preprocessing' must be a scaler"),
    "scaler width": ((X, Y), {"preprocessing": Standardizer().fit(X[:, :5])}, ValueError, "'preprocessing' must fit the net's inputs"),
    "loss": ((X, Y), {"loss": "mse"}, ValueError, "Trainer: argument 'loss' must name a loss"),
    "optimizer": ((X, Y), {"optimizer": "lion"}, ValueError, "Trainer: argument 'optimizer' must be an optimizer"),
    "rate": ((X, Y), {"schedule": 0.5}, TypeError, "Trainer: argument 'schedule' must be a schedule"),
    "seed": ((X, Y), {"seed": -1}, ValueError, "Trainer: argument 'seed' must be in range"),
}


@pytest.mark.parametrize("case", FIT)
def test_bad_arguments_are_answered_before_anything_changes(case):
    arguments, keywords, kind, sentence = FIT[case]
    made = net()
    before = [p.tobytes() for p in made.parameters()]
    with pytest.raises(kind, match=rf"^fastnn\..*{sentence}"):
        made.fit(*arguments, **keywords)
    assert [p.tobytes() for p in made.parameters()] == before


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: EarlyStopping(patience=0), "'patience' must be in range"),
    (lambda: EarlyStopping(min_delta=-1), "'min_delta' must be finite and in range"),
    (lambda: EarlyStopping(monitor=3), "'monitor' must be a name"),
    (lambda: Every(0, print), "'steps' must be in range"),
    (lambda: Every(5, None), "'callback' must be a callable"),
    (lambda: EMA(1.0), "'decay' must be finite and in range"),
    (lambda: EMA(0.0), "'decay' must be finite and in range"),
])
def test_bad_settings_are_answered(make, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        make()


class Quartic:
    """A user's loss: two methods, no metric."""

    def value_and_gradient(self, scores, y, sample_weight=None):
        d = scores - y
        return float((d**4).sum() / 4 / len(d)), d**3 / len(d)

    def predict(self, scores):
        return scores * 2


def test_a_users_loss_trains():
    made = MLP((6, 3), dtype="float64", seed=3)
    history = made.fit(X, REAL, loss=Quartic(), optimizer=Adam(0.05), epochs=40, batch_size=20, validation_data=(X, REAL))
    assert history.names() == ["epoch", "loss", "val_loss", "learning_rate", "gradient_norm", "weight_norm",
                            "update_ratio", "seconds"]
    assert history["loss"][-1] < 0.01 * history["loss"][0]
    assert np.array_equal(made.predict(X), 2 * made.forward(X))


def test_it_prints_as_the_call_that_makes_it():
    trainer = Trainer(MLP((2, 1)), loss="l2", optimizer=SGD(0.5), seed=4)
    settings = "loss=L2(), optimizer=SGD(learning_rate=0.5, weight_decay=0.0, l1=0.0, decay_biases=False), schedule=None, seed=4"
    assert repr(trainer) == f"Trainer({trainer.net!r}, {settings})"
