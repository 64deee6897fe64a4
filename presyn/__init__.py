"""Presynaptic consolidation and its rivals, trained as cohorts. Needs torch and numpy alone."""

from presyn.benchmarks import BENCHMARKS, Benchmark
from presyn.datasets import Dataset, load
from presyn.errors import PresynError
from presyn.methods import METHODS
from presyn.runs import RULES_VERSION, Run, make_run
from presyn.training import Cohort, Record, choose_device, train

__all__ = [
    "BENCHMARKS",
    "METHODS",
    "RULES_VERSION",
    "Benchmark",
    "Cohort",
    "Dataset",
    "PresynError",
    "Record",
    "Run",
    "choose_device",
    "load",
    "make_run",
    "train",
]
