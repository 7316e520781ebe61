"""Measures fastnn and its competitors and prints them in one table, under a header that names the machine and its measured peak.

`pytest bench` measures; `--quick` only sees that everything runs; `-k adam` picks rows; `--benchmark-json FILE` keeps every round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from cases import Case
from peers.client import Peer, threads_environment

from fastnn import benchmark as bench
from fastnn.text import aligned

NUMPY = {"FASTNN_BACKEND": "numpy"}
PEERS = {
    "fastnn": ("fastnn_kernels", {}),
    "numpy": ("numpy_kernels", NUMPY),
    "numpy-1-thread": ("numpy_kernels", {**NUMPY, **threads_environment(1)}),
}
rows: dict[Case, dict[str, tuple[float, float]]] = {}  # seconds, and the sum over what was made
peaks = pytest.StashKey[dict[str, bench.Peak]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="a moment for each row, to see that everything runs")


def effort(config: pytest.Config) -> bench.Effort:
    return bench.QUICK if config.getoption("--quick") else bench.Effort(rounds=30, seconds=0.005)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[peaks] = {dtype: bench.measure_peak(dtype, effort(config)) for dtype in ("float32", "float64")}


def pytest_report_header(config: pytest.Config) -> list[str]:
    single, double = config.stash[peaks].values()
    return [*bench.header(single), bench.header(double)[-1]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "peer" in metafunc.fixturenames:
        metafunc.parametrize("peer", PEERS)


@pytest.fixture(scope="session")
def peers() -> Iterator[dict[str, Peer]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(contextlib.closing(Peer(module, environment))) for name, (module, environment) in PEERS.items()}


@pytest.fixture
def run(peers: dict[str, Peer], benchmark, request: pytest.FixtureRequest) -> Callable[[Case, str], None]:
    """Measure one row: a median over rounds, each a chunk of calls in the competitor's own process."""
    plan, peak = effort(request.config), request.config.stash[peaks]

    def measure(case: Case, name: str) -> None:
        made = peers[name].prepare(case, plan.seconds)["sum"]
        benchmark.pedantic(peers[name].round, rounds=plan.rounds)
        peers[name].settle()
        seconds, work, top = benchmark.stats.stats.median, case.work(), peak[case.dtype]
        rows.setdefault(case, {})[name] = (seconds, made)
        benchmark.extra_info |= {
            work.unit: work.amount / seconds / 1e9,
            "per cent of peak": 100 * top.share(work, seconds),
            "machine": bench.header(top),
        }
        # A competitor that makes something else would be timed for nothing; random masks differ, so dropout is compared loosely.
        first = next(iter(rows[case].values()))[1]
        assert made == pytest.approx(first, rel=0.2 if "dropout" in case.kernel else 1e-3)

    return measure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = [["work", "size", "dtype", "fastnn", "NumPy", "NumPy, 1 thread", "ratio", "rate", "of peak", "NumPy of peak"]]
    for case, measured in rows.items():
        if len(measured) == len(PEERS):
            peak, work = config.stash[peaks][case.dtype], case.work()
            own, theirs, single = (measured[name][0] for name in PEERS)
            best = min(theirs, single)
            lines.append([case.kernel, "x".join(map(str, case.size)), case.dtype, *map(bench.time_text, (own, theirs, single)),
                          f"{best / own:.2f}", f"{work.amount / own / 1e9:.3g} {work.unit}", f"{100 * peak.share(work, own):.0f} %",
                          f"{100 * peak.share(work, best):.0f} %"])
    if len(lines) > 1:
        terminalreporter.section("medians, each competitor in its own process")
        terminalreporter.line(aligned(lines, left=2))
        terminalreporter.line(f"The ratio is to the faster NumPy. {bench.NOTES}")
