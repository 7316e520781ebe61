"""The process of one competitor: reads a request a line from standard input, answers a line of JSON, ends with its input.

`{"prepare": {kind: case}, "seconds": s}` -> `{"calls": k, "form": name, "seconds": t, and what the case's probe finds}`: makes the work,
warms it up, keeps its fastest form, and finds the `k` calls that make a chunk of about `s` seconds; or `{"refused": why}` where the
competitor lacks it.
`{"begin": {kind: case}}` -> `{}`: makes the first form of the work and does not call it.
`{"calls": k, "chunks": c}` -> `{"seconds": [t, ...]}`: times `c` chunks, each `t` a call.
`{"settle": true}` -> `{}`, when the threads of the process have gone to sleep.
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

from fastnn.benchmark import calls_for, chunk, settle

LONG = 0.05  # seconds; forms that take longer are told apart by one chunk each
KINDS = {kind.__name__: kind for kind in (Case, Training)}


def case_of(description: dict[str, dict[str, Any]]) -> Case | Training:
    """The case that a request describes; JSON made lists of its tuples."""
    ((kind, fields),) = description.items()
    return KINDS[kind](**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def forms_of(peer: Any, case: Case | Training) -> dict[str, Callable[[], Callable[[], Any]]]:
    """`{name: function that makes the callable}`, also of a competitor that has one callable only."""
    forms = peer.prepare(case)
    return forms if isinstance(forms, dict) else {"": lambda: forms}


def prepare(peer: Any, case: Case | Training, seconds: float) -> tuple[Callable[[], Any] | None, dict[str, Any]]:
    """The fastest form of the case's work, and the answer. Forms are made one after another, each from arrays of its own."""
    best: tuple[Callable[[], Any] | None, dict[str, Any]] = (None, {"refused": "has no such thing"})
    for name, make in forms_of(peer, case).items():
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
        elif "begin" in request:
            case = case_of(request["begin"])
            work, answer = next(iter(forms_of(peer, case).values()))(), {}
        elif "settle" in request:
            settle()
            answer = {}
        elif "tell" in request:
            answer = {request["tell"]: getattr(work, request["tell"])()}
        else:
            answer = {"seconds": [chunk(work, request["calls"]) for _ in range(request["chunks"])]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
