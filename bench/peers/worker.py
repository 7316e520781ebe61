"""The process of one competitor: reads a request a line from standard input, answers a line of JSON, ends with its input.

`{"prepare": {kind: case}, "seconds": s}` -> `{"calls": k, "form": name, "seconds": t, and what the case's probe finds}`: makes the work,
warms it up, keeps its fastest form, and finds the `k` calls that make a chunk of about `s` seconds; or `{"refused": why}` where the competitor
lacks the kernel.
`{"calls": k, "chunks": c}` -> `{"seconds": [t, ...]}`: times `c` chunks, each `t` a call.
`{"tell": method}` -> `{method: what that method of the work returns}`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from cases import Case
from training import Training

from fastnn.benchmark import calls_for, chunk

LONG = 0.05  # seconds; forms that take longer are told apart by one chunk each
KINDS = {kind.__name__: kind for kind in (Case, Training)}


def case_of(description: dict[str, dict[str, Any]]) -> Case | Training:
    """The case that a request describes; JSON made lists of its tuples."""
    ((kind, fields),) = description.items()
    return KINDS[kind](**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def prepare(peer: Any, case: Case | Training, seconds: float) -> tuple[Callable[[], Any] | None, dict[str, Any]]:
    """The fastest form of the case's work, and the answer. Forms are made one after another, each from arrays of its own."""
    best: tuple[Callable[[], Any] | None, dict[str, Any]] = (None, {"refused": "has no such kernel"})
    forms = peer.prepare(case)
    for name, make in (forms if isinstance(forms, dict) else {"": lambda: forms}).items():
        work = make()
        made = case.probe(work)
        start = time.perf_counter()
        work()
        calls, taken = 1, time.perf_counter() - start
        if taken < 8 * LONG:
            calls = calls_for(work, seconds)
            taken = calls * chunk(work, calls)
        if taken < LONG:
            taken = min(taken, calls * min(chunk(work, calls) for _ in range(3)))
        if best[0] is None or taken / calls < best[1]["seconds"] / best[1]["calls"]:
            best = work, {"calls": calls, "form": name, "seconds": taken, **made}
    return best


def main(module: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is not an answer
    peer = importlib.import_module(f"peers.{module}")
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            work = None  # free the arrays of the case before
            work, answer = prepare(peer, case_of(request["prepare"]), request["seconds"])
        elif "tell" in request:
            answer = {request["tell"]: getattr(work, request["tell"])()}
        else:
            answer = {"seconds": [chunk(work, request["calls"]) for _ in range(request["chunks"])]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
