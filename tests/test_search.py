"""Random search and grid search: what is tried, how it is judged, what is kept, and what is said of it."""

from __future__ import annotations

import json
import math
import re
import sys
import threading
import warnings

import joblib
import numpy as np
import pytest
from searches import SPACE, TRAIN, VALIDATION, X, Y, bits, build, by_hand, run, timeless

from fastnn import (
    MLP,
    SGD,
    Adam,
    BorderWarning,
    Choice,
    CosineDecay,
    DataLeakWarning,
    GridSearch,
    IntUniform,
    LogUniform,
    RandomSearch,
    ReduceOnPlateau,
    Stage,
    Standardizer,
    Trainer,
    Uniform,
    many,
    search_training,
)


def test_scores_are_those_of_plain_training():
    result = run(RandomSearch(build, SPACE, [Stage(7), Stage(4, epochs=5)]), keep_networks=2)
    assert [(trial.index, trial.stage, trial.epochs) for trial in result.trials] == [(k, k // 7, [1, 5][k // 7]) for k in range(11)]
    for trial in result.trials:
        trainer, reached = by_hand(trial, trial.epochs)
        assert (trial.score, trial.loss) == (reached["accuracy"], reached["loss"])
        if trial == result.best:
            assert bits(result.networks()[0]) == bits(trainer.net)
    assert result.monitor == "val_accuracy"
    assert result.best.score == max(trial.score for trial in result.trials) > 0.8
    equals = [trial.loss for trial in result.trials if trial.score == result.best.score]
    assert result.best.loss == min(equals)
    scores = [(-trial.score, trial.loss) for trial in result.top(99)]
    assert scores == sorted(scores)
    assert len(scores) == 11
    assert [bits(net) for net in result.networks(4)] == [bits(by_hand(trial, trial.epochs)[0].net) for trial in result.top(4)]


def test_cross_validation_judges_every_row_once_with_statistics_of_the_others():
    search = RandomSearch(build, SPACE, [Stage(3, epochs=2)])
    result = run(search, folds=4)
    splits = search_training.splits("f", *TRAIN, None, 4, 0)
    assert sorted(np.concatenate([np.setdiff1d(np.arange(180), split.rows) for split in splits])) == list(range(180))
    counts = np.array([np.bincount(split.y, minlength=3) for split in splits])
    assert (np.ptp(counts, axis=0) <= 1).all()
    for trial in result.trials:
        scores = []
        for split in splits:
            held = np.setdiff1d(np.arange(180), split.rows)
            trainer, reached = by_hand(trial, 2, ((X[split.rows], Y[split.rows]), (X[held], Y[held])))
            np.testing.assert_allclose(trainer.preprocessing.mean, X[split.rows].mean(axis=0))
            scores.append(reached["accuracy"])
        assert trial.scores == tuple(scores)
        assert trial.score == pytest.approx(sum(scores) / 4)
    refit, _ = by_hand(result.best, 2)
    assert bits(result.networks()[0]) == bits(refit.net)


def test_the_first_stage_is_wide_and_later_ones_are_narrow_around_the_best():
    space = {"learning_rate": LogUniform(1e-6, 1e-1), "width": IntUniform(4, 40)}
    result = run(RandomSearch(build, space, [Stage(30, keep=1), Stage(20, epochs=2, keep=2, narrow=0.2), Stage(10, epochs=3, narrow=0.5)]))
    coarse, fine, finest = ([trial for trial in result.trials if trial.stage == stage] for stage in range(3))
    places = [math.log10(trial.parameters["learning_rate"]) for trial in coarse]
    assert min(places) < -5
    assert max(places) > -2
    assert {type(trial.parameters["width"]) for trial in coarse} == {int}
    best = max(coarse, key=lambda trial: (trial.score, -trial.loss))
    apart = [math.log10(trial.parameters["learning_rate"] / best.parameters["learning_rate"]) for trial in fine]
    assert -0.5 <= min(apart) < -0.1
    assert max(apart) <= 0.5
    assert all(abs(trial.parameters["width"] - best.parameters["width"]) <= 4 for trial in fine)
    centres = sorted(coarse + fine, key=lambda trial: (-trial.score, trial.loss))[:2]
    for k, trial in enumerate(finest):
        ratio = trial.parameters["learning_rate"] / centres[k % 2].parameters["learning_rate"]
        assert abs(math.log10(ratio)) <= 0.25
        assert trial.parameters["learning_rate"] <= 0.1


def test_the_seed_fixes_the_trials_and_nothing_else_does():
    def trials(seed=4, **options):
        return timeless(run(RandomSearch(build, SPACE, [Stage(5), Stage(3, epochs=2)], seed), **options).trials)

    first = trials()
    assert trials() == first
    assert trials(together=1) == first
    assert trials(together=3) == first
    assert trials(backend="joblib", n_jobs=1) == first
    other = trials(seed=5)
    assert not set(other) & set(first)
    values = [json.loads(line + '"seconds": 0}')["parameters"]["learning_rate"] for line in first]
    assert len(set(values)) == len(values)


def test_processes_give_the_same_bits():
    result = run(RandomSearch(build, SPACE, [Stage(4), Stage(2, epochs=2, warm=True)]), keep_networks=2)
    apart = run(RandomSearch(build, SPACE, [Stage(4), Stage(2, epochs=2, warm=True)]), keep_networks=2, backend="joblib", n_jobs=2)
    assert timeless(result.trials) == timeless(apart.trials)
    assert set(apart.kept) == {trial.index for trial in apart.top(2)}
    assert [bits(net) for net in result.networks(2)] == [bits(net) for net in apart.networks(2)]


def test_less_than_an_epoch_visits_a_part_of_the_rows():
    steps = []

    class Seen(Trainer):
        def _judged(self, *arguments):
            steps.append((self.steps, self.epochs))
            return super()._judged(*arguments)

    result = run(RandomSearch(lambda learning_rate: Seen(MLP((6, 3)), optimizer=Adam(learning_rate)), {"learning_rate": LogUniform(1e-3,
    1e-1)},
                              [Stage(2, epochs=0.3), Stage(1, epochs=3)]))  # fmt: skip
    assert steps == [(2, 1)] * 2 + [(18, 3)]  # 54 and 180 rows by 32
    assert [trial.epochs for trial in result.trials] == [0.3, 0.3, 3]
    field = search_training.Field("f", build, *TRAIN, search_training.splits("f", *TRAIN, VALIDATION, None, 0), 32, 0, None, 3.0)
    rows = field.part(0, 0.3)
    assert len(set(rows.tolist())) == 54
    assert np.array_equal(rows, field.part(0, 0.3))
    assert field.part(0, 1) is None
    splits = search_training.splits("f", *TRAIN, None, 3, 0)
    field = search_training.Field("f", build, *TRAIN, splits, 32, 0, None, 3.0)
    for number, split in enumerate(splits):
        assert set(field.part(number, 0.5).tolist()) < set(split.rows.tolist())
        assert len(field.part(number, 0.5)) == 60
        assert field.part(number, 1) is split.rows


def test_build_gets_what_it_asks_for():
    asked = []

    def curious(learning_rate, epochs, seed, batch_size):
        asked.append((epochs, seed, batch_size))
        return Trainer(MLP((6, 3), seed=seed), optimizer=Adam(learning_rate), schedule=CosineDecay(epochs))

    space = {"learning_rate": LogUniform(1e-3, 1e-1), "batch_size": Choice([16, 64])}
    first = run(RandomSearch(curious, space, [Stage(5), Stage(2, epochs=4)]))
    epochs, seeds, sizes = zip(*asked[1:])
    assert epochs == (1,) * 5 + (4,) * 2
    assert len(set(seeds)) == 7
    assert sizes == tuple(trial.parameters["batch_size"] for trial in first.trials)
    assert set(sizes) == {16, 64}
    assert seeds[:5] != tuple(range(5))
    trial = first.trials[-1]
    trainer = curious(**trial.parameters, epochs=4, seed=seeds[-1])
    trainer.fit(*TRAIN, epochs=4, batch_size=trial.parameters["batch_size"])
    assert trial.loss == trainer.evaluate(*VALIDATION)["loss"]
    again = run(RandomSearch(lambda learning_rate: Trainer(MLP((6, 3)), optimizer=Adam(learning_rate)), space, [Stage(5)]))
    assert [trial.parameters for trial in again.trials] == [trial.parameters for trial in first.trials[:5]]


def test_a_bare_network_is_trained_with_its_own_loss():
    def bare(width):
        net = MLP((6, width, 3))
        net.loss = Trainer(net, loss="hinge").loss
        return net

    (trial,) = run(RandomSearch(bare, {"width": IntUniform(4, 9)}, [Stage(1)])).trials
    trainer = Trainer(MLP((6, trial.parameters["width"], 3)), loss="hinge")
    trainer.fit(*TRAIN, epochs=1, batch_size=32)
    assert trial.loss == trainer.evaluate(*VALIDATION)["loss"]


@pytest.mark.parametrize("monitor", ["loss", "val_loss"])
def test_trials_may_be_compared_by_their_loss(monitor):
    result = run(RandomSearch(build, SPACE, [Stage(9)], monitor=monitor))
    assert result.monitor == "val_loss"
    assert result.best.loss == result.best.score == min(trial.loss for trial in result.trials)
    assert str(result).splitlines()[0].split() == ["trial", "stage", "epochs", "val_loss", "learning_rate", "width"]


def test_errors_of_a_regression_are_to_fall():
    target = (X @ np.arange(6.0) - 100) / 50

    def line(learning_rate):
        return Trainer(MLP((6, 1)), loss="l2", optimizer=Adam(learning_rate), preprocessing=Standardizer())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BorderWarning)
        result = RandomSearch(line, {"learning_rate": LogUniform(1e-4, 1e-1)}, [Stage(6)]).run(X, target, folds=3, batch_size=16)
    assert result.monitor == "val_rmse"
    assert result.best.score == min(trial.score for trial in result.trials)


def test_warm_trials_go_on_from_the_best_ones():
    stages = [Stage(6, keep=2), Stage(4, epochs=2, warm=True, keep=1), Stage(1, epochs=3, warm=True)]
    result = run(RandomSearch(build, SPACE, stages), keep_networks=3)
    best = sorted(result.trials[:6], key=lambda trial: (-trial.score, trial.loss))[:2]
    second, last = result.trials[6:10], result.trials[10]
    assert [trial.continues for trial in second] == [best[0].index, best[1].index, None, None]
    assert [trial.parameters for trial in second[:2]] == [trial.parameters for trial in best]
    assert [trial.epochs for trial in second] == [3, 3, 2, 2]
    assert last.continues == sorted(result.trials[:10], key=lambda trial: (-trial.score, trial.loss))[0].index
    for trial in (*second, last):
        _, reached = by_hand(trial, trial.epochs)
        assert (trial.score, trial.loss) == (reached["accuracy"], reached["loss"])
    origins = [trial.index for trial in result.top(99)]
    continued = {trial.index: trial.continues for trial in result.trials}
    lineages = [origin(index, continued) for index in origins]
    assert len(set(lineages)) == len(lineages) == len({origin(index, continued) for index in range(11)})
    assert [bits(net) for net in result.networks(3)] == [bits(by_hand(trial, trial.epochs)[0].net) for trial in result.top(3)]


def origin(index, continued):
    while continued[index] is not None:
        index = continued[index]
    return index


def test_a_part_of_an_epoch_may_be_gone_on_with(tmp_path):
    stages = [Stage(3, epochs=0.5, keep=1), Stage(1, epochs=2, warm=True)]
    result = run(RandomSearch(build, SPACE, stages), log=tmp_path / "log")
    field = search_training.Field("f", build, *TRAIN, search_training.splits("f", *TRAIN, VALIDATION, None, 0), 32, 0, None, 3.0)
    rows = field.part(0, 0.5)
    trainer = build(**result.trials[-1].parameters)
    trainer.fit(X[rows], Y[rows], epochs=1, batch_size=32)
    trainer.fit(*TRAIN, epochs=2, batch_size=32)
    assert result.trials[-1].epochs == 2.5
    assert result.trials[-1].loss == trainer.evaluate(*VALIDATION)["loss"]
    assert bits(run(RandomSearch(build, SPACE, stages), log=tmp_path / "log").networks()[0]) == bits(result.networks()[0])


# ---------------------------------------------------------------------------------------------------------------------------------
# Trials that explode


def wild(learning_rate):
    return Trainer(MLP((6, 8, 3), seed=3), optimizer=SGD(learning_rate), loss="l2")


HOT = {"learning_rate": LogUniform(1e-8, 1e8)}
TARGETS = np.eye(3)[Y]


def test_trials_that_explode_are_recorded_and_the_search_goes_on():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BorderWarning)
        result = RandomSearch(wild, HOT, [Stage(12), Stage(6, epochs=3)]).run(X, TARGETS, folds=2, batch_size=32)
    assert len(result.trials) == 18
    first = [trial for trial in result.trials[:12] if trial.exploded]
    assert first
    assert all(trial.parameters["learning_rate"] > 1e-4 for trial in first)
    assert any("not finite in epoch 1" in trial.reason for trial in first)
    assert all((trial.score, trial.loss, trial.scores) == (None, None, ()) for trial in first)
    assert len(result.exploded) + len(result.top(99)) == 18
    assert f"18 trials in 2 stages, {len(result.exploded)} of which exploded" in str(result)


def test_a_loss_that_grows_is_dropped_early():
    class Growing:
        """A loss that grows by a tenth of the first with every epoch of six updates, for a net of one weight that nothing moves."""

        def __init__(self, steps):
            self.calls, self.steps = 0, steps

        def value_and_gradient(self, scores, y, sample_weight=None):
            self.calls += len(scores) <= 32  # not those of more rows than a batch has
            return 1.0 + (self.calls - 1) // 6 * self.steps, np.zeros_like(scores)

        def predict(self, scores):
            return scores

    made = []

    def grow(steps):
        made.append(Trainer(MLP((6, 1)), loss=Growing(steps), optimizer=SGD(0.1)))
        return made[-1]

    result = run(RandomSearch(grow, {"steps": Choice([0.05, 1.0])}, [Stage(8, epochs=30)], monitor="loss"))
    kinds = {trial.parameters["steps"]: trial for trial in result.trials}
    assert not kinds[0.05].exploded
    assert "its loss was 4 in epoch 4, after 1 in the first" in kinds[1.0].reason
    assert {trainer.loss.steps: trainer.epochs for trainer in made[1:]} == {0.05: 30, 1.0: 4}


def test_where_all_explode_a_sentence_says_so(tmp_path):
    search = RandomSearch(wild, {"learning_rate": LogUniform(1e12, 1e20)}, [Stage(5), Stage(5)])
    with pytest.raises(FloatingPointError, match=r"fastnn.RandomSearch: all 5 trials exploded, the first because its "):
        search.run(X, TARGETS, folds=2, log=tmp_path / "log")
    assert len(search.result.exploded) == 5
    assert (tmp_path / "log").read_text().count("\n") == 6
    with pytest.raises(ValueError, match=r"must have a trial with a score .*5 trials, 5 of which exploded"):
        _ = search.result.best
    assert "5 trials in one stage" in str(search.result)


def test_one_wild_update_is_an_explosion():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BorderWarning)
        result = RandomSearch(wild, {"learning_rate": LogUniform(1e-6, 1e10)}, [Stage(8)]).run(X, TARGETS, folds=2)  # an update each
    assert 0 < len(result.exploded) < 8
    for trial in result.trials:
        trainer = wild(**trial.parameters)
        split = search_training.splits("f", X, TARGETS, None, 2, 0)[0]
        loss = trainer.fit(X[split.rows], TARGETS[split.rows], epochs=1)["loss"][0]
        reached = trainer.evaluate(split.x, split.y)["loss"]
        assert trial.exploded == (reached > 3 * loss)
        assert not trial.exploded or re.match(r"its loss on the validation rows was \S+, after \S+ in training", trial.reason)


def test_a_score_that_is_not_finite_is_an_explosion():
    def odd(scale):
        return Trainer(MLP((6, 3)), loss="l2", optimizer=SGD(scale))

    judge = (X[180:] * 1e37, TARGETS[180:])
    with pytest.raises(FloatingPointError, match="its loss on the validation rows was not finite"):
        RandomSearch(odd, {"scale": LogUniform(1e-9, 1e-8)}, [Stage(2)]).run(X[:180], TARGETS[:180], validation_data=judge)


# ---------------------------------------------------------------------------------------------------------------------------------
# Borders


def planted(**parameters):
    """A net that nothing trains, whose loss is how far the parameters are from the best ones: a rate of 1e-2, keep all, no decay."""
    net = MLP((6, 1), dtype="float64")
    apart = {"learning_rate": lambda value: abs(math.log10(value) + 2), "keep_prob": lambda value: 1 - value, "weight_decay": abs}
    net.layers[0].weight[...] = 0
    net.layers[0].bias[...] = sum(apart[name](value) for name, value in parameters.items())
    return Trainer(net, loss="l2", optimizer=SGD(0.0))


def planted_search(space, stages=None, **options):
    return RandomSearch(planted, space, stages or [Stage(20)], **options).run(X, np.zeros(240), folds=2)


@pytest.mark.parametrize(("space", "sentence"), [
    ({"learning_rate": LogUniform(1e-6, 1e-4)}, r"learning_rate, \S+, is near the upper border of LogUniform\(1e-06, 0.0001\): "
                                                r"search LogUniform\(1e-06, 0.001\) \(extend=True does\)"),
    ({"learning_rate": LogUniform(1e-1, 1e1)}, r"learning_rate, \S+, is near the lower border .* search LogUniform\(0.01, 10\)"),
    ({"keep_prob": Uniform(0.5, 0.9)}, r"keep_prob, 0\.\d+, is near the upper border .* search Uniform\(0.5, 1\)"),
    ({"weight_decay": LogUniform(1e-4, 1)}, r"weight_decay, \S+, is near the lower border .* search LogUniform\(1e-06, 1\)"),
])  # fmt: skip
def test_a_best_value_on_a_border_is_told_of_with_a_wider_range(space, sentence):
    with pytest.warns(BorderWarning, match=f"fastnn.RandomSearch: the best {sentence}") as caught:
        result = planted_search(space)
    assert caught[0].filename == __file__
    (border,) = result.borders
    assert border.value == result.best.parameters[border.parameter]


def test_a_best_value_within_and_natural_borders_are_not_told_of():
    space = {"learning_rate": LogUniform(1e-4, 1), "keep_prob": Uniform(0.2, 1.0), "weight_decay": Uniform(0.0, 1.0)}
    result = planted_search(space, [Stage(30, keep=1), Stage(30, keep=1, narrow=0.3), Stage(30)])
    assert result.borders == []
    best = result.best.parameters
    assert best["keep_prob"] > 0.9
    assert best["weight_decay"] < 0.1
    assert 5e-3 < best["learning_rate"] < 2e-2


def test_extend_searches_beyond_the_border():
    result = planted_search({"learning_rate": LogUniform(1e-6, 1e-4)}, extend=True)
    assert (result.stages, len(result.trials)) == (4, 80)
    assert result.space["learning_rate"] == LogUniform(1e-6, result.space["learning_rate"].high, natural=(0, math.inf))
    assert result.space["learning_rate"].high == pytest.approx(10**0.75, rel=1e-2)  # half as wide again, three times
    assert result.borders == []
    assert result.best.parameters["learning_rate"] == pytest.approx(1e-2, rel=0.3)
    with pytest.warns(BorderWarning, match=r"the best learning_rate, .* upper border of LogUniform\(1e-08, \S+\): search \S+, \S+\)$"):
        result = planted_search({"learning_rate": LogUniform(1e-8, 1e-7)}, extend=True)
    assert result.stages == 4
    assert planted_search({"learning_rate": LogUniform(1e-4, 1)}, extend=True).stages == 1


def test_the_next_stage_looks_beyond_the_border_with_extend():
    def highest(extend):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BorderWarning)
            result = planted_search({"learning_rate": LogUniform(1e-6, 1e-4)}, [Stage(20), Stage(10)], extend=extend)
        return max(trial.parameters["learning_rate"] for trial in result.trials if trial.stage == 1)

    assert highest(False) <= 1e-4 < highest(True)


# ---------------------------------------------------------------------------------------------------------------------------------
# Preprocessing, schedules, what is shown


def test_statistics_are_of_the_training_rows_of_every_split():
    fitted = []

    class Noted(Standardizer):
        def fit(self, x):
            fitted.append(np.array(x))
            return super().fit(x)

    def noted(width):
        return Trainer(MLP((6, width, 3)), preprocessing=Noted())

    run(RandomSearch(noted, {"width": IntUniform(3, 9)}, [Stage(4)]), folds=3)
    splits = search_training.splits("f", *TRAIN, None, 3, 0)
    assert len(fitted) == 3  # not once a trial
    assert all(np.array_equal(rows, X[split.rows]) for rows, split in zip(fitted, splits))


def test_statistics_of_all_rows_are_found_out():
    leaky = Standardizer().fit(X)

    def leak(width):
        return Trainer(MLP((6, width, 3)), preprocessing=leaky)

    for options in ({}, {"folds": 3}):
        with pytest.warns(DataLeakWarning, match=r"fastnn.RandomSearch: about 100 % of the rows of 'validation_data'") as caught:
            run(RandomSearch(leak, {"width": IntUniform(3, 9)}, [Stage(3)]), **options)
        assert sum(each.category is DataLeakWarning for each in caught) == 1


def test_schedules_may_watch_the_validation_rows():
    watching = {"learning_rate": LogUniform(1e-3, 1e-2)}

    def plateau(learning_rate):
        return build(learning_rate, schedule=ReduceOnPlateau(patience=1, monitor="val_loss", min_delta=0.5))

    (trial,) = run(RandomSearch(plateau, watching, [Stage(1, epochs=5)])).trials
    trainer = plateau(**trial.parameters)
    trainer.fit(*TRAIN, epochs=5, batch_size=32, validation_data=VALIDATION)
    assert trial.loss == trainer.evaluate(*VALIDATION)["loss"]
    assert trainer.learning_rate < trial.parameters["learning_rate"]
    (crossed,) = run(RandomSearch(plateau, watching, [Stage(1, epochs=5)]), folds=2).trials
    for split, score in zip(search_training.splits("f", *TRAIN, None, 2, 0), crossed.scores):
        trainer = plateau(**crossed.parameters)
        trainer.fit(X[split.rows], Y[split.rows], epochs=5, batch_size=32, validation_data=(split.x, split.y))
        assert score == trainer.evaluate(split.x, split.y)["accuracy"]


def test_a_schedule_that_watches_is_shown_the_first_fold_by_the_final_network():
    def plateau(learning_rate):
        return build(learning_rate, schedule=ReduceOnPlateau(patience=1, monitor="val_loss", min_delta=0.5))

    result = run(RandomSearch(plateau, {"learning_rate": LogUniform(1e-3, 1e-2)}, [Stage(1, epochs=5)]), folds=2)
    trainer, split = plateau(**result.best.parameters), search_training.splits("f", *TRAIN, None, 2, 0)[0]
    trainer.fit(X[split.rows], Y[split.rows], epochs=5, batch_size=32, validation_data=(split.x, split.y))
    assert bits(result.networks()[0]) == bits(trainer.net)


def test_joblib_takes_the_backend_of_the_context():
    threads = set()

    def noting(learning_rate, width):
        threads.add(threading.current_thread().name)
        return build(learning_rate, width)

    plain = run(RandomSearch(build, SPACE, [Stage(6)]))
    with joblib.parallel_config(backend="threading", n_jobs=2):
        found = run(RandomSearch(noting, SPACE, [Stage(6)]), backend="joblib")
    assert len(threads) > 1
    assert timeless(found.trials) == timeless(plain.trials)


def test_progress_is_a_line_a_batch(capsys):
    run(RandomSearch(build, SPACE, [Stage(5), Stage(2)]), together=4, progress=True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split("  best")[0] for line in lines] == ["stage 1  trial 4/5", "stage 1  trial 5/5", "stage 2  trial 2/2"]
    assert all("best val_accuracy 0." in line and line.endswith("exploded 0") for line in lines)
    run(RandomSearch(build, SPACE, [Stage(1)]))
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------------------------------------------------------------------
# The grid


def test_a_grid_tries_every_combination():
    search = GridSearch(build, SPACE, {"learning_rate": 3, "width": 2}, epochs=2)
    result = run(search, keep_networks=1)
    assert [tuple(trial.parameters.values()) for trial in result.trials] == [
        (pytest.approx(rate), width) for rate in (1e-3, 1e-2, 1e-1) for width in (4, 20)]  # fmt: skip
    for trial in result.trials:
        assert trial.loss == by_hand(trial, 2)[1]["loss"]
    assert len(run(GridSearch(build, SPACE, 2)).trials) == 4


def test_a_grid_goes_on_from_its_log(tmp_path):
    first = run(GridSearch(build, SPACE, 2), log=tmp_path / "log")
    assert run(GridSearch(build, SPACE, 2), log=tmp_path / "log").trials == first.trials
    with pytest.raises(ValueError, match="of another search"):
        run(RandomSearch(build, SPACE, [Stage(4)]), log=tmp_path / "log")


# ---------------------------------------------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda: Stage(0), ValueError, "fastnn.Stage: argument 'trials'"),
    (lambda: Stage(3, epochs=0), ValueError, "'epochs' must be finite and in range"),
    (lambda: Stage(3, epochs=1.5), ValueError, "'epochs' must be whole beyond one"), (lambda: Stage(3, keep=0), ValueError, "'keep'"),
    (lambda: Stage(3, narrow=0), ValueError, "'narrow'"), (lambda: Stage(3, narrow=1.1), ValueError, "'narrow'"),
    (lambda: RandomSearch(3, SPACE), TypeError, "fastnn.RandomSearch: argument 'build' must be a function"),
    (lambda: RandomSearch(build, {}), ValueError, "'space' must have a parameter"),
    (lambda: RandomSearch(build, SPACE, []), TypeError, "'stages' must be a list of stages"),
    (lambda: RandomSearch(build, SPACE, [3]), TypeError, "'stages' must be a list of stages"),
    (lambda: RandomSearch(build, SPACE, seed=-1), ValueError, "'seed'"),
    (lambda: RandomSearch(build, SPACE, monitor=3), TypeError, "'monitor'"),
    (lambda: RandomSearch(build, SPACE, explosion=1), ValueError, "'explosion'"),
    (lambda: RandomSearch(lambda epochs, learning_rate: 1, SPACE, [Stage(1), Stage(1, warm=True)]), ValueError, "must not be warm"),
    (lambda: GridSearch(build, SPACE, 0), ValueError, "fastnn.GridSearch: argument 'points'"),
    (lambda: GridSearch(build, SPACE, {"width": 3}), ValueError, "'points' must name the parameters"),
])  # fmt: skip
def test_bad_settings_get_a_sentence(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


@pytest.mark.parametrize(("options", "kind", "sentence"), [
    ({}, ValueError, r"'validation_data' must be given, or folds, .*got neither"),
    ({"validation_data": VALIDATION, "folds": 3}, ValueError, "got both"), ({"validation_data": 3}, TypeError, "must be a pair"),
    ({"folds": 1}, ValueError, "'folds'"), ({"folds": 181}, ValueError, "'folds'"),
    ({"folds": 2, "batch_size": 0}, ValueError, "'batch_size'"),
    ({"folds": 2, "together": 0}, ValueError, "'together'"), ({"folds": 2, "keep_networks": -1}, ValueError, "'keep_networks'"),
    ({"folds": 2, "backend": "dask"}, ValueError, "'backend' must name a backend"),
    ({"folds": 2, "n_jobs": 2}, ValueError, "come with processes"),
    ({"validation_data": (X[:5, :4], Y[:5])}, ValueError, r"fastnn.RandomSearch \(validation_data\): argument 'x' must have shape"),
    ({"validation_data": (X[:5], Y[:4])}, ValueError, "argument 'y'"), ({"x": X[:180, :5], "folds": 2}, ValueError, "'x' must have shape"),
    ({"x": X[:9], "folds": 2}, ValueError, "'x' must have a row for every row of y"),
    ({"y": Y[:180] + 9, "folds": 2}, ValueError, "'y' must lie"),
])  # fmt: skip
def test_bad_rows_get_a_sentence_before_anything_is_trained(options, kind, sentence, monkeypatch):
    monkeypatch.setattr(search_training, "train", None)
    arguments = {"x": TRAIN[0], "y": TRAIN[1], **options}
    with pytest.raises(kind, match=sentence):
        RandomSearch(build, SPACE, [Stage(1)]).run(**arguments)


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda learning_rate: build(learning_rate), TypeError, r"'build' must take the parameters of the space .*build\(learn"),
    (lambda **_: 3, TypeError, "'build' must return a new Trainer or MLP .*got int"),
])  # fmt: skip
def test_bad_builds_get_a_sentence(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        run(RandomSearch(make, SPACE, [Stage(1)]))


def test_a_trainer_that_was_used_is_refused():
    used = build(0.01)
    used.fit(*TRAIN, epochs=1)
    with pytest.raises(TypeError, match="got a Trainer after 2 updates"):
        run(RandomSearch(lambda **_: used, SPACE, [Stage(1)]))


def test_an_unknown_score_gets_a_sentence():
    with pytest.raises(ValueError, match=r"'monitor' must be measured on the validation rows .*one of loss, accuracy, got 'f1'"):
        run(RandomSearch(build, SPACE, [Stage(1)], monitor="f1"))


def test_without_joblib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn\[parallel\]'"):
        run(RandomSearch(build, SPACE, [Stage(1)]), backend="joblib")


def test_trials_are_trained_together(monkeypatch):
    groups = []

    def counting(members, epochs):
        groups.append((len(members), epochs))
        many.train(members, epochs)

    monkeypatch.setattr(search_training, "train", counting)
    run(RandomSearch(build, SPACE, [Stage(5, epochs=6)]), folds=3, together=4)
    assert groups == [(12, 1), (12, 1), (12, 2), (12, 2), (3, 1), (3, 1), (3, 2), (3, 2)]
