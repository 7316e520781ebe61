"""Threads: the same bits for any number of them, who decides how many, callers in parallel, the GIL, idleness and the caller's registers.
Forks are in test_fork.py."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest
from cases import KERNELS
from processes import last_line_of_error, output
from test_mirror import same_bits

from fastnn import _config, _core, ops, reference

LIBM = ctypes.CDLL(None)  # Python is linked to it
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Work enough to be cut: products over columns (up to eight ways), over rows, and over both; the rest as arrays of some 300 000 elements.
SPLIT = {"product": [(256, 160, 260), (1100, 300, 7), (900, 200, 70)], "loss": [(3001, 97)]}
FLAT = [(300_001,), (257, 1203)]


@pytest.fixture
def threads():
    """`set_num_threads`, undone after the test."""
    yield _config.set_num_threads
    _config.set_num_threads(None)


def flat(result) -> list:
    return list(result) if isinstance(result, tuple) else [result]


def called(name: str, given: dict) -> list:
    """Results of a call on copies, arrays changed in place among them."""
    arguments = cases.copied(given)
    return flat(getattr(ops, cases.public(name))(**arguments)) + [arguments[key] for key in KERNELS[name].writes]


def check_same(got: list, serial: list) -> None:
    for a, b in zip(got, serial, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            same_bits(a, b)


def split_sizes(name: str) -> list[tuple[int, ...]]:
    return [(100_003,)] if name == "permutation" else SPLIT.get(KERNELS[name].promise, FLAT)


def split_cases(name: str, dtype: str) -> list[dict]:
    return [KERNELS[name].make(np.random.default_rng(30), dtype, size) for size in split_sizes(name)]


def threads_of_the_process() -> int:
    return len(os.listdir("/proc/self/task"))


# ---------------------------------------------------------------------------------------------------------------------------------
# The same bits


@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_any_number_of_threads_gives_the_same_bits(threads, name, dtype):
    for given in split_cases(name, dtype):
        threads(1)
        serial = called(name, given)
        for count in (2, 3, 4, 8):
            threads(count)
            got = called(name, given)
            check_same(got, serial)
            for array in got:
                if isinstance(array, np.ndarray):
                    array[...] = 7  # the next result may be given this memory, and must not find the answer there


def test_workers_take_subnormal_numbers_of_tables_for_what_they_are(threads):
    x = np.random.default_rng(5).standard_normal((20_000, 3)) * 1e-310
    for count in (1, 2, 4):
        threads(count)
        for got, twin in zip(ops.column_moments(x, 50), reference.column_moments(x, 50)):
            same_bits(got, twin)
        small = (x * 1e270).astype(np.float32)
        same_bits(ops.row_hashes(small.astype(np.float64)), reference.row_hashes(small))


@linux
def test_the_threads_asked_for_do_run(threads):
    """Or the test above compares serial runs with each other."""
    threads(1)
    alone = threads_of_the_process()
    given = KERNELS["linear_forward"].make(np.random.default_rng(0), "float32", SPLIT["product"][0])
    for count in (8, 4, 2, 3, 1):
        threads(count)
        called("linear_forward", given)
        assert threads_of_the_process() == alone + count - 1


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("count", [1, 4])
def test_subnormal_sums_are_zero_on_every_thread(threads, dtype, count):
    """Workers count subnormal numbers as zero, as the caller does, even where they were started by one that did not."""
    threads(1)
    threads(count)
    _core.stream_bandwidth(10_000, 0.0)  # starts the workers
    (n, i, o), least = SPLIT["product"][0], np.finfo(dtype).tiny
    x, w, dy = (np.full(shape, value, dtype) for shape, value in (((n, i), 1e-4), ((i, o), least), ((n, o), least / 4)))
    for _ in range(20):
        results = [ops.linear_forward(x, w), *ops.linear_backward(dy, x, np.full((i, o), 1e-4, dtype))]
        assert not any(result.any() for result in results)


# ---------------------------------------------------------------------------------------------------------------------------------
# How many


def test_set_and_get(threads):
    for count in (1, 3, 256, np.int64(2)):
        threads(count)
        assert _config.get_num_threads() == count
    threads(None)
    assert 1 <= _config.get_num_threads() <= 256


@pytest.mark.parametrize(("value", "kind"), [(0, ValueError), (-1, ValueError), (257, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_a_wrong_number_is_refused_and_changes_nothing(threads, value, kind):
    threads(3)
    with pytest.raises(kind, match=r"^fastnn\.set_num_threads: argument 'n' must "):
        threads(value)
    assert _config.get_num_threads() == 3


THREADS = "from fastnn import _config\nprint(_config.get_num_threads())"


def test_the_own_variable_goes_before_that_of_openmp():
    assert output("-c", THREADS, FASTNN_NUM_THREADS="5", OMP_NUM_THREADS="3") == "5"
    assert output("-c", THREADS, OMP_NUM_THREADS="3") == "3"
    assert output("-c", THREADS, OMP_NUM_THREADS="4,2") == "4"
    assert output("-c", THREADS, FASTNN_NUM_THREADS="", OMP_NUM_THREADS="3") == "3"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_either_variable_goes_before_the_processors():
    one = f"import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n{THREADS}"
    assert output("-c", one) == "1"
    assert output("-c", one, OMP_NUM_THREADS="3") == "3"
    assert output("-c", one, FASTNN_NUM_THREADS="3") == "3"
    everywhere = min(_config.available_cpus(), 256)
    for ignored in ("many", "0", "-2", "2.5"):  # OpenMP's variable is OpenMP's to complain about
        assert output("-c", THREADS, OMP_NUM_THREADS=ignored) == str(everywhere)


@pytest.mark.parametrize("text", ["0", "-1", "257", "1.5", "many", "4,2", "\N{SUPERSCRIPT TWO}", "9" * 5000])
def test_a_wrong_variable_is_answered_by_one_sentence(text):
    assert last_line_of_error("-c", "import fastnn", FASTNN_NUM_THREADS=text) == (
        f"ImportError: fastnn: environment variable FASTNN_NUM_THREADS must be an integer in 1..256 (got {text!r})"
    )


@pytest.mark.parametrize(
    ("affinity", "files", "expected"),
    [
        (8, {"v2": "max 100000"}, 8),
        (8, {"v2": "300000 100000"}, 3),
        (8, {"v2": "250000 100000"}, 3),
        (8, {"v2": "20000 100000"}, 1),
        (2, {"v2": "300000 100000"}, 2),
        (8, {"v2": "nonsense"}, 8),
        (8, {"v2": "300000 0"}, 8),
        (8, {"quota": "-1", "period": "100000"}, 8),
        (8, {"quota": "400000\n", "period": "100000\n"}, 4),
        (8, {"quota": "400000"}, 8),
        (8, {}, 8),
    ],
)
def test_processors_are_cut_by_affinity_and_control_group(monkeypatch, tmp_path, threads, affinity, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(_config, "_CGROUP_V2", tmp_path / "v2")
    monkeypatch.setattr(_config, "_CGROUP_V1", (tmp_path / "quota", tmp_path / "period"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
    for name in ("FASTNN_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert _config.available_cpus() == expected
    threads(None)
    assert _config.get_num_threads() == expected


# ---------------------------------------------------------------------------------------------------------------------------------
# Callers in parallel


@pytest.mark.parametrize("resizing", [False, True], ids=["steady", "while the number of threads changes"])
def test_callers_in_parallel_get_the_serial_bits(threads, resizing):
    """Products of eight callers compete for the pool; who does not get it works alone."""
    names = [name for name in KERNELS if name != "permutation"]
    work = [(name, given) for name in names for given in split_cases(name, "float32")[-1:]]
    threads(1)
    serial = [called(name, given) for name, given in work]
    threads(3)
    stop = threading.Event()

    def resize() -> None:
        while not stop.is_set():
            for count in (2, 5, 1, 3):
                threads(count)
                time.sleep(0.001)

    def run(start: int) -> None:
        for index in np.roll(np.arange(len(work)), -3 * start):
            check_same(called(*work[index]), serial[index])

    resizer = threading.Thread(target=resize)
    if resizing:
        resizer.start()
    try:
        with ThreadPoolExecutor(8) as callers:
            assert list(callers.map(run, range(8))) == [None] * 8
    finally:
        stop.set()
        if resizing:
            resizer.join()


def long_calls() -> dict:
    """A call of some 50 ms or more through each door into C."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((700, 1000)), rng.standard_normal((1000, 700))
    flat_x = rng.standard_normal(6_000_000)
    scores, labels = flat_x[:5_000_000].reshape(500_000, 10), rng.integers(10, size=500_000)
    return {
        "linear_forward": lambda: ops.linear_forward(x, w),
        "linear_backward": lambda: ops.linear_backward(x[:, :700].copy(), x, w),
        "map": lambda: ops.tanh_forward(flat_x),
        "dropout": lambda: ops.dropout_forward(flat_x, 0.5, seed=1),
        "loss": lambda: ops.softmax_cross_entropy(scores, labels),
        "permutation": lambda: ops.permutation(4_000_000, seed=1),
    }


def test_the_gil_is_released(threads):
    """A heartbeat goes on during each call. Not a clock: a call that held the GIL would let one or two beats through."""
    threads(1)
    before = _core.isa()
    _core.use_isa("portable")  # the slowest
    beats = 0
    stop = threading.Event()

    def beat() -> None:
        nonlocal beats
        while not stop.wait(0.001):
            beats += 1

    heart = threading.Thread(target=beat)
    calls = long_calls()
    heart.start()
    counted = {}
    try:
        for name, call in calls.items():
            start = beats
            call()
            counted[name] = beats - start
    finally:
        stop.set()
        heart.join()
        _core.use_isa(before)
    assert min(counted.values()) > 5, counted


# ---------------------------------------------------------------------------------------------------------------------------------
# Idleness, and the caller's registers


@pytest.mark.parametrize("count", [2, 4])
def test_nothing_spins_while_idle(threads, count):
    threads(count)
    given = KERNELS["linear_forward"].make(np.random.default_rng(0), "float32", SPLIT["product"][0])
    called("linear_forward", given)
    before = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - before < 0.3


def floating_point_register() -> int:
    """MXCSR as C's fegetenv stores it, without the sticky bit of inexact results, which Python's own arithmetic sets."""
    environment = ctypes.create_string_buffer(64)
    LIBM.fegetenv(environment)
    return int.from_bytes(environment.raw[28:32], "little") & ~0x20


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="reads MXCSR where glibc for x86-64 puts it")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", list(KERNELS))
def test_the_callers_floating_point_register_is_left_alone(threads, name, count):
    """Kernels flush subnormals to zero and raise flags; the caller finds rounding, masks, flushing and flags as they were, after results
    and after errors. Overflow, invalid operations and subnormal results are among what is computed."""
    threads(count)
    kernel = KERNELS[name]
    for size in [kernel.sizes[-1], split_sizes(name)[0]]:
        given = kernel.make(np.random.default_rng(0), "float32", size)
        given = cases.sprinkled(np.random.default_rng(1), given) if "sample_weight" not in given else given
        LIBM.feclearexcept(0x3F)
        before = floating_point_register()
        getattr(ops, cases.public(name))(**given)
        assert floating_point_register() == before
        with pytest.raises((ValueError, TypeError)):
            getattr(ops, cases.public(name))(**{**given, next(iter(given)): np.ones((2, 2, 2, 2), np.float16)})
        assert floating_point_register() == before


@linux
def test_fewer_threads_than_asked_for_do_all_the_work():
    """When the system gives no more threads the caller does the tasks that are left."""
    code = (
        "import os, pathlib, resource, numpy as np\nfrom fastnn import _config, ops\n"
        "x, w = np.ones((300, 200)), np.ones((200, 240))\nout = np.zeros((300, 240))\n"
        "_config.set_num_threads(8)\nalone = len(os.listdir('/proc/self/task'))\n"
        "used = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 30 * 2**20, resource.RLIM_INFINITY))\n"
        "ops.linear_forward(x, w, out=out)\nstarted = len(os.listdir('/proc/self/task')) - alone\n"
        "print(0 < started < 7, bool((out == 200).all()))"
    )
    assert output("-c", code, OPENBLAS_NUM_THREADS="1") == "True True"
