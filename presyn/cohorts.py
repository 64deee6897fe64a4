"""A cohort of whatever runs are: networks on images, or perceptrons on patterns; and training one to its end."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from presyn.datasets import Dataset
from presyn.device import choose_device
from presyn.errors import PresynError
from presyn.patterns import PatternCohort
from presyn.record import Record
from presyn.runs import Run
from presyn.training import Cohort


def make_cohort(
    runs: Sequence[Run], data: Dataset, device: torch.device, saved: Sequence[dict[str, Any]] | None = None
) -> Cohort:
    """A cohort of networks on images, or of perceptrons on patterns; arguments and errors as of `Cohort`."""
    if not runs:
        raise PresynError("There are no runs to train: give at least one.")
    for run in runs:
        if not isinstance(run, Run):
            raise PresynError(f"A cohort takes runs, as make_run makes them, not {run!r}.")
    cohort_class = PatternCohort if runs[0].benchmark.kind == "patterns" else Cohort
    return cohort_class(runs, data, device, saved)


def train(
    runs: Sequence[Run],
    data: Dataset,
    device: torch.device | str | None = None,
    tick: Callable[[int], None] = lambda steps: None,
) -> list[Record]:
    """Train runs of one shape to their end, as one cohort; returns their records in order.

    Example:
        >>> from presyn import load, make_run, train
        >>> runs = [make_run("presynaptic", "split-digits", seed, {"eta0": 0.01}) for seed in (1, 2, 3)]
        >>> [record.status for record in train(runs, load("digits"))]
        ['finished', 'finished', 'finished']
    """
    cohort = make_cohort(runs, data, choose_device(device))
    while not cohort.done:
        cohort.train_segment(tick)
    records = {id(run): record for run, record in cohort.results()}
    return [records[id(run)] for run in runs]
