"""What `bench/` makes of its figures: medians, tables, README, holes between widths. Never how fast anything is."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def report(load):
    return load("report")


def row(fastnn=2e-3, threads=2, target=None, peak=4e9, readme=True, kernel="linear_relu_forward", **rivals):
    seconds = {"fastnn": fastnn, **rivals}
    results = {name: {"seconds": time, "median": 1.5 * time, "form": "" if name == "fastnn" else "out="} for name, time in seconds.items()}
    return {"kernel": kernel, "size": [8, 16, 32], "dtype": "float32", "threads": threads, "unit": "GFLOP/s", "amount": 4e6, "peak": peak,
            "target": target or {}, "readme": readme, "results": results}  # fmt: skip


MACHINE = {"date": "2026-01-02", "cpu": "A CPU", "cores": 2, "system": "Linux x86_64", "isa": "avx2", "python": "3.11", "load": 0.1,
           "versions": {"fastnn": "1.2", "numpy": "3.4"}, "gflops_per_thread": {"float32": 2.0, "float64": 1.0}, "stream_gbytes": 8.0,
           "threads": 2, "together": [1.0, 1.9, 2.0], "rounds": 4, "quick": False}  # fmt: skip


def test_a_figure_is_the_median_over_rounds_of_the_best_chunk(load):
    figures = load("contest").figures([[3.0, 1.0, 9.0], [2.0, 8.0, 7.0], [30.0, 20.0, 40.0]])
    assert figures == {"seconds": 2.0, "median": 8.0}


def test_turns_are_shorter_where_one_call_is_long(load):
    contest = load("contest")
    race = contest.Contest((), contest.bench.Effort(chunks=10, seconds=0.01))
    assert [race._chunks(seconds) for seconds in (0.01, 0.05, 0.15, 0.5)] == [10, 4, 2, 1]


@pytest.mark.parametrize("chunks", [1, 2, 5, 80])
def test_visits_share_the_chunks_of_a_round(load, chunks):
    contest = load("contest")
    shares = [contest.share(chunks, visit) for visit in range(contest.VISITS)]
    assert sum(shares) == chunks
    assert max(shares) - min(shares) <= 1


def test_an_absent_competitor_is_named(load):
    contest = load("contest")
    race = contest.Contest((contest.NUMPY, contest.Competitor("Nobody", "nobody", ("no_such_package",))), contest.QUICK)
    assert race.notes == ["Nobody is absent: no_such_package not installed"]
    assert race.competitors == [contest.NUMPY]


def test_another_result_than_fastnns_is_refused(load):
    contest = load("contest")
    race, case = contest.Contest((), contest.QUICK), load("cases").Case("adam_update", (10,))
    answers = {(2, "fastnn"): (None, {"sum": 10.0, "form": ""}, 1), (2, "NumPy"): (None, {"sum": 10.005, "form": "out="}, 1)}
    race._check(case, answers)
    answers[2, "NumPy"][1]["sum"] = 10.02
    with pytest.raises(RuntimeError, match=r"adam_update-10-float32: NumPy \(out=\) made 10.02, fastnn 10.0"):
        race._check(case, answers)


def test_it_is_said_whether_the_threads_had_a_core_each(report, load):
    said = "2 threads at once did 1.00 to 2.00 times the multiply-adds of one, 1.90 in the median"
    assert report.header(MACHINE)[-1].endswith(said)
    assert said in report.readme_table({"machine": MACHINE, "rows": [row()]})
    contest = load("contest")
    peaks = contest.Peaks()
    peaks.look()
    least, median, most = peaks.together
    assert len(peaks.ratios) == contest.LOOKS
    assert 0 < least <= median <= most


def test_share_and_best_rival(report):
    assert report.share(row()) == pytest.approx(0.5)
    assert report.share(row(peak=None)) is None
    assert report.best_rival(row(NumPy=5e-3, PyTorch=3e-3)) == ("PyTorch", pytest.approx(1.5))
    assert report.best_rival(row()) is None


@pytest.mark.parametrize(
    ("target", "text", "reached"),
    [
        ({"seconds": 2.1e-3}, "2.1 ms", True),
        ({"seconds": 1.9e-3}, "1.9 ms", False),
        ({"share": 0.49, "aim": 0.6}, "49 %, aim 60", True),
        ({"share": 0.51}, "51 %", False),
        ({"seconds": 2.1e-3, "aim": 1e-3}, "2.1 ms, aim 1 ms", True),
        ({"gain": 1.2}, "1.20 times", True),
        ({"gain": 1.3}, "1.30 times", False),
        ({}, "ahead", True),
    ],
)
def test_targets(report, target, text, reached):
    line = row(target=target, NumPy=2.5e-3)
    assert (report.target_text(line), report.reached(line)) == (text, reached)


def test_behind_a_rival_is_not_ahead(report):
    assert not report.reached(row(NumPy=5e-3, PyTorch=1.9e-3))


def test_the_table_has_a_line_a_row_and_says_who_is_missing(report):
    head, first, second = report.table([row(NumPy=5e-3), row(PyTorch=1e-3, threads=1, peak=None)]).splitlines()
    assert head.split("  ")[0] == "work"
    assert first.split() == ["linear_relu_forward", "8x16x32", "2", "ms", "3", "ms", "5", "ms", "(2.50)", "-", "2.50", "2", "GFLOP/s", "50",
                             "%", "ahead", "yes"]  # fmt: skip
    assert second.split() == ["linear_relu_forward", "8x16x32,", "1", "thread", "2", "ms", "3", "ms", "-", "1", "ms", "(0.50)", "0.50", "2",
                              "GFLOP/s", "ahead", "no"]  # fmt: skip


def test_scaling_is_one_thread_over_two(report):
    rows = [row(fastnn=4e-3, threads=1, NumPy=6e-3), row(fastnn=2e-3, NumPy=5e-3, PyTorch=1e-3), row(kernel="linear_relu_backward")]
    ((_, gains),) = report.scaling(rows)
    assert gains == {"fastnn": pytest.approx(2.0), "NumPy": pytest.approx(1.2)}


def test_forms_are_listed_once(report):
    assert report.forms([row(NumPy=1e-3), row(NumPy=2e-3, threads=1)]) == ["NumPy, linear_relu_forward: out="]


def test_readme_gets_its_table_and_keeps_the_rest(report, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n", encoding="utf-8")
    data = {"machine": MACHINE, "rows": [row(NumPy=5e-3), row(readme=False, kernel="tanh_forward", NumPy=1.0)]}
    report.write_readme(path, report.START, report.readme_table(data))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert (lines[:2], lines[-2:]) == (["before", report.START], [report.END, "after"])
    assert "| linear_relu_forward 8x16x32 | 2 ms | 50 % | 2.50 times fastnn's time (NumPy) |" in lines
    assert not any("old" in line or "tanh" in line for line in lines)
    assert "A CPU, 2 threads, avx2, 2026-01-02; fastnn 1.2, numpy 3.4." in lines
    assert "4 GFLOP/s of float32 and 2 GFLOP/s of float64" in lines[-3]


def test_a_readme_without_a_place_is_left_alone(report, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"{report.START}\nno end\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README.md has no"):
        report.write_readme(path, report.START, "table")
    assert path.read_text(encoding="utf-8") == f"{report.START}\nno end\n"


def test_each_table_of_a_readme_has_its_own_place(report, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"{report.START}\nkernels\n{report.END}\n{report.TRAINING_START}\nold\n{report.END}\n", encoding="utf-8")
    report.write_readme(path, report.TRAINING_START, "new")
    expected = f"{report.START}\nkernels\n{report.END}\n{report.TRAINING_START}\nnew\n{report.END}\n"
    assert path.read_text(encoding="utf-8") == expected


def test_the_projects_readme_has_the_places(report):
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    for start in report.STARTS:
        assert 0 <= text.index(start) < text.index(report.END, text.index(start))


def test_holes_fall_behind_the_mean_of_their_neighbours(report):
    assert report.holes([8, 16, 32, 64, 128], [0.1, 0.4, 0.41, 0.8, 0.9]) == [32]  # 0.41 < 0.7 * 0.6; the ends have one neighbour
    assert report.holes([8, 16, 32], [0.4, 0.29, 0.4]) == []
    assert report.holes([8, 16, 32], [0.4, 0.27, 0.4]) == [16]
    assert report.holes([8, 16], [0.9, 0.1]) == []


def test_holes_are_told_by_curve(report):
    def point(direction, batch, width, seconds):
        results = {"fastnn": {"seconds": seconds}}
        return {"direction": direction, "batch": batch, "width": width, "amount": 1e6, "peak": 1e9, "results": results}

    points = [point("forward", batch, width, seconds) for batch in (1, 8) for width, seconds in ((32, 2e-3), (8, 2e-3), (16, 2e-3 * batch))]
    assert report.holes_text(points) == ["widths below 0.7 of their neighbours' mean:", "forward, batch 8: 16"]
    assert report.holes_text(points[:3]) == ["no width is below 0.7 of its neighbours' mean"]
