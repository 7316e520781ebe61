"""JAX trains: a jitted step whose weights and moments are donated, or, where a call is an epoch, a jitted epoch that scans over its
batches. Adam is written out. Arrays are on JAX's side before anything is timed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from training import Training, rows, weights

from .loops import Loop

jax.config.update("jax_default_prng_impl", "rbg")  # on a CPU the default one takes longer than the products


def prepare(case: Training) -> dict[str, Callable[[], Loop]]:
    forms = {"jit": lambda: Net(case).loop()}
    if case.samples:
        forms["jit, scan"] = lambda: Scan(case)
    return forms


def forward(parameters: list[jax.Array], x: jax.Array, keep_prob: float, key: jax.Array | None) -> jax.Array:
    *hidden, (w, b) = zip(parameters[0::2], parameters[1::2])
    for k, (hidden_w, hidden_b) in enumerate(hidden):
        x = jax.nn.relu(x @ hidden_w + hidden_b)
        if key is not None and keep_prob < 1.0:
            kept = jax.random.bernoulli(jax.random.fold_in(key, k), keep_prob, x.shape)
            x = jnp.where(kept, x / keep_prob, 0)
    return x @ w + b


def train(case: Training, state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
    """One step: `(state, loss)`, the state being weights, moments, steps done, and the key of the random numbers."""
    parameters, m, v, steps, key = state
    steps += 1

    def loss_of(parameters: list[jax.Array]) -> jax.Array:
        logs = jax.nn.log_softmax(forward(parameters, x, case.keep_prob, jax.random.fold_in(key, steps)))
        return -jnp.take_along_axis(logs, y[:, None], 1).mean()

    loss, gradients = jax.value_and_grad(loss_of)(parameters)
    m = [0.9 * old + 0.1 * g for old, g in zip(m, gradients)]
    v = [0.999 * old + 0.001 * g * g for old, g in zip(v, gradients)]
    rate, correction = case.rate / (1 - 0.9**steps), 1 / (1 - 0.999**steps)
    parameters = [p - rate * first / (jnp.sqrt(correction * second) + 1e-8) for p, first, second in zip(parameters, m, v)]
    return (parameters, m, v, steps, key), loss


class Net:
    def __init__(self, case: Training) -> None:
        self.case = case
        start = [jnp.array(array) for array in weights(case)]
        m, v = ([jnp.zeros_like(array) for array in start] for _ in range(2))
        self.state = (start, m, v, jnp.float32(0), jax.random.key(case.seed))
        self.rng = np.random.default_rng(case.seed)
        self.jitted = jax.jit(partial(train, case), donate_argnums=0)
        self.scores = jax.jit(lambda parameters, x: jnp.argmax(forward(parameters, x, 1.0, None), 1))

    def step(self, x: jax.Array, y: jax.Array) -> jax.Array:
        self.state, loss = self.jitted(self.state, x, y)
        return loss

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.scores(self.state[0], x))

    def loop(self) -> Loop:
        x, y = rows(self.case)
        if self.case.samples:  # NumPy gathers the rows of a batch faster than a call to JAX does
            return Loop(self.case, self.step, x, y.astype(np.int32), self.rng.permutation, self.predict)
        return Loop(self.case, self.step, jnp.asarray(x), list(jnp.asarray(y, np.int32)), self.rng.permutation, self.predict)


class Scan(Loop):
    """A call is one jitted epoch: whole batches in a scan, then the rows that are left."""

    def __init__(self, case: Training) -> None:
        net, (x, y) = Net(case), rows(case)
        super().__init__(case, net.step, jnp.asarray(x), jnp.asarray(y, np.int32), net.rng.permutation, net.predict)
        self.net = net
        self.jitted = jax.jit(self.epoch, donate_argnums=0)

    def epoch(self, state: Any, x: jax.Array, y: jax.Array, order: jax.Array) -> tuple[Any, jax.Array]:
        batch = self.case.batch
        whole = len(x) // batch * batch

        def body(state: Any, numbers: jax.Array) -> tuple[Any, jax.Array]:
            return train(self.case, state, x[numbers], y[numbers])

        state, losses = jax.lax.scan(body, state, order[:whole].reshape(-1, batch))
        if whole < len(x):
            state, loss = body(state, order[whole:])
            losses = jnp.append(losses, loss)
        return state, losses.mean()

    def __call__(self) -> float:
        self.net.state, loss = self.jitted(self.net.state, self.x, self.y, self.permutation(len(self.x)).astype(np.int32))
        return float(loss)
