"""Presynaptic consolidation: release probabilities that learn how often a synapse speaks.

    w = w̄ r / p,  r ~ Bernoulli(p)                              transmission, from Eq. 1
    g = ∂L/∂w̄ = (∂L/∂w) r / p
    w̄ ← w̄ − η(p) (g + λ w̄),  η(p) = η0 (1 − p)                  Eqs. 3 and 5; λ: l2, of the energy experiments
    p ← clamp(p + p_up if |g| > g_lim else p − p_down)           Eq. 4, to [p_min, 1]
    p no longer changes once it has reached p_freeze             (freezing)

Both updates use the gradient and the p from before the step. The authors' code departs from the printed rule; every
departure is an option here, and `rule` names the two readings: `released` (the code, which made Table 1) and `printed`.

References: Schug, Benzing & Steger (2021), eLife 10:e69884, Methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from presyn.errors import PresynError
from presyn.fuse import fused
from presyn.methods.base import Method, MethodOptions, State, Traits
from presyn.network import Network
from presyn.options import option
from presyn.random_numbers import uniform

# The departures of the printed text from the released code, which the defaults follow (docs/tour.md).
PRINTED = {"p_step": "additive", "threshold": "gt", "p_up": 0.0516, "p_down": 0.0520, "bias": "none"}
RULES: dict[str, dict[str, Any]] = {"released": {}, "printed": PRINTED}


@dataclass(frozen=True)
class PresynapticOptions(MethodOptions):
    """Options of presynaptic consolidation; the defaults are the authors' released lifelong settings."""

    p_up: float = option(
        0.0520, "step of p when the gradient is large", low=0.0, high=1.0, varies=True, source="Eq. 4; released code"
    )
    p_down: float = option(
        0.0516, "step of p when the gradient is small", low=0.0, high=1.0, varies=True, source="Eq. 4; released code"
    )
    g_lim: float = option(0.001, "a gradient from here on is large", low=0.0, high=1e6, varies=True, source="Eq. 4")
    p_freeze: float = option(
        0.9353,
        "p is frozen once it has reached this; 1 never freezes",
        low=0.0,
        high=1.0,
        varies=True,
        source="Methods; released code",
    )
    p_min: float = option(0.25, "lower limit and initial value of p", low=0.01, high=1.0, varies=True, source="Eq. 4")
    modulate_lr: bool = option(True, "whether eta = eta0 (1 - p), else eta0", source="Eq. 5; Fig. 5a")
    p_step: str = option(
        "scaled",
        "whether the step of p is multiplied by 1 - p",
        choices=("scaled", "additive"),
        source="released code; Eq. 4 adds",
    )
    threshold: str = option(
        "ge", "whether |g| = g_lim counts as large", choices=("ge", "gt"), source="released code; Eq. 4 has gt"
    )
    bias: str = option(
        "fixed",
        "biases: none, random and fixed, or trained",
        choices=("none", "fixed", "trained"),
        source="released code; Methods has none",
    )
    release: float | None = option(
        None,
        "release with this probability while a ghost p evolves; none releases with p",
        low=0.01,
        high=1.0,
        source="Fig. 5a; 0.5 there",
    )
    ghost_scale: str = option(
        "ghost",
        "with release set: divide by the release probability or by the ghost p",
        choices=("release", "ghost"),
        source="released code",
    )
    normalise: bool = option(
        True, "whether a transmitted weight is divided by p, so that its mean is w̄", source="Eq. 1; Fig. 5a"
    )
    samples: int = option(10, "sampled networks that a test averages over", low=1, high=1000, source="Methods")
    l2: float = option(
        0.0,
        "strength of the l2 penalty, on w̄ and on trained biases",
        low=0.0,
        high=1e3,
        varies=True,
        neutral=0.0,
        source="Fig. 1; released code",
    )
    p_init: str = option(
        "p_min",
        "p at the start: p_min, or uniform from there to 1",
        choices=("p_min", "uniform"),
        neutral="p_min",
        source="Methods; appendix 1d has uniform",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p_init == "uniform" and self.release is not None:
            raise PresynError("p_init uniform does not go with release, where the ghost p starts at the release probability.")


class Hyperparameters(NamedTuple):
    """The numbers of the rule, each a column (K, 1) with a value for every member; named as the options.

    Attributes:
        p_freeze: Infinite where nothing ever freezes.
        release: The fixed probability of release; None where synapses release with p.
        l2: None where no member has a penalty: the program is shorter without it.
    """

    p_up: Tensor
    p_down: Tensor
    g_lim: Tensor
    p_freeze: Tensor
    p_min: Tensor
    eta0: Tensor
    release: Tensor | None
    l2: Tensor | None


class Presynaptic(Method[PresynapticOptions]):
    """Presynaptic consolidation for K networks."""

    Options = PresynapticOptions
    preset_names = {
        "rule": "released, the authors' code and the default, or printed, the paper's text: " + ", ".join(PRINTED) + " at once"
    }
    published = {
        "permuted-mnist": {"eta0": 0.01},
        "permuted-fashion": {"eta0": 0.01},
        "continuous-permuted-mnist": {"eta0": 0.01},
        "split-mnist": {"eta0": 0.001},
        "split-fashion": {"eta0": 0.001},
        # The digits' settings are ours, not the paper's: larger steps, because runs on them are a hundred times shorter.
        "permuted-digits": {"eta0": 0.05},
        "split-digits": {"eta0": 0.05},
        "digits": {"p_up": 0.07, "p_down": 0.07, "p_freeze": 1.0, "eta0": 0.1, "modulate_lr": False},
        # The energy experiments have no consolidation by learning rate and no freezing (Methods).
        "mnist": {"p_up": 0.07, "p_down": 0.07, "p_freeze": 1.0, "eta0": 0.05, "modulate_lr": False},
    }
    h: Hyperparameters

    @classmethod
    def preset(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        rule = values.get("rule", "released")
        if not isinstance(rule, str) or rule not in RULES:
            raise PresynError(f"rule must be one of {', '.join(RULES)}, not {rule!r}.")
        return RULES[rule]

    @classmethod
    def make_traits(cls, options: PresynapticOptions) -> Traits:
        return Traits(trains_biases=options.bias == "trained", transmissions_per_test=options.samples)

    def __init__(self, members: Sequence[PresynapticOptions], device: torch.device, fuse: bool, batch: int = 1) -> None:
        super().__init__(members, device, fuse, batch)
        self._silent = torch.tensor(SILENT, device=device)
        self._transmit = fused(_transmit, fuse, device)
        self._update = fused(_update, fuse, device)

    def hyperparameters(self, members: Sequence[PresynapticOptions], device: torch.device) -> Hyperparameters:
        h = super().hyperparameters(members, device)
        return Hyperparameters(
            p_up=h.p_up,
            p_down=h.p_down,
            g_lim=h.g_lim,
            # p may reach 1 under the additive step, and p_freeze = 1 means that nothing ever freezes.
            p_freeze=torch.where(h.p_freeze < 1, h.p_freeze, torch.inf),
            p_min=h.p_min,
            eta0=h.eta0,
            # A column although all members share it: a GPU divides by a tensor in another way than by a number.
            release=None if members[0].release is None else torch.full_like(h.eta0, members[0].release),
            l2=h.l2 if any(m.l2 for m in members) else None,
        )

    def start(self, weights: Tensor, biases: Tensor) -> State:
        h, options = self.h, self.options
        # The ghost p starts at the release probability, as in the released code.
        p = (h.p_min if h.release is None else h.release).expand_as(weights).clone()
        # Without the division by p the initial strengths are scaled up instead.
        weights = weights.clone() if options.normalise else weights / p
        biases = torch.zeros_like(biases) if options.bias == "none" else biases.clone()
        return {"weights": weights, "biases": biases, "p": p}

    def randomise(self, state: State, key: Tensor, network: Network) -> None:
        if self.options.p_init == "uniform":
            p, p_min = state["p"], self.h.p_min
            p.copy_(p_min + (1 - p_min) * uniform(key, p.shape[1]))

    def transmit(self, state: State, key: Tensor) -> tuple[Tensor, Tensor]:
        transmitted = self._transmit(self.options, self.h, state["weights"], state["p"], key, self._silent)
        return transmitted, state["biases"]

    def update(
        self, state: State, grad: Tensor, bias_grad: Tensor | None, weights: Tensor, biases: Tensor, next_key: Tensor
    ) -> None:
        self._update(self.options, self.h, state["weights"], state["p"], grad, weights, next_key, self._silent)
        if bias_grad is not None:
            state["biases"].sub_(self.h.eta0 * _penalised(self.h, bias_grad, state["biases"]))

    def find_raised_synapses(self, state: State, grad: Tensor, weights: Tensor) -> Tensor:
        return _is_large(self.options, self.h, _gradient(self.options, self.h, state["p"], grad, weights))

    def find_frozen_synapses(self, state: State) -> Tensor:
        """As of Method; without freezing, those that the default p_freeze would have frozen."""
        limit = torch.where(self.h.p_freeze.isfinite(), self.h.p_freeze, PresynapticOptions.p_freeze)
        return state["p"] >= limit

    def mean_weights(self, state: State) -> Tensor:
        """As of Method: w r / p has the mean w̄, and w r, without the division, has p w̄."""
        p, release = state["p"], self.h.release
        if not self.options.normalise:
            return state["weights"] * (p if release is None else release)
        if release is None or self.options.ghost_scale == "release":
            return state["weights"]
        return state["weights"] * (release / p)

    def describe(self, state: State) -> dict[str, Tensor]:
        p = state["p"]
        return {"mean_p": p.mean(dim=1), "frozen": (p >= self.h.p_freeze).float().mean(dim=1)}


# A synapse that does not release transmits -0.0, one that does +0.0 or another number. So the update, which reads what was
# transmitted, sees who released without a mask in memory, and without hashing the masks again (a third of its time). A weight
# is never -0.0 itself: it starts as another number, and a difference of two numbers that is 0 is +0.0 when rounded to nearest.
# The functions below read SILENT from memory: as a constant, some versions of Triton make it +0.0.
SILENT = -0.0


def _released(transmitted: Tensor) -> Tensor:
    """Which synapses released, r, (K, n_weights) bool, from what they transmitted."""
    return transmitted.view(torch.int32) != torch.iinfo(torch.int32).min  # the bits of -0.0


def _divisor(options: PresynapticOptions, h: Hyperparameters, p: Tensor) -> Tensor | float:
    """What a transmitted weight is divided by, so that its mean is w̄: p, (K, n_weights), but for the controls of Fig. 5a."""
    if not options.normalise:
        return 1.0
    return h.release if h.release is not None and options.ghost_scale == "release" else p


def _transmit(options: PresynapticOptions, h: Hyperparameters, w: Tensor, p: Tensor, key: Tensor, silent: Tensor) -> Tensor:
    """w̄ r / p, r ~ Bernoulli(p), (K, n_weights), from w̄ and p, (K, n_weights), and a key of random numbers, (K, 2)."""
    r = uniform(key, p.shape[1]) < (p if h.release is None else h.release)
    return torch.where(r, w / _divisor(options, h, p), silent)


def _gradient(options: PresynapticOptions, h: Hyperparameters, p: Tensor, grad: Tensor, transmitted: Tensor) -> Tensor:
    """g = (∂L/∂w) r / p, (K, n_weights), from ∂L/∂w and the w that was transmitted, both (K, n_weights)."""
    return torch.where(_released(transmitted), grad / _divisor(options, h, p), 0.0)


def _penalised(h: Hyperparameters, g: Tensor, theta: Tensor) -> Tensor:
    """g + λ θ, of the shape of g and of the parameters θ that it is the gradient by."""
    return g if h.l2 is None else g + h.l2 * theta


def _is_large(options: PresynapticOptions, h: Hyperparameters, g: Tensor) -> Tensor:
    """Whether |g| is large, so that p rises, (K, n_weights) bool."""
    return g.abs() >= h.g_lim if options.threshold == "ge" else g.abs() > h.g_lim


def _update(
    options: PresynapticOptions,
    h: Hyperparameters,
    w: Tensor,
    p: Tensor,
    grad: Tensor,
    transmitted: Tensor,
    next_key: Tensor,
    silent: Tensor,
) -> None:
    """A step of w̄ and p, and what the synapses transmit next, in one pass over memory.

    Args:
        options: Which rule it is; all members share it.
        h: The numbers of the rule, of every member.
        w, p: w̄ and p, (K, n_weights), changed in place.
        grad: ∂L/∂w, (K, n_weights).
        transmitted: What grad is by, (K, n_weights); receives what is transmitted next.
        next_key: Of the next release masks, (K, 2).
        silent: SILENT.
    """
    g = _gradient(options, h, p, grad, transmitted)
    step = torch.where(_is_large(options, h, g), h.p_up, -h.p_down)
    if options.p_step == "scaled":
        step = step * (1 - p)
    new_p = torch.where(p >= h.p_freeze, p, torch.maximum(p + step, h.p_min).clamp(max=1.0))  # Eq. 4, and freezing
    eta = h.eta0 * (1 - p) if options.modulate_lr else h.eta0  # Eq. 5
    new_w = w - eta * _penalised(h, g, w)  # Eq. 3
    transmitted.copy_(_transmit(options, h, new_w, new_p, next_key, silent))
    w.copy_(new_w)
    p.copy_(new_p)
