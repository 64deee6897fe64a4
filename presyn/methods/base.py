"""What a learning rule is to the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from presyn.inputs import Inputs
from presyn.network import Network
from presyn.options import Options, option

State = dict[str, Tensor]
"""What a rule remembers, by name; the first dimension of every tensor is the members of the cohort, K."""
Examples = tuple[Inputs, Tensor, Tensor]
"""A minibatch: inputs of B images, labels (K, B), and a key of random numbers (K, 2)."""


@dataclass(frozen=True)
class MethodOptions(Options):
    """Options that every method has."""

    eta0: float = option(0.01, "learning rate", low=0.0, high=1e3, varies=True, source="Eq. 3 and 5; set for each benchmark")


@dataclass(frozen=True)
class Traits:
    """What the training loop needs to know of a method with some options.

    One call of a method's `transmit` is a transmission; it gives the weights of one or several sampled networks.

    Attributes:
        trains_biases: Whether it needs the gradient by the biases.
        networks_per_transmission: Sampled networks, S, that one transmission gives for each member. The rows of its tensors
            are K·S, those of a member together.
        transmissions_per_test: Transmissions over which a test averages; 1 for a deterministic network.
        averages: What a test averages over sampled networks: their softmax, or their accuracy.
    """

    trains_biases: bool = True
    networks_per_transmission: int = 1
    transmissions_per_test: int = 1
    averages: str = "softmax"


OptionsT = TypeVar("OptionsT", bound=MethodOptions)


class Method(ABC, Generic[OptionsT]):
    """A learning rule for K networks at once.

    A subclass sets `Options`, may set `published`, and writes `start` and `update` on flat tensors (K, n_weights). It overrides
    `transmit` if its network is stochastic.

    Args:
        members: The options of each network; they agree in all that do not vary inside a cohort.
        device: Where the tensors are.
        fuse: Whether to compile the arithmetic.
        batch: Images in a minibatch.

    Attributes:
        options: The options that all members share are read from here.
        h: The options that vary inside a cohort, each (K, 1).
    """

    Options: ClassVar[type[MethodOptions]]
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Benchmark name -> the settings of the paper or of the authors' code on it, of the method or of the benchmark; for the
    digits, ours."""
    joint: ClassVar[bool] = False
    """Whether it sees all tasks at once instead of one after the other."""
    preset_names: ClassVar[Mapping[str, str]] = {}
    """Settings that stand for several options, such as `rule`, and a line on each; they are not options themselves."""

    @classmethod
    def preset(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The options that the presets among the given values stand for."""
        return {}

    @classmethod
    def make_traits(cls, options: OptionsT) -> Traits:
        """What the training loop needs to know of the method with these options."""
        return Traits()

    def __init__(self, members: Sequence[OptionsT], device: torch.device, fuse: bool, batch: int = 1) -> None:
        self.options: OptionsT = members[0]
        self.traits = self.make_traits(self.options)
        self.batch = batch
        self.h: Any = self.hyperparameters(members, device)

    def hyperparameters(self, members: Sequence[OptionsT], device: torch.device) -> Any:
        """The options that vary inside a cohort, as attributes, each (K, 1)."""
        columns = {
            name: torch.tensor([[getattr(m, name)] for m in members], dtype=torch.float32, device=device)
            for name in self.Options.varying()
        }
        return SimpleNamespace(**columns)

    @abstractmethod
    def start(self, weights: Tensor, biases: Tensor) -> State:
        """The state before the first step, with at least 'weights' and 'biases', from the initial parameters."""

    def randomise(self, state: State, key: Tensor, network: Network) -> None:  # noqa: B027
        """Change in place what begins otherwise than `start` has it and at random; called once after it; key is (K, 2)."""

    def transmit(self, state: State, key: Tensor) -> tuple[Tensor, Tensor]:
        """The weights (K·S, n_weights) and biases (K·S, n_biases) that a forward pass uses; key is (K, 2)."""
        return state["weights"], state["biases"]

    @abstractmethod
    def update(
        self, state: State, grad: Tensor, bias_grad: Tensor | None, weights: Tensor, biases: Tensor, next_key: Tensor
    ) -> None:
        """Make one step, in place.

        Args:
            state: As made by `start`.
            grad: Gradient of the mean loss by the transmitted weights, (K·S, n_weights).
            bias_grad: By the biases, (K·S, n_biases), or None if the traits say that biases are not trained.
            weights: What `transmit` gave for this step's forward pass; receives what the next one transmits.
            biases: As weights.
            next_key: The key of the next forward pass, (K, 2).
        """

    def end_task(self, state: State, network: Network, examples: Iterator[Examples]) -> None:  # noqa: B027
        """Change the state in place where a task ends, for rules that are told; examples are minibatches of the task."""

    def find_raised_synapses(self, state: State, grad: Tensor, weights: Tensor) -> Tensor:
        """Which synapses a step would push to release more often, (K, n_weights) bool; arguments as of `update`."""
        raise NotImplementedError

    def find_frozen_synapses(self, state: State) -> Tensor:
        """Which synapses no longer change, or would not if the rule froze any, (K, n_weights) bool."""
        raise NotImplementedError

    def mean_weights(self, state: State) -> Tensor:
        """What each synapse transmits on average over its random numbers, w̄, (K, n_weights)."""
        return state["weights"]

    def describe(self, state: State) -> dict[str, Tensor]:
        """Figures of the state that are recorded after each segment of training, each (K,)."""
        return {}
