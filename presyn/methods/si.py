"""Synaptic intelligence: a quadratic pull back, by how much each parameter lowered the loss of earlier tasks while it moved.

    L = L_task + c Σ_i Ω_i (θ_i − θ̃_i)²                         the loss of later tasks; θ̃: where the last one ended
    ω ← ω − g (θ_new − θ_old),  g = ∂L_task/∂θ                   in each step
    Ω ← max(Ω + ω / ((θ − θ_start)² + ξ), 0),  ω ← 0,  θ̃ ← θ      where a task ends; θ_start: where it began

References: Zenke, Poole & Ganguli (2017), ICML 70:3987, Eqs. 3 to 5; that Ω is kept from falling below 0 is in their code.
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


@dataclass(frozen=True)
class SIOptions(SGDOptions):
    """Options of synaptic intelligence."""

    eta0: float = option(1e-3, "learning rate", low=0.0, high=1e3, varies=True, source="Zenke et al. 2017, Permuted MNIST")
    optimizer: str = option("adam", "the optimiser", choices=("sgd", "adam"), source="Zenke et al. 2017")
    l2: float = option(
        0.0, "strength of an l2 penalty, on weights and biases", low=0.0, high=1e3, varies=True, neutral=0.0, source="ours"
    )
    c: float = option(
        0.1, "strength of the pull back", low=0.0, high=1e12, varies=True, source="Zenke et al. 2017, Permuted MNIST"
    )
    xi: float = option(
        0.1, "keeps Omega finite where a parameter did not move", low=1e-12, high=1e6, varies=True, source="Zenke et al. 2017"
    )


class SI(SGD):
    """Synaptic intelligence for K networks."""

    Options = SIOptions
    options: SIOptions
    published = {}  # the paper does not compare with it; its parameters are searched

    def __init__(self, members: Sequence[SIOptions], device: torch.device, fuse: bool, batch: int = 1) -> None:
        super().__init__(members, device, fuse, batch)
        self._pulled = fused(_pulled, fuse, device)

    def start(self, weights: Tensor, biases: Tensor) -> State:
        state = super().start(weights, biases)
        for name in ("weights", "biases"):
            state[f"{name}_importance"] = torch.zeros_like(state[name])  # Ω
            state[f"{name}_path"] = torch.zeros_like(state[name])  # ω
            state[f"{name}_anchor"] = state[name].clone()  # θ̃, which is also where the present task began
        return state

    def update(
        self, state: State, grad: Tensor, bias_grad: Tensor | None, weights: Tensor, biases: Tensor, next_key: Tensor
    ) -> None:
        assert bias_grad is not None
        gradients = {"weights": grad, "biases": bias_grad}
        before = {name: state[name].clone() for name in gradients}
        total = {
            name: self._pulled(g, state[name], state[f"{name}_importance"], state[f"{name}_anchor"], self.h.c)
            for name, g in gradients.items()
        }
        super().update(state, total["weights"], total["biases"], weights, biases, next_key)
        for name, g in gradients.items():
            state[f"{name}_path"].addcmul_(g, state[name] - before[name], value=-1)

    def end_task(self, state: State, network: Network, examples: Iterator[Examples]) -> None:
        for name in ("weights", "biases"):
            theta, importance, path, anchor = (state[f"{name}{part}"] for part in ("", "_importance", "_path", "_anchor"))
            importance.add_(path / ((theta - anchor).square() + self.h.xi)).clamp_(min=0)
            path.zero_()
            anchor.copy_(theta)

    def describe(self, state: State) -> dict[str, Tensor]:
        return {"mean_importance": state["weights_importance"].mean(dim=1)}


def _pulled(grad: Tensor, theta: Tensor, importance: Tensor, anchor: Tensor, c: Tensor) -> Tensor:
    """The gradient of the whole loss, g + 2 c Ω (θ − θ̃), (K, n), from that of the task, (K, n)."""
    return grad + 2 * c * importance * (theta - anchor)
