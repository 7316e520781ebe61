"""Snapshots hold what the net was at the moment they were taken, in memory and in files."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import EMA, MLP, Adam, EarlyStopping, Every, Snapshots, Standardizer, Trainer

RNG = np.random.default_rng(17)
X = RNG.normal(size=(60, 5)).astype(np.float32) * 2 + 1
Y = (X @ RNG.normal(size=(5, 3))).argmax(axis=1)


def trainer(**kwargs):
    return Trainer(MLP((5, 8, 3), seed=2), optimizer=Adam(0.01), preprocessing=Standardizer(), **kwargs)


def bits(net):
    return [array.tobytes() for array in net.parameters()]


def at_epochs(*wanted, averaged=False):
    """The nets of a run that is stopped after each of the wanted epochs, and what came before."""
    made, found = trainer(average=EMA(0.8)), []
    for epoch in range(1, max(wanted) + 1):
        made.fit(X, Y, epochs=1, batch_size=20)
        if epoch in wanted:
            found.append(bits(made.averaged() if averaged else made.net))
    return found


@pytest.mark.parametrize(("epochs", "wanted"), [(1, range(1, 8)), (3, (3, 6)), ((2, 7), (2, 7)), (range(4, 99), (4, 5, 6, 7))], ids=str)
def test_nets_of_the_chosen_epochs(epochs, wanted):
    snapshots = Snapshots(epochs)
    made = trainer(average=EMA(0.8))
    made.fit(X, Y, epochs=7, batch_size=20, callbacks=[snapshots])
    assert [bits(net) for net in snapshots] == at_epochs(*wanted)
    assert snapshots.steps == [3 * epoch for epoch in wanted]
    assert len(snapshots) == len(snapshots.kept) == len(wanted)
    for net in snapshots:
        assert net.preprocessing is made.net.preprocessing
        assert net.loss == made.loss


def test_epochs_are_those_of_the_trainer():
    made, snapshots = trainer(), Snapshots(4)
    for _ in range(3):
        made.fit(X, Y, epochs=3, batch_size=20, callbacks=[snapshots])
    assert snapshots.steps == [12, 24]


def test_averages_are_kept_on_request():
    snapshots = Snapshots((2, 3), average=True)
    trainer(average=EMA(0.8)).fit(X, Y, epochs=3, batch_size=20, callbacks=[snapshots])
    assert [bits(net) for net in snapshots] == at_epochs(2, 3, averaged=True)
    with pytest.raises(ValueError, match=r"Trainer\.averaged"):
        trainer().fit(X, Y, epochs=3, batch_size=20, callbacks=[snapshots])


def test_between_updates_every_call_counts():
    snapshots, seen = Snapshots(epochs=100), []
    trainer().fit(X, Y, epochs=4, batch_size=20,
                  callbacks=[Every(2, snapshots), Every(2, lambda trainer, record: seen.append(bits(trainer.net)))])
    assert snapshots.steps == [2, 4, 6, 8, 10, 12]
    assert [bits(net) for net in snapshots] == seen
    assert len({str(each) for each in seen}) == 6


def test_only_the_last_are_kept():
    snapshots = Snapshots(2, last=2)
    trainer().fit(X, Y, epochs=9, batch_size=20, callbacks=[snapshots])
    assert snapshots.steps == [18, 24]
    assert [bits(net) for net in snapshots] == at_epochs(6, 8)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    snapshots = Snapshots(2, folder=tmp_path / "a" / "run", suffix=suffix, last=2)
    trainer().fit(X, Y, epochs=6, batch_size=20, callbacks=[snapshots])
    names = [f"step-{steps:09d}{suffix}" for steps in (6, 12, 18)]
    assert sorted(path.name for path in (tmp_path / "a" / "run").iterdir()) == names
    assert [path.name for path in snapshots.kept] == names[1:]
    assert [bits(net) for net in snapshots] == at_epochs(4, 6)
    assert bits(MLP.load(tmp_path / "a" / "run" / names[0])) == at_epochs(2)[0]
    assert fastnn.load(tmp_path / "a" / "run" / names[1])[1] == {"steps": 12, "epochs": 4}


def test_what_was_kept_outlives_an_interrupt_and_early_stopping(tmp_path):
    def stop(trainer, record):
        raise KeyboardInterrupt

    snapshots = Snapshots(1)
    with pytest.raises(KeyboardInterrupt):
        trainer().fit(X, Y, epochs=9, batch_size=20, callbacks=[snapshots, Every(8, stop)])
    assert [bits(net) for net in snapshots] == at_epochs(1, 2)
    snapshots = Snapshots(1)
    history = trainer().fit(X, Y, epochs=9, batch_size=20, callbacks=[snapshots],
                            early_stopping=EarlyStopping(1, monitor="loss", min_delta=10.0))
    assert len(snapshots) == len(history) == 2


def test_they_print():
    assert repr(Snapshots((5, 3))) == "<0 Snapshots, epochs=[3, 5]>"
    assert repr(Snapshots()) == "<0 Snapshots, epochs=1>"


@pytest.mark.parametrize(("wrong", "sentence"), [
    ({"epochs": 0}, "'epochs' must be in range"), ({"epochs": 1.5}, "'epochs' must be an integer"), ({"epochs": "3"}, "'epochs'"),
    ({"epochs": ()}, "'epochs' must name an epoch"), ({"epochs": (3, 0)}, "'epochs' must be in range"), ({"last": 0}, "'last'"),
    ({"suffix": ".pt"}, "'suffix' must name a format"), ({"folder": 3}, "'folder' must be a path"),
], ids=str)
def test_wrong_settings(wrong, sentence):
    with pytest.raises((TypeError, ValueError), match=rf"^fastnn\.Snapshots: argument {sentence}"):
        Snapshots(**wrong)
