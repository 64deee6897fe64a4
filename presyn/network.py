"""K multilayer perceptrons with ReLU as one batched program (PAPER section 1).

The weights of a network are one flat row, layer after layer, each layer stored (inputs, outputs); the biases are
another. A learning rule is then arithmetic on (K, weights), and the layers are views.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from presyn.streams import Purpose, keys, uniform


@dataclass(frozen=True)
class Network:
    """The shape of the networks: layer sizes from inputs to classes, such as (784, 200, 200, 10)."""

    sizes: tuple[int, ...]

    @property
    def n_weights(self) -> int:
        return sum(a * b for a, b in pairwise(self.sizes))

    @property
    def n_biases(self) -> int:
        return sum(self.sizes[1:])

    def layers(self, weights: Tensor) -> list[Tensor]:
        """Views of flat weights (K, n_weights), one (K, inputs, outputs) for each layer."""
        parts = weights.split([a * b for a, b in pairwise(self.sizes)], dim=1)
        return [w.view(-1, a, b) for w, (a, b) in zip(parts, pairwise(self.sizes), strict=True)]

    def initial(self, seeds: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """PyTorch's default for Linear, U(-1/sqrt(fan_in), 1/sqrt(fan_in)): weights (K, n_weights), biases (K, n_biases)."""
        bounds = [(a**-0.5, a * b, b) for a, b in pairwise(self.sizes)]
        weight_bound = torch.cat([torch.full((n,), s) for s, n, _ in bounds]).to(device)
        bias_bound = torch.cat([torch.full((n,), s) for s, _, n in bounds]).to(device)
        u = uniform(keys(seeds, Purpose.WEIGHTS).to(device), self.n_weights)
        v = uniform(keys(seeds, Purpose.BIASES).to(device), self.n_biases)
        return (2 * u - 1) * weight_bound, (2 * v - 1) * bias_bound

    def forward(self, weights: Tensor, biases: Tensor, x: Tensor) -> list[Tensor]:
        """Activities of every layer, Eq. 2: x (K, B, inputs) first, logits (K, B, classes) last."""
        activity = [x]
        layers, offsets = self.layers(weights), biases.split(list(self.sizes[1:]), dim=1)
        for w, b in zip(layers, offsets, strict=True):
            z = torch.baddbmm(b[:, None, :], activity[-1], w)
            activity.append(z if w is layers[-1] else z.relu_())
        return activity

    def gradients(self, weights: Tensor, biases: Tensor, x: Tensor, y: Tensor, out: Tensor, bias_out: Tensor | None) -> Tensor:
        """Gradients of the mean cross-entropy of a minibatch.

        Args:
            weights: Transmitted weights, (K, n_weights).
            biases: (K, n_biases).
            x: Inputs, (K, B, inputs).
            y: Labels, (K, B), int64.
            out: Receives the gradient by the transmitted weights, (K, n_weights).
            bias_out: Receives the gradient by the biases, (K, n_biases); None when nobody needs it.

        Returns:
            The loss of each network, (K,).
        """
        activity = self.forward(weights, biases, x)
        log_p = activity[-1].log_softmax(dim=-1)
        target = y[..., None]
        loss = -log_p.gather(-1, target).mean(dim=(1, 2))
        delta = log_p.exp()
        delta.scatter_add_(-1, target, torch.full_like(target, -1, dtype=delta.dtype))
        delta /= x.shape[1]
        layers, grads = self.layers(weights), self.layers(out)
        offsets = None if bias_out is None else bias_out.split(list(self.sizes[1:]), dim=1)
        for i in reversed(range(len(layers))):
            torch.bmm(activity[i].transpose(1, 2), delta, out=grads[i])
            if offsets is not None:
                torch.sum(delta, dim=1, out=offsets[i])
            if i:
                delta = torch.bmm(delta, layers[i].transpose(1, 2))
                delta = torch.ops.aten.threshold_backward(delta, activity[i], 0)  # the ReLU's gradient, in one pass
        return loss
