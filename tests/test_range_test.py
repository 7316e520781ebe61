"""The range test: its losses against a training loop written out here, its rules on curves whose answers are known."""

from __future__ import annotations

import math
import signal
from dataclasses import replace

import numpy as np
import pytest

from fastnn import SGD, AdaGrad, Adam, Momentum, RangeReport, RMSProp, Standardizer, backend, learning_rate_range_test, loop
from fastnn.datasets import load_digits
from fastnn.losses import L2
from fastnn.model import MLP
from fastnn.trainer import Trainer

RNG = np.random.default_rng(5)
X, Y = RNG.standard_normal((50, 4)), RNG.standard_normal((50, 2))


def linear(**settings):
    return learning_rate_range_test(MLP((4, 2), dtype="float64", seed=3), X, Y, optimizer=SGD(77.0),
                                    **{"loss": "l2", "low": 1e-4, "high": 1.0, "steps": 25, "batch_size": 12, **settings})  # fmt: skip


@pytest.mark.parametrize("compiled", [True, False], ids=["C", "NumPy"])
def test_losses_and_rates_are_those_of_a_training_by_hand(compiled, monkeypatch):
    used = []
    if not compiled:
        monkeypatch.setattr(backend, "engine", None)
        run = loop.Engine.run
        monkeypatch.setattr(loop.Engine, "run", lambda self, *args: used.append(self) or run(self, *args))
    report = linear(seed=11, explosion=1e9)
    net = MLP((4, 2), dtype="float64", seed=3)
    w, b = net.parameters()
    losses, average, orders = [], 0.0, Trainer(net, seed=11)
    for step in range(25):
        if step % 4 == 0:  # 50 rows: four full batches of 12, two rows left over
            order = orders.order(50)
            orders.end_epoch()
        rows = order[12 * (step % 4):][:12]
        error = X[rows] @ w + b - Y[rows]
        losses.append(0.5 * np.square(error).sum() / 12)
        rate = 1e-4 * 10 ** (4 * step / 24)
        w, b = w - rate * X[rows].T @ error / 12, b - rate * error.mean(0)
        average = 0.9 * average + 0.1 * losses[-1]
        assert report.rates[step] == pytest.approx(rate, rel=1e-12)
        assert report.losses[step] == pytest.approx(losses[-1], rel=1e-10)
        assert report.smoothed[step] == pytest.approx(average / (1 - 0.9 ** (step + 1)), rel=1e-10)
    assert (report.stopped, report.skipped, len(report.losses)) == ("steps", 2, 25)
    assert compiled or used


def test_the_last_rate_is_the_highest_and_smoothing_may_be_off():
    report = linear(smoothing=0.0, explosion=1e9)
    assert (report.rates[0], report.rates[-1]) == (1e-4, pytest.approx(1.0, rel=1e-12))
    assert report.smoothed.tolist() == report.losses.tolist()


def test_it_stops_where_the_smoothed_loss_explodes():
    report = linear(high=1e3, steps=60, explosion=3.0)
    best = np.minimum.accumulate(report.smoothed)
    assert report.stopped == "exploded"
    assert 10 < len(report.losses) < 60
    assert (report.smoothed > 3.0 * best).tolist() == [False] * (len(best) - 1) + [True]
    assert len(report.rates) == len(report.losses) == len(report.smoothed)
    later = linear(high=1e3, steps=60, explosion=30.0)
    assert len(later.losses) > len(report.losses)


def test_it_stops_where_numbers_are_not_finite():
    report = linear(high=1e60, steps=40, explosion=1e300)
    assert report.stopped == "not finite"
    assert np.isfinite(report.losses).all()
    assert "ended in numbers that are not finite" in str(report)


def test_the_first_step_may_already_be_too_much():
    x = np.full((20, 4), 1e200)
    report = learning_rate_range_test(MLP((4, 2), dtype="float64"), x, np.ones((20, 2)), loss="l2")
    assert (report.stopped, report.losses.shape, report.suggested) == ("not finite", (0,), None)
    assert "no rate is suggested" in str(report)


class Bounty:
    """A loss that falls below zero: the negated mean of the scores."""

    def value_and_gradient(self, scores, y, sample_weight=None):
        return -float(scores.mean()), np.full_like(scores, -1.0 / scores.size)

    def predict(self, scores):
        return scores


class Interrupting(L2):
    """Sends Ctrl-C while it works out the loss of a chosen step."""

    def __init__(self, at):
        object.__setattr__(self, "left", [at])

    def value_and_gradient(self, scores, y, sample_weight=None):
        self.left[0] -= 1
        if self.left[0] == 0:
            signal.raise_signal(signal.SIGINT)
        return super().value_and_gradient(scores, y, sample_weight)


def test_ctrl_c_keeps_what_was_measured():
    whole = linear(steps=100, explosion=1e9)
    report = linear(steps=100, explosion=1e9, loss=Interrupting(60))
    assert report.stopped == "interrupted"
    for name in ("rates", "losses", "smoothed"):
        assert getattr(report, name).tolist() == getattr(whole, name)[:60].tolist()
    assert report.suggested == pytest.approx(report.lowest / 10)
    assert str(report).endswith("; interrupted at 0.024 after 60 steps, and was still falling: test higher rates")


def test_ctrl_c_before_there_is_anything_to_say(monkeypatch):
    def interrupted(self, *batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        linear()


def test_progress_is_one_line_on_request(capsys):
    linear()
    assert capsys.readouterr().err == ""
    linear(progress=True, steps=200, explosion=1e9)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == [f"{step}/200" for step in range(10, 201, 10)]


def test_a_loss_below_zero_is_no_explosion():
    report = learning_rate_range_test(MLP((4, 2)), np.ones((20, 4), np.float32), np.zeros(20), loss=Bounty(), optimizer=SGD())
    assert report.stopped == "steps"
    assert report.suggested == pytest.approx(1.0)


def test_the_net_and_the_settings_are_left_alone():
    net = MLP((4, 8, 2), keep_prob=0.5, seed=2)
    before, loss = [array.tobytes() for array in net.parameters()], net.loss
    x, y, scaler = X.copy(), Y.copy(), Standardizer()
    learning_rate_range_test(net, x, y, loss="l2", preprocessing=scaler)
    assert [array.tobytes() for array in net.parameters()] == before
    assert net.loss is loss
    assert net.preprocessing is None
    assert not scaler.fitted
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)


def test_preprocessing_is_what_the_training_would_have():
    x = 100.0 + 7.0 * X
    given = linear(steps=30)
    asked = learning_rate_range_test(MLP((4, 2), dtype="float64", seed=3), x, Y, loss="l2", optimizer="sgd", low=1e-4, high=1.0, steps=30,
                                     batch_size=12, preprocessing=Standardizer())
    by_hand = learning_rate_range_test(MLP((4, 2), dtype="float64", seed=3), (x - x.mean(0)) / x.std(0), Y, loss="l2", optimizer="sgd",
                                       low=1e-4, high=1.0, steps=30, batch_size=12)
    np.testing.assert_allclose(asked.losses, by_hand.losses, rtol=1e-9)
    assert abs(asked.losses[0] - given.losses[0]) > 1e-6
    net = MLP((4, 2), dtype="float64", seed=3)
    net.preprocessing = Standardizer().fit(x)
    kept = learning_rate_range_test(net, x, Y, loss="l2", optimizer="sgd", low=1e-4, high=1.0, steps=30, batch_size=12)
    np.testing.assert_array_equal(kept.losses, asked.losses)


def test_limits_reach_the_training():
    free, held = linear(), linear(clip_norm=1e-3)
    assert held.losses[-1] > free.losses[-1]
    assert linear(clip_value=1e-3).losses[-1] > free.losses[-1]
    assert linear(max_norm=1e-3).losses[-1] != free.losses[-1]
    assert linear(seed=1).losses[0] != linear(seed=2).losses[0]


def curve(losses, stopped="exploded", skipped=4):
    """A report over 20 steps a decade from 1e-3 on, unsmoothed."""
    losses = np.array(losses, np.float64)
    return RangeReport(1e-3 * 10.0 ** (np.arange(len(losses)) / 20), losses, losses, stopped, skipped)


# Flat at 2 for 20 steps, down to 1 in 20 with the steepest part in the middle, flat for 10, up again.
FALL = [2 - 0.5 * (1 - math.cos(math.pi * k / 20)) for k in range(20)]
VALLEY = [2.0] * 20 + FALL + [1.0 + 0.001 * abs(k - 6) for k in range(10)] + [1.0 + k * k for k in range(4)]


def test_the_rule_on_a_valley():
    report = curve(VALLEY)
    assert report.lowest == pytest.approx(1e-3 * 10 ** (46 / 20))
    assert report.suggested == pytest.approx(1e-4 * 10 ** (46 / 20))
    assert report.steepest == pytest.approx(1e-3 * 10 ** (30 / 20), rel=1e-9)
    assert str(report) == ("learning-rate range test: 0.02 is suggested, a tenth of 0.2, where the smoothed loss was lowest (1); it fell "
                           "fastest at 0.032; the loss exploded at 0.45 after 54 steps")
    assert repr(report) == "<RangeReport: rate 0.02 suggested, 54 steps, exploded>"


def test_the_smoothed_loss_is_judged():
    smooth = curve(VALLEY)
    noisy = smooth.losses.copy()
    noisy[[20, 30]] = 0.1, 9.0
    assert str(replace(smooth, losses=noisy)) == str(smooth)


def test_the_first_steps_do_not_count():
    report = curve([9.0, 0.1, 0.1, 2.0, *VALLEY[4:]])
    assert report.lowest == pytest.approx(1e-3 * 10 ** (46 / 20))
    assert report.steepest == pytest.approx(1e-3 * 10 ** (30 / 20), rel=1e-9)


def test_a_fall_after_the_minimum_is_not_the_steepest():
    report = curve([*VALLEY[:50], 5.0, 5.0, 5.0, 5.0, 2.0, 2.0, 2.0, 2.0])
    assert report.steepest == pytest.approx(1e-3 * 10 ** (30 / 20), rel=1e-9)


def test_a_loss_still_falling_asks_for_higher_rates():
    report = curve([2.0 - 0.03 * k for k in range(40)], "steps")
    assert report.lowest == pytest.approx(report.rates[-1])
    assert str(report).endswith("the loss did not explode up to 0.089 after 40 steps, and was still falling: test higher rates")
    assert "still falling" not in str(curve(VALLEY, "steps"))
    assert "still falling" not in str(curve([2.0 - 0.03 * k for k in range(40)] + [9.0], "exploded"))


@pytest.mark.parametrize(("losses", "stopped", "advice"), [
    ([2.0] * 30, "steps", "none lowered the loss, test higher rates; the loss did not explode up to 0.028 after 30 steps"),
    ([2.0] * 20 + [1.95] * 10, "steps", "test higher rates"),
    ([2.3, 1.9, 1.9, 1.9] + [1.95] * 20, "steps", "test higher rates"),  # a fall of the first few, whose mean is 2
    ([-1.0] * 10 + [-1.02] * 10, "steps", "test higher rates"),
    ([2.0] * 5 + [3.0, 9.0], "exploded", "none lowered the loss, test lower rates; the loss exploded at 0.002 after 7 steps"),
    ([2.0, 9.0], "exploded", "test lower rates"),
    ([], "not finite", "test lower rates"),
])
def test_no_fall_no_suggestion(losses, stopped, advice):
    report = curve(losses, stopped)
    assert (report.suggested, report.lowest, report.steepest) == (None, None, None)
    assert advice in str(report)
    assert repr(report).startswith("<RangeReport: no rate suggested")


def test_a_short_curve_has_a_steepest_rate_too():
    report = curve([2.0, 2.0, 2.0, 2.0, 1.0, 9.0])
    assert report.lowest == report.steepest == report.rates[4]


def test_the_picture(tmp_path):
    path = tmp_path / "range.png"
    report = replace(curve(VALLEY), losses=np.array(VALLEY) + 0.5)
    lines = {line.get_label(): line for line in report.plot(path).axes[0].get_lines()}
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(lines) == ["loss of the batch", "smoothed", "suggested: 0.02", "steepest: 0.032", "lowest: 0.2"]
    assert lines["smoothed"].get_ydata().tolist() == VALLEY
    assert lines["loss of the batch"].get_ydata().tolist() == report.losses.tolist()
    assert lines["suggested: 0.02"].get_xdata()[0] == report.suggested
    assert report.plot().axes[0].get_xscale() == "log"
    assert len(curve([2.0] * 30, "steps").plot().axes[0].get_lines()) == 2


@pytest.mark.parametrize("optimizer", [SGD(), Momentum(), Momentum(nesterov=True), AdaGrad(), RMSProp(), Adam()], ids=repr)
def test_the_suggestion_trains_the_digits(optimizer):
    x, y = load_digits()
    order = np.random.default_rng(0).permutation(len(x))
    train, rest = order[:1200], order[1200:]
    report = learning_rate_range_test(MLP((64, 64, 10), seed=1), x[train], y[train], optimizer=optimizer, batch_size=32,
                                      preprocessing=Standardizer())
    net = MLP((64, 64, 10), seed=1)
    net.fit(x[train], y[train], optimizer=replace(optimizer, learning_rate=report.suggested), epochs=8, batch_size=32,
            preprocessing=Standardizer())
    assert np.mean(net.predict(x[rest]) == y[rest]) >= 0.94
    assert report.stopped == "exploded"


@pytest.mark.parametrize(("change", "kind", "sentence"), [
    ({"net": 3}, TypeError, "^fastnn.learning_rate_range_test: argument 'net' must be a network"),
    ({"low": 0.0}, ValueError, "'low'"),
    ({"low": 1.0, "high": 1.0}, ValueError, "'high' must be finite and in range"),
    ({"high": math.inf}, ValueError, "'high'"),
    ({"low": 1e-300, "high": 1e300}, ValueError, "'high' must be finite and in range"),
    ({"steps": 9}, ValueError, "'steps' must be in range"),
    ({"batch_size": 0}, ValueError, "'batch_size'"),
    ({"smoothing": 1.0}, ValueError, "'smoothing'"),
    ({"explosion": 1.0}, ValueError, "'explosion'"),
    ({"optimizer": "lion"}, ValueError, "^fastnn.learning_rate_range_test: argument 'optimizer'"),
    ({"loss": "l3"}, ValueError, "'loss' must name a loss"),
    ({"clip_norm": -1}, ValueError, "'clip_norm'"),
    ({"x": X[:, :3]}, ValueError, "^fastnn.learning_rate_range_test: argument 'x'"),
    ({"x": X[:0], "y": Y[:0]}, ValueError, "have at least one row"),
    ({"y": Y[:7]}, ValueError, "^fastnn.learning_rate_range_test: argument 'y'"),
])
def test_bad_input_is_answered(change, kind, sentence):
    arguments = {"net": MLP((4, 2)), "x": X, "y": Y, "loss": "l2", **change}
    with pytest.raises(kind, match=sentence):
        learning_rate_range_test(arguments.pop("net"), arguments.pop("x"), arguments.pop("y"), **arguments)
