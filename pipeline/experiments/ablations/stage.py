"""Ablations and departures as a stage: the same rule with a part of it off or otherwise, side by side.

Each variant is searched again on the validation data of each benchmark, or takes the authors' parameters, or ours of before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.experiments.ablations.claims import ablation_verdicts, continuous_verdicts, ghost_verdicts
from pipeline.experiments.ablations.table import bars, caption, make_table, shown
from pipeline.experiments.ablations.variants import (
    ABLATIONS,
    DEPARTURES_FOLDER,
    FULL,
    PUBLISHED,
    SEARCHED,
    Variants,
    departures_on,
    fitting_variants,
    own_variants,
    variant_space,
)
from pipeline.experiments.search.stage import Search, search
from pipeline.experiments.search.winner import read_best
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.experiments.table1.stage import refuse_same_names
from pipeline.paper import RULE
from pipeline.paper.published import authors_parameters
from pipeline.records.results import Results
from pipeline.report.tables import grid, markdown_table, rounded
from pipeline.report.verdicts import Verdict
from pipeline.stage import Figure, Known, Made, PageTable, Stage, Wish, table_metrics
from presyn import BENCHMARKS, METHODS, Benchmark, PresynError, make_run
from presyn.options import reject_unknown
from sweeps.files import read_yaml
from sweeps.space import Space, method_options

Parameters = Mapping[tuple[str, str], Mapping[str, Any]]
"""(variant, benchmark) -> parameters."""


@dataclass(frozen=True, eq=False)
class Ablations(Stage):
    """Variants of a rule on benchmarks.

    Attributes:
        name: Its folder.
        method: The rule.
        variants: Of each benchmark.
        seeds: Of the reported runs.
        source: What the parameters are: search, reuse (the winners of the last search), published, or default.
        parameters: Those that are known beforehand.
        searches: (variant, benchmark) -> the search that finds them.
        heading: Of the table on the terminal.
        space: A space of somebody's own, in which all variants are searched.

    A column of the table stands for itself, so those of other benchmarks stay in it.

    Raises:
        PresynError: seeds of searches, or a variant that cannot be trained.
    """

    name: str
    method: str
    variants: Mapping[Benchmark, Variants]
    seeds: tuple[int, ...]
    source: str
    parameters: Parameters = field(default_factory=dict)
    searches: Mapping[tuple[str, str], Search] = field(default_factory=dict)
    heading: str = "Ablations"
    space: Space | None = None
    shows_lost = True
    about = "The rule beside variants of it, each with a part switched off or done otherwise."
    columns = ("ablation", "benchmark", "seed")
    extends = "benchmark"

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)
        refuse_same_names(tuple(self.variants))
        for benchmark, variants in self.variants.items():
            for settings in variants.values():
                make_run(self.method, benchmark, self.seeds[0], settings)

    @property
    def title(self) -> str:  # type: ignore[override]
        return self.name

    @property
    def mlflow_experiment(self) -> str:
        return "ablations"

    @property
    def identity(self) -> str:
        return f"{self.name}/{self.source}"

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        return tuple(self.searches.values())

    def _parameters_of(self, variant: str, benchmark: str, known: Known) -> Mapping[str, Any] | None:
        """None as long as they are not searched."""
        its_search = self.searches.get((variant, benchmark))
        if its_search is None:
            return self.parameters.get((variant, benchmark), {})
        winner = known.values[its_search.name]
        return winner.params if winner else None

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {"ablation": fitting_variants(config)}

    def ask(self, known: Known) -> list[Wish]:
        """All runs at once, when the searches are done."""
        if known.rows:
            return []
        wishes = []
        for benchmark, variants in self.variants.items():
            for variant, settings in variants.items():
                parameters = self._parameters_of(variant, benchmark.name, known)
                if parameters is None:
                    continue
                space = variant_space(self.method, settings, variant, benchmark, own=self.space)
                options = method_options(self.method, space.fixed)
                values = {**parameters, **options, **settings}
                values["validation"] = 0  # what a search held out is for searches alone
                labels = {"stage": "ablations", "ablation": variant}
                wishes += [Wish(make_run(self.method, benchmark, seed, values), labels) for seed in self.seeds]
        return wishes

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        made = self.remake(frame)
        winners = {"winners.yaml": self._winners(known)} if self.searches else {}
        return replace(made, files={**made.files, **winners})

    def remake(self, frame: pd.DataFrame, results: Results | None = None) -> Made:
        table = make_table(frame)
        cells, text = shown(table), caption(table)
        files: dict[str, Any] = {
            "table.csv": rounded(table),
            "table.md": f"{markdown_table(cells)}\n\n{text}\n",
            "table.png": bars(table),
        }
        numbers = {"ours": "mean", "standard_error": "standard_error", "n": "n", "difference": "difference"}
        metrics = table_metrics(table, ("ablation", "benchmark"), numbers)
        figures = {"fig5a": bars(table)} if self.name == SEARCHED else {}
        return Made(table, files, "table.csv", metrics=metrics, figures=figures, shown=grid(cells, self.heading, text))

    def _winners(self, known: Known) -> str:
        """The winners by benchmark, beside those that were there of others."""
        by_benchmark: dict[str, dict[str, Any]] = {}
        made = {pair: known.values[its_search.name] for pair, its_search in self.searches.items()}
        winners = {pair: winner.params for pair, winner in made.items() if winner}
        for (variant, benchmark), params in {**self.parameters, **winners}.items():
            by_benchmark.setdefault(benchmark, {})[variant] = dict(params)
        return yaml.safe_dump(by_benchmark)


@dataclass(frozen=True, eq=False)
class SearchedAblations(Ablations):
    """All of Fig. 5a, with parameters searched again for each ablation and benchmark."""

    figures = {"fig5a": Figure("Fig. 5a", "Ablations, with parameters searched again for each")}
    page_table = PageTable("Ablations", "Fig. 5a: one part of the rule left out, and its parameters searched again.")

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return ablation_verdicts(results)


@dataclass(frozen=True, eq=False)
class PublishedAblations(Ablations):
    """All of Fig. 5a, with the authors' parameters."""

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return ghost_verdicts(results)


@dataclass(frozen=True, eq=False)
class Departures(Ablations):
    """What the released code does otherwise than the paper says, with the published parameters."""

    page_table = PageTable(
        "Departures",
        "What the released code does otherwise than the paper says, each undone by itself. Difference is in points of accuracy "
        "from the released rule, paired over seeds.",
    )

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return continuous_verdicts(results)


KINDS = {SEARCHED: SearchedAblations, PUBLISHED: PublishedAblations, DEPARTURES_FOLDER: Departures}
"""Folder -> the stage that belongs there; any other is of variants of somebody's own."""


@dataclass(frozen=True)
class Choice:
    """Which variants are trained, and where their parameters come from; see `Ablations`."""

    name: str
    method: str
    variants: Mapping[Benchmark, Variants]
    source: str
    heading: str = "Ablations"
    space: Space | None = None


Off = Sequence[tuple[Sequence[str], Mapping[str, Any]]]
"""Groups of --off: ablations by name, and settings of one of one's own."""


def choose(
    method: str,
    off: Off | None,
    departures: bool,
    source: str,
    benchmarks: Sequence[Benchmark] | None,
    space: Space | None = None,
) -> Choice:
    """What the options of a command stand for.

    Args:
        method: The rule.
        off: What is switched off; None for all of Fig. 5a.
        departures: Instead, what the released code does otherwise than the paper says.
        source: search, reuse or published.
        benchmarks: None for the paper's, or for that of the space.
        space: One of somebody's own, in which all variants are searched.

    Raises:
        PresynError: options that do not go together, or an unknown ablation.
    """
    if space is not None:
        if departures or source == "published":
            raise PresynError("--space is for searches: leave out --departures and --published-parameters.")
        if method not in (RULE, space.method):
            raise PresynError(f"--method {method} does not go with --space {space.name}, which is of {space.method}.")
        method, benchmarks = space.method, benchmarks or (space.benchmark,)
    names = ("split-mnist", "permuted-mnist", *(("continuous-permuted-mnist",) if departures else ()))
    on = benchmarks or tuple(BENCHMARKS[name] for name in names)
    if departures:
        if off or source != "search" or method != RULE:
            raise PresynError("--departures are of the presynaptic rule with its published parameters: give no other choice.")
        return Choice(DEPARTURES_FOLDER, method, {b: departures_on(b) for b in on}, "default", "Departures")
    reject_unknown([method], METHODS, "method")
    if space and space.method != method:
        raise PresynError(f"--space {space.name} searches {space.method}, and --method is {method}: name one for both.")
    variants: Variants = ABLATIONS
    if off:
        named = [name for names, _ in off for name in names]
        reject_unknown(named, ABLATIONS, "ablation (or FIELD=VALUE)")
        chosen = {**own_variants([settings for _, settings in off if settings]), **{n: ABLATIONS[n] for n in named}}
        variants = {FULL: {}, **{k: v for k, v in chosen.items() if k != FULL}}
    elif method != RULE:
        raise PresynError(f"--off is missing: say what to switch off in {method}, such as --off eta0=0.001.")
    of_one_method = f"ablations-{method}/"
    folder = PUBLISHED if source == "published" else SEARCHED
    folder = folder.replace("ablations/", of_one_method) if off else folder
    folder = folder if space is None else f"ablations-{space.name}/searched"
    return Choice(folder, method, dict.fromkeys(on, variants), source, space=space)


def ablations(
    choice: Choice, seeds: tuple[int, ...], results: Path, trials: int | None = None, manifests: Path | None = None
) -> Ablations:
    """The stage of a choice, with its parameters, or with the searches that find them.

    Args:
        choice: Which variants, and where their parameters come from.
        seeds: Of the reported runs.
        results: Where winners of before are.
        trials: Configurations that a search draws; None for 24, or those of the space.
        manifests: Where drawn configurations are frozen.

    Raises:
        PresynError: there are no such parameters, or bad input.
    """
    kind = KINDS.get(choice.name, Ablations)
    method, variants = choice.method, choice.variants
    # Bad input is found here.
    bare = kind(choice.name, method, variants, seeds, choice.source, heading=choice.heading, space=choice.space)
    pairs = [(variant, benchmark) for benchmark in variants for variant in variants[benchmark]]
    if choice.source == "search":
        spaces = {(v, b.name): variant_space(method, variants[b][v], v, b, trials, choice.space) for v, b in pairs}
        searches = {pair: search(space, manifests, choice.name) for pair, space in spaces.items()}
        return replace(bare, searches=searches, parameters=read_winners(results / choice.name / "winners.yaml"))
    if choice.source == "published":
        parameters = authors_parameters()
        for v, b in pairs:
            reject_unknown([b.name], {b for _, b in parameters}, "benchmark with published parameters")
            reject_unknown([v], {v for v, _ in parameters}, "ablation with published parameters")
        return replace(bare, parameters=parameters)
    return replace(bare, parameters=_reused(choice, pairs, results)) if choice.source == "reuse" else bare


def read_winners(path: Path) -> dict[tuple[str, str], Any]:
    """(variant, benchmark) -> the parameters in a winners.yaml, a summary for people; nothing without one.

    Raises:
        PresynError: it is none.
    """
    by_benchmark = read_yaml(path) if path.exists() else {}
    winners = {
        (v, b): params for b, variants in by_benchmark.items() if isinstance(variants, dict) for v, params in variants.items()
    }
    if not all(isinstance(value, dict) for value in [*by_benchmark.values(), *winners.values()]):
        raise PresynError(f"{path} holds no winners of ablations. Delete it: the same command writes it again.")
    return winners


def _reused(choice: Choice, pairs: Sequence[tuple[str, Benchmark]], results: Path) -> Parameters:
    """The winners of the last searches, each of which says what it was searched for."""
    folders = [results / choice.name, *([results / SEARCHED] if choice.method == RULE else [])]
    parameters: dict[tuple[str, str], Mapping[str, Any]] = {}
    for v, b in pairs:
        space = variant_space(choice.method, choice.variants[b][v], v, b, own=choice.space)
        paths = [folder / "search" / space.name / "best.yaml" for folder in folders]
        remedy = "Without --reuse-parameters they are searched."
        winner = next((w for w in (read_best(path, choice.method, space, remedy) for path in paths) if w), None)
        if winner is None:
            raise PresynError(f"{paths[0]} is missing, so it has no parameters of {v} on {b.name}. {remedy}")
        parameters[v, b.name] = winner.params
    return parameters
