"""The experiments by name, for `presyn reproduce`; to add one: a stage in a folder of this one, and a line here."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.experiments.ablations.stage import Departures as DeparturesStage
from pipeline.experiments.ablations.stage import PublishedAblations, SearchedAblations, ablations, choose
from pipeline.experiments.energy.fixed_release import FixedRelease
from pipeline.experiments.energy.settings import EnergySettings
from pipeline.experiments.energy.stage import Energy, SingleTask
from pipeline.experiments.lifelong.stage import Lifelong
from pipeline.experiments.perceptron.stage import Perceptrons
from pipeline.experiments.report.stage import Report
from pipeline.experiments.samplers.stage import samplers
from pipeline.experiments.search.front import front_search
from pipeline.experiments.search.stage import Search, search
from pipeline.experiments.sparsity.stage import Sparsity
from pipeline.experiments.sparsity.uniform_start import UniformStart
from pipeline.experiments.table1.stage import Table1, tuned_winners
from pipeline.experiments.verdicts.stage import Verdicts
from pipeline.paper import BENCHMARKS as TABLE1_BENCHMARKS
from pipeline.paper import RULE, SEARCHED_PER_KIND, SEEDS, space_name
from pipeline.stage import Stage
from presyn import BENCHMARKS, METHODS, PresynError
from presyn.options import reject_unknown
from sweeps.space import read_space, space_names

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
    """

    results: Path
    manifests: Path | None = None
    seeds: tuple[int, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    digits: bool = False


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
    stages: Callable[[Choice], list[Stage]]
    takes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def _table1(c: Choice) -> list[Stage]:
    space = read_space(DIGITS_SPACE if c.digits else space_name(RULE))
    benchmarks = tuple(BENCHMARKS[name] for name in (DIGITS_BENCHMARKS if c.digits else TABLE1_BENCHMARKS))
    return [Table1(search(space, c.manifests), c.seeds or SEEDS, benchmarks, tuned_winners(c.results))]


def _searches(c: Choice) -> list[Stage]:
    spaces = [space_name(m) for m in METHODS] + [name for kinds in SEARCHED_PER_KIND.values() for name in kinds.values()]
    return [search(read_space(name), c.manifests) for name in dict.fromkeys(spaces) if name in space_names()]


def _ablations(source: str, departures: bool = False) -> Callable[[Choice], list[Stage]]:
    def stages(c: Choice) -> list[Stage]:
        benchmarks = (BENCHMARKS["split-digits"],) if c.digits else None
        choice = choose(RULE, None, departures, source, benchmarks)
        return [ablations(choice, c.seeds or SEEDS, c.results, manifests=c.manifests)]

    return stages


def _single_task(kind: type[SingleTask]) -> Callable[[Choice], list[Stage]]:
    def stages(c: Choice) -> list[Stage]:
        seeds = {"seeds": c.seeds} if c.seeds else {}
        return [kind(BENCHMARKS["digits" if c.digits else "mnist"], **seeds, settings=c.settings)]

    return stages


def _perceptrons(c: Choice) -> list[Stage]:
    return [Perceptrons(c.seeds, settings=c.settings) if c.seeds else Perceptrons(settings=c.settings)]


def _samplers(c: Choice) -> list[Stage]:
    short = replace(read_space(DIGITS_SPACE), trials=24) if c.digits else read_space(f"{space_name(RULE)}-short")
    stage = samplers(short, c.manifests)
    return [*stage.needs, stage]


CLAIMING: tuple[type[Stage], ...] = (
    Table1, DeparturesStage, PublishedAblations, Energy, Sparsity, Lifelong, SearchedAblations, Perceptrons,
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
    "sparsity": Experiment("Fig. 2 and 3, appendix 2: important synapses", _single_task(Sparsity), ALL),
    "uniform-start": Experiment("appendix 1d: p from a uniform start", _single_task(UniformStart), ALL),
    "perceptron": Experiment("Fig. 5b and c: perceptrons on random patterns", _perceptrons, ("seeds", "set")),
    "lifelong": Experiment(
        "Fig. 4b and c, appendix 3: learning and forgetting over tasks, of rows of table1",
        lambda c: [Lifelong(c.seeds or SEEDS)],
        ("seeds",),
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
    return [
        stage for name in names for stage in EXPERIMENTS[name].stages(choice) if stage.figures or not isinstance(stage, Search)
    ]


def chosen_stages(names: Sequence[str], modules: Sequence[str], choice: Choice) -> list[Stage]:
    """What to carry out.

    Args:
        names: Experiments, or stages of the modules; none for all experiments, or for all stages of the modules.
        modules: Python modules with stages of the user's own, as values of the module.
        choice: What is asked of them.

    Raises:
        PresynError: an unknown name, a module that cannot be imported, or settings that do not fit.
    """
    from_modules = {stage.name: stage for module in modules for stage in _stages_in(module)}
    names = list(dict.fromkeys(names)) or list(from_modules) or list(EXPERIMENTS)
    reject_unknown(names, [*EXPERIMENTS, *from_modules], "experiment")
    given = [name for name, value in (("seeds", choice.seeds), ("set", choice.settings), ("digits", choice.digits)) if value]
    for name in names:
        refused = [option for option in given if name in from_modules or option not in EXPERIMENTS[name].takes]
        if refused:
            raise PresynError(f"--{refused[0]} does not go with {name}: leave it out, or name the experiment it is meant for.")
    stages = [[from_modules[name]] if name in from_modules else EXPERIMENTS[name].stages(choice) for name in names]
    return [stage for several in stages for stage in several]


def _stages_in(module: str) -> list[Stage]:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last, so that a file here stands for no module of Python's own
    try:
        imported = importlib.import_module(module)
    except Exception as e:  # what somebody's module raises is anything
        why = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise PresynError(f"--module {module} cannot be imported ({why}). Is its folder here, or on PYTHONPATH?") from None
    stages = [value for value in vars(imported).values() if isinstance(value, Stage)]
    if not stages:
        raise PresynError(f"--module {module} holds no stage: make one in it, such as MINE = MyStage().")
    return stages
