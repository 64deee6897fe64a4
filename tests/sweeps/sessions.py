"""Sessions of a driver without Ray, as the tests of checkpoints, cohorts and execution start and kill them."""

import torch

from presyn import Cohort, load
from sweeps.cluster import Cluster
from sweeps.execute import train_in_process

CPU = torch.device("cpu")
SETTINGS = {"epochs": 1, "tasks": 3, "hidden": [16]}


def finish(runs, checkpoints):
    records = {}
    train_in_process(runs, checkpoints, Cluster(), lambda i, record, place: records.update({i: record}), lambda steps: None)
    return records


def outcomes(records):
    return {i: (r["status"], r["accuracy"], r["loss"]) for i, r in sorted(records.items())}


def interrupted(runs, checkpoints, segments):
    """A session that was killed after so many segments."""
    cohort = Cohort(list(runs.values()), load("digits"), CPU)
    checkpoints.open()
    for _ in range(segments):
        cohort.train_segment()
        checkpoints.save(dict(zip(runs, cohort.save(), strict=True)), list(runs))
