"""K multilayer perceptrons with ReLU as one batched program (Eq. 1 and 2).

The weights of a network are one flat row, layer after layer, each layer stored (inputs, outputs); the biases are
another. A learning rule is then arithmetic on (K, weights), and the layers are views.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from presyn.inputs import DenseInputs, Inputs
from presyn.random_numbers import Purpose, keys, uniform


@dataclass(frozen=True)
class Network:
    """The shape of the networks: layer sizes from inputs to classes, such as (784, 200, 200, 10)."""

    sizes: tuple[int, ...]

    @property
    def n_weights(self) -> int:
        """How many weights a network has."""
        return sum(a * b for a, b in pairwise(self.sizes))

    @property
    def n_biases(self) -> int:
        """How many biases a network has."""
        return sum(self.sizes[1:])

    def layers(self, weights: Tensor) -> list[Tensor]:
        """Views of flat weights (K, n_weights), one (K, inputs, outputs) for each layer."""
        sizes = list(pairwise(self.sizes))
        flat_layers = weights.split([a * b for a, b in sizes], dim=1)
        return [layer.view(-1, a, b) for layer, (a, b) in zip(flat_layers, sizes, strict=True)]

    def initial(self, seeds: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """PyTorch's default for Linear, U(-1/sqrt(fan_in), 1/sqrt(fan_in)): weights (K, n_weights), biases (K, n_biases)."""
        bounds = [(a**-0.5, a * b, b) for a, b in pairwise(self.sizes)]
        weight_bound = torch.cat([torch.full((n,), s) for s, n, _ in bounds]).to(device)
        bias_bound = torch.cat([torch.full((n,), s) for s, _, n in bounds]).to(device)
        u = uniform(keys(seeds, Purpose.WEIGHTS).to(device), self.n_weights)
        v = uniform(keys(seeds, Purpose.BIASES).to(device), self.n_biases)
        return (2 * u - 1) * weight_bound, (2 * v - 1) * bias_bound

    def offsets(self, biases: Tensor) -> list[Tensor]:
        """Views of flat biases (K, n_biases), one (K, 1, outputs) for each layer."""
        return [b[:, None, :] for b in biases.split(list(self.sizes[1:]), dim=1)]

    def buffers(self, like: Tensor, batch: int) -> list[Tensor]:
        """Uninitialised activities of every layer after the inputs, (K, batch, outputs) for K rows of `like`."""
        return [like.new_empty(len(like), batch, n) for n in self.sizes[1:]]

    def forward(self, weights: Tensor, biases: Tensor, x: Inputs | Tensor) -> Tensor:
        """Logits (K, B, classes) of inputs x, as a minibatch has them or as a tensor (K, B, inputs), Eq. 2."""
        return self.activities(weights, biases, x)[-1]

    def activities(self, weights: Tensor, biases: Tensor, x: Inputs | Tensor) -> list[Tensor]:
        """Activities of the hidden layers, and logits, (K, B, units) of each layer; arguments as of `forward`."""
        inputs = DenseInputs(x) if isinstance(x, Tensor) else x
        activity = self.buffers(weights, inputs.batch)
        _forward(self.layers(weights), self.offsets(biases), inputs, activity)
        return activity


def _forward(layers: list[Tensor], offsets: list[Tensor], inputs: Inputs, activity: list[Tensor]) -> None:
    """Fill the activities of all layers after the inputs; the last one receives the logits."""
    for i, (w, b) in enumerate(zip(layers, offsets, strict=True)):
        if i:
            activity[i - 1].relu_()
            torch.baddbmm(b, activity[i - 1], w, out=activity[i])
        else:
            inputs.multiply(w, b, out=activity[0])


class Backprop:
    """Forward and backward pass of a minibatch, on buffers that stay where they are.

    Views are made once and no large tensor is allocated in a step; and a GPU can capture a step and replay it.

    Args:
        network: The shape of the networks.
        weights: Transmitted weights, (K, n_weights).
        biases: (K, n_biases).
        trains_biases: Whether their gradient is needed.
        batch: Images in a minibatch, B.

    Attributes:
        grad: Receives the gradient of the mean cross-entropy by the transmitted weights, (K, n_weights).
        bias_grad: By the biases, (K, n_biases); None when nobody needs it.
    """

    def __init__(self, network: Network, weights: Tensor, biases: Tensor, trains_biases: bool, batch: int) -> None:
        self.grad = torch.empty_like(weights)
        self.bias_grad = torch.empty_like(biases) if trains_biases else None
        self._weights, self._grads = network.layers(weights), network.layers(self.grad)
        self._biases = network.offsets(biases)
        self._bias_grads = [] if self.bias_grad is None else network.offsets(self.bias_grad)
        self._activity = network.buffers(weights, batch)
        self._delta = network.buffers(weights, batch)[:-1]

    def __call__(self, inputs: Inputs, y: Tensor, loss: Tensor | None = None) -> None:
        """Fill the gradients.

        Args:
            inputs: Of the K networks.
            y: Labels, (K, B), int64.
            loss: The mean cross-entropy of each network is added to it, (K,); None when nobody needs it.
        """
        activity, last = self._activity, len(self._weights) - 1
        _forward(self._weights, self._biases, inputs, activity)
        log_p = activity[-1].log_softmax(dim=-1)
        target = y[..., None]
        if loss is not None:
            loss -= log_p.gather(-1, target).mean(dim=(1, 2))
        delta = log_p.exp_()
        delta.scatter_add_(-1, target, torch.full_like(target, -1, dtype=delta.dtype))
        delta /= y.shape[1]
        for i in range(last, -1, -1):
            if self._bias_grads:
                torch.sum(delta, dim=1, keepdim=True, out=self._bias_grads[i])
            if i:
                torch.bmm(activity[i - 1].transpose(1, 2), delta, out=self._grads[i])
                below = self._delta[i - 1]
                torch.bmm(delta, self._weights[i].transpose(1, 2), out=below)
                # The ReLU's gradient, in place.
                torch.ops.aten.threshold_backward.grad_input(below, activity[i - 1], 0, grad_input=below)
                delta = below
            else:
                inputs.multiply_back(delta, out=self._grads[0])
