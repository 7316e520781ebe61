"""Fifty training steps from equal weights on equal batches end where PyTorch's do, for every optimizer and every loss, in float64.

PyTorch is optional here; `.ci/check torch` installs it.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastnn

torch = pytest.importorskip("torch")

SIZES = (7, 11, 6, 4)
STEPS = 50
BATCH = 9
DECAY = 0.02

# Each optimizer with its PyTorch twin. PyTorch's weight decay goes to the weights alone, as ours does: see `parameter_groups`.
OPTIMIZERS = {
    "sgd": (fastnn.SGD(learning_rate=0.05), lambda groups: torch.optim.SGD(groups, lr=0.05)),
    "sgd-decay": (fastnn.SGD(learning_rate=0.05, weight_decay=DECAY), lambda groups: torch.optim.SGD(groups, lr=0.05)),
    "momentum": (fastnn.Momentum(learning_rate=0.02, momentum=0.8), lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.8)),
    "momentum-decay": (
        fastnn.Momentum(learning_rate=0.02, momentum=0.8, weight_decay=DECAY),
        lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.8),
    ),
    "nesterov": (
        fastnn.Momentum(learning_rate=0.02, momentum=0.8, nesterov=True),
        lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.8, nesterov=True),
    ),
    "nesterov-decay": (
        fastnn.Momentum(learning_rate=0.02, momentum=0.8, nesterov=True, weight_decay=DECAY),
        lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.8, nesterov=True),
    ),
    "adagrad": (fastnn.AdaGrad(learning_rate=0.03, eps=1e-6), lambda groups: torch.optim.Adagrad(groups, lr=0.03, eps=1e-6)),
    "adagrad-decay": (
        fastnn.AdaGrad(learning_rate=0.03, eps=1e-6, weight_decay=DECAY),
        lambda groups: torch.optim.Adagrad(groups, lr=0.03, eps=1e-6),
    ),
    "rmsprop": (
        fastnn.RMSProp(learning_rate=0.004, decay_rate=0.95, eps=1e-6),
        lambda groups: torch.optim.RMSprop(groups, lr=0.004, alpha=0.95, eps=1e-6),
    ),
    "rmsprop-decay": (
        fastnn.RMSProp(learning_rate=0.004, decay_rate=0.95, eps=1e-6, weight_decay=DECAY),
        lambda groups: torch.optim.RMSprop(groups, lr=0.004, alpha=0.95, eps=1e-6),
    ),
    "adam": (
        fastnn.Adam(learning_rate=0.01, beta1=0.8, beta2=0.99, eps=1e-6),
        lambda groups: torch.optim.Adam(groups, lr=0.01, betas=(0.8, 0.99), eps=1e-6),
    ),
    "adam-decay": (
        fastnn.Adam(learning_rate=0.01, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=DECAY),
        lambda groups: torch.optim.Adam(groups, lr=0.01, betas=(0.8, 0.99), eps=1e-6),
    ),
    "adamw": (
        fastnn.Adam(learning_rate=0.01, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=DECAY, decoupled=True),
        lambda groups: torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.99), eps=1e-6),
    ),
}


def cross_entropy(scores, y):
    """Labels or probabilities: PyTorch takes both."""
    return torch.nn.functional.cross_entropy(scores, y)


def l2(scores, y):
    return 0.5 * ((scores - y) ** 2).sum(dim=1).mean()


def hinge(scores, y):
    """The multiclass SVM of Weston and Watkins with margin 1: the label's own term is left out."""
    terms = (scores - scores.gather(1, y[:, None]) + 1.0).clamp(min=0)
    return (terms.sum(dim=1) - 1.0).mean()


LOSSES = {
    "softmax-labels": ("softmax_cross_entropy", cross_entropy),
    "softmax-probabilities": ("softmax_cross_entropy", cross_entropy),
    "l2": ("l2", l2),
    "hinge": ("hinge", hinge),
}


def batches(kind):
    """`STEPS` batches of `(x, y)`, none like another."""
    rng = np.random.default_rng(11)
    for _ in range(STEPS):
        x = rng.standard_normal((BATCH, SIZES[0]))
        if kind == "l2":
            yield x, rng.standard_normal((BATCH, SIZES[-1]))
        elif kind == "softmax-probabilities":
            yield x, rng.dirichlet(np.ones(SIZES[-1]), size=BATCH)
        else:
            yield x, rng.integers(0, SIZES[-1], size=BATCH)


def torch_copy(net):
    """The net's weights and biases as leaves of PyTorch's graph, copied."""
    return [torch.from_numpy(array.copy()).requires_grad_() for array in net.parameters()]


def torch_forward(parameters, x, activation):
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2]):
        x = activation(x @ weight + bias)
    return x @ parameters[-2] + parameters[-1]


def parameter_groups(parameters, weight_decay):
    return [{"params": parameters[0::2], "weight_decay": weight_decay}, {"params": parameters[1::2], "weight_decay": 0.0}]


def train_both(optimizer, make_twin, kind, activation="relu"):
    """Return our losses and parameters, then PyTorch's."""
    loss, torch_loss = LOSSES[kind]
    net = fastnn.MLP(SIZES, activation=activation, init="he_normal", dtype="float64", seed=3)
    theirs = torch_copy(net)
    twin = make_twin(parameter_groups(theirs, optimizer.weight_decay))
    trainer = fastnn.Trainer(net, loss=loss, optimizer=optimizer)
    our_losses, their_losses = [], []
    for x, y in batches(kind):
        our_losses.append(trainer.step(x, y))
        twin.zero_grad()
        value = torch_loss(torch_forward(theirs, torch.from_numpy(x), getattr(torch, activation)), torch.from_numpy(y))
        value.backward()
        twin.step()
        their_losses.append(value.item())
    return our_losses, net.parameters(), their_losses, [parameter.detach().numpy() for parameter in theirs]


def assert_same_path(ours, our_parameters, theirs, their_parameters):
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    for mine, yours in zip(our_parameters, their_parameters, strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_agree_with_pytorch(name, kind):
    optimizer, make_twin = OPTIMIZERS[name]
    assert_same_path(*train_both(optimizer, make_twin, kind))


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_smooth_activations_agree_with_pytorch(activation):
    optimizer, make_twin = OPTIMIZERS["adam-decay"]
    assert_same_path(*train_both(optimizer, make_twin, "softmax-labels", activation))
