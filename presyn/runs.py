"""A run: one network, one seed, one configuration; and its identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from presyn.benchmarks import BENCHMARKS, PATTERNS, Benchmark, find_benchmark
from presyn.code_digest import changed_code
from presyn.errors import PresynError
from presyn.methods import METHODS, PERCEPTRONS, MethodOptions, method_class
from presyn.options import reject_unknown

RULES_VERSION = 1  # raised when a change moves numbers


@dataclass(frozen=True)
class Run:
    """One network to train.

    Attributes:
        method: A name in `METHODS`.
        options: That method's options, resolved.
        benchmark: The tasks, resolved.
        seed: Fixes initial weights, permutations, data order and release masks.

    Raises:
        PresynError: an unknown method, options of another one, a method that does not learn what this benchmark shows, or what
            is no benchmark or seed.
    """

    method: str
    options: MethodOptions
    benchmark: Benchmark
    seed: int

    def __post_init__(self) -> None:
        reject_unknown([self.method], [*METHODS, *PERCEPTRONS], "method")
        if not isinstance(self.benchmark, Benchmark):
            raise PresynError(f"benchmark must be a name, or a Benchmark, not {self.benchmark!r}.")
        rule = method_class(self.method)
        _refuse_shared_names(self.method, {*rule.Options.names(), *rule.preset_names})
        if self.method in PERCEPTRONS and self.benchmark.kind != "patterns":
            raise PresynError(f"{self.method} learns random patterns, not images: use the benchmark {PATTERNS.name}.")
        if self.method in METHODS and self.benchmark.kind == "patterns":
            perceptrons = ", ".join(PERCEPTRONS)
            raise PresynError(f"{self.method} learns images, and {self.benchmark.name} has none; it is for {perceptrons}.")
        if not isinstance(self.options, rule.Options):
            raise PresynError(f"options must be those of {self.method}, as make_run makes them, not {self.options!r}.")
        object.__setattr__(self, "seed", _check_seed(self.seed))

    def config(self) -> dict[str, Any]:
        """The resolved configuration, flat, as plain values."""
        tasks = self.benchmark.as_dict()
        return {"method": self.method, "benchmark": tasks.pop("name"), "seed": self.seed, **tasks, **self.options.as_dict()}

    def run_id(self, data_sha256: str) -> str:
        """The hash of the resolved configuration, the data, and the version of the rules, or the code where it was changed.

        Raises:
            PresynError: the argument is not a digest of data, such as `Dataset.sha256`.
        """
        if not isinstance(data_sha256, str):
            raise PresynError(f"A run is identified with the sha256 of its data as text, not {data_sha256!r}.")
        return identify(self.config(), data_sha256, code=changed_code(self.method))

    def shape(self) -> tuple:
        """What members of one cohort share: all but the seed and the options that vary inside a cohort."""
        options, varying = self.options, self.options.varying()
        shared = {k: getattr(options, k) for k in options.as_dict() if k not in varying}
        return self.method, self.benchmark, tuple(sorted(shared.items()))


def _refuse_shared_names(method: str, names: set[str]) -> None:
    """Raise a PresynError for options that are named as fields of a benchmark or of a run: a setting would be of both."""
    shared = sorted(names & {"method", "benchmark", "seed", *Benchmark.names()})
    if shared:
        raise PresynError(f"{method} has an option {shared[0]}, which is a field of every run: give the option another name.")


def _check_seed(seed: Any) -> int:
    """A seed as a plain number.

    Raises:
        PresynError: it is no number that a seed can be.
    """
    if isinstance(seed, np.integer):
        seed = int(seed)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise PresynError(f"seed must be a whole number from 0 to 2^63 - 1, not {seed!r}.")
    return seed


def identify(config: Mapping[str, Any], data_sha256: str, rules_version: int = RULES_VERSION, code: str | None = None) -> str:
    """The identity of a run, 16 hexadecimal digits.

    Args:
        config: Its resolved configuration, as plain values.
        data_sha256: The digest of its data.
        rules_version: The version of the rules that give it its numbers.
        code: The digest of the code that does, if it is not known to be of that version; see `presyn.code_digest`.
    """
    identifying = {**config, "data_sha256": data_sha256, "rules_version": rules_version}
    if code is not None:
        identifying["code"] = code
    return hashlib.sha256(json.dumps(identifying, sort_keys=True).encode()).hexdigest()[:16]


def make_run(method: str, benchmark: str | Benchmark, seed: int, overrides: Mapping[str, Any] | None = None) -> Run:
    """Resolve a run: defaults, then a preset, then the published settings for the benchmark, then the overrides.

    Args:
        method: A name in `METHODS`.
        benchmark: A name in `BENCHMARKS`, or a `Benchmark`.
        seed: A non-negative whole number.
        overrides: Fields of the method, of the benchmark, or a preset of the method (`rule`); with `name` for a benchmark that
            is no longer the one of that name, such as one on other images.

    Raises:
        PresynError: an unknown name or field, or a bad value.

    Example:
        >>> make_run("presynaptic", "split-mnist", 2019, {"p_up": 0.06}).options.eta0
        0.001
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise PresynError(f"overrides must be fields and their values, such as {{'eta0': 0.01}}, not {overrides!r}.")
    overrides = dict(overrides or {})
    reject_unknown([method], [*METHODS, *PERCEPTRONS], "method")
    if isinstance(benchmark, str):
        benchmark = find_benchmark(benchmark)
    if not isinstance(benchmark, Benchmark):
        raise PresynError(f"benchmark must be a name, or a Benchmark, not {benchmark!r}.")
    seed = _check_seed(seed)
    rule = method_class(method)
    _refuse_shared_names(method, {*rule.Options.names(), *rule.preset_names})
    benchmark_fields = Benchmark.names()
    fields = [*rule.Options.names(), *benchmark_fields, *rule.preset_names]
    reject_unknown(overrides, fields, f"field of {method} on {benchmark.name}", f" What they mean: presyn options {method}")
    preset = rule.preset(overrides)
    explicit = {k: v for k, v in overrides.items() if k not in rule.preset_names}
    settings = {**preset, **rule.published.get(benchmark.name, {}), **explicit}
    for_benchmark = {k: settings.pop(k) for k in benchmark_fields if k in settings}
    changed = replace(benchmark, **for_benchmark)
    if changed.name != benchmark.name and changed.name in (*BENCHMARKS, PATTERNS.name):
        same_name = find_benchmark(changed.name)
        if changed.as_dict() != same_name.as_dict():
            raise PresynError(f"name {changed.name!r} is that of another benchmark: choose another name.")
    return Run(method, rule.Options.build(settings), changed, seed)
