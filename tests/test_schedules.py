from __future__ import annotations

import math

import numpy as np
import pytest

from fastnn import backend, loop
from fastnn.model import MLP
from fastnn.optimizers import SGD
from fastnn.schedules import (
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    PlateauState,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    Warmup,
    from_config,
    parse,
    plot_schedules,
    to_config,
)
from fastnn.trainer import Trainer

# Worked out by hand from the formulas.
TIMED = [
    (StepDecay(factor=0.5, every=3), {0: 1.0, 2: 1.0, 3: 0.5, 5: 0.5, 6: 0.25, 9: 0.125}),
    (StepDecay(factor=0.1, every=20), {0: 1.0, 19: 1.0, 20: 0.1, 40: 0.01}),
    (ExponentialDecay(rate=0.5), {0: 1.0, 1: 0.6065306597126334, 2: 0.36787944117144233, 4: 0.1353352832366127}),
    (InverseTimeDecay(rate=0.25), {0: 1.0, 1: 0.8, 4: 0.5, 12: 0.25}),
    (CosineDecay(over=4), {0: 1.0, 1: 0.8535533905932737, 2: 0.5, 3: 0.14644660940672624, 4: 0.0, 9: 0.0}),
    (CosineDecay(over=2, floor=0.2), {0: 1.0, 1: 0.6, 2: 0.2, 5: 0.2}),
    (Warmup(steps=4), {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0, 100: 1.0}),
]


@pytest.mark.parametrize(("schedule", "values"), TIMED, ids=lambda value: repr(value) if isinstance(value, Schedule) else "")
def test_multipliers_by_hand(schedule, values):
    for t, value in values.items():
        assert schedule.multiplier(t) == pytest.approx(value, rel=1e-12, abs=1e-15)


def rates(schedule, *args, **kwargs):
    return schedule.rates(*args, **kwargs).tolist()


def test_epoch_clock_is_constant_within_an_epoch():
    assert rates(StepDecay(0.5, 1), 0.8, first_step=100, steps=3, epoch=2) == [0.2, 0.2, 0.2]


def test_step_clock_counts_steps_and_not_epochs():
    assert rates(StepDecay(0.5, 2, unit="step"), 0.8, first_step=3, steps=4, epoch=7) == [0.4, 0.2, 0.2, 0.1]


def test_no_schedule_is_constant():
    assert rates(Schedule(), 0.3, first_step=5, steps=2, epoch=9) == [0.3, 0.3]


def test_warmup_multiplies_what_follows_on_the_same_clock():
    schedule = Warmup(4, StepDecay(0.5, 2, unit="step"))
    assert rates(schedule, 1.0, first_step=0, steps=6, epoch=0) == [0.25, 0.5, 0.375, 0.5, 0.25, 0.25]
    by_epoch = Warmup(2, StepDecay(0.1, 1))
    assert rates(by_epoch, 1.0, first_step=0, steps=3, epoch=0) == [0.5, 1.0, 1.0]
    assert rates(by_epoch, 1.0, first_step=3, steps=2, epoch=1) == [0.1, 0.1]


def test_plateau_waits_and_reduces():
    schedule = ReduceOnPlateau(factor=0.5, patience=2, min_delta=0.1)
    state = schedule.start()
    seen = []
    #            best 1.0, no, no -> 0.5, 0.95 is within min_delta, no -> 0.25, better, nan, nan -> 0.125
    for value in (1.0, 1.2, 1.0, 0.95, 0.95, 0.5, math.nan, math.nan):
        state = schedule.observe(state, value)
        seen.append(schedule.multiplier(state))
    assert seen == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    assert state == PlateauState(best=0.5, waited=0, multiplier=0.125)
    assert rates(schedule, 0.8, first_step=0, steps=2, epoch=0, state=state) == [0.1, 0.1]


def test_improvement_resets_the_wait():
    schedule = ReduceOnPlateau(patience=2)
    state = schedule.start()
    for value in (1.0, 2.0, 0.9, 2.0):
        state = schedule.observe(state, value)
    assert state == PlateauState(best=0.9, waited=1, multiplier=1.0)


def test_warmup_hands_its_monitor_on():
    schedule = Warmup(2, ReduceOnPlateau(factor=0.1, patience=1, monitor="loss"))
    assert schedule.monitor == "loss"
    assert Warmup(2).monitor is None
    state = schedule.observe(schedule.observe(schedule.start(), 1.0), 1.0)
    assert rates(schedule, 1.0, first_step=0, steps=3, epoch=2, state=state) == [0.05, 0.1, 0.1]


def test_a_warm_up_by_epochs_is_constant_within_one():
    schedule = Warmup(4, StepDecay(0.5, 3), unit="epoch")
    assert schedule.preview(5, steps_per_epoch=2).tolist() == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.5, 0.5, 0.5, 0.5]
    # A rest that counts steps, within epochs of the warm-up: (1 + epoch) / 2 times 0.5 ** step.
    assert Warmup(2, StepDecay(0.5, 1, unit="step"), unit="epoch").preview(2, steps_per_epoch=2).tolist() == [0.5, 0.25, 0.25, 0.125]


def test_preview_is_the_whole_run():
    preview = Warmup(3, StepDecay(0.5, 1)).preview(3, steps_per_epoch=2, learning_rate=0.6)
    assert preview.dtype == np.float64
    assert preview.tolist() == pytest.approx([0.2, 0.4, 0.3, 0.3, 0.15, 0.15])
    assert StepDecay(0.5, 2, unit="step").preview(2, steps_per_epoch=3).tolist() == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert StepDecay(0.5, 2).preview(5).tolist() == [1, 1, 0.5, 0.5, 0.25]
    assert StepDecay().preview(0, steps_per_epoch=5).shape == (0,)


def test_preview_of_a_plateau_sees_the_losses_it_is_given():
    schedule = ReduceOnPlateau(factor=0.1, patience=2)
    # The third and fifth values end a wait of two; the last epoch's loss, given or not, comes after every step.
    losses = [1.0, 1.0, 2.0, 0.5, 0.6, 0.6]
    want = pytest.approx([0.3] * 6 + [0.03] * 6 + [0.003] * 2)
    assert schedule.preview(7, steps_per_epoch=2, learning_rate=0.3, monitored=losses).tolist() == want
    assert schedule.preview(7, steps_per_epoch=2, learning_rate=0.3, monitored=np.array([*losses, 0.0, 9.0])).tolist() == want
    assert Warmup(2, schedule).preview(4, monitored=losses).tolist() == pytest.approx([0.5, 1.0, 1.0, 0.1])
    assert schedule.preview(1, monitored=[]).tolist() == [1.0]


def test_a_factor_above_one_may_overflow():
    assert StepDecay(10.0, 1).preview(400)[-1] == math.inf


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda: ReduceOnPlateau().preview(3), ValueError,
     r"^fastnn.preview: argument 'monitored' must say what ReduceOnPlateau is to see \(expected at least 2 values of val_loss, got None\)"),
    (lambda: Warmup(3, ReduceOnPlateau(monitor="loss")).preview(3, monitored=[1.0]), ValueError, "at least 2 values of loss, got 1 values"),
    (lambda: ReduceOnPlateau().preview(3, monitored=["a", "b"]), ValueError, "monitored.* got list"),
    (lambda: ReduceOnPlateau().preview(3, monitored=7.0), ValueError, "monitored.* got float"),
    (lambda: StepDecay().preview(-1), ValueError, "preview: argument 'epochs' must be in range"),
    (lambda: StepDecay().preview(1.5), TypeError, "'epochs' must be an integer"),
    (lambda: StepDecay().preview(2, steps_per_epoch=0), ValueError, "steps_per_epoch"),
    (lambda: StepDecay().preview(2, learning_rate=-1.0), ValueError, "learning_rate"),
    (lambda: plot_schedules([], 3), TypeError, r"^fastnn.plot_schedules: argument 'schedules' must be schedules .*at least one, got \[\]"),
    (lambda: plot_schedules(StepDecay(), 3), TypeError, "a list of schedules"),
    (lambda: plot_schedules({"a": 0.5}, 3), TypeError, "a schedule such as StepDecay\\(\\), got 0.5"),
    (lambda: plot_schedules([StepDecay()], 0), ValueError, "^fastnn.plot_schedules: argument 'epochs'"),
    (lambda: plot_schedules([ReduceOnPlateau()], 3), ValueError, "^fastnn.plot_schedules: argument 'monitored'"),
])
def test_bad_previews_are_answered(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


def drawn(figure):
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in figure.axes[0].get_lines()}


def test_a_picture_shows_the_previews(tmp_path):
    figure = plot_schedules({"halved": StepDecay(0.5, 1), "plateau": ReduceOnPlateau(0.1, 1)}, 2, steps_per_epoch=2, learning_rate=0.8,
                            monitored=[1.0], path=tmp_path / "both.png")
    assert drawn(figure) == {"halved": ([0, 0.5, 1, 1.5, 2], [0.8, 0.8, 0.4, 0.4, 0.4]), "plateau": ([0, 0.5, 1, 1.5, 2], [0.8] * 5)}
    assert [line.get_drawstyle() for line in figure.axes[0].get_lines()] == ["steps-post"] * 2
    assert figure.axes[0].get_xlabel() == "epoch"
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert list(drawn(plot_schedules([StepDecay(), Warmup(2)], 2))) == [repr(StepDecay()), repr(Warmup(2))]
    path = tmp_path / "one.png"
    assert CosineDecay(3).preview(3, path=path).tolist() == CosineDecay(3).preview(3).tolist()
    assert path.exists()


@pytest.mark.parametrize(("text", "schedule"), [
    ("none", Schedule()),
    ("step:0.5:5", StepDecay(0.5, 5)),
    ("step:0.1:2000:step", StepDecay(0.1, 2000, unit="step")),
    ("exponential:0.05", ExponentialDecay(0.05)),
    ("exponential:1e-4:step", ExponentialDecay(1e-4, unit="step")),
    ("inverse:0.5:epoch", InverseTimeDecay(0.5)),
    ("cosine", CosineDecay(12)),
    ("cosine:epoch", CosineDecay(12)),
    ("cosine:30", CosineDecay(30)),
    ("cosine:900:0.1:step", CosineDecay(900, 0.1, unit="step")),
    ("plateau", ReduceOnPlateau()),
    ("plateau:0.3", ReduceOnPlateau(0.3)),
    ("plateau:0.3:2", ReduceOnPlateau(0.3, 2)),
    ("warmup:100", Warmup(100)),
    ("warmup:100+step:0.5:5", Warmup(100, StepDecay(0.5, 5))),
    (" warmup : 3 : epoch + cosine ", Warmup(3, CosineDecay(12), unit="epoch")),
    ("warmup:3+warmup:2:epoch+none", Warmup(3, Warmup(2, Schedule(), unit="epoch"))),
])
def test_parse(text, schedule):
    assert parse(text, epochs=12) == schedule


@pytest.mark.parametrize(("text", "kind", "sentence"), [
    ("", ValueError, r"^fastnn.schedules.parse: argument 'text' must name a schedule \(expected one of none, step, .*warmup, got ''\)$"),
    ("stpe:0.5:5", ValueError, "name a schedule .* got 'stpe:0.5:5'"),
    ("step", ValueError, r"have the form of 'step' \(expected step:FACTOR:EVERY such as step:0.5:5, got 'step'\)"),
    ("step:0.5:5:3", ValueError, "step:FACTOR:EVERY"),
    ("step:half:5", ValueError, "step:FACTOR:EVERY"),
    ("step:0.5:2.5", ValueError, "step:FACTOR:EVERY"),
    ("step:0.5:0", ValueError, "^fastnn.StepDecay: argument 'every'"),
    ("exponential:-1", ValueError, "^fastnn.ExponentialDecay: argument 'rate'"),
    ("none:3", ValueError, "have the form of 'none'"),
    ("none:step", ValueError, "have the form of 'none'"),
    ("plateau:0.5:5:step", ValueError, "have the form of 'plateau'"),
    ("cosine:step", ValueError, "say over how many steps or epochs the cosine falls"),
    ("warmup", ValueError, "have the form of 'warmup'"),
    ("warmup:5+", ValueError, "name a schedule"),
    ("warmup:5+cosine:x", ValueError, "have the form of 'cosine'"),
    ("step:0.5:5+cosine", ValueError, "begin with a warm-up where it has a '\\+'"),
    (0.5, TypeError, "must be a text"),
])
def test_parse_answers_what_it_cannot_read(text, kind, sentence):
    with pytest.raises(kind, match=sentence):
        parse(text, epochs=12)


def test_a_cosine_needs_the_length_of_the_run():
    with pytest.raises(ValueError, match="say over how many steps or epochs"):
        parse("cosine")
    assert parse("cosine:4") == CosineDecay(4)


@pytest.mark.parametrize("schedule", [
    parse(text, 3) for text in ("none", "step:0.5:1", "step:0.5:2:step", "exponential:0.3:step", "exponential:0.3", "inverse:0.5:step",
                                "inverse:0.5", "cosine", "cosine:7:step", "warmup:4+cosine:7:0.1:step", "warmup:2:epoch")
], ids=repr)  # fmt: skip
@pytest.mark.parametrize("compiled", [True, False], ids=["C", "NumPy"])
def test_both_engines_train_at_the_rates_of_the_preview(schedule, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(backend, "engine", None)
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((10, 3)), rng.standard_normal((10, 2))
    net = MLP((3, 2), dtype="float64")
    w, b = (array.copy() for array in net.parameters())
    for step, rate in enumerate(schedule.preview(3, steps_per_epoch=3, learning_rate=0.2)):
        rows = slice(4 * (step % 3), 4 * (step % 3) + 4)
        gradient = (x[rows] @ w + b - y[rows]) / len(x[rows])
        w, b = w - rate * x[rows].T @ gradient, b - rate * gradient.sum(0)
    trainer = Trainer(net, loss="l2", optimizer=SGD(0.2), schedule=schedule)
    trainer.fit(x, y, epochs=3, batch_size=4, shuffle=False)
    assert compiled or type(trainer._engine) is loop.Engine
    np.testing.assert_allclose(net.layers[0].weight, w, rtol=1e-12)
    np.testing.assert_allclose(net.layers[0].bias, b, rtol=1e-12)


def test_the_plateau_of_a_run_is_the_one_previewed():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((30, 3)), rng.standard_normal((30, 1))
    schedule = ReduceOnPlateau(factor=0.5, patience=1, monitor="loss", min_delta=0.02)
    history = MLP((3, 1)).fit(x, y, loss="l2", optimizer=SGD(0.3), schedule=schedule, epochs=12, batch_size=10)
    assert len(set(history["learning_rate"])) > 3
    assert history["learning_rate"] == schedule.preview(12, learning_rate=0.3, monitored=history["loss"]).tolist()


def test_the_clock_of_a_warm_up_is_saved():
    schedule = Warmup(3, CosineDecay(7), unit="epoch")
    assert from_config(to_config(schedule)) == schedule


def test_they_print_as_the_call_that_makes_them():
    assert repr(StepDecay()) == "StepDecay(unit='epoch', factor=0.5, every=5)"
    assert repr(Warmup(3, CosineDecay(over=7))) == "Warmup(steps=3, then=CosineDecay(unit='epoch', over=7, floor=0.0), unit='step')"
    assert repr(ReduceOnPlateau()) == "ReduceOnPlateau(factor=0.5, patience=5, min_delta=0.0, monitor='val_loss')"


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda: StepDecay(factor=-1), ValueError, "^fastnn.StepDecay: argument 'factor' must be finite and in range"),
    (lambda: StepDecay(every=0), ValueError, "every"),
    (lambda: StepDecay(every=1.5), TypeError, "'every' must be an integer"),
    (lambda: StepDecay(unit="batch"), ValueError, "'unit' must name a clock .*'epoch' or 'step'"),
    (lambda: ExponentialDecay(rate=-0.1), ValueError, "ExponentialDecay: argument 'rate'"),
    (lambda: InverseTimeDecay(rate="x"), TypeError, "InverseTimeDecay: argument 'rate'"),
    (lambda: CosineDecay(over=0), ValueError, "over"),
    (lambda: CosineDecay(over=3, floor=1.5), ValueError, "floor"),
    (lambda: Warmup(0), ValueError, "steps"),
    (lambda: Warmup(3, unit="batch"), ValueError, "Warmup: argument 'unit' must name a clock"),
    (lambda: Warmup(3, 0.5), TypeError, "'then' must be a schedule"),
    (lambda: ReduceOnPlateau(factor=2), ValueError, "factor"),
    (lambda: ReduceOnPlateau(patience=0), ValueError, "patience"),
    (lambda: ReduceOnPlateau(min_delta=-1), ValueError, "min_delta"),
    (lambda: ReduceOnPlateau(monitor="accuracy"), ValueError, "'monitor' must name a loss"),
])
def test_bad_settings_are_answered(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


def test_rates_are_float64_and_the_same_alone_or_together():
    schedule = Warmup(7, ExponentialDecay(0.01, unit="step"))
    together = schedule.rates(0.1, first_step=0, steps=20, epoch=0)
    alone = [schedule.rates(0.1, first_step=step, steps=1, epoch=0)[0] for step in range(20)]
    assert together.dtype == np.float64
    assert together.tolist() == alone


@pytest.mark.parametrize("schedule", [
    Schedule(), StepDecay(0.5, 2), StepDecay(0.5, 2, unit="step"), CosineDecay(5), CosineDecay(5, unit="step"), Warmup(3),
    Warmup(9, unit="epoch"), Warmup(3, then=StepDecay(0.5, 2)), Warmup(3, then=StepDecay(0.5, 2, unit="step")), ReduceOnPlateau(),
], ids=repr)  # fmt: skip
def test_by_epoch_tells_whether_the_epoch_matters(schedule):
    steps, state = np.arange(4), schedule.start()
    later = schedule.observe(schedule.observe(state, 1.0), 2.0)
    for _ in range(5):
        later = schedule.observe(later, 2.0)
    same = np.array_equal(schedule.multipliers(steps, 0, state), schedule.multipliers(steps, 3, later))
    assert schedule.by_epoch == (not same)


def test_a_schedule_of_ones_own_is_by_epoch():
    class Own(Schedule):
        pass

    assert Own().by_epoch
    assert Warmup(2, then=Own()).by_epoch


@pytest.mark.parametrize("factors", [np.ones(1), np.ones((4, 1)), 0.5], ids=["one", "columns", "a number"])
def test_a_schedule_of_ones_own_gives_a_factor_for_each_step(factors):
    class Own(Schedule):
        def multipliers(self, steps, epoch, state):
            return factors

    with pytest.raises(ValueError, match=r"Own.multipliers: argument 'factors' must be one for each step .*shape \(4,\)"):
        Own().preview(2, steps_per_epoch=4)
