"""What `bench/` trains and how it judges: data, weights, checks of the competitors, straight lines, verdicts, tables. Never speed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_bench_report import MACHINE, row

import fastnn


@pytest.fixture
def training(load):
    return load("training")


def step(training, **changes):
    return training.Training(**{"sizes": (6, 5, 4), "batch": 8, **changes})


def losses(*values):
    return {"losses": list(values)}


def test_the_work_of_a_step_is_that_of_its_products(training):
    weights, first = 6 * 5 + 5 * 4, 6 * 5
    assert step(training).work().amount == 2 * 8 * (3 * weights - first)
    assert step(training, samples=20, epochs=3, members=2).work().amount == 2 * 3 * 20 / 8 * step(training).work().amount
    assert (step(training).updates, step(training, samples=20, epochs=3).updates) == (1, 9)
    assert step(training).parameters == 6 * 5 + 5 + 5 * 4 + 4


def test_every_labelling_of_a_step_agrees_with_the_classes_about_as_often(training):
    x, labels = training.rows(step(training, batch=500))
    assert (x.shape, x.dtype, labels.shape) == ((500, 6), np.float32, (training.LABELLINGS, 500))
    common = np.array([np.bincount(column).max() for column in labels.T]) / training.LABELLINGS
    assert 0.5 < common.mean() < 0.75  # half of them, and a fourth of the other half


def test_rows_of_an_epoch_repeat_with_other_labels(training):
    x, labels = training.rows(step(training, samples=20))
    assert (x.shape, labels.shape) == ((20, 6), (20,))
    np.testing.assert_array_equal(x[:8], x[8:16])
    assert (labels[:8] != labels[8:16]).any()


def test_weights_are_the_same_each_time_and_scaled(training):
    case = step(training, sizes=(400, 300, 10))
    first, again = training.weights(case), training.weights(case)
    assert [array.shape for array in first] == [(400, 300), (300,), (300, 10), (10,)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert first[0].std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert {array.dtype for array in first} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("changes", "own", "other", "said"),
    [
        ({}, (2.0, 1.5, 1.0), (2.0005, 1.6, 1.1), None),
        ({}, (2.0, 1.0), (2.01, 1.0), "starts at a loss of 2.01, fastnn at 2"),
        ({}, (2.0, 1.0), (2.0, 1.5), "comes to a loss of 1.5, fastnn to 1"),
        ({}, (2.0, 1.0), (2.0, 2.0), "does not learn: its loss goes from 2 to 2"),
        ({}, (2.0, 1.0), (2.0, float("nan")), "has the losses [2.0, nan]"),
        ({"keep_prob": 0.5}, (2.0, 1.0), (2.4, 1.5), None),
        ({"samples": 16}, (2.0, 1.0), (2.8, 1.0), "starts at a loss of 2.8, fastnn at 2"),
    ],
)
def test_a_competitor_that_does_not_learn_the_same_is_named(training, changes, own, other, said):
    assert step(training, **changes).complaint(losses(*own), losses(*other)) == said


def test_fastnn_itself_is_held_to_its_losses(load):
    contest, case = load("contest"), load("training").Training((6, 4), 8)
    answers = {(2, "fastnn"): (None, {"losses": [1.0, 2.0], "form": ""}, 1)}
    with pytest.raises(RuntimeError, match=r"6-4, batch 8: fastnn \(\) does not learn"):
        contest.Contest((), contest.QUICK)._check(case, answers)


def test_cases_survive_the_pipe(load):
    from dataclasses import asdict

    worker = load("peers.worker")
    for case in (load("training").Training((6, 5, 4), 8, samples=20), load("cases").Case("adam_update", (10,))):
        assert worker.case_of(json.loads(json.dumps({type(case).__name__: asdict(case)}))) == case


@pytest.mark.parametrize("changes", [{}, {"samples": 300}, {"keep_prob": 0.5}, {"batch": 1}])
def test_numpy_and_fastnn_train_the_same(load, changes):
    case = step(load("training"), **{"sizes": (30, 200, 4), "batch": 64, **changes})
    probes = []
    for module in ("fastnn_training", "numpy_training"):
        (make,) = load(f"peers.{module}").prepare(case).values()
        probes.append(case.probe(make()))
    assert case.complaint(*probes) is None
    if not changes:
        np.testing.assert_allclose(probes[1]["losses"], probes[0]["losses"], rtol=1e-5)


def test_the_first_labels_of_a_step_stay_for_as_long_as_it_is_probed(load):
    probe = load("training").PROBE
    labels = load("peers.loops").labellings(["a", "b"])
    assert [next(labels) for _ in range(probe + 3)] == ["a"] * probe + ["a", "b", "a"]


def test_times_inside_an_epoch_are_per_update(load):
    bench = load("bench_training")
    case = step(load("training"), samples=32)
    data = bench.as_data(bench.Row("name", case, {}, case.updates), {"fastnn": {"seconds": 8.0, "median": 12.0, "form": ""}}, bench.Peaks())
    assert data["results"]["fastnn"] == {"seconds": 2.0, "median": 3.0, "form": ""}
    assert data["amount"] == step(load("training")).work().amount
    assert load("report").label(data) == "name"


def test_the_row_of_many_networks_waits_for_fit_many(load, monkeypatch):
    bench = load("bench_training")
    monkeypatch.setattr(fastnn, "fit_many", None, raising=False)
    (many,) = [line for line in bench.table_rows(True) if line.case.members > 1]
    assert [competitor.name for competitor in many.competitors] == ["fastnn", "one after another, one thread"]
    assert many.target == {"gain": 1.9}
    monkeypatch.delattr(fastnn, "fit_many")
    assert all(line.case.members == 1 for line in bench.table_rows(True))


def test_networks_train_the_same_together_and_one_after_another(load, monkeypatch):
    threads = []
    monkeypatch.setattr(fastnn, "fit_many", lambda nets, x, y, **settings: [net.fit(x, y, **settings) for net in nets], raising=False)
    monkeypatch.setattr(fastnn, "set_num_threads", threads.append)
    case = step(load("training"), samples=32, members=3, epochs=2)
    together, alone = load("peers.fastnn_training").prepare(case)["fit_many"](), load("peers.fastnn_one_by_one").prepare(case)
    assert threads == [1]
    assert case.probe(together) == case.probe(alone)
    monkeypatch.delattr(fastnn, "fit_many")
    assert load("peers.fastnn_training").prepare(case) == {}


def test_rows_of_mnist_are_absent_with_a_sentence(load, monkeypatch, tmp_path):
    training, bench = load("training"), load("bench_training")
    monkeypatch.setattr(training, "MNIST", tmp_path / "data" / "mnist.npz")
    assert "MNIST is absent" in training.mnist_note()
    assert all(line.case.data == "noise" for line in bench.table_rows(False))
    training.MNIST.parent.mkdir()
    training.MNIST.touch()
    assert training.mnist_note() == ""
    assert sum(line.case.data == "mnist" for line in bench.table_rows(False)) == 2


def test_readme_has_table_memory_and_the_picture_below_it(load, tmp_path):
    bench = load("bench_training")
    memory = {"name": "a net", "bytes": 3 << 20, "activations": 1 << 20, "limit": 2 << 20}
    data = {"machine": MACHINE, "rows": [{**row(NumPy=5e-3), "name": "step"}], "notes": ["JAX is absent"], "memory": memory}
    text = bench.readme(data, tmp_path / "README.md", tmp_path / "bench" / "training.png")
    assert "| step | 2 ms | 50 % | 2.50 times fastnn's time (NumPy) |" in text
    assert "| training | fastnn | of peak | best rival |" in text
    assert "JAX is absent" in text
    assert "Memory of a net, beyond data, weights and optimizer state: 3.00 MB" in text
    assert "reached: no." in text
    assert text.endswith("](bench/training.png)")
    assert "](" not in bench.readme(data, tmp_path / "README.md", tmp_path.parent / "training.png")


def test_a_straight_line_is_found_and_a_bend_told(load):
    scaling = load("bench_scaling")
    start, slope, worst = scaling.straight([1, 10, 100], [5.0, 23.0, 203.0])
    assert (start, slope, worst) == (pytest.approx(3.0), pytest.approx(2.0), pytest.approx(0.0, abs=1e-9))
    assert scaling.straight([1, 10, 100], [5.0, 46.0, 203.0])[2] > 0.3


def test_the_map_names_the_best_rival(load):
    points = [{**row(NumPy=5e-3, JAX=3e-3), "width": 16, "batch": batch} for batch in (8, 1)]
    points.append({**row(NumPy=1e-3), "width": 32, "batch": 1})
    head, first, second = load("bench_scaling").table(points).splitlines()
    assert head.split() == ["width", "batch", "1", "batch", "8"]
    assert first.split() == ["16", "1.50", "JAX", "1.50", "JAX"]
    assert second.split() == ["32", "0.50", "NumPy", "-"]


def test_time_to_accuracy_is_the_median_over_seeds(load):
    accuracy = load("bench_accuracy")
    assert accuracy.reached([(1.0, 0.90), (2.0, 0.98), (3.0, 0.97)], 0.98) == 2.0
    assert accuracy.reached([(1.0, 0.90)], 0.98) == accuracy.NEVER

    def curve(name, seed, *points):
        return {"name": name, "seed": seed, "points": points}

    curves = [curve("fastnn", seed, (1.0 - 0.5 * (seed == 0), 0.976), (2.0, 0.981 + 0.002 * (seed > 0))) for seed in range(3)]
    curves += [curve("PyTorch", seed, (4.0, 0.97), (8.0, 0.9751)) for seed in range(3)]
    _, own, other = accuracy.table(curves).splitlines()
    assert own.split() == ["fastnn", "1", "s", "2", "s", "2", "s", "1", "s", "98.30", "%"]
    assert other.split() == ["PyTorch", "8", "s", "(8.00)", "never", "never", "4", "s", "97.51", "%"]


@pytest.mark.parametrize(("last", "right"), [(0.9841, True), (0.9819, False), (0.987, False)])
def test_the_recipe_of_keras_is_judged_by_its_last_epoch(load, last, right):
    study = {"name": "Keras MNIST", "accuracies": [0.984, last], "seconds": 1.0}
    assert load("bench_literature").verdict(study)[0] is right


def test_adam_is_to_end_below_all_others(load):
    literature = load("bench_literature")

    def study(**costs):
        return {"name": "Adam", "seconds": 1.0, "curves": {name: {"rate": 0.1, "costs": [9.0, cost]} for name, cost in costs.items()}}

    assert literature.verdict(study(Adam=1.0, RMSProp=2.0, AdaGrad=3.0)) == (
        True, "Adam has the least training cost after 2 epochs: Adam 1.0000, RMSProp 2.0000, AdaGrad 3.0000")  # fmt: skip
    right, sentence = literature.verdict(study(Adam=1.0, RMSProp=0.5, AdaGrad=float("nan")))
    assert not right
    assert "not below that of RMSProp and AdaGrad" in sentence


def test_costs_of_a_run_that_diverged_are_infinite(load):
    study = {"curves": {"Adam": {"rate": 0.1, "decay": "constant", "costs": [3.0, 2.0]},
                        "AdaGrad": {"rate": 0.2, "decay": "constant", "costs": [float("inf")]}}}  # fmt: skip
    assert load("bench_literature").table(study).splitlines()[-1].split() == ["AdaGrad", "0.2", "constant", "inf", "inf"]
