"""A perceptron on random patterns, and the same with presynaptic consolidation (Fig. 5b, c; released notebook).

    ŷ = sign(Σ x r w / p),  sign(0) = 1,  r ~ Bernoulli(p) for each pattern       standard: r = p = 1
    u = mean over the minibatch of (y − ŷ) x r
    w ← w + η0 u (1 − p)                                                          standard: w ← w + η0 u
    p ← clamp(p ± p_step (1 − p), p_min, p_freeze), up if |u| > g_lim; no longer once it has reached p_freeze

Both updates use u and the p from before the step. Neither the 1/p of the transmitted weight nor the ½ of (y − ŷ) is in u, as in
the released notebook: u is a multiple of 2/batch, so g_lim = 0.1 means any net update. Weights start from 0.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from presyn.methods.base import Method, MethodOptions, State, Traits
from presyn.options import option
from presyn.random_numbers import uniform


@dataclass(frozen=True)
class PerceptronOptions(MethodOptions):
    """Options of the perceptron."""

    eta0: float = option(1.0, "learning rate", low=0.0, high=1e3, varies=True, source="released notebook")


class Perceptron(Method[PerceptronOptions]):
    """K perceptrons, which always release; the base of those that do not."""

    Options: ClassVar[type[PerceptronOptions]] = PerceptronOptions

    def start(self, weights: Tensor, biases: Tensor) -> State:
        return {"weights": torch.zeros_like(weights), "biases": torch.zeros_like(biases)}

    def answer(self, state: State, x: Tensor, key: Tensor) -> Tensor:
        """Predictions, 1 or -1, (K, B), of patterns x (K, B, N)."""
        # Exact sums are multiples of 2 η0 / batch. What is nearer to 0 than a quarter of that is a tie, rounded.
        tie = 0.5 * self.h.eta0 / self.batch
        return _sign((x * state["weights"][:, None]).sum(dim=-1) + tie)

    def learn(self, state: State, x: Tensor, y: Tensor, key: Tensor) -> Tensor:
        """One step on patterns x (K, B, N) with labels y (K, B), in place; returns what was predicted, (K, B)."""
        predicted = self.answer(state, x, key)
        state["weights"].add_(self.h.eta0 * _update(x, y, predicted))
        return predicted

    def update(self, *_: object) -> None:
        """Not called: a perceptron learns by `learn`, without gradients."""
        raise NotImplementedError


@dataclass(frozen=True)
class PresynapticPerceptronOptions(PerceptronOptions):
    """Options of the presynaptic perceptron; the defaults are the released notebook's."""

    p_step: float = option(0.2, "step of p, times 1 - p", low=0.0, high=1.0, varies=True, source="released notebook")
    g_lim: float = option(0.1, "an update above this is large", low=0.0, high=1e6, varies=True, source="released notebook")
    p_min: float = option(
        0.25, "lower limit and initial value of p", low=0.01, high=1.0, varies=True, source="released notebook"
    )
    p_freeze: float = option(
        0.9, "upper limit of p, from which it is frozen", low=0.01, high=1.0, varies=True, source="released notebook"
    )
    samples: int = option(
        10, "sampled networks of which a test takes the majority", low=1, high=1000, source="released notebook"
    )


class PresynapticPerceptron(Perceptron):
    """K perceptrons with presynaptic consolidation."""

    Options: ClassVar[type[PresynapticPerceptronOptions]] = PresynapticPerceptronOptions

    @classmethod
    def make_traits(cls, options: MethodOptions) -> Traits:
        assert isinstance(options, PresynapticPerceptronOptions)
        return Traits(transmissions_per_test=options.samples)

    def start(self, weights: Tensor, biases: Tensor) -> State:
        return {**super().start(weights, biases), "p": self.h.p_min.expand_as(weights).clone()}

    def answer(self, state: State, x: Tensor, key: Tensor) -> Tensor:
        return self._transmit(state, x, key)[0]

    def _transmit(self, state: State, x: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions (K, B), and the inputs that were released, x r, (K, B, N)."""
        p = state["p"]
        u = uniform(key, x.shape[1] * x.shape[2]).view_as(x)
        released = torch.where(u < p[:, None], x, 0.0)
        return _sign((released * (state["weights"] / p)[:, None]).sum(dim=-1)), released

    def learn(self, state: State, x: Tensor, y: Tensor, key: Tensor) -> Tensor:
        h, w, p = self.h, state["weights"], state["p"]
        predicted, released = self._transmit(state, x, key)
        u = _update(released, y, predicted)
        w.add_(h.eta0 * u * (1 - p))
        step = torch.where(u.abs() > h.g_lim, h.p_step, -h.p_step) * (1 - p)
        moved = torch.minimum(torch.maximum(p + step, h.p_min), h.p_freeze)
        p.copy_(torch.where(p >= h.p_freeze, p, moved))
        return predicted

    def describe(self, state: State) -> dict[str, Tensor]:
        p = state["p"]
        return {"mean_p": p.mean(dim=1), "frozen": (p >= self.h.p_freeze).float().mean(dim=1)}


def _sign(total: Tensor) -> Tensor:
    """1 from 0 on, else -1."""
    return torch.where(total >= 0, 1.0, -1.0)


def _update(x: Tensor, y: Tensor, predicted: Tensor) -> Tensor:
    """u, the mean of (y − ŷ) x over a minibatch, (K, N); arguments (K, B, N), (K, B) and (K, B)."""
    return ((y - predicted)[..., None] * x).mean(dim=1)
