"""Whether tasks freeze the same synapses (claim M1)."""

from itertools import combinations

import torch
from torch import Tensor

from presyn.measures.moment import Moment
from presyn.methods.base import State

MEMORY = ("frozen_tasks",)
"""Tensors that this measurement adds to the state of a cohort."""


def blank_memory(weights: Tensor) -> State:
    """Which tasks have frozen each synapse, before the first one: no bit of (K, n_weights) int64."""
    return {"frozen_tasks": torch.zeros_like(weights, dtype=torch.int64)}


def remember_frozen(state: State, frozen: Tensor, task: int) -> None:
    """Set the bit of a task that has ended for the synapses that are frozen, (K, n_weights) bool; in place."""
    state["frozen_tasks"].bitwise_or_(frozen.long() << task)


def overlap(moment: Moment) -> dict[str, Tensor]:
    """Share of synapses that each task froze, (K, T), and that both tasks of each pair froze, (K, T (T - 1) / 2).

    A synapse counts for a task if it was frozen when the task ended. Pairs are in the order 1 2, 1 3, … 2 3, …. In a sequence a
    frozen synapse stays frozen, so shares of pairs say something where each task starts anew (the option `restarts`).
    """
    tasks = range(moment.minibatches.benchmark.tasks)
    frozen = [(moment.state["frozen_tasks"] >> task & 1).bool() for task in tasks]
    alone = [t.double().mean(dim=1).float() for t in frozen]
    together = [(frozen[a] & frozen[b]).double().mean(dim=1).float() for a, b in combinations(tasks, 2)]
    return {"frozen_by_task": torch.stack(alone, dim=1), "frozen_by_both": torch.stack(together, dim=1)}
