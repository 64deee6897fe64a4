"""Plain gradient descent on a deterministic network: No Consolidation, and Joint training as its upper bound.

    sgd:   θ ← θ − η0 g,  g: gradient of the loss, plus λ θ       λ: l2
    adam:  m ← β1 m + (1 − β1) g,  v ← β2 v + (1 − β2) g²,
           θ ← θ − η0 m̂ / (√v̂ + ε),  m̂ = m / (1 − β1^t),  v̂ = v / (1 − β2^t)

The optimiser of each benchmark, and its state kept across tasks, are the authors' (released code).

References: Kingma & Ba (2015), Adam, algorithm 1, with PyTorch's defaults β = (0.9, 0.999), ε = 1e-8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from presyn.fuse import fused
from presyn.methods.base import Method, MethodOptions, State
from presyn.options import option

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class SGDOptions(MethodOptions):
    """Options of gradient descent."""

    eta0: float = option(1e-3, "learning rate", low=0.0, high=1e3, varies=True, source="released code, for each benchmark")
    optimizer: str = option("sgd", "the optimiser", choices=("sgd", "adam"), source="released code, for each benchmark")
    l2: float = option(
        0.0, "strength of the l2 penalty, on weights and biases", low=0.0, high=1e3, varies=True, neutral=0.0, source="Fig. 1"
    )


class SGD(Method[SGDOptions]):
    """No Consolidation for K networks."""

    Options = SGDOptions
    published = {
        "permuted-mnist": {"optimizer": "sgd", "eta0": 1e-3},
        "permuted-fashion": {"optimizer": "adam", "eta0": 1e-6},
        "split-mnist": {"optimizer": "adam", "eta0": 1e-6},
        "split-fashion": {"optimizer": "sgd", "eta0": 1e-4},
        "mnist": {"optimizer": "sgd", "eta0": 0.08},
        # Those of the digits are ours, not the paper's.
        "permuted-digits": {"optimizer": "sgd", "eta0": 0.03},
        "split-digits": {"optimizer": "sgd", "eta0": 0.03},
        "digits": {"optimizer": "sgd", "eta0": 0.16},
    }

    def __init__(self, members: Sequence[SGDOptions], device: torch.device, fuse: bool, batch: int = 1) -> None:
        super().__init__(members, device, fuse, batch)
        self._decays = any(m.l2 for m in members)
        self._adam = fused(_adam, fuse, device)

    def start(self, weights: Tensor, biases: Tensor) -> State:
        state = {"weights": weights.clone(), "biases": biases.clone()}
        if self.options.optimizer == "adam":
            state["t"] = torch.zeros(len(weights), 1, device=weights.device)
            for name in ("weights", "biases"):
                state[f"{name}_m"] = torch.zeros_like(state[name])
                state[f"{name}_v"] = torch.zeros_like(state[name])
        return state

    def update(
        self, state: State, grad: Tensor, bias_grad: Tensor | None, weights: Tensor, biases: Tensor, next_key: Tensor
    ) -> None:
        assert bias_grad is not None
        if self._decays:
            grad, bias_grad = grad + self.h.l2 * state["weights"], bias_grad + self.h.l2 * state["biases"]
        if self.options.optimizer == "sgd":
            for name, g in (("weights", grad), ("biases", bias_grad)):
                state[name].addcmul_(self.h.eta0, g, value=-1)
            return
        state["t"].add_(1)
        # Powers in float64: float32 ones lose a third of the digits of 1 - 0.999^t.
        t = state["t"].double()
        unbias = (1 - BETA1**t).float(), (1 - BETA2**t).float()
        for name, g in (("weights", grad), ("biases", bias_grad)):
            self._adam(state[name], state[f"{name}_m"], state[f"{name}_v"], g, self.h.eta0, *unbias)


def _adam(theta: Tensor, m: Tensor, v: Tensor, g: Tensor, eta0: Tensor, unbias_m: Tensor, unbias_v: Tensor) -> None:
    """A step of θ, m and v, (K, n), in place; unbias_m and unbias_v are 1 − β1^t and 1 − β2^t, (K, 1)."""
    m.copy_(BETA1 * m + (1 - BETA1) * g)
    v.copy_(BETA2 * v + (1 - BETA2) * g * g)
    theta.copy_(theta - eta0 * (m / unbias_m) / ((v / unbias_v).sqrt() + EPS))


@dataclass(frozen=True)
class JointOptions(SGDOptions):
    """Options of joint training."""

    optimizer: str = option("adam", "the optimiser", choices=("sgd", "adam"), source="released code")


class Joint(SGD):
    """All tasks at once: what a network of this size can learn when nothing has to be remembered."""

    Options: ClassVar[type[JointOptions]] = JointOptions
    published = {}
    joint = True
