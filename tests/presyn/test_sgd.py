"""Gradient descent agrees with torch.optim and autograd."""

import pytest
import torch
from reference import unflatten
from torch.nn.functional import cross_entropy, relu

from presyn.inputs import DenseInputs
from presyn.methods.sgd import SGD, SGDOptions
from presyn.network import Backprop, Network

CPU = torch.device("cpu")
NET = Network((12, 8, 6, 4))


@pytest.mark.parametrize(
    ("optimizer", "eta0", "l2"), [("sgd", 0.3, 0.0), ("adam", 0.01, 0.0), ("sgd", 0.3, 0.05), ("adam", 0.01, 0.05)]
)
def test_equals_torch_optim(optimizer, eta0, l2):
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(1, 20, 12, generator=generator), torch.randint(0, 4, (1, 20), generator=generator)
    weights, biases = NET.initial([5], CPU)
    w, b = weights[0].clone().requires_grad_(), biases[0].clone().requires_grad_()
    theirs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]([w, b], lr=eta0, weight_decay=l2)
    method = SGD([SGDOptions(optimizer=optimizer, eta0=eta0, l2=l2)], CPU, fuse=False)
    state = method.start(weights, biases)
    key = torch.zeros(1, 2, dtype=torch.int32)
    backprop = Backprop(NET, state["weights"], state["biases"], True, 20)
    for _ in range(30):
        a = x[0]
        for i, (layer, offset) in enumerate(zip(unflatten(NET.sizes, w), b.split(NET.sizes[1:]), strict=True)):
            a = a @ layer + offset
            a = relu(a) if i < 2 else a
        theirs.zero_grad()
        loss = cross_entropy(a, y[0])
        loss.backward()
        theirs.step()
        ours = torch.zeros(1)
        backprop(DenseInputs(x), y, ours)
        method.update(state, backprop.grad, backprop.bias_grad, state["weights"], state["biases"], key)
        assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(state["weights"][0], w.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(state["biases"][0], b.detach(), rtol=1e-4, atol=1e-6)
