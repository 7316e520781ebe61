"""Second-order methods on the whole training set: L-BFGS, Newton-CG, and Newton's method with the explicit Hessian (CS231n notes,
"Second order methods").

All minimise the objective of `fastnn.curvature`: the mean loss over all rows and the L2 penalty, dropout off, no randomness. They suit
small sets and small networks; with many rows or dropout, minibatches (`fit`) get further in the same time.

* `"l-bfgs"` (Liu and Nocedal 1989; SciPy's L-BFGS-B): gradients only; curvature from the last ten steps.
* `"newton-cg"` (Nocedal and Wright, Numerical Optimization, chapter 7; SciPy's Newton-CG): the Newton step by conjugate gradients from
  exact Hessian-vector products.
* `"newton"` (`fastnn.newton`): the damped Newton step from the Hessian itself, P**2 numbers; NumPy only.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import arrays, checks, losses, newton, plots
from .callbacks import Progress
from .curvature import Objective
from .history import History
from .interrupts import Held
from .model import MLP, checked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = {"l-bfgs": "L-BFGS-B", "newton-cg": "Newton-CG", "newton": None}  # and what SciPy calls them
TOLERANCES = {"float32": 1e-4, "float64": 1e-6}
_UNLIMITED = 2**31 - 1


@dataclass(frozen=True, repr=False)
class MinimizeResult:
    """What `minimize` did; prints as sentences.

    `loss_before` and `loss` are the objective (with the penalty) at the weights found and left; `gradient_norm` is the Euclidean norm of
    its gradient there, `converged` whether that is within the tolerance, `message` what ended the run. `evaluations` counts losses with
    their gradients, `products` Hessian-vector products (a Hessian is one a parameter). `hessian_bytes` is what the explicit Hessian took, 0
    without one. `history` has a record an iteration, from 0: the best point so far, and the counts and seconds until then.
    """

    method: str
    loss_before: float
    loss: float
    gradient_norm: float
    converged: bool
    message: str
    iterations: int
    evaluations: int
    products: int
    seconds: float
    hessian_bytes: int
    history: History = field(compare=False)

    def __str__(self) -> str:
        work = [f"{self.iterations} iterations", f"{self.evaluations} evaluations"]
        work += [f"{self.products:,} Hessian-vector products"] if self.products else []
        work += [f"a Hessian of {newton.size_text(self.hessian_bytes)}"] if self.hessian_bytes else []
        return (f"{self.method}: loss {self.loss_before:.6g} -> {self.loss:.6g}, gradient norm {self.gradient_norm:.2g}, in "
                f"{self.seconds:.2f} s ({', '.join(work)})\n{'converged' if self.converged else 'not converged'}: {self.message}")

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        return f"<MinimizeResult: {self.method}, loss {self.loss:.6g}, {self.iterations} iterations, {state}>"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Loss and gradient norm over the iterations as a `Figure`, also written to `path`; needs the extra `plot`."""
        figure = plots.figure("MinimizeResult.plot", width=9.0)
        iterations = self.history["iteration"]
        for axes, name, scale in zip(figure.subplots(1, 2), ("loss", "gradient_norm"), ("linear", "log")):
            axes.plot(iterations, self.history[name], marker="." if len(iterations) < 40 else "")
            axes.set(xlabel="iteration", ylabel=name.replace("_", " "), yscale=scale)
            axes.grid(alpha=0.3)
        figure.suptitle(f"{self.method}: loss {self.loss_before:.4g} -> {self.loss:.4g} in {self.seconds:.2f} s")
        return plots.finish(figure, path)


def minimize(net: MLP, x: Any, y: Any, *, method: str = "l-bfgs", loss: str | losses.Loss = "softmax_cross_entropy",
             weight_decay: float = 0.0, sample_weight: Any = None, tolerance: float | None = None, max_iterations: int = 500,
             memory_limit: int = 2**30, progress: bool = False) -> MinimizeResult:
    """Minimise `mean loss + 0.5 * weight_decay * sum(weight**2)` over all rows of `x (n, i)` at once, and leave the best weights in `net`.

    `method` is `"l-bfgs"` or `"newton-cg"` (extra `scipy`), or `"newton"`, whose Hessian takes `itemsize * P**2` bytes for P parameters: it
    is refused above `memory_limit` bytes. `loss`, `y` and `sample_weight (n,)` are those of `fit`; biases are not decayed, dropout is off,
    `net.preprocessing` is applied. Newton's methods need a loss with curvature: not hinge, and a loss object of one's own only with a
    `hessian_product` (see `fastnn.losses`).

    It has converged when the Euclidean norm of the gradient is at most `tolerance`, None for 1e-4 in float32 and 1e-6 in float64, about
    what rounded losses allow; it ends at `max_iterations`, or where no lower loss is found. The loss left is never above the one found.
    `progress` says on stderr what a Hessian will take, and then shows one line. `net.loss` is set to `loss`.

    Errors: the library's sentences before anything is changed; MemoryError for a Hessian beyond the limit; ImportError without SciPy;
    FloatingPointError where the first loss or gradient is not finite. On Ctrl-C the best weights so far are left in `net`.
    """
    function = "minimize"
    if not isinstance(method, str) or method not in METHODS:
        raise checks.fail(ValueError, function, "method", "name a method", f"one of {', '.join(METHODS)}", repr(method))
    net = checked(function, net)
    limit = TOLERANCES[net.dtype.name] if tolerance is None else checks.number(function, "tolerance", tolerance, 0.0)
    max_iterations = checks.integer(function, "max_iterations", max_iterations, 1, _UNLIMITED)
    memory_limit = checks.integer(function, "memory_limit", memory_limit, 0, 2**63 - 1)
    objective = Objective(function, net.astype(net.dtype), x, y, loss, weight_decay, sample_weight)
    size = 0
    if method != "l-bfgs":
        objective.require_curvature()
        if isinstance(objective.loss, losses.Hinge):
            expected = "'l-bfgs' for hinge, which is piecewise linear"
            raise checks.fail(ValueError, function, "method", "suit the loss", expected, repr(method))
    size = newton.check_memory(function, objective.parameters, net.dtype, memory_limit) if method == "newton" else 0
    if size and progress:
        sys.stderr.write(f"newton: the Hessian of {objective.parameters:,} parameters takes {newton.size_text(size)} in {net.dtype}\n")
    by_scipy = None if METHODS[method] is None else _scipy(method)
    run = _Run(objective, limit, max_iterations, Progress(max_iterations, "iteration") if progress else None)
    try:
        run.start()
        message = newton.descend(objective, run.evaluate, run.iterated, run.first) if by_scipy is None else by_scipy(run)
    except _Ended as ended:
        message = str(ended)
    except KeyboardInterrupt:
        run.leave(net)
        raise
    finally:
        run.close()
    run.leave(net)
    return run.result(method, message, size)


def _scipy(method: str) -> Callable[[_Run], str]:
    """What minimises a run by SciPy's method; ImportError without SciPy, before anything is done."""
    try:
        from scipy.optimize import minimize as scipy_minimize
    except ImportError as error:
        raise ImportError(f"fastnn.minimize: method {method!r} needs the extra: pip install 'fastnn[scipy]' "
                          "(method 'newton' and fit need none)") from error

    def work(run: _Run) -> str:
        # The run itself says when to end: SciPy's own limits are off.
        settings: dict[str, Any] = {"options": {"maxiter": _UNLIMITED, "maxfun": _UNLIMITED, "ftol": 0.0, "gtol": 0.0}}
        if method == "newton-cg":
            settings = {"options": {"maxiter": _UNLIMITED, "xtol": 0.0}, "hessp": run.product}
        found = scipy_minimize(run.finite, run.first, method=METHODS[method], jac=True, callback=run.iterated, **settings)
        return (f"no lower loss was found in the last direction (the limit of {run.objective.net.dtype}, or a kink; SciPy: "
                f"{found.message.rstrip('.')})")

    return work


class _Ended(Exception):
    """The run is over, for the reason it says."""


class _Best(NamedTuple):
    loss: float
    gradient_norm: float
    weights: np.ndarray


class _Run:
    """Counts, remembers the best point, and raises `_Ended` when it is time to stop."""

    def __init__(self, objective: Objective, tolerance: float, max_iterations: int, display: Progress | None) -> None:
        self.objective, self.tolerance, self.max_iterations, self.display = objective, tolerance, max_iterations, display
        self.first = objective.weights()
        self.loss_before = math.inf
        self.best: _Best | None = None
        self.evaluations = 0
        self.history = History()
        self._began = time.perf_counter()

    def start(self) -> None:
        """Evaluate the weights found."""
        loss, gradient = self.objective.value_and_gradient()
        if not (math.isfinite(loss) and np.isfinite(gradient).all()):
            raise FloatingPointError(f"fastnn.minimize: the loss of the weights given is {loss:g}, or its gradient is not finite; nothing "
                                     "was changed (look for inf or NaN in x and in the weights)")
        self.evaluations = 1
        self.loss_before = loss
        self.best = _Best(loss, float(np.linalg.norm(gradient)), self.first)
        self._record()

    def evaluate(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient at `weights`, remembered where they are the best so far."""
        self.objective.move(weights)
        loss, gradient = self.objective.value_and_gradient()
        self.evaluations += 1
        norm = float(np.linalg.norm(gradient))
        assert self.best is not None
        if loss <= self.loss_before and newton.better(loss, norm, self.best.loss, self.best.gradient_norm):
            self.best = _Best(loss, norm, weights.copy())
        return loss, gradient

    def finite(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """`evaluate` for a method that cannot go on from a loss that is not finite."""
        loss, gradient = self.evaluate(weights)
        return loss, self._checked(gradient, loss)

    def product(self, weights: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Hessian times `direction`, float64 `(P,)`."""
        self.objective.move(weights)
        return self._checked(self.objective.products(direction[None])[0])

    def iterated(self, weights: np.ndarray) -> None:
        """Note the end of an iteration."""
        self._record()

    def leave(self, net: MLP) -> None:
        """Put the best weights into `net`."""
        if self.best is not None:
            with Held():
                self.objective.move(self.best.weights)
                for array, best in zip(net.parameters(), self.objective.net.parameters()):
                    array[...] = best
                net.loss = self.objective.loss

    def close(self) -> None:
        """End the line of progress."""
        if self.display is not None:
            self.display.finish()

    def result(self, method: str, message: str, size: int) -> MinimizeResult:
        """What happened."""
        assert self.best is not None
        return MinimizeResult(method, self.loss_before, self.best.loss, self.best.gradient_norm, self.best.gradient_norm <= self.tolerance,
                              message, len(self.history) - 1, self.evaluations, self.objective.products_done,
                              time.perf_counter() - self._began, size, self.history)

    def _checked(self, values: np.ndarray, loss: float = 0.0) -> np.ndarray:
        if not (math.isfinite(loss) and np.isfinite(values).all()):
            raise _Ended("a loss or gradient on the way was not finite; the best weights before it are kept")
        return values

    def _record(self) -> None:
        assert self.best is not None
        done = len(self.history)
        record = {"iteration": done, "loss": self.best.loss, "gradient_norm": self.best.gradient_norm, "evaluations": self.evaluations,
                  "products": self.objective.products_done, "seconds": time.perf_counter() - self._began}
        self.history.records.append(record)
        if self.display is not None and done:
            self.display(None, {"loss": self.best.loss, "gradient": self.best.gradient_norm})
        if self.best.gradient_norm <= self.tolerance:
            raise _Ended(f"the gradient norm is within the tolerance of {self.tolerance:g}")
        if done == self.max_iterations:
            raise _Ended(f"max_iterations={done} came first; the gradient norm is above the tolerance of {self.tolerance:g}")


def hessian_vector_product(net: MLP, x: Any, y: Any, v: Any, *, loss: str | losses.Loss = "softmax_cross_entropy",
                           weight_decay: float = 0.0, sample_weight: Any = None) -> Any:
    """`H @ v` for the Hessian `H` of `MLP.loss_and_gradients`' objective, exactly (`fastnn.curvature`), for the work of some two gradients.

    `v` is a list of arrays like `net.parameters()`, or one flat vector `(P,)` in their order; the result is like it, in the net's dtype.
    The second derivative of ReLU, leaky ReLU and hinge is taken as 0, as it is off their kinks. Dropout is off. Raises the library's
    sentences; TypeError for a loss without `hessian_product`.
    """
    function = "hessian_vector_product"
    objective = _curved(function, net, x, y, loss, weight_decay, sample_weight)
    arrays_given = isinstance(v, (list, tuple)) and any(np.ndim(part) > 0 for part in v)
    parameters = net.parameters()
    shapes = [array.shape for array in parameters] if arrays_given else [(objective.parameters,)]
    parts = [arrays.as_array(function, "v", part) for part in (v if arrays_given else [v])]
    if [part.shape for part in parts] != shapes:
        expected = f"shape {checks.shape_text((objective.parameters,))}, or the shapes of net.parameters()"
        got = ", ".join(checks.shape_text(part.shape) for part in parts)
        raise checks.fail(ValueError, function, "v", "be like the weights", expected, got)
    direction = np.concatenate([part.ravel() for part in parts]).astype(np.float64)
    if not np.isfinite(direction).all():
        raise checks.fail(ValueError, function, "v", "be finite", "finite numbers", "inf or NaN")
    product = objective.products(direction[None])[0]
    if not arrays_given:
        return product.astype(net.dtype)
    return [part.astype(net.dtype) for part in objective.parts(product)]


def hessian(net: MLP, x: Any, y: Any, *, loss: str | losses.Loss = "softmax_cross_entropy", weight_decay: float = 0.0,
            sample_weight: Any = None, memory_limit: int = 2**30) -> np.ndarray:
    """The Hessian `(P, P)` in the net's dtype, exactly symmetric, of the objective of `MLP.loss_and_gradients`; rows and columns in the
    order of `net.parameters()`, each in C order.

    It takes `itemsize * P**2` bytes; MemoryError with that figure where they are more than `memory_limit`. Raises what
    `hessian_vector_product` raises.
    """
    function = "hessian"
    limit = checks.integer(function, "memory_limit", memory_limit, 0, 2**63 - 1)
    objective = _curved(function, net, x, y, loss, weight_decay, sample_weight)
    newton.check_memory(function, objective.parameters, net.dtype, limit)
    result = np.empty((objective.parameters, objective.parameters), net.dtype)
    objective.hessian(result)
    for k in range(1, len(result)):
        result[k, :k] = result[:k, k] = 0.5 * (result[k, :k] + result[:k, k])
    return result


def _curved(function: str, net: MLP, x: Any, y: Any, loss: str | losses.Loss, weight_decay: float, sample_weight: Any) -> Objective:
    objective = Objective(function, checked(function, net).astype(net.dtype), x, y, loss, weight_decay, sample_weight)
    objective.require_curvature()
    return objective
