"""Matrix products at every edge of the register tiles and blocks, and every kernel on memory that ends where its arrays end."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import cases
import numpy as np
import pytest
from processes import python
from test_mirror import check_product, same_bits

from fastnn import _config, _core, ops, reference

HERE = Path(__file__).resolve().parent
VECTOR_BYTES = {"portable": 16, "neon": 16, "avx2": 32, "avx512": 64}
MOST_VECTORS = {"portable": [0, 8, 6, 4, 3], "avx2": [0, 8, 6, 4, 3]}  # of columns in a tile of so many rows; csrc/templates/shapes16.h
MOST_VECTORS |= {"neon": [0, 8, 8, 8, 6, 4, 4, 3, 3], "avx512": [0, 8, 8, 8, 6, 4, 4, 3, 3]}  # shapes32.h
MOST_K = 512  # terms that are summed in registers; csrc/gemm.c
DIRECT_TILES, MOST_DIRECT_K = 8, 128  # tiles of rows that read the second operand in place, and terms they take in at a time; csrc/gemm.c

ORDERS = {"C": np.copy} | {name: cases.LAYOUTS[name] for name in ("Fortran", "strided", "reversed")}

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)


@pytest.fixture
def two_threads():
    _config.set_num_threads(2)
    yield
    _config.set_num_threads(None)


def in_frame(shape: tuple[int, int], dtype: str, order: str) -> tuple[np.ndarray, np.ndarray]:
    """`(frame, view)`: a view of the shape with an element of 7.0 on every side of it, whose columns or rows are neighbours."""
    rows, columns = shape if order == "C" else shape[::-1]
    frame = np.full((rows + 2, columns + 2), 7, dtype)
    view = frame[1:-1, 1:-1]
    view[...] = np.nan  # must not be read
    return frame, view if order == "C" else view.T


def frame_is_whole(frame: np.ndarray) -> bool:
    return bool((frame[[0, -1]] == 7).all() and (frame[:, [0, -1]] == 7).all())


@dtypes
@pytest.mark.parametrize("k", [0, 1, 2, 5, 17, MOST_DIRECT_K + 1, MOST_K - 1, MOST_K, MOST_K + 1])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_tail_of_rows_and_columns(isa, dtype, k, order):
    """Every part of a product, (0..2 tiles + 1) x (0..2 panels + 1), has the bits that it has within the whole, and the whole keeps the
    bound. Operands and output are views into something larger, so wide reads see other numbers; what is around y stays."""
    rng = np.random.default_rng(k)
    vectors, lanes = MOST_VECTORS[isa], VECTOR_BYTES[isa] // np.dtype(dtype).itemsize
    most_rows = len(vectors) - 1
    panels = [vectors[min(max(m, 1), most_rows)] * lanes for m in range(2 * most_rows + 2)]
    whole = {
        "x": cases.normal(rng, dtype, len(panels), k), "w": cases.normal(rng, dtype, k, 2 * max(panels) + 2),
        "b": cases.normal(rng, dtype, 2 * max(panels) + 2),
    }  # fmt: skip
    y = ops.linear_relu_forward(**whole)
    check_product("linear_relu_forward", whole, y, reference.linear_relu_forward(**whole))
    x, w, b = (np.array(whole[name], order=order, copy=True) for name in ("x", "w", "b"))
    for m, panel in enumerate(panels):
        edges = {*range(lanes + 2), *(edge + d for edge in range(lanes, 2 * panel + 1, lanes) for d in (-1, 0, 1))}
        for n in range(2 * panel + 2) if k == 5 else sorted(edges):
            frame, out = in_frame((m, n), dtype, order)
            ops.linear_relu_forward(x[:m], w[:, :n], b[:n], out=out)
            assert np.array_equal(out, y[:m, :n]), (m, n, k)
            assert frame_is_whole(frame), (m, n, k)


@dtypes
def test_every_tail_backward(isa, dtype):
    """dx, dw and db of random small sizes, in frames, with and without a gate."""
    rng = np.random.default_rng(3)
    for draw in range(400):
        n, i, o = (int(size) for size in rng.integers(0, [19, 70, 70]))
        order = "CF"[draw % 2]
        name = ("linear_backward", "linear_relu_backward", "linear_relu_dropout_backward")[draw % 3]
        given = cases.KERNELS[name].make(rng, dtype, (n, i, o))
        frames, outputs = zip(*[in_frame(shape, dtype, order) for shape in ((n, i), (i, o), (1, o))])
        (dx, dw, db) = outputs
        got = getattr(ops, name)(**given, out=(dx, dw, db[0]))
        check_product(name, given, got, getattr(reference, name)(**given))
        assert all(frame_is_whole(frame) for frame in frames)


LARGE = [(70, 20, 610), (9, 2100, 40), (70, 1100, 18), (260, 1030, 5), (9, 1030, 605), (1, 3000, 150), (80, 1100, 700)]


@dtypes
@pytest.mark.parametrize("size", LARGE, ids=str)
@pytest.mark.usefixtures("two_threads")
def test_products_larger_than_every_block(isa, dtype, size):
    """Many panels, several blocks of k and a split over threads, with each operand in each order."""
    rng = np.random.default_rng(4)
    plain = cases.KERNELS["linear_forward"].make(rng, dtype, size)
    y = ops.linear_forward(**plain)
    check_product("linear_forward", plain, y, reference.linear_forward(**plain))
    for x_layout, w_layout in itertools.product(ORDERS, repeat=2):
        given = {"x": ORDERS[x_layout](plain["x"]), "w": ORDERS[w_layout](plain["w"]), "b": cases.strided(plain["b"])}
        same_bits(ops.linear_forward(**given), y)
    n, i, o = size
    for name in ("linear_backward", "linear_relu_dropout_backward"):
        given = cases.KERNELS[name].make(rng, dtype, (i, n, o) if i > 2000 else size)
        check_product(name, given, getattr(ops, name)(**given), getattr(reference, name)(**given))


@dtypes
@pytest.mark.parametrize("k", [1, 5, MOST_K + 3])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("two_threads")
def test_every_tail_of_columns_with_many_rows(isa, dtype, k, threads):
    """More tiles of rows than read the second operand in place, so that each stage packs the next one's panels: one to nine panels of
    unequal widths, in stages of unequal sizes, have the bits that two rows have, which are read in place."""
    rng = np.random.default_rng(k)
    vectors, lanes = MOST_VECTORS[isa], VECTOR_BYTES[isa] // np.dtype(dtype).itemsize
    most_rows, panel = len(vectors) - 1, vectors[-1] * lanes
    rows, columns = (DIRECT_TILES + 1) * most_rows + 1, 9 * panel + 1
    x, w, b = cases.normal(rng, dtype, rows, k), cases.normal(rng, dtype, k, columns), cases.normal(rng, dtype, columns)
    whole = np.vstack([ops.linear_relu_forward(x[r : r + 2], w, b) for r in range(0, rows, 2)])
    check_product("linear_relu_forward", {"x": x, "w": w, "b": b}, whole, reference.linear_relu_forward(x, w, b))
    _config.set_num_threads(threads)
    for m in (DIRECT_TILES * most_rows, DIRECT_TILES * most_rows + 1, rows):
        for n in sorted({*range(lanes), *(edge + d for edge in range(lanes, columns, lanes) for d in (0, 1)), columns}):
            frame, out = in_frame((m, n), dtype, "C")
            ops.linear_relu_forward(x[:m], w[:, :n], b[:n], out=out)
            assert np.array_equal(out, whole[:m, :n]), (m, n, k)
            assert frame_is_whole(frame), (m, n, k)


@dtypes
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("two_threads")
def test_every_number_of_row_tiles_in_place(isa, dtype, threads):
    """Several blocks of terms and panels that are read in place, by every number of row tiles that does and the next, into outputs of
    either order: the bits of columns on their own."""
    rng = np.random.default_rng(7)
    most_rows, k, n = len(MOST_VECTORS[isa]) - 1, 2 * MOST_DIRECT_K + 3, 437
    x, w, b = cases.normal(rng, dtype, DIRECT_TILES * most_rows + 1, k), cases.normal(rng, dtype, k, n), cases.normal(rng, dtype, n)
    _config.set_num_threads(threads)
    parts = (slice(100), slice(100, 237), slice(237, None))
    whole = np.hstack([ops.linear_relu_forward(x, np.asfortranarray(w[:, part]), b[part]) for part in parts])
    for m in sorted({1, 2, *(tiles * most_rows + d for tiles in range(1, DIRECT_TILES + 1) for d in (0, 1))}):
        for order in "CF":
            frame, out = in_frame((m, n), dtype, order)
            ops.linear_relu_forward(x[:m], w, b, out=out)
            same_bits(out, whole[:m])
            assert frame_is_whole(frame), (m, order)
    given = {"x": x[:3], "w": w, "b": b}
    check_product("linear_relu_forward", given, whole[:3], reference.linear_relu_forward(**given))


@dtypes
@pytest.mark.usefixtures("two_threads")
def test_no_thread_gets_less_than_a_vector(isa, dtype):
    """A product that is worth two threads, with hardly more columns than a vector has."""
    lanes = VECTOR_BYTES[isa] // np.dtype(dtype).itemsize
    rng = np.random.default_rng(8)
    for n in range(lanes + 1, 2 * lanes):
        x, w = cases.normal(rng, dtype, 8, 200_000 // n), cases.normal(rng, dtype, 200_000 // n, n)
        parallel = ops.linear_forward(x, w)
        _config.set_num_threads(1)
        same_bits(parallel, ops.linear_forward(x, w))
        _config.set_num_threads(2)


@dtypes
@pytest.mark.parametrize("name", ["linear_backward", "linear_relu_dropout_backward"])
@pytest.mark.usefixtures("two_threads")
def test_a_split_gate_in_every_layout(dtype, name):
    """Gradients large enough to be gated and summed by two threads."""
    given = cases.KERNELS[name].make(np.random.default_rng(9), dtype, (300, 3, 250))
    plain = getattr(ops, name)(**given)
    check_product(name, given, plain, getattr(reference, name)(**given))
    for dy_layout, y_layout in itertools.product(ORDERS, ORDERS if "y" in given else ["C"]):
        changed = {"dy": ORDERS[dy_layout](given["dy"])} | ({"y": ORDERS[y_layout](given["y"])} if "y" in given else {})
        _, dw, db = getattr(ops, name)(**given | changed, need_dx=False)
        same_bits(dw, plain[1])
        same_bits(db, plain[2])


@dtypes
@pytest.mark.parametrize("size", [*LARGE, (600, 300, 7), (5, 900, 300), (333, 40, 210)], ids=str)
@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
@pytest.mark.usefixtures("two_threads")
def test_dropout_of_a_split_product_is_that_of_the_whole(isa, dtype, size, layout):
    """Each thread drops out its part by the row and the column of the whole, whether rows or columns are split."""
    rng = np.random.default_rng(5)
    given = cases.KERNELS["linear_forward"].make(rng, dtype, size)
    keep = {"keep_prob": 0.6, "seed": int(rng.integers(2**63)), "stream": 9}
    out = cases.LAYOUTS.get(layout, np.copy)(np.empty((size[0], size[2]), dtype))
    got = ops.linear_relu_dropout_forward(**given, **keep, out=out)
    same_bits(got, reference.dropout_forward(ops.linear_relu_forward(**given), **keep))


@dtypes
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("order", ["C", "F"])
def test_relu_lets_nan_through(isa, dtype, rows, order):
    """For a single row, for tiles of several, and for outputs whose columns are apart."""
    rng = np.random.default_rng(10)
    x, w, b = cases.normal(rng, dtype, rows, 9), cases.normal(rng, dtype, 9, 50), cases.normal(rng, dtype, 50)
    w[4, [3, 49]] = np.nan
    y = ops.linear_relu_forward(x, w, b, out=np.empty((rows, 50), dtype, order))
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(np.isnan(w[4]), y.shape))


@dtypes
def test_a_row_does_not_depend_on_the_batch(isa, dtype):
    """A sample's scores are the same bits alone and in any batch: blocks, tiles and packing differ with the number of rows."""
    rng = np.random.default_rng(6)
    x, w, b = cases.normal(rng, dtype, 40, 2500), cases.normal(rng, dtype, 2500, 70), cases.normal(rng, dtype, 70)
    whole = ops.linear_forward(x, w, b)
    for rows in (1, 2, 4, 8, 9, 16, 17):
        same_bits(ops.linear_forward(x[:rows], w, b), whole[:rows])


@pytest.mark.skipif(sys.platform != "linux", reason="guard pages are made with Linux's mprotect")
@pytest.mark.parametrize("side", ["front", "back"])
def test_no_kernel_touches_memory_beyond_its_arrays(isa, side):
    """Every kernel with all operands flush against pages that fault, at all tails; a fault names the kernel that it happened in."""
    done = python(str(HERE / "guarded.py"), isa, side, PYTHONPATH=str(HERE))
    assert done.returncode == 0, f"exit status {done.returncode} in: {done.stdout.splitlines()[-1:]}\n{done.stderr}"
    assert done.stdout.splitlines()[-1] == "all kernels"


@pytest.mark.skipif(sys.platform != "linux", reason="guard pages are made with Linux's mprotect")
@pytest.mark.parametrize("side", ["front", "back"])
def test_guard_pages_guard(side):
    """The test above would see one element too many."""
    done = python(str(HERE / "guarded.py"), _core.isa(), side, "beyond", PYTHONPATH=str(HERE))
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1] == "beyond"
