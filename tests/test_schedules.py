from __future__ import annotations

import math

import numpy as np
import pytest

from fastnn.schedules import CosineDecay, ExponentialDecay, InverseTimeDecay, PlateauState, ReduceOnPlateau, Schedule, StepDecay, Warmup

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


def test_preview_is_the_whole_run():
    preview = Warmup(3, StepDecay(0.5, 1)).preview(0.6, epochs=3, steps_per_epoch=2)
    assert preview.tolist() == pytest.approx([0.2, 0.4, 0.3, 0.3, 0.15, 0.15])
    assert StepDecay(0.5, 2, unit="step").preview(1.0, 2, 3).tolist() == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert StepDecay().preview(1.0, 0, 5).shape == (0,)
    with pytest.raises(ValueError, match="preview: argument 'schedule' must be a function of time"):
        ReduceOnPlateau().preview(1.0, 2, 2)


def test_they_print_as_the_call_that_makes_them():
    assert repr(StepDecay()) == "StepDecay(unit='epoch', factor=0.5, every=5)"
    assert repr(Warmup(3, CosineDecay(over=7))) == "Warmup(steps=3, then=CosineDecay(unit='epoch', over=7, floor=0.0))"
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
    Warmup(3, then=StepDecay(0.5, 2)), Warmup(3, then=StepDecay(0.5, 2, unit="step")), ReduceOnPlateau(),
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
