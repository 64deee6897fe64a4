"""A cohort of whatever runs are: networks on images, or perceptrons on patterns; and training one to its end."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from presyn.datasets import Dataset
from presyn.patterns import PatternCohort
from presyn.record import Record
from presyn.runs import Run
from presyn.training import Cohort, refuse_no_runs


def make_cohort(
    runs: Sequence[Run],
    data: Dataset,
    device: torch.device | str | None,
    saved: Sequence[dict[str, Any]] | None = None,
    arithmetic: str | None = None,
) -> Cohort:
    """A cohort of networks on images, or of perceptrons on patterns; arguments and errors as of `Cohort`."""
    refuse_no_runs(runs)
    cohort_class = PatternCohort if runs[0].benchmark.kind == "patterns" else Cohort
    return cohort_class(runs, data, device, saved, arithmetic=arithmetic)


def train(
    runs: Sequence[Run],
    data: Dataset | None = None,
    device: torch.device | str | None = None,
    tick: Callable[[int], None] = lambda steps: None,
    arithmetic: str | None = None,
) -> list[Record]:
    """Train runs of one shape to their end, as one cohort; returns their records in order.

    It trains on one thread, whatever torch is set to, because with more of them sums are added in another order and the last
    bits differ. Who wants more threads trains a `Cohort`.

    Args:
        runs: A list of runs, as make_run makes them.
        data: The images of their benchmark; None reads them from the data folder.
        device: Where to train; None takes a GPU if there is one.
        tick: Called after each epoch with the steps it took.
        arithmetic: How the first layer multiplies, dense or lit; None takes lit products on a CPU where most pixels of the data
            set are 0. Both round otherwise, so that whole runs agree statistically; a record says which it was.

    Raises:
        PresynError: one of these is something else, or does not fit the others.

    Example:
        >>> from presyn import load, make_run, train
        >>> runs = [make_run("presynaptic", "split-digits", seed, {"eta0": 0.01}) for seed in (1, 2, 3)]
        >>> [record.status for record in train(runs, load("digits"))]
        ['finished', 'finished', 'finished']
    """
    refuse_no_runs(runs)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        cohort = make_cohort(runs, runs[0].benchmark.load() if data is None else data, device, arithmetic=arithmetic)
        while not cohort.done:
            cohort.train_segment(tick)
    finally:
        torch.set_num_threads(threads)
    records = {id(run): record for run, record in cohort.results()}
    return [records[id(run)] for run in runs]
