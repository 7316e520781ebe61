"""What `Trainer` and `fit` can be asked for beyond a loss, an optimizer and a schedule: on each engine there is."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest

import fastnn
from fastnn import EMA, MLP, SGD, Adam, EarlyStopping, Every, MinMaxScaler, Standardizer, Trainer

RNG = np.random.default_rng(61)
X = RNG.normal(size=(103, 6)).astype(np.float32)
Y = np.minimum((X @ RNG.normal(size=(6, 3))).argmax(axis=1) * RNG.integers(0, 2, 103), 2)  # uneven
REAL = (X @ RNG.normal(size=(6, 3))).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2.0, 103).astype(np.float32)


def net(**kwargs):
    return MLP((6, 16, 3), **{"keep_prob": (0.9, 0.8), "seed": 5, **kwargs})


def bits(trainer):
    arrays = [*trainer.net.parameters(), *(array for state in trainer._state for array in state), *trainer._averages]
    return [array.tobytes() for array in arrays] + [trainer.steps, trainer.epochs]


def without_time(history):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


# --- weights of classes --------------------------------------------------------------------------------------------------------------


def balanced():
    counts = np.bincount(Y)
    return 103 / (3 * counts)


@pytest.mark.parametrize(("class_weight", "by_label"), [
    ("balanced", balanced()), ({0: 0.5, 2: 4.0}, [0.5, 1.0, 4.0]), ([1.0, 0.0, 2.0], [1.0, 0.0, 2.0]),
], ids=["balanced", "dict", "list"])
@pytest.mark.parametrize("sample_weight", [None, WEIGHT], ids=["alone", "with rows"])
def test_class_weights_are_weights_of_rows(engine, class_weight, by_label, sample_weight):
    by_class, by_row = Trainer(net()), Trainer(net())
    rows = np.asarray(by_label)[Y] * (1.0 if sample_weight is None else sample_weight)
    found = by_class.fit(X, Y, epochs=2, batch_size=20, class_weight=class_weight, sample_weight=sample_weight)
    expected = by_row.fit(X, Y, epochs=2, batch_size=20, sample_weight=rows)
    assert bits(by_class) == bits(by_row)
    assert without_time(found) == without_time(expected)
    plain = Trainer(net())
    plain.fit(X, Y, epochs=2, batch_size=20, sample_weight=sample_weight)
    assert bits(plain) != bits(by_row)
    again = Trainer(net())
    for _ in range(2):
        again.epoch(X, Y, batch_size=20, class_weight=class_weight, sample_weight=sample_weight)
    assert bits(again) == bits(by_row)


def test_balanced_is_of_the_classes_that_occur():
    labels = np.array([0, 0, 0, 2])
    assert fastnn.arrays.class_weights("f", "balanced", labels, 4).tolist() == [4 / 6, 1.0, 2.0, 1.0]


# --- gradient accumulation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "l2", "own"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accumulated_batches_have_the_bits_of_one(engine, loss, dtype):
    class Own(fastnn.SoftmaxCrossEntropy):
        pass

    y = REAL if loss == "l2" else Y
    small, large = (Trainer(net(dtype=dtype), Own() if loss == "own" else loss, clip_norm=0.5, seed=9) for _ in range(2))
    found = small.fit(X, y, epochs=2, batch_size=8, accumulate=5, sample_weight=WEIGHT)
    expected = large.fit(X, y, epochs=2, batch_size=40, sample_weight=WEIGHT)
    assert small.steps == 6
    assert bits(small) == bits(large)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-12)
    by_epoch = Trainer(net(dtype=dtype), Own() if loss == "own" else loss, clip_norm=0.5, seed=9)
    for _ in range(2):
        by_epoch.epoch(X, y, batch_size=8, accumulate=5, sample_weight=WEIGHT)
    assert bits(by_epoch) == bits(large)


# --- bounds on an update -------------------------------------------------------------------------------------------------------------


def test_a_bound_reaches_the_engine_and_the_record(engine):
    plain, clipped, cut, held = (net(keep_prob=1.0) for _ in range(4))
    settings = {"optimizer": SGD(0.5), "epochs": 1, "batch_size": 103}
    before = [array.astype(np.float64) for array in plain.parameters()]
    history = plain.fit(X, Y, **settings)
    step = [(a - b) / 0.5 for a, b in zip(before, plain.parameters())]
    norm = math.sqrt(sum((g**2).sum() for g in step))
    assert history["gradient_norm"] == [pytest.approx(norm, rel=1e-5)]
    moved, size = (math.sqrt(sum((a**2).sum() for a in arrays[0::2])) for arrays in ([0.5 * g for g in step], before))
    assert history["update_ratio"] == [pytest.approx(moved / size, rel=1e-5)]
    assert clipped.fit(X, Y, clip_norm=norm / 4, **settings)["gradient_norm"] == [pytest.approx(norm, rel=1e-5)]
    cut.fit(X, Y, clip_value=0.01, **settings)
    held.fit(X, Y, max_norm=0.5, **settings)
    for b, g, one, two in zip(before, step, clipped.parameters(), cut.parameters()):
        assert one == pytest.approx(b - 0.5 * g / 4, abs=1e-6)
        assert two == pytest.approx(b - 0.5 * np.clip(g, -0.01, 0.01), abs=1e-6)
    for w in held.parameters()[0::2]:
        assert np.sqrt((w**2).sum(axis=0)).max() <= 0.5 + 1e-6


def test_biases_decay_when_asked(engine):
    made = net()
    made.layers[0].bias[...] = 1.0
    other = net()
    other.layers[0].bias[...] = 1.0
    for each, decay_biases in ((made, True), (other, False)):
        Trainer(each, optimizer=SGD(0.1, weight_decay=0.5, decay_biases=decay_biases)).step(X, Y)
    assert np.array_equal(made.layers[0].weight, other.layers[0].weight)
    assert other.layers[0].bias - made.layers[0].bias == pytest.approx(np.full(16, 0.05), abs=1e-6)


# --- a running average ---------------------------------------------------------------------------------------------------------------


def test_the_average_is_a_net_of_its_own(engine):
    trainer = Trainer(net(), average=EMA(0.75), preprocessing=Standardizer())
    sums, updates = [np.zeros(p.shape) for p in trainer.net.parameters()], 0
    assert [p.tobytes() for p in trainer.averaged().parameters()] == [p.tobytes() for p in trainer.net.parameters()]

    def follow(trainer, record):
        nonlocal updates
        updates += 1
        for total, param in zip(sums, trainer.net.parameters()):
            total[...] = 0.75 * total + 0.25 * param
        for average, total in zip(trainer.averaged().parameters(), sums):
            assert average == pytest.approx(total / (1 - 0.75**updates), abs=1e-6)

    trainer.fit(X, Y, epochs=2, batch_size=20, callbacks=[Every(1, follow)])
    assert updates == 12
    averaged = trainer.averaged()
    assert averaged.preprocessing is trainer.net.preprocessing
    assert averaged.loss == trainer.loss
    averaged.layers[0].weight[...] = 0
    assert trainer.averaged().layers[0].weight.any()
    plain = Trainer(net(), preprocessing=Standardizer())
    plain.fit(X, Y, epochs=2, batch_size=20)
    assert [p.tobytes() for p in plain.net.parameters()] == [p.tobytes() for p in trainer.net.parameters()]
    with pytest.raises(ValueError, match=r"^fastnn.Trainer.averaged: argument 'self' must keep an average"):
        plain.averaged()


@pytest.mark.parametrize("decay", [0.5, 0.999, 1 - 1e-9])
def test_the_average_of_one_update_is_what_it_left(engine, decay):
    trainer = Trainer(net(dtype="float64"), optimizer=SGD(0.5), average=EMA(decay))
    trainer.step(X, Y)
    for average, param in zip(trainer.averaged().parameters(), trainer.net.parameters()):
        assert average == pytest.approx(param, rel=1e-14)


def test_the_share_of_the_sum():
    assert [EMA(0.5).share(updates) for updates in (0, 1, 2, 3)] == pytest.approx([0.0, 0.5, 0.75, 0.875], rel=1e-15)
    assert EMA(1 - 1e-8).share(3) == pytest.approx(float(1 - Fraction(1 - 1e-8) ** 3), rel=1e-14, abs=0)
    assert EMA(1e-300).share(1) == 1.0


def test_steps_that_are_set_are_not_averaged(engine):
    one, other = (Trainer(net(keep_prob=1.0), optimizer=SGD(0.1), average=EMA(0.9)) for _ in range(2))
    other.steps = 1000
    assert np.array_equal(other.averaged().layers[0].weight, other.net.layers[0].weight)
    for trainer in (one, other):
        for _ in range(3):
            trainer.step(X, Y)
    assert [p.tobytes() for p in one.averaged().parameters()] == [p.tobytes() for p in other.averaged().parameters()]


def test_fit_leaves_the_average_at_the_net(engine):
    made, trainer = net(), Trainer(net(), average=EMA(0.9))
    assert made.averaged is None
    made.fit(X, Y, epochs=2, batch_size=20, average=EMA(0.9))
    trainer.fit(X, Y, epochs=2, batch_size=20)
    assert [p.tobytes() for p in made.averaged.parameters()] == [p.tobytes() for p in trainer.averaged().parameters()]
    assert [p.tobytes() for p in made.parameters()] == [p.tobytes() for p in trainer.net.parameters()]
    kept = made.averaged
    with pytest.raises(ValueError, match="'epochs'"):
        made.fit(X, Y, epochs=0)
    assert made.averaged is kept

    def stop(trainer, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.fit(X, Y, epochs=1, batch_size=20, average=EMA(0.9), callbacks=[Every(2, stop)])
    assert made.averaged is not None
    assert made.averaged is not kept
    assert made.astype("float64").averaged is None
    made.fit(X, Y, epochs=1)
    assert made.averaged is None


# --- preprocessing -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x", [X * 9 + 4, RNG.integers(0, 255, (103, 6), dtype=np.uint8)], ids=["floats", "uint8"])
@pytest.mark.parametrize("make", [Standardizer, MinMaxScaler, lambda: Standardizer("channel", divide=False, channels=2)],
                         ids=["standard", "min-max", "channels"])
def test_a_net_with_preprocessing_takes_raw_rows(engine, x, dtype, make, tmp_path):
    raw, ready = net(dtype=dtype), net(dtype=dtype)
    held = x[:30] + x.dtype.type(1)
    history = raw.fit(x, Y, epochs=3, batch_size=20, preprocessing=make(), validation_data=(held, Y[:30]))
    scaler = raw.preprocessing
    assert np.array_equal(scaler.shift, make().fit(x).shift)
    shift, inverse = scaler.shift.astype(dtype), (1 / scaler.spread).astype(dtype)
    z, z_held = ((rows.astype(dtype) - shift) * inverse for rows in (x, held))
    assert z.dtype == dtype
    assert without_time(ready.fit(z, Y, epochs=3, batch_size=20, validation_data=(z_held, Y[:30]))) == without_time(history)
    assert [p.tobytes() for p in raw.parameters()] == [p.tobytes() for p in ready.parameters()]
    assert np.array_equal(raw.predict_proba(x), ready.predict_proba(z))
    assert raw.loss_and_gradients(x, Y)[0] == ready.loss_and_gradients(z, Y)[0]
    assert raw.astype("float64").preprocessing is scaler
    raw.save(tmp_path / "net.npz")
    assert np.array_equal(MLP.load(tmp_path / "net.npz").forward(x), raw.forward(x))
    assert np.abs(ready.forward(x) - raw.forward(x)).max() > 0.1


def test_statistics_are_of_the_first_rows_only(engine):
    setting = Standardizer()
    trainer = Trainer(net(), preprocessing=setting)
    with pytest.raises(ValueError, match=r"^fastnn.Trainer.step: argument 'preprocessing' must be fitted first"):
        trainer.step(X, Y)
    assert trainer.net.preprocessing is None
    trainer.epoch(X[:50], Y[:50])
    scaler = trainer.preprocessing
    mean = scaler.mean.copy()
    assert trainer.net.preprocessing is scaler is not setting
    assert setting.mean is None
    trainer.fit(X, Y, epochs=1)
    trainer.step(X, Y)
    assert np.array_equal(scaler.mean, mean)
    going_on = Trainer(trainer.net)
    assert going_on.preprocessing is scaler


def test_a_scaler_that_changes_is_taken_note_of(engine):
    x = X * 9 + 4
    scaler = Standardizer().fit(x[:50])
    made, fresh = Trainer(net(), preprocessing=scaler, optimizer=SGD(0.1)), Trainer(net(), optimizer=SGD(0.1))
    made.step(x, Y)
    scaler.fit(x)
    for copied, param in zip(fresh.net.parameters(), made.net.parameters()):
        copied[...] = param
    fresh.net.preprocessing = scaler
    fresh.steps = 1
    made.step(x, Y)
    fresh.step(x, Y)
    assert bits(made) == bits(fresh)


# --- time, steps and what ends a fit -------------------------------------------------------------------------------------------------


def test_a_time_limit_ends_the_fit_after_an_update_and_it_can_go_on(engine):
    limited, whole = Trainer(net()), Trainer(net())
    began = time.monotonic()
    history = limited.fit(X, Y, epochs=10**6, batch_size=5, time_limit=0.1)
    assert 0.1 <= time.monotonic() - began < 10
    assert history.stopped == "time_limit"
    assert len(history) == limited.epochs
    assert limited.steps >= 21 * limited.epochs
    rest = limited.fit(X, Y, epochs=1, batch_size=5)
    assert rest.stopped == "epochs"
    expected = whole.fit(X, Y, epochs=limited.epochs, batch_size=5)
    assert bits(limited) == bits(whole)
    assert without_time([*history, *rest]) == without_time(expected)


def test_no_time_at_all_trains_nothing(engine):
    trainer = Trainer(net())
    before = bits(trainer)
    history = trainer.fit(X, Y, time_limit=0.0)
    assert (len(history), history.stopped) == (0, "time_limit")
    assert bits(trainer) == before


def test_what_ended_a_fit_is_said(engine):
    assert net().fit(X, Y, epochs=2).stopped == "epochs"
    assert net().fit(X, Y, epochs=2, callbacks=[lambda trainer, record: True]).stopped == "callback"
    assert net().fit(X, Y, epochs=2, callbacks=[Every(1, lambda trainer, record: True)]).stopped == "callback"
    stopping = EarlyStopping(patience=1, monitor="loss", min_delta=100.0)
    assert net().fit(X, Y, epochs=5, early_stopping=stopping).stopped == "early_stopping"

    def fail(trainer, record):
        raise RuntimeError

    trainer = Trainer(net())
    with pytest.raises(RuntimeError):
        trainer.fit(X, Y, epochs=2, callbacks=[fail])
    assert (len(trainer.history), trainer.history.stopped) == (1, None)


def test_every_is_called_at_multiples_with_the_epoch_so_far(engine):
    seen = []
    trainer = Trainer(net(), optimizer=SGD(0.1))
    four = Every(4, lambda trainer, record: seen.append((trainer.steps, record)))
    seven = Every(7, lambda trainer, record: seen.append((trainer.steps, None)))
    history = trainer.fit(X, Y, epochs=2, batch_size=10, callbacks=[four, seven])
    assert [steps for steps, record in seen] == [4, 7, 8, 12, 14, 16, 20, 21]
    records = {steps: record for steps, record in seen if record is not None}
    assert records[8]["epoch"] == 1
    assert list(records[8]) == list(history[0])
    assert all(math.isfinite(records[8][name]) for name in records[8])
    reference = Trainer(net(), optimizer=SGD(0.1))
    order = reference.order(103)
    losses = [reference.step(X[rows], Y[rows]) for rows in np.split(order[:80], 8)]
    assert records[8]["loss"] == pytest.approx(np.mean(losses), rel=1e-12)
    assert records[4]["loss"] == pytest.approx(np.mean(losses[:4]), rel=1e-12)
    assert records[12]["epoch"] == 2
    plain = Trainer(net(), optimizer=SGD(0.1))
    expected = plain.fit(X, Y, epochs=2, batch_size=10)
    assert bits(plain) == bits(trainer)
    assert without_time(expected) == without_time(history)


def test_every_may_end_the_fit_in_the_middle_and_the_epoch_goes_on(engine):
    stopped, whole = Trainer(net()), Trainer(net())
    history = stopped.fit(X, Y, epochs=5, batch_size=10, callbacks=[Every(13, lambda trainer, record: True)])
    assert (stopped.steps, stopped.epochs, len(history)) == (13, 1, 1)
    rest = stopped.fit(X, Y, epochs=2, batch_size=10)
    expected = whole.fit(X, Y, epochs=3, batch_size=10)
    assert bits(stopped) == bits(whole)
    assert without_time([*history, *rest]) == without_time(expected)


def test_a_callback_that_ends_the_fit_at_the_end_of_an_epoch_leaves_its_record(engine):
    trainer = Trainer(net())
    history = trainer.fit(X, Y, epochs=5, batch_size=10, callbacks=[Every(11, lambda trainer, record: True)])
    assert (len(history), trainer.epochs, trainer.steps, history.stopped) == (1, 1, 11, "callback")


@pytest.mark.parametrize("changed", [{"batch_size": 20}, {"shuffle": False}, {"x": X[:90], "y": Y[:90]}], ids=str)
def test_other_batches_begin_an_epoch_anew(engine, changed):
    trainer = Trainer(net())
    trainer.fit(X, Y, epochs=5, batch_size=10, callbacks=[Every(3, lambda trainer, record: True)])
    arguments = {"x": X, "y": Y, "batch_size": 10, **changed}
    trainer.epoch(**arguments)
    assert trainer.steps == 3 + -(-len(arguments["x"]) // arguments["batch_size"])
    assert trainer.epochs == 1


def test_best_weights_put_back_end_the_epoch_under_way(engine):
    trainer = Trainer(net())
    end = Every(13, lambda trainer, record: True)
    trainer.fit(X, Y, epochs=3, batch_size=10, early_stopping=EarlyStopping(monitor="loss"), callbacks=[end])
    assert trainer.steps == 13
    trainer.epoch(X, Y, batch_size=10)
    assert trainer.steps == 13 + 11


def test_long_epochs_are_cut_into_calls_without_a_trace(engine, monkeypatch):
    from fastnn import trainer as module

    whole, parts = (Trainer(net(), optimizer=Adam(0.01)) for _ in range(2))
    whole.fit(X, Y, epochs=2, batch_size=2)
    monkeypatch.setattr(module, "CHUNK", 5)
    parts.fit(X, Y, epochs=2, batch_size=2)
    assert bits(whole) == bits(parts)


# --- numbers that are not finite -----------------------------------------------------------------------------------------------------


def linear(**kwargs):
    return MLP((6, 4, 3), activation="linear", **{"dtype": "float64", "seed": 1, **kwargs})


def diverging(made, x, y, **kwargs):
    trainer = Trainer(made, **{"loss": "l2", "optimizer": SGD(0.125), **kwargs})
    with pytest.raises(FloatingPointError) as caught:
        trainer.fit(x, y, epochs=3, batch_size=20, shuffle=False)
    assert all(np.isfinite(p).all() for p in made.parameters())
    return str(caught.value), trainer


def changed(array, row, value):
    array = array.astype(np.float64)
    array[row] = value
    return array


def test_the_place_where_it_first_appeared_is_named(engine):
    tail = "in epoch 1, step 4 with learning_rate=0.125; the net keeps the weights of the step before (lower the learning rate, " \
           "or standardise the inputs and targets)"
    message, trainer = diverging(linear(), changed(X, 67, np.nan), REAL)
    assert message == ("fastnn.Trainer: the input, row 67, became nan in epoch 1, step 4 with learning_rate=0.125; the net keeps the "
                       "weights of the step before (look for values in x that are not finite)")
    reference = Trainer(linear(), loss="l2", optimizer=SGD(0.125))
    for start in (0, 20, 40):
        reference.step(X[start:start + 20], REAL[start:start + 20])
    assert bits(trainer)[:-2] == bits(reference)[:-2]
    assert trainer.steps == 3
    x = changed(X, 67, 1e308)
    made = linear()
    made.layers[0].weight[...] = 2.0
    message, _ = diverging(made, x, REAL, optimizer=SGD(1e-9))
    assert message.startswith("fastnn.Trainer: the output of layers[0] became inf in epoch 1, step 4")
    message, _ = diverging(linear(), X, changed(REAL, 67, 1e200))
    assert message == f"fastnn.Trainer: the loss became inf {tail}"


@pytest.mark.parametrize(("small", "name"), [([], 1), ([2, 3], 1), ([0, 1, 2, 3], 0)], ids=["last", "both", "first"])
def test_a_gradient_is_named_by_its_layer_the_last_one_first(engine, small, name):
    made = linear()
    w0, w1 = made.layers[0].weight, made.layers[1].weight
    large = [unit for unit in range(4) if unit not in small]
    w0[:, small] *= 1e-13  # the gradient of w0 overflows: x is 1e163
    w1[large] *= 1e-13  # the gradient of w1 overflows: these hidden units are 1e163
    message, _ = diverging(made, changed(X, 67, 1e163), REAL, optimizer=SGD(1e-30))
    assert message.startswith(f"fastnn.Trainer: the gradient of layers[{name}].weight became ")
    assert "in epoch 1, step 4" in message


def test_a_gradient_of_a_users_loss_is_found(engine):
    class Bad(fastnn.L2):
        def value_and_gradient(self, scores, y, sample_weight=None):
            loss, gradient = super().value_and_gradient(scores, y, sample_weight)
            return loss, np.where(y > 50, np.inf, gradient)

    message, trainer = diverging(linear(), X, changed(REAL, 67, 100.0), loss=Bad())
    assert message.startswith("fastnn.Trainer: the gradient of the scores became inf in epoch 1, step 4")
    assert trainer.steps == 3


def test_the_row_is_that_of_the_users_data_when_shuffled(engine):
    for row in (3, 40, 67, 90, 101):
        trainer = Trainer(linear(), loss="l2", optimizer=SGD(0.01))
        with pytest.raises(FloatingPointError, match=rf"the input, row {row}, became inf"):
            trainer.fit(changed(X, row, np.inf), REAL, epochs=1, batch_size=20)


def test_a_step_names_the_place_too(engine):
    trainer = Trainer(linear(), loss="l2")
    trainer.step(X, REAL)
    before = bits(trainer)
    with pytest.raises(FloatingPointError, match=r"the input, row 3, became nan in epoch 1, step 2"):
        trainer.step(changed(X, 3, np.nan), REAL)
    assert bits(trainer) == before
    trainer.step(X, REAL)


def test_an_overflow_that_the_second_look_does_not_see_is_still_an_answer():
    from fastnn import divergence

    what, advice = divergence.explain(net(), X, Y, None, fastnn.SoftmaxCrossEntropy(), (1, 2), np.arange(103))
    assert (what, "learning rate" in advice) == ("the loss, a gradient or an update became too large", True)


def test_weights_that_overflowed_in_an_update_are_named():
    made = net()
    made.layers[1].bias[1] = np.inf
    with pytest.raises(FloatingPointError, match=r"layers\[1\].bias became inf in epoch 1, step 1"):
        Trainer(made).step(X, Y)
