"""Regression by classification: an MLP whose softmax is spread over bins of the target, so that it predicts a distribution."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arrays, checks, io
from .bins import KINDS, SMOOTHING, Bins, column, kind_of, smoothing_of
from .distribution import LEVELS, Coverage, Distribution
from .history import History
from .init import Initializer
from .model import MLP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METADATA = "binned_regression"


class BinnedRegression:
    """Predicts a distribution of a real target: an MLP with `hidden` layers and one output a bin, trained by softmax cross entropy.

    `bins` is how many bins of `kind` ("quantile", "uniform" or "logarithmic") the training targets are cut into, or the `Bins`
    themselves; `smoothing` spreads each target over neighbouring bins, see `Bins.encode`. The other arguments are those of `MLP`.

    The CS231n notes advise it over L2 where amounts can be quantised: the loss is robust to outliers, optimises more easily, and gives a
    distribution rather than one number. Imani and White (2018) compare histogram losses; Farebrother et al. (2024) find them to scale
    better than squared error.

    Attributes after `fit`: `net` (the `MLP`, whose preprocessing takes raw rows), `bins` (the `Bins`), `history`. All that `fit` raises for
    bad arguments it raises before anything is trained, and then the attributes are as before.
    """

    def __init__(self, hidden: Sequence[int] = (256, 128), *, bins: int | Bins = 50, kind: str = "quantile",
                 smoothing: float | str = SMOOTHING, activation: str = "relu", keep_prob: float | Sequence[float] = 1.0,
                 init: str | Initializer = "he_normal", dtype: Any = "float32", seed: int | None = 0) -> None:
        function = "BinnedRegression"
        if isinstance(hidden, (str, bytes)) or not isinstance(hidden, Iterable):
            raise checks.fail(TypeError, function, "hidden", "be a sequence of layer sizes", "(256, 128) or ()", repr(hidden))
        self.hidden = tuple(hidden)
        self.asked = bins if isinstance(bins, Bins) else checks.integer(function, "bins", bins, 2, 65536)
        self.kind = kind_of(function, kind)
        self.smoothing = smoothing_of(function, smoothing)
        self.settings: dict[str, Any] = {"activation": activation, "keep_prob": keep_prob, "init": init, "dtype": dtype, "seed": seed}
        self.net: MLP | None = None
        self.bins: Bins | None = None
        self.history: History | None = None

    def __repr__(self) -> str:
        bins = repr(self.asked) if isinstance(self.asked, Bins) else f"{self.asked}, kind={self.kind!r}"
        shown = {name: getattr(value, "__name__", value) if callable(value) else repr(value) for name, value in self.settings.items()}
        more = "".join(f", {name}={value}" for name, value in shown.items())
        return f"BinnedRegression({self.hidden}, bins={bins}, smoothing={self.smoothing!r}{more})"

    def fit(self, x: Any, y: Any, *, validation_data: Any = None, **settings: Any) -> History:
        """Make the bins of `y (n,)` and a fresh net, train it, and return the history.

        `settings` are those of `MLP.fit` but for `loss`: optimizer, schedule, epochs, batch_size, early_stopping, callbacks, progress,
        sample_weight, preprocessing and so on. `validation_data = (x, y)` is in units of `y`; values beyond the outer edges count as lying
        on them, in `val_loss`. `loss` and `val_loss` are cross entropies of the smoothed targets, `accuracy` says how often the bin of
        highest probability was the one of most target mass. Smoothed targets take `n * c` numbers of the net's dtype.

        After Ctrl-C, or a loss that is not finite, the net of the updates made is kept.
        """
        function = "BinnedRegression.fit"
        if "loss" in settings:
            expected = "no loss: bins are learnt by softmax cross entropy"
            raise checks.fail(TypeError, function, "loss", "not be given", expected, repr(settings["loss"]))
        x, y = _rows(function, "x", x, "y", y)
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                got = type(validation_data).__name__
                raise checks.fail(TypeError, function, "validation_data", "be a pair", "(x, y) or None", got)
            validation_data = _rows(function, "validation_data[0]", validation_data[0], "validation_data[1]", validation_data[1])
        bins = self.asked.centered(y) if isinstance(self.asked, Bins) else KINDS[self.kind](y, self.asked)
        net = MLP((x.shape[1], *self.hidden, len(bins)), **self.settings)
        if validation_data is not None:
            validation_data = validation_data[0], bins.encode(validation_data[1], self.smoothing, net.dtype)
        try:
            history = net.fit(x, bins.encode(y, self.smoothing, net.dtype), validation_data=validation_data, **settings)
        except (KeyboardInterrupt, FloatingPointError):
            self.net, self.bins, self.history = net, bins, None
            raise
        self.net, self.bins, self.history = net, bins, history
        return history

    def predict_distribution(self, x: Any) -> Distribution:
        """The `Distribution` of every row: `probabilities (n, c)` over `edges (c + 1,)`, and all that is asked of it below."""
        return self._distribution("BinnedRegression.predict_distribution", x)

    def predict(self, x: Any) -> np.ndarray:
        """The mean of every row's distribution, float64 `(n,)`."""
        return self._distribution("BinnedRegression.predict", x).mean()

    def predict_quantile(self, x: Any, q: Any) -> np.ndarray:
        """Quantiles `q` in [0, 1]: `(n,)` for a number, `(n, m)` for `q (m,)`; see `Distribution.quantile`."""
        return self._distribution("BinnedRegression.predict_quantile", x).quantile(q)

    def predict_interval(self, x: Any, level: float = 0.8) -> np.ndarray:
        """The central interval of every row that holds `level` of its mass, `(n, 2)`."""
        return self._distribution("BinnedRegression.predict_interval", x).interval(level)

    def coverage(self, x: Any, y: Any, levels: Sequence[float] = LEVELS) -> Coverage:
        """How often the intervals of `levels` hold the truth `y (n,)`, with their mean widths: rows that were not trained on tell whether
        the distributions are honest."""
        function = "BinnedRegression.coverage"
        self._fitted(function)
        x, y = _rows(function, "x", x, "y", y)
        return self._distribution(function, x).coverage(y, levels)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Net, bins and settings into one `.npz` or `.safetensors` file, as `fastnn.save` writes them."""
        net, bins = self._fitted("BinnedRegression.save")
        kind = None if isinstance(self.asked, Bins) else self.kind
        io.save(path, net, {_METADATA: {"bins": bins.to_dict(), "kind": kind, "smoothing": self.smoothing}})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BinnedRegression:
        """What `save` wrote, ready to predict; a `fit` of it makes bins and net anew with the same settings."""
        net, metadata = io.load(path)
        try:
            saved = metadata[_METADATA]
            bins = Bins.from_dict(saved["bins"])
            own = {} if saved["kind"] is None else {"kind": saved["kind"]}
            config = {name: value for name, value in net.config().items() if name != "sizes"}
            model = cls(net.sizes[1:-1], bins=bins.asked if own else bins, **own, smoothing=saved["smoothing"],
                        **{**config, "keep_prob": net.keep_prob, "init": config["init"] or "he_normal"})
            if len(bins) != net.sizes[-1]:
                raise ValueError(f"{len(bins)} bins for a net of {net.sizes[-1]} outputs")
        except (KeyError, TypeError, ValueError) as error:
            expected, got = "what BinnedRegression.save wrote", f"{os.fspath(path)!r}: {error}"
            raise checks.fail(ValueError, "BinnedRegression.load", "path", "name a saved regression", expected, got) from error
        model.net, model.bins = net, bins
        return model

    def plot(self, x: Any, y: Any, path: str | os.PathLike[str] | None = None, *, rows: Sequence[int] | None = None) -> Figure:
        """The picture of `Distribution.plot` for rows `x (n, i)` with their truth `y (n,)`."""
        function = "BinnedRegression.plot"
        self._fitted(function)
        x, y = _rows(function, "x", x, "y", y)
        return self._distribution(function, x).plot(y, path, rows=rows)

    def _fitted(self, function: str) -> tuple[MLP, Bins]:
        if self.net is None or self.bins is None:
            raise checks.fail(ValueError, function, "self", "be fitted first", "a call of fit before", "no network")
        return self.net, self.bins

    def _distribution(self, function: str, x: Any) -> Distribution:
        net, bins = self._fitted(function)
        x = arrays.inputs(function, x, net.sizes[0], net.dtype)
        return Distribution(net.predict_proba(x), bins)


def _rows(function: str, x_name: str, x: Any, y_name: str, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Checked inputs, of a dtype that the engine converts on the way, and targets of as many rows."""
    x = arrays.inputs(function, x, None, np.float64, name=x_name, keep=arrays.ENGINE_DTYPES)
    return x, column(function, y_name, y, len(x))
