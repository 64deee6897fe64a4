"""Search spaces as data, and the manifest of configurations that Optuna draws from one.

Random search needs no feedback, so all configurations are drawn before anything runs and the manifest is frozen: what
a sweep contains depends on nothing that happens while it runs.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from presyn import METHODS, PresynError, Run, make_run
from presyn.benchmarks import SEARCH_SEEDS, Benchmark
from presyn.options import reject_unknown
from sweeps.files import read_benchmark, read_yaml

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it announces every study
SPACES = Path(__file__).parent / "spaces"


@dataclass(frozen=True)
class Space:
    """What to search.

    Attributes:
        name: The file's name.
        method, benchmark: What is trained.
        search: Field -> its Optuna distribution, sorted by field.
        fixed: Other fields that are set, such as validation.
        trials: Configurations to draw.
        sampler_seed: Of Optuna's RandomSampler.
        sampler: random, or grid: every combination of the choices, in order.
    """

    name: str
    method: str
    benchmark: Benchmark
    search: dict[str, BaseDistribution]
    fixed: dict[str, Any] = field(default_factory=dict)
    trials: int = 48
    sampler_seed: int = 0
    sampler: str = "random"

    def identity(self) -> dict[str, Any]:
        """What the manifest depends on, as plain values."""
        distributions = {k: optuna.distributions.distribution_to_json(d) for k, d in self.search.items()}
        return {
            "method": self.method,
            "benchmark": self.benchmark.as_dict(),
            "fixed": self.fixed,
            "search": distributions,
            "sampler_seed": self.sampler_seed,
            **({} if self.sampler == "random" else {"sampler": self.sampler, "order": list(self.search)}),
        }


@dataclass(frozen=True)
class Trial:
    """One row of a manifest: a drawn configuration and the seed it runs with."""

    number: int
    seed: int
    params: dict[str, Any]


def own_options(method: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """What a search fixed of the method itself, rather than of the benchmark; it goes with the winner."""
    kind = METHODS[method]
    return {k: v for k, v in fixed.items() if k in kind.Options.names() or k in kind.preset_names}


def space_names() -> list[str]:
    """The names of the spaces that come along."""
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
        return _parse(path.stem, read_yaml(path))
    except PresynError as e:
        raise e if str(path) in str(e) else PresynError(f"{path}: {e}") from None


def _parse(name: str, values: dict[str, Any]) -> Space:
    reject_unknown(values, ["method", "benchmark", "search", "fixed", "trials", "sampler_seed", "sampler"])
    for needed in ("method", "benchmark", "search"):
        if not values.get(needed):
            raise PresynError(f"{needed} is missing.")
    for key, kind in (("method", str), ("benchmark", str), ("search", dict), ("fixed", dict)):
        if values.get(key) is not None and not isinstance(values[key], kind):
            raise PresynError(f"{key} must be {'a word' if kind is str else 'a list of FIELD: VALUE'}, not {values[key]!r}.")
    reject_unknown([values["method"]], METHODS, "method")
    options = METHODS[values["method"]].Options
    reject_unknown(values["search"], options.names(), "field under search")
    for key in ("trials", "sampler_seed"):
        if key in values and (type(values[key]) is not int or not 0 <= values[key] < 2**32):
            raise PresynError(f"{key} must be a whole number from 0 to 2^32 - 1, not {values[key]!r}.")
    sampler = values.get("sampler", "random")
    if sampler not in ("random", "grid"):
        raise PresynError(f"sampler must be one of random, grid, not {sampler!r}.")
    names = values["search"] if sampler == "grid" else sorted(values["search"])  # a draw depends on the order
    search = {k: _distribution(k, values["search"][k]) for k in names}
    if sampler == "grid":
        ranges = [k for k, d in search.items() if not isinstance(d, CategoricalDistribution)]
        if ranges:
            raise PresynError(f"sampler grid needs choices under search, but {ranges[0]} is a range.")
        sizes = [len(d.choices) for d in search.values()]  # type: ignore[attr-defined]
        values = {"trials": math.prod(sizes), **values}
    extra = {k: values[k] for k in ("trials", "sampler_seed", "sampler") if k in values}
    space = Space(name, values["method"], read_benchmark(values["benchmark"]), search, values.get("fixed") or {}, **extra)
    if not make_run(space.method, space.benchmark, 0, space.fixed).benchmark.validation:
        raise PresynError(
            "validation is missing under fixed: a search chooses on held-out images, the test set is for the table."
        )
    for corner in _corners(space):  # so that a range outside a field's limits is found before anything runs
        make_run(space.method, space.benchmark, 0, {**space.fixed, **corner})
    return space


def _distribution(name: str, spec: Any) -> BaseDistribution:
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
    ends = {k: d.choices if isinstance(d, CategoricalDistribution) else (d.low, d.high) for k, d in space.search.items()}  # type: ignore[attr-defined]
    return [{k: v[min(i, len(v) - 1)] for k, v in ends.items()} for i in range(max(map(len, ends.values())))]


def draw(space: Space) -> list[Trial]:
    """The configurations of a space, as many as its trials; the same for ever, and a longer draw begins with a shorter one.

    A grid goes through its first field last, so that what a smaller budget reaches is what the space names first.
    """
    if space.sampler == "grid":
        points = itertools.product(*(d.choices for d in space.search.values()))  # type: ignore[attr-defined]
        rows = [dict(zip(space.search, point, strict=True)) for point in itertools.islice(points, space.trials)]
        return [Trial(i, SEARCH_SEEDS + i, params) for i, params in enumerate(rows)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=space.sampler_seed))
    asked = [study.ask(space.search) for _ in range(space.trials)]
    return [Trial(t.number, SEARCH_SEEDS + t.number, {k: t.params[k] for k in space.search}) for t in asked]


def manifest(space: Space, folder: Path) -> list[Trial]:
    """The manifest, drawn once and then read back from its file in the folder.

    Raises:
        PresynError: the file is damaged.
    """
    digest = hashlib.sha256(json.dumps([space.identity(), space.trials], sort_keys=True).encode()).hexdigest()[:12]
    path = folder / f"{space.name}-{digest}.json"
    if not path.exists():
        rows = [{"number": t.number, "seed": t.seed, "params": t.params} for t in draw(space)]
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"space": space.identity(), "trials": rows}, indent=1))
        partial.replace(path)
    try:
        return [Trial(**row) for row in json.loads(path.read_text())["trials"]]
    except (ValueError, KeyError, TypeError):
        raise PresynError(f"The manifest {path} is damaged. Delete it; it will be drawn again, the same.") from None


def runs_of(space: Space, trials: list[Trial]) -> list[Run]:
    """The runs of a manifest, one seed per configuration."""
    return [make_run(space.method, space.benchmark, t.seed, {**space.fixed, **t.params}) for t in trials]


def study_of(space: Space, trials: list[Trial], records: list[dict[str, Any]], storage: str | None = None) -> optuna.Study:
    """The Optuna study of a finished sweep: finished = COMPLETE, dropped = PRUNED, diverged = FAIL.

    Args:
        space, trials: The manifest.
        records: The record of each trial (`presyn.Record.as_dict`), in order.
        storage: An Optuna storage address, such as sqlite:///study.db, where a study of the same name is replaced;
            in memory if None.
    """
    if storage:
        names = [s.study_name for s in optuna.get_all_study_summaries(storage, include_best_trial=False)]
        if space.name in names:
            optuna.delete_study(study_name=space.name, storage=storage)
    study = optuna.create_study(study_name=space.name, direction="maximize", storage=storage)
    states = {
        "finished": optuna.trial.TrialState.COMPLETE,
        "dropped": optuna.trial.TrialState.PRUNED,
        "diverged": optuna.trial.TrialState.FAIL,
    }
    for trial, record in zip(trials, records, strict=True):
        first = record["accuracy"][0][0] if record["accuracy"] else None
        study.add_trial(
            optuna.trial.create_trial(
                state=states[record["status"]],
                params=trial.params,
                distributions=space.search,
                value=record["mean_accuracy"],
                intermediate_values={} if first is None else {0: first},
                user_attrs={"seed": trial.seed, "reason": record["reason"]},
            )
        )
    return study
