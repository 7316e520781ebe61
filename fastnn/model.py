"""The multilayer perceptron: weights, scores, and the gradients of a loss.

`x (n, i)` may be uint8 or any real dtype; it is converted to the net's dtype (float64 into a float32 net is rounded, integers keep their
value), uint8 batch by batch so that images stay one byte a pixel. Nothing is scaled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arrays, checks, layers, losses, text
from .init import Initializer, weights
from .layers import ACTIVATIONS, Dropout, Layer, Trace
from .preprocessing import Scaler, standardised

if TYPE_CHECKING:
    from .averaging import EMA
    from .callbacks import EarlyStopping, Every
    from .history import History
    from .optimizers import Optimizer
    from .schedules import Schedule

_CHUNK_ELEMENTS = 2**21  # elements of the widest activation held at once by `forward`
_MAX_SIZE = 2**31 - 1
_MAX_SEED = 2**64 - 1


class MLP:
    """Linear layers of `sizes = (inputs, hidden..., outputs)` with `activation` after every one but the last, whose outputs are the scores.

    `keep_prob`: a number applies to the hidden layers; a tuple gives one value a weight layer, the probability that a unit of that
    layer's *input* stays (the first is the input, the rest are hidden). Dropout is inverted and acts in training only (Srivastava et
    al. 2014). `init` names an initialiser of `fastnn.init` or is a callable `f(rng, shape)`; biases start at 0. `dtype` is float32 or
    float64. `seed` fixes weights, dropout and the order of the samples; None draws one, kept as `net.seed`.

    Attributes: `layers` (each with `weight (i, o)` and `bias (o,)`), `loss` (what `predict` reads the scores with, set by training),
    `preprocessing` (None, or a fitted scaler that every input goes through first, set by training), `averaged` (None, or the net of the
    running average that the latest `fit(..., average=EMA())` kept; it is not saved with this net but by itself, `net.averaged.save`), and
    the arguments. Raises ValueError / TypeError with the library's sentence for bad arguments.
    """

    layers: tuple[Layer, ...]

    def __init__(self, sizes: Sequence[int], *, activation: str = "relu", keep_prob: float | Sequence[float] = 1.0,
                 init: str | Initializer = "he_normal", dtype: Any = "float32", seed: int | None = 0) -> None:
        self._configure(sizes, activation, keep_prob, init, dtype, seed)
        self._assemble((weight, np.zeros(weight.shape[1], self.dtype)) for weight in weights(init, self.seed, self.sizes, self.dtype))

    @classmethod
    def from_parameters(cls, parameters: Sequence[np.ndarray], sizes: Sequence[int], *, activation: str = "relu",
                        keep_prob: float | Sequence[float] = 1.0, init: str | Initializer | None = None, dtype: Any = "float32",
                        seed: int | None = 0) -> MLP:
        """A net that holds copies of `parameters = [w0, b0, w1, b1, ...]` instead of fresh weights; `init` is only remembered."""
        net = cls.__new__(cls)
        net._configure(sizes, activation, keep_prob, init, dtype, seed)
        shapes = [shape for i, o in pairwise(net.sizes) for shape in ((i, o), (o,))]
        if [np.shape(array) for array in parameters] != shapes:
            got = ", ".join(checks.shape_text(np.shape(array)) for array in parameters)
            expected = ", ".join(checks.shape_text(shape) for shape in shapes)
            raise checks.fail(ValueError, "MLP.from_parameters", "parameters", "have the shapes of the layers", expected, got)
        copies = [np.array(array, net.dtype, order="C") for array in parameters]
        net._assemble(zip(copies[0::2], copies[1::2]))
        return net

    def _configure(self, sizes, activation, keep_prob, init, dtype, seed) -> None:
        if isinstance(sizes, (str, bytes)) or not isinstance(sizes, Iterable):
            raise checks.fail(TypeError, "MLP", "sizes", "be a sequence of layer sizes", "(inputs, hidden..., outputs)", repr(sizes))
        self.sizes = tuple(checks.integer("MLP", "sizes", size, 1, _MAX_SIZE) for size in sizes)
        if len(self.sizes) < 2:
            raise checks.fail(ValueError, "MLP", "sizes", "name inputs and outputs", "two or more sizes", repr(self.sizes))
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            raise checks.fail(ValueError, "MLP", "activation", "name an activation", f"one of {', '.join(ACTIVATIONS)}", repr(activation))
        self.activation = activation
        self.keep_prob = _keep_probs(keep_prob, len(self.sizes) - 1)
        self.init = init
        name = getattr(dtype, "name", getattr(dtype, "__name__", dtype))
        if name not in checks.FLOATS:
            raise checks.fail(ValueError, "MLP", "dtype", "be a float type", "'float32' or 'float64'", repr(dtype))
        self.dtype = np.dtype(name)
        self.seed = int.from_bytes(os.urandom(8)) if seed is None else checks.integer("MLP", "seed", seed, 0, _MAX_SEED)
        self.loss: Any = losses.SoftmaxCrossEntropy()
        self.preprocessing: Scaler | None = None
        self.averaged: MLP | None = None

    def _assemble(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        last = len(self.sizes) - 2
        self.layers = tuple(Layer(w, b, "linear" if k == last else self.activation) for k, (w, b) in enumerate(pairs))

    def __repr__(self) -> str:
        init = self.init if self.init is None or isinstance(self.init, str) else getattr(self.init, "__name__", self.init)
        shown = init if callable(self.init) else repr(init)
        return (f"MLP({self.sizes}, activation={self.activation!r}, keep_prob={self.keep_prob}, init={shown}, "
                f"dtype={self.dtype.name!r}, seed={self.seed})")

    def config(self) -> dict[str, Any]:
        """The JSON-able arguments that make this net; `init` is None where it was a callable."""
        return {"sizes": list(self.sizes), "activation": self.activation, "keep_prob": list(self.keep_prob),
                "init": self.init if isinstance(self.init, str) else None, "dtype": self.dtype.name, "seed": self.seed}

    def astype(self, dtype: Any) -> MLP:
        """A copy of this net whose weights are converted to `dtype`."""
        copy = MLP.from_parameters(self.parameters(), **{**self.config(), "init": self.init, "dtype": dtype})
        copy.loss, copy.preprocessing = self.loss, self.preprocessing
        return copy

    def fold_preprocessing(self) -> MLP:
        """A copy of this net without `preprocessing`, whose first layer does its work: the same scores for raw rows, within rounding.

        `((x - shift) * scale) @ w + b = x @ (scale[:, None] * w) + (b - (shift * scale) @ w)`, worked out in float64 and rounded to the
        net's dtype. The rounding grows with `|shift * scale|`, how many spreads a column lies from 0. ValueError where that cannot hold
        the folded weights. A net without preprocessing is just copied.

        For use, not for more training: an input that dropout drops would be 0 as a raw value, no longer the mean, and updates would
        see raw inputs. The net itself, and a trainer that holds its optimizer state, are left as they are.
        """
        copy = self.astype(self.dtype)
        if self.preprocessing is None:
            return copy
        shift, scale = (vector.astype(np.float64) for vector in self.preprocessing.scaling(self.dtype))
        w, b = (array.astype(np.float64) for array in self.parameters()[:2])
        with np.errstate(over="ignore"):
            folded = [array.astype(self.dtype) for array in (scale[:, None] * w, b - (shift * scale) @ w)]
        if not all(np.isfinite(array).all() for array in folded):
            expected, got = "weights that it can hold", f"{self.dtype}, in which they overflow"
            raise checks.fail(ValueError, "MLP.fold_preprocessing", "self.dtype", "hold the folded weights", expected, got)
        copy.layers[0].weight[...], copy.layers[0].bias[...] = folded
        copy.preprocessing = None
        return copy

    def parameters(self) -> list[np.ndarray]:
        """`[w0, b0, w1, b1, ...]`, the arrays themselves."""
        return [array for layer in self.layers for array in (layer.weight, layer.bias)]

    def summary(self) -> str:
        """A table of the layers with their parameter counts."""
        rows = [("layer", "shape", "activation", "keep_prob of input", "parameters")]
        rows += [(str(k), f"{layer.weight.shape[0]} -> {layer.weight.shape[1]}", layer.activation, f"{keep:g}",
                  f"{layer.weight.size + layer.bias.size:,}") for k, (layer, keep) in enumerate(zip(self.layers, self.keep_prob))]
        rows.append(("total", "", "", self.dtype.name, f"{sum(array.size for array in self.parameters()):,}"))
        return text.aligned(rows)

    def forward(self, x: Any) -> np.ndarray:
        """Scores `(n, o)` without dropout, in blocks of rows so that memory stays bounded for any `n`."""
        x = arrays.inputs("MLP.forward", x, self.sizes[0], self.dtype)
        scores = np.empty((len(x), self.sizes[-1]), self.dtype)
        rows = max(256, _CHUNK_ELEMENTS // max(self.sizes))
        for start in range(0, len(x), rows):
            scores[start:start + rows] = self._trace(self._batch(x[start:start + rows]))[-1].y
        return scores

    def predict(self, x: Any) -> np.ndarray:
        """What `net.loss` reads from the scores: class index int64 `(n,)`, or the scores of a regression `(n, o)`."""
        if self.loss is None:
            raise checks.fail(ValueError, "MLP.predict", "net.loss", "be set", "the loss the net was trained with", "None")
        return self.loss.predict(self.forward(x))

    def predict_proba(self, x: Any) -> np.ndarray:
        """Softmax of the scores, `(n, o)`; ValueError unless the net's loss gives probabilities."""
        if not hasattr(self.loss, "probabilities"):
            raise checks.fail(ValueError, "MLP.predict_proba", "net.loss", "give probabilities", "SoftmaxCrossEntropy()", repr(self.loss))
        return self.loss.probabilities(self.forward(x))

    def loss_and_gradients(self, x: Any, y: Any, *, loss: str | losses.Loss = "softmax_cross_entropy", sample_weight: Any = None,
                           weight_decay: float = 0.0, l1: float = 0.0,
                           dropout: tuple[int, int] | None = None) -> tuple[float, list[np.ndarray]]:
        """`mean loss + 0.5 * weight_decay * sum(w**2) + l1 * sum(|w|)` over the weights (not the biases), and its gradients aligned with
        `parameters()`; the slope of `|w|` at 0 is 0.

        `dropout=None` leaves dropout off; `(seed, stream)` draws the mask before layer `k` from `stream + k`, see `fastnn.layers`.
        """
        function = "MLP.loss_and_gradients"
        objective = losses.get(loss, function)
        x = arrays.inputs(function, x, self.sizes[0], self.dtype)
        y = losses.prepare_targets(objective, y, len(x), self.sizes[-1], self.dtype, function)
        weight = arrays.sample_weights(function, sample_weight, len(x), self.dtype)
        decay, l1 = checks.number(function, "weight_decay", weight_decay, 0.0), checks.number(function, "l1", l1, 0.0)
        if dropout is not None:
            if not isinstance(dropout, (tuple, list)) or len(dropout) != 2:
                raise checks.fail(TypeError, function, "dropout", "be a pair", "(seed, stream) or None", repr(dropout))
            seed, stream = (checks.integer(function, "dropout", part, 0, _MAX_SEED // 2**k) for k, part in enumerate(dropout))
            dropout = seed, stream
        masks = self._dropouts(dropout)
        traces = self._trace(self._batch(x), masks)
        value, dscores = losses.value_and_gradient(objective, traces[-1].y, y, weight, function)
        gradients = layers.backward(self.layers, traces, masks, dscores)
        for layer, gradient in zip(self.layers, gradients[0::2]):
            if decay > 0:
                gradient += self.dtype.type(decay) * layer.weight
            if l1 > 0:
                gradient += self.dtype.type(l1) * np.sign(layer.weight)
        return value + losses.penalty([layer.weight for layer in self.layers], decay, l1), gradients

    def _batch(self, x: np.ndarray) -> np.ndarray:
        """`x` as the kernels see it: the net's dtype, C order, standardised where the net has `preprocessing`."""
        x = np.ascontiguousarray(x, self.dtype)
        return x if self.preprocessing is None else standardised(x, *self.preprocessing.scaling(self.dtype))

    def _dropouts(self, dropout: tuple[int, int] | None) -> list[Dropout | None]:
        """The mask before each layer, and None after the last."""
        return [None] * (len(self.layers) + 1) if dropout is None else layers.masks(self.keep_prob, *dropout)

    def _trace(self, x: np.ndarray, dropouts: Sequence[Dropout | None] | None = None) -> list[Trace]:
        return layers.forward(self.layers, x, dropouts or self._dropouts(None))

    def fit(self, x: Any, y: Any, *, loss: str | losses.Loss = "softmax_cross_entropy", optimizer: str | Optimizer = "adam",
            schedule: Schedule | None = None, epochs: int = 20, batch_size: int = 128, validation_data: tuple[Any, Any] | None = None,
            early_stopping: EarlyStopping | None = None, callbacks: Sequence[Callable[..., Any] | Every] = (), progress: bool = False,
            sample_weight: Any = None, class_weight: Any = None, shuffle: bool = True, seed: int | None = None, accumulate: int = 1,
            time_limit: float | None = None, clip_value: float | None = None, clip_norm: float | None = None,
            max_norm: float | None = None, average: EMA | None = None, preprocessing: Scaler | None = None) -> History:
        """Train by a fresh `Trainer` and return the history; see `Trainer` and `Trainer.fit` for the arguments.

        With `average` the net ends with its own weights, as without, and `net.averaged` is a net with their running average, also after
        Ctrl-C; without, `net.averaged` is None. It averages all updates of the fit: `restore_best` and the like do not change it.
        Callbacks reach it by `trainer.averaged()`.
        """
        from .trainer import Trainer

        trainer = Trainer(self, loss, optimizer, schedule, seed, clip_value=clip_value, clip_norm=clip_norm, max_norm=max_norm,
                          average=average, preprocessing=preprocessing)
        try:
            return trainer.fit(x, y, epochs=epochs, batch_size=batch_size, validation_data=validation_data, early_stopping=early_stopping,
                               callbacks=callbacks, progress=progress, sample_weight=sample_weight, class_weight=class_weight,
                               shuffle=shuffle, accumulate=accumulate, time_limit=time_limit)
        finally:
            if trainer.steps > 0:
                self.averaged = None if average is None else trainer.averaged()

    def save(self, path: str | os.PathLike[str], metadata: dict[str, Any] | None = None) -> None:
        """`fastnn.io.save`: the net and JSON-able `metadata` into a `.npz` or `.safetensors` file."""
        from . import io

        io.save(path, self, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """The net of a saved file; `fastnn.io.load` returns its metadata too."""
        from . import io

        return io.load(path)[0]


def _keep_probs(keep_prob: Any, layers: int) -> tuple[float, ...]:
    if isinstance(keep_prob, (tuple, list)):
        if len(keep_prob) != layers:
            raise checks.fail(ValueError, "MLP", "keep_prob", "have one value a weight layer", f"{layers} values", repr(keep_prob))
        return tuple(checks.number("MLP", "keep_prob", value, 0.0, 1.0, open_low=True) for value in keep_prob)
    keep = checks.number("MLP", "keep_prob", keep_prob, 0.0, 1.0, open_low=True)
    if layers == 1 and keep < 1.0:
        expected = "a tuple to drop inputs, (keep_prob,)"
        raise checks.fail(ValueError, "MLP", "keep_prob", "have a hidden layer to act on", expected, f"{keep:g} and no hidden layer")
    return (1.0,) + (keep,) * (layers - 1)


def checked(function: str, net: Any) -> MLP:
    """`net`, which must be a network; else the library's sentence in the name of `function`."""
    if not isinstance(net, MLP):
        raise checks.fail(TypeError, function, "net", "be a network", "MLP", type(net).__name__)
    return net
