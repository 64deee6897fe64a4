"""Bayesian gradient descent: a Gaussian over every weight, whose width is its learning rate.

    θ = μ + σ ε,  ε ~ N(0, 1)                                    a sampled network; several for each minibatch
    μ ← μ − η σ² E[g]                                            g: gradient of the summed loss of the minibatch by θ
    σ ← σ √(1 + (½ σ E[g ε])²) − ½ σ² E[g ε]

Both updates use the σ from before the step; E is the mean over the sampled networks. A weight that matters gets a small σ
and keeps its place. Nothing tells the rule where a task ends.

References: Zeno et al. (2018), arXiv:1803.10123, algorithm 1; settings of the authors' scripts (github.com/igolan/bgd).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from presyn.errors import PresynError
from presyn.fuse import fused
from presyn.methods.base import Method, MethodOptions, State, Traits
from presyn.network import Network
from presyn.options import option
from presyn.random_numbers import normal, quantiles

AUTHORS = {"start": "xavier", "first_task": "as_stored"}
"""How networks start and what they see in the logs of the paper's first author (github.com/smonsays/bgd, the last script)."""
RULES: dict[str, dict[str, Any]] = {"paper": {}, "authors": AUTHORS}


@dataclass(frozen=True)
class BGDOptions(MethodOptions):
    """Options of Bayesian gradient descent."""

    eta0: float = option(
        1.0, "learning rate, eta", low=0.0, high=1e6, varies=True, source="a script of the paper's authors, for each benchmark"
    )
    sigma0: float = option(
        0.05,
        "initial standard deviation of every weight",
        low=1e-12,
        high=10.0,
        varies=True,
        source="a script of the paper's authors, for each benchmark",
    )
    start: str = option(
        "default",
        "initial weights: PyTorch's default, or normal with variance 2 / (inputs + outputs) (xavier)",
        choices=("default", "xavier"),
        neutral="default",
        source="the authors' BGD code has xavier",
    )
    draws: int = option(10, "sampled networks in a minibatch, and in a test", low=1, high=1000, source="Zeno et al. 2018")


class BGD(Method[BGDOptions]):
    """Bayesian gradient descent for K networks."""

    Options = BGDOptions
    preset_names = {
        "rule": "paper, the default, or authors, the start of the first author's last script: "
        + ", ".join(AUTHORS)
        + " at once"
    }
    published = {
        "permuted-mnist": {"sigma0": 0.05, "eta0": 1.0, "batch_size": 128},
        "permuted-fashion": {"sigma0": 0.05, "eta0": 0.1, "batch_size": 128},
        "split-mnist": {"sigma0": 0.001, "eta0": 1.0, "batch_size": 128},
        "split-fashion": {"sigma0": 0.001, "eta0": 1.0, "batch_size": 128},
        "continuous-permuted-mnist": {"batch_size": 128},
        "mnist": {"batch_size": 128},
    }

    @classmethod
    def preset(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        rule = values.get("rule", "paper")
        if not isinstance(rule, str) or rule not in RULES:
            raise PresynError(f"rule must be one of {', '.join(RULES)}, not {rule!r}.")
        return RULES[rule]

    @classmethod
    def make_traits(cls, options: BGDOptions) -> Traits:
        return Traits(networks_per_transmission=options.draws, averages="accuracy")

    def __init__(self, members: Sequence[BGDOptions], device: torch.device, fuse: bool, batch: int = 1) -> None:
        super().__init__(members, device, fuse, batch)
        self._sample = fused(_sample, fuse, device)
        self._update = fused(_update, fuse, device)

    def start(self, weights: Tensor, biases: Tensor) -> State:
        return {
            "weights": weights.clone(),
            "biases": biases.clone(),
            "weights_sigma": self.h.sigma0.expand_as(weights).clone(),
            "biases_sigma": self.h.sigma0.expand_as(biases).clone(),
        }

    def randomise(self, state: State, key: Tensor, network: Network) -> None:
        if self.options.start == "xavier":  # Glorot & Bengio (2010), Eq. 12 and 15: Var = 2 / (inputs + outputs)
            state["weights"].copy_(normal(key, network.n_weights, quantiles(key.device)))
            for layer in network.layers(state["weights"]):
                layer.mul_((2 / (layer.shape[1] + layer.shape[2])) ** 0.5)

    def transmit(self, state: State, key: Tensor) -> tuple[Tensor, Tensor]:
        networks = self.traits.networks_per_transmission
        weights, biases = (state[name].repeat_interleave(networks, dim=0) for name in ("weights", "biases"))
        self._fill(state, key, weights, biases)
        return weights, biases

    def _fill(self, state: State, key: Tensor, weights: Tensor, biases: Tensor) -> None:
        """Fill weights (K·S, n_weights) and biases (K·S, n_biases) with sampled networks."""
        networks, table = self.traits.networks_per_transmission, quantiles(key.device)
        first = 0  # number of the first random number: those of the biases follow on those of the weights
        for name, theta in (("weights", weights), ("biases", biases)):
            self._sample(theta.unflatten(0, (-1, networks)), state[name], state[f"{name}_sigma"], key, first, table)
            first += networks * state[name].shape[1]

    def update(
        self, state: State, grad: Tensor, bias_grad: Tensor | None, weights: Tensor, biases: Tensor, next_key: Tensor
    ) -> None:
        assert bias_grad is not None
        for name, g, theta in (("weights", grad, weights), ("biases", bias_grad, biases)):
            g, theta = (tensor.unflatten(0, (-1, self.traits.networks_per_transmission)) for tensor in (g, theta))
            self._update(state[name], state[f"{name}_sigma"], g, theta, self.batch, self.h.eta0)
        self._fill(state, next_key, weights, biases)

    def describe(self, state: State) -> dict[str, Tensor]:
        return {"mean_sigma": state["weights_sigma"].mean(dim=1)}


def _sample(theta: Tensor, mu: Tensor, sigma: Tensor, key: Tensor, first: int, table: Tensor) -> None:
    """θ = μ + σ ε, in place.

    Args:
        theta: Receives the sampled networks, (K, S, n).
        mu, sigma: (K, n).
        key: Of the random numbers, (K, 2).
        first: The number of the first of them.
        table: Their `quantiles`.
    """
    epsilon = normal(key, theta.shape[1] * theta.shape[2], table, first).view(theta.shape)
    theta.copy_(mu[:, None] + sigma[:, None] * epsilon)


def _mean(values: Tensor) -> Tensor:
    """The mean over sampled networks, (K, S, n) -> (K, n).

    On a GPU they are added one after the other: the compiler there would take whatever order is fastest.
    """
    if not values.is_cuda:
        return values.mean(dim=1)
    total = values[:, 0]
    for i in range(1, values.shape[1]):
        total = total + values[:, i]
    return total / values.shape[1]


def _update(mu: Tensor, sigma: Tensor, grad: Tensor, theta: Tensor, images: int, eta0: Tensor) -> None:
    """A step of μ and σ, (K, n), in place.

    Args:
        mu, sigma: What is changed.
        grad: Gradient of the mean loss over the minibatch by theta, (K, S, n).
        theta: The sampled networks, (K, S, n).
        images: How many the minibatch has, by which the mean becomes a sum.
        eta0: η, (K, 1).
    """
    epsilon = (theta - mu[:, None]) / sigma[:, None]
    g = images * _mean(grad)
    half = 0.5 * sigma * images * _mean(grad * epsilon)  # ½ σ E[gε]
    new_mu = mu - eta0 * sigma.square() * g
    new_sigma = sigma * (1 + half.square()).sqrt() - sigma * half
    mu.copy_(new_mu)
    sigma.copy_(new_sigma)
