"""Presynaptic consolidation and its rivals, trained as cohorts. Needs torch and numpy alone.

A name is imported when it is first used. The command line needs errors and options from here to print its help, and would
otherwise wait two seconds for torch, which help has no use for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "benchmarks": ("BENCHMARKS", "Benchmark"),
    "cohorts": ("make_cohort", "train"),
    "datasets": ("Dataset", "load"),
    "device": ("choose_device",),
    "errors": ("PresynError",),
    "measures": ("MEASURES",),
    "methods": ("METHODS",),
    "record": ("Record",),
    "runs": ("RULES_VERSION", "Run", "make_run"),
    "schedule": ("Schedule", "make_schedule"),
    "training": ("Cohort",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"presyn.{module}"), name)
    raise AttributeError(f"module 'presyn' has no attribute {name!r}")
