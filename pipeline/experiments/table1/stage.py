"""Table 1: the search's winner and the published parameters, the controls, and the published numbers beside ours."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.experiments.search.stage import Search
from pipeline.experiments.search.winner import Winner, searched_for, winner_of_today
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.experiments.table1.claims import table1_verdicts
from pipeline.experiments.table1.table import caption, make_table, shown, title
from pipeline.paper import (
    BENCHMARKS,
    PARAMETER_NAME_WITHOUT_SETTINGS,
    PARAMETER_NAMES,
    RULE,
    SEARCHED_ON,
    SEARCHED_PER_KIND,
    SET_BY_HAND,
    space_name,
)
from pipeline.paper.published import COME_ALONG
from pipeline.records.latex import as_latex
from pipeline.records.results import Results
from pipeline.report.drawing import table_picture
from pipeline.report.tables import grid, markdown_table, rounded
from pipeline.report.verdicts import Verdict
from pipeline.stage import Known, Made, Stage, Wish, table_metrics
from presyn import BENCHMARKS as ALL_BENCHMARKS
from presyn import METHODS, Benchmark, PresynError, make_run
from sweeps.files import USER_BENCHMARKS
from sweeps.space import USER_SPACES, read_space, space_names


@dataclass(frozen=True, eq=False)
class Table1(Stage):
    """The table of some benchmarks.

    Attributes:
        search: The search whose winner is carried over; None where winners of before are enough.
        seeds: Of the reported runs.
        benchmarks: Its columns.
        tuned: METHOD-BENCHMARK -> the winner of an earlier search of that method on that benchmark.
        others: Searches of the same command, whose winners take the place of earlier ones.

    A benchmark of somebody's own has a row of each method with its default settings, and one with those that were searched on
    the benchmark of the search, if they were. A benchmark that holds out validation images is tested on the test set here.

    The paper's protocol can be read in several ways. as_published: the published settings; default: of a method that has
    none. searched: tuned once, on Permuted MNIST, and carried over, with eta0 of the paper's rule set by hand for each kind of
    benchmark, as in the paper; strict: that eta0 carried over as well.

    Raises:
        PresynError: seeds of searches, or a space whose winner is not the table's to carry over.
    """

    search: Search | None
    seeds: tuple[int, ...]
    benchmarks: tuple[Benchmark, ...]
    tuned: Mapping[str, Winner] = field(default_factory=dict)
    others: tuple[Search, ...] = ()
    name = "table1"
    about = "Table 1: each method on each benchmark, with the published settings and with those that a search found."
    shows_lost = True
    columns = ("method", "benchmark", "parameters", "seed")

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)
        refuse_same_names(self.benchmarks)
        space = self.search.space if self.search else None
        if space and not space.benchmark.permuted and any(b.name in BENCHMARKS for b in self.benchmarks):
            raise PresynError(
                f"Table 1 carries over what was searched on permuted tasks, but {space.name} searches {space.benchmark.name}."
            )

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"table 1, {len(self.seeds)} seeds"

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        return (*([self.search] if self.search else []), *self.others)

    @property
    def searched_on(self) -> str:
        """The benchmark whose winners are carried over."""
        return self.search.space.benchmark.name if self.search else SEARCHED_ON

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        method, benchmark = config["method"], config["benchmark"]
        if benchmark not in BENCHMARKS or method not in METHODS or benchmark not in METHODS[method].published:
            return {}
        published = make_run(method, benchmark, config["seed"]).options.as_dict()
        is_published = all(config[name] == value for name, value in published.items())
        return {} if is_published else {"parameters": ("searched", "strict")}  # a search may find what is published

    def ask(self, known: Known) -> list[Wish]:
        """All runs of the table at once; without a winner, those that do not need it."""
        if known.rows:
            return []
        winner = known.values[self.search.name] if self.search else None
        with_new_winners = replace(self, tuned={**self.tuned, **new_winners(self.others, known)}, others=())
        return [
            Wish(make_run(method, on_test_set(benchmark), seed, settings), {"stage": "table1", "parameters": label})
            for benchmark in self.benchmarks
            for seed in self.seeds
            for method in METHODS
            for label, settings in with_new_winners.settings_by_label(method, benchmark, winner)
        ]

    def settings_by_label(
        self, method: str, benchmark: Benchmark, winner: Winner | None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the settings of a method on a benchmark are called, and the overrides that give them."""
        published = self._published(method, benchmark)
        if published is not None:
            yield published
        if self.search is None or method != self.search.space.method:
            searched_on = SEARCHED_ON if benchmark.name in BENCHMARKS else self.searched_on
            winner = self.tuned.get(f"{method}-{searched_on}")
        if winner is not None:
            yield from _carried(method, benchmark, winner.settings)

    def _published(self, method: str, benchmark: Benchmark) -> tuple[str, dict[str, Any]] | None:
        """The published settings, or the default ones where none were; None if those are still to be searched."""
        kind, printed = METHODS[method], benchmark.name in BENCHMARKS
        if method in SEARCHED_PER_KIND and printed:
            winner = self.tuned.get(SEARCHED_PER_KIND[method]["permuted" if benchmark.permuted else "split"])
            return ("as_published", winner.settings) if winner else None
        if printed and not kind.published and space_name(method) in space_names() and not kind.joint:
            return None  # it is shown with what its search found
        has_settings = benchmark.name in kind.published and benchmark.dataset != "digits"  # those of the digits are ours
        return "as_published" if has_settings or kind.joint and printed else "default", {}

    def leaves_out(self) -> list[str]:
        lines: dict[tuple[str, str], list[str]] = {}
        to_come = {key_of(other): other.stand_in(Known()) for other in self.others}
        with_expected_winners = replace(self, tuned={**to_come, **self.tuned}, others=())
        for benchmark in self.benchmarks:
            for method in METHODS:
                for reason in with_expected_winners._reasons(method, benchmark):
                    lines.setdefault((method, reason), []).append(benchmark.name)
        return [f"{method} on {', '.join(names)}, {reason}" for (method, reason), names in lines.items()]

    def _reasons(self, method: str, benchmark: Benchmark) -> Iterator[str]:
        """Which readings of a method's settings a benchmark has no row of, and why."""
        as_published, once = (
            PARAMETER_NAME_WITHOUT_SETTINGS.get(method, PARAMETER_NAMES["as_published"]),
            PARAMETER_NAMES["searched"],
        )
        printed = benchmark.name in BENCHMARKS
        if self._published(method, benchmark) is None:
            space = SEARCHED_PER_KIND.get(method, {}).get("permuted" if benchmark.permuted else "split")
            if space:
                yield f"{as_published}: {not_searched(space)}"
        # The search of the table itself is carried over, and joint training has none.
        if METHODS[method].joint or self.search is not None and method == self.search.space.method:
            return
        if not printed and f"{method}-{self.searched_on}" not in self.tuned:
            yield f"{once}: it was not searched on {self.searched_on} (presyn search --space, with the same --results)"
        space = space_name(method)
        if printed and space not in self.tuned:
            yield f"{once}: {not_searched(space)}"

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        return self._make(frame, tuple(b.name for b in self.benchmarks))

    def remake(self, frame: pd.DataFrame, results: Results | None = None) -> Made:
        return self._make(frame, tuple(dict.fromkeys(frame.benchmark)))

    def _make(self, frame: pd.DataFrame, benchmarks: tuple[str, ...]) -> Made:
        table = make_table(frame, benchmarks)
        cells, text = shown(table, benchmarks), caption(table, self.searched_on)
        files = {
            "table1.csv": rounded(table),
            "table1.md": f"{title(benchmarks)}\n\n{markdown_table(cells)}\n\n{text}\n",
            "table1.tex": as_latex(cells, f"{title(benchmarks)}. {text}", "tab:table1"),
            "table1.png": table_picture(cells, len(benchmarks)),
        }
        numbers = {"ours": "mean", "standard_error": "standard_error", "n": "n"}
        metrics = table_metrics(table, ("method", "benchmark", "parameters"), numbers)
        params = {"seeds": list(self.seeds), **({"trials": self.search.space.trials} if self.search else {})}
        return Made(table, files, "table1.csv", params, metrics, shown=grid(cells, title(benchmarks), text))

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return table1_verdicts(results)


def _carried(method: str, benchmark: Benchmark, once: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The readings of what carrying over parameters means."""
    # On a benchmark of one's own nobody set anything by hand.
    by_hand = method == RULE and not benchmark.permuted and benchmark.name in METHODS[method].published
    yield "searched", {k: v for k, v in once.items() if k != SET_BY_HAND or not by_hand}
    if method == RULE and SET_BY_HAND in once:
        yield "strict", once


def not_searched(space: str) -> str:
    """Why there is no winner of a space: none was searched, or only with other code of its method."""
    return f"{space} has not been searched with today's code (presyn search --space {space})"


def key_of(search: Search) -> str:
    """METHOD-BENCHMARK of a search."""
    return f"{search.space.method}-{search.space.benchmark.name}"


def new_winners(searches: Sequence[Search], known: Known) -> dict[str, Winner]:
    """METHOD-BENCHMARK -> the winner of a search that a stage needs, of those that have one."""
    return {key_of(s): winner for s in searches if (winner := known.values[s.name]) is not None}


def tuned_winners(results: Path, benchmarks: Sequence[Benchmark] = ()) -> dict[str, Winner]:
    """METHOD-BENCHMARK -> the winner of an earlier search, of these results or else of those that come along.

    Of the spaces of Table 1, which are named so, and of users' own: those that `presyn.toml` lists, and those of which only
    the winner is there, the newest for each method and benchmark. Those found with other code of a method than today's are
    left out.

    Args:
        results: Where the searches are.
        benchmarks: Of the table, which may be in files that nothing else names.
    """
    method_by_space = {space_name(method): method for method in METHODS}
    method_by_space |= {name: method for method, spaces in SEARCHED_PER_KIND.items() for name in spaces.values()}
    method_by_space |= {name: read_space(name).method for name in USER_SPACES}
    winners: dict[str, Winner] = {}
    for name, method in method_by_space.items():
        space = read_space(name) if name in space_names() else None
        for folder in (results, COME_ALONG):
            winner = winner_of_today(folder / "search" / name / "best.yaml", method, space)
            if winner is not None:
                winners.setdefault(f"{method}-{space.benchmark.name}" if space else name, winner)
    by_name = {**ALL_BENCHMARKS, **USER_BENCHMARKS, **{b.name: b for b in benchmarks}}
    others = [path for path in (results / "search").glob("*/best.yaml") if path.parent.name not in method_by_space]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
        method_and_benchmark = searched_for(path, by_name)
        if method_and_benchmark and (winner := winner_of_today(path, method_and_benchmark[0])) is not None:
            winners.setdefault("-".join(method_and_benchmark), winner)
    return winners


def on_test_set(benchmark: Benchmark) -> Benchmark:
    """The benchmark without held-out images, on which parameters were chosen: what is reported is tested on the test set."""
    return replace(benchmark, validation=0) if benchmark.validation else benchmark


def refuse_same_names(benchmarks: tuple[Benchmark, ...]) -> None:
    """Raise a PresynError for two benchmarks of one name, which no table could tell apart."""
    names = [b.name for b in benchmarks]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise PresynError(f"Two benchmarks are called {twice[0]}: give one of them another name in its file.")
