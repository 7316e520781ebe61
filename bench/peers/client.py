"""The driver's end of a competitor's process, and the clock that pytest-benchmark reads."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cases import Case
from training import Training


class Clock:
    """Time as the workers count it: a round advances it by what one call took there, so that the pipe between us costs nothing."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


clock = Clock()


def threads_environment(threads: int) -> dict[str, str]:
    """What limits every competitor, or the library below it, to `threads` threads."""
    names = ("FASTNN", "OMP", "OPENBLAS", "MKL", "BLIS")
    return {f"{name}_NUM_THREADS": str(threads) for name in names} | {"NPROC": str(threads)}  # the last one is for JAX


class Peer:
    """A competitor's process; `environment` is added to ours."""

    def __init__(self, module: str, environment: dict[str, str]) -> None:
        bench = Path(__file__).resolve().parents[1]
        path = os.pathsep.join(filter(None, [str(bench), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "peers.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "PYTHONPATH": path},
        )
        self.calls = 0

    def prepare(self, case: Case | Training, seconds: float) -> dict[str, Any]:
        """Set the case up in the worker. The answer has what the case's `probe` found in the first calls, the `form` of the work that was
        the fastest, and about how many `seconds` a chunk takes; or `refused`, the reason why this competitor does not do the case."""
        answer = self._ask({"prepare": {type(case).__name__: asdict(case)}, "seconds": seconds})
        self.calls = answer.get("calls", 0)
        return answer

    def begin(self, case: Training) -> None:
        """Set up the case's first form and train nothing yet; a call is one chunk."""
        self._ask({"begin": {type(case).__name__: asdict(case)}})
        self.calls = 1

    def chunks(self, count: int) -> list[float]:
        """Seconds a call in each of `count` chunks, one right after another."""
        return self._ask({"calls": self.calls, "chunks": count})["seconds"]

    def settle(self) -> None:
        """Return when the process's idle threads sleep."""
        self._ask({"settle": True})

    def tell(self, what: str) -> Any:
        """What the prepared work's method of that name returns."""
        return self._ask({"tell": what})[what]

    def round(self) -> None:
        """One chunk in the worker, on the clock of pytest-benchmark."""
        clock.seconds += self.chunks(1)[0]

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.process.args[-1]} ended with status {self.process.wait()}")
        return json.loads(line)
