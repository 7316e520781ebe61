"""PyTorch trains as its tutorials do: modules, autograd, `CrossEntropyLoss`, fused Adam. Tensors share the rows' memory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from training import Training, rows, weights

from .loops import Loop


def prepare(case: Training) -> dict[str, Callable[[], Loop]]:
    return {"eager": lambda: loop(case, lambda function: function)}


def network(case: Training) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in pairwise(case.sizes):
        layers += [nn.Linear(i, o), nn.ReLU()] + ([nn.Dropout(1 - case.keep_prob)] if case.keep_prob < 1.0 else [])
    while not isinstance(layers[-1], nn.Linear):
        layers.pop()
    net = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter, array in zip(net.parameters(), weights(case)):
            parameter.copy_(torch.from_numpy(array.T))
    return net


def loop(case: Training, compiled: Callable[[Callable], Callable]) -> Loop:
    """`compiled` is what is done to the function of network and loss."""
    torch.manual_seed(case.seed)
    net = network(case)
    optimizer = torch.optim.Adam(net.parameters(), lr=case.rate, fused=True)
    loss_of = compiled(lambda x, y: functional.cross_entropy(net(x), y))

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def predict(x: np.ndarray) -> np.ndarray:
        net.eval()
        with torch.no_grad():
            classes = net(torch.from_numpy(x)).argmax(1).numpy()
        net.train()
        return classes

    return Loop(case, step, *map(torch.from_numpy, rows(case)), torch.randperm, predict)
