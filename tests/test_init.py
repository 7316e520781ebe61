from __future__ import annotations

import math

import numpy as np
import pytest

from fastnn import init

INPUTS, OUTPUTS = 300, 500
VARIANCES = {
    "lecun_normal": 1 / INPUTS, "lecun_uniform": 1 / INPUTS, "he_normal": 2 / INPUTS, "he_uniform": 2 / INPUTS,
    "glorot_normal": 2 / (INPUTS + OUTPUTS), "glorot_uniform": 2 / (INPUTS + OUTPUTS),
}


def draw(name, seed=7, dtype="float64"):
    return init.make(name, np.random.default_rng(seed), (INPUTS, OUTPUTS), dtype)


def test_every_initialiser_has_its_variance_here():
    assert set(VARIANCES) == set(init.INITIALIZERS)


@pytest.mark.parametrize("name", VARIANCES)
def test_mean_and_variance(name):
    w = draw(name)
    n = w.size
    # Five standard deviations of the estimates: the sample variance has relative deviation sqrt(2 / n) at most, the mean sigma / sqrt(n).
    assert abs(w.var() / VARIANCES[name] - 1) < 5 * math.sqrt(2 / n)
    assert abs(w.mean()) < 5 * math.sqrt(VARIANCES[name] / n)


@pytest.mark.parametrize("name", VARIANCES)
def test_shape_of_the_law(name):
    w = draw(name) / math.sqrt(VARIANCES[name])
    if name.endswith("uniform"):
        assert np.abs(w).max() <= math.sqrt(3) * (1 + 1e-12)
        assert np.abs(w).max() > 1.73
    else:
        # Untruncated: of 150,000 normals about 9.5 pass 4 sigma, none would if they stopped at 2 or 3.
        assert np.abs(w).max() > 3.9
        assert abs((w**4).mean() - 3) < 0.1


def test_activations_keep_their_variance_through_ten_layers():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 200))
    for _ in range(10):
        x = x @ init.make("lecun_normal", rng, (200, 200), "float64")
    assert 0.5 < x.var() < 2.0


def test_seed_decides_and_dtype_only_rounds():
    assert np.array_equal(draw("he_normal", 1), draw("he_normal", 1))
    assert not np.array_equal(draw("he_normal", 1), draw("he_normal", 2))
    single = draw("he_normal", 1, "float32")
    assert single.dtype == np.float32
    assert np.array_equal(single, draw("he_normal", 1).astype(np.float32))


def test_a_callable_gets_generator_and_shape_and_its_result_is_copied():
    given = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    seen = []

    def constant(rng, shape):
        seen.append((type(rng), shape))
        return given

    w = init.make(constant, np.random.default_rng(0), (2, 3), "float32")
    assert seen == [(np.random.Generator, (2, 3))]
    assert w.dtype == np.float32
    assert w.flags.c_contiguous
    assert np.array_equal(w, given)
    assert not np.shares_memory(w, given)


@pytest.mark.parametrize(("bad", "kind", "sentence"), [
    ("xavier", ValueError, "argument 'init' must name an initialiser"),
    (3, TypeError, "argument 'init' must be a name or a callable"),
    (lambda rng, shape: np.ones((3, 2)), ValueError, r"must return weights of the shape it is given .*\(2, 3\).*got \(3, 2\)"),
    (lambda rng, shape: np.full(shape, np.nan), ValueError, "must return finite weights"),
    (lambda rng, shape: np.full(shape, 1e300), ValueError, "must return finite weights"),
    (lambda rng, shape: np.full(shape, "a"), ValueError, "must return weights of the shape it is given"),
])
def test_bad_initialisers_are_answered(bad, kind, sentence):
    with pytest.raises(kind, match=rf"^fastnn\.MLP: {sentence}" if kind is TypeError else sentence):
        init.make(bad, np.random.default_rng(0), (2, 3), "float32")


def test_small_random_numbers_of_a_chosen_deviation():
    w = init.make(init.Normal(0.01), np.random.default_rng(7), (INPUTS, OUTPUTS), "float64")
    assert abs(w.var() / 1e-4 - 1) < 5 * math.sqrt(2 / w.size)
    np.testing.assert_allclose(w, draw("lecun_normal") * math.sqrt(INPUTS) * 0.01, rtol=1e-12)
    assert repr(init.Normal(0.01)) == "Normal(std=0.01)"
    assert not init.make(init.Normal(0), np.random.default_rng(7), (3, 2), "float32").any()


@pytest.mark.parametrize("std", [-1.0, math.nan, math.inf])
def test_a_deviation_is_a_number(std):
    with pytest.raises(ValueError, match=r"fastnn\.init\.Normal: argument 'std' must be finite and in range"):
        init.Normal(std)


def test_nets_that_begin_alike_are_drawn_once(monkeypatch):
    made = []
    original = init.make
    monkeypatch.setattr(init, "make", lambda *arguments: made.append(arguments) or original(*arguments))
    alike = {"init": "he_normal", "seed": 3, "sizes": (4, 5, 2), "dtype": "float32"}
    expected = init.weights(**alike)
    with init.drawn_once():
        first, second = init.weights(**alike), init.weights(**alike)
        assert len(made) == 4
        for change in ({"init": init.Normal(0.1)}, {"seed": 4}, {"sizes": (4, 5, 3)}, {"dtype": "float64"}):
            other = init.weights(**{**alike, **change})
            assert not all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(other, expected))
        assert len(made) == 12
        counting = iter(range(1, 9))
        own = {**alike, "init": lambda rng, shape: np.full(shape, next(counting))}
        drawn = [init.weights(**own) for _ in range(2)]
        assert [w[0, 0] for pair in drawn for w in pair] == [1, 2, 3, 4]
    for a, b, c in zip(first, second, expected):
        assert np.array_equal(a, c)
        assert np.array_equal(b, c)
        assert not np.shares_memory(a, b)
    init.weights(**alike)
    init.weights(**alike)
    assert len(made) == 20
