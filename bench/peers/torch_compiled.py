"""PyTorch with `torch.compile`, where there is something to fuse: elementwise work and losses, and what follows a small product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cases import Case
from torch.nn import functional

from .torch_kernels import KEEP_PROB, RATE, tensors

LARGE_PRODUCT = 1e6  # operations from which on a product is all that counts, and it is the same one


def prepare(case: Case) -> dict[str, Callable[[], Callable[[], Any]]]:
    make = FORMS.get(case.kernel)
    if make is linear_relu_forward and case.work().amount > LARGE_PRODUCT:
        return {}
    torch.compiler.reset()  # each case is a first one, or sizes would be guessed at
    return {"compiled": lambda: make(tensors(case))} if make else {}


def compiled(function):
    return torch.compile(function, dynamic=False, fullgraph=True)


def linear_relu_forward(a):
    x, w, b = a["x"], a["w"], a["b"]
    forward = compiled(lambda x, w, b: torch.relu(torch.addmm(b, x, w)))
    return lambda: forward(x, w, b).numpy()


def dropout_forward(a):
    x = a["x"]
    forward = compiled(lambda x: functional.dropout(x, 1 - KEEP_PROB, training=True))
    return lambda: forward(x).numpy()


def softmax_cross_entropy(a):
    scores, labels, hits = a["x"], a["labels"], functional.one_hot(a["labels"], a["x"].shape[1]).to(a["x"].dtype)

    @compiled
    def both(scores, labels, hits):
        logs = torch.log_softmax(scores, 1)
        return functional.nll_loss(logs, labels), (torch.exp(logs) - hits) / len(scores)

    def loss_and_gradient():
        loss, gradient = both(scores, labels, hits)
        return loss.item(), gradient.numpy()

    return loss_and_gradient


def adam_update(a):
    param, grad, m, v = (a[name] for name in ("param", "grad", "m", "v"))
    rate, correction = RATE / (1 - 0.9**10), 1 / (1 - 0.999**10)

    @compiled
    def step(param, grad, m, v):
        m.mul_(0.9).add_(grad, alpha=0.1)
        v.mul_(0.999).add_(grad * grad, alpha=0.001)
        param.sub_(rate * m / (torch.sqrt(v * correction) + 1e-8))

    return in_place(step, param, grad, m, v)


def momentum_update(a):
    param, grad, m = (a[name] for name in ("param", "grad", "m"))

    @compiled
    def step(param, grad, m):
        m.mul_(0.9).sub_(grad, alpha=RATE)
        param.add_(m)

    return in_place(step, param, grad, m)


def rmsprop_update(a):
    param, grad, v = (a[name] for name in ("param", "grad", "v"))

    @compiled
    def step(param, grad, v):
        v.mul_(0.99).add_(grad * grad, alpha=0.01)
        param.sub_(RATE * grad / (torch.sqrt(v) + 1e-8))

    return in_place(step, param, grad, v)


def in_place(step, param, *others):
    def update():
        step(param, *others)
        return param.numpy()

    return update


FORMS = {
    function.__name__: function
    for function in (linear_relu_forward, dropout_forward, softmax_cross_entropy, adam_update, momentum_update, rmsprop_update)
}
