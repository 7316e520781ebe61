"""Distributions over bins against values worked out by hand, clouds of points, and numerical integrals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastnn import Bins, Distribution
from fastnn.distribution import Coverage

RNG = np.random.default_rng(8)
TWO = Distribution(np.array([[0.25, 0.75], [1.0, 0.0]]), Bins([0.0, 1.0, 3.0]))
# 0 and 9 are atoms; between them mass is spread evenly
ATOMS = Distribution(np.array([[0.6, 0.2, 0.2], [0.1, 0.5, 0.4]]), Bins([0.0, 1.0, 5.0, 9.0], [0.0, 3.0, 9.0], [True, False, True]))


def some(rows=6, count=7):
    """Distributions with bins of no mass, at the ends too, and an atom in the middle."""
    probabilities = RNG.dirichlet(np.full(count, 0.5), rows) * (RNG.random((rows, count)) < 0.6)
    probabilities[:, 2] += 1e-3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    edges = np.cumsum(RNG.uniform(0.1, 2.0, count + 1)) - 4
    centers = edges[:-1] / 2 + edges[1:] / 2
    return Distribution(probabilities, Bins(edges, centers, np.arange(count) == 3))


def cloud(distribution, row, points=100):
    """Points and weights: each bin's mass on a fine even grid between its edges, that of an atom on its centre."""
    bins = distribution.bins
    places, weights = [], []
    for k, mass in enumerate(distribution.probabilities[row]):
        if bins.atoms[k]:
            places.append([bins.centers[k]])
            weights.append([mass])
        else:
            places.append(bins.edges[k] + (np.arange(points) + 0.5) / points * (bins.edges[k + 1] - bins.edges[k]))
            weights.append(np.full(points, mass / points))
    return np.concatenate(places), np.concatenate(weights)


def test_mean():
    np.testing.assert_allclose(TWO.mean(), [0.25 * 0.5 + 0.75 * 2, 0.5])
    np.testing.assert_allclose(ATOMS.mean(), [0.6 + 1.8, 1.5 + 3.6])


def test_quantiles_by_hand():
    np.testing.assert_allclose(TWO.quantile(0.25), [1, 0.25])
    np.testing.assert_allclose(TWO.quantile([0, 0.5, 1]), [[0, 1 + 2 / 3, 3], [0, 0.5, 1]])
    np.testing.assert_allclose(ATOMS.quantile([0.3, 0.6, 0.7, 0.8, 0.81, 1]), [[0, 0, 3, 5, 9, 9], [2.6, 5, 9, 9, 9, 9]])
    assert TWO.quantile([]).shape == (2, 0)


def test_distribution_functions_by_hand():
    np.testing.assert_allclose(TWO.cdf(1), [0.25, 1])
    np.testing.assert_allclose(TWO.cdf([-1, 0.5, 2, 3, 7]), [[0, 0.125, 0.625, 1, 1], [0, 0.5, 1, 1, 1]])
    np.testing.assert_allclose(ATOMS.cdf([-1e-9, 0, 0.5, 1, 3, 5, 8.9, 9]), [[0, 0.6, 0.6, 0.6, 0.7, 0.8, 0.8, 1],
                                                                             [0, 0.1, 0.1, 0.1, 0.35, 0.6, 0.6, 1]])  # fmt: skip


def test_quantiles_rise_and_undo_the_distribution_function():
    made = some(40)
    levels = np.sort(np.append(RNG.random(200), [0, 1]))
    values = made.quantile(levels)
    assert (np.diff(values, axis=1) >= 0).all()
    assert (values >= made.edges[0]).all()
    assert (values <= made.edges[-1]).all()
    for row, own in enumerate(values):
        reached = made.cdf(own)[row]
        just_before = made.cdf(own - 1e-9)[row]
        assert (reached >= levels - 1e-12).all()
        assert (just_before <= levels + 1e-7).all()


def test_no_quantile_lies_beyond_the_last_edge_by_rounding():
    for edges in RNG.normal(size=(300, 2)) ** 3:
        made = Bins([-99.0, *np.sort(edges)])
        last = Distribution([[0.5, 0.5]], made).quantile(1.0)[0]
        assert made.edges[-1] - 1e-14 <= last <= made.edges[-1]


def test_distribution_functions_of_a_cloud():
    made = some()
    at = np.sort(RNG.uniform(made.edges[0] - 1, made.edges[-1] + 1, 50))
    for row in range(6):
        places, weights = cloud(made, row, 4000)
        np.testing.assert_allclose(made.cdf(at)[row], [weights[places <= value].sum() for value in at], atol=3e-4)


def test_intervals_are_quantiles():
    np.testing.assert_array_equal(ATOMS.interval(0.8), ATOMS.quantile([(1 - 0.8) / 2, (1 + 0.8) / 2]))
    np.testing.assert_allclose(TWO.interval(0.5), [[1, 3 - 2 / 3], [0.25, 0.75]])


def test_crps_is_that_of_a_cloud():
    """`E|X - y| - E|X - X'| / 2` (Gneiting and Raftery 2007), another form of the same score."""
    made = some()
    for y in (made.edges[0] - 2, made.edges[-1] + 3, made.edges[4], *made.bins.centers[:4] + 0.01):
        for row, score in enumerate(made.crps(np.full(6, y))):
            places, weights = cloud(made, row)
            apart = weights @ np.abs(places[:, None] - places) @ weights
            assert score == pytest.approx(weights @ np.abs(places - y) - apart / 2, abs=2e-4)


def test_crps_of_a_point_is_the_absolute_error():
    point = Distribution(np.tile([0.0, 1.0, 0.0], (3, 1)), Bins([0, 1, 2, 9], [0.5, 1.25, 5], [False, True, False]))
    np.testing.assert_allclose(point.crps([1.25, 4.0, -3.0]), [0, 2.75, 4.25], atol=1e-14)


def test_coverage_counts_rows_inside():
    made = Distribution(np.tile([0.5, 0.5], (4, 1)), Bins([0.0, 1.0, 5.0]))  # quantiles .25: .5, .75: 3
    report = made.coverage([0.5, 3.0, 3.01, 0.2], [0.5, 1.0])
    assert report.covered == (0.5, 1.0)
    assert report.widths == (2.5, 5.0)
    assert report.rows == 4
    assert report.crps == pytest.approx(made.crps([0.5, 3.0, 3.01, 0.2]).mean())
    assert made.coverage([9.0] * 4, [1.0]).covered == (0.0,)


def test_draws_are_covered_as_often_as_said():
    made = some(3)
    rows = RNG.integers(0, 3, 4000)
    drawn = np.array([RNG.choice(places, p=weights / weights.sum()) for places, weights in (cloud(made, row, 50) for row in rows)])
    drawn = np.where(drawn == made.bins.centers[3], drawn, drawn + RNG.uniform(-1e-3, 1e-3, len(drawn)))
    report = Distribution(made.probabilities[rows], made.bins).coverage(drawn, [0.5, 0.8])
    mass_of_atoms = made.probabilities[:, 3].max()
    for level, share in zip(report.levels, report.covered):
        assert level - 0.03 <= share <= level + 0.03 + mass_of_atoms


def test_coverage_prints_as_a_table():
    report = Coverage(1234, (0.5, 0.975), (0.512, 0.9), (0.1234567, 123456.7), 1.25)
    assert str(report).splitlines() == [
        "interval  covered  mean width",
        "    50 %    51.2%      0.1235",
        "  97.5 %    90.0%     123,457",
        "1,234 rows, CRPS 1.25",
    ]


def test_float32_probabilities_and_repr():
    made = Distribution(np.array([[0.1, 0.9]], np.float32), Bins([0, 1, 2]))
    assert made.quantile(1.0)[0] == 2.0  # rounding leaves no mass over
    assert made.mean().dtype == made.quantile(0.5).dtype == np.float64
    assert repr(made) == "<Distribution of 1 rows over <Bins: 2 given bins from 0 to 2>>"
    assert made.edges.tolist() == [0, 1, 2]


def test_a_picture(tmp_path):
    made = some(60)
    path = tmp_path / "picture.png"
    y = made.quantile(0.5)
    figure = made.plot(y, path, rows=[3, 5])
    assert path.read_bytes().startswith(b"\x89PNG")
    shown, reliability = figure.axes
    assert [text.get_text() for text in shown.get_legend().get_texts()] == ["row 3", "row 5"]
    assert [line.get_xdata()[0] for line in shown.get_lines()] == y[[3, 5]].tolist()
    for patch, row in zip(shown.patches, (3, 5)):
        values, edges, _ = patch.get_data()
        assert values.sum() == pytest.approx(1)
        np.testing.assert_allclose(values[1:], np.diff(made.cdf(edges)[row])[1:], atol=1e-12)
    curve = reliability.get_lines()[1]
    assert curve.get_ydata().tolist() == list(made.coverage(y, curve.get_xdata()).covered)
    defaults = [text.get_text() for text in made.plot(y).axes[0].get_legend().get_texts()]
    order = np.argsort(made.mean()).tolist()
    assert defaults == [f"row {order[k]}" for k in (6, 22, 37, 54)]
    for patch in ATOMS.plot([0, 9]).axes[0].patches:  # with mass on the ends themselves
        assert patch.get_data()[0].sum() == pytest.approx(1)
    assert made.plot(y, rows=[]).axes[0].get_lines() == []


def test_probabilities_need_not_sum_to_one_exactly():
    bins = Bins([1990.0, 2000.0, 2010.0])
    rough, exact = Distribution([[0.333, 0.666]], bins), Distribution([[1 / 3, 2 / 3]], bins)
    assert rough.mean() == pytest.approx(exact.mean(), rel=1e-12)
    assert rough.quantile([0.1, 0.5]) == pytest.approx(exact.quantile([0.1, 0.5]), rel=1e-12)


@pytest.mark.parametrize(("make", "kind", "sentence"), [
    (lambda: TWO.quantile(1.5), ValueError, r"^fastnn.Distribution.quantile: argument 'q' must lie between 0 and 1 "),
    (lambda: TWO.quantile([0.5, -0.1]), ValueError, "between 0 and 1"),
    (lambda: TWO.quantile(math.nan), ValueError, "argument 'q' must be finite"),
    (lambda: TWO.quantile([[0.5]]), ValueError, "argument 'q' must be a number or several"),
    (lambda: TWO.cdf(math.nan), ValueError, "argument 'y' must be finite"),
    (lambda: TWO.interval(1.2), ValueError, "argument 'level'"),
    (lambda: TWO.crps([1]), ValueError, r"fastnn.Distribution.crps: argument 'y' must have shape \(2,\)"),
    (lambda: TWO.coverage([1, 2, 3]), ValueError, r"fastnn.Distribution.coverage: argument 'y' must have shape \(2,\)"),
    (lambda: TWO.coverage([1, math.nan]), ValueError, "finite"),
    (lambda: TWO.coverage([1, 2], [0.5, 80]), ValueError, "argument 'levels'"),
    (lambda: TWO.coverage([1, 2], 0.8), TypeError, "argument 'levels' must be several"),
    (lambda: Distribution(np.empty((0, 2)), TWO.bins).coverage([]), ValueError, "at least one row"),
    (lambda: TWO.plot([1, 2], rows=[2]), ValueError, "argument 'rows'"),
    (lambda: TWO.plot([1, 2], rows=1), TypeError, "argument 'rows' must be several"),
    (lambda: Distribution([[0.5, 0.5, 0]], TWO.bins), ValueError, r"argument 'probabilities' must have shape \(n, 2\)"),
    (lambda: Distribution([[0.5, 0.6]], TWO.bins), ValueError, "argument 'probabilities' must be probabilities"),
    (lambda: Distribution([[1.5, -0.5]], TWO.bins), ValueError, "must be probabilities"),
    (lambda: Distribution([[math.nan, 1]], TWO.bins), ValueError, "be probabilities .*got values that are not finite, as of a net"),
    (lambda: Distribution([[1, 0]], [0, 1, 2]), TypeError, "argument 'bins' must be bins"),
])  # fmt: skip
def test_bad_input_is_answered(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()
