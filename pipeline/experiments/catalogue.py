"""The experiments by name, for `presyn reproduce`; to add one: a stage in a file of this folder, and a line here."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.experiments.ablations import chosen, study
from pipeline.experiments.energy import Energy, Sparsity
from pipeline.experiments.lifelong import lifelong
from pipeline.experiments.paper import FOUR, SEEDS, TUNED_PER_KIND, space_of
from pipeline.experiments.perceptron import SEEDS as PERCEPTRON_SEEDS
from pipeline.experiments.perceptron import Perceptrons
from pipeline.experiments.release_data import FILE, ReleaseData, file_of, read
from pipeline.experiments.releases import EnergySettings, FixedRelease, UniformStart
from pipeline.experiments.search import search
from pipeline.experiments.table1 import Table1, tuned_winners
from pipeline.experiments.verify import verify
from pipeline.stage import Stage
from presyn import BENCHMARKS, METHODS, PresynError
from presyn.options import reject_unknown
from sweeps.space import read_space, space_names

ALL = ("seeds", "set", "digits")
"""Options of the command that an experiment may take."""


@dataclass(frozen=True)
class Choice:
    """What is asked of an experiment.

    Attributes:
        results: Where stages write, and where winners of before are.
        manifests: Where drawn configurations are frozen.
        seeds: None for those of the experiment.
        settings: Fields that are set on top of the experiment's own.
        digits: Whether on scikit-learn's digits.
        data: The data folder.
    """

    results: Path
    manifests: Path | None = None
    seeds: tuple[int, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    digits: bool = False
    data: str | None = None


@dataclass(frozen=True)
class Experiment:
    """An experiment of the paper.

    Attributes:
        words: What it is.
        stages: The stages that make it.
        reads: Whether they read what other experiments have written.
        takes: Options of the command that it takes: seeds, set, digits.
        optional: Whether it is among all experiments, with what is here.
    """

    words: str
    stages: Callable[[Choice], list[Stage]]
    reads: bool = False
    takes: tuple[str, ...] = ()
    optional: Callable[[Choice], bool] = lambda c: True


def _table1(c: Choice) -> list[Stage]:
    space = read_space("presynaptic-permuted-digits" if c.digits else space_of("presynaptic"))
    names = ("permuted-digits", "split-digits") if c.digits else FOUR
    benchmarks = tuple(BENCHMARKS[name] for name in names)
    return [Table1(search(space, c.manifests), c.seeds or SEEDS, benchmarks, tuned_winners(c.results))]


def _searches(c: Choice) -> list[Stage]:
    spaces = [space_of(m) for m in METHODS] + [s for of in TUNED_PER_KIND.values() for s in of.values()]
    return [search(read_space(name), c.manifests) for name in dict.fromkeys(spaces) if name in space_names()]


def _study(source: str, departures: bool = False) -> Callable[[Choice], list[Stage]]:
    def stages(c: Choice) -> list[Stage]:
        on = (BENCHMARKS["split-digits"],) if c.digits else None
        return [study(chosen("presynaptic", None, departures, source, on), c.seeds or SEEDS, c.results, 24, c.manifests)]

    return stages


def _on_one_task(kind: Any) -> Callable[[Choice], list[Stage]]:
    def stages(c: Choice) -> list[Stage]:
        seeds = {"seeds": c.seeds} if c.seeds else {}
        return [kind(BENCHMARKS["digits" if c.digits else "mnist"], **seeds, settings=c.settings)]

    return stages


EXPERIMENTS: dict[str, Experiment] = {
    "searches": Experiment("the searches of all methods, each on the benchmarks it is tuned on", _searches),
    "table1": Experiment("appendix 1, table 1: methods on four benchmarks", _table1, takes=("seeds", "digits")),
    "ablations": Experiment(
        "Fig. 5a, parameters searched again for each ablation", _study("search"), takes=("seeds", "digits")
    ),
    "ablations-published": Experiment("Fig. 5a with the authors' parameters", _study("published"), takes=("seeds",)),
    "departures": Experiment(
        "what the released code does otherwise than the paper says", _study("search", True), takes=("seeds", "digits")
    ),
    "energy": Experiment("Fig. 1, appendix 1a and 1b: energy and information of three models", _on_one_task(Energy), takes=ALL),
    "energy-settings": Experiment("the same with p_up and p_down ± 25 %", _on_one_task(EnergySettings), takes=ALL),
    "fixed-release": Experiment("appendix 1c: fixed release swept over p", _on_one_task(FixedRelease), takes=ALL),
    "sparsity": Experiment("Fig. 2 and 3, appendix 2: important synapses", _on_one_task(Sparsity), takes=ALL),
    "uniform-start": Experiment("appendix 1d: p from a uniform start", _on_one_task(UniformStart), takes=ALL),
    "perceptron": Experiment(
        "Fig. 5b and c: perceptrons on random patterns",
        lambda c: [Perceptrons(c.seeds or PERCEPTRON_SEEDS, settings=c.settings)],
        takes=("seeds", "set"),
    ),
    "lifelong": Experiment(
        "Fig. 4b and c, appendix 3: learning and forgetting over tasks, of rows of table1",
        lambda c: [lifelong(c.results, c.seeds or SEEDS)],
        reads=True,
        takes=("seeds",),
    ),
    "release-data": Experiment(
        f"appendix 4: measured release probabilities, from a file {FILE} in the data folder",
        lambda c: [ReleaseData(read(file_of(c.data)))],
        reads=True,
        optional=lambda c: file_of(c.data).exists(),
    ),
    "verdicts": Experiment("a verdict on every claim, from the rows under results/", lambda c: [verify(c.results)], reads=True),
}


def rounds_of(names: Sequence[str], modules: Sequence[str], choice: Choice) -> list[Callable[[], list[Stage]]]:
    """What to carry out, in rounds: a later one reads what an earlier one has written.

    Args:
        names: Experiments, or stages of the modules; none for all experiments.
        modules: Python modules with stages of the user's own, as values of the module.
        choice: What is asked of them.

    Raises:
        PresynError: an unknown name, a module that cannot be imported, or settings that do not fit.
    """
    own = {stage.name: stage for module in modules for stage in _stages_in(module)}
    names = list(dict.fromkeys(names)) or list(own) or [name for name, e in EXPERIMENTS.items() if e.optional(choice)]
    reject_unknown(names, [*EXPERIMENTS, *own], "experiment")
    given = [name for name, value in (("seeds", choice.seeds), ("set", choice.settings), ("digits", choice.digits)) if value]
    for name in names:
        refused = [option for option in given if name in own or option not in EXPERIMENTS[name].takes]
        if refused:
            raise PresynError(f"--{refused[0]} does not go with {name}: leave it out, or name the experiment it is meant for.")
    first = [EXPERIMENTS[n] for n in names if n not in own and not EXPERIMENTS[n].reads]
    last = [EXPERIMENTS[n] for n in names if n not in own and EXPERIMENTS[n].reads]
    rounds: list[Callable[[], list[Stage]]] = []
    if first or own:
        rounds.append(lambda: [*(s for e in first for s in e.stages(choice)), *(own[n] for n in names if n in own)])
    rounds += [lambda e=e: e.stages(choice) for e in last]  # type: ignore[misc]
    return rounds


def _stages_in(module: str) -> list[Stage]:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except Exception as e:  # what somebody's module raises is anything
        why = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise PresynError(f"--module {module} cannot be imported ({why}). Is its folder here, or on PYTHONPATH?") from None
    stages = [value for value in vars(found).values() if isinstance(value, Stage)]
    if not stages:
        raise PresynError(f"--module {module} holds no stage: make one in it, such as MINE = MyStage().")
    return stages
