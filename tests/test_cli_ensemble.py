"""`fastnn train --ensemble` and `--average`, and that `predict` and `info` read what they save."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

import fastnn
from fastnn import EMA, MLP, CosineDecay, Ensemble, StepDecay, Trainer, cli, cli_ensemble, cli_train, ensemble, table, tabular

QUICK = ["--hidden", "16", "--keep-prob", "1"]


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def prepared(seed=0):
    return tabular.prepare(cli_train.digits(), "digit", seed=seed)


def bits(networks):
    return [array.tobytes() for net in networks for array in net.parameters()]


@pytest.fixture
def prices(tmp_path):
    rng = np.random.default_rng(1)
    a, b = rng.uniform(-2, 2, 400), rng.uniform(-2, 2, 400)
    path = tmp_path / "prices.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b", "price"), *np.stack([a, b, 3e5 + 5e4 * a * b], axis=1).tolist()])
    return path


def val_loss(networks, data):
    """Of the mean probabilities, by hand."""
    x, y = data.validation
    mean = np.mean([net.predict_proba(x).astype(np.float64) for net in networks], axis=0)
    return -np.log(mean[np.arange(len(y)), y]).mean()


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_the_saved_ensemble_is_that_of_the_best_epoch(capsys, tmp_path, average, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"e{suffix}"
    options = ["--ensemble", 3, "--epochs", 4, "--seed", 7, "--schedule", "step:0.5:2", "--optimizer", "momentum", "--learning-rate", 0.3]
    options += [] if average is None else ["--average", average]
    status, out, err = run(capsys, "train", *QUICK, *options, "--out", path)
    assert status == 0
    assert err.count("epoch ") == 4
    data = prepared(7)
    trainers = [Trainer(MLP((64, 16, 10), seed=seed), optimizer=fastnn.Momentum(0.3), schedule=StepDecay(0.5, 2),
                        average=None if average is None else EMA(average)) for seed in (7, 8, 9)]  # fmt: skip
    epochs = []
    for _ in range(4):
        for trainer in trainers:
            trainer.fit(*data.train, epochs=1, batch_size=32)
        epochs.append([trainer.net.astype("float32") if average is None else trainer.averaged() for trainer in trainers])
    losses = [val_loss(networks, data) for networks in epochs]
    best = int(np.argmin(losses))
    together, metadata = ensemble.load(path)
    assert bits(together) == bits(epochs[best])
    assert set(metadata) == {"features", "target"}
    assert f"4 epochs, the {'weights' if average is None else 'averages'} are those of epoch {best + 1};" in out
    assert "3 networks with seeds 7 to 9, each as MLP((64, 16, 10)" in out
    assert out.rstrip().endswith(f"saved in {path}")
    x, y = data.test
    accuracy = [np.mean(net.predict(x) == y) for net in together]
    mean = np.mean([net.predict_proba(x) for net in together], axis=0).argmax(axis=1)
    assert (f"test accuracy of one network {min(accuracy):.2%} to {max(accuracy):.2%}, mean {np.mean(accuracy):.2%}; "
            f"of all 3 together {np.mean(mean == y):.2%}; two of them disagree on ") in out  # fmt: skip
    assert re.search(rf"^test +297 +[\d.]+ +{np.mean(mean == y):.2%}$", out, re.MULTILINE)


def test_one_average_is_a_network(capsys, tmp_path):
    path = tmp_path / "a.npz"
    status, out, _ = run(capsys, "train", *QUICK, "--average", 0.99, "--epochs", 3, "--out", path, "--history", tmp_path / "h.json")
    assert status == 0
    assert len(fastnn.History.load(tmp_path / "h.json")) == 3
    assert "EMA(decay=0.99)" in out
    assert "of one network" not in out
    data = prepared()
    trainer = Trainer(MLP((64, 16, 10)), schedule=CosineDecay(3), average=EMA(0.99))
    epochs = []
    for _ in range(3):
        trainer.fit(*data.train, epochs=1, batch_size=32)
        epochs.append([trainer.averaged()])
    best = int(np.argmin([val_loss(networks, data) for networks in epochs]))
    assert bits([MLP.load(path)]) == bits(epochs[best])


def test_patience_ends_the_training(capsys):
    status, out, _ = run(capsys, "train", "--hidden", "none", "--ensemble", 2, "--epochs", 300, "--schedule", "none", "--learning-rate",
                         "0.1")  # fmt: skip
    assert status == 0
    done, best = map(int, re.search(r"(\d+) epochs, the weights are those of epoch (\d+);", out).groups())
    assert done == best + 75 < 300


def test_a_regression_says_the_error_in_the_units_of_the_target(capsys, prices, tmp_path):
    path = tmp_path / "e.npz"
    status, out, _ = run(capsys, "train", prices, "--target", "price", *QUICK, "--ensemble", 3, "--epochs", 20, "--out", path)
    assert status == 0
    together, _, target = tabular.load(path)
    data = tabular.prepare(table.read(prices), "price")
    x, y = data.test
    errors = [np.sqrt(np.mean(np.square(target.decode(net.predict(x)) - target.decode(y)))) for net in together]
    mean = np.mean([target.decode(net.predict(x)) for net in together], axis=0)
    reached = np.sqrt(np.mean(np.square(mean - target.decode(y))))
    said = re.search(r"test RMSE of one network (\S+) to (\S+), mean (\S+); of all 3 together (\S+)$", out, re.MULTILINE).groups()
    assert [float(value) for value in said] == pytest.approx([min(errors), max(errors), np.mean(errors), reached], rel=1e-3)
    assert reached < np.mean(errors)


@pytest.mark.parametrize("options", [(), ("--average", 0.9)], ids=["ensemble", "of averages"])
def test_predict_and_info_read_it(capsys, prices, tmp_path, options):
    path, out_path = tmp_path / "e.npz", tmp_path / "p.csv"
    run(capsys, "train", prices, "--target", "price", *QUICK, "--ensemble", 2, "--epochs", 2, "--out", path, *options)
    assert run(capsys, "predict", path, prices, "--out", out_path)[0] == 0
    together, features, target = tabular.load(path)
    assert isinstance(together, Ensemble)
    expected = np.mean([target.decode(net.predict(features.encode(table.read(prices)))) for net in together], axis=0)
    with out_path.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["predicted price"]) for row in rows] == pytest.approx(expected, rel=1e-6)
    status, out, _ = run(capsys, "info", path)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["member", "1", "2", "total", "regression"]


def test_predicted_classes_have_the_mean_probability(capsys, tmp_path):
    path, data = tmp_path / "e.npz", tmp_path / "x.npz"
    x, y = fastnn.datasets.load_digits()
    np.savez(data, x=x[:400], y=y[:400])
    assert run(capsys, "train", data, *QUICK, "--ensemble", 2, "--epochs", 2, "--out", path)[0] == 0
    status, out, _ = run(capsys, "predict", path, data)
    assert status == 0
    together, features, _ = tabular.load(path)
    mean = np.mean([net.predict_proba(features.encode(table.read(str(data)))) for net in together], axis=0)
    rows = list(csv.reader(out.splitlines()))[1:]
    assert [int(row[0]) for row in rows] == mean.argmax(axis=1).tolist()
    assert [float(row[1]) for row in rows] == pytest.approx(mean.max(axis=1), abs=2e-6)


@pytest.mark.parametrize("options", [("--ensemble", 2), ("--average", 0.9), ("--ensemble", 2, "--average", 0.9)], ids=str)
def test_ctrl_c_saves_the_best_so_far(capsys, tmp_path, monkeypatch, options):
    path, complete = tmp_path / "e.npz", tmp_path / "c.npz"
    original = cli_ensemble.Best.__call__

    def interrupted(self, trainers):
        done = original(self, trainers)
        if self.done == 3:
            raise KeyboardInterrupt
        return done

    constant = ["train", *QUICK, *options, "--schedule", "none"]
    run(capsys, *constant, "--epochs", 3, "--out", complete)
    monkeypatch.setattr(cli_ensemble.Best, "__call__", interrupted)
    history = [] if "--ensemble" in options else ["--history", tmp_path / "h.json"]
    status, _, err = run(capsys, *constant, "--epochs", 9, "--out", path, *history)
    assert status == 130
    assert not history or len(fastnn.History.load(history[1])) == 3
    assert re.search(rf"interrupted after epoch 3; what was best on the validation rows, of epoch \d, is saved in {path}$", err.strip())
    assert ensemble.load_any(path)[0].forward(np.ones((1, 64))).tobytes() == ensemble.load_any(complete)[0].forward(
        np.ones((1, 64))).tobytes()  # fmt: skip
    assert tabular.load(str(path))[2].name == "digit"
    assert run(capsys, *constant, "--epochs", 9)[2].strip().endswith("nothing was saved, because --out was not given")


def test_ctrl_c_before_the_first_epoch(capsys, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_ensemble, "fit_many", interrupted)
    status, _, err = run(capsys, "train", "--ensemble", 2, "--out", tmp_path / "e.npz")
    assert status == 130
    assert "interrupted before the first epoch was complete; nothing was saved" in err
    assert list(tmp_path.iterdir()) == []


def test_networks_that_diverge(capsys, monkeypatch):
    original = cli_train.build

    def build(arguments, data):
        net, optimizer, loss = original(arguments, data)
        for layer in net.layers:
            layer.weight[...] *= 1e30 if arguments.seed in diverging else 1.0
        return net, optimizer, loss

    monkeypatch.setattr(cli_train, "build", build)
    diverging = {1}
    with np.errstate(over="ignore", invalid="ignore"):
        status, out, _ = run(capsys, "train", *QUICK, "--ensemble", 3, "--epochs", 2)
        assert status == 0
        assert "1 of the 3 networks diverged and are left out" in out
        assert "of all 2 together" in out
        diverging = {0, 1}
        status, _, err = run(capsys, "train", *QUICK, "--ensemble", 2, "--epochs", 2)
    assert status == 2
    assert "every network diverged in its first epoch" in err


@pytest.mark.parametrize(("options", "sentence"), [
    (["--ensemble", "0"], "must be a whole number from 1 to 1000"), (["--ensemble", "many"], "must be a whole number"),
    (["--average", "1"], "'decay' must be finite and in range"), (["--average", "a"], "invalid float"),
    (["--ensemble", "2", "--out", "e.pkl"], ".npz or .safetensors"), (["--average", "0.9", "--schedule", "steps"], "schedule"),
    (["--ensemble", "2", "--history", "h.json"], "--history is the history of one network, and --ensemble trains several"),
])  # fmt: skip
def test_each_wrong_option_is_one_sentence(capsys, options, sentence):
    status, out, err = run(capsys, "train", *options)
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert "epoch 1" not in err + out
