"""Python code in a process of its own: another environment, a crash, a hang, or a fresh import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

PACKAGE_VARIABLES = ("FASTNN_ISA", "FASTNN_NUM_THREADS", "FASTNN_BACKEND", "OMP_NUM_THREADS")


def python(*arguments: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python arguments` with warnings as errors and none of the package's variables but those given. A hang raises TimeoutExpired,
    after the process and all of its children have been ended."""
    kept = {name: value for name, value in os.environ.items() if name not in PACKAGE_VARIABLES}
    command = [sys.executable, "-P", "-W", "error", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**kept, **environment}, start_new_session=True, **pipes) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def output(*arguments: str, timeout: float = 120, **environment: str) -> str:
    """What a run that must succeed prints."""
    done = python(*arguments, timeout=timeout, **environment)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def last_line_of_error(*arguments: str, **environment: str) -> str:
    """The last line of the traceback of a run that must fail."""
    done = python(*arguments, **environment)
    assert done.returncode == 1, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    assert "During handling" not in done.stderr
    return done.stderr.strip().splitlines()[-1]
