"""The command line: what it reaches, what it says, and one sentence with status 2 for everything a user can get wrong."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastnn import MLP, Bins, CosineDecay, ReduceOnPlateau, StepDecay, Warmup, cli, cli_train, io, losses, table, tabular
from fastnn.datasets import load_digits
from fastnn.schedules import Schedule

QUICK = ["--keep-prob", "1", "--epochs", "12"]


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys, *arguments):
    """The sentence of a command that must end with status 2 and say nothing else."""
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert re.match(r"fastnn( \w+)?: ", err)
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def figures(out, row):
    """The numbers in the line of the final table that starts with `row`."""
    line = next(line for line in out.splitlines() if line.startswith(row + "  "))
    return [float(text) for text in re.findall(r"-?[\d.]+", line[len(row):].replace(",", ""))]


@pytest.fixture
def prices(tmp_path):
    """A table whose price is a product of two columns and an offset by text: no linear model fits it."""
    rng = np.random.default_rng(1)
    n = 1200
    a, b = rng.uniform(-2, 2, n), rng.uniform(-2, 2, n)
    town = rng.choice(["north", "south"], n)
    price = 3e5 + 5e4 * a * b + 1e5 * (town == "north") + rng.normal(0, 2e3, n)
    path = tmp_path / "prices.csv"
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["a", "b", "town", "id", "price"])
        for k in range(n):
            lines.writerow(["" if k % 50 == 0 else f"{a[k]:.6f}", f"{b[k]:.6f}", town[k], f"r{k}", f"{price[k]:.2f}"])
    return path


def test_digits_reach_97_percent_and_beat_a_linear_model(capsys):
    status, out, err = run(capsys, "train", *QUICK)
    assert status == 0
    assert "epoch 12/12" in err
    accuracy = figures(out, "test")[2]
    assert accuracy >= 97.0
    assert figures(out, "train")[2] >= accuracy
    assert re.search(r"12 epochs, the weights are those of epoch \d+; [\d.]+ s, [\d,]+ samples/s", out)
    status, out, _ = run(capsys, "train", "--hidden", "none", "--learning-rate", "0.01", "--epochs", "12")
    assert status == 0
    assert 90.0 <= figures(out, "test")[2] < accuracy


def test_the_test_digits_stay_the_same_whatever_the_seed(capsys):
    zero, again, one = (tabular.prepare(cli_train.digits(), "digit", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(zero.test[1], one.test[1])
    np.testing.assert_array_equal(zero.train[0], again.train[0])
    assert not np.array_equal(zero.train[1], one.train[1])
    lines = [run(capsys, "train", "--epochs", "1", "--hidden", "none", "--seed", seed)[1] for seed in (0, 0, 1)]
    rows = [figures(out, "train") for out in lines]
    assert rows[0] == rows[1] != rows[2]
    split = [figures(out, "test, most frequent class") for out in lines]  # depends on the training labels, not on the net
    assert split[0] == split[1] != split[2]


def test_the_seed_splits_a_table(capsys, prices):
    outs = [run(capsys, "train", prices, "--target", "price", "--epochs", "1", "--seed", seed)[1] for seed in (0, 0, 1)]
    split = [figures(out, "test, training median") for out in outs]
    assert split[0] == split[1] != split[2]


def test_regression_beats_least_squares_in_the_units_of_the_target(capsys, prices, tmp_path):
    net, predictions = tmp_path / "net.npz", tmp_path / "predictions.csv"
    status, out, _ = run(capsys, "train", prices, "--target", "price", "--out", net, "--epochs", "30")
    assert status == 0
    for said in ("a: 20 missing values", "town: text, one input for each of 2 categories", "id: dropped, text with", "in units of price"):
        assert said.replace("20", "") in re.sub(r"\b\d\d? missing", " missing", out)
    rows, mae, rmse, r2 = figures(out, "test")
    _, _, linear_rmse, linear_r2 = figures(out, "test, least squares")
    _, median_mae, median_rmse, _ = figures(out, "test, training median")
    assert rows == 180
    assert mae < rmse < 0.4 * linear_rmse < linear_rmse < median_rmse
    assert r2 > 0.95 > linear_r2
    assert median_mae > 3e4

    status, out, _ = run(capsys, "predict", net, prices, "--out", predictions)
    assert (status, out) == (0, "")
    with predictions.open(newline="") as file:
        predicted = np.array([float(line["predicted price"]) for line in csv.DictReader(file)])
    with prices.open(newline="") as file:
        price = np.array([float(line["price"]) for line in csv.DictReader(file)])
    assert np.sqrt(np.mean((predicted - price) ** 2)) < 1.5 * rmse


def test_an_amount_over_bins_has_intervals(capsys, prices, tmp_path):
    net, predictions = tmp_path / "net.npz", tmp_path / "predictions.csv"
    status, out, _ = run(capsys, "train", prices, "--target", "price", "--bins", "uniform:30", "--out", net, "--epochs", "30",
                         "--hidden", "64", "--optimizer", "adam", "--learning-rate", "0.005")
    assert status == 0
    assert re.search(r"^price: 30 uniform bins from \d+", out, re.MULTILINE)
    assert "MLP((4, 64, 30)" in out
    rows, _, rmse, r2, covered, width = figures(out, "test")
    assert rows == 180
    assert r2 > 0.9 > figures(out, "test, least squares")[3]
    assert 70.0 <= covered <= 100.0
    status, out, _ = run(capsys, "predict", net, prices, "--out", predictions)
    assert (status, out) == (0, "")
    with predictions.open(newline="") as file:
        predicted, low, high = np.array([[float(cell) for cell in line.values()] for line in csv.DictReader(file)]).T
    with prices.open(newline="") as file:
        price = np.array([float(line["price"]) for line in csv.DictReader(file)])
    assert np.sqrt(np.mean((predicted - price) ** 2)) < 1.5 * rmse
    assert 0.7 < np.mean((low <= price) & (price <= high)) <= 1
    assert np.mean(high - low) == pytest.approx(width, rel=0.1)
    assert "binned regression of price" in run(capsys, "info", net)[1]
    out = run(capsys, "train", prices, "--target", "price", "--bins", "12", "--epochs", "1", "--hidden", "none")[1]
    assert "price: 12 quantile bins from" in out
    assert "MLP((4, 12)" in out


def test_networks_over_bins_are_averaged(capsys, prices, tmp_path):
    net = tmp_path / "net.npz"
    status, out, _ = run(capsys, "train", prices, "--target", "price", "--bins", "12", "--ensemble", "2", "--average", "0.9", "--epochs",
                         "3", "--hidden", "16", "--out", net)
    assert status == 0
    rmse = figures(out, "test")[2]
    alone = re.search(r"test RMSE of one network (\S+) to (\S+), mean (\S+); of all 2 together (\S+)", out)
    low, high, mean, together = map(float, alone.groups())
    assert low <= mean <= high
    assert together == pytest.approx(rmse, rel=1e-3)
    status, out, _ = run(capsys, "predict", net, prices)
    assert (status, out.splitlines()[0]) == (0, "predicted price,price 10 %,price 90 %")


def test_predict_names_classes_and_prints_without_out(capsys, tmp_path):
    x, y = load_digits()
    data, net = tmp_path / "data.npz", tmp_path / "net.npz"
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    np.savez(data, x=x, y=names[y])
    status, out, _ = run(capsys, "train", data, "--out", net, *QUICK)
    assert status == 0
    assert figures(out, "test")[2] > 94.0
    np.savez(data, x=x[:40])
    status, out, _ = run(capsys, "predict", net, data)
    lines = list(csv.DictReader(out.splitlines()))
    assert (status, len(lines)) == (0, 40)
    assert np.mean([line["predicted y"] == names[k] for line, k in zip(lines, y)]) > 0.94
    assert all(0.1 <= float(line["probability"]) <= 1.0 for line in lines)


def test_arguments_reach_the_network(capsys, tmp_path, monkeypatch):
    net = tmp_path / "net.npz"
    settings = {}
    fit = MLP.fit
    monkeypatch.setattr(MLP, "fit", lambda self, *data, **given: settings.update(given) or fit(self, *data, **given))
    status, out, _ = run(capsys, "train", "--hidden", "9,8", "--keep-prob", "0.75", "--epochs", "2", "--batch-size", "500",
                         "--learning-rate", "0.25", "--optimizer", "momentum", "--seed", "7", "--out", net)
    assert status == 0
    assert "MLP((64, 9, 8, 10)" in out
    assert "keep_prob=(1.0, 0.75, 0.75)" in out
    assert "seed=7" in out
    assert "Momentum(learning_rate=0.25" in out
    assert "2 epochs" in out
    assert (settings["batch_size"], settings["seed"], settings["schedule"]) == (500, 7, CosineDecay(2))
    assert io.load(net)[0].sizes == (64, 9, 8, 10)
    status, out, _ = run(capsys, "info", net)
    assert status == 0
    assert "64 -> 9" in out
    assert "classification of digit" in out


def test_the_schedule_reaches_the_training(capsys, monkeypatch):
    settings = {}
    fit = MLP.fit
    monkeypatch.setattr(MLP, "fit", lambda self, *data, **given: settings.update(given) or fit(self, *data, **given))
    quick = ["train", "--hidden", "none", "--epochs", "2"]
    for text, schedule in {"step:0.5:5": StepDecay(0.5, 5), "warmup:10+cosine": Warmup(10, CosineDecay(2)), "none": Schedule(),
                           "plateau": ReduceOnPlateau()}.items():
        status, out, _ = run(capsys, *quick, "--schedule", text)
        assert (status, settings["schedule"]) == (0, schedule)
        assert repr(schedule) in out.splitlines()
    status, out, _ = run(capsys, "train", "--help")
    assert "step:FACTOR:EVERY" in out


def test_info_gradcheck_version_and_help(capsys):
    status, out, _ = run(capsys, "info")
    assert status == 0
    assert "backend" in out
    status, out, _ = run(capsys, "gradcheck")
    assert status == 0
    assert len(out.splitlines()) == 12
    assert "wrong" not in out
    status, out, _ = run(capsys, "train", "--help")
    assert status == 0
    assert "--keep-prob" in out


def test_gradcheck_fails_on_a_wrong_gradient(capsys, monkeypatch):
    from fastnn.losses import L2

    right = L2.value_and_gradient
    monkeypatch.setattr(L2, "value_and_gradient", lambda self, *args, **kw: (right(self, *args, **kw)[0], 2 * right(self, *args, **kw)[1]))
    status, out, _ = run(capsys, "gradcheck")
    assert status == 1
    assert "wrong" in out


@pytest.mark.parametrize("lacking", [1, 2])
def test_gradcheck_looks_at_both_penalties(capsys, monkeypatch, lacking):
    right = losses.penalty
    monkeypatch.setattr(losses, "penalty", lambda *terms: right(*(0.0 if k == lacking else term for k, term in enumerate(terms))))
    status, out, _ = run(capsys, "gradcheck")
    assert status == 1
    assert re.search(r"regulariser of layers\[\d\].weight\[", out)


@pytest.mark.parametrize(("content", "options", "sentence"), [
    ("", ["--target", "y"], "is empty"),
    ("a,y\n", ["--target", "y"], "has a header but no rows"),
    ("a,y\n1,2\n3\n", ["--target", "y"], "line 3 must have 2 cells"),
    ("a,y\n" + "1,2\n3,4\n" * 20, [], "--target must name the column"),
    ("a,y\n" + "1,2\n3,4\n" * 20, ["--target", "z"], "there is no column 'z' (columns: a, y)"),
    ("a,y\n" + "1,\n3,\n" * 20, ["--target", "y"], "has no value in any row"),
    ("a,y\n" + "1,u\n3,u\n" * 20, ["--target", "y"], "at least two classes"),
    ("a,y\n" + "1,u\n3,v\n" * 20, ["--target", "y", "--task", "regression"], "must hold numbers for a regression"),
    ("a,y\n" + "1,u\n3,v\n" * 20, ["--target", "y", "--keep-prob", "0"], "'keep_prob'"),
    ("a,y\n" + "1,u\n3,v\n" * 20, ["--target", "y", "--learning-rate", "-1"], "'learning_rate'"),
    ("a,y\n" + "1,u\n3,v\n" * 20, ["--target", "y", "--bins", "2"], "must hold numbers for a regression"),
    ("a,y\n" + "1,2\n3,4\n" * 20, ["--target", "y", "--bins", "uniform:3"], "column 'y' cannot be cut into 3 uniform bins"),
    ("\x00\x01", ["--target", "y"], "NUL"),
])
def test_each_wrong_table_is_one_sentence(capsys, tmp_path, content, options, sentence):
    path = tmp_path / "data.csv"
    path.write_text(content)
    status, _, err = run(capsys, "train", path, *options)
    assert status == 2
    assert sentence in err
    assert err.startswith("fastnn train: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["train", "absent.csv", "--target", "y"], "absent.csv: no such file"),
    (["train", "data.txt"], "must end in .csv, .csv.gz, .npz"),
    (["train", "--hidden", "12,x"], "--hidden: must be layer sizes"),
    (["train", "--hidden", ""], "--hidden: must be layer sizes"),
    (["train", "--hidden", "0"], "--hidden: must be layer sizes"),
    (["train", "--epochs", "0"], "--epochs: must be a whole number from 1"),
    (["train", "--seed", "-1"], "--seed"),
    (["train", "--keep-prob", "half"], "--keep-prob"),
    (["train", "--optimizer", "magic"], "--optimizer"),
    (["train", "absent.csv", "--target", "y", "--average", "2"], "EMA: argument 'decay' must be finite and in range"),
    (["train", "absent.csv", "--target", "y", "--l1", "-1"], "argument 'l1' must be finite and in range"),
    (["train", "--schedule", "fast"], "argument 'text' must name a schedule (expected one of none, step, "),
    (["train", "--schedule", "step:0.5"], "expected step:FACTOR:EVERY such as step:0.5:5, got 'step:0.5'"),
    (["train", "--schedule", "step:0.5:0"], "StepDecay: argument 'every'"),
    (["train", "--target", "y"], "--target, --task and --bins are for a data file"),
    (["train", "--bins", "20"], "--target, --task and --bins are for a data file"),
    (["train", "--bins", "1"], "--bins: must be a whole number from 2"),
    (["train", "--bins", "many"], "--bins: must be a whole number from 2"),
    (["train", "--bins", "cubic:9"], "--bins: must be a number of bins, or one of uniform, quantile, logarithmic and a number"),
    (["train", "--bins", ":9"], "--bins: must be a number of bins"),
    (["train", "--out", "net.pkl"], "must end in .npz or .safetensors"),
    (["train", "--out", "absent/net.npz"], "cannot be written"),
    (["predict", "absent.npz", "data.csv"], "absent.npz"),
    (["predict"], "required"),
    (["info", "absent.npz"], "absent.npz"),
    (["dance"], "dance"),
    ([], "required"),
])
def test_each_wrong_argument_is_one_sentence(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, *arguments)
    assert os.listdir(tmp_path) == []


def test_predict_refuses_other_columns_and_other_files(capsys, prices, tmp_path):
    net = tmp_path / "net.npz"
    assert run(capsys, "train", prices, "--target", "price", "--epochs", "1", "--out", net)[0] == 0
    other = tmp_path / "other.csv"
    other.write_text("a,town\n1,north\n")
    assert "there is no column 'b'" in refused(capsys, "predict", net, other)
    other.write_text("a,b,town\n1,many,north\n")
    assert "column 'b' must hold numbers as in training (got 'many')" in refused(capsys, "predict", net, other)
    assert "cannot be written" in refused(capsys, "predict", net, prices, "--out", tmp_path / "absent" / "p.csv")
    assert "must end in .csv" in refused(capsys, "predict", net, prices, "--out", tmp_path / "p.txt")
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04 junk")
    assert "junk.npz" in refused(capsys, "predict", tmp_path / "junk.npz", prices)
    plain = tmp_path / "plain.npz"
    io.save(plain, io.load(net)[0])
    assert "says nothing usable about the columns" in refused(capsys, "predict", plain, prices)
    trained, metadata = io.load(net)
    metadata["target"] = {"task": "classification", "name": "price", "labels": ["low", "high"]}
    io.save(plain, trained, metadata)
    assert "does not fit the target 'price'" in refused(capsys, "predict", plain, prices)
    metadata["target"] = {"task": "binned regression", "name": "price", "bins": Bins([0, 1, 2]).to_dict(), "smoothing": 1}
    io.save(plain, trained, metadata)
    assert "does not fit the target 'price'" in refused(capsys, "predict", plain, prices)


def test_a_diverging_run_is_one_sentence(capsys, prices):
    status, _, err = run(capsys, "train", prices, "--target", "price", "--optimizer", "sgd", "--learning-rate", "1e9", "--epochs", "3")
    assert status == 2
    assert "became inf in epoch 1" in err.splitlines()[-1]
    assert "learning_rate=1e+09" in err.splitlines()[-1]


def command(*arguments, cwd):
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-m", "fastnn.cli", *arguments], stdout=pipe, stderr=pipe, text=True, cwd=cwd)


def test_the_command_in_a_process_of_its_own(tmp_path):
    with command("train", *QUICK, "--out", "net.npz", cwd=tmp_path) as process:
        out, err = process.communicate()
    assert process.returncode == 0
    assert figures(out, "test")[2] >= 97.0
    assert "epoch" not in out.splitlines()[0]
    assert err.count("epoch ") == 12
    assert os.listdir(tmp_path) == ["net.npz"]


@pytest.mark.parametrize("saved", [True, False])
def test_ctrl_c_keeps_the_last_completed_epoch(tmp_path, saved):
    out = ["--out", "net.npz"] if saved else []
    with command("train", "--keep-prob", "1", "--epochs", "100000", *out, cwd=tmp_path) as process:
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        for line in process.stderr:
            if line.startswith("epoch 3/"):
                process.send_signal(signal.SIGINT)
                break
        last = process.stderr.read().splitlines()[-1]
        process.wait()
        watchdog.cancel()
    assert process.returncode == 130
    assert re.match(r"fastnn train: interrupted after epoch [2-9]\d*", last)
    assert ("net.npz" in last) is saved
    assert (tmp_path / "net.npz").exists() is saved
    if saved:
        x, y = load_digits()
        net, metadata = io.load(tmp_path / "net.npz")
        features, _ = tabular.from_metadata(metadata)
        assert np.mean(net.predict(features.encode(table.Table(len(x), {}, x))) == y) > 0.9


def test_diagnose_judges_what_train_begins_with(capsys):
    assert run(capsys, "diagnose", "--hidden", "8")[0] == 0
    assert run(capsys, "diagnose", "--hidden", "8", "--learning-rate", "0")[0] == 1
