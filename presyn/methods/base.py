"""What a learning rule is to the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from presyn.options import Options, option

if TYPE_CHECKING:
    from presyn.network import Network

State = dict[str, Tensor]  # every tensor has the members as its first dimension
Examples = tuple[Tensor, Tensor, Tensor]  # inputs (K, B, pixels), labels (K, B), a key (K, 2)


@dataclass(frozen=True)
class MethodOptions(Options):
    """Options that every method has."""

    eta0: float = option(0.01, "learning rate", low=0.0, high=1e3, varies=True)


@dataclass(frozen=True)
class Traits:
    """What the training loop needs to know of a method with some options.

    Attributes:
        trains_biases: Whether it needs the gradient by the biases.
        test_samples: How often a test transmits; 1 for a deterministic network.
        draws: Networks, S, that one transmission samples for each member; rows of it are then K·S, those of a member together.
        averages: What a test averages over sampled networks: their softmax, or their accuracy.
    """

    trains_biases: bool = True
    test_samples: int = 1
    draws: int = 1
    averages: str = "softmax"


C = TypeVar("C", bound=MethodOptions)


class Method(ABC, Generic[C]):
    """A learning rule for K networks at once.

    A subclass sets `Options`, may set `published`, and writes `start`, `transmit` and `update` on flat tensors
    (K, n_weights). Options that vary inside a cohort are attributes of `self.h`, each (K, 1); the others are read
    from `self.options`.
    """

    Options: ClassVar[type[MethodOptions]]
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Benchmark name -> the settings of the paper or of the authors' code on it, of the method or of the benchmark; for the
    digits, ours."""
    joint: ClassVar[bool] = False
    """Whether it sees all tasks at once instead of one after the other."""

    @classmethod
    def preset(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that a named preset among the given values stands for; the preset's own name is not an option."""
        return {}

    preset_names: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def traits_of(cls, options: C) -> Traits:
        """What the training loop needs to know of the method with these options."""
        return Traits()

    def __init__(self, members: Sequence[C], device: torch.device, fuse: bool, batch: int = 1) -> None:
        """A rule for members that share all options that neither vary nor mix; batch is the images in a minibatch."""
        self.options: C = members[0]
        self.traits = self.traits_of(self.options)
        self.batch = batch
        columns = {
            name: torch.tensor([[getattr(m, name)] for m in members], dtype=torch.float32, device=device)
            for name in self.Options.varying()
        }
        self.h = Hyper(**columns)

    @abstractmethod
    def start(self, weights: Tensor, biases: Tensor) -> State:
        """The state before the first step, with at least 'weights' and 'biases', from the initial parameters."""

    def randomise(self, state: State, key: Tensor) -> None:  # noqa: B027
        """Called once after `start`, for what begins at random besides weights and biases; in place; key is (K, 2)."""

    def transmit(self, state: State, key: Tensor) -> tuple[Tensor, Tensor]:
        """The weights (K·S, n_weights) and biases (K·S, n_biases) that a forward pass uses; key is (K, 2)."""
        return state["weights"], state["biases"]

    @abstractmethod
    def update(
        self, state: State, grad: Tensor, bias_grad: Tensor | None, weights: Tensor, biases: Tensor, next_key: Tensor
    ) -> None:
        """One step, in place.

        Args:
            state: As made by `start`.
            grad: Gradient of the mean loss by the transmitted weights, (K·S, n_weights).
            bias_grad: By the biases, (K·S, n_biases), or None if the traits say that biases are not trained.
            weights: What `transmit` gave for this step's forward pass; receives what the next one transmits.
            biases: As weights.
            next_key: The key of the next forward pass, (K, 2).
        """

    def end_task(self, state: State, network: "Network", examples: Iterator[Examples]) -> None:  # noqa: B027
        """Called where a task ends, with minibatches of it, for rules that are told; in place."""

    def raised(self, state: State, grad: Tensor, weights: Tensor) -> Tensor:
        """Which synapses a step on these gradients pushes to release more often, (K, n_weights) bool, before it is made."""
        raise NotImplementedError

    def describe(self, state: State) -> dict[str, Tensor]:
        """Figures worth recording after each task, each (K,)."""
        return {}


class Hyper:
    """The varying options of a cohort as attributes, each (K, 1)."""

    def __init__(self, **columns: Tensor) -> None:
        self.__dict__.update(columns)

    def __getattr__(self, name: str) -> Tensor:  # only reached when the attribute is missing
        raise AttributeError(f"no varying option {name!r}")

    def __setattr__(self, name: str, value: Tensor) -> None:
        self.__dict__[name] = value
