"""Races between fastnn and its competitors, each in a process of its own, all of them taking turns within one run; and what a script that
runs them shares: its options, the machine it ran on, the peaks it divides by."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import report
from cases import Case
from peers.client import Peer, threads_environment
from training import Training

from fastnn import _config, _core
from fastnn import benchmark as bench

THREADS = 2
FULL = bench.Effort(rounds=4, chunks=12, seconds=0.004, peak_seconds=0.5, stream_bytes=256 << 20)
QUICK = replace(bench.QUICK, rounds=2)
LONG = 0.2  # seconds; chunks from there on are not repeated within a round
# On a shared host two virtual processors may be the two threads of one core for as long as they are kept busy, and then everything takes as
# long as on one thread: hence several visits, with rests between.
VISITS = 4  # of a competitor in a round, as far as it has chunks
LOOKS, LOOK, REST = 10, 0.002, 0.02  # times, seconds of each, and seconds of sleep before it
QUICK_LIMIT = 1e9  # operations or bytes of a call: what does more is left out of a quick run

DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # packages that are installed under another name

# Instruction sets by the names that the libraries below the competitors know. torch.compile needs a cache apart: it would take code that
# was compiled for wider vectors, and compute something else.
ISA_ENVIRONMENT = {
    "avx2": {
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "TORCHINDUCTOR_CACHE_DIR": str(Path(tempfile.gettempdir()) / "torchinductor-avx2"),
    }
}


@dataclass(frozen=True)
class Competitor:
    """`module` of `peers`, the packages and programs it needs, and what its environment has besides ours. One that
    is not `threaded` uses one thread whatever it is given, so it is raced only where the others have the most."""

    name: str
    module: str
    needs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = (("FASTNN_BACKEND", "numpy"),)
    threaded: bool = True

    def missing(self) -> list[str]:
        packages = [package for package in self.needs if importlib.util.find_spec(package) is None]
        return packages + [program for program in self.programs if shutil.which(program) is None]


FASTNN = Competitor("fastnn", "fastnn_kernels", environment=())
NUMPY = Competitor("NumPy", "numpy_kernels")
COMPETITORS = (
    FASTNN,
    NUMPY,
    Competitor("PyTorch", "torch_kernels", ("torch",)),
    Competitor("PyTorch compiled", "torch_compiled", ("torch",), ("g++",)),
    Competitor("thinc", "thinc_kernels", ("thinc", "blis"), threaded=False),
)

TRAINERS = (
    Competitor("fastnn", "fastnn_training", environment=()),
    Competitor("NumPy", "numpy_training"),
    Competitor("PyTorch", "torch_training", ("torch",)),
    Competitor("PyTorch compiled", "torch_training_compiled", ("torch",), ("g++",)),
    Competitor("JAX", "jax_training", ("jax",), environment=(("FASTNN_BACKEND", "numpy"), ("JAX_PLATFORMS", "cpu"))),
    Competitor("scikit-learn", "sklearn_training", ("sklearn",)),
    Competitor("thinc", "thinc_training", ("thinc", "blis"), threaded=False),
)


class Contest:
    """The processes of the competitors, started when they are first needed. `notes` says who is absent, and why."""

    def __init__(self, competitors: Sequence[Competitor], effort: bench.Effort) -> None:
        self.effort = effort
        self.competitors = [competitor for competitor in competitors if not competitor.missing()]
        self.notes = [f"{c.name} is absent: {' and '.join(c.missing())} not installed" for c in competitors if c.missing()]
        self._peers: dict[tuple[Competitor, int], Peer] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def race(self, case: Case | Training, threads: Sequence[int]) -> dict[int, dict[str, dict[str, Any]]]:
        """Measure the case with each number of threads: `{threads: {competitor: {"seconds", "median", "form"}}}`.

        `seconds` is the median over rounds of the best chunk of each; `median` is that of all chunks.
        """
        ready = {}
        for count in threads:
            for competitor in self.competitors:
                if not competitor.threaded and count < max(threads):
                    continue
                peer = self.peer(competitor, count)
                answer = peer.prepare(case, self.effort.seconds)
                peer.settle()
                if "refused" not in answer:
                    ready[count, competitor.name] = (peer, answer, self._chunks(answer["seconds"]))
        self._check(case, ready)
        times: dict[tuple[int, str], list[list[float]]] = {key: [] for key in ready}
        for visit in range(self.effort.rounds * VISITS):
            for key, (peer, _, chunks) in ready.items():
                if visit % VISITS == 0:
                    times[key].append([])
                count = share(chunks, visit % VISITS)
                if count > 0:
                    times[key][-1] += peer.chunks(count)
                    peer.settle()
        results: dict[int, dict[str, dict[str, Any]]] = {}
        for (count, name), (_, answer, _) in ready.items():
            results.setdefault(count, {})[name] = {**figures(times[count, name]), "form": answer["form"]}
        return results

    def _chunks(self, seconds: float) -> int:
        """Chunks of a round: fewer where even one call is long."""
        plan = self.effort
        return max(2 if seconds < LONG else 1, min(plan.chunks, int(2 * plan.chunks * plan.seconds / seconds)))

    def _check(self, case: Case | Training, ready: dict[tuple[int, str], tuple[Peer, dict[str, Any], int]]) -> None:
        """A competitor that makes something else would be timed for nothing."""
        (_, first, _), *_ = ready.values()
        for (_, name), (_, answer, _) in ready.items():
            if complaint := case.complaint(first, answer):
                raise RuntimeError(f"{case}: {name} ({answer['form']}) {complaint}")

    def peer(self, competitor: Competitor, threads: int) -> Peer:
        """The competitor's process with so many threads."""
        if (competitor, threads) not in self._peers:
            peer = Peer(competitor.module, {**dict(competitor.environment), **threads_environment(threads)})
            self._peers[competitor, threads] = self._stack.enter_context(contextlib.closing(peer))
        return self._peers[competitor, threads]


def share(chunks: int, visit: int) -> int:
    """Chunks of one of the visits of a round."""
    return chunks * (visit + 1) // VISITS - chunks * visit // VISITS


def figures(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """`seconds`: the median over rounds of the best chunk; `median`: that of all chunks."""
    return {
        "seconds": statistics.median(min(chunks) for chunks in rounds),
        "median": statistics.median(seconds for chunks in rounds for seconds in chunks),
    }


class Peaks:
    """The best that was measured in this run: flop/s of one thread for each dtype, bytes/s of the stream triad on all threads."""

    def __init__(self) -> None:
        self.flops = {"float32": 0.0, "float64": 0.0}
        self.bandwidth = 0.0
        self.ratios: list[float] = []

    def look(self) -> None:
        """Whether the threads have a core each, which on a shared host may change whenever they wake up."""
        for _ in range(LOOKS):
            time.sleep(REST)
            rates = [_core.fma_peak("float32", LOOK, threads) for threads in (1, THREADS)]
            self.ratios.append(rates[1] / rates[0])

    @property
    def together(self) -> list[float]:
        """How many times the multiply-adds of one thread all of them did at once: least, median and most of the looks."""
        return [min(self.ratios), statistics.median(self.ratios), max(self.ratios)]

    def measure(self, effort: bench.Effort) -> None:
        self.look()
        for dtype, best in self.flops.items():
            self.flops[dtype] = max(best, _core.fma_peak(dtype, effort.peak_seconds))
        self.bandwidth = max(self.bandwidth, _core.stream_bandwidth(effort.stream_bytes, effort.peak_seconds))

    def rate(self, case: Case | Training, threads: int) -> float | None:
        """What `case` on `threads` threads is divided by; None for arrays that may stay in cache, of which the triad says nothing."""
        work = case.work()
        if work.unit == "GFLOP/s":
            return threads * self.flops[case.dtype]
        return self.bandwidth if work.amount > 1e8 and threads == THREADS else None


def machine(peaks: Peaks, effort: bench.Effort, competitors: Sequence[Competitor]) -> dict[str, Any]:
    """What the figures were measured on, for the header and the file."""
    packages = ["fastnn", "numpy", *dict.fromkeys(package for competitor in competitors for package in competitor.needs)]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": bench.cpu_model(),
        "cores": _config.available_cpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "isa": _core.isa(),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(DISTRIBUTIONS.get(package, package)) for package in packages},
        "load": round(os.getloadavg()[0], 2),
        "gflops_per_thread": {dtype: rate / 1e9 for dtype, rate in peaks.flops.items()},
        "stream_gbytes": peaks.bandwidth / 1e9,
        "threads": THREADS,
        "together": peaks.together,
        "rounds": effort.rounds,
        "quick": effort == QUICK,
    }


def options(description: str, argv: Sequence[str] | None, **extra: dict[str, Any]) -> argparse.Namespace:
    """Parse what the scripts share, and the `extra` options of one of them; `--isa` takes effect here."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write machine and figures there")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the figures there (needs matplotlib)")
    parser.add_argument("--quick", action="store_true", help="a moment for each row, large ones left out: does everything run?")
    parser.add_argument("--rows", metavar="PATTERN", default="", help="only rows whose name has this regular expression")
    parser.add_argument("--isa", choices=[name for name, usable in _core.isas().items() if usable],
                        help="hold fastnn to an instruction set; avx2 holds the competitors to it, too")  # fmt: skip
    for name, settings in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    args = parser.parse_args(argv)
    if args.isa:
        _core.use_isa(args.isa)
        os.environ.update(ISA_ENVIRONMENT.get(args.isa, {}), FASTNN_ISA=args.isa)
    _config.set_num_threads(THREADS)
    return args


def study(description: str, argv: Sequence[str] | None, measure: Callable[[str, bool], dict[str, Any]],
          text: Callable[[dict[str, Any]], str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """A whole script: take its options, measure, print `text` of the figures below the machine, write --json. A picture is left to it."""
    args = options(description, argv)
    data = measure(args.rows, args.quick)
    print("\n".join([*report.header(data["machine"]), *data["notes"]]), text(data), sep="\n\n")
    if args.json:
        write_json(args.json, data)
    return args, data


def smoke(main: Callable[[Sequence[str]], None], request: Any, capsys: Any, folder: Path, files: dict[str, str]) -> None:
    """A script as a part of `pytest bench`: it runs with these `files` (`{option: name}`) and must write every one."""
    paths = {option: folder / name for option, name in files.items()}
    for path in paths.values():
        if path.suffix == ".md":
            path.write_text("".join(f"{start}\n{report.END}\n" for start in report.STARTS), encoding="utf-8")
    arguments = [part for option, path in paths.items() for part in (option, str(path))]
    with capsys.disabled():
        main([*(["--quick"] if request.config.getoption("--quick") else []), *arguments])
    assert all(path.stat().st_size > 100 for path in paths.values())


def progress(text: str = "") -> None:
    """One line on standard error that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="\033[K", file=sys.stderr, flush=True)


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
