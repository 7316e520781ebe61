"""The process of one competitor: reads a request a line from standard input, answers a line of JSON, ends with its input.

`{"prepare": {case}, "seconds": s}` -> `{"calls": k, "sum": total, "form": name, "seconds": t}`: makes the work, warms it up, keeps its
fastest form, and finds the `k` calls that make a chunk of about `s` seconds; or `{"refused": why}` where the competitor lacks the kernel.
`{"calls": k, "chunks": c}` -> `{"seconds": [t, ...]}`: times `c` chunks, each `t` a call.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import Case

from fastnn.benchmark import calls_for, chunk

LONG = 0.05  # seconds; forms that take longer are told apart by one chunk each


def total(result: Any) -> float:
    """A number that tells whether two competitors made the same thing."""
    if isinstance(result, tuple):
        return sum(total(part) for part in result)
    return float(np.abs(result).sum(dtype=np.float64))


def prepare(peer: Any, case: Case, seconds: float) -> tuple[Callable[[], Any] | None, dict[str, Any]]:
    """The fastest form of the case's work, and the answer. Forms are made one after another, each from arrays of its own."""
    best: tuple[Callable[[], Any] | None, dict[str, Any]] = (None, {"refused": "has no such kernel"})
    forms = peer.prepare(case)
    for name, make in (forms if isinstance(forms, dict) else {"": lambda: forms}).items():
        work = make()
        made = total(work())
        calls = calls_for(work, seconds)
        taken = calls * chunk(work, calls)
        if taken < LONG:
            taken = min(taken, calls * min(chunk(work, calls) for _ in range(3)))
        if best[0] is None or taken / calls < best[1]["seconds"] / best[1]["calls"]:
            best = work, {"calls": calls, "sum": made, "form": name, "seconds": taken}
    return best


def main(module: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is not an answer
    peer = importlib.import_module(f"peers.{module}")
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            work = None  # free the arrays of the case before
            case = request["prepare"]
            work, answer = prepare(peer, Case(case["kernel"], tuple(case["size"]), case["dtype"]), request["seconds"])
        else:
            answer = {"seconds": [chunk(work, request["calls"]) for _ in range(request["chunks"])]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
