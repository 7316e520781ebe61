"""Which processors the pool's threads run on: workers keep out of their caller's way, and where they may run is what it was."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from cases import KERNELS
from processes import output
from test_threads import SPLIT, called, check_same

from fastnn import _config, _core

HAS_TWO = hasattr(os, "sched_getaffinity") and os.path.isdir("/proc/self/task") and len(os.sched_getaffinity(0)) > 1
pytestmark = pytest.mark.skipif(not HAS_TWO, reason="needs Linux and two processors")

RESTS, JOB = 40, 0.002  # how often the worker falls asleep, and seconds of the job that wakes it


def tasks() -> set[int]:
    return set(map(int, os.listdir("/proc/self/task")))


def processor_of(task: int) -> int:
    with open(f"/proc/self/task/{task}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[36])


def multiply(seconds: float) -> None:
    """A job of one task for each of two threads, again and again."""
    _core.fma_peak("float32", seconds, 2)


@pytest.fixture
def worker():
    """The pool's only one."""
    usual = os.sched_getaffinity(0)
    _config.set_num_threads(1)
    before = tasks()
    _config.set_num_threads(2)
    multiply(0.0)
    (task,) = tasks() - before
    yield task
    os.sched_setaffinity(0, usual)
    _config.set_num_threads(1)
    _config.set_num_threads(None)


def sleep_at(task: int, processor: int, then: set[int]) -> None:
    """Leaves a sleeping worker where it ran last: on `processor`, though it may run anywhere in `then`."""
    os.sched_setaffinity(task, {processor})
    multiply(0.0)
    time.sleep(0.01)
    os.sched_setaffinity(task, then)


def settles(task: int, processors: set[int]) -> bool:
    """Whether `task` may run on these, now or when it has had time to wake up."""
    end = time.monotonic() + 10
    while os.sched_getaffinity(task) != processors and time.monotonic() < end:
        time.sleep(0.001)
    return os.sched_getaffinity(task) == processors


def test_a_worker_does_not_stay_on_the_processor_of_its_caller(worker):
    here, other = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, {here})
    elsewhere = 0
    for _ in range(RESTS):
        sleep_at(worker, here, {here, other})
        multiply(JOB)
        elsewhere += processor_of(worker) == other
        assert settles(worker, {here, other})
    assert elsewhere > 0.75 * RESTS


def test_a_worker_that_found_its_caller_and_moved_may_run_where_it_might_before():
    """In processes of their own: later ones are woken elsewhere in the first place."""
    code = (
        "import os, time\nfrom fastnn import _config, _core\nbefore = set(os.listdir('/proc/self/task'))\n"
        "_config.set_num_threads(2)\n_core.fma_peak('float32', 0.0, 2)\n(worker,) = set(os.listdir('/proc/self/task')) - before\n"
        "for rest in 20 * [0.02]:\n    time.sleep(rest)\n    _core.fma_peak('float32', 0.002, 2)\n"
        "time.sleep(0.05)\nprint(os.sched_getaffinity(int(worker)) == os.sched_getaffinity(0))"
    )
    assert [output("-c", code) for _ in range(3)] == ["True"] * 3


def test_a_worker_with_nowhere_else_to_go_stays_and_works(worker):
    here = min(os.sched_getaffinity(0))
    given = KERNELS["linear_forward"].make(np.random.default_rng(0), "float32", SPLIT["product"][0])
    expected = called("linear_forward", given)
    os.sched_setaffinity(0, {here})
    for _ in range(RESTS):
        sleep_at(worker, here, {here})
        check_same(called("linear_forward", given), expected)
        assert (os.sched_getaffinity(worker), processor_of(worker)) == ({here}, here)
