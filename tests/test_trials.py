"""The log of a search: a line a trial, and what a killed search knows when it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from searches import SPACE, VALIDATION, Counted, X, Y, bits, build, run, timeless

from fastnn import MLP, SGD, Adam, Choice, IntUniform, RandomSearch, Stage, Trainer

STAGES = [Stage(6), Stage(4, epochs=2)]


def test_every_trial_is_a_line(tmp_path):
    result = run(RandomSearch(build, SPACE, STAGES, seed=2), log=tmp_path / "trials.jsonl")
    header, *lines = map(json.loads, (tmp_path / "trials.jsonl").read_text().splitlines())
    assert (header["format"], header["search"], header["seed"], header["rows"]) == ("fastnn-search", "RandomSearch", 2, [180, 6])
    assert [line["trial"] for line in lines] == list(range(10))
    for line, trial in zip(lines, result.trials):
        assert line["parameters"] == trial.parameters
        assert (line["stage"], line["epochs"], line["score"], line["loss"]) == (trial.stage, trial.epochs, trial.score, trial.loss)
        assert line["seconds"] > 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("last", [2, 4, 9, 11])
def test_what_was_finished_is_kept_and_not_repeated(tmp_path, last, error):
    log = tmp_path / "log"
    whole = run(RandomSearch(build, SPACE, STAGES))
    search = RandomSearch(Counted(last, error), SPACE, STAGES)
    with pytest.raises(error):
        run(search, log=log, together=2)
    done = len(search.result.trials)
    assert done == (last - 2) // 2 * 2  # the first call of all is a probe
    assert log.read_text().count("\n") == 1 + done
    assert timeless(search.result.trials) == timeless(whole.trials[:done])
    again = Counted()
    result = run(RandomSearch(again, SPACE, STAGES), log=log, together=2)
    assert again.calls == 1 + 10 - done
    assert timeless(result.trials) == timeless(whole.trials)
    third = Counted()
    final = run(RandomSearch(third, SPACE, STAGES), log=log)
    assert third.calls == 1
    assert final.trials == result.trials
    assert bits(final.networks()[0]) == bits(whole.networks()[0])
    assert third.calls == 2


def test_ctrl_c_while_the_log_is_written_leaves_as_many_trials_as_lines(tmp_path, monkeypatch):
    log, sync, calls = tmp_path / "log", os.fsync, []

    def interrupted(file):
        sync(file)
        calls.append(file)
        if len(calls) == 3:  # the first has the header
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "fsync", interrupted)
    search = RandomSearch(build, SPACE, STAGES)
    with pytest.raises(KeyboardInterrupt):
        run(search, log=log, together=2)
    assert len(search.result.trials) == 4 == log.read_text().count("\n") - 1


def test_a_line_that_was_cut_off_is_written_again(tmp_path):
    log = tmp_path / "log"
    whole = run(RandomSearch(build, SPACE, STAGES), log=log)
    complete = log.read_bytes()
    lines = complete.splitlines(keepends=True)
    for kept, cut in ((4, 25), (1, 1), (0, 30), (10, 100)):
        log.write_bytes(b"".join(lines[:kept]) + lines[kept][:cut])
        counted = Counted()
        result = run(RandomSearch(counted, SPACE, STAGES), log=log)
        assert counted.calls == 1 + 10 - max(kept - 1, 0)
        assert timeless(result.trials) == timeless(whole.trials)
        assert log.read_bytes().count(b"\n") == 11
        assert log.read_bytes().startswith(b"".join(lines[:kept]))


def test_lines_are_on_the_disk_while_the_search_runs(tmp_path):
    log, seen = tmp_path / "log", []

    def looking(learning_rate, width):
        seen.append(log.read_bytes().count(b"\n") if log.exists() else 0)
        return build(learning_rate, width)

    run(RandomSearch(looking, SPACE, STAGES), log=log, together=3)
    assert seen == [0, 1, 1, 1, 4, 4, 4, 7, 7, 7, 10]


def test_a_long_line_that_was_cut_off_leaves_nothing(tmp_path):
    log = tmp_path / "log"
    whole = run(RandomSearch(build, SPACE, [Stage(3)]), log=log)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + b'{"trial": 2, "parameters": {"note": "' + b"x" * 5000)
    assert timeless(run(RandomSearch(build, SPACE, [Stage(3)]), log=log).trials) == timeless(whole.trials)
    assert b"xxx" not in log.read_bytes()


@pytest.mark.parametrize(("change", "sentence"), [
    ({"seed": 1}, "seed 0"), ({"stages": [Stage(6)]}, "stages"), ({"space": SPACE | {"width": IntUniform(4, 21)}}, "space"),
    ({"explosion": 2.0}, "explosion"), ({"monitor": "loss"}, "monitor"), ({"extend": True}, "extend"),
])  # fmt: skip
def test_the_log_of_another_search_is_refused(tmp_path, change, sentence):
    log = tmp_path / "log"
    run(RandomSearch(build, SPACE, STAGES), log=log)
    before = log.read_bytes()
    counted = Counted()
    arguments = {"space": SPACE, "stages": STAGES, **change}
    with pytest.raises(ValueError, match=rf"argument 'log' must be new or of this search \(.*log of another search: {sentence}"):
        run(RandomSearch(counted, arguments.pop("space"), arguments.pop("stages"), **arguments), log=log)
    assert counted.calls == 1
    assert log.read_bytes() == before


def test_other_rows_are_another_search(tmp_path):
    log = tmp_path / "log"
    run(RandomSearch(build, SPACE, [Stage(2)]), log=log)
    for options, sentence in (({"batch_size": 16}, "batch_size"), ({"folds": 3}, "folds|data")):
        with pytest.raises(ValueError, match=f"of another search: ({sentence})"):
            run(RandomSearch(build, SPACE, [Stage(2)]), log=log, **options)
    for x, y in ((X[:180] + 1, Y[:180]), (X[:180], Y[:180][::-1])):
        with pytest.raises(ValueError, match="of another search: data"):
            RandomSearch(build, SPACE, [Stage(2)]).run(x, y, validation_data=VALIDATION, batch_size=32, log=log)
    with pytest.raises(ValueError, match=r"of another search: (data|rows)"):
        RandomSearch(build, SPACE, [Stage(2)]).run(X[:179], Y[:179], validation_data=VALIDATION, batch_size=32, log=log)


@pytest.mark.parametrize(("spoil", "sentence"), [
    (lambda lines: [b"hello\n"], "the log of a search"), (lambda lines: [b"no line at all"], "JSON lines"),
    (lambda lines: [b'{"format": "other"}\n', *lines[1:]], "which is none"),
    (lambda lines: [lines[0], b"{}\n", *lines[2:]], "in whose line 2"),
    (lambda lines: [*lines[:2], lines[2].replace(b'"width": ', b'"width": "a'), *lines[3:]], "in whose line 3"),
    (lambda lines: [*lines[:3], lines[3].replace(b'"learning_rate": ', b'"learning_rate": 1'), *lines[4:]],
    "hold the trials of this search"),
])  # fmt: skip
def test_a_spoilt_log_gets_a_sentence(tmp_path, spoil, sentence):
    log = tmp_path / "log"
    run(RandomSearch(build, SPACE, STAGES), log=log)
    log.write_bytes(b"".join(spoil(log.read_bytes().splitlines(keepends=True))))
    before = log.read_bytes()
    with pytest.raises(ValueError, match=rf"fastnn.RandomSearch: argument 'log' must .*{sentence}"):
        run(RandomSearch(build, SPACE, STAGES), log=log)
    assert log.read_bytes() == before


def test_options_of_any_kind_go_through_the_log(tmp_path):
    space = {"hidden": Choice([(4,), (6, 5), ()]), "activation": Choice(["relu", "tanh"]), "optimizer": Choice([SGD, Adam])}

    def make(hidden, activation, optimizer):
        return Trainer(MLP((6, *hidden, 3), activation=activation), optimizer=optimizer(0.01))

    first = run(RandomSearch(make, space, [Stage(6)]), log=tmp_path / "log")
    assert run(RandomSearch(make, space, [Stage(6)]), log=tmp_path / "log").trials == first.trials
    assert {type(trial.parameters["hidden"]) for trial in first.trials} == {tuple}


KILLED = """
import time, numpy as np
from fastnn import *
x = np.random.default_rng(0).normal(size=(200, 6))
y = (x.sum(axis=1) > 0).astype(int)
def build(learning_rate):
    time.sleep(0.02)
    return Trainer(MLP((6, 8, 2)), optimizer=Adam(learning_rate))
result = RandomSearch(build, {"learning_rate": LogUniform(1e-4, 1e-1)}, [Stage(30), Stage(10, epochs=2)]).run(
    x, y, folds=2, log="log.jsonl", together=2)
print(len(result.trials))
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_search_goes_on(tmp_path, kind):
    command = [sys.executable, "-W", "ignore", "-c", KILLED]
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while (not log.exists() or log.read_bytes().count(b"\n") < 5) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, kind)
    process.communicate()
    before = log.read_bytes()
    before = before[: before.rfind(b"\n") + 1]
    assert 5 <= before.count(b"\n") < 41
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert finished.stdout == "40\n"
    assert log.read_bytes().startswith(before)
    assert [json.loads(line)["trial"] for line in log.read_text().splitlines()[1:]] == list(range(40))


