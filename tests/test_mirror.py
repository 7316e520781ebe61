"""Every compiled kernel against its NumPy twin: signature, values, dtype, special values, layouts, and what changes in place."""

from __future__ import annotations

import inspect
import warnings

import cases
import numpy as np
import pytest
from cases import KERNELS, Kernel

import fastnn
from fastnn import ops, reference

pytestmark = [pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning"), pytest.mark.usefixtures("isa")]

names = pytest.mark.parametrize("name", list(KERNELS))
dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)


def same_bits(a, b) -> None:
    """Equal bit for bit; a NaN equals any NaN."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    if a.dtype.kind != "f":
        np.testing.assert_array_equal(a, b)
        return
    integers = np.dtype(f"u{a.dtype.itemsize}")
    different = (np.ascontiguousarray(a).view(integers) != np.ascontiguousarray(b).view(integers)) & ~(np.isnan(a) & np.isnan(b))
    assert not different.any(), f"{different.sum()} of {a.size} differ, first {a[different].flat[0]!r} against {b[different].flat[0]!r}"


def check_product(name: str, arguments: dict, got, twin) -> None:
    """Componentwise bound of a product in floating point around the product in extended precision."""
    eps = np.finfo(arguments["w"].dtype).eps
    x, w = (arguments[key].astype(np.longdouble) for key in ("x", "w"))
    if "forward" in name:
        b = 0 if arguments["b"] is None else arguments["b"].astype(np.longdouble)
        exact, size = x @ w + b, np.abs(x) @ np.abs(w) + np.abs(b)
        scale = 1.0
        if "relu" in name:
            exact = np.maximum(exact, 0)
        if "dropout" in name:
            seed, stream = arguments["seed"], arguments["stream"]
            kept = reference.dropout_forward(np.ones(exact.shape), arguments["keep_prob"], seed=seed, stream=stream)
            exact, scale = exact * kept, 1 / arguments["keep_prob"] + 1
            assert (got[kept == 0] == 0).all()
        assert got.dtype == twin.dtype
        assert got.shape == exact.shape
        assert (np.abs(got - exact) <= (x.shape[1] + 2) * eps * size * scale).all()
        return
    dz = np.asarray(arguments["dy"])
    if "y" in arguments:
        scale = 65536.0 / round(65536 * arguments["keep_prob"]) if "keep_prob" in arguments else 1.0
        dz = np.where(arguments["y"] <= 0, dz.dtype.type(0), dz * dz.dtype.type(scale))
    dz = dz.astype(np.longdouble)
    (dx, dw, db), (_, _, db_twin) = got, twin
    for value, left, right in ((dx, dz, w.T), (dw, x.T, dz)):
        assert value.dtype == db.dtype == arguments["w"].dtype
        assert value.shape == (left.shape[0], right.shape[1])
        assert (np.abs(value - left @ right) <= (left.shape[1] + 2) * eps * (np.abs(left) @ np.abs(right))).all()
    same_bits(db, db_twin)


def check_loss(name: str, arguments: dict, got, twin) -> None:
    (loss, gradient), (loss_twin, gradient_twin) = got, twin
    dtype = gradient_twin.dtype
    assert isinstance(loss, float)
    relative, absolute = (1e-5, 1e-6) if dtype == np.float32 else (1e-12, 1e-13)
    assert loss == pytest.approx(loss_twin, rel=relative, abs=absolute, nan_ok=True)
    if "softmax" not in name:
        same_bits(gradient, gradient_twin)
        return
    assert gradient.dtype == dtype
    assert gradient.shape == gradient_twin.shape
    n, c = gradient.shape
    weight = np.asarray(arguments.get("sample_weight", np.ones(n)), np.float64)
    share = weight / max(weight.sum(), 1e-300)
    logits = arguments["logits"].astype(np.longdouble)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    labels = arguments["labels"]
    target = labels.astype(np.longdouble) if labels.ndim == 2 else np.eye(c, dtype=np.longdouble)[labels]
    exact = (exponentials / exponentials.sum(axis=1, keepdims=True) * target.sum(axis=1, keepdims=True) - target) * share[:, None]
    bound = (8 + c / 16) * np.finfo(dtype).eps * share[:, None]
    assert (np.isnan(gradient) == np.isnan(exact)).all()
    assert ((np.abs(gradient - exact) <= bound) | np.isnan(exact)).all()


def check_ulp(name: str, arguments: dict, got, twin) -> None:
    x = arguments["x"].astype(np.longdouble)
    exact = np.tanh(x) if "tanh" in name else 1 / (1 + np.exp(-x))
    normal = np.finfo(got.dtype).tiny  # below it, results count as zero
    unit = np.maximum(np.spacing(np.abs(exact).astype(got.dtype)), normal / 4).astype(np.longdouble)
    assert got.dtype == twin.dtype
    assert (np.isnan(got) == np.isnan(x)).all()
    assert ((np.abs(got - exact) <= 4 * unit) | np.isnan(x)).all()


def check(name: str, kernel: Kernel, arguments: dict, got, twin) -> None:
    if kernel.promise == "bits":
        same_bits(got, twin) if twin is not None else None
        assert (got is None) == (twin is None)
    else:
        {"product": check_product, "loss": check_loss, "ulp": check_ulp}[kernel.promise](name, arguments, got, twin)


def run_both(name: str, kernel: Kernel, given: dict, **more):
    """Call kernel and twin on arguments of their own; check results, in-place effects, and that nothing else changed."""
    before = cases.copied(given)
    theirs = cases.copied(given)
    got = getattr(ops, cases.public(name))(**given, **more)
    twin = getattr(reference, cases.public(name))(**theirs)
    check(name, kernel, before, got, twin)
    for key, array in cases.arrays(given).items():
        same_bits(array, theirs[key] if key in kernel.writes else before[key])
    return got


def test_every_public_kernel_has_a_case():
    assert {cases.public(name) for name in KERNELS} == set(ops.__all__)
    inner = {"permutation", "column_moments", "column_extremes", "row_hashes"}  # which other functions stand for
    assert set(ops.__all__) - inner <= set(fastnn.__all__)


@pytest.mark.parametrize("name", sorted(ops.__all__))
def test_signature_is_the_twins(name):
    kernel, twin = (
        [(p.name, p.kind, p.default) for p in inspect.signature(getattr(module, name)).parameters.values()] for module in (ops, reference)
    )
    assert kernel == twin
    assert getattr(reference, name).__doc__


@names
@dtypes
def test_values(name, dtype):
    rng = np.random.default_rng(7)
    for size in KERNELS[name].sizes:
        run_both(name, KERNELS[name], KERNELS[name].make(rng, dtype, size))


@names
@dtypes
def test_special_values(name, dtype):
    """NaN, infinities, signed zeros, subnormals and the largest numbers, wherever results are promised to the bit or the ulp."""
    kernel = KERNELS[name]
    rng = np.random.default_rng(8)
    if kernel.promise == "product":  # a bound means nothing with infinities; NaN must still reach every sum that it is in
        arguments = kernel.make(rng, dtype, (5, 9, 7))
        arguments["x"][3, 4] = np.nan
        got, twin = (getattr(module, cases.public(name))(**arguments) for module in (ops, reference))
        for a, b in zip(got if isinstance(got, tuple) else (got,), twin if isinstance(twin, tuple) else (twin,)):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
            assert np.isnan(b).any() or b.ndim == 1 or b.shape == (5, 9)
        return
    for size in kernel.sizes:
        arguments = cases.sprinkled(rng, kernel.make(rng, dtype, size))
        if "sample_weight" in arguments:
            del arguments["sample_weight"]
        if name == "softmax_cross_entropy/probabilities":
            arguments["labels"] = kernel.make(rng, dtype, size)["labels"]
        if name.startswith("softmax"):
            arguments["logits"] = np.where(np.abs(arguments["logits"]) > 1e30, -np.inf, arguments["logits"]).astype(dtype)
        run_both(name, kernel, arguments)


@names
@dtypes
@pytest.mark.parametrize("layout", list(cases.LAYOUTS))
def test_layouts(name, dtype, layout):
    """All arrays in the layout, then each array alone: none may be misread, and writes must land in the caller's memory."""
    kernel = KERNELS[name]
    rng = np.random.default_rng(9)
    sizes = [size for size in kernel.sizes if all(size)]
    for size in sizes[-3:]:
        plain = kernel.make(rng, dtype, size)
        run_both(name, kernel, {k: cases.LAYOUTS[layout](v) if isinstance(v, np.ndarray) else v for k, v in plain.items()})
        for chosen in cases.arrays(plain):
            run_both(name, kernel, {k: cases.LAYOUTS[layout](v) if k == chosen else v for k, v in cases.copied(plain).items()})


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.output])
@dtypes
@pytest.mark.parametrize("layout", ["C", *cases.LAYOUTS])
def test_out(name, dtype, layout):
    """`out` is written, returned, and nothing around it changes."""
    kernel = KERNELS[name]
    rng = np.random.default_rng(10)
    for size in [size for size in kernel.sizes if all(size)][-3:]:
        arguments = kernel.make(rng, dtype, size)
        shape = (size[0], size[2]) if kernel.output == "no" else arguments[kernel.output].shape
        out = cases.LAYOUTS.get(layout, np.copy)(np.full(shape, 7, dtype))
        neighbours = out.base.copy() if layout == "strided" else None
        result = run_both(name, kernel, arguments, out=out)
        assert (result[1] if kernel.promise == "loss" else result) is out
        if neighbours is not None:
            after, inside = out.base.copy(), tuple(slice(1, 2 * extent, 2) for extent in shape)
            after[inside] = neighbours[inside] = 0
            np.testing.assert_array_equal(after, neighbours)


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.output and kernel.output != "no"])
@dtypes
@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
def test_in_place(name, dtype, layout):
    """`out` may be exactly an input of its shape."""
    kernel = KERNELS[name]
    for size in kernel.sizes:
        arguments = kernel.make(np.random.default_rng(11), dtype, size)
        for chosen in [k for k, v in cases.arrays(arguments).items() if v.dtype == dtype and v.shape == arguments[kernel.output].shape]:
            given = {k: cases.LAYOUTS.get(layout, np.copy)(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
            got = getattr(ops, cases.public(name))(**given, out=given[chosen])
            twin = getattr(reference, cases.public(name))(**arguments)
            check(name, kernel, arguments, got, twin)


@pytest.mark.parametrize("name", [name for name in KERNELS if "linear" in name and "backward" in name])
@dtypes
def test_backward_out(name, dtype):
    """Any of dx, dw, db may be given, in any layout; the rest is made; need_dx=False leaves dx alone."""
    kernel = KERNELS[name]
    n, i, o = 9, 17, 13
    for layout in ("C", *cases.LAYOUTS):
        for given in range(8):
            arguments = kernel.make(np.random.default_rng(given), dtype, (n, i, o))
            make = cases.LAYOUTS.get(layout, np.copy)
            out = tuple(make(np.full(shape, 7, dtype)) if given >> bit & 1 else None for bit, shape in enumerate([(n, i), (i, o), (o,)]))
            result = run_both(name, kernel, arguments, out=out)
            for target, value in zip(out, result):
                assert target is None or target is value
            untouched = getattr(ops, cases.public(name))(**arguments, need_dx=False, out=(None, out[1], None))
            assert untouched[0] is None
            same_bits(untouched[1], result[1])


@dtypes
def test_softmax_of_hard_rows(dtype):
    """Scores far beyond exp's range, impossible classes (-inf) with probability 0, and targets that do not sum to 1."""
    logits = np.array([[1000, 990, 0], [-1000, -990, -980], [5, -np.inf, 3], [0.5, 0.25, 0]], dtype)
    target = np.array([[0.5, 0.5, 0], [0.2, 0.3, 0.5], [0.25, 0, 0.75], [2, 1, 0.5]], dtype)
    kernel = KERNELS["softmax_cross_entropy/probabilities"]
    run_both("softmax_cross_entropy/probabilities", kernel, {"logits": logits, "labels": target})
    run_both("softmax_cross_entropy", kernel, {"logits": logits, "labels": np.array([1, 0, 2, 1])})
    loss, gradient = ops.softmax_cross_entropy(logits[2:3], target[2:3])
    p = np.exp([0.0, -2.0]) / np.exp([0.0, -2.0]).sum()
    assert loss == pytest.approx(-0.25 * np.log(p[0]) - 0.75 * np.log(p[1]), rel=1e-6)
    assert gradient[0, 1] == 0


@dtypes
def test_philox_known_answers(dtype):
    """The published known answers of Philox4x32-10 (Random123), and that dropout's draws are those words, low halves first."""
    answers = {
        (0, 0, 0, 0): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        (0xFFFFFFFF, 0xFFFFFFFF, 2**64 - 1, 2**64 - 1): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        (0x243F6A88, 0x85A308D3, 0x0370734413198A2E, 0x299F31D0A4093822): (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    }
    for counters, words in answers.items():
        assert tuple(int(word) for word in reference.philox4x32(*counters)) == words
    draws = [half for word in answers[0, 0, 0, 0] for half in (word & 0xFFFF, word >> 16)]
    for threshold in sorted(draws):
        kept = ops.dropout_forward(np.ones(8, dtype), threshold / 65536, seed=0, stream=0) != 0
        assert kept.tolist() == [draw < threshold for draw in draws]


def test_dropout_keeps_the_mean_and_the_share():
    x = np.random.default_rng(0).random(400_000) + 1
    for keep_prob in (0.1, 0.5, 0.9):
        y = ops.dropout_forward(x, keep_prob, seed=3)
        assert (y != 0).mean() == pytest.approx(keep_prob, abs=0.004)
        assert y.mean() == pytest.approx(x.mean(), rel=0.02)


@dtypes
def test_dropout_of_arrays_beyond_caches(dtype):
    """Outputs of 32 MiB and more are written past the caches, where they lie well enough: the bits of the same in place."""
    columns = 1009  # odd, so that rows start at every distance from a cache line
    x = np.random.default_rng(2).standard_normal((2**25 // 4 // columns + 1, columns)).astype(dtype)
    expected = ops.dropout_forward(x.copy(), 0.7, seed=5, stream=6, out=None)
    in_place = x.copy()
    ops.dropout_forward(in_place, 0.7, seed=5, stream=6, out=in_place)
    same_bits(expected, in_place)
    frame = np.full((len(x), columns + 7), 7, dtype)
    for first in (0, 3, 4):  # columns before the output: for lines, halves of lines and numbers that begin a row
        out = frame[:, first : first + columns]
        ops.dropout_forward(x, 0.7, seed=5, stream=6, out=out)
        same_bits(out, in_place)
        assert (frame[:, :first] == 7).all()
        assert (frame[:, first + columns :] == 7).all()
        frame[...] = 7


@dtypes
def test_products_of_the_twin_warn_of_nothing(dtype):
    """What overflows is for the losses to say, as with the kernels."""
    huge = np.full((2, 2), np.finfo(dtype).max)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(reference.linear_forward(huge, huge, huge[0])).all()
        assert np.isinf(reference.linear_relu_backward(huge, huge, huge, huge)[1]).all()


@pytest.mark.parametrize("name", ["column_moments", "column_extremes", "row_hashes"])
def test_tables_of_bytes(name):
    rng = np.random.default_rng(3)
    for size in KERNELS[name].sizes:
        given = {**KERNELS[name].make(rng, "float32", size), "x": rng.integers(0, 256, size, dtype=np.uint8)}
        run_both(name, KERNELS[name], given)
        floating = {**given, "x": given["x"].astype(np.float64)}
        for bytes_too, floats in zip(np.atleast_1d(getattr(ops, name)(**given)), np.atleast_1d(getattr(ops, name)(**floating))):
            same_bits(bytes_too, floats)


def test_permutation_is_a_fair_one():
    order = ops.permutation(1000, seed=1)
    assert sorted(order.tolist()) == list(range(1000))
    first = np.bincount([int(ops.permutation(5, seed=s)[0]) for s in range(3000)], minlength=5) / 3000
    np.testing.assert_allclose(first, 0.2, atol=0.03)
