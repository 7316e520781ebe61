"""`fastnn bench`: what this machine gives, next to NumPy doing the same work. The long version is `bench/` in the source tree.

A figure is the median over rounds of the best of many short chunks. fastnn and NumPy take turns inside each round, in one process, with
a pause in between until idle BLAS threads sleep; `bench/` gives each a process of its own. Rates come from declared work: two
operations for each multiply-add of the matrix products, or each array read or written once. Per cent are of the peak measured in the same
run on all the threads: fused multiply-adds, or the stream triad; arrays that stay in cache can pass 100 % of the latter.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from . import backend
from .backend import kernels
from .model import MLP
from .optimizers import Adam
from .text import aligned
from .trainer import Trainer

REST, QUIET, PATIENCE = 0.01, 0.1, 1.0  # seconds between looks, part of a processor that counts as none, seconds at most


NOTES = """GB/s are of the stream triad: arrays that stay in cache can pass 100 %.
Believe an idle machine only: beside other programs, the threads of NumPy's BLAS wait for each other."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: `rounds` rounds, in each the best of `chunks` chunks of about `seconds` each; how long and over three arrays
    of how many bytes to look for the machine's peak."""

    rounds: int = 5
    chunks: int = 12
    seconds: float = 0.003
    peak_seconds: float = 0.3
    stream_bytes: int = 128 << 20


QUICK = Effort(rounds=3, chunks=2, seconds=0.0005, peak_seconds=0.02, stream_bytes=16 << 20)


@dataclass(frozen=True)
class Work:
    """The declared work of one call: `amount` operations (`unit` "GFLOP/s") or bytes (`unit` "GB/s")."""

    amount: float
    unit: str


@dataclass(frozen=True)
class Row:
    """One line of the table before it is measured: the same work as two callables that return what they made."""

    name: str
    size: str
    work: Work
    fastnn: Callable[[], Any]
    numpy: Callable[[], Any]


@dataclass(frozen=True)
class Peak:
    """What the machine can do, measured on `threads` threads: `flops` a second with `dtype`, `bandwidth` bytes a second."""

    dtype: str
    threads: int
    flops: float
    bandwidth: float

    def share(self, work: Work, seconds: float) -> float:
        """The part of the peak that `work` done in `seconds` reached; 1.0 is all of it."""
        return work.amount / seconds / (self.flops if work.unit == "GFLOP/s" else self.bandwidth)


def flops(amount: float) -> Work:
    """Work of `amount` operations, a multiply-add being two."""
    return Work(amount, "GFLOP/s")


def traffic(*arrays: np.ndarray) -> Work:
    """Each array passed once over the memory bus; name an array twice when it is read and written."""
    return Work(float(sum(array.nbytes for array in arrays)), "GB/s")


def step_flops(sizes: Sequence[int], batch: int) -> Work:
    """Matrix products of one training step: forward, weights' gradients, and inputs' gradients of every layer but the first."""
    products = [2.0 * batch * i * o for i, o in pairwise(sizes)]
    return flops(3.0 * sum(products) - products[0])


# ---------------------------------------------------------------------------------------------------------------------------------
# NumPy's side, as a careful person writes it


def numpy_linear_relu(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`max(0, x @ w + b)` as one writes it in NumPy."""
    y = x @ w
    y += b
    return np.maximum(y, 0, out=y)


def numpy_linear_relu_backward(dy: np.ndarray, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dw and db of a ReLU layer as one writes them in NumPy."""
    dz = dy * (y > 0)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


def numpy_dropout(rng: np.random.Generator, x: np.ndarray, keep_prob: float) -> np.ndarray:
    """Inverted dropout as one writes it in NumPy."""
    mask = rng.random(x.shape, dtype=x.dtype) < keep_prob
    return x * (mask / x.dtype.type(keep_prob))


def numpy_softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient as one writes them in NumPy."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(p[rows, labels]).mean()
    p[rows, labels] -= 1
    p /= len(labels)
    return float(loss), p


def numpy_adam(param: np.ndarray, grad: np.ndarray, m: np.ndarray, v: np.ndarray, step: int, learning_rate: float = 1e-3) -> np.ndarray:
    """One Adam step as one writes it in NumPy; param, m and v change in place."""
    m *= 0.9
    m += 0.1 * grad
    v *= 0.999
    v += 0.001 * np.square(grad)
    rate = learning_rate / (1 - 0.9**step)
    param -= rate * m / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return param


def numpy_step(parameters: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """One training step of a ReLU network with softmax and Adam; `parameters` are updated in place, step after step."""
    parameters = list(parameters)
    weights, biases = parameters[0::2], parameters[1::2]
    state = [(np.zeros_like(array), np.zeros_like(array)) for array in parameters]
    steps = 0

    def step() -> float:
        nonlocal steps
        activations = [x]
        for w, b in zip(weights[:-1], biases[:-1]):
            activations.append(numpy_linear_relu(activations[-1], w, b))
        loss, dy = numpy_softmax_cross_entropy(activations[-1] @ weights[-1] + biases[-1], y)
        gradients = []
        for k in reversed(range(len(weights))):
            gradients += [dy.sum(axis=0), activations[k].T @ dy]
            if k:
                dy = (dy @ weights[k].T) * (activations[k] > 0)
        steps += 1
        for param, grad, (m, v) in zip(parameters, reversed(gradients), state):
            numpy_adam(param, grad, m, v, steps)
        return loss

    return step


# ---------------------------------------------------------------------------------------------------------------------------------
# The rows


def rows(dtype: str = "float32") -> Iterator[Row]:
    """Make the lines of the table one at a time, so that only one line's arrays are in memory."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    n, i, o = 128, 784, 1024
    x, w, b = normal(n, i), normal(i, o), normal(o)
    y = np.empty((n, o), dtype)
    product = 2.0 * n * i * o
    yield Row("linear_relu_forward", f"{n}x{i} @ {i}x{o}", flops(product),
              lambda: kernels.linear_relu_forward(x, w, b, out=y), lambda: numpy_linear_relu(x, w, b))
    dy, gradients = normal(n, o), tuple(np.empty(shape, dtype) for shape in ((n, i), (i, o), (o,)))
    passed = numpy_linear_relu(x, w, b)
    yield Row("linear_relu_backward", f"{n}x{o}, {i}x{o}", flops(2 * product),
              lambda: kernels.linear_relu_backward(dy, x, w, passed, out=gradients), lambda: numpy_linear_relu_backward(dy, x, w, passed))
    yield Row("dropout_forward", f"{n}x{o}", traffic(dy, y),
              lambda: kernels.dropout_forward(dy, 0.5, seed=1, out=y), lambda: numpy_dropout(rng, dy, 0.5))
    yield Row("tanh_forward", f"{n}x{o}", traffic(dy, y), lambda: kernels.tanh_forward(dy, out=y), lambda: np.tanh(dy))
    logits, labels = normal(n, 10), rng.integers(0, 10, n)
    dlogits = np.empty_like(logits)
    yield Row("softmax_cross_entropy", f"{n}x10", traffic(logits, labels, dlogits),
              lambda: kernels.softmax_cross_entropy(logits, labels, out=dlogits), lambda: numpy_softmax_cross_entropy(logits, labels))
    size = 1_000_000
    grad = normal(size)
    (p1, m1, v1), (p2, m2, v2) = ([np.zeros(size, dtype) for _ in range(3)] for _ in range(2))

    def adam() -> np.ndarray:
        kernels.adam_update(p1, grad, m1, v1, 10, learning_rate=1e-3)
        return p1

    yield Row("adam_update", f"{size}", traffic(*[grad] * 7), adam, lambda: numpy_adam(p2, grad, m2, v2, 10))
    for sizes, batch in (((64, 32, 10), 32), ((784, 128, 10), 64)):
        yield _step_row(sizes, batch, dtype, rng)


def _step_row(sizes: tuple[int, ...], batch: int, dtype: str, rng: np.random.Generator) -> Row:
    net = MLP(sizes, dtype=dtype, seed=0)
    x, y = rng.standard_normal((batch, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], batch)
    theirs = numpy_step([array.copy() for array in net.parameters()], x, y)
    trainer = Trainer(net, optimizer=Adam(learning_rate=1e-3))
    return Row("training step", f"{'-'.join(map(str, sizes))}, batch {batch}", step_flops(sizes, batch), lambda: trainer.step(x, y), theirs)


# ---------------------------------------------------------------------------------------------------------------------------------
# Measuring


def calls_for(work: Callable[[], Any], seconds: float) -> int:
    """How many calls take about `seconds`, by the best of three: first calls start threads and touch new memory. The work is warm then."""
    calls = 1
    while (taken := calls * min(chunk(work, calls) for _ in range(3))) < seconds and calls < 1 << 24:
        calls *= 2 if taken * 4 < seconds else max(2, round(seconds / max(taken, 1e-9)))
    return calls


def chunk(work: Callable[[], Any], calls: int) -> float:
    """Seconds for one call, over a chunk of `calls`."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def settle() -> None:
    """Wait until this process's idle threads use no processor: those of OpenBLAS spin after a product, for 0.1 s where it was measured, and
    whoever came next would have one core less."""
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(REST)
        if time.process_time() - used < QUIET * (time.perf_counter() - start):
            return


def race(competitors: Sequence[Callable[[], Any]], effort: Effort) -> list[float]:
    """Seconds a call of each competitor: the median over rounds of its best chunk; they take turns inside each round."""
    calls = []
    for work in competitors:
        calls.append(calls_for(work, effort.seconds))
        settle()
    best: list[list[float]] = [[] for _ in competitors]
    for _ in range(effort.rounds):
        for k, work in enumerate(competitors):
            best[k].append(min(chunk(work, calls[k]) for _ in range(effort.chunks)))
            settle()
    return [statistics.median(times) for times in best]


def measure_peak(dtype: str, effort: Effort) -> Peak:
    """Measure the peak: multiply-adds in registers of one thread, times the threads that kernels may use, and their stream triad."""
    from . import _config, _core

    threads = _config.get_num_threads()
    flops = threads * _core.fma_peak(dtype, effort.peak_seconds)
    return Peak(dtype, threads, flops, _core.stream_bandwidth(effort.stream_bytes, effort.peak_seconds))


def cpu_model() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _load() -> str:
    try:
        return f", load {os.getloadavg()[0]:.2f}"
    except (AttributeError, OSError):
        return ""


def header(peak: Peak) -> list[str]:
    """The machine, the versions and the peak: without them a figure means nothing."""
    from . import __version__, _core

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    kernels_of = f"instruction set {_core.isa()}, {peak.threads} threads" if backend.name == "compiled" else "no kernels: the NumPy twin"
    return [
        f"fastnn {__version__}, NumPy {np.__version__} with {blas['name']} {blas['version']}, Python {platform.python_version()}",
        f"{cpu_model()}, {os.cpu_count()} cores{_load()}, {platform.system()} {platform.machine()}; {kernels_of}",
        f"measured in this run: {peak.flops / 1e9:.1f} GFLOP/s of {peak.dtype} multiply-adds ({_core.isa()}), "
        f"{peak.bandwidth / 1e9:.1f} GB/s of stream triad, on {peak.threads} threads",
    ]


def time_text(seconds: float) -> str:
    """A time in seconds as text with the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 999.5 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def result_line(row: Row, fastnn_seconds: float, numpy_seconds: float, peak: Peak) -> list[str]:
    """The cells of the table for one kernel."""
    rate = f"{row.work.amount / fastnn_seconds / 1e9:.3g} {row.work.unit}"
    return [row.name, row.size, time_text(fastnn_seconds), time_text(numpy_seconds), f"{numpy_seconds / fastnn_seconds:.2f}", rate,
            f"{100 * peak.share(row.work, fastnn_seconds):.0f} %"]


def main(args: argparse.Namespace) -> int:
    """`fastnn bench`: print the header and the table; `args.quick` measures for a moment only."""
    effort = QUICK if args.quick else Effort()
    peak = measure_peak("float32", effort)
    print(*header(peak), sep="\n", end="\n\n")
    lines = [["work", "size", "fastnn", "NumPy", "ratio", "rate", "of peak"]]
    for row in rows(peak.dtype):
        print(f"\r{row.name} ...", end="\033[K", file=sys.stderr, flush=True)
        own, theirs = race([row.fastnn, row.numpy], effort)
        lines.append(result_line(row, own, theirs, peak))
    print("\r\033[K", end="", file=sys.stderr, flush=True)
    print(aligned(lines, left=2))
    print(f"\nfastnn and NumPy took turns in one process: median over {effort.rounds} rounds of the best of {effort.chunks} chunks.")
    print(NOTES)
    return 0
