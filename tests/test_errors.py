"""Bad input: the kernel and its twin answer with the same exception and the same sentence, and no array has changed."""

from __future__ import annotations

import re

import cases
import numpy as np
import pytest
from cases import KERNELS

from fastnn import ops, reference

SENTENCE = re.compile(r"^fastnn\.\w+: argument '\w+' must .+ \(expected .+, got .+\)$", re.DOTALL)
plain = pytest.mark.parametrize("name", [name for name in KERNELS if "/" not in name and name != "permutation"])


def refused(name: str, arguments: dict, kind: type[Exception] | tuple[type[Exception], ...] = (TypeError, ValueError)) -> str:
    """Both raise the same sentence; every array, `out` included, keeps its bytes. Returns the sentence."""
    flat = [v for value in arguments.values() for v in (value if isinstance(value, (tuple, list)) else (value,))]
    held = [v for v in flat if isinstance(v, np.ndarray)]
    before = [array.tobytes() for array in held]
    said = []
    for module in (ops, reference):
        with pytest.raises(kind) as caught:
            getattr(module, cases.public(name))(**arguments)
        assert type(caught.value) in (TypeError, ValueError)
        said.append(f"{type(caught.value).__name__} {caught.value}")
        assert [array.tobytes() for array in held] == before
    assert said[0] == said[1]
    sentence = said[0].split(" ", 1)[1]
    assert SENTENCE.match(sentence), sentence
    assert sentence.startswith(f"fastnn.{cases.public(name)}: ")
    return sentence


def arguments_of(name: str, dtype: str = "float32") -> dict:
    size = (5, 4, 3) if name.startswith("linear") else (5, 4)
    return KERNELS[name].make(np.random.default_rng(3), dtype, size)


def wrong_arrays(array: np.ndarray, written: bool):
    """Label and replacement for one array of a call; the replacement must be refused."""
    floating = array.dtype.kind == "f"
    yield "None", None
    yield "list", array.tolist()
    yield "number", 1.5
    yield "text", "abc"
    yield "masked", np.ma.masked_array(array)
    yield "object", array.astype(object)
    yield "complex", array.astype(complex)
    yield "bool", array.astype(bool)
    yield "structure", np.zeros(array.shape, [("a", "f4"), ("b", "f4")])
    yield "date", np.zeros(array.shape, "M8[s]")
    yield "extra axis", array[None]
    yield "longer", np.concatenate([array, array[:1]])
    if floating:
        yield "half", array.astype(np.float16)
        yield "integer", array.astype(np.int32)
        yield "byte order", array.astype(array.dtype.newbyteorder())
    else:
        yield "negative label", np.where(np.arange(len(array)) == 2, -1, array)
        yield "label too large", np.where(np.arange(len(array)) == 2, 10**6, array)
    if written:
        frozen = array.copy()
        frozen.flags.writeable = False
        yield "read-only", frozen
        yield "overlaps itself", np.lib.stride_tricks.as_strided(array.copy(), array.shape, (0,) * array.ndim)


@plain
def test_wrong_arrays(name):
    arguments = arguments_of(name)
    first = next(iter(arguments))
    for chosen, array in cases.arrays(arguments).items():
        for label, bad in wrong_arrays(array, chosen in KERNELS[name].writes):
            if label == "None" and chosen in ("b", "sample_weight"):
                continue  # optional
            if chosen == first and label in ("extra axis", "longer"):
                continue  # the first array sets the sizes; the others are then refused, which the rest of the loop covers
            if chosen == "labels" and name == "softmax_cross_entropy" and label == "half":
                continue
            sentence = refused(name, {**arguments, chosen: bad})
            assert f"'{chosen}'" in sentence, label


@plain
def test_mixed_dtypes(name):
    arguments = arguments_of(name)
    for chosen, array in list(cases.arrays(arguments).items())[1:]:
        if array.dtype.kind == "f":
            sentence = refused(name, {**arguments, chosen: array.astype(np.float64)}, TypeError)
            assert "must be float32" in sentence


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.output and "/" not in name])
def test_wrong_out(name):
    arguments = arguments_of(name)
    result = getattr(reference, name)(**arguments)
    good = result[1] if KERNELS[name].promise == "loss" else result
    for label, bad in wrong_arrays(good, written=True):
        if label == "None":
            continue  # an array is made
        assert "'out'" in refused(name, {**arguments, "out": bad}), label
    for chosen, array in cases.arrays(arguments).items():
        if array.dtype != good.dtype:
            continue
        memory = np.zeros(good.size + array.size, good.dtype)
        view = memory[: array.size].reshape(array.shape)
        view[...] = array
        shifted = memory[1 : 1 + good.size].reshape(good.shape)
        assert f"not overlap '{chosen}'" in refused(name, {**arguments, chosen: view, "out": shifted}, ValueError)


@pytest.mark.parametrize("name", [name for name in KERNELS if "linear" in name and "backward" in name])
def test_wrong_backward_out(name):
    arguments = arguments_of(name)
    dx, dw, db = np.zeros((5, 4), "f"), np.zeros((4, 3), "f"), np.zeros(3, "f")
    for bad in (dx, [dx, dw], "abc", 3, (dx, dw, db, db)):
        assert "'out' must be a tuple of three" in refused(name, {**arguments, "out": bad}, TypeError)
    for position, array in enumerate((dx, dw, db)):
        for label, bad in wrong_arrays(array, written=True):
            if label == "None":
                continue  # an array is made
            out = [None, None, None]
            out[position] = bad
            assert f"'{('dx', 'dw', 'db')[position]}'" in refused(name, {**arguments, "out": tuple(out)}), label
    assert "'db' must not overlap 'dw'" in refused(name, {**arguments, "out": (None, dw, dw[0])}, ValueError)
    assert "'dx' must not overlap 'x'" in refused(name, {**arguments, "out": (arguments["x"], None, None)}, ValueError)


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.writes and "/" not in name])
def test_updates_want_memory_of_their_own(name):
    arguments = arguments_of(name)
    held = list(cases.arrays(arguments))
    for later in held[1:]:
        sentence = refused(name, {**arguments, later: arguments["param"]}, ValueError)
        assert "not overlap 'param'" in sentence


NUMBERS = {
    "keep_prob": ([0.0, -0.1, 1.1, np.nan, np.inf], ["a", None, [0.5], 1j]),
    "seed": ([-1, 2**64], [0.5, "a", None]),
    "stream": ([-1, 2**64], [0.5, "a", None]),
    "slope": ([-0.1, np.nan, np.inf], ["a", None, np.ones(2)]),
    "margin": ([-0.1, np.nan, np.inf], ["a", None]),
    "learning_rate": ([-0.1, np.nan, np.inf], ["a", None, np.ones(1)]),
    "weight_decay": ([-0.1, np.nan, np.inf], ["a", None]),
    "l1": ([-0.1, np.nan, np.inf], ["a", None]),
    "momentum": ([-0.1, 1.1, np.nan], ["a", None]),
    "decay_rate": ([-0.1, 1.1, np.nan], ["a", None]),
    "eps": ([-1e-9, np.nan, np.inf], ["a", None]),
    "beta1": ([-0.1, 1.0, np.nan], ["a", None]),
    "beta2": ([-0.1, 1.0, np.nan], ["a", None]),
    "block": ([0, -1, 2**53 + 1], [1.5, "a", None]),
    "step": ([0, -1, 2**53 + 1], [1.5, "a", None]),
}


@plain
def test_wrong_numbers(name):
    import inspect

    parameters = inspect.signature(getattr(ops, name)).parameters
    arguments = arguments_of(name)
    for chosen in [p for p in parameters if p in NUMBERS and not (p == "slope" and "leaky" not in name)]:
        values, types = NUMBERS[chosen]
        for bad in values:
            assert f"'{chosen}'" in refused(name, {**arguments, chosen: bad}, ValueError)
        for bad in types:
            if chosen == "slope" and bad is None:
                continue
            assert f"'{chosen}'" in refused(name, {**arguments, chosen: bad}, TypeError)


def test_every_number_is_tried():
    import inspect

    known = {*NUMBERS, "need_dx", "out", "nesterov", "bias_correction", "decoupled", "sample_weight", "n"}
    for name in ops.__all__:
        parameters = inspect.signature(getattr(ops, name)).parameters
        arrays_and_labels = {*KERNELS[name].make(np.random.default_rng(0), "float32", (2, 2, 2) if "linear" in name else (2, 2))}
        assert set(parameters) <= known | arrays_and_labels


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "l2_loss", "hinge_loss"])
def test_wrong_weights(name):
    arguments = arguments_of(name)
    for bad in (-1.0, np.nan, np.inf):
        weight = np.ones(5, "f")
        weight[3] = bad
        assert "'sample_weight' must be finite and not negative" in refused(name, {**arguments, "sample_weight": weight}, ValueError)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "hinge_loss"])
def test_scores_need_a_column(name):
    first = next(iter(arguments_of(name)))
    assert "at least one column" in refused(name, {first: np.zeros((3, 0), "f"), "labels": np.zeros(3, int)}, ValueError)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "l2_loss", "hinge_loss"])
def test_empty_and_weightless_batches(name):
    """No samples, or none with weight: nothing to learn from, so loss 0.0 and gradient 0, not NaN."""
    arguments = arguments_of(name)
    for module in (ops, reference):
        loss, gradient = getattr(module, name)(**{**arguments, "sample_weight": np.zeros(5, "f")})
        assert loss == 0.0
        assert not gradient.any()
        loss, gradient = getattr(module, name)(*[array[:0] for key, array in cases.arrays(arguments).items() if key != "sample_weight"])
        assert loss == 0.0
        assert gradient.shape == (0, 4)


def test_permutation_arguments():
    for bad in ({"n": -1}, {"n": 2**32}, {"n": 1.5}, {"n": 3, "seed": -1}, {"n": 3, "stream": 2**64}):
        refused("permutation", {"seed": 0, **bad})


def test_interleaved_views_are_not_overlap():
    """Columns of one array that share an extent but no element are memory of their own."""
    both = np.random.default_rng(0).standard_normal((6, 8)).astype("f")
    expected = reference.relu_forward(both[:, ::2].copy())
    ops.relu_forward(both[:, ::2], out=both[:, 1::2])
    np.testing.assert_array_equal(both[:, 1::2], expected)


def test_overlap_below_a_view_that_runs_backwards():
    memory = np.random.default_rng(0).standard_normal(9).astype("f")
    assert "not overlap 'x'" in refused("relu_forward", {"x": memory[8::-2], "out": memory[:5]}, ValueError)


def test_rows_apart_whose_columns_are_one():
    memory = np.random.default_rng(0).standard_normal(80).astype("f")
    out = np.lib.stride_tricks.as_strided(memory, (5, 4), (64, 0))
    assert "not overlap itself" in refused("relu_forward", {"x": np.ones((5, 4), "f"), "out": out}, ValueError)


@pytest.mark.parametrize("function", ["linear_forward", "linear_backward"])
def test_lack_of_memory_is_said(function, tmp_path):
    """Under an address-space limit the workspace cannot be had: MemoryError, and the outputs keep what they held."""
    import subprocess
    import sys

    program = f"""
import resource
import numpy as np
from fastnn import ops
n = 4096
x = np.ones((128, n), "f"); w = np.ones((n, n), "f"); y = np.full((128, n), 7, "f"); dw = np.full((n, n), 7, "f")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + 2**16, hard))
try:
    if "{function}" == "linear_forward": ops.linear_forward(x, w, out=y)
    else: ops.linear_backward(y, x, w, need_dx=False, out=(None, dw, np.zeros(n, "f")))
except MemoryError as error:
    said = str(error)
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
assert (y == 7).all() and (dw == 7).all()
print(said)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"fastnn\.{function}: no memory for \d+ bytes of workspace", done.stdout)
