"""Ctrl-C: honoured soon, and what it leaves is the state after a completed update."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import EMA, MLP, Adam, Every, ReduceOnPlateau, Trainer, loop
from fastnn.interrupts import Held
from fastnn.schedules import Schedule

pytestmark = pytest.mark.usefixtures("interruptible")

RNG = np.random.default_rng(51)
X = RNG.normal(size=(4000, 6)).astype(np.float32)
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)


def trainer(loss="softmax_cross_entropy"):
    settings = {"optimizer": Adam(0.01), "schedule": ReduceOnPlateau(patience=1, monitor="loss"), "average": EMA(0.9)}
    return Trainer(MLP((6, 16, 3), keep_prob=(0.9, 0.8), seed=5), loss=loss, **settings)


def digest(made):
    arrays = [*made.net.parameters(), *(array for state in made._state for array in state), *made._averages]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).digest()


@pytest.fixture
def press():
    """`press(seconds)` has Ctrl-C pressed that much later, wherever the main thread is then."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))

    def later(seconds):
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield later
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class OwnLoss(fastnn.SoftmaxCrossEntropy):
    pass


@pytest.mark.parametrize("loss", [fastnn.SoftmaxCrossEntropy(), OwnLoss()], ids=["own", "users"])
def test_a_hundred_random_moments(engine, press, loss):
    python = engine is loop.Engine or isinstance(loss, OwnLoss)
    rows, batch = (160, 16) if python else (4000, 4)
    x, y, epochs = X[:rows], Y[:rows], 4
    digests = {0: digest(trainer(loss))}
    watching = Every(1, lambda made, record: digests.update({made.steps: digest(made)}))
    trainer(loss).fit(x, y, epochs=epochs, batch_size=batch, callbacks=[watching])
    assert len(digests) == epochs * rows // batch + 1
    began = time.perf_counter()
    clean = trainer(loss)
    history = clean.fit(x, y, epochs=epochs, batch_size=batch)
    seconds = time.perf_counter() - began
    stops: list[int] = []
    rng = np.random.default_rng(7)
    while len(stops) < 100:
        made = trainer(loss)
        try:
            press(max(rng.uniform(0.0, seconds), 1e-6))
            made.fit(x, y, epochs=epochs, batch_size=batch)
            press(0)
            seconds *= 0.9  # the machine was busier when the clean run was timed
        except KeyboardInterrupt:
            stops.append(made.steps)
        assert digest(made) == digests[made.steps]
        assert len(made.history) == made.epochs <= made.steps * batch / rows
        left = epochs - made.epochs
        if left:
            assert len(made.fit(x, y, epochs=left, batch_size=batch)) == left
        assert digest(made) == digest(clean)
        assert made.history["loss"] == history["loss"][epochs - left:] or not left
        assert made._schedule_state == clean._schedule_state
    assert len(set(stops)) >= 3


def test_the_end_of_an_epoch_is_one_piece(engine):
    class Pressing(Schedule):
        monitor = "loss"

        def start(self):
            return 0

        def observe(self, state, value):
            signal.raise_signal(signal.SIGINT)
            return state + 1

    made = Trainer(MLP((6, 3)), schedule=Pressing())
    with pytest.raises(KeyboardInterrupt):
        made.fit(X, Y, epochs=3)
    assert (made.epochs, len(made.history), made._schedule_state) == (1, 1, 1)


def test_it_is_honoured_soon(engine):
    """Far within a run of the engine, of which a whole one takes much longer."""
    rows = 200 if engine is loop.Engine else 50_000
    x, y = np.resize(X, (rows * 8, 6)), np.resize(Y, rows * 8)
    made = trainer()
    made.fit(x[:80], y[:80], epochs=1, batch_size=8)
    pressed = []

    def kill():
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.05, kill)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        made.fit(x, y, epochs=1000, batch_size=8)
    assert time.perf_counter() - pressed[0] < 2.0  # 0.1 on a machine with nothing else to do
    timer.join()
    assert made.steps % rows != 0


def test_other_threads_run_while_an_epoch_does(engine):
    made = trainer()
    counts = []

    def count():
        while not done.is_set():
            counts.append(time.perf_counter())
            time.sleep(0.0005)

    done = threading.Event()
    thread = threading.Thread(target=count)
    thread.start()
    began = time.perf_counter()
    while len(counts) < 10 and time.perf_counter() - began < 60:
        made.epoch(X, Y, batch_size=100)
    done.set()
    thread.join()
    assert len(counts) >= 10


def test_two_trainers_in_two_threads_do_not_disturb_each_other(engine):
    alone, together = [trainer() for _ in range(2)], [trainer() for _ in range(2)]
    for made, rows in zip(alone, (slice(0, 400), slice(400, 900))):
        made.fit(X[rows], Y[rows], epochs=4, batch_size=20)
    threads = [threading.Thread(target=made.fit, args=(X[rows], Y[rows]), kwargs={"epochs": 4, "batch_size": 20})
               for made, rows in zip(together, (slice(0, 400), slice(400, 900)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [digest(made) for made in together] == [digest(made) for made in alone]


# --- holding it back -----------------------------------------------------------------------------------------------------------------


def test_held_lets_it_through_at_a_check_and_at_the_end():
    handler = signal.getsignal(signal.SIGINT)
    seen = []

    def work(check):
        with Held() as held:
            signal.raise_signal(signal.SIGINT)
            seen.append("pressed")
            if check:
                held.check()
            seen.append("no check")

    with pytest.raises(KeyboardInterrupt):
        work(True)
    with pytest.raises(KeyboardInterrupt):
        work(False)
    assert seen == ["pressed", "pressed", "no check"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_held_blocks_nest():
    seen = []

    def work():
        with Held():
            with Held() as held:
                signal.raise_signal(signal.SIGINT)
                held.check()
                seen.append("inner")
            seen.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == ["inner", "outer"]


def test_a_program_that_ignores_it_is_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Held():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(fastnn.backend.engine is None, reason="the twin completes the update under way")
@pytest.mark.parametrize(("how", "accumulate"), [("step", 1), ("epoch", 1), ("epoch", 3)])
def test_a_long_update_is_given_up(press, how, accumulate):
    """One that takes much longer than a tenth of a second, interrupted soon after it began, leaves nothing of it; then it can be made."""
    rows, sizes = 3000, (3000, 3000, 10)  # 0.2 seconds of multiply-adds and more on two processors of 2026
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((rows, sizes[0]), dtype="f"), rng.integers(0, 10, rows)
    made = Trainer(MLP(sizes, seed=1), optimizer=fastnn.SGD(0.01))
    made.step(x[:2], y[:2])
    before, statistics = digest(made), made._engine.statistics
    work = {"step": lambda: made.step(x, y), "epoch": lambda: made.epoch(x, y, batch_size=rows // accumulate, accumulate=accumulate)}[how]
    press(0.03)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert made.steps == 1
    assert digest(made) == before
    made.step(x[:200], y[:200])
    assert made.steps == 2
    assert digest(made) != before
    if how == "step":
        assert repr(made._engine.statistics) == repr(statistics)
