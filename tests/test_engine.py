"""The compiled engine against its twin, to the bit: `fastnn.loop` says what an update computes."""

from __future__ import annotations

import itertools
import math
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import backend, loop
from fastnn.optimizers import SGD, AdaGrad, Adam, Momentum, RMSProp
from fastnn.plan import Plan

pytestmark = pytest.mark.skipif(backend.engine is None, reason="FASTNN_BACKEND=numpy has no compiled engine")

SIZES = (6, 33, 16, 3)
OPTIMIZERS = (SGD(0.05, weight_decay=1e-3), Momentum(0.02, weight_decay=1e-3), Momentum(0.02, nesterov=True), AdaGrad(0.05), RMSProp(1e-2),
              Adam(1e-2), Adam(1e-2, weight_decay=1e-2, decoupled=True, bias_correction=False))  # fmt: skip
LOSSES = ("softmax_cross_entropy", "l2", "hinge")


@pytest.fixture(autouse=True)
def threads_as_before():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


class Race:
    """Both engines from the same weights."""

    def __init__(self, sizes=SIZES, optimizer=OPTIMIZERS[5], *, dtype="float32", keep=1.0, seed=3, **plan):
        rng = np.random.default_rng(seed)
        shapes = [shape for i, o in itertools.pairwise(sizes) for shape in ((i, o), (o,))]
        start = [rng.normal(0, 0.4, shape).astype(dtype) for shape in shapes]
        self.sizes, self.optimizer, self.dtype, self.rng = sizes, optimizer, np.dtype(dtype), rng
        settings = {"activation": "relu", "slope": 0.01, "seed": 7, "loss": "softmax_cross_entropy", "margin": 1.0,
                    "update": optimizer.kernel, "slots": optimizer.slots, "clip_value": math.inf, "clip_norm": math.inf,
                    "max_norm": math.inf, "average": 0.0, "mean": None, "inverse_std": None,
                    "keep_prob": keep if isinstance(keep, tuple) else (1.0,) + (keep,) * (len(sizes) - 2)}  # fmt: skip
        self.plan = Plan(sizes=sizes, **{**settings, **plan})
        self.engines = []
        for kind in (backend.engine, loop.Engine):
            parameters = [array.copy() for array in start]
            states = [optimizer.state(array) for array in parameters]
            averages = [array.copy() for array in parameters] if self.plan.average else []
            self.engines.append((kind(self.plan, parameters, states, averages), parameters, states, averages))

    def data(self, rows=103, *, bytes_=False, other=False, dense=False, weighted=False, ordered=True):
        rng, outputs = self.rng, self.sizes[-1]
        shape = rows, self.sizes[0]
        x = rng.integers(0, 256, shape, dtype=np.uint8) if bytes_ else rng.normal(size=shape).astype(self.dtype)
        if other:  # with numbers that the net's dtype, or the rows' own, has only as subnormal ones, or not at all
            x = rng.normal(size=shape).astype("f4" if self.dtype == "f8" else "f8")
            x[rng.random(shape) < 0.2] *= 1e-39
            x[rng.random(shape) < 0.2] *= 1e-4
        if self.plan.loss == "l2":
            y = rng.normal(size=(rows, outputs)).astype(self.dtype)
        else:
            y = rng.dirichlet(np.ones(outputs), rows).astype(self.dtype) if dense else rng.integers(0, outputs, rows)
        weight = rng.uniform(0.5, 2, rows).astype(self.dtype) if weighted else None
        return x, y, weight, rng.permutation(rows) if ordered else None

    def run(self, data, batch=25, micro=None, first=0, updates=None, step=0, measure=True):
        rows = len(data[0])
        updates = -(-rows // batch) - first if updates is None else updates
        rates = np.full(updates, self.optimizer.learning_rate)
        decays = self.optimizer.weight_decay, self.optimizer.l1
        scalars = self.optimizer.scalars(rates, step, *decays), self.optimizer.scalars(rates, step, 0.0)
        return [engine.run(*data, batch, micro or batch, first, updates, *scalars, step, measure, math.inf) for engine, *_ in self.engines]

    def arrays(self, which):
        _, parameters, states, averages = self.engines[which]
        return [*parameters, *(array for state in states for array in state), *averages]

    def same(self):
        return all(a.tobytes() == b.tobytes() for a, b in zip(self.arrays(0), self.arrays(1)))

    def statistics(self):
        return [engine.statistics for engine, *_ in self.engines]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("keep", [1.0, (0.8, 0.5, 0.9)], ids=["kept", "dropped"])
@pytest.mark.parametrize("activation", ["relu", "linear", "leaky_relu", "tanh", "sigmoid"])
def test_every_combination_step_by_step(activation, keep, loss, optimizer, dtype):
    race = Race(optimizer=optimizer, dtype=dtype, keep=keep, activation=activation, loss=loss)
    data = race.data()
    before = [array.copy() for array in race.arrays(0)]
    for update in range(5):
        assert race.run(data, first=update, updates=1, step=update) == [1, 1]
        assert race.same(), update
    assert all(not np.array_equal(a, b) for a, b in zip(before[::2], race.arrays(0)[::2]))
    compiled, twin = race.statistics()
    np.testing.assert_allclose(compiled, twin, rtol=1e-9)


SETTINGS = {
    "bytes": ({}, {"bytes_": True}, {}),
    "bytes in order": ({}, {"bytes_": True, "ordered": False}, {}),
    "floats of the other dtype": ({}, {"other": True}, {}),
    "floats of the other dtype in order": ({}, {"other": True, "ordered": False}, {}),
    "floats of the other dtype, standardised": ({"mean": 0.5, "inverse_std": 2.0}, {"other": True}, {}),
    "standardised": ({"mean": 120.0, "inverse_std": 1 / 60}, {"bytes_": True}, {}),
    "standardised floats": ({"mean": 0.5, "inverse_std": 2.0}, {}, {}),
    "soft labels": ({}, {"dense": True}, {}),
    "weighted": ({}, {"weighted": True}, {}),
    "in order": ({}, {"ordered": False, "weighted": True}, {}),
    "clip_value": ({"clip_value": 1e-3}, {}, {}),
    "average": ({"average": 0.9}, {}, {}),
    "parts": ({"keep_prob": (0.9, 0.5, 0.8)}, {"weighted": True}, {"micro": 7}),
    "parts of one": ({"keep_prob": (0.9, 0.5, 0.8), "average": 0.9}, {"bytes_": True}, {"micro": 1}),
    "unmeasured": ({}, {}, {"measure": False}),
    "max_norm": ({"max_norm": 0.5}, {}, {}),
    "max_norm and average": ({"max_norm": 0.5, "average": 0.9}, {}, {}),
}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting(setting, dtype, threads):
    plan, kind, how = SETTINGS[setting]
    plan = {name: np.full(6, value, dtype) if name in ("mean", "inverse_std") else value for name, value in plan.items()}
    fastnn.set_num_threads(threads)
    race = Race(dtype=dtype, **plan)
    assert race.run(race.data(**kind), **how) == [5, 5]
    assert race.same()
    np.testing.assert_allclose(*race.statistics(), rtol=1e-6)


@pytest.mark.parametrize("micro", [25, 9])
@pytest.mark.parametrize("optimizer", [SGD(0.5), Adam(1e-2)], ids=repr)
def test_clip_norm(optimizer, micro):
    # The two sum the squares in different orders, so the factor may differ in its last bit.
    race, free = Race(optimizer=optimizer, clip_norm=0.1), Race(optimizer=optimizer)
    data = race.data()
    assert race.run(data, micro=micro) == free.run(data) == [5, 5]
    for a, b in zip(race.arrays(0), race.arrays(1)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not np.allclose(race.arrays(0)[0], free.arrays(0)[0], atol=1e-3)
    compiled, twin = race.statistics()
    assert compiled.gradient_norm == pytest.approx(twin.gradient_norm, rel=1e-5)
    assert compiled.gradient_norm > 0.1


@pytest.mark.parametrize(("sizes", "rows", "batch"), [
    ((1, 5), 40, 7), ((5, 1), 40, 7), ((784, 128, 10), 5, 1), ((700, 300, 10), 300, 128), ((257, 513, 1030, 17), 40, 33),
    ((3, 2100, 1030), 6, 3), ((300, 290, 10), 30, 9), ((601, 77, 3), 200, 90),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_sizes_and_threads(sizes, rows, batch, threads):
    fastnn.set_num_threads(threads)
    race = Race(sizes, keep=0.5 if len(sizes) > 2 else (1.0,))
    data = race.data(rows)
    race.run(data, batch, measure=False)
    assert race.same()
    race.run(data, batch, step=10)
    assert race.same()
    np.testing.assert_allclose(*race.statistics(), rtol=1e-5)


@pytest.mark.parametrize(("plan", "kind", "how"), [
    ({}, {}, {}), ({"clip_value": 1e-3}, {"weighted": True}, {"measure": False}), ({"max_norm": 0.5, "average": 0.9}, {}, {}),
    ({}, {"weighted": True}, {"micro": 130}),
], ids=["plain", "clip_value", "max_norm and average", "parts"])  # fmt: skip
@pytest.mark.parametrize(("sizes", "keep"), [((20, 600, 7), 0.5), ((20, 600, 9, 600, 3), 0.8), ((9, 12, 5), 0.5)], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_that_take_the_place_of_outputs(dtype, sizes, keep, threads, plan, kind, how):
    fastnn.set_num_threads(threads)
    rows, batch = (10_000, 6000) if sizes[1] < 16 else (330, 160)
    race = Race(sizes, dtype=dtype, keep=keep, **plan)
    data = race.data(rows, **kind)
    updates = -(-rows // batch)
    assert race.run(data, batch, **how) == [updates, updates]
    assert race.same()
    np.testing.assert_allclose(*race.statistics(), rtol=1e-5)
    data[0][data[3][batch], 0] = np.nan  # the second batch's
    assert race.run(data, batch, **how) == [1, 1]
    assert race.same()


@pytest.mark.parametrize("where", ["input", "weight", "late"])
def test_nothing_is_written_where_a_loss_is_not_finite(where):
    race = Race()
    data = race.data(ordered=False)
    if where == "weight":
        race.engines[0][1][2][0, 0] = race.engines[1][1][2][0, 0] = np.inf
    else:
        data[0][-1 if where == "late" else 0, 2] = np.nan
    expected = 4 if where == "late" else 0
    assert race.run(data) == [expected, expected]
    assert [engine.failure for engine, *_ in race.engines] == [True, True]
    assert race.same()


def test_nothing_is_written_where_only_a_gradient_overflows():
    race = Race((4, 8, 2), SGD(0.1), loss="l2")
    x, y, *rest = race.data(50, ordered=False)
    x *= 1e18
    y *= 0
    for _, parameters, *_ in race.engines:
        parameters[0] *= 1e-12
        parameters[2] *= 1e13  # scores near 1e18, their squares within range, gradients of the first layer not
    before = [array.copy() for array in race.arrays(0)]
    assert race.run((x, y, *rest), batch=50) == [0, 0]
    assert [engine.failure for engine, *_ in race.engines] == [True, True]
    assert all(np.array_equal(a, b) for a, b in zip(before, race.arrays(0)))


def test_large_numbers_within_range_train():
    # Too large for the quick bound on the gradients, not too large for float32.
    race = Race((4, 8, 2), SGD(1e-38), loss="l2")
    x, y, *rest = race.data(50, ordered=False)
    x *= 1e17
    for _, parameters, *_ in race.engines:
        parameters[0] *= 1e-1
        parameters[2] *= 1e-14
    assert race.run((x, y * 1e10, *rest), batch=50, measure=False)[0] == race.run((x, y * 1e10, *rest), batch=50, measure=False)[1]
    assert race.same()


def test_wrong_arrays_are_answered_with_a_sentence():
    race = Race()
    x, y, _weight, order = race.data()
    engine = race.engines[0][0]
    scalars = race.optimizer.scalars(np.full(5, 0.1), 0, 0.0)
    before = [array.copy() for array in race.arrays(0)]

    def attempt(**wrong):
        arguments = {"x": x, "y": y, "weight": None, "order": order, "batch_size": 25, "micro_batch": 25, "first": 0, "updates": 5,
                     "scalars": scalars, "bias_scalars": scalars, "step": 0, "measure": False, "deadline": math.inf}  # fmt: skip
        engine.run(**{**arguments, **wrong})

    for wrong in ({"x": x[:, :5]}, {"x": x.astype(np.int32)}, {"y": y[:50]}, {"y": y + 3}, {"y": y - 1}, {"order": order + 1},
                  {"order": order - 1}, {"updates": 6}, {"first": 1}, {"first": -1},
                  {"batch_size": 0}, {"scalars": scalars[:4]}, {"scalars": scalars[:, :3]},
                  {"bias_scalars": scalars[:4]}, {"weight": np.ones(5, np.float32)}, {"weight": np.ones(103)}):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=r"fastnn\.Engine: argument"):
            attempt(**wrong)
    assert all(np.array_equal(a, b) for a, b in zip(before, race.arrays(0)))
    attempt()


def test_own_loss_by_forward_and_backward():
    race = Race(keep=(0.9, 0.8, 0.7), loss=None)
    x, y, *_ = race.data(40)
    scalars = race.optimizer.scalars(np.full(3, 0.01), 0, 0.0)
    for step in range(3):
        gradients = []
        for engine, *_ in race.engines:
            scores = engine.forward(x, step)
            gradients.append(scores - np.eye(3, dtype=np.float32)[y])
            assert engine.backward(gradients[-1] / 40, scalars[step], scalars[step], step == 2)
        assert gradients[0] == pytest.approx(gradients[1], rel=1e-5)
        assert race.same()
    bad = np.full((40, 3), np.inf, np.float32)
    for engine, *_ in race.engines:
        engine.forward(x, 3)
        assert engine.backward(bad, scalars[0], scalars[0], False) is False
    assert race.same()


def test_a_second_thread_is_turned_away():
    net = fastnn.MLP((200, 400, 10))
    trainer = fastnn.Trainer(net)
    x, y = np.zeros((20000, 200), np.float32), np.zeros(20000, np.int64)
    errors = []

    def train():
        try:
            trainer.epoch(x, y)
        except RuntimeError as error:
            errors.append(str(error))

    workers = [threading.Thread(target=train) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all("another thread" in error for error in errors)
    assert len(errors) <= 2


def test_other_python_threads_run_meanwhile():
    net = fastnn.MLP((300, 500, 10))
    x, y = np.zeros((6000, 300), np.float32), np.zeros(6000, np.int64)
    worker = threading.Thread(target=fastnn.Trainer(net).epoch, args=(x, y))
    ticks = 0
    worker.start()
    while worker.is_alive():
        ticks += 1
        time.sleep(0.0005)
    assert ticks > 5


ALLOCATIONS = """
import ctypes, gc, sys
import numpy as np
import fastnn
from fastnn import backend, optimizers
from fastnn.plan import Plan
import math

counter = ctypes.CDLL(sys.argv[1])
rng = np.random.default_rng(0)
sizes = (64, 32, 16, 10)
parameters = [rng.normal(0, 0.3, shape).astype(np.float32) for i, o in zip(sizes, sizes[1:]) for shape in ((i, o), (o,))]
optimizer = optimizers.Adam(1e-3)
plan = Plan(sizes, "tanh", 0.01, (0.9, 0.8, 0.7), 1, "softmax_cross_entropy", 1.0, "adam", 2, 0.5, float(sys.argv[2]), math.inf, 0.9,
            None, None)
engine = backend.engine(plan, parameters, [optimizer.state(p) for p in parameters], [p.copy() for p in parameters])
x, y = rng.normal(size=(32010, 64)).astype(np.float32), rng.integers(0, 10, 32010)
order, scalars = rng.permutation(32010), optimizer.scalars(np.full(1001, 1e-3), 0, 0.0)
counts = []
for updates in (1, 300, 1001):
    gc.collect()
    before = counter.allocations()
    assert engine.run(x, y, None, order, 32, 32, 0, updates, scalars, scalars, 0, False, math.inf) == updates
    counts.append(counter.allocations() - before)
print(*counts)
"""

COUNTER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
static atomic_long count;
long allocations(void) { return count; }
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_memalign(size_t, size_t), *__libc_realloc(void *, size_t);
void *malloc(size_t n) { count++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { count++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { count++; return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { count++; return __libc_memalign(a, n); }
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts by taking the place of glibc's malloc")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("clip_norm", ["inf", "0.5"])
def test_a_thousand_updates_allocate_nothing(tmp_path, clip_norm):
    source, library = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    environment = {"LD_PRELOAD": str(library), "PATH": "/usr/bin:/bin", "PYTHONMALLOC": "malloc", "FASTNN_NUM_THREADS": "2"}
    command = [sys.executable, "-c", ALLOCATIONS, str(library), clip_norm]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    first, second, thousand = map(int, done.stdout.split())
    # Python's own handling of one call allocates a few times, whatever it does; the slices between two looks for Ctrl-C nothing.
    assert first > 0
    assert thousand <= second
