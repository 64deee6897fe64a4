"""Elastic weight consolidation: a quadratic pull back to what earlier tasks needed.

    L = L_task + (λ/2) Σ_k Σ_i F_i^(k) (θ_i − θ_i^(k))²           the loss while later tasks are learned
    F^(k) = (A∘A)ᵀ (D∘D) / N                                     diagonal Fisher information of a dense layer after task k

with A the layer's inputs and D = ∂ log f(x, y)/∂z at its pre-activations, for each of N images. The gradient of the penalty is
λ (ΣF θ − ΣFθ*), so any number of tasks needs two accumulators. The online form keeps one decaying F around the latest θ*:
F ← γ F + F^(k).

References: Kirkpatrick et al. (2017), PNAS 114:3521, Eq. 3; online: Schwarz et al. (2018), Progress & Compress, section 3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from presyn.fuse import fused
from presyn.methods.base import Examples, State
from presyn.methods.sgd import SGD, SGDOptions
from presyn.network import Network
from presyn.options import option
from presyn.random_numbers import uniform


@dataclass(frozen=True)
class EWCOptions(SGDOptions):
    """Options of elastic weight consolidation."""

    eta0: float = option(0.01, "learning rate", low=0.0, high=1e3, varies=True, source="to be searched: the paper names none")
    optimizer: str = option("sgd", "the optimiser", choices=("sgd", "adam"), source="ours: the paper names none")
    l2: float = option(
        0.0, "strength of an l2 penalty, on weights and biases", low=0.0, high=1e3, varies=True, neutral=0.0, source="ours"
    )
    lam: float = option(
        10.0, "strength of the penalty, lambda", low=0.0, high=1e12, varies=True, source="to be searched: the paper names none"
    )
    form: str = option(
        "separate",
        "a penalty for each task, or one that decays",
        choices=("separate", "online"),
        source="Kirkpatrick et al. 2017; Schwarz et al. 2018",
    )
    gamma: float = option(
        1.0,
        "online: what a task leaves of earlier Fisher information",
        low=0.0,
        high=1.0,
        varies=True,
        source="Schwarz et al. 2018",
    )
    fisher: str = option(
        "sampled",
        "labels of the Fisher information: the data's, or sampled from the model",
        choices=("observed", "sampled"),
        source="ours",
    )
    fisher_images: int = option(10_000, "images of a task, at most, that its Fisher information averages", low=1, source="ours")


class EWC(SGD):
    """Elastic weight consolidation for K networks."""

    Options = EWCOptions
    options: EWCOptions
    published = {}  # the paper names no settings; they have to be searched

    def __init__(self, members: Sequence[EWCOptions], device: torch.device, fuse: bool, batch: int = 1) -> None:
        super().__init__(members, device, fuse, batch)
        self._pull = fused(_pull, fuse, device)

    def start(self, weights: Tensor, biases: Tensor) -> State:
        state = super().start(weights, biases)
        for name in ("weights", "biases"):
            state[f"{name}_fisher"] = torch.zeros_like(state[name])  # ΣF
            state[f"{name}_anchor"] = torch.zeros_like(state[name])  # ΣFθ*
        state["anchor_square"] = torch.zeros(len(weights), 1, device=weights.device)  # ΣFθ*²
        state["penalty"] = torch.zeros(len(weights), 1, device=weights.device)  # at the end of the latest task
        return state

    def update(
        self, state: State, grad: Tensor, bias_grad: Tensor | None, weights: Tensor, biases: Tensor, next_key: Tensor
    ) -> None:
        assert bias_grad is not None
        for name, g in (("weights", grad), ("biases", bias_grad)):
            self._pull(g, state[name], state[f"{name}_fisher"], state[f"{name}_anchor"], self.h.lam)
        super().update(state, grad, bias_grad, weights, biases, next_key)

    def end_task(self, state: State, network: Network, examples: Iterator[Examples]) -> None:
        state["penalty"].copy_(self._penalty(state))
        weights, biases = fisher_information(
            network, state["weights"], state["biases"], examples, self.options.fisher_images, self.options.fisher == "sampled"
        )
        online = self.options.form == "online"
        if online:
            state["anchor_square"].zero_()
        for name, new in (("weights", weights), ("biases", biases)):
            theta, fisher, anchor = state[name], state[f"{name}_fisher"], state[f"{name}_anchor"]
            if online:  # all that is left of earlier tasks pulls to where this one ended
                new += self.h.gamma * fisher
                fisher.zero_()
                anchor.zero_()
            fisher.add_(new)
            anchor.addcmul_(new, theta)
            state["anchor_square"].add_((new * theta.square()).sum(dim=1, keepdim=True))

    def _penalty(self, state: State) -> Tensor:
        """(λ/2) Σ F (θ − θ*)², (K, 1); in float64, because large terms cancel."""
        total = state["anchor_square"].double()
        for name in ("weights", "biases"):
            theta, fisher, anchor = (state[n].double() for n in (name, f"{name}_fisher", f"{name}_anchor"))
            total = total + (fisher * theta.square() - 2 * anchor * theta).sum(dim=1, keepdim=True)
        return (self.h.lam / 2 * total).float()

    def describe(self, state: State) -> dict[str, Tensor]:
        return {"penalty": state["penalty"][:, 0]}


def _pull(grad: Tensor, theta: Tensor, fisher: Tensor, anchor: Tensor, lam: Tensor) -> None:
    """Add the gradient of the penalty, λ (ΣF θ − ΣFθ*), to a gradient (K, n), in place."""
    grad.copy_(grad + lam * (fisher * theta - anchor))


def fisher_information(
    network: Network, weights: Tensor, biases: Tensor, examples: Iterator[Examples], images: int, sampled: bool
) -> tuple[Tensor, Tensor]:
    """The diagonal Fisher information of K networks, (A∘A)ᵀ(D∘D) / N of each layer.

    Args:
        network: Their shape.
        weights, biases: (K, n_weights), (K, n_biases).
        examples: Minibatches.
        images: How many are averaged, at most, up to whole minibatches.
        sampled: Whether labels are drawn from the model; else they are the data's.

    Returns:
        The Fisher information of the weights, (K, n_weights), and of the biases, (K, n_biases).
    """
    weights_fisher, biases_fisher = torch.zeros_like(weights), torch.zeros_like(biases)
    weights_by_layer, biases_by_layer = network.layers(weights_fisher), network.offsets(biases_fisher)
    layers, seen = network.layers(weights), 0
    for x, y, key in examples:
        activity = network.activities(weights, biases, x)
        p = activity[-1].softmax(dim=-1)
        if sampled:
            u = uniform(key, x.batch)[..., None]
            y = (p.cumsum(dim=-1) < u).sum(dim=-1).clamp(max=p.shape[-1] - 1)
        d = -p
        d.scatter_add_(-1, y[..., None], torch.ones_like(y[..., None], dtype=d.dtype))
        for i in reversed(range(len(layers))):
            d2 = d.square()
            biases_by_layer[i].add_(d2.sum(dim=1, keepdim=True))
            if i:
                weights_by_layer[i].baddbmm_(activity[i - 1].square().transpose(1, 2), d2)
                d = torch.bmm(d, layers[i].transpose(1, 2)) * (activity[i - 1] > 0)
            else:
                x.squared().multiply_back(d2, weights_by_layer[0], add=True)
        seen += x.batch
        if seen >= images:
            break
    return weights_fisher / seen, biases_fisher / seen
