"""Averages, gains and disagreement against values worked out here in NumPy, and files of any kind against sentences."""

from __future__ import annotations

import json
import signal
import threading
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import (
    EMA,
    L2,
    MLP,
    Adam,
    Ensemble,
    Every,
    Hinge,
    LogUniform,
    Momentum,
    RandomSearch,
    Snapshots,
    SoftmaxCrossEntropy,
    Stage,
    Standardizer,
    Trainer,
    ensemble,
)

RNG = np.random.default_rng(23)
X = RNG.normal(size=(90, 6)).astype(np.float32) * 2 + 1
LABELS = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)
REAL = (X @ RNG.normal(size=(6, 3))).astype(np.float32)


def nets(count=3, loss=None, dtype="float32", scale=1.0):
    made = [MLP((6, 8 + k, 3), seed=k, dtype=dtype) for k in range(count)]
    for net in made:
        net.loss = SoftmaxCrossEntropy() if loss is None else loss
        net.layers[-1].weight[...] *= scale
    return made


def bits(networks):
    return [array.tobytes() for net in networks for array in net.parameters()]


def softmax(scores):
    e = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# --- what is averaged ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_are_averaged(dtype):
    members = nets(dtype=dtype)
    together = Ensemble(members)
    mean = np.mean([softmax(net.forward(X)) for net in members], axis=0)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    assert together.predict_proba(X) == pytest.approx(mean, abs=tolerance)
    assert softmax(together.forward(X)) == pytest.approx(mean, abs=tolerance)
    assert together.forward(X) == pytest.approx(np.log(mean), abs=10 * tolerance)
    assert np.array_equal(together.predict(X), mean.argmax(axis=1))
    assert together.predict_proba(X).dtype == together.forward(X).dtype == together.dtype == dtype
    assert together.predict(X).dtype == np.int64


def test_a_sure_member_does_not_outvote_by_its_scores():
    """Scores of 5, 0 and 0, 1 and 0, 1: the mean score is for the first class, the mean probability for the first, too, but by 0.5."""
    members = []
    for first, second in ((5.0, 0.0), (0.0, 1.0), (0.0, 1.0)):
        net = MLP((1, 2))
        net.layers[0].weight[...], net.layers[0].bias[...] = 0, (first, second)
        members.append(net)
    p = 1 / (1 + np.exp(-5.0)), 1 / (1 + np.e)
    assert Ensemble(members).predict_proba([[0.0]])[0, 0] == pytest.approx((p[0] + 2 * p[1]) / 3, abs=1e-6)
    members[0].layers[0].bias[0] = 3.0
    members[1].layers[0].bias[1] = members[2].layers[0].bias[1] = 1.4
    assert np.mean([net.forward([[0.0]])[0] for net in members], axis=0).argmax() == 0
    assert np.mean([net.predict_proba([[0.0]])[0] for net in members], axis=0).argmax() == 1 == Ensemble(members).predict([[0.0]])[0]


def test_probabilities_too_small_for_numbers_leave_scores():
    members = nets(2, scale=1e4)
    scores = [net.forward(X).astype(np.float64) for net in members]
    assert min(each.min() for each in scores) < -2000
    with np.errstate(divide="ignore"):
        assert np.isinf(np.log(np.mean([softmax(each) for each in scores], axis=0))).any()
    log_p = [each - np.logaddexp.reduce(each, axis=1)[:, None] for each in scores]
    assert Ensemble(members).forward(X) == pytest.approx(np.logaddexp(*log_p) - np.log(2), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("loss", [L2(), Hinge()], ids=repr)
def test_scores_are_averaged(loss):
    members = nets(loss=loss)
    together = Ensemble(members)
    mean = np.mean([net.forward(X).astype(np.float64) for net in members], axis=0)
    assert np.array_equal(together.forward(X), mean.astype(np.float32))
    expected = mean if loss == L2() else mean.argmax(axis=1)
    assert together.predict(X) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match=r"^fastnn.Ensemble.predict_proba: argument 'self.loss' must give probabilities"):
        together.predict_proba(X)


def test_members_keep_what_is_their_own():
    members = nets(2, dtype="float64")
    members[1].preprocessing = Standardizer().fit(X)
    expected = members[0].predict_proba(X), members[1].predict_proba(X)
    assert Ensemble(members).predict_proba(X) == pytest.approx(np.mean(expected, axis=0), rel=1e-14)
    together = Ensemble(iter(members))
    assert together.members == tuple(members) == tuple(together)
    assert len(together) == 2
    assert together.sizes == (6, 3)
    assert together.loss is members[0].loss
    assert repr(together) == "<Ensemble of 2: 6-8-3, 6-9-3>"
    lines = together.summary().splitlines()
    assert [line.split() for line in lines] == [
        ["member", "sizes", "activation", "parameters"], ["1", "6-8-3", "relu", "83"], ["2", "6-9-3", "relu", "93"],
        ["total", "float64", "176"]]  # fmt: skip


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(rows):
    together = Ensemble(nets())
    assert together.forward(X[:rows]).shape == together.predict_proba(X[:rows]).shape == (rows, 3)
    assert together.predict(X[:rows]).shape == (rows,)


def test_one_member_predicts_as_itself():
    (net,) = nets(1)
    assert Ensemble([net]).predict_proba(X) == pytest.approx(net.predict_proba(X), rel=1e-6)


def with_loss(loss):
    (net,) = nets(1, loss)
    return net


@pytest.mark.parametrize(("members", "kind", "sentence"), [
    ([], ValueError, "be networks .*at least one MLP"), (3, TypeError, "be networks"), ([1], TypeError, "be networks"),
    ([*nets(1), MLP((5, 3))], ValueError, "have the same .*expected 6 -> 3 float32, SoftmaxCrossEntropy.*got member 1: 5 -> 3 float32"),
    ([*nets(1), MLP((6, 4))], ValueError, "have the same"), ([*nets(1), *nets(1, dtype="float64")], ValueError, ".*dtype .*1:"),
    ([*nets(1), with_loss(L2())], ValueError, ".*loss .*member 1"), ([with_loss(Hinge(1.0)), with_loss(Hinge(2.0))], ValueError, ".*loss"),
])  # fmt: skip
def test_members_that_do_not_go_together(members, kind, sentence):
    with pytest.raises(kind, match=rf"^fastnn\.Ensemble: argument 'members' must {sentence}"):
        Ensemble(members)


def test_without_a_loss_there_are_scores_but_no_predictions():
    together = Ensemble(nets(2))
    for net in together:
        net.loss = None
    assert together.forward(X).shape == (90, 3)
    with pytest.raises(ValueError, match=r"^fastnn.Ensemble.predict: argument 'self.loss' must be set"):
        together.predict(X)


# --- different initialisations -------------------------------------------------------------------------------------------------------


def test_members_are_trained_as_they_would_be_alone():
    together = Ensemble.from_seeds((6, 12, 3), X, LABELS, members=3, optimizer=Adam(0.01), epochs=4, batch_size=16)
    alone = [MLP((6, 12, 3), seed=seed) for seed in range(3)]
    for net in alone:
        net.fit(X, LABELS, optimizer=Adam(0.01), epochs=4, batch_size=16)
    assert bits(together) == bits(alone)
    assert [len(history) for history in together.histories] == [4, 4, 4]


def test_seeds_networks_and_settings_are_ones_own():
    def build(seed):
        return MLP((6, 10 + seed, 3), seed=seed, keep_prob=0.9, activation="tanh")

    settings = {"loss": "l2", "optimizer": Momentum(0.01), "preprocessing": Standardizer(), "schedule": fastnn.StepDecay(0.5, 1)}
    rows = [np.arange(50), np.arange(40, 90)]
    together = Ensemble.from_seeds(build, X, REAL, seeds=(4, 2), rows=rows, epochs=3, batch_size=20, **settings)
    alone = [build(seed) for seed in (4, 2)]
    for net, own in zip(alone, rows):
        net.fit(X[own], REAL[own], epochs=3, batch_size=20, **settings)
    assert bits(together) == bits(alone)
    assert np.array_equal(together.members[0].preprocessing.shift, Standardizer().fit(X[:50]).shift)
    assert together.loss == L2()


def test_members_may_be_running_averages():
    together = Ensemble.from_seeds((6, 12, 3), X, LABELS, members=2, average=EMA(0.9), epochs=3, batch_size=16)
    alone = [MLP((6, 12, 3), seed=seed) for seed in range(2)]
    for net in alone:
        net.fit(X, LABELS, epochs=3, batch_size=16, average=EMA(0.9))
    assert bits(together) == bits(net.averaged for net in alone) != bits(alone)


def test_prepared_trainers_bring_their_own():
    made = []

    def build(seed):
        made.append(Trainer(MLP((6, 3), seed=seed), "hinge", Momentum(0.1)))
        return made[-1]

    together = Ensemble.from_seeds(build, X, LABELS, members=2, epochs=1)
    assert together.members == tuple(trainer.net for trainer in made)
    assert together.loss == Hinge()


def test_callbacks_see_all_trainers_and_end_the_training():
    seen = []
    together = Ensemble.from_seeds((6, 3), X, LABELS, members=2, epochs=9,
                                   callbacks=[lambda trainers: seen.append([t.history[-1]["epoch"] for t in trainers]) or len(seen) == 3])
    assert seen == [[1, 1], [2, 2], [3, 3]]
    assert [history.stopped for history in together.histories] == ["callback", "callback"]


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_the_members_of_the_last_complete_epoch():
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        Ensemble.from_seeds((6, 12, 3), X, LABELS, members=3, epochs=10**6, batch_size=16)
    assert isinstance(caught.value, ensemble.Interrupted)
    together = caught.value.ensemble
    epochs = len(together.histories[0])
    assert f"interrupted after epoch {epochs}," in str(caught.value)
    assert epochs > 0
    assert bits(together) == bits(Ensemble.from_seeds((6, 12, 3), X, LABELS, members=3, epochs=epochs, batch_size=16))
    assert together.predict(X).shape == (90,)


@pytest.mark.parametrize("average", [None, EMA(0.5)])
def test_an_interrupt_within_an_epoch_goes_back_to_its_beginning(average):
    def interrupt(trainers):
        if len(trainers[0].history) == 3:
            for trainer in trainers:
                trainer.step(X, LABELS)
            raise KeyboardInterrupt

    settings = {"members": 2, "batch_size": 16, "average": average}
    with pytest.raises(ensemble.Interrupted) as caught:
        Ensemble.from_seeds((6, 12, 3), X, LABELS, epochs=9, callbacks=[interrupt], **settings)
    assert bits(caught.value.ensemble) == bits(Ensemble.from_seeds((6, 12, 3), X, LABELS, epochs=3, **settings))
    assert [len(history) for history in caught.value.ensemble.histories] == [3, 3]


def test_an_interrupt_while_an_epoch_is_recorded_leaves_it_out():
    def build(seed):
        def observe(record):
            if record["epoch"] == 3 and seed == 1:
                raise KeyboardInterrupt

        trainer = Trainer(MLP((6, 12, 3), seed=seed))
        trainer.observe = observe
        return trainer

    with pytest.raises(ensemble.Interrupted) as caught:
        Ensemble.from_seeds(build, X, LABELS, members=2, epochs=9)
    assert bits(caught.value.ensemble) == bits(Ensemble.from_seeds((6, 12, 3), X, LABELS, members=2, epochs=2))
    assert [len(history) for history in caught.value.ensemble.histories] == [2, 2]


def test_ctrl_c_before_anything_was_complete():
    def build(seed):
        made = MLP((6, 3), seed=seed)
        made.loss = SoftmaxCrossEntropy()
        return Trainer(made, loss=Stopping())

    class Stopping(SoftmaxCrossEntropy):
        def value_and_gradient(self, scores, y, sample_weight=None):
            raise KeyboardInterrupt

    with pytest.raises(ensemble.Interrupted, match="before the first epoch") as caught:
        Ensemble.from_seeds(build, X, LABELS, members=2, epochs=2)
    assert caught.value.ensemble is None


def test_a_member_that_diverges_is_left_out():
    def build(rates):
        return lambda seed: Trainer(MLP((6, 8, 3), seed=seed), optimizer=Momentum(rates[seed]))

    with pytest.warns(RuntimeWarning, match="members that diverged are left out: 1$") as caught:
        together = Ensemble.from_seeds(build([1e-3, 1e30, 1e-3]), X * 1e3, LABELS, members=3, epochs=3)
    assert caught[0].filename == __file__
    assert [net.seed for net in together] == [0, 2]
    assert [history.stopped for history in together.histories] == ["epochs", "epochs"]
    with pytest.raises(FloatingPointError, match="every member diverged"):
        Ensemble.from_seeds(build([1e30, 1e30]), X * 1e3, LABELS, members=2, epochs=3)


@pytest.mark.parametrize(("wrong", "match"), [
    ({"members": 0}, "'members' must be in range"), ({"seeds": ()}, "'seeds' must differ"), ({"seeds": (1, 1)}, "'seeds' must differ"),
    ({"seeds": 3}, "'seeds' must be a sequence"), ({"seeds": (-1,)}, "'seeds'"), ({"network": lambda seed: None}, "'network'"),
    ({"network": (6,)}, "'sizes'"), ({"epochs": 0}, "'epochs'"), ({"x": X[:, :3]}, "'x'"), ({"average": 0.9}, "'average'"),
    ({"callbacks": [3]}, "'callbacks'"),
])  # fmt: skip
def test_wrong_arguments_of_from_seeds(wrong, match):
    with pytest.raises((TypeError, ValueError), match=match):
        Ensemble.from_seeds(**{"network": (6, 3), "x": X, "y": LABELS, "epochs": 1, **wrong})


# --- checkpoints of one run, top models of a search --------------------------------------------------------------------------------


def test_snapshots_and_files_and_nets(tmp_path):
    trainer, snapshots, written = Trainer(MLP((6, 9, 3))), Snapshots(2), Snapshots(2, folder=tmp_path / "run")
    save = [lambda trainer, record: trainer.save(tmp_path / f"{record['epoch']}.npz")]
    trainer.fit(X, LABELS, epochs=6, callbacks=[snapshots, written, *save])
    expected = bits(snapshots)
    assert len(snapshots) == 3
    assert bits(Ensemble.from_checkpoints(snapshots)) == expected
    assert bits(Ensemble.from_checkpoints(written)) == expected
    assert bits(Ensemble.from_checkpoints(written.kept)) == expected
    checkpoints = [str(tmp_path / f"{epoch}.npz") for epoch in (2, 4, 6)]
    assert bits(Ensemble.from_checkpoints(checkpoints)) == expected
    assert bits(Ensemble.from_checkpoints([snapshots.kept[0], checkpoints[1], written.kept[2]])) == expected


def test_preprocessing_and_loss_come_from_the_checkpoint(tmp_path):
    trainer = Trainer(MLP((6, 3)), "l2", preprocessing=Standardizer())
    trainer.fit(X, REAL, epochs=1)
    trainer.save(tmp_path / "a.npz")
    together = Ensemble.from_checkpoints([tmp_path / "a.npz", trainer.net])
    assert together.loss == L2()
    assert together.predict(X) == pytest.approx(trainer.net.predict(X), rel=1e-6)


def test_a_checkpoint_of_another_shape(tmp_path):
    Trainer(MLP((6, 9, 3))).save(tmp_path / "a.npz")
    MLP((6, 4)).save(tmp_path / "b.npz")
    before = (tmp_path / "b.npz").read_bytes()
    with pytest.raises(ValueError, match=r"^fastnn.Ensemble.from_checkpoints: argument 'members' must have the same .*b\.npz': 6 -> 4 "):
        Ensemble.from_checkpoints([tmp_path / "a.npz", tmp_path / "b.npz"])
    assert (tmp_path / "b.npz").read_bytes() == before
    (tmp_path / "b.npz").write_bytes(before[:-20])
    with pytest.raises(ValueError, match=r"^fastnn.Ensemble.from_checkpoints: argument 'path' must name a complete file .*b\.npz'"):
        Ensemble.from_checkpoints([tmp_path / "a.npz", tmp_path / "b.npz"])
    with pytest.raises(FileNotFoundError, match=r"from_checkpoints: argument 'path' must name a file"):
        Ensemble.from_checkpoints([tmp_path / "c.npz"])
    Ensemble(nets()).save(tmp_path / "e.npz")
    with pytest.raises(ValueError, match=r"which fastnn\.Ensemble\.load reads"):
        Ensemble.from_checkpoints([tmp_path / "e.npz"])


@pytest.mark.parametrize("sources", ["a.npz", 3, [], [3], Snapshots()], ids=str)
def test_no_checkpoints(sources):
    with pytest.raises((TypeError, ValueError), match=r"^fastnn\.Ensemble\.from_checkpoints: argument '(sources|members)' must be "):
        Ensemble.from_checkpoints(sources)


def test_top_networks_of_a_search():
    def build(learning_rate, seed):
        return Trainer(MLP((6, 8, 3), seed=seed), optimizer=Adam(learning_rate))

    search = RandomSearch(build, {"learning_rate": LogUniform(1e-5, 1e-1)}, [Stage(4)], seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastnn.BorderWarning)
        result = search.run(X[:60], LABELS[:60], validation_data=(X[60:], LABELS[60:]), batch_size=20, keep_networks=3)
    assert bits(Ensemble.from_search(result, 3)) == bits(result.networks(3))
    assert bits(Ensemble.from_search(result)) == bits(result.networks(4))
    report = Ensemble.from_search(result, 3).report(X[60:], LABELS[60:])
    assert [member["accuracy"] for member in report.members] == pytest.approx([trial.score for trial in result.top(3)], rel=1e-12)
    for other in (nets(), 3):
        with pytest.raises(TypeError, match=r"^fastnn\.Ensemble\.from_search: argument 'result' must be of a search"):
            Ensemble.from_search(other)
    with pytest.raises(ValueError, match="'k' must be in range"):
        Ensemble.from_search(result, 0)


def test_top_networks_that_do_not_go_together():
    class Result:
        def networks(self, k):
            return [*nets(1), MLP((6, 3), dtype="float64")][:k]

    assert len(Ensemble.from_search(Result(), 1)) == 1
    with pytest.raises(ValueError, match=r"^fastnn\.Ensemble\.from_search: argument 'members' must have the same"):
        Ensemble.from_search(Result())


# --- one file ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[".npz", ".safetensors"])
def path(request, tmp_path):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return tmp_path / f"together{request.param}"


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), Hinge(0.5), L2()], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(path, loss, dtype):
    members = nets(3, loss, dtype)
    members[1].preprocessing = Standardizer().fit(X)
    made = Ensemble(members)
    made.save(path, {"classes": ["a", "é"]})
    loaded, metadata = ensemble.load(path)
    assert metadata == {"classes": ["a", "é"]}
    assert bits(loaded) == bits(made)
    assert [repr(net) for net in loaded] == [repr(net) for net in made]
    assert [repr(net.preprocessing) for net in loaded] == ["None", "Standardizer(axis='feature', divide=True)", "None"]
    assert loaded.loss == loss
    assert loaded.histories == ()
    assert np.array_equal(Ensemble.load(str(path)).forward(X), made.forward(X))
    assert ensemble.load_any(path)[0].forward(X).tobytes() == made.forward(X).tobytes()
    members[0].save(path, {"a": 1})
    net, metadata = ensemble.load_any(path)
    assert bits([net]) == bits(members[:1])
    assert metadata == {"a": 1}


def fails(call, reason):
    sentence = rf"^fastnn\.[\w.]+: argument 'path' must name a complete file written by save .*{reason}"
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


def test_files_of_other_kinds_are_told_apart(tmp_path):
    path = tmp_path / "a.npz"
    Ensemble(nets()).save(path)
    fails(lambda: MLP.load(path), r"format 'fastnn-ensemble', version 1, which fastnn\.Ensemble\.load reads")
    fails(lambda: Trainer.load(path), r"which fastnn\.Ensemble\.load reads")
    MLP((6, 3)).save(path)
    fails(lambda: Ensemble.load(path), r"which fastnn\.load reads")
    Trainer(MLP((6, 3))).save(path)
    fails(lambda: Ensemble.load(path), r"which fastnn\.Trainer\.load reads")
    fails(lambda: ensemble.load_any(path), r"which fastnn\.Trainer\.load reads")


def test_every_truncation_is_answered(path):
    Ensemble(nets()).save(path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        fails(lambda: Ensemble.load(path), "")
        fails(lambda: ensemble.load_any(path), "")


def rewrite(path, change, without=()):
    Ensemble(nets()).save(path)
    with np.load(path) as file:
        content = {name: array for name, array in file.items() if name not in without}
    header = json.loads(content["header"].tobytes())
    change(header)
    content["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **content)


@pytest.mark.parametrize("change", [
    lambda header: header.update(version=2), lambda header: header.update(members=[]), lambda header: header.update(members=3),
    lambda header: header.update(metadata=[]), lambda header: header["members"].reverse(), lambda header: header.pop("members"),
    lambda header: header["members"].append(header["members"][0]), lambda header: header["members"][1].update(loss={"name": "l2"}),
    lambda header: header["members"][1]["model"].update(sizes=[6, 3]), lambda header: header["members"].insert(0, None),
])  # fmt: skip
def test_headers_that_lie_are_answered(tmp_path, change):
    path = tmp_path / "a.npz"
    rewrite(path, lambda header: None)
    assert len(Ensemble.load(path)) == 3
    rewrite(path, change)
    fails(lambda: Ensemble.load(path), "")


def test_a_missing_array_and_a_missing_file(tmp_path):
    path = tmp_path / "a.npz"
    rewrite(path, lambda header: None, without=["members.2.layers.1.bias"])
    fails(lambda: Ensemble.load(path), "members.2.layers.1.bias")
    for read in (Ensemble.load, ensemble.load_any):
        with pytest.raises(FileNotFoundError, match="argument 'path' must name a file"):
            read(tmp_path / "b.npz")


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "a.npz"
    made = Ensemble(nets())
    made.save(path)
    before = path.read_bytes()
    for metadata, kind, sentence in ((np.zeros(3), TypeError, "be JSON-able"), ("x" * 2**24, ValueError, "fit a header")):
        with pytest.raises(kind, match=rf"^fastnn\.Ensemble\.save: argument 'metadata' must {sentence}"):
            made.save(path, {"a": metadata})
    with pytest.raises(ValueError, match=r"^fastnn\.Ensemble\.save: argument 'path' must name a format"):
        made.save(tmp_path / "a.pkl")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_every_snapshot_of_an_interrupted_run_is_usable(tmp_path):
    def stop(trainer, record):
        raise KeyboardInterrupt

    snapshots = Snapshots(folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        MLP((6, 3)).fit(X, LABELS, epochs=9, batch_size=30, callbacks=[snapshots, Every(7, stop)])
    assert len(Ensemble.from_checkpoints(snapshots)) == 2
