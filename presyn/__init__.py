"""Presynaptic consolidation and its rivals, trained as cohorts. Needs torch and numpy alone."""

from presyn.benchmarks import BENCHMARKS, Benchmark
from presyn.cohorts import make_cohort, train
from presyn.datasets import Dataset, load
from presyn.device import choose_device
from presyn.errors import PresynError
from presyn.measures import MEASURES
from presyn.methods import METHODS
from presyn.record import Record
from presyn.runs import RULES_VERSION, Run, make_run
from presyn.schedule import Schedule, make_schedule
from presyn.training import Cohort

__all__ = [
    "BENCHMARKS",
    "MEASURES",
    "METHODS",
    "RULES_VERSION",
    "Benchmark",
    "Cohort",
    "Dataset",
    "PresynError",
    "Record",
    "Run",
    "Schedule",
    "choose_device",
    "make_cohort",
    "load",
    "make_run",
    "make_schedule",
    "train",
]
