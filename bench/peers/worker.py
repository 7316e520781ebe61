"""The process of one competitor: reads a request a line from standard input, answers a line of JSON, ends with its input.

`{"prepare": {case}, "seconds": s}` -> `{"calls": k, "sum": total}`: makes the work, warms it up, finds the calls of a chunk of `s` seconds;
`{"chunk": k}` -> `{"seconds": t}`: times one chunk, `t` a call.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import numpy as np
from cases import Case

from fastnn.benchmark import calls_for, chunk


def total(result: Any) -> float:
    """A number that tells whether two competitors made the same thing."""
    if isinstance(result, tuple):
        return sum(total(part) for part in result)
    return float(np.abs(result).sum(dtype=np.float64))


def main(module: str) -> None:
    peer = importlib.import_module(f"peers.{module}")
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            case = request["prepare"]
            work = peer.prepare(Case(case["kernel"], tuple(case["size"]), case["dtype"]))
            answer = {"sum": total(work()), "calls": calls_for(work, request["seconds"])}
        else:
            answer = {"seconds": chunk(work, request["chunk"])}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
