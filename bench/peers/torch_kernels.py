"""PyTorch as a competitor, through its public calls: eager, gradients by hand and by autograd, results written into `out=` or in place
where it offers that, fused optimizers. Its tensors are made of the NumPy arrays once, without a copy; that is not timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cases import Case, inputs
from torch.nn import functional

KEEP_PROB = 0.5
RATE = 1e-3

torch.set_grad_enabled(False)


def tensors(case: Case) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in inputs(case).items()}


def prepare(case: Case) -> dict[str, Callable[[], Callable[[], Any]]]:
    return {name: lambda make=make: make(tensors(case)) for name, make in FORMS.get(case.kernel, {}).items()}


def forward_out(a):
    x, w, b, y = a["x"], a["w"], a["b"], torch.empty_like(a["y"])

    def forward():
        torch.addmm(b, x, w, out=y)
        return torch.relu_(y).numpy()

    return forward


def forward_new(a):
    x, w, b = a["x"], a["w"], a["b"]
    return lambda: torch.relu(torch.addmm(b, x, w)).numpy()


def forward_linear(a):
    """The layer as `torch.nn.Linear` calls it, its weights a transposed view of the row-major array."""
    x, w, b = a["x"], a["w"].t(), a["b"]
    return lambda: torch.relu_(functional.linear(x, w, b)).numpy()


def backward_by_hand(a):
    x, w, y, dy = a["x"], a["w"], a["y"], a["dy"]
    dz, dx, dw, db = torch.empty_like(dy), torch.empty_like(x), torch.empty_like(w), torch.empty_like(a["b"])
    passed, wt, xt = torch.empty(y.shape, dtype=torch.bool), w.t(), x.t()

    def backward():
        torch.gt(y, 0, out=passed)
        torch.mul(dy, passed, out=dz)
        torch.mm(dz, wt, out=dx)
        torch.mm(xt, dz, out=dw)
        torch.sum(dz, 0, out=db)
        return dx.numpy(), dw.numpy(), db.numpy()

    return backward


def backward_autograd(a):
    x, w, b = (a[name].requires_grad_() for name in ("x", "w", "b"))
    dy = a["dy"]
    with torch.enable_grad():
        y = torch.relu(torch.addmm(b, x, w))

    def backward():
        return tuple(gradient.numpy() for gradient in torch.autograd.grad(y, (x, w, b), dy, retain_graph=True))

    return backward


def dropout(a):
    x = a["x"]
    return lambda: functional.dropout(x, 1 - KEEP_PROB, training=True).numpy()


def dropout_native(a):
    x = a["x"]
    return lambda: torch.native_dropout(x, 1 - KEEP_PROB, True)[0].numpy()


def dropout_out(a):
    x = a["x"]
    mask, out = torch.empty_like(x), torch.empty_like(x)

    def forward():
        mask.bernoulli_(KEEP_PROB).mul_(1 / KEEP_PROB)
        return torch.mul(x, mask, out=out).numpy()

    return forward


def cross_entropy_autograd(a):
    scores, labels = a["x"].requires_grad_(), a["labels"]

    def loss_and_gradient():
        with torch.enable_grad():
            loss = functional.cross_entropy(scores, labels)
        return loss.item(), torch.autograd.grad(loss, scores)[0].numpy()

    return loss_and_gradient


def cross_entropy_by_hand(a):
    scores, labels = a["x"], a["labels"]
    logs, n, columns = torch.empty_like(scores), len(scores), labels[:, None]
    hits = torch.full(columns.shape, -1 / n, dtype=scores.dtype)

    def loss_and_gradient():
        torch.log_softmax(scores, 1, out=logs)
        loss = functional.nll_loss(logs, labels)
        gradient = torch.exp_(logs).div_(n).scatter_add_(1, columns, hits)
        return loss.item(), gradient.numpy()

    return loss_and_gradient


def parameter(a):
    param = torch.nn.Parameter(a["param"], requires_grad=True)
    param.grad = a["grad"]
    return param


def stepper(param, optimizer):
    def update():
        optimizer.step()
        return param.detach().numpy()

    return update


def adam(a, **options):
    param = parameter(a)
    optimizer = torch.optim.Adam([param], lr=RATE, **options)
    # The other competitors do their tenth step, too.
    optimizer.state[param] = {"step": torch.tensor(9.0), "exp_avg": a["m"], "exp_avg_sq": a["v"]}
    return stepper(param, optimizer)


def momentum(a, **options):
    param = parameter(a)
    return stepper(param, torch.optim.SGD([param], lr=RATE, momentum=0.9, **options))


def rmsprop(a, **options):
    param = parameter(a)
    return stepper(param, torch.optim.RMSprop([param], lr=RATE, alpha=0.99, **options))


FORMS: dict[str, dict[str, Callable[[dict[str, torch.Tensor]], Callable[[], Any]]]] = {
    "linear_relu_forward": {"addmm, out=": forward_out, "addmm": forward_new, "linear": forward_linear},
    "linear_relu_backward": {"by hand, out=": backward_by_hand, "autograd": backward_autograd},
    "dropout_forward": {"dropout": dropout, "native_dropout": dropout_native, "bernoulli_, out=": dropout_out},
    "softmax_cross_entropy": {"autograd": cross_entropy_autograd, "by hand": cross_entropy_by_hand},
    "adam_update": {"fused": lambda a: adam(a, fused=True)},
    "momentum_update": {"fused": lambda a: momentum(a, fused=True)},
    "rmsprop_update": {"foreach": lambda a: rmsprop(a, foreach=True), "one by one": lambda a: rmsprop(a, foreach=False)},
}
