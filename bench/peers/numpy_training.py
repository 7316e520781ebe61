"""NumPy trains, as well as it can be written by hand: every array that a step needs is allocated once and reached by `out=`; weights,
gradients and Adam's moments each lie in one vector, which is updated piece by piece while the piece is in cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from training import Training, rows, weights

from .loops import Loop
from .numpy_out import adam, cross_entropy

PIECE = 1 << 15  # elements of the vectors updated at once


def prepare(case: Training) -> dict[str, Callable[[], Loop]]:
    return {"out=": lambda: loop(case)}


def loop(case: Training) -> Loop:
    net = Network(case)
    return Loop(case, net.step, *rows(case), np.random.default_rng(case.seed).permutation, net.predict)


def views(vector: np.ndarray, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Arrays of the shapes of `arrays` that lie in `vector` one after another."""
    ends = np.cumsum([array.size for array in arrays])
    return [vector[end - array.size : end].reshape(array.shape) for end, array in zip(ends, arrays)]


class Network:
    def __init__(self, case: Training) -> None:
        start = weights(case)
        self.vector = np.concatenate([array.ravel() for array in start])
        self.gradient, self.m, self.v = (np.zeros_like(self.vector) for _ in range(3))
        arrays, gradients = views(self.vector, start), views(self.gradient, start)
        self.weights, self.biases, self.dw, self.db = arrays[0::2], arrays[1::2], gradients[0::2], gradients[1::2]
        self.activations = [np.empty((case.batch, o), case.dtype) for o in case.sizes[1:]]
        self.dy = [np.empty_like(array) for array in self.activations]
        self.passed = [np.empty(array.shape, bool) for array in self.activations]
        self.scratch = np.empty((2, PIECE), case.dtype)
        self.row_numbers = np.arange(case.batch)
        self.rng = np.random.default_rng(case.seed)
        self.keep_prob, self.rate, self.dtype, self.steps = case.keep_prob, case.rate, np.dtype(case.dtype), 0

    def predict(self, x: np.ndarray) -> np.ndarray:
        for w, b in zip(self.weights[:-1], self.biases[:-1]):
            x = np.maximum(x @ w + b, 0)
        return np.argmax(x @ self.weights[-1] + self.biases[-1], axis=1)

    def step(self, x: np.ndarray, y: np.ndarray) -> float:
        n, last, scale = len(x), len(self.weights) - 1, self.dtype.type(1 / self.keep_prob)
        inputs = [x]
        for k, (w, b) in enumerate(zip(self.weights, self.biases)):
            out = self.activations[k][:n]
            np.matmul(inputs[k], w, out=out)
            np.add(out, b, out=out)
            if k < last:
                np.maximum(out, 0, out=out)
                if self.keep_prob < 1.0:
                    random, kept = self.dy[k][:n], self.passed[k][:n]
                    self.rng.random(out=random, dtype=self.dtype)
                    np.less(random, self.keep_prob, out=kept)
                    np.multiply(out, kept, out=out)
                    np.multiply(out, scale, out=out)
            inputs.append(out)
        dy = self.dy[last][:n]
        loss = cross_entropy(inputs[-1], y, dy, self.row_numbers[:n])
        for k in reversed(range(last + 1)):
            np.matmul(inputs[k].T, dy, out=self.dw[k])
            np.sum(dy, axis=0, out=self.db[k])
            if k:
                below, passed = self.dy[k - 1][:n], self.passed[k - 1][:n]
                np.matmul(dy, self.weights[k].T, out=below)
                np.greater(inputs[k], 0, out=passed)  # a dropped unit is 0, too
                np.multiply(below, passed, out=below)
                if self.keep_prob < 1.0:
                    np.multiply(below, scale, out=below)
                dy = below
        self.update()
        return loss

    def update(self) -> None:
        self.steps += 1
        rate, correction = self.rate / (1 - 0.9**self.steps), 1 / (1 - 0.999**self.steps)
        for start in range(0, len(self.vector), PIECE):
            arrays = [array[start : start + PIECE] for array in (self.vector, self.gradient, self.m, self.v)]
            adam(*arrays, *self.scratch[:, : len(arrays[0])], rate, correction)
