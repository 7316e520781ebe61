"""What `bench/bench_ensemble.py` makes of reports: its verdicts and its table. Nothing is trained."""

from __future__ import annotations

import pytest

from fastnn import EnsembleReport


@pytest.fixture
def bench(load):
    return load("bench_ensemble")


def reported(ensemble, *members):
    records = tuple({"loss": 1.0, "accuracy": member} for member in members)
    mean = sum(members) / len(members)
    curve = tuple(mean + (ensemble - mean) * k / (len(members) - 1) for k in range(len(members)))
    return EnsembleReport(100, records, {"loss": 1.0, "accuracy": ensemble}, "accuracy", curve, 0.05, None)


def found(**changes):
    return {"last": reported(0.984, 0.979, 0.981), "averaged": reported(0.985, 0.9795, 0.9815), "checkpoints": reported(0.98, 0.97, 0.979),
            **changes}  # fmt: skip


@pytest.mark.parametrize(("ensemble", "reached"), [(0.9832, True), (0.9829, False)])
def test_seeds_are_to_gain_three_tenths_of_a_point(bench, ensemble, reached):
    study = bench.study("seeds", found(last=reported(ensemble, 0.979, 0.981)))
    assert study["reached"] is reached
    assert study["members"] == [0.979, 0.981]
    assert bench.sentence(study) == (f"2 networks {100 * ensemble:.2f} %, their mean 98.00 %, gain {100 * (ensemble - 0.98):+.2f} points, "
                                     "0.3 wanted")  # fmt: skip


@pytest.mark.parametrize(("second", "reached"), [(0.982, True), (0.9781, False)])
def test_averages_are_judged_by_the_mean_over_seeds(bench, second, reached):
    study = bench.study("average", found(averaged=reported(0.985, 0.980, second)))
    assert study["reached"] is reached
    mean, better = 50 * (0.980 + second), 2 if reached else 1
    assert bench.sentence(study) == (
        f"running averages {mean:.2f} %, last weights 98.00 % in the mean, {mean - 98:+.2f} points, better in {better} of 2 runs; "
        "the averages together 98.50 %")  # fmt: skip


def test_checkpoints_have_no_target(bench):
    study = bench.study("checkpoints", found())
    assert study["reached"] is None
    assert bench.sentence(study) == "2 checkpoints of one run 98.00 %, the last of them 97.90 %, +0.10 points"


def test_the_table_has_a_column_a_member(bench):
    studies = [bench.study(name, found(checkpoints=reported(0.98, 0.95, 0.96, 0.97))) for name in bench.STUDIES]
    lines = [line.split() for line in bench.table(studies).splitlines()]
    assert lines == [
        ["members", "1", "2", "3", "least", "most", "disagreement"], ["seeds", "98.00", "98.40", "97.90", "98.10", "5.00%"],
        ["average", "98.05", "98.50", "97.95", "98.15", "5.00%"], ["checkpoints", "96.00", "97.00", "98.00", "95.00", "97.00", "5.00%"],
    ]  # fmt: skip


def test_absent_rows_are_said(bench, monkeypatch, capsys, tmp_path):
    import training

    monkeypatch.setattr(training, "MNIST", tmp_path / "mnist.npz")
    bench.main(["--quick"])
    assert "MNIST is absent" in capsys.readouterr().out
