"""Forks: wherever one happens, parent and child compute the right bits afterwards and nobody hangs. Each situation is a script of its
own under a watchdog, with warnings as errors: CPython 3.12 warns of a fork while there are other threads, so the workers must be gone."""

from __future__ import annotations

import os
import textwrap

import pytest
from processes import output

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

WATCHDOG = 60  # seconds; a script takes one or two

PROLOGUE = """
import multiprocessing, os, subprocess, sys, threading, warnings
import numpy as np
from fastnn import _config, ops

rng = np.random.default_rng(0)
x, w = rng.standard_normal((300, 200)), rng.standard_normal((200, 240))
_config.set_num_threads(1)
serial = ops.linear_forward(x, w)
_config.set_num_threads(4)


def threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None


def right(_=None):
    return all(np.array_equal(ops.linear_forward(x, w), serial) for _ in range(20))


def forked(child):
    "Run child() in a forked child; whether it returned True there."
    process = os.fork()
    if process == 0:
        done = False
        try:
            done = child()
        finally:
            os._exit(0 if done else 1)
    return os.waitpid(process, 0)[1] == 0
"""

SITUATIONS = {
    "idle": """
        alone = threads()
        assert right() and threads() in (None, alone + 3)
        before = _config.get_num_threads()
        process = os.fork()
        assert threads() in (None, 1 if process == 0 else alone)
        if process == 0:
            os._exit(0 if right() and _config.get_num_threads() == before else 1)
        assert os.waitpid(process, 0)[1] == 0
        assert right()
        assert threads() in (None, alone + 3)
    """,
    "before the first use": """
        assert forked(right)
        assert right()
        assert forked(right)
    """,
    "while other threads compute": """
        stop = threading.Event()
        wrong = []

        def compute():
            while not stop.is_set():
                if not right():
                    wrong.append(1)

        others = [threading.Thread(target=compute) for _ in range(3)]
        for other in others:
            other.start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # those threads are ours, and Python is right to warn of them
            assert all(forked(right) for _ in range(20))
        stop.set()
        for other in others:
            other.join()
        assert not wrong and right()
    """,
    "nested": """
        assert right()
        assert forked(lambda: right() and forked(lambda: right() and forked(right)) and right())
        assert right()
    """,
    "a pool of forked processes": """
        assert right()
        with multiprocessing.get_context("fork").Pool(3) as pool:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the pool's own threads
                assert pool.map(right, range(12)) == [True] * 12
            assert right()
    """,
    "a fork server": """
        assert right()
        with multiprocessing.get_context("forkserver").Pool(2) as pool:
            assert pool.map(right, range(6)) == [True] * 6
        assert right()
    """,
    "spawned processes": """
        assert right()
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            assert pool.map(right, range(6)) == [True] * 6
        assert right()
    """,
    "a subprocess": """
        assert right()
        code = "import numpy as np, fastnn; print(fastnn.MLP((3, 2), seed=0).forward(np.ones((1, 3), np.float32)).shape)"
        for preexec in (None, os.getpid):  # with and without a fork that runs Python
            done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, preexec_fn=preexec)
            assert done.stdout.strip() == "(1, 2)", done.stderr
        assert right()
    """,
    "a child that changes the number of threads": """
        assert right()

        def resized():
            _config.set_num_threads(2)
            return right() and (_config.set_num_threads(1) or right()) and (_config.set_num_threads(6) or right())

        assert all(forked(resized) for _ in range(20))
        assert _config.get_num_threads() == 4 and right()
    """,
}


@pytest.mark.parametrize("situation", list(SITUATIONS))
def test_parent_and_child_compute_after_a_fork(tmp_path, situation):
    script = tmp_path / "situation.py"  # a file, for processes that start anew import it
    body = textwrap.indent(textwrap.dedent(SITUATIONS[situation]), "    ")
    script.write_text(f"{PROLOGUE}\n\nif __name__ == '__main__':\n{body}\n    print('right')\n")
    assert output(str(script), timeout=WATCHDOG, OPENBLAS_NUM_THREADS="1") == "right"


def test_a_process_that_ends_while_kernels_run_ends_cleanly(tmp_path):
    script = tmp_path / "ending.py"
    script.write_text(
        f"{PROLOGUE}\n"
        "for _ in range(3):\n"
        "    threading.Thread(target=lambda: [right() for _ in range(10000)], daemon=True).start()\n"
        "right()\nprint('right')\n"
    )
    for _ in range(5):
        assert output(str(script), timeout=WATCHDOG, OPENBLAS_NUM_THREADS="1") == "right"
