"""`fastnn diagnose`: what it judges, its exit status, and one sentence for everything a user can get wrong."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

import fastnn
from fastnn import cli, cli_train, io, tabular


def run(capsys, *arguments):
    status = cli.main(["diagnose", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys, *arguments):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("fastnn diagnose: ")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def prices(tmp_path):
    rng = np.random.default_rng(4)
    path = tmp_path / "prices.csv"
    rows = [f"{a:.5f},{b:.5f},{3 * a - b + 200:.5f}" for a, b in rng.normal(size=(200, 2))]
    path.write_text("a,b,price\n" + "\n".join(rows) + "\n0.5,0.5,\n")
    return path


def trained(path, *options):
    assert cli.main(["train", *map(str, options), "--epochs", "3", "--hidden", "16", "--out", str(path)]) == 0
    return path


def test_the_digits_are_healthy(capsys):
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == repr(fastnn.MLP((64, 256, 128, 10)))
    assert lines[1] == repr(fastnn.Adam())
    data = tabular.prepare(cli_train.digits(), "digit")
    assert out.split("\n\n", 1)[1] == f"{fastnn.diagnose(fastnn.MLP((64, 256, 128, 10)), *data.train)}\n"


def test_weights_that_are_too_small_are_bad(capsys):
    status, out, _ = run(capsys, "--init", "normal:0.01", "--hidden", "100,100,100,100", "--activation", "tanh", "--seed", "3")
    assert status == 1
    assert "diagnosis: bad" in out
    assert "variance: bad in" in out
    assert "MLP((64, 100, 100, 100, 100, 10), activation='tanh', keep_prob=(1.0, 1.0, 1.0, 1.0, 1.0), init=Normal(std=0.01)" in out
    assert "seed=3)" in out


def test_options_reach_the_network_and_the_optimizer(capsys):
    _, out, _ = run(capsys, "--hidden", "20", "--keep-prob", "0.5", "--init", "glorot_uniform", "--optimizer", "sgd",
                    "--learning-rate", "1e-9")
    assert "MLP((64, 20, 10), activation='relu', keep_prob=(1.0, 0.5), init='glorot_uniform'" in out
    assert "SGD(learning_rate=1e-09" in out
    assert "update ratio: bad" in out


def test_a_table_of_amounts(capsys, prices):
    status, out, _ = run(capsys, prices, "--target", "price", "--hidden", "8", "--seed", "1")
    assert status in (0, 1)
    assert "half the variance of the targets" in out
    assert "MLP((2, 8, 1)" in out
    x, y = tabular.prepare(fastnn.table.read(prices), "price", seed=1).train
    net = fastnn.MLP((2, 8, 1), seed=1)
    assert str(fastnn.diagnose(net, x, y, loss="l2", seed=1)) in out


def test_a_saved_network_is_judged_on_its_own_columns(capsys, prices, tmp_path):
    path = trained(tmp_path / "net.npz", prices, "--target", "price")
    capsys.readouterr()
    status, out, _ = run(capsys, prices, "--net", path)
    assert status == 0
    net, features, target = tabular.load(path)
    rows = fastnn.table.read(prices)
    x, y = features.encode(rows)[:200], target.encode(rows)[:200]  # the last row has no price
    assert str(fastnn.diagnose(net, x, y)) in out
    assert "200 rows" in out


def test_a_saved_network_over_bins(capsys, prices, tmp_path):
    path = trained(tmp_path / "net.npz", prices, "--target", "price", "--bins", "5")
    capsys.readouterr()
    status, out, _ = run(capsys, prices, "--net", path)
    assert status in (0, 1)
    assert "200 rows" in out
    assert "1.609" in out  # log(5)
    net, features, target = tabular.load(path)
    rows = fastnn.table.read(prices)
    assert str(fastnn.diagnose(net, features.encode(rows)[:200], target.learnt(target.encode(rows)[:200]))) in out
    _, out, _ = run(capsys, prices, "--target", "price", "--bins", "uniform:7", "--hidden", "8")
    assert "MLP((2, 8, 7)" in out
    assert "1.946" in out  # log(7)


def test_a_saved_network_of_the_digits_needs_no_table(capsys, tmp_path):
    path = trained(tmp_path / "net.npz")
    capsys.readouterr()
    status, out, _ = run(capsys, "--net", path)
    assert status == 0
    assert "have learnt already" in out


def test_a_picture_on_request(capsys, tmp_path):
    status, out, _ = run(capsys, "--hidden", "8", "--plot", tmp_path / "a.png")
    assert status == 0
    assert out.endswith(f"\npicture in {tmp_path / 'a.png'}\n")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("arguments", "words"), [
    (["--init", "xavier"], r"must be one of lecun_normal, .*, or normal:DEVIATION \(got 'xavier'\)"),
    (["--init", "normal"], "or normal:DEVIATION"),
    (["--init", "normal:-1"], "or normal:DEVIATION"),
    (["--init", "normal:wide"], "or normal:DEVIATION"),
    (["--init", "uniform:0.1"], "or normal:DEVIATION"),
    (["--hidden", "0"], "layer sizes from 1"),
    (["--activation", "swish"], "invalid choice"),
    (["--optimizer", "newton"], "invalid choice"),
    (["--learning-rate", "-1"], "'learning_rate' must be finite and in range"),
    (["--keep-prob", "0"], "'keep_prob' must be finite and in range"),
    (["--target", "digit"], "are for a data file"),
    (["--task", "regression"], "are for a data file"),
    (["nothing.csv"], "nothing.csv"),
    (["--net", "nothing.npz"], "nothing.npz"),
    (["--plot", "a.doc"], r"must end in .png or .svg or .pdf"),
    (["--net", "net.npz", "--hidden", "8", "--keep-prob", "0.5"], "--hidden, --keep-prob: not with --net"),
    (["--net", "net.npz", "--target", "y", "--init", "he_normal"], "--target, --init: not with --net"),
])  # fmt: skip
def test_what_a_user_can_get_wrong(capsys, arguments, words):
    assert re.search(words, refused(capsys, *arguments))


def test_files_that_do_not_fit(capsys, prices, tmp_path):
    plain = tmp_path / "plain.npz"
    io.save(plain, fastnn.MLP((3, 2)))
    assert "says nothing usable about the columns" in refused(capsys, "--net", plain)
    path = trained(tmp_path / "net.npz", prices, "--target", "price")
    capsys.readouterr()
    assert "there is no column 'a'" in refused(capsys, "--net", path)
    members = trained(tmp_path / "members.npz", prices, "--target", "price", "--ensemble", "2")
    capsys.readouterr()
    assert "holds an ensemble" in refused(capsys, prices, "--net", members)
    prices.write_text("a,b,price\n1,2,\n3,4,\n")
    assert "no row has a value of price" in refused(capsys, prices, "--net", path)


def test_a_picture_without_matplotlib_is_refused_at_once(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "fastnn[plot]" in refused(capsys, "--plot", tmp_path / "a.png")
