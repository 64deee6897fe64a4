"""Search spaces as data: what is trained, which fields are searched in which ranges, and what the best is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from presyn import MEASURES, METHODS, PresynError, make_run
from presyn.benchmarks import Benchmark
from presyn.measures import figure_names, series_names
from presyn.options import reject_unknown
from sweeps.files import read_benchmark, read_yaml
from sweeps.halving import Halving, parse_halving

Direction = Literal["maximize", "minimize"]
MOST_TRIALS = 100_000
"""The most trials that a search may have; more is a mistake rather than a wish."""
MOST_SEEDS = 1000
"""The most seeds that a trial may have."""
SPACES = Path(__file__).parent / "spaces"
USER_SPACES: dict[str, Path] = {}
"""Files of users' own spaces by name; see `sweeps.user_code`."""


ONE_ROUND = ("random", "grid", "qmc")
"""Samplers that look at no result: all trials are drawn at once."""
SAMPLERS = (*ONE_ROUND, "tpe", "gp", "cmaes", "nsga2")
POPULATIONS = ("cmaes", "nsga2")
"""Samplers that compare the trials of a round with each other, for which all of them have to be trained to their end."""
BATCH = 16
"""Trials of a round, where a space does not say it. A fixed number: what is drawn must not depend on the machine's size."""


@dataclass(frozen=True)
class Space:
    """What to search.

    Attributes:
        name: The file's name.
        method, benchmark: What is trained.
        search: Field -> its Optuna distribution, sorted by field.
        fixed: Other fields that are set, such as validation.
        trials: How many to draw.
        sampler_seed: The seed of Optuna's sampler.
        sampler: One of `SAMPLERS`; grid is every combination of the choices, in order.
        objectives: By what trials are compared: mean_accuracy, forgetting, loss, or a figure by name, of which the last value
            counts. With several, trials are compared by all of them, and the first chooses the winner among the best.
        directions: Whether to maximize or minimize each; a file that does not say it gets what fits the objective.
        batch: Trials of a round, for samplers that look at results.
        halving: After which tasks the worse trials of a round stop; None for none.
        seeds: Networks of each trial, with seeds of their own; the objective is their mean.
        patience: Rounds without a better trial after which the search ends; None draws all trials.
    """

    name: str
    method: str
    benchmark: Benchmark
    search: dict[str, BaseDistribution]
    fixed: dict[str, Any] = field(default_factory=dict)
    trials: int = 48
    sampler_seed: int = 0
    sampler: str = "random"
    objectives: tuple[str, ...] = ("mean_accuracy",)
    directions: tuple[Direction, ...] = ("maximize",)
    batch: int = BATCH
    halving: Halving | None = None
    seeds: int = 1
    patience: int | None = None

    @property
    def objective(self) -> str:
        """The first objective, or the only one."""
        return self.objectives[0]

    @property
    def direction(self) -> Direction:
        """The direction of the first objective."""
        return self.directions[0]

    @property
    def learns(self) -> bool:
        """Whether what is drawn depends on results, round by round."""
        return self.sampler not in ONE_ROUND

    @property
    def rounds(self) -> list[int]:
        """How many trials each round draws."""
        size = self.batch if self.learns else self.trials
        return [min(size, self.trials - first) for first in range(0, self.trials, size)]

    @property
    def tasks(self) -> int:
        """Tasks of a run that is trained to its end."""
        return int(self.fixed.get("tasks", self.benchmark.tasks))

    @property
    def rungs(self) -> list[int]:
        """The numbers of tasks after which the trials of a round are compared; the last is all of them."""
        return [*(self.halving.after if self.halving else ()), self.tasks]

    def with_settings(self, settings: Mapping[str, Any]) -> "Space":
        """The space with some fields set, which are then not searched."""
        search = {k: d for k, d in self.search.items() if k not in settings}
        changed = replace(self, search=search, fixed={**self.fixed, **settings})
        if not search or self.sampler == "cmaes" and len(search) < 2:
            return replace(changed, sampler="random" if not search else "tpe", halving=self.halving if search else None)
        if self.sampler == "grid":
            sizes = [len(d.choices) for d in search.values()]  # type: ignore[attr-defined]
            return replace(changed, trials=min(self.trials, math.prod(sizes)))
        return changed

    def identity(self) -> dict[str, Any]:
        """What the drawn trials and the winner depend on, as plain values; what was added later only where it is used."""
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
            **({"objectives": list(self.objectives), "directions": list(self.directions)} if len(self.objectives) > 1 else {}),
            **({"batch": self.batch} if self.learns else {}),
            **({"halving": self.halving.identity()} if self.halving else {}),
            **({"seeds": self.seeds} if self.seeds > 1 else {}),
            **({"patience": self.patience} if self.patience else {}),
        }


MINIMIZED = ("forgetting", "energy", "neuronal_energy", "loss")
"""How the names of objectives begin of which less is better, unless a space says otherwise with direction."""


def best_direction(objective: str) -> Direction:
    """What to do with an objective whose space does not say it."""
    return "minimize" if objective.startswith(MINIMIZED) else "maximize"


def method_options(method: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the method among what a search fixes; unlike those of the benchmark they go with the winner."""
    rule = METHODS[method]
    return {k: v for k, v in fixed.items() if k in rule.Options.names() or k in rule.preset_names}


def space_names() -> list[str]:
    """The names of the spaces that come along, and of users' own."""
    return sorted({p.stem for p in SPACES.glob("*.yaml")} | USER_SPACES.keys())


def own_space(method: str, benchmarks: Sequence[str]) -> str | None:
    """The name of the user's own space of a method on one of these benchmarks, by name; None if there is none."""
    spaces = {name: read_space(name) for name in sorted(USER_SPACES)}
    fitting = [name for name, space in spaces.items() if space.method == method and space.benchmark.name in benchmarks]
    return fitting[0] if fitting else None


def read_space(name: str) -> Space:
    """The space of that name, or the one in the YAML file of that path.

    Raises:
        PresynError: no such space, an unknown field, a bad value or range; names the file, the field and the fix.
    """
    if "/" in name and not name.endswith((".yaml", ".yml")):
        raise PresynError(f"{name} is no search space: give the path of a .yaml file, or the name of a space without a folder.")
    path = Path(name) if name.endswith((".yaml", ".yml")) else USER_SPACES.get(name, SPACES / f"{name}.yaml")
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


_KEYS = (
    "method", "benchmark", "search", "fixed", "trials", "sampler_seed", "sampler", "objective", "direction", "objectives",
    "directions", "batch", "rounds", "halving", "seeds", "patience",
)  # fmt: skip
_DIRECTIONS = ("maximize", "minimize")


def _parse(name: str, values: dict[str, Any]) -> Space:
    """A space from the content of its file."""
    reject_unknown(values, _KEYS)
    values = {key: value for key, value in values.items() if value is not None}  # nothing behind a key: as without it
    _check_types(values)
    reject_unknown([values["method"]], METHODS, "method")
    options = METHODS[values["method"]].Options.names()
    reject_unknown(values["search"], options, "field under search", f" What they mean: presyn options {values['method']}")
    sampler = values.get("sampler", "random")
    names = values["search"] if sampler == "grid" else sorted(values["search"])  # what is drawn depends on the order
    search = {k: _distribution(k, values["search"][k]) for k in names}
    if sampler == "grid":
        values = _count_grid(values, search)
    both = [k for k in values.get("fixed") or {} if k in values["search"]]
    if both:
        raise PresynError(f"{both[0]} is both fixed and searched: leave it out of one of them.")
    objectives, directions = _parse_objectives(values)
    space = Space(
        name,
        values["method"],
        read_benchmark(values["benchmark"]),
        search,
        values.get("fixed") or {},
        values.get("trials", 48),
        values.get("sampler_seed", 0),
        sampler,
        objectives,
        directions,
        _parse_batch(values, sampler),
        parse_halving(values["halving"]) if values.get("halving") is not None else None,
        values.get("seeds", 1),
        values.get("patience"),
    )
    benchmark = make_run(space.method, space.benchmark, 0, space.fixed).benchmark
    if not benchmark.validation:
        raise PresynError(
            "validation is missing under fixed: a search chooses on held-out images, the test set is for the table."
        )
    _check_sampler(space)
    _check_objectives(space, benchmark)
    if space.halving:
        space.halving.check(benchmark, METHODS[space.method].joint)
    # So that a range outside a field's limits is refused before anything runs.
    corners = [make_run(space.method, space.benchmark, 0, {**space.fixed, **corner}).options for corner in _corners(space)]
    return replace(space, search={k: _as_option(k, d, [getattr(o, k) for o in corners]) for k, d in space.search.items()})


def _as_option(name: str, distribution: BaseDistribution, values: Sequence[Any]) -> BaseDistribution:
    """The distribution of an option with its choices as the option holds them, such as None for none.

    Args:
        name: Of the option.
        distribution: As the file says it.
        values: What the option holds at the corners: of choices, in their order.
    """
    if not isinstance(distribution, CategoricalDistribution):
        if isinstance(values[0], int):
            raise PresynError(f"{name} is a whole number, and a range draws others: write choices, as {{choices: [1, 2, 4]}}.")
        return distribution
    pairs = zip(distribution.choices, values, strict=False)  # corners are as many as the longest list of choices
    choices = [choice if choice == value or isinstance(value, tuple) else value for choice, value in pairs]
    return CategoricalDistribution(list(dict.fromkeys(choices)))


def _count_grid(values: dict[str, Any], search: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The content of a grid's file, with the number of its trials."""
    ranges = [k for k, d in search.items() if not isinstance(d, CategoricalDistribution)]
    if ranges:
        raise PresynError(f"sampler grid needs choices under search, but {ranges[0]} is a range.")
    points = grid_size(search)
    if points > MOST_TRIALS and "trials" not in values:
        raise PresynError(f"The grid has {points:,} points; say with trials how many of them, at most {MOST_TRIALS}.")
    values = {"trials": points, **values}
    if values["trials"] > points:
        raise PresynError(f"trials is {values['trials']}, but the grid has {points} points.")
    return values


def grid_size(search: Mapping[str, BaseDistribution]) -> int:
    """How many points a grid of choices has."""
    return math.prod(len(d.choices) for d in search.values() if isinstance(d, CategoricalDistribution))


def _parse_objectives(values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Direction, ...]]:
    """The objectives of a file, and their directions."""
    for one, several in (("objective", "objectives"), ("direction", "directions")):
        if values.get(one) is not None and values.get(several) is not None:
            raise PresynError(f"{one} and {several} do not go together: give one of them.")
    objectives = tuple(values.get("objectives") or [values.get("objective") or "mean_accuracy"])
    single = [values["direction"]] if values.get("direction") is not None else None
    directions = tuple(values.get("directions") or single or map(best_direction, objectives))
    if len(set(objectives)) != len(objectives):
        raise PresynError("objectives names one twice: leave one of them out.")
    if len(directions) != len(objectives):
        raise PresynError(f"directions must be as many as objectives, {len(objectives)}, not {len(directions)}.")
    return objectives, directions


def _parse_batch(values: Mapping[str, Any], sampler: str) -> int:
    """How many trials a round draws."""
    if values.get("batch") is None and values.get("rounds") is None:
        return BATCH
    given = "batch" if values.get("batch") is not None else "rounds"
    if sampler in ONE_ROUND:
        raise PresynError(f"{given} does not go with sampler {sampler}, which draws all trials at once: leave it out.")
    if values.get("batch") is not None and values.get("rounds") is not None:
        raise PresynError("batch and rounds do not go together: the one follows from the other and trials.")
    trials = values.get("trials", 48)
    if values[given] > trials:
        raise PresynError(f"{given} must be at most trials, {trials}, not {values[given]}.")
    return values["batch"] if given == "batch" else math.ceil(trials / values["rounds"])


def _check_sampler(space: Space) -> None:
    """Refuse what a sampler cannot do."""
    choices = [k for k, d in space.search.items() if isinstance(d, CategoricalDistribution)]
    if space.sampler == "cmaes":
        if choices:
            raise PresynError(
                f"sampler cmaes needs ranges under search, but {choices[0]} has choices: fix it, or take tpe or gp."
            )
        if len(space.search) < 2:
            raise PresynError("sampler cmaes needs at least two fields under search: take tpe or gp for one.")
        if len(space.objectives) > 1:
            raise PresynError("sampler cmaes has one objective: take nsga2, tpe or gp for several.")
    if space.halving and space.sampler in POPULATIONS:
        raise PresynError(f"halving does not go with sampler {space.sampler}, which needs every trial trained to its end.")
    if space.halving and len(space.objectives) > 1:
        raise PresynError("halving compares trials by one objective: leave it out, or give one objective.")
    if space.patience and not space.learns:
        raise PresynError(f"patience counts rounds, and sampler {space.sampler} has one: leave it out.")
    if space.patience and len(space.objectives) > 1:
        raise PresynError("patience needs one objective, by which a round is better than those before: leave it out.")
    if space.sampler in POPULATIONS and space.batch < 4:
        raise PresynError(f"sampler {space.sampler} needs a batch of at least 4, not {space.batch}.")


def _check_objectives(space: Space, benchmark: Benchmark) -> None:
    """Refuse an objective that no run of the space has."""
    figures = figure_names(benchmark.measures)
    for objective in space.objectives:
        unmeasured = [m for m, measure in MEASURES.items() if objective in measure.figures and objective not in figures]
        if unmeasured:
            raise PresynError(f"objective {objective} is not measured: put measures: [{unmeasured[0]}] under fixed.")
        if objective in series_names(benchmark.measures):
            raise PresynError(f"objective {objective} is a series, and a search compares single numbers: choose another.")
        reject_unknown([objective], ["mean_accuracy", "forgetting", "loss", *figures], "objective")
        if objective == "forgetting" and (space.rungs[0] < 2 or METHODS[space.method].joint):
            raise PresynError("objective forgetting needs at least two tasks, learned one after the other.")


def _check_types(values: dict[str, Any]) -> None:
    for needed in ("method", "benchmark", "search"):
        if not values.get(needed):
            raise PresynError(f"{needed} is missing.")
    for key, kind in (("method", str), ("benchmark", str), ("search", dict), ("fixed", dict), ("objective", str)):
        if values.get(key) is not None and not isinstance(values[key], kind):
            raise PresynError(f"{key} must be {'a word' if kind is str else 'a list of FIELD: VALUE'}, not {values[key]!r}.")
    for key in ("trials", "sampler_seed", "batch", "rounds", "seeds", "patience"):
        if values.get(key, 0) is not None and (type(values.get(key, 0)) is not int or not 0 <= values.get(key, 0) < 2**32):
            raise PresynError(f"{key} must be a whole number from 0 to 2^32 - 1, not {values[key]!r}.")
    for key in ("trials", "batch", "rounds", "seeds", "patience"):
        most = MOST_SEEDS if key == "seeds" else MOST_TRIALS
        if values.get(key) is not None and not 1 <= values[key] <= most:
            raise PresynError(f"{key} must be from 1 to {most}, not {values[key]}.")
    for key in ("objectives", "directions"):
        if values.get(key) is not None and not (
            isinstance(values[key], list) and values[key] and all(isinstance(v, str) for v in values[key])
        ):
            raise PresynError(f"{key} must be a list of words, such as [mean_accuracy, energy], not {values[key]!r}.")
    chosen = {"sampler": SAMPLERS, "direction": _DIRECTIONS}
    for key, words in chosen.items():
        if key in values and values[key] not in words:
            raise PresynError(f"{key} must be one of {', '.join(words)}, not {values[key]!r}.")
    for word in values.get("directions") or ():
        if word not in _DIRECTIONS:
            raise PresynError(f"directions must be {' or '.join(_DIRECTIONS)}, not {word!r}.")


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
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise PresynError(f"{name} under search is not a range ({e}); write it like {shapes}.") from None


def _corners(space: Space) -> list[dict[str, Any]]:
    """Configurations that reach the ends of every range and all choices."""
    ends = {k: d.choices if isinstance(d, CategoricalDistribution) else (d.low, d.high) for k, d in space.search.items()}  # type: ignore[attr-defined]
    return [{k: v[min(i, len(v) - 1)] for k, v in ends.items()} for i in range(max(map(len, ends.values())))]
