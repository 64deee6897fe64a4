"""Ablations and departures as a stage: the same rule with a part of it off or otherwise, side by side.

Each variant is searched again on the validation data of each benchmark, or takes the authors' parameters, or ours of before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.experiments.search import Search, read_best, search
from pipeline.experiments.table1 import refuse_same_names, refuse_search_seeds
from pipeline.experiments.variants import (
    ABLATIONS,
    FULL,
    SEARCHED,
    Variants,
    departures_on,
    own_variants,
    published_parameters,
    space_of,
)
from pipeline.report.ablations import caption, display, fig5a, make_table
from pipeline.report.figures import ablation_bars
from pipeline.report.terminal import grid
from pipeline.stage import Known, Made, Stage, Wish, metrics_of
from presyn import BENCHMARKS, Benchmark, PresynError, make_run
from presyn.options import reject_unknown
from sweeps.files import read_yaml
from sweeps.space import method_options

Parameters = Mapping[tuple[str, str], Mapping[str, Any]]
"""(variant, benchmark) -> parameters."""


@dataclass(frozen=True, eq=False)
class Ablations(Stage):
    """Variants of a rule on benchmarks.

    Attributes:
        name: The study's, also its folder.
        method: The rule.
        variants: Of each benchmark.
        seeds: Of the reported runs.
        source: What the parameters are: search, reuse (the winners of the last search), published, or default.
        parameters: Those that are known beforehand.
        searches: (variant, benchmark) -> the search that finds them.
        heading: Of the table on the terminal.

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
    experiment = "ablations"
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
    def identity(self) -> str:
        return f"{self.name}/{self.source}"

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        return tuple(self.searches.values())

    def _found(self, variant: str, benchmark: str, known: Known) -> Mapping[str, Any]:
        one = self.searches.get((variant, benchmark))
        if one is None:
            return self.parameters.get((variant, benchmark), {})
        winner = known.values[one.name]
        return winner.params if winner else {}

    def ask(self, known: Known) -> list[Wish]:
        """All runs at once, when the searches are done."""
        if known.rows:
            return []
        wishes = []
        for benchmark, variants in self.variants.items():
            for variant, settings in variants.items():
                of_method = method_options(self.method, space_of(self.method, settings, variant, benchmark).fixed)
                values = {**self._found(variant, benchmark.name, known), **of_method, **settings}
                labels = {"stage": "ablations", "ablation": variant}
                wishes += [Wish(make_run(self.method, benchmark, seed, values), labels) for seed in self.seeds]
        return wishes

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        table = make_table(frame)
        shown, words = display(table), caption(table)
        files: dict[str, Any] = {
            "table.csv": table.round(4),
            "table.md": f"{shown.to_markdown(index=False)}\n\n{words}\n",
            "table.png": ablation_bars(table),
        }
        if self.searches:
            files["winners.yaml"] = self._winners(known)
        numbers = {"ours": "mean", "standard_error": "standard_error", "n": "n", "difference": "difference"}
        metrics = metrics_of(table, ("ablation", "benchmark"), numbers)
        figures = {"fig5a": fig5a(table)} if self.name == SEARCHED else {}
        return Made(table, files, "table.csv", metrics=metrics, figures=figures, shown=grid(shown, self.heading, words))

    def _winners(self, known: Known) -> str:
        """The winners by benchmark, beside those that were there of others."""
        saved: dict[str, dict[str, Any]] = {}
        found = {pair: known.values[one.name].params for pair, one in self.searches.items()}
        for (variant, benchmark), params in {**self.parameters, **found}.items():
            saved.setdefault(benchmark, {})[variant] = dict(params)
        return yaml.safe_dump(saved)


@dataclass(frozen=True)
class Choice:
    """What a study is of; see `Ablations`."""

    name: str
    method: str
    variants: Mapping[Benchmark, Variants]
    source: str
    heading: str = "Ablations"


Off = Sequence[tuple[Sequence[str], Mapping[str, Any]]]
"""Groups of --off: ablations by name, and settings of one of one's own."""


def chosen(method: str, off: Off | None, departures: bool, source: str, benchmarks: Sequence[Benchmark] | None) -> Choice:
    """What the options of a command stand for.

    Args:
        method: The rule.
        off: What is switched off; None for all of Fig. 5a.
        departures: Instead, what the released code does otherwise than the paper says.
        source: search, reuse or published.
        benchmarks: None for the paper's.

    Raises:
        PresynError: options that do not go together, or an unknown ablation.
    """
    names = ("split-mnist", "permuted-mnist", *(("continuous-permuted-mnist",) if departures else ()))
    on = benchmarks or tuple(BENCHMARKS[name] for name in names)
    if departures:
        if off or source != "search" or method != "presynaptic":
            raise PresynError("--departures are of the presynaptic rule with its published parameters: give no other choice.")
        return Choice("departures", method, {b: departures_on(b) for b in on}, "default", "Departures")
    variants: Variants = ABLATIONS
    if off:
        named = [name for names, _ in off for name in names]
        reject_unknown(named, ABLATIONS, "ablation (or FIELD=VALUE)")
        both = {**own_variants([settings for _, settings in off if settings]), **{n: ABLATIONS[n] for n in named}}
        variants = {FULL: {}, **{k: v for k, v in both.items() if k != FULL}}
    elif method != "presynaptic":
        raise PresynError(f"--off is missing: say what to switch off in {method}, such as --off eta0=0.001.")
    folder = f"ablations{f'-{method}' if off else ''}/{'published' if source == 'published' else 'searched'}"
    return Choice(folder, method, dict.fromkeys(on, variants), source)


def study(choice: Choice, seeds: tuple[int, ...], results: Path, trials: int = 24, manifests: Path | None = None) -> Ablations:
    """A study with its parameters found, or with the searches that find them.

    Args:
        choice: What it is of.
        seeds: Of the reported runs.
        results: Where winners of before are.
        trials: Configurations that a search draws.
        manifests: Where drawn configurations are frozen.

    Raises:
        PresynError: there are no such parameters, or bad input.
    """
    c = choice
    bare = Ablations(c.name, c.method, c.variants, seeds, c.source, heading=c.heading)  # bad input is found here
    pairs = [(v, b) for b, of in c.variants.items() for v in of]
    if c.source == "search":
        spaces = {(v, b.name): space_of(c.method, c.variants[b][v], v, b, trials) for v, b in pairs}
        searches = {pair: search(space, manifests, c.name) for pair, space in spaces.items()}
        return replace(bare, searches=searches, parameters=read_winners(results / c.name / "winners.yaml"))
    if c.source == "published":
        known = published_parameters()
        for v, b in pairs:
            reject_unknown([b.name], {b for _, b in known}, "benchmark with published parameters")
            reject_unknown([v], {v for v, _ in known}, "ablation with published parameters")
        return replace(bare, parameters=known)
    return replace(bare, parameters=_reused(c, pairs, results)) if c.source == "reuse" else bare


def read_winners(path: Path) -> dict[tuple[str, str], Any]:
    """(variant, benchmark) -> the parameters in a winners.yaml, a summary for people; nothing without one.

    Raises:
        PresynError: it is none.
    """
    saved = read_yaml(path) if path.exists() else {}
    found = {(v, b): params for b, of in saved.items() if isinstance(of, dict) for v, params in of.items()}
    if not all(isinstance(of, dict) for of in [*saved.values(), *found.values()]):
        raise PresynError(f"{path} is not the winners of a study. Delete it: the same command writes it again.")
    return found


def _reused(choice: Choice, pairs: Sequence[tuple[str, Benchmark]], results: Path) -> Parameters:
    """The winners of the last searches, each of which says what it was searched for."""
    folders = [results / choice.name, *([results / SEARCHED] if choice.method == "presynaptic" else [])]
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for v, b in pairs:
        space = space_of(choice.method, choice.variants[b][v], v, b)
        paths = [folder / "search" / space.name / "best.yaml" for folder in folders]
        winner = next((w for w in (read_best(path, choice.method, space) for path in paths) if w), None)
        if winner is None:
            raise PresynError(
                f"{paths[0]} is missing, so it has no parameters of {v} on {b.name}: "
                "without --reuse-parameters they are searched."
            )
        found[v, b.name] = winner.params
    return found
