"""The command that repeats a run, from its row alone."""

import itertools
import json
import shlex
from collections.abc import Mapping
from typing import Any

from presyn import BENCHMARKS, METHODS, Benchmark, PresynError, make_run
from presyn.benchmarks import PATTERNS, find_benchmark
from presyn.datasets import DATASETS
from presyn.inputs import ARITHMETICS
from presyn.methods import PERCEPTRONS, method_class
from presyn.options import Options
from sweeps.files import parse_yaml
from sweeps.user_code import loaded


def all_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the options that it leaves out because they are at their neutral value."""
    kinds: list[type[Options]] = [Benchmark]
    if config["method"] in {*METHODS, *PERCEPTRONS}:  # a method of one's own may not be here
        kinds.append(method_class(config["method"]).Options)
    return {k: v for kind in kinds for k, v in kind.neutral().items()} | dict(config)


def usual_options(method: str, benchmark: str) -> dict[str, Any]:
    """All options of a method with its published settings on a benchmark; of a method that is not here, the benchmark's alone.

    Raises:
        PresynError: there is no such benchmark, or the method does not learn it.
    """
    if method in {*METHODS, *PERCEPTRONS}:
        return all_options(make_run(method, benchmark, 0).config())
    return all_options({"method": "", **find_benchmark(benchmark).as_dict()})


def changed_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What is other in a configuration than the method's published settings on the benchmark: field -> value."""
    nearest = nearest_benchmark(config)
    default = usual_options(config["method"], nearest)
    values = all_options(config)
    names = [k for k in (*config, *values.keys() - config.keys()) if k not in ("method", "benchmark", "seed")]
    changed = {name: values[name] for name in names if name not in default or default[name] != values[name]}
    return changed if nearest == config["benchmark"] else {"name": config["benchmark"], **changed}


def setting(name: str, value: Any) -> str:
    """FIELD=VALUE as --set reads it."""
    if isinstance(value, str) and _read_back(value) == value:
        return f"{name}={value}"
    return f"{name}={'none' if value is None else json.dumps(value)}"


def _read_back(text: str) -> Any:
    try:
        return parse_yaml(text)
    except PresynError:
        return None


def nearest_benchmark(config: dict[str, Any]) -> str:
    """The benchmark of a configuration; for one of somebody's own, the nearest of those that come along."""
    come_along = [*(b for name, b in BENCHMARKS.items() if name not in loaded.benchmarks), PATTERNS]
    names = [b.name for b in come_along]
    return config["benchmark"] if config["benchmark"] in names else next(b.name for b in come_along if b.kind == config["kind"])


def usual_arithmetic(dataset: str) -> str:
    """How first layers multiply on a CPU on images that come along, if nobody says; empty for images of somebody's own."""
    if dataset not in DATASETS:
        return ""
    return "lit" if dataset.split("-")[0] == "mnist" else "dense"


def repeat_command(config: dict[str, Any], place: Mapping[str, Any], arithmetic: str = "") -> str:
    """The command that repeats a run. It needs none of the files of its benchmark but the images.

    Args:
        config: Of the run, as plain values.
        place: Its provenance, which says where a user's own files were.
        arithmetic: Of its row, by which the run is repeated to the digit; said where it is not the usual one.
    """
    nearest = nearest_benchmark(config)
    run = ["--method", config["method"], "--benchmark", nearest, "--seeds", str(config["seed"])]
    if arithmetic in ARITHMETICS and arithmetic != usual_arithmetic(config["dataset"]):
        run += ["--arithmetic", arithmetic]
    changed = changed_settings(config)
    if nearest != config["benchmark"] and find_benchmark(nearest).measures:
        changed["measures"] = []  # those of the nearest benchmark would be made besides what the row has
    if config["dataset"] not in DATASETS and config["kind"] != "patterns":
        changed["source"] = place.get("source", UNKNOWN_PLACE)
    method = loaded.methods.get(config["method"])
    if "method_file" in place and (method is None or any(method.__module__ == module.__name__ for module in loaded.given)):
        run = ["--module", place["method_file"], *run]
    return shlex.join(["presyn", "run", *run] + (["--set", *itertools.starmap(setting, changed.items())] if changed else []))


UNKNOWN_PLACE = "WHERE-ITS-IMAGES-ARE"
"""Stands for the folder of a user's images in the command that repeats a run whose row came from another store."""
