"""Search spaces as data: what is trained, which fields are searched in which ranges, and what the best is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from presyn import METHODS, PresynError, make_run
from presyn.benchmarks import Benchmark
from presyn.measures import figure_names, series_names
from presyn.options import reject_unknown
from sweeps.files import read_benchmark, read_yaml

MOST_TRIALS = 100_000
"""Trials of a search; more is a mistake rather than a wish."""
SPACES = Path(__file__).parent / "spaces"


@dataclass(frozen=True)
class Space:
    """What to search.

    Attributes:
        name: The file's name.
        method, benchmark: What is trained.
        search: Field -> its Optuna distribution, sorted by field.
        fixed: Other fields that are set, such as validation.
        trials: How many to draw.
        sampler_seed: The seed of Optuna's RandomSampler.
        sampler: random, or grid: every combination of the choices, in order.
        objective: By what trials are compared: mean_accuracy, or a figure by name, of which the last value counts.
        direction: Whether to maximize or minimize it; a file that does not say it gets what fits the objective.
    """

    name: str
    method: str
    benchmark: Benchmark
    search: dict[str, BaseDistribution]
    fixed: dict[str, Any] = field(default_factory=dict)
    trials: int = 48
    sampler_seed: int = 0
    sampler: str = "random"
    objective: str = "mean_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    def identity(self) -> dict[str, Any]:
        """What the drawn trials depend on, as plain values."""
        distributions = {k: optuna.distributions.distribution_to_json(d) for k, d in self.search.items()}
        return {
            "method": self.method,
            "benchmark": self.benchmark.as_dict(),
            "fixed": self.fixed,
            "search": distributions,
            "sampler_seed": self.sampler_seed,
            **({} if self.sampler == "random" else {"sampler": self.sampler, "order": list(self.search)}),
            **({} if self.objective == "mean_accuracy" else {"objective": self.objective}),
            **({} if self.direction == "maximize" else {"direction": self.direction}),
        }


MINIMIZED = ("forgetting", "energy", "neuronal_energy", "loss")
"""How the names of objectives begin of which less is better, unless a space says otherwise with direction."""


def best_direction(objective: str) -> Literal["maximize", "minimize"]:
    """What to do with an objective whose space does not say it."""
    return "minimize" if objective.startswith(MINIMIZED) else "maximize"


def method_options(method: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a search fixes, the options of the method, rather than of the benchmark; they go with the winner."""
    rule = METHODS[method]
    return {k: v for k, v in fixed.items() if k in rule.Options.names() or k in rule.preset_names}


def space_names() -> list[str]:
    """The names of the built-in spaces."""
    return sorted(p.stem for p in SPACES.glob("*.yaml"))


def read_space(name: str) -> Space:
    """The built-in space of that name, or the one in the YAML file of that path.

    Raises:
        PresynError: no such space, an unknown field, a bad value or range; names the file, the field and the fix.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SPACES / f"{name}.yaml"
    if path.parent == SPACES:
        reject_unknown([name], space_names(), "search space (or path of a .yaml file)")
    try:
        return _parse(path.stem, _beside(path, read_yaml(path)))
    except PresynError as e:
        raise e if str(path) in str(e) else PresynError(f"{path}: {e}") from None


def _beside(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The content of a space's file, with a benchmark's file looked for beside it, and then where the command is given."""
    benchmark = values.get("benchmark")
    if isinstance(benchmark, str) and benchmark.endswith((".yaml", ".yml")) and (path.parent / benchmark).exists():
        return {**values, "benchmark": str(path.parent / benchmark)}
    return values


_KEYS = ("method", "benchmark", "search", "fixed", "trials", "sampler_seed", "sampler", "objective", "direction")
_CHOICES = {"sampler": ("random", "grid"), "direction": ("maximize", "minimize")}


def _parse(name: str, values: dict[str, Any]) -> Space:
    """A space from the content of its file."""
    reject_unknown(values, _KEYS)
    _check_types(values)
    reject_unknown([values["method"]], METHODS, "method")
    options = METHODS[values["method"]].Options.names()
    reject_unknown(values["search"], options, "field under search", f" What they mean: presyn options {values['method']}")
    sampler = values.get("sampler", "random")
    names = values["search"] if sampler == "grid" else sorted(values["search"])  # what is drawn depends on the order
    search = {k: _distribution(k, values["search"][k]) for k in names}
    if sampler == "grid":
        ranges = [k for k, d in search.items() if not isinstance(d, CategoricalDistribution)]
        if ranges:
            raise PresynError(f"sampler grid needs choices under search, but {ranges[0]} is a range.")
        sizes = [len(d.choices) for d in search.values()]  # type: ignore[attr-defined]
        if math.prod(sizes) > MOST_TRIALS and "trials" not in values:
            raise PresynError(
                f"The grid has {math.prod(sizes):,} points; say with trials how many of them, at most {MOST_TRIALS}."
            )
        values = {"trials": math.prod(sizes), **values}
        if values["trials"] > math.prod(sizes):
            raise PresynError(f"trials is {values['trials']}, but the grid has {math.prod(sizes)} points.")
    both = [k for k in values.get("fixed") or {} if k in values["search"]]
    if both:
        raise PresynError(f"{both[0]} is both fixed and searched: leave it out of one of them.")
    optional = {k: values[k] for k in _KEYS[4:] if k in values}
    optional.setdefault("direction", best_direction(optional.get("objective") or "mean_accuracy"))
    space = Space(name, values["method"], read_benchmark(values["benchmark"]), search, values.get("fixed") or {}, **optional)
    benchmark = make_run(space.method, space.benchmark, 0, space.fixed).benchmark
    if not benchmark.validation:
        raise PresynError(
            "validation is missing under fixed: a search chooses on held-out images, the test set is for the table."
        )
    reject_unknown([space.objective], ["mean_accuracy", "forgetting", *figure_names(benchmark.measures)], "objective")
    if space.objective in series_names(benchmark.measures):
        raise PresynError(f"objective {space.objective} is a series, and a search compares single numbers: choose another.")
    for corner in _corners(space):  # so that a range outside a field's limits is refused before anything runs
        make_run(space.method, space.benchmark, 0, {**space.fixed, **corner})
    return space


def _check_types(values: dict[str, Any]) -> None:
    for needed in ("method", "benchmark", "search"):
        if not values.get(needed):
            raise PresynError(f"{needed} is missing.")
    for key, kind in (("method", str), ("benchmark", str), ("search", dict), ("fixed", dict), ("objective", str)):
        if values.get(key) is not None and not isinstance(values[key], kind):
            raise PresynError(f"{key} must be {'a word' if kind is str else 'a list of FIELD: VALUE'}, not {values[key]!r}.")
    for key in ("trials", "sampler_seed"):
        if key in values and (type(values[key]) is not int or not 0 <= values[key] < 2**32):
            raise PresynError(f"{key} must be a whole number from 0 to 2^32 - 1, not {values[key]!r}.")
    if not 1 <= values.get("trials", 1) <= MOST_TRIALS:
        raise PresynError(f"trials must be from 1 to {MOST_TRIALS}, not {values['trials']}.")
    for key, choices in _CHOICES.items():
        if key in values and values[key] not in choices:
            raise PresynError(f"{key} must be one of {', '.join(choices)}, not {values[key]!r}.")


def _distribution(name: str, spec: Any) -> BaseDistribution:
    """The Optuna distribution of a field, from what a file says under its name."""
    shapes = "{low: 0.01, high: 0.1}, {low: 1.0e-4, high: 1.0e-2, log: true} or {choices: [0.01, 0.001]}"
    if not isinstance(spec, dict) or ("choices" in spec) == ("low" in spec or "high" in spec):
        raise PresynError(f"{name} under search must be like {shapes}, not {spec!r}.")
    reject_unknown(spec, ["low", "high", "log", "choices"], f"key of {name}")
    try:
        if not isinstance(spec.get("choices", []), list) or not isinstance(spec.get("log", False), bool):
            raise TypeError("choices must be a list, log true or false")
        if "choices" in spec:
            return CategoricalDistribution(list(dict.fromkeys(spec["choices"])))
        return FloatDistribution(float(spec["low"]), float(spec["high"]), log=bool(spec.get("log", False)))
    except (KeyError, TypeError, ValueError) as e:
        raise PresynError(f"{name} under search is not a range ({e}); write it like {shapes}.") from None


def _corners(space: Space) -> list[dict[str, Any]]:
    """Configurations that reach the ends of every range and all choices."""
    ends = {k: d.choices if isinstance(d, CategoricalDistribution) else (d.low, d.high) for k, d in space.search.items()}  # type: ignore[attr-defined]
    return [{k: v[min(i, len(v) - 1)] for k, v in ends.items()} for i in range(max(map(len, ends.values())))]
