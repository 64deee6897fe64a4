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
from presyn.options import option
from presyn.streams import uniform

# The departures of the printed text from the released code, which the defaults follow (PAPER section 2, rows 1-3 and 5).
PRINTED = {"p_step": "additive", "threshold": "gt", "p_up": 0.0516, "p_down": 0.0520, "bias": "none"}
RULES: dict[str, dict[str, Any]] = {"released": {}, "printed": PRINTED}


@dataclass(frozen=True)
class PresynapticOptions(MethodOptions):
    """Options of presynaptic consolidation; the defaults are the authors' released lifelong settings."""

    p_up: float = option(0.0520, "step of p when the gradient is large", low=0.0, high=1.0, varies=True)
    p_down: float = option(0.0516, "step of p when the gradient is small", low=0.0, high=1.0, varies=True)
    g_lim: float = option(0.001, "a gradient from here on is large", low=0.0, high=1e6, varies=True)
    p_freeze: float = option(0.9353, "p is frozen once it has reached this; 1 never freezes", low=0.0, high=1.0, varies=True)
    p_min: float = option(0.25, "lower limit and initial value of p", low=0.01, high=1.0, varies=True)
    modulate_lr: bool = option(True, "whether eta = eta0 (1 - p), else eta0 (Eq. 5)", mixes=True)
    p_step: str = option("scaled", "whether the step of p is multiplied by 1 - p", choices=("scaled", "additive"))
    threshold: str = option("ge", "whether |g| = g_lim counts as large", choices=("ge", "gt"))
    bias: str = option("fixed", "biases: none, random and fixed, or trained", choices=("none", "fixed", "trained"))
    release: float | None = option(
        None, "release with this probability while a ghost p evolves; none releases with p", low=0.01, high=1.0, mixes=True
    )
    ghost_scale: str = option(
        "ghost",
        "with release set: divide by the release probability or by the ghost p",
        choices=("release", "ghost"),
        mixes=True,
    )
    normalise: bool = option(True, "whether a transmitted weight is divided by p, so that its mean is w̄", mixes=True)
    samples: int = option(10, "sampled networks that a test averages over", low=1, high=1000)
    l2: float = option(
        0.0,
        "strength of the l2 penalty, on w̄ and on trained biases (PAPER section 6)",
        low=0.0,
        high=1e3,
        varies=True,
        neutral=0.0,
    )
    p_init: str = option(
        "p_min",
        "p at the start: p_min, or uniform from there to 1 (appendix 1d)",
        choices=("p_min", "uniform"),
        neutral="p_min",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p_init == "uniform" and self.release is not None:
            raise PresynError("p_init uniform does not go with release, where the ghost p starts at the release probability.")


class Presynaptic(Method[PresynapticOptions]):
    """Presynaptic consolidation for K networks."""

    Options = PresynapticOptions
    preset_names = ("rule",)
    published = {
        **{b: {"eta0": 0.01} for b in ("permuted-mnist", "permuted-fashion", "continuous-permuted-mnist")},
        **{b: {"eta0": 0.001} for b in ("split-mnist", "split-fashion")},
        # Ours, not the paper's: larger steps, because runs on the digits are a hundred times shorter.
        **{b: {"eta0": 0.05} for b in ("permuted-digits", "split-digits")},
        # The energy experiments: no consolidation by learning rate, no freezing (PAPER section 4).
        "mnist": {"p_up": 0.07, "p_down": 0.07, "p_freeze": 1.0, "eta0": 0.05, "modulate_lr": False},
        "digits": {"p_up": 0.07, "p_down": 0.07, "p_freeze": 1.0, "eta0": 0.1, "modulate_lr": False},  # ours
    }

    @classmethod
    def preset(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        rule = values.get("rule", "released")
        if not isinstance(rule, str) or rule not in RULES:
            raise PresynError(f"rule must be one of {', '.join(RULES)}, not {rule!r}.")
        return RULES[rule]

    @classmethod
    def traits_of(cls, options: PresynapticOptions) -> Traits:
        return Traits(trains_biases=options.bias == "trained", test_samples=options.samples)

    def __init__(self, members: Sequence[PresynapticOptions], device: torch.device, fuse: bool, batch: int = 1) -> None:
        super().__init__(members, device, fuse, batch)
        self._mixed = _mixed(members, device)
        self._l2 = self.h.l2 if any(m.l2 for m in members) else None  # without a penalty the program is as it was before
        # p may reach 1 under the additive step, and p_freeze = 1 means that nothing ever freezes.
        self.h.p_freeze = torch.where(self.h.p_freeze < 1, self.h.p_freeze, torch.inf)
        self._silent = torch.tensor(SILENT, device=device)
        self._transmit = fused(_transmit, fuse, device)
        self._update = fused(_update, fuse, device)

    def start(self, weights: Tensor, biases: Tensor) -> State:
        o, m = self.options, self._mixed
        # The ghost p starts at the release probability, as in the released code.
        if m is not None:
            initial_p = torch.where(m.fixed, m.release, self.h.p_min)
        else:
            initial_p = self.h.p_min if o.release is None else torch.full_like(self.h.p_min, o.release)
        # Without the division by p the initial strengths are scaled up instead.
        if m is not None:
            weights = torch.where(m.normalised, weights, weights / initial_p)
        elif not o.normalise:
            weights = weights / initial_p
        if o.bias == "none":
            biases = torch.zeros_like(biases)
        return {"weights": weights.clone(), "biases": biases.clone(), "p": initial_p.expand_as(weights).clone()}

    def randomise(self, state: State, key: Tensor) -> None:
        if self.options.p_init == "uniform":
            p = state["p"]
            p.copy_(self.h.p_min + (1 - self.h.p_min) * uniform(key, p.shape[1]))

    def transmit(self, state: State, key: Tensor) -> tuple[Tensor, Tensor]:
        sent = self._transmit(self.options, self._mixed, state["weights"], state["p"], key, self._silent)
        return sent, state["biases"]

    def update(
        self, state: State, grad: Tensor, bias_grad: Tensor | None, weights: Tensor, biases: Tensor, next_key: Tensor
    ) -> None:
        h = self.h
        self._update(
            self.options, self._mixed, state["weights"], state["p"], grad, weights, next_key,
            h.p_up, h.p_down, h.g_lim, h.p_freeze, h.p_min, h.eta0, self._silent, self._l2,
        )  # fmt: skip
        if bias_grad is not None:
            if self._l2 is not None:
                bias_grad = bias_grad + self._l2 * state["biases"]
            state["biases"].sub_(h.eta0 * bias_grad)

    def raised(self, state: State, grad: Tensor, weights: Tensor) -> Tensor:
        return _large(self.options, _gradient(self.options, self._mixed, state["p"], grad, weights), self.h.g_lim)

    def describe(self, state: State) -> dict[str, Tensor]:
        p = state["p"]
        return {"mean_p": p.mean(dim=1), "frozen": (p >= self.h.p_freeze).float().mean(dim=1)}


# A synapse that does not release transmits -0.0, one that does +0.0 or a number: so a pass over the transmitted weights
# knows who released without a mask in memory, or hashing it again (a third of the update). A weight is never -0.0 itself:
# it starts as another number, and a difference of unequal numbers, or of equal ones, is not -0.0 when rounded to nearest.
# The functions below read it from memory: as a constant, some versions of Triton make it +0.0.
SILENT = -0.0


def _released(transmitted: Tensor) -> Tensor:
    """Which synapses release, r, from what they transmit."""
    return transmitted.view(torch.int32) != torch.iinfo(torch.int32).min  # the bits of -0.0


class Mixed(NamedTuple):
    """The options of members that differ in them, each (K, 1): bool, but for the release probability."""

    modulated: Tensor
    normalised: Tensor
    fixed: Tensor  # whether they release with a fixed probability
    release: Tensor
    by_release: Tensor  # and divide by it


def _mixed(members: Sequence[PresynapticOptions], device: torch.device) -> Mixed | None:
    """The options of a mixed cohort; None where all members agree, whose program is as short as it can be.

    With a fixed release they are columns all the same: a GPU divides by a number in another way than by a tensor, and a run
    must not depend on who is packed with it.
    """
    names = PresynapticOptions.mixing()
    if len({tuple(getattr(m, name) for name in names) for m in members}) == 1 and members[0].release is None:
        return None

    def column(values: Sequence[Any], kind: torch.dtype = torch.bool) -> Tensor:
        return torch.tensor([[v] for v in values], dtype=kind, device=device)

    return Mixed(
        column([m.modulate_lr for m in members]),
        column([m.normalise for m in members]),
        column([m.release is not None for m in members]),
        column([m.release or 0.0 for m in members], torch.float32),
        column([m.release is not None and m.ghost_scale == "release" for m in members]),
    )


def _scale(o: PresynapticOptions, mixed: Mixed | None, p: Tensor) -> Tensor | float:
    """What a transmitted weight is divided by."""
    if mixed is not None:
        return torch.where(mixed.normalised, torch.where(mixed.by_release, mixed.release, p), 1.0)
    return (p if o.release is None or o.ghost_scale == "ghost" else o.release) if o.normalise else 1.0


def _transmit(o: PresynapticOptions, mixed: Mixed | None, w: Tensor, p: Tensor, key: Tensor, silent: Tensor) -> Tensor:
    chance: Tensor | float = p if o.release is None else o.release
    if mixed is not None:
        chance = torch.where(mixed.fixed, mixed.release, p)
    r = uniform(key, p.shape[1]) < chance
    return torch.where(r, w / _scale(o, mixed, p), silent)


def _gradient(o: PresynapticOptions, mixed: Mixed | None, p: Tensor, grad: Tensor, transmitted: Tensor) -> Tensor:
    """g, by w̄, from the gradient by the transmitted weight."""
    return torch.where(_released(transmitted), grad / _scale(o, mixed, p), 0.0)


def _large(o: PresynapticOptions, g: Tensor, g_lim: Tensor) -> Tensor:
    return g.abs() >= g_lim if o.threshold == "ge" else g.abs() > g_lim


def _update(
    o: PresynapticOptions, mixed: Mixed | None, w: Tensor, p: Tensor, grad: Tensor, transmitted: Tensor, next_key: Tensor,
    p_up: Tensor, p_down: Tensor, g_lim: Tensor, p_freeze: Tensor, p_min: Tensor, eta0: Tensor, silent: Tensor,
    l2: Tensor | None,
) -> None:  # fmt: skip
    """The rule, the next masks and the next transmitted weights in one pass over memory; in place."""
    g = _gradient(o, mixed, p, grad, transmitted)
    large = _large(o, g, g_lim)
    step = torch.where(large, p_up, -p_down)
    if o.p_step == "scaled":
        step = step * (1 - p)
    new_p = torch.where(p >= p_freeze, p, torch.maximum(p + step, p_min).clamp(max=1.0))  # Eq. 4
    eta = eta0 * (1 - p) if o.modulate_lr else eta0  # Eq. 5
    if mixed is not None:
        eta = torch.where(mixed.modulated, eta0 * (1 - p), eta0)
    new_w = w - eta * (g if l2 is None else g + l2 * w)  # Eq. 3
    transmitted.copy_(_transmit(o, mixed, new_w, new_p, next_key, silent))
    w.copy_(new_w)
    p.copy_(new_p)
