"""The experiments: runs of Table 1 with something done otherwise, what they come to, and cells beside the authors' code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.experiments.ablations.variants import DEPARTURES
from pipeline.experiments.search.stage import Search
from pipeline.experiments.search.winner import Winner
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.experiments.table1.rows import as_published
from pipeline.experiments.table1.stage import key_of, new_winners, not_searched
from pipeline.experiments.table1.table import beside_authors
from pipeline.paper import BENCHMARKS as TABLE1_BENCHMARKS
from pipeline.paper import METHOD_NAMES, RULE, SEARCHED_ON, SEARCHED_PER_KIND, SEEDS
from pipeline.paper.published import published_table
from pipeline.records.results import Results
from pipeline.report.statistics import Sample, plus_minus
from pipeline.report.tables import as_markdown, grid
from pipeline.stage import Known, Made, PageTable, Stage, Wish, nothing_to_train, table_metrics
from presyn import BENCHMARKS, make_run
from presyn.methods.bgd import AUTHORS

TRIED: dict[str, tuple[tuple[str, str, Mapping[str, Any]], ...]] = {
    "sgd": tuple(
        ("sgd", "split-mnist", {"eta0": rate, "optimizer": optimizer})
        for optimizer in ("sgd", "adam")
        for rate in (1e-6, 3e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    ),
    "presynaptic": tuple(
        (RULE, "split-fashion", settings)
        for settings in ({"dataset": "fashion-unit"}, *(values for values in DEPARTURES.values() if values))
    ),
    "ewc": (
        *(("ewc", "permuted-mnist", {"dataset": dataset}) for dataset in ("mnist-unit", "mnist-shift", "mnist-scale")),
        ("ewc", "permuted-fashion", {"dataset": "fashion-unit"}),
    ),
    "bgd-split": tuple(("bgd", benchmark, {"rule": "authors"}) for benchmark in TABLE1_BENCHMARKS if "split" in benchmark),
    "bgd-permuted": tuple(
        ("bgd", benchmark, {"rule": "authors"}) for benchmark in TABLE1_BENCHMARKS if "split" not in benchmark
    ),
    # On split benchmarks `rule=authors` changes the start alone, because they have no permutations.
    "bgd-one-by-one": tuple(("bgd", "permuted-mnist", {name: value}) for name, value in AUTHORS.items()),
}
"""Group -> method, benchmark and what departs from its settings in Table 1."""
SEARCHED_AGAIN = ("ewc-permuted-mnist-unit", "ewc-permuted-fashion")
"""Spaces of methods whose settings the paper does not name, on other inputs or on another benchmark than those of Table 1."""
COLUMNS = ("tried", "method", "benchmark", "seed")


class Group(Stage):
    """Runs that are put beside the same cells of Table 1; `group` names its folder."""

    group: str
    seeds: tuple[int, ...]
    shows_lost = True
    columns = COLUMNS

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"baselines/{self.group}"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"baselines, {self.group}"

    @property
    def mlflow_experiment(self) -> str:
        return "baselines"

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        if frame.empty:
            return nothing_to_train(self)
        table = compare(frame)
        metrics = table_metrics(table, ("tried", "method", "benchmark"), ("ours",))
        files = {"table.csv": table, "table.md": as_markdown(shown(table))}
        return Made(table, files, "table.csv", metrics=metrics, shown=grid(shown(table), self.title))


@dataclass(frozen=True, eq=False)
class Tried(Group):
    """Runs of one group.

    Attributes:
        group: One of TRIED.
        winners: METHOD-BENCHMARK -> the winner of its search, for methods whose settings the paper does not name.
        seeds: Of the runs.
        others: Searches of the same command, whose winners take the place of earlier ones.
    """

    group: str
    winners: Mapping[str, Winner]
    seeds: tuple[int, ...] = SEEDS
    others: tuple[Search, ...] = ()
    about = "Runs of Table 1 in which something is done otherwise."

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        used = {_searched_as(method, benchmark) for method, benchmark, _ in TRIED[self.group]}
        return tuple(other for other in self.others if key_of(other) in used)

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        winners = {**self.winners, **new_winners(self.needs, known)}  # type: ignore[arg-type]
        wishes = []
        for method, benchmark, settings in TRIED[self.group]:
            space = _searched_as(method, benchmark)
            if space and space not in winners:
                continue  # its default settings are not those of Table 1; see leaves_out
            values = {**(winners[space].params if space else {}), **settings}
            labels = {"tried": in_words(settings)}
            wishes += [Wish(make_run(method, BENCHMARKS[benchmark], seed, values), labels) for seed in self.seeds]
        return wishes

    def leaves_out(self) -> list[str]:
        to_come = {key_of(other) for other in self.others}
        lines: dict[str, list[str]] = {}
        for method, benchmark, settings in TRIED[self.group]:
            space = _searched_as(method, benchmark)
            if space and space not in self.winners and space not in to_come:
                lines.setdefault(not_searched(space), []).append(f"{in_words(settings)} of {method} on {benchmark}")
        return [f"{', '.join(runs)}: {reason}" for reason, runs in lines.items()]


def _searched_as(method: str, benchmark: str) -> str:
    """The space in which a method is searched whose settings the paper does not name; of other methods, nothing."""
    return SEARCHED_PER_KIND.get(method, {}).get(BENCHMARKS[benchmark].kind, "")


@dataclass(frozen=True, eq=False)
class SearchedAgain(Group):
    """Runs with the winner of a search of SEARCHED_AGAIN, on the benchmark and the inputs on which it was found.

    Attributes:
        search: That search, whose space names the group.
        seeds: Of the runs.
    """

    search: Search
    seeds: tuple[int, ...] = SEEDS
    about = "Runs of Table 1 with settings that were searched on other inputs or another benchmark."

    @property
    def group(self) -> str:  # type: ignore[override]
        return self.search.space.name

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        return (self.search,)

    def ask(self, known: Known) -> list[Wish]:
        winner, space = known.values[self.search.name], self.search.space
        if known.rows or winner is None:
            return []
        settings = {**winner.settings, "dataset": space.fixed.get("dataset", space.benchmark.dataset)}
        benchmark = BENCHMARKS[space.benchmark.name]
        return [
            Wish(make_run(space.method, benchmark, seed, settings), {"tried": f"search = {space.name}"}) for seed in self.seeds
        ]


@dataclass(frozen=True, eq=False)
class Baselines(Stage):
    """The table of all groups."""

    name = "baselines"
    title = "what was tried on cells of Table 1"
    columns = COLUMNS
    reads_results = True
    made_of_others = True
    page_table = PageTable(
        "What was tried on cells of Table 1",
        "Methods as in Table 1 but for what is named, on the test set. Accuracies in %; difference is in points from the "
        "printed mean. None of this decides a verdict.",
    )

    def ask(self, known: Known) -> list[Wish]:
        return []

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        assert known.results is not None
        return self.remake(frame, known.results)

    def remake(self, frame: pd.DataFrame, results: Results) -> Made:
        groups = [
            rows for group in (*TRIED, *SEARCHED_AGAIN) if (rows := results.rows(f"baselines/{group}", COLUMNS)) is not None
        ]
        cells = beside_authors(as_published(results))
        files: dict[str, Any] = {} if cells.empty else {"authors_code.md": as_markdown(cells)}
        if not (script := authors_script(results.folder / "baselines" / "authors_bgd.csv")).empty:
            files["authors_bgd.md"] = as_markdown(script)
        if not groups:
            return Made(files=files, message="Nothing was tried yet.")
        table = pd.concat([compare(rows) for rows in groups], ignore_index=True)
        files |= {"table.csv": table, "table.md": as_markdown(shown(table))}
        return Made(table, files, "table.csv", shown=grid(shown(table), self.title))


def authors_script(path: Path) -> pd.DataFrame:
    """The runs of authors_bgd.py, in which BGD starts as its authors start it: a line for each kind of inputs, in %."""
    runs = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["inputs", "mean_accuracy"])
    printed = published_table()["bgd", SEARCHED_ON].mean
    lines = []
    for inputs, shares in runs.groupby("inputs", sort=False).mean_accuracy:
        sample = Sample.from_values((100 * shares).tolist())
        ours = plus_minus(sample.mean, sample.standard_error)
        lines.append([inputs, str(sample.n), ours, f"{printed:.2f}", f"{sample.mean - printed:+.2f}"])
    return pd.DataFrame(lines, columns=["inputs", "n", "the script", "published", "difference"])


def in_words(settings: Mapping[str, Any]) -> str:
    """What departs from the settings of Table 1, as its label."""
    return ", ".join(f"{name} = {f'{value:g}' if isinstance(value, float) else value}" for name, value in settings.items())


def compare(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each thing tried: method, benchmark, tried, n, lost, ours and ours_error in %, published, difference."""
    lines = []
    for (method, benchmark, tried), rows in frame.groupby(["method", "benchmark", "tried"], sort=False):
        sample = Sample.from_values((100 * rows[rows.status == "finished"].mean_accuracy).tolist())
        printed = published_table()[str(method), str(benchmark)].mean
        lost = len(rows) - sample.n
        lines.append(
            [method, benchmark, tried, sample.n, lost, sample.mean, sample.standard_error, printed, sample.mean - printed]
        )
    names = ["method", "benchmark", "tried", "n", "lost", "ours", "ours_error", "published", "difference"]
    return pd.DataFrame(lines, columns=names).round(4)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    ours = [plus_minus(r.ours, r.ours_error) + (f", {r.lost} lost" if r.lost else "") for r in table.itertuples()]
    return pd.DataFrame(
        {
            "method": table.method.map(METHOD_NAMES),
            "benchmark": table.benchmark,
            "what differs": table.tried,
            "n": table.n.astype(str),
            "ours": ours,
            "published": table.published.map("{:.2f}".format),
            "difference": [plus_minus(d, float("nan"), "+.2f") for d in table.difference],
        }
    )
