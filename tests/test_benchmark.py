"""The table of `fastnn bench`: both sides of a row do the same work, and figures follow from the clock. Never how fast anything is."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import benchmark, cli

PEAK = benchmark.Peak("float32", 2, 4e9, 8e9)


def leaves(result):
    return [leaf for part in result for leaf in leaves(part)] if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_sides_of_every_row_do_the_same_work(dtype):
    seen = []
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    for row in benchmark.rows(dtype):
        seen.append(row.name)
        for _ in range(3):  # updates and steps go on from where they were
            ours, theirs = leaves(row.fastnn()), leaves(row.numpy())
            assert len(ours) == len(theirs)
            for mine, yours in zip(ours, theirs):
                assert np.shape(mine) == np.shape(yours)
                assert np.result_type(mine) == np.result_type(yours)
                if row.name == "dropout_forward":  # other masks, the same distribution
                    assert np.count_nonzero(mine) == pytest.approx(np.count_nonzero(yours), rel=0.05)
                    np.testing.assert_allclose(np.unique(np.abs(mine))[-3:], np.unique(np.abs(yours))[-3:], rtol=0.3)
                else:
                    np.testing.assert_allclose(mine, yours, rtol=tolerance, atol=tolerance * np.abs(yours).max())
    assert len(seen) == 8
    assert len({"training step", "adam_update", "linear_relu_backward", "dropout_forward"} & set(seen)) == 4


def test_declared_work():
    assert benchmark.step_flops((2, 3, 4), 5).amount == 180 + 180 + 120  # forward, weights, the second layer's inputs
    assert benchmark.traffic(np.zeros(10, np.float32), np.zeros(3)).amount == 40 + 24
    assert PEAK.share(benchmark.flops(1e6), 1e-3) == pytest.approx(0.25)
    assert PEAK.share(benchmark.Work(4e6, "GB/s"), 1e-3) == pytest.approx(0.5)


class Time:
    """A clock that only the competitors and the pauses move."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.pauses = 0
        self.busy, self.spins = 0.0, 0  # processor time of this process, and the pauses that threads spin through
        monkeypatch.setattr(benchmark.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(benchmark.time, "process_time", lambda: self.busy)
        monkeypatch.setattr(benchmark.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds
        self.pauses += 1
        self.busy += seconds if self.pauses <= self.spins else 0.0


def test_race_is_the_median_over_rounds_of_the_best_chunk(monkeypatch):
    clock = Time(monkeypatch)
    turns = []

    def competitor(name, slow_round):
        def work():
            turns.append(name)
            noise = 3.0 if turns.count(name) % 2 else 1.0  # every other call is disturbed: the best chunk is not
            clock.now += noise * (10.0 if clock.pauses in slow_round else 1.0) * (1.0 if name == "a" else 2.0)

        return work

    effort = benchmark.Effort(rounds=3, chunks=4, seconds=0.5)
    # Two pauses before the first turn, one after each: one slow round of three leaves the median alone, two do not.
    assert benchmark.race([competitor("a", {2}), competitor("b", {3, 5})], effort) == [1.0, 20.0]
    assert "".join(turns) == "aaabbb" + "aaaabbbb" * 3  # three calls each to find the length of a chunk


def test_the_next_turn_waits_for_threads_that_spin(monkeypatch):
    clock = Time(monkeypatch)
    clock.spins = 10
    benchmark.settle()
    assert clock.pauses == 11


def test_threads_that_never_sleep_are_not_waited_for(monkeypatch):
    clock = Time(monkeypatch)
    clock.spins = 10**9
    benchmark.settle()
    assert clock.now == pytest.approx(1.0, abs=0.02)


def test_chunks_are_about_as_long_as_asked(monkeypatch):
    clock = Time(monkeypatch)

    def work():
        clock.now += 1e-6

    calls = benchmark.calls_for(work, 0.003)
    assert 3000 <= calls <= 9000
    assert benchmark.chunk(work, calls) == pytest.approx(1e-6)


@pytest.mark.parametrize(("seconds", "text"), [(1.5, "1.5 s"), (0.25, "250 ms"), (3.21e-5, "32.1 us"), (4e-9, "4 ns"), (0.9999, "1000 ms")])
def test_time_text(seconds, text):
    assert benchmark.time_text(seconds) == text


def test_result_line():
    row = benchmark.Row("adam_update", "1000", benchmark.Work(4e6, "GB/s"), lambda: None, lambda: None)
    assert benchmark.result_line(row, 1e-3, 2.5e-3, PEAK) == ["adam_update", "1000", "1 ms", "2.5 ms", "2.50", "4 GB/s", "50 %"]


def test_bench_prints_machine_peak_and_rows(capsys):
    assert cli.main(["bench", "--quick"]) == 0
    out, _ = capsys.readouterr()
    assert benchmark.cpu_model() in out
    assert np.__version__ in out
    assert "GFLOP/s of float32" in out
    lines = [line for line in out.splitlines() if line.endswith("%")]
    assert [line.split("  ")[0] for line in lines] == [row.name for row in benchmark.rows()]


def test_bench_answers_a_wrong_option_with_one_sentence(capsys):
    assert cli.main(["bench", "--fast"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert "--fast" in error
