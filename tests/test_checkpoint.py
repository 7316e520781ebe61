from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest

import fastnn
from fastnn import (
    EMA,
    L2,
    MLP,
    SGD,
    Adam,
    CosineDecay,
    EarlyStopping,
    Every,
    ExponentialDecay,
    Hinge,
    InverseTimeDecay,
    MinMaxScaler,
    Momentum,
    ReduceOnPlateau,
    RMSProp,
    Standardizer,
    StepDecay,
    Trainer,
    Warmup,
)
from fastnn.schedules import Schedule

RNG = np.random.default_rng(91)
X = RNG.normal(size=(53, 6)).astype(np.float32) * 3 + 1
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)
REAL = (X @ RNG.normal(size=(6, 3))).astype(np.float32)


def net(**kwargs):
    return MLP((6, 9, 3), **{"keep_prob": (0.9, 0.8), "seed": 5, **kwargs})


def bits(trainer):
    arrays = [*trainer.net.parameters(), *(array for state in trainer._state for array in state), *trainer._averages]
    return [array.tobytes() for array in arrays] + [trainer.steps, trainer.epochs, trainer._schedule_state, trainer.learning_rate]


def without_time(history):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trainer.npz"


SETTINGS = {
    "adam": {"optimizer": Adam(0.01, weight_decay=0.1, decay_biases=True, decoupled=True), "schedule": Warmup(9, CosineDecay(5))},
    "momentum": {"optimizer": Momentum(0.05, nesterov=True), "schedule": StepDecay(0.5, 2), "clip_norm": 0.5, "seed": 2**64 - 1},
    "rmsprop": {"optimizer": RMSProp(0.01), "schedule": ExponentialDecay(0.01, unit="step"), "max_norm": 1.5, "average": EMA(0.9)},
    "adagrad": {"optimizer": "adagrad", "schedule": InverseTimeDecay(0.1), "clip_value": 0.01, "loss": Hinge(0.5)},
    "sgd": {"optimizer": SGD(0.1), "preprocessing": Standardizer()},
    "min-max": {"optimizer": SGD(0.1), "preprocessing": MinMaxScaler(0, 1)},
    "plateau": {"schedule": Warmup(4, ReduceOnPlateau(patience=1, monitor="loss", min_delta=0.05))},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_epochs_saved_and_gone_on_with_are_the_epochs_in_one(engine, path, settings, dtype):
    once, twice = (Trainer(net(dtype=dtype), **{"preprocessing": Standardizer(), **SETTINGS[settings]}) for _ in range(2))
    whole = once.fit(X, Y, epochs=5, batch_size=10)
    first = twice.fit(X, Y, epochs=2, batch_size=10)
    twice.save(path)
    loaded = Trainer.load(path)
    assert repr(loaded) == repr(twice)
    rest = loaded.fit(X, Y, epochs=3, batch_size=10)
    assert bits(loaded) == bits(once)
    assert without_time(first) + without_time(rest) == without_time(whole)
    assert np.array_equal(loaded.net.predict_proba(X) if loaded.loss == fastnn.SoftmaxCrossEntropy() else loaded.net.predict(X),
                          once.net.predict_proba(X) if once.loss == fastnn.SoftmaxCrossEntropy() else once.net.predict(X))


def test_save_at_every_step_of_a_run_and_go_on_from_each(engine, tmp_path):
    settings = {"schedule": Warmup(4, ReduceOnPlateau(patience=1, monitor="loss", min_delta=0.05)), "average": EMA(0.9)}
    fit = {"batch_size": 10, "accumulate": 2, "class_weight": "balanced"}
    once, saving = Trainer(net(), **settings), Trainer(net(), **settings)
    whole = once.fit(X, Y, epochs=4, **fit)
    saving.save(tmp_path / "0.npz")
    saving.fit(X, Y, epochs=4, **fit, callbacks=[Every(1, lambda trainer, record: trainer.save(tmp_path / f"{trainer.steps}.npz"))])
    assert bits(saving) == bits(once)
    assert saving.steps == 12
    for step in range(13):
        loaded = Trainer.load(tmp_path / f"{step}.npz")
        assert loaded.steps == step
        finished = max(0, (step - 1) // 3)  # the last step of an epoch comes before its end
        rest = loaded.fit(X, Y, epochs=4 - finished, **fit)
        assert bits(loaded) == bits(once)
        assert without_time(rest) == without_time(whole)[finished:]


def test_steps_by_hand(engine, path):
    once, twice = Trainer(net()), Trainer(net())
    for rows in np.split(np.arange(50), 10):
        once.step(X[rows], Y[rows])
    for rows in np.split(np.arange(50), 10):
        twice.step(X[rows], Y[rows])
        twice.save(path)
        twice = Trainer.load(path)
    assert bits(once) == bits(twice)


def test_the_case_of_a_run_that_was_killed(path):
    """What the documentation promises: a callback saves every epoch, the process dies in epoch 8, another one goes on."""
    killed, complete = Trainer(net()), Trainer(net())

    def die(trainer, record):
        if trainer.steps > 7 * 6:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        killed.fit(X, Y, epochs=20, batch_size=10, callbacks=[lambda trainer, record: trainer.save(path), Every(1, die)])
    loaded = Trainer.load(path)
    assert loaded.epochs == 7
    loaded.fit(X, Y, epochs=13, batch_size=10)
    complete.fit(X, Y, epochs=20, batch_size=10)
    assert bits(loaded) == bits(complete)


def test_a_loaded_trainer_shares_nothing_and_leaves_the_saved_one_alone(path):
    made = Trainer(net(), average=EMA(0.5))
    made.fit(X, Y, epochs=1)
    made.save(path)
    before = bits(made)
    loaded = Trainer.load(path)
    loaded.fit(X, Y, epochs=1)
    assert bits(made) == before
    assert bits(loaded) != before
    made.fit(X, Y, epochs=1)
    assert bits(loaded) == bits(made)
    assert [a.tobytes() for a in loaded.averaged().parameters()] == [a.tobytes() for a in made.averaged().parameters()]


@pytest.mark.parametrize("setting", [Standardizer(), Standardizer("channel", channels=2), MinMaxScaler(0, 1)], ids=repr)
def test_preprocessing_that_is_yet_to_be_fitted(path, setting):
    made = Trainer(net(), preprocessing=setting)
    made.save(path)
    loaded = Trainer.load(path)
    assert not loaded.preprocessing.fitted
    assert repr(loaded) == repr(made)
    loaded.fit(X, Y, epochs=1)
    made.fit(X, Y, epochs=1)
    assert bits(loaded) == bits(made)


def test_a_file_of_before_names_the_axis_alone(path):
    rewrite(path, {"to_be_fitted": "feature"})
    assert repr(Trainer.load(path).preprocessing) == repr(Standardizer())


def test_an_epoch_under_way_is_begun_anew_for_other_batches(path):
    made = Trainer(net())
    made.fit(X, Y, epochs=3, batch_size=10, callbacks=[Every(2, lambda trainer, record: trainer.save(path) or True)])
    loaded = Trainer.load(path)
    assert loaded.steps == 2
    loaded.epoch(X, Y, batch_size=20)
    assert loaded.steps == 2 + 3
    loaded = Trainer.load(path)
    loaded.epoch(X, Y, batch_size=10)
    assert loaded.steps == 6


class OwnLoss(L2):
    pass


class OwnSchedule(Schedule):
    def start(self):
        return (0, "a")

    def observe(self, state, value):
        return (state[0] + 1, "b")

    @property
    def monitor(self):
        return "loss"

    def multipliers(self, steps, epoch, state):
        return np.full(len(steps), 1.0 / (1 + state[0]))


def test_what_is_the_users_own_is_given_again(path):
    once, twice = (Trainer(net(), loss=OwnLoss(), schedule=OwnSchedule()) for _ in range(2))
    once.fit(X, REAL, epochs=3)
    twice.fit(X, REAL, epochs=2)
    twice.save(path)
    with pytest.raises(ValueError, match=r"^fastnn.Trainer.load: argument 'loss' must be given again .*a user's own loss"):
        Trainer.load(path)
    with pytest.raises(ValueError, match=r"^fastnn.Trainer.load: argument 'schedule' must be given again .*a user's own schedule"):
        Trainer.load(path, loss=OwnLoss())
    loaded = Trainer.load(path, loss=OwnLoss(), schedule=OwnSchedule())
    assert loaded._schedule_state == (2, "b")
    loaded.fit(X, REAL, epochs=1)
    assert bits(loaded) == bits(once)


@pytest.mark.parametrize(("keywords", "kind", "sentence"), [
    ({"loss": "mse"}, ValueError, "Trainer.load: argument 'loss' must name a loss"),
    ({"loss": 3}, TypeError, "Trainer.load: argument 'loss' must be a loss"),
    ({"schedule": 0.5}, TypeError, "Trainer.load: argument 'schedule' must be a schedule"),
])
def test_bad_replacements_are_answered(path, keywords, kind, sentence):
    Trainer(net()).save(path)
    with pytest.raises(kind, match=rf"^fastnn\.{sentence}"):
        Trainer.load(path, **keywords)


def test_a_warmup_of_a_users_schedule_is_the_users_own(path):
    Trainer(net(), schedule=Warmup(3, OwnSchedule())).save(path)
    with pytest.raises(ValueError, match="'schedule' must be given again"):
        Trainer.load(path)


def test_a_state_that_cannot_be_written_is_answered(path):
    class Bad(OwnSchedule):
        def start(self):
            return {"a": np.ones(3)}

    with pytest.raises(TypeError, match=r"^fastnn.Trainer.save: argument 'schedule' must have a state that can be written"):
        Trainer(net(), schedule=Bad()).save(path)
    assert not path.exists()


# --- files that are none -------------------------------------------------------------------------------------------------------------


def saved(path):
    made = Trainer(net(), average=EMA(0.5), preprocessing=Standardizer().fit(X), schedule=ReduceOnPlateau(monitor="loss"))
    made.fit(X, Y, epochs=2, batch_size=20, callbacks=[Every(4, lambda trainer, record: trainer.save(path) or True)])
    return made


def fails(path, reason=""):
    sentence = rf"^fastnn\.Trainer\.load: argument 'path' must name a complete file written by save .*{reason}"
    with pytest.raises(ValueError, match=sentence) as caught:
        Trainer.load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_file_is_plain_numpy_and_json(path):
    saved(path)
    with np.load(path, allow_pickle=False) as arrays:
        names = {f"layers.{k}.{kind}{suffix}" for k in range(2) for kind in ("weight", "bias")
                 for suffix in ("", ".state.0", ".state.1", ".average")}
        assert set(arrays) == names | {"header"}
        header = json.loads(arrays["header"].tobytes())
    assert header["epoch_under_way"] == {"rows": 53, "batch": 20, "shuffle": True, "updates": 1}
    assert (header["steps"], header["epochs"]) == (4, 1)


def test_every_truncation_is_answered(path):
    saved(path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        fails(path)


def test_a_flipped_bit_is_answered_or_harmless(path):
    expected = bits(saved(path))
    content = bytearray(path.read_bytes())
    outcomes = set()
    for position in range(0, len(content), 13):
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        content[position] ^= 1 << position % 8
        try:
            loaded = Trainer.load(path)
        except ValueError as error:
            outcomes.add(str(error)[:36])
        else:
            assert bits(loaded) == expected
            outcomes.add("harmless")
    assert outcomes == {"fastnn.Trainer.load: argument 'path'"[:36], "harmless"}


def rewrite(path, header_changes, arrays=(), without=()):
    saved(path)
    with np.load(path) as file:
        content = {name: array for name, array in file.items() if name not in without}
    header = json.loads(content["header"].tobytes())
    for key, value in header_changes.items():
        part = header
        *parents, last = key.split(".")
        for parent in parents:
            part = part[parent]
        part[last] = value
    content["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    content.update(arrays)
    np.savez(path, **content)


def test_the_helper_below_leaves_a_good_file_good(path):
    rewrite(path, {})
    assert Trainer.load(path).steps == 4


@pytest.mark.parametrize("change", [
    {"format": "fastnn-mlp"}, {"version": 2}, {"model": None}, {"optimizer": {"name": "lion"}}, {"optimizer": None},
    {"optimizer.beta1": 3}, {"optimizer.name": "sgd"}, {"schedule": {"name": "object"}}, {"schedule.patience": -1}, {"schedule": 3},
    {"schedule_state": [1]}, {"seed": -1}, {"steps": -1}, {"steps": 1.5}, {"epochs": "many"}, {"average": 2.0}, {"average.decay": 2.0},
    {"average": {"decay": 0.5}}, {"average.updates": -1}, {"average.updates": 1.5}, {"options": {}},
    {"options.max_norm": 0}, {"preprocessing.mean": [0.0]}, {"to_be_fitted": "rows"}, {"to_be_fitted": 3},
    {"to_be_fitted": {"kind": "min_max", "low": 1, "high": 0}}, {"to_be_fitted": {"kind": "min_max", "mean": 0}},
    {"epoch_under_way.updates": 9},
    {"epoch_under_way.rows": "a"}, {"epoch_under_way": {"batch": 3}}, {"statistics": {"rows": 3, "more": 1}}, {"statistics": None},
    {"statistics.loss_sum": "a"},
], ids=str)
def test_headers_that_lie_are_answered(path, change):
    rewrite(path, change)
    fails(path)


@pytest.mark.parametrize(("name", "array"), [
    ("layers.0.weight.state.0", np.zeros((9, 6), np.float32)), ("layers.0.weight.state.1", np.zeros((6, 9))),
    ("layers.1.bias.average", np.zeros(4, np.float32)), ("layers.0.bias.state.0", np.zeros(10**5, np.float32)),
])
def test_arrays_that_do_not_fit_are_answered(path, name, array):
    rewrite(path, {}, {name: array})
    fails(path, name)


@pytest.mark.parametrize("name", ["layers.0.weight.state.0", "layers.1.bias.average", "layers.1.weight"])
def test_a_missing_array_is_answered(path, name):
    rewrite(path, {}, without=[name])
    fails(path, name)


def test_nets_and_checkpoints_are_told_apart(path):
    made = saved(path)
    with pytest.raises(ValueError, match="its header says format 'fastnn-trainer'"):
        MLP.load(path)
    made.net.save(path)
    fails(path, "its header says format 'fastnn-mlp'")


def test_an_average_that_began_as_the_initial_weights_is_answered(path):
    rewrite(path, {"average": 0.5})
    fails(path, "its running average began as the initial weights")


def test_how_many_updates_were_averaged_is_kept(path):
    made = Trainer(net(), average=EMA(0.75))
    made.steps = 20
    made.fit(X, Y, epochs=1, batch_size=20)
    made.save(path)
    assert [a.tobytes() for a in Trainer.load(path).averaged().parameters()] == [a.tobytes() for a in made.averaged().parameters()]


def test_a_missing_file_and_another_suffix_are_answered(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^fastnn.Trainer.load: argument 'path' must name a file"):
        Trainer.load(tmp_path / "a.npz")
    for call in (lambda: Trainer.load("a.safetensors"), lambda: Trainer(net()).save("a.pkl")):
        with pytest.raises(ValueError, match=r"'path' must name a format .*ending in .npz"):
            call()


def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    saved(path)
    content = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        Trainer(net()).save(path)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]
    assert zipfile.is_zipfile(path)


def test_early_stopping_begins_afresh_after_loading(path):
    made = Trainer(net())
    made.fit(X, Y, epochs=2, validation_data=(X, Y), early_stopping=EarlyStopping())
    made.save(path)
    assert len(Trainer.load(path).fit(X, Y, epochs=2, validation_data=(X, Y), early_stopping=EarlyStopping(patience=1))) >= 1
