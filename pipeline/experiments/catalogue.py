"""The experiments by name, for `presyn reproduce`; to add one: a stage in a folder of this one, and a line here."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.experiments.ablations.stage import Ablations, PublishedAblations, SearchedAblations, ablations, choose
from pipeline.experiments.ablations.stage import Departures as DeparturesStage
from pipeline.experiments.baselines.stage import SEARCHED_AGAIN, TRIED, Baselines, SearchedAgain, Tried
from pipeline.experiments.beyond.fashion import EnergyFashion
from pipeline.experiments.beyond.many_tasks import ManyTasks
from pipeline.experiments.beyond.step_map import StepMap
from pipeline.experiments.energy.fixed_release import FixedRelease
from pipeline.experiments.energy.matched_release import MatchedRelease
from pipeline.experiments.energy.settings import EnergySettings
from pipeline.experiments.energy.stage import Energy, SingleTask
from pipeline.experiments.lifelong.stage import Lifelong
from pipeline.experiments.overlap.stage import Overlap
from pipeline.experiments.perceptron.stage import Perceptrons
from pipeline.experiments.report.stage import Report
from pipeline.experiments.samplers.stage import samplers
from pipeline.experiments.search.front import front_search
from pipeline.experiments.search.overview import SearchOverview
from pipeline.experiments.search.stage import Search, search
from pipeline.experiments.sparsity.stage import FURTHER_SEEDS, Sparsity
from pipeline.experiments.sparsity.uniform_start import UniformStart
from pipeline.experiments.table1.stage import Table1, tuned_winners
from pipeline.experiments.verdicts.stage import Verdicts
from pipeline.paper import ABLATION_SEEDS, ENERGY_SEEDS, RULE, SEARCHED_PER_KIND, SEEDS, space_name
from pipeline.paper import BENCHMARKS as TABLE1_BENCHMARKS
from pipeline.stage import Stage
from presyn import BENCHMARKS, METHODS, PresynError
from presyn.options import reject_unknown
from sweeps.space import USER_SPACES, read_space, space_names
from sweeps.user_code import loaded

ALL = ("seeds", "set", "digits")
"""Options of the command that an experiment may take."""
DIGITS_SPACE, DIGITS_BENCHMARKS = "presynaptic-permuted-digits", ("permuted-digits", "split-digits")


@dataclass(frozen=True)
class Choice:
    """What is asked of an experiment.

    Attributes:
        results: Where stages write, and where winners of before are.
        manifests: Where drawn configurations are frozen.
        seeds: None for those of the experiment.
        settings: Fields that are set on top of the experiment's own.
        digits: Whether on scikit-learn's digits.
        searches: Whether the same command makes the searches of all methods, whose winners are then carried over.
    """

    results: Path
    manifests: Path | None = None
    seeds: tuple[int, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    digits: bool = False
    searches: bool = False


@dataclass(frozen=True)
class Experiment:
    """An experiment of the paper.

    Attributes:
        description: What it is.
        stages: The stages that make it.
        takes: Options of the command that it takes: seeds, set, digits.
        folders: Where its files lie under the results, if not in a folder of its name.
    """

    description: str
    stages: Callable[[Choice], Sequence[Stage]]
    takes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def _table1(c: Choice) -> list[Stage]:
    space = read_space(DIGITS_SPACE if c.digits else space_name(RULE))
    benchmarks = tuple(BENCHMARKS[name] for name in (DIGITS_BENCHMARKS if c.digits else TABLE1_BENCHMARKS))
    others = tuple(_searches(c)) if c.searches else ()
    return [Table1(search(space, c.manifests), c.seeds or SEEDS, benchmarks, tuned_winners(c.results), others)]


def _searches(c: Choice) -> list[Search]:
    spaces = [space_name(m) for m in METHODS] + [name for kinds in SEARCHED_PER_KIND.values() for name in kinds.values()]
    return [search(read_space(name), c.manifests) for name in dict.fromkeys(spaces) if name in space_names()]


def _ablations(source: str, departures: bool = False) -> Callable[[Choice], list[Stage]]:
    def stages(c: Choice) -> list[Stage]:
        benchmarks = (BENCHMARKS["split-digits"],) if c.digits else None
        choice = choose(RULE, None, departures, source, benchmarks)
        searched = source == "search" and not (departures or c.digits)
        return [ablations(choice, c.seeds or (ABLATION_SEEDS if searched else SEEDS), c.results, manifests=c.manifests)]

    return stages


def _single_task(kind: type[SingleTask]) -> Callable[[Choice], list[Stage]]:
    def stages(c: Choice) -> list[Stage]:
        seeds = {"seeds": c.seeds} if c.seeds else {}
        return [kind(BENCHMARKS["digits" if c.digits else "mnist"], **seeds, settings=c.settings)]

    return stages


def _sparsity(c: Choice) -> list[Stage]:
    stages = _single_task(Sparsity)(c)
    if c.seeds or c.settings or c.digits:
        return stages
    return [replace(stage, further_seeds=FURTHER_SEEDS) for stage in stages]  # type: ignore[type-var]


def _perceptrons(c: Choice) -> list[Stage]:
    return [Perceptrons(c.seeds, settings=c.settings) if c.seeds else Perceptrons(settings=c.settings)]


def _baselines(c: Choice) -> list[Stage]:
    winners, seeds = tuned_winners(c.results), c.seeds or SEEDS
    others = tuple(_searches(c)) if c.searches else ()
    searches = [search(read_space(name), c.manifests) for name in SEARCHED_AGAIN]
    again = [SearchedAgain(stage, seeds) for stage in searches]
    return [*(Tried(group, winners, seeds, others) for group in TRIED), *searches, *again, Baselines()]


def _samplers(c: Choice) -> list[Stage]:
    short = replace(read_space(DIGITS_SPACE), trials=24) if c.digits else read_space(f"{space_name(RULE)}-short")
    stage = samplers(short, c.manifests)
    return [*stage.needs, stage]


CLAIMING: tuple[type[Stage], ...] = (
    Table1, DeparturesStage, PublishedAblations, Energy, Sparsity, Lifelong, SearchedAblations, Perceptrons, Overlap,
    EnergyFashion,
)  # fmt: skip
"""Stages that say what is found on the paper's claims."""

EXPERIMENTS: dict[str, Experiment] = {
    "searches": Experiment("the searches of all methods, each on the benchmarks it is tuned on", _searches, (), ("search/",)),
    "table1": Experiment(
        "appendix 1, table 1: methods on four benchmarks", _table1, ("seeds", "digits"), ("table1/", "seeds/")
    ),
    "ablations": Experiment(
        "Fig. 5a, parameters searched again for each ablation",
        _ablations("search"),
        ("seeds", "digits"),
        ("ablations/searched/",),
    ),
    "ablations-published": Experiment(
        "Fig. 5a with the authors' parameters",
        _ablations("published"),
        ("seeds",),
        ("ablations/published/", "ablations-presynaptic/"),
    ),
    "departures": Experiment(
        "what the released code does otherwise than the paper says", _ablations("search", True), ("seeds", "digits")
    ),
    "energy": Experiment("Fig. 1, appendix 1a and 1b: energy and information of three models", _single_task(Energy), ALL),
    "energy-settings": Experiment("the same with p_up and p_down ± 25 %", _single_task(EnergySettings), ALL),
    "fixed-release": Experiment("appendix 1c: fixed release swept over p", _single_task(FixedRelease), ALL),
    "matched-release": Experiment("claim E3 with the fixed p matched at each penalty", _single_task(MatchedRelease), ALL),
    "sparsity": Experiment("Fig. 2 and 3, appendix 2: important synapses", _sparsity, ALL),
    "uniform-start": Experiment("appendix 1d: p from a uniform start", _single_task(UniformStart), ALL),
    "perceptron": Experiment("Fig. 5b and c: perceptrons on random patterns", _perceptrons, ("seeds", "set")),
    "lifelong": Experiment(
        "Fig. 4b and c, appendix 3: learning and forgetting over tasks, of rows of table1",
        lambda c: [Lifelong(c.seeds or SEEDS)],
        ("seeds",),
    ),
    "overlap": Experiment(
        "claim M1: whether tasks learned one by one freeze the same synapses",
        lambda c: [Overlap(c.seeds) if c.seeds else Overlap()],
        ("seeds",),
    ),
    "baselines": Experiment("ours: what was tried on cells of Table 1 that do not come out as printed", _baselines, ("seeds",)),
    "energy-fashion": Experiment(
        "ours: the claims on energy and synapses on Fashion-MNIST, with the parameters of MNIST",
        lambda c: [EnergyFashion(BENCHMARKS["mnist"], c.seeds or ENERGY_SEEDS, settings=c.settings)],
        ("seeds", "set"),
    ),
    "step-map": Experiment(
        "ours: information per energy and accuracy over tasks, over a grid of p_up and p_down",
        lambda c: [StepMap(c.seeds or SEEDS)],
        ("seeds",),
    ),
    "many-tasks": Experiment(
        "ours: thirty permuted tasks, with and without consolidation", lambda c: [ManyTasks(c.seeds or SEEDS)], ("seeds",)
    ),
    "samplers": Experiment(
        "ours: random, quasi-random and learning searches side by side, with and without halving", _samplers, ("digits",)
    ),
    "front": Experiment(
        "ours: accuracy against energy on MNIST, the front that a search of both finds",
        lambda c: [front_search(read_space(f"{RULE}-mnist-energy"), c.manifests)],
        (),
        (f"search/{RULE}-mnist-energy/",),
    ),
    "verdicts": Experiment(
        "a verdict on every claim, from the rows under results/", lambda c: [verdicts()], (), ("claims.", "verdicts.")
    ),
}


def verdicts() -> Verdicts:
    """The stage of verdicts on all claims."""
    return Verdicts(CLAIMING)


def report(readme: Path | None = None) -> Report:
    """The stage of the page for readers.

    Args:
        readme: A file whose block of conclusions is kept up to date.
    """
    commands = {f"presyn reproduce {name}": (e.description, e.folders or (f"{name}/",)) for name, e in EXPERIMENTS.items()}
    return Report(verdicts(), shown_stages, commands, readme)


def shown_stages() -> list[Stage]:
    """The stages whose figures and tables the page shows, as `presyn reproduce` makes them."""
    choice = Choice(Path("results"))
    names = [name for name in EXPERIMENTS if name not in ("searches", "verdicts")]
    stages = [stage for name in names for stage in EXPERIMENTS[name].stages(choice)]
    further_seeds = Ablations(f"ablations-{RULE}/published", RULE, {}, SEEDS, "published")
    stages += [further_seeds, SearchOverview()]
    return [stage for stage in stages if stage.figures or not isinstance(stage, Search)]


def claim_stages() -> list[Stage]:
    """The experiments on whose runs claims are tested, with the paper's settings."""
    return [stage for stage in shown_stages() if isinstance(stage, (*CLAIMING, SingleTask))]


def listing() -> list[str]:
    """A line for each experiment, and lines on what users' own files add."""
    described = {name: experiment.description for name, experiment in EXPERIMENTS.items()}
    described |= {name: _describe_stage(stage) for name, stage in user_stages().items()}
    width = max(map(len, described)) + 2
    spaces = sorted(USER_SPACES)
    added = {"methods": list(loaded.methods), "benchmarks": list(loaded.benchmarks), "search spaces": spaces}
    lines = [f"{name:{width}}{description}" for name, description in described.items()]
    return lines + [f"your {what}: {', '.join(names)}" for what, names in added.items() if names]


def _describe_stage(stage: Stage) -> str:
    first = (type(stage).__doc__ or "").strip().splitlines()
    return first[0] if first and not first[0].startswith(f"{type(stage).__name__}(") else stage.title or stage.name


def chosen_names(names: Sequence[str]) -> list[str]:
    """Experiments by name, each once; without names all that --module named, or else all of the paper."""
    return list(dict.fromkeys(names)) or [name for module in loaded.given for name in _stages_in(module)] or list(EXPERIMENTS)


def chosen_stages(names: Sequence[str], choice: Choice) -> list[Stage]:
    """What to carry out.

    Args:
        names: Experiments, of the paper or of users' own files; none for all that --module named, or else all of the paper.
        choice: What is asked of them.

    Raises:
        PresynError: an unknown name, or settings that do not fit.
    """
    stages_of_user = user_stages()
    names = chosen_names(names)
    asked_of_module = names == list(EXPERIMENTS) or not {*names} <= {*EXPERIMENTS, *stages_of_user}
    if loaded.given and asked_of_module and not any(map(_stages_in, loaded.given)):
        raise PresynError(f"--module {loaded.given[0].__name__} holds no stage: make one in it, such as MINE = MyStage().")
    reject_unknown(names, [*EXPERIMENTS, *stages_of_user], "experiment")
    choice = replace(choice, searches="searches" in names)
    given = [name for name, value in (("seeds", choice.seeds), ("set", choice.settings), ("digits", choice.digits)) if value]
    for name in names:
        takes = _takes(stages_of_user[name]) if name in stages_of_user else EXPERIMENTS[name].takes
        refused = [option for option in given if option not in takes]
        if refused:
            raise PresynError(f"--{refused[0]} does not go with {name}: leave it out, or name the experiment it is meant for.")
    stages = [
        [_with_choice(stages_of_user[name], choice)] if name in stages_of_user else EXPERIMENTS[name].stages(choice)
        for name in names
    ]
    return [stage for several in stages for stage in several]


def user_stages() -> dict[str, Stage]:
    """Name -> experiment, of those in users' own files.

    Raises:
        PresynError: one has the name of an experiment of the paper, or two have one name.
    """
    stages: dict[str, Stage] = {}
    for module in loaded.modules:
        for name, stage in _stages_in(module).items():
            if name in EXPERIMENTS or stages.get(name, stage) is not stage:
                raise PresynError(f"{module.__name__} has an experiment {name}, and there is one already: rename it.")
            stages[name] = stage
    return stages


def _stages_in(module: ModuleType) -> dict[str, Stage]:
    """Name -> experiment, of those in a module.

    Raises:
        PresynError: one has no name or title, or two have one name.
    """
    stages: dict[str, Stage] = {}
    for variable, stage in vars(module).items():
        if not isinstance(stage, Stage):
            continue
        for attribute in ("name", "title"):
            if not isinstance(getattr(stage, attribute, None), str):
                raise PresynError(
                    f'{module.__name__}: the experiment {variable} needs a {attribute}, such as {attribute} = "mine".'
                )
        if stages.setdefault(stage.name, stage) is not stage:
            raise PresynError(f"{module.__name__} has two experiments called {stage.name}: rename one of them.")
    return stages


def _takes(stage: Stage) -> tuple[str, ...]:
    """Options of the command that a stage of a user's takes: --seeds and --set if it has such attributes."""
    return tuple(option for option, attribute in (("seeds", "seeds"), ("set", "settings")) if hasattr(stage, attribute))


def _with_choice(stage: Stage, choice: Choice) -> Stage:
    """A user's stage with the seeds and settings that were given."""
    values = {"seeds": choice.seeds, "settings": dict(choice.settings)}
    changed = {name: value for name, value in values.items() if value}
    if is_dataclass(stage) and changed.keys() <= {f.name for f in fields(stage) if f.init}:
        return replace(stage, **changed)
    stage = copy(stage)
    for name, value in changed.items():
        object.__setattr__(stage, name, value)
    return stage
