"""Ranges: how they are drawn from, what lies near their borders, and what is asked of those who make them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from fastnn import Choice, IntUniform, LogUniform, Uniform, space

MANY = 4000


def drawn(dimension, count=MANY, seed=3):
    rng = np.random.default_rng(seed)
    return [dimension.sample(rng) for _ in range(count)]


@pytest.mark.parametrize(("dimension", "law"), [
    (LogUniform(1e-5, 1e-1), stats.loguniform(1e-5, 1e-1)), (Uniform(0.5, 0.9), stats.uniform(0.5, 0.4)),
    (Uniform(-3, 7), stats.uniform(-3, 10)),
], ids=repr)  # fmt: skip
def test_numbers_are_drawn_by_their_law(dimension, law):
    values = drawn(dimension)
    assert stats.kstest(values, law.cdf).pvalue > 0.01
    assert all(type(value) is float for value in values)
    assert dimension.low <= min(values)
    assert max(values) <= dimension.high


def test_whole_numbers_are_all_alike():
    values = drawn(IntUniform(2, 6))
    assert all(type(value) is int for value in values)
    counts = np.bincount(values)
    assert len(counts) == 7
    assert counts[:2].sum() == 0
    assert stats.chisquare(counts[2:]).pvalue > 0.01


def test_logarithms_of_whole_numbers_are_alike():
    edges = [math.log(k) for k in (1.5, 2.5, 4.5, 8.5, 16.5)]
    share = np.diff(edges) / (edges[-1] - edges[0])
    values = np.array(drawn(IntUniform(2, 16, log=True)))
    found = np.histogram(values, [1.5, 2.5, 4.5, 8.5, 16.5])[0]
    assert stats.chisquare(found, share * MANY).pvalue > 0.01
    assert {type(value) for value in drawn(IntUniform(2, 16, log=True), 5)} == {int}


def test_options_are_all_alike():
    values = drawn(Choice(["a", "b", (8, 4), None]))
    assert stats.chisquare([values.count(option) for option in ("a", "b", (8, 4), None)]).pvalue > 0.01


def test_positions():
    assert LogUniform(1e-4, 1e-2).position(1e-3) == pytest.approx(0.5)
    assert LogUniform(1e-4, 1e-2).position(1e-4) == 0.0
    assert Uniform(2, 6).position(5) == 0.75
    assert IntUniform(1, 5).position(2) == 0.25


@pytest.mark.parametrize(("dimension", "value", "side"), [
    (LogUniform(1e-4, 1e-2), 1.5e-4, "low"), (LogUniform(1e-4, 1e-2), 1.7e-4, None), (LogUniform(1e-4, 1e-2), 6.2e-3, None),
    (LogUniform(1e-4, 1e-2), 6.4e-3, "high"), (LogUniform(1e-4, 1e-2), 1e-2, "high"), (Uniform(0, 10), 1.01, None),
    (Uniform(0, 10), 0.99, "low"),
    (Uniform(0, 10), 8.99, None), (Uniform(0, 10), 9.01, "high"), (Uniform(0, 10, natural=(0, 20)), 0.5, None),
    (Uniform(0, 10, natural=(0, 20)), 9.5, "high"), (Uniform(0, 10, natural=(-1, 10)), 9.5, None),
    (Uniform(0, 10, natural=(-1, 10)), 0.5, "low"),
    (IntUniform(3, 5), 3, "low"), (IntUniform(3, 5), 4, None), (IntUniform(3, 5), 5, "high"), (IntUniform(1, 5), 1, None),
    (IntUniform(0, 5), 0, None),
    (IntUniform(-1, 5), -1, "low"), (Choice([1, 2, 3]), 3, None), (LogUniform(1e-4, 1e-2), 0.5, "high"),
], ids=repr)  # fmt: skip
def test_borders(dimension, value, side):
    assert dimension.border(value) == side


@pytest.mark.parametrize(("dimension", "side", "wider"), [
    (LogUniform(1e-4, 1e-2), "high", LogUniform(1e-4, 1e-1)), (LogUniform(1e-4, 1e-2), "low", LogUniform(1e-5, 1e-2)),
    (Uniform(1, 3), "high", Uniform(1, 4)), (Uniform(1, 3), "low", Uniform(0, 3)),
    (Uniform(0.5, 0.9, natural=(0, 1)), "high", Uniform(0.5, 1.0, natural=(0, 1))),
    (Uniform(0.1, 0.9, natural=(0, 1)), "low", Uniform(0.0, 0.9, natural=(0, 1))), (IntUniform(10, 20), "low", IntUniform(5, 20)),
    (IntUniform(16, 64, log=True), "high", IntUniform(16, 128, log=True)), (IntUniform(16, 512), "low", IntUniform(1, 512)),
    (IntUniform(3, 4), "high", IntUniform(3, 5)), (IntUniform(3, 4), "low", IntUniform(2, 4)),
    (IntUniform(-2, 2), "low", IntUniform(-4, 2)),
    (IntUniform(3, 8, natural=(3, 9)), "high", IntUniform(3, 9, natural=(3, 9))),
    (Uniform(0.12341, 0.12343), "high", Uniform(0.12341, 0.12344)),
], ids=repr)  # fmt: skip
def test_wider_ranges(dimension, side, wider):
    found = dimension.wider(side)
    assert type(found) is type(wider)
    assert (found.low, found.high) == pytest.approx((wider.low, wider.high), rel=1e-9)
    assert (type(found.low), found.natural) == (type(wider.low), wider.natural)
    assert [found.high, found.low][side == "high"] == [dimension.high, dimension.low][side == "high"]


def test_a_range_narrows_around_the_best_in_its_own_scale():
    found = LogUniform(1e-6, 1e-2).narrowed(1e-4, 0.5)
    assert (found.low, found.high) == pytest.approx((1e-5, 1e-3))
    assert LogUniform(1e-6, 1e-2).narrowed(1e-2, 0.5).high == 1e-2
    assert LogUniform(1e-6, 1e-2).narrowed(1e-2, 0.5).low == pytest.approx(1e-3)
    found = Uniform(0, 10).narrowed(4, 0.2)
    assert (found.low, found.high) == pytest.approx((3, 5))
    assert IntUniform(0, 100).narrowed(50, 0.2) == IntUniform(40, 60)
    assert IntUniform(16, 1024, log=True).narrowed(128, 1 / 3) == IntUniform(64, 256, log=True)
    assert IntUniform(1, 3).narrowed(3, 0.1) == IntUniform(2, 3)
    assert Choice(["a", "b"]).narrowed("b", 0.3) == Choice(["b"])
    natural = Uniform(0.5, 1.0, natural=(0, 1)).narrowed(0.9, 0.2)
    assert natural.natural == (0, 1)


def test_grids():
    assert LogUniform(1e-4, 1e-2).grid(3) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert Uniform(0, 1).grid(5) == [0, 0.25, 0.5, 0.75, 1]
    assert Uniform(0, 1).grid(1) == [0.5]
    assert IntUniform(1, 3).grid(9) == [1, 2, 3]
    assert Choice(["ab", 1]).grid(2) == ["ab", 1]
    points = space.grid({"a": Uniform(0, 1), "b": Choice([7, 8])}, {"a": 2, "b": 2})
    assert points == [{"a": 0, "b": 7}, {"a": 0, "b": 8}, {"a": 1, "b": 7}, {"a": 1, "b": 8}]


def test_names_know_their_natural_bounds():
    found = space.checked("f", {"weight_decay": Uniform(0, 0.1), "input_keep_prob": Uniform(0.5, 1), "depth": Uniform(0, 3),
                                "learning_rate": Uniform(0, 1, natural=(-1, 2))})  # fmt: skip
    assert [dimension.natural for dimension in found.values()] == [(0, math.inf), (0, 1), None, (-1, 2)]
    assert space.borders(found, {"weight_decay": 0.0, "input_keep_prob": 1.0, "depth": 0.1, "learning_rate": 0.99}) == {
        "depth": "low", "learning_rate": "high"}  # fmt: skip
    wider = space.widened(found, {"depth": "high", "learning_rate": "high"})
    assert (wider["depth"].high, wider["learning_rate"].high, wider["weight_decay"].high) == (4.5, 1.5, 0.1)


def test_ranges_print_as_the_call_that_makes_them():
    for text in ("LogUniform(0.0001, 0.1)", "Uniform(0.5, 0.9, natural=(0.0, 1.0))", "IntUniform(1, 9, log=True)", "Choice([(8, 4), 'a'])"):
        made = {"LogUniform": LogUniform(1e-4, 1e-1), "Uniform": Uniform(0.5, 0.9, natural=(0, 1)), "IntUniform": IntUniform(1, 9,
        log=True),
                "Choice": Choice([(8, 4), "a"])}[text.partition("(")[0]]  # fmt: skip
        assert repr(made) == text


@pytest.mark.parametrize("dimension", [LogUniform(1e-4, 1e-1), Uniform(0, 1, natural=(0, math.inf)), IntUniform(2, 9),
                                       Choice([(8, (4, 2)), "a", None, 1, 1.5, True, np.tanh])], ids=repr)  # fmt: skip
def test_values_survive_json(dimension):
    json.dumps(dimension.to_dict(), allow_nan=False)
    for value in drawn(dimension, 50):
        back = dimension.decode(json.loads(json.dumps(dimension.encode(value))))
        assert back == value
        assert type(back) is type(value)
    for wrong in ("x", [1], {}):
        with pytest.raises(ValueError, match=r"no number|none of the options"):
            dimension.decode(wrong)


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda: Uniform(1, 1), ValueError, r"fastnn.Uniform: argument 'high' must be greater than low, for an empty range .*low=1 and high=1"),
    (lambda: IntUniform(5, 4), ValueError, "greater than low"), (lambda: LogUniform(1e-1, 1e-4), ValueError, "greater than low"),
    (lambda: LogUniform(0, 1), ValueError, r"fastnn.LogUniform: argument 'low' must be greater than 0, for a log.*got low=0"),
    (lambda: LogUniform(-1, 1), ValueError, "logarithm has no zero"),
    (lambda: IntUniform(0, 4, log=True), ValueError, "logarithm has no zero"),
    (lambda: IntUniform(0.5, 4), TypeError, "'low' must be an integer"),
    (lambda: Uniform("0", 1), TypeError, "'low' must be a real number"),
    (lambda: Uniform(0, math.inf), ValueError, "'high' must be finite"), (lambda: Uniform(math.nan, 1), ValueError, "'low' must be finite"),
    (lambda: Choice([]), ValueError, "fastnn.Choice: argument 'options' must not be empty"),
    (lambda: Choice("abc"), TypeError, "must be a list"),
    (lambda: Choice([1, 1]), ValueError, "must print differently"),
    (lambda: Uniform(0, 2, natural=(0, 1)), ValueError, "'natural' must enclose"),
    (lambda: Uniform(0, 2, natural=3), TypeError, "'natural' must be a pair"),
    (lambda: space.checked("f", {}), ValueError, "fastnn.f: argument 'space' must have a parameter"),
    (lambda: space.checked("f", {"a": (0, 1)}), TypeError, "must hold ranges .*got a: "),
    (lambda: space.checked("f", [1]), TypeError, "be a dict"),
    (lambda: space.checked("f", {"keep_prob": Uniform(0.5, 1.5)}), ValueError, r"space\['keep_prob'\]' must stay within"),
    (lambda: space.checked("f", {"weight_decay": Uniform(-1, 1)}), ValueError, "natural bounds"),
])  # fmt: skip
def test_bad_ranges_get_a_sentence(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


def test_large_numbers_do_not_overflow():
    vast = LogUniform(1e-300, 1e300)
    assert vast.wider("high").high >= 1e299
    assert all(math.isfinite(value) for value in drawn(Uniform(-1e300, 1e300), 20))
