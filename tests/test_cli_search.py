"""`fastnn search`: what it prints, saves and goes on from."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastnn import cli, cli_search, io
from fastnn.datasets import load_digits

SMALL = ["--trials", "6", "--epochs", "2", "--batch-size", "64"]


def run(capsys, *arguments):
    status = cli.main(["search", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def amounts(tmp_path):
    rng = np.random.default_rng(2)
    path = tmp_path / "amounts.csv"
    rows = [f"{a:.4f},{b:.4f},{a * b:.4f}" for a, b in rng.uniform(-2, 2, (300, 2))]
    path.write_text("a,b,product\n" + "\n".join(rows) + "\n")
    return path


def test_without_a_table_it_searches_on_the_digits(capsys, tmp_path):
    files = ["--log", tmp_path / "trials.jsonl", "--plot", tmp_path / "search.png", "--out", tmp_path / "best.npz"]
    status, out, err = run(capsys, *SMALL, *files)
    assert status == 0
    head = ["trial", "stage", "epochs", "val_accuracy", "val_loss", "learning_rate", "weight_decay", "keep_prob", "hidden"]
    lines = out.splitlines()
    at = next(k for k, line in enumerate(lines) if line.split() == head)
    scores = [float(line.split()[3]) for line in lines[at + 1:at + 7]]
    assert scores == sorted(scores, reverse=True)
    assert lines[at + 7] == "6 trials in 2 stages, 0 of which exploded"
    assert "learning_rate: LogUniform(3.333e-05, 0.03)" in lines
    assert "the best of them, trained for 2 epochs" in out
    assert re.search(r"^test +297 +[\d.]+ +[\d.]+%$", out, re.MULTILINE)
    assert err.splitlines()[-1].startswith("stage 2  trial 2/2  best val_accuracy")
    logged = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()[1:]]
    assert [line["epochs"] for line in logged] == [1] * 4 + [2] * 2
    assert (tmp_path / "search.png").stat().st_size > 10_000
    net, metadata = io.load(tmp_path / "best.npz")
    best = max(logged, key=lambda line: (line["score"], -line["loss"]))
    assert list(net.sizes) == [64, *best["parameters"]["hidden"], 10]
    assert metadata["target"]["name"] == "digit"
    x, y = load_digits()
    np.savez(tmp_path / "digits.npz", x=x[:9], y=y[:9])
    assert cli.main(["predict", str(tmp_path / "best.npz"), str(tmp_path / "digits.npz")]) == 0
    assert capsys.readouterr().out.count("\n") == 10


def test_the_same_command_goes_on_from_the_log(capsys, tmp_path):
    log = tmp_path / "trials.jsonl"
    command = [*SMALL, "--log", log]
    first = run(capsys, *command)[1]
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:4]))
    assert run(capsys, *command)[1] == first
    assert log.read_text().count("\n") == 7
    status, _, err = run(capsys, *command, "--seed", 1)
    assert status == 2
    assert re.match(r"fastnn search: fastnn.RandomSearch: argument 'log' must be new or of this search .*\n$", err)


def test_a_table_of_amounts_with_folds(capsys, amounts, tmp_path):
    options = ["--folds", 3, "--optimizer", "rmsprop", "--out", tmp_path / "net.npz"]
    status, out, _ = run(capsys, amounts, "--target", "product", *SMALL, *options)
    assert status == 0
    assert "val_rmse" in out
    assert "in units of product" in out
    assert io.load(tmp_path / "net.npz")[0].loss.name == "l2"


def test_borders_are_said(capsys, monkeypatch):
    monkeypatch.setattr(cli_search, "AROUND", 1.001)  # so narrow that the best is near neither or one end, and too low anyway
    monkeypatch.setattr(cli_search.OPTIMIZERS["sgd"], "learning_rate", 1e-5)
    said = [run(capsys, "--trials", 9, "--epochs", 1, "--optimizer", "sgd", "--seed", seed)[1] for seed in range(4)]
    assert any("(--extend does)" in out for out in said)
    sentence = r"^the best \w+, \S+, is near the (upper|lower) border of \w+\(.*\): search \w+\(.*\) \(--extend does\)$"
    assert re.search(sentence, "\n".join(said), re.MULTILINE)


def test_one_trial_is_a_search(capsys):
    status, out, _ = run(capsys, "--trials", 1, "--epochs", 1)
    assert status == 0
    assert "1 trials in one stage" in out


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--trials", "0"], "--trials: must be a whole number"), (["--folds", "1"], "--folds: must be"),
    (["--log", "trials.txt"], "must end in .jsonl"),
    (["--plot", "search.npz"], "must end in .png"), (["--out", "net.txt"], "must end in .npz"),
    (["--target", "digit"], "the embedded digits have a fixed target"),
    (["missing.csv", "--target", "a"], "missing.csv"), (["--log", "nowhere/trials.jsonl"], "nowhere"),
])  # fmt: skip
def test_what_a_user_gets_wrong_is_a_sentence(capsys, arguments, sentence):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_ctrl_c_shows_what_was_finished_and_the_log_keeps_it(tmp_path):
    command = [sys.executable, "-m", "fastnn.cli", "search", "--trials", "4000", "--log", "trials.jsonl"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log, deadline = tmp_path / "trials.jsonl", time.monotonic() + 60
    while (not log.exists() or log.read_text().count("\n") < 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    count = int(re.search(r"^(\d+) trials in one stage", out, re.MULTILINE)[1])
    sentence = f"interrupted after {count} trials: they are in trials.jsonl, and the same command goes on after them"
    assert err.splitlines()[-1] == f"fastnn search: {sentence}"
    assert log.read_text().count("\n") == 1 + count
