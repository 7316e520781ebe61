"""What the compiled kernels run on, and the environment variables and calls that change it.

* `FASTNN_ISA=portable|avx2|avx512|neon` forces an instruction set; one that this build or CPU lacks fails the import.
* `FASTNN_NUM_THREADS`, else `OMP_NUM_THREADS`, gives the number of threads; else it is the number of processors the process may run on,
  by affinity and by the quota of its control group. `set_num_threads`, and `threadpoolctl.threadpool_limits`, go before all of them.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from . import _core, _threadpools, checks

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def set_num_threads(n: int | None) -> None:
    """Let kernels use `n` threads, the caller's included; None goes back to the default. Results have the same bits for any n."""
    threads = _default_threads() if n is None else checks.integer("set_num_threads", "n", n, 1, 256)
    _core.set_threads(threads, available_cpus())


def get_num_threads() -> int:
    """Threads a kernel may use, the caller's included."""
    return _core.threads()


def available_cpus() -> int:
    """Processors this process may run on: its affinity, cut by the quota of its control group (rounded up)."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, min(cpus, math.ceil(quota)) if quota else cpus)


def describe() -> dict[str, Any]:
    """Instruction set in use and why, those of this build, threads and why."""
    forced = os.environ.get("FASTNN_ISA")
    return {
        "isa": _core.isa(),
        "isa chosen by": f"FASTNN_ISA={forced}" if forced else "this CPU: the best of this build that it runs",
        "isa choices": ", ".join(name if usable else f"{name} (not on this CPU)" for name, usable in _core.isas().items()),
        "threads": get_num_threads(),
        "processors": available_cpus(),
    }


def _quota() -> float | None:
    try:
        if _CGROUP_V2.exists():
            limit, period = _CGROUP_V2.read_text().split()
        else:
            limit, period = (path.read_text().strip() for path in _CGROUP_V1)
        return None if limit == "max" or int(limit) <= 0 or int(period) <= 0 else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _default_threads() -> int:
    own = os.environ.get("FASTNN_NUM_THREADS", "").strip()
    if own and _count(own) is None:
        raise ImportError(f"fastnn: environment variable FASTNN_NUM_THREADS must be an integer in 1..256 (got {own!r})")
    # OMP_NUM_THREADS may list nesting levels; what is wrong with it is for OpenMP to say.
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return _count(own) or _count(openmp) or min(available_cpus(), 256)


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 and 1 <= int(text) <= 256 else None


def configure() -> None:
    """Apply the environment; called once, when the compiled kernels are first imported."""
    isa = os.environ.get("FASTNN_ISA")
    if isa:
        try:
            _core.use_isa(isa)
        except ValueError:
            choices = ", ".join(name for name, usable in _core.isas().items() if usable)
            raise ImportError(
                f"fastnn: environment variable FASTNN_ISA must name an instruction set that this build has and this CPU runs: {choices} "
                f"(got {isa!r})"
            ) from None
    set_num_threads(None)
    _threadpools.announce()
