"""The page for readers as a stage: it asks for no runs and reads the rows that other stages have exported."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.experiments.report.content import (
    shape_claims,
    shape_conclusions,
    shape_rule,
    shape_runs,
    shape_table,
    shape_table1,
)
from pipeline.experiments.report.crate import crate
from pipeline.experiments.report.draw import COLOURS, bar_picture
from pipeline.experiments.report.overview import overview
from pipeline.experiments.report.page import render
from pipeline.experiments.search.section import SEARCHED, shape_search
from pipeline.experiments.table1.rows import as_published
from pipeline.experiments.table1.table import make_table, shown
from pipeline.experiments.verdicts.again import in_words, last_check
from pipeline.experiments.verdicts.conclusions import BEGIN, END, fill_blocks
from pipeline.experiments.verdicts.stage import AllVerdicts, Verdicts
from pipeline.paper import BENCHMARKS, RULE, SEARCHED_ON, space_name
from pipeline.records.files import content_bytes
from pipeline.records.results import Results
from pipeline.stage import Known, Made, Stage, Wish, with_latex
from presyn import PresynError, make_run

COLUMNS = ("run_id", "method", "benchmark", "seed", "status", "mean_accuracy", "seconds", "config")
CRATE = "ro-crate-metadata.json"
FIRST_SECTIONS = (("short", "In short"), ("claims", "Claims"))
LAST_SECTION = ("made", "How it was made")


@dataclass(frozen=True, eq=False)
class Report(Stage):
    """The page of the rows under a folder of results.

    Attributes:
        verdicts_stage: Whose value it shows.
        stages: Whose figures and tables it shows, each made again of its rows.
        commands: What makes the files of an experiment; see `crate`.
        readme: A file whose block of conclusions is kept up to date, and those of the pages in docs beside it; None for none.
    """

    verdicts_stage: Verdicts
    stages: Callable[[], Sequence[Stage]]
    commands: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    readme: Path | None = None
    name = "report"
    title = "report"
    reads_results = True

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        return (self.verdicts_stage,)

    def ask(self, known: Known) -> list[Wish]:
        return []

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        assert known.results is not None
        results, conclusions = known.results, known.values[self.verdicts_stage.name]
        runs = shape_runs({p.relative_to(results.folder).as_posix(): results.file(p, COLUMNS) for p in results.paths()})
        remade = {stage: made for stage in self.stages() if (made := remake(stage, results)) is not None}
        values = _page_values(results, conclusions, runs, remade)
        pictures = {name: figure for made in remade.values() for name, figure in made.figures.items()}
        files: dict[str, Any] = {}
        for figure in values["figures"]:
            name = f"figures/{figure['name']}.svg"
            files[name] = content_bytes(pictures[figure["name"]], Path(name))
            figure["width"], figure["height"] = _size(files[name])
        files |= {
            "index.html": render("page.html", values),
            "runs.html": render("runs.html", {"runs": runs, "total_runs": values["total_runs"]}),
            "verdicts.svg": bar_picture(values["top"]["counts"], COLOURS),
        }
        files |= derived_files(remade)
        files[f"../{CRATE}"] = crate(results.folder, [os.path.normpath(f"report/{name}") for name in files], self.commands)
        if self.readme is not None:
            benchmarks = results.folder.glob("bench/*.md")
            tables = {p.relative_to(results.folder).as_posix(): p.read_text(encoding="utf-8") for p in benchmarks}
            tables |= {
                name.removeprefix("../"): content
                for name, content in files.items()
                if name.endswith(".md") and isinstance(content, str)
            }
            files[str(self.readme)] = with_conclusions(self.readme, conclusions, tables)
            for page in sorted((self.readme.parent / "docs").glob("*.md")):
                text = page.read_text(encoding="utf-8")
                if (filled := fill_blocks(text, conclusions.claims, tables)) != text:
                    files[str(page)] = filled
        where = self.folder(results.folder) / "index.html"
        return Made(where, files, message=f"The page is {where}")

    def file(self, results: Path) -> Path | None:
        return None


def remake(stage: Stage, results: Results) -> Made | None:
    """What follows from the exported rows of a stage; None where there are none, or none that was finished."""
    frame = results.rows(stage.name, stage.columns)
    if frame is None and stage.made_of_others:
        frame = pd.DataFrame()
    elif frame is None or not (frame.status == "finished").any():
        return None
    return stage.remake(frame, results)


def derived_files(remade: Mapping[Stage, Made]) -> dict[str, Any]:
    """Name, relative to the folder of the page, -> content, of the tables and figures that follow from exported rows."""
    files: dict[str, Any] = {}
    for stage, made in remade.items():
        files |= {f"../{stage.name}/{name}": content for name, content in with_latex(stage, made).items()}
        files |= {f"../figures/{name}.{kind}": figure for name, figure in made.figures.items() for kind in ("svg", "png")}
    return files


def stale_files(report: Report, conclusions: AllVerdicts, results: Results) -> tuple[list[Path], list[Path]]:
    """Files under a folder of results that are not what its rows make: tables and figures, and those of the page.

    Pictures in PNG are left out, for which the figures in SVG speak; so are files that were never made.
    """
    made = report.make(pd.DataFrame(), Known(values={report.verdicts_stage.name: conclusions}, results=results))
    return stale_among(made.files, report.folder(results.folder))


def stale_among(files: Mapping[str, Any], folder: Path) -> tuple[list[Path], list[Path]]:
    """The same of the files that the page makes, by their names relative to its folder."""
    changed: list[Path] = []
    outdated: list[Path] = []
    for name, content in files.items():
        path = Path(os.path.normpath(folder / name))
        if path.suffix != ".png" and path.exists() and path.read_bytes() != content_bytes(content, path):
            is_of_the_page = not name.startswith("..") or path.name == CRATE
            (outdated if is_of_the_page else changed).append(path)
    return changed, outdated


def with_conclusions(readme: Path, conclusions: AllVerdicts, tables: Mapping[str, str]) -> str:
    """The README with its block of conclusions made of the verdicts, and its tables made of rows.

    Raises:
        PresynError: it has no such block.
    """
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise PresynError(f"{readme} has no block between {BEGIN} and {END} for the conclusions: put one there.")
    return fill_blocks(text, conclusions.claims, tables)


def _size(svg: bytes) -> tuple[int, int]:
    """Width and height of a figure, in points."""
    size = re.search(rb'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg)
    return (round(float(size[1])), round(float(size[2]))) if size else (0, 0)


def _page_values(
    results: Results, conclusions: AllVerdicts, runs: Mapping[str, Any], remade: Mapping[Stage, Made]
) -> dict[str, Any]:
    claims = shape_claims(conclusions.claims, runs)
    distinct = {line["run_id"]: line for file in runs.values() for line in file["lines"]}
    figures = [
        {"name": name, "place": figure.place, "caption": figure.caption, "alt": f"{figure.place}: {figure.caption}"}
        for stage, made in remade.items()
        for name, figure in stage.figures.items()
        if name in made.figures
    ]
    figures.sort(key=lambda figure: (("Fig", "App", "Our").index(figure["place"][:3]), figure["place"]))
    tables = [
        {
            "id": f"table-{stage.name.replace('/', '-')}",
            "title": stage.page_table.title,
            "caption": stage.page_table.caption,
            "finding": made.finding,
            "source": f"results/{stage.name}/table.csv, made by presyn; ± is a standard error over n seeds.",
            **shape_table(made.files["table.csv"]),
        }
        for stage, made in remade.items()
        if stage.page_table is not None and "table.csv" in made.files
    ]
    table1, search, rule = _table1(results, conclusions), _search(results), shape_rule(results, conclusions.claims)
    sections = [
        *FIRST_SECTIONS,
        *([("rule", "How a verdict is reached")] if rule else []),
        *([("table1", "Table 1")] if table1 else []),
        *([("figures", "Figures")] if figures else []),
        *([("search", "Search")] if search else []),
        *((table["id"], table["title"]) for table in tables),
        LAST_SECTION,
    ]
    return {
        "top": shape_conclusions(conclusions.claims),
        "overview": overview(conclusions.claims, as_published(results)) if table1 else [],
        "claims": claims,
        "parts": list(dict.fromkeys(c["part"] for c in claims)),
        "sections": sections,
        "total_runs": len(distinct),
        "deciding_runs": len({i for c in conclusions.claims for v in c.parts for i in v.run_ids}),
        "tested_runs": len({i for c in conclusions.claims for v in (*c.parts, *c.readings) for i in v.run_ids}),
        "rule": rule,
        "table1": table1,
        "figures": figures,
        "search": search,
        "tables": tables,
        "hours": sum(r["seconds"] for r in distinct.values() if r["seconds"] == r["seconds"]) / 3600,
        "torch": sorted({t for file in runs.values() for t in file["torch"]}),
        "devices": sorted({d for file in runs.values() for d in file["devices"]}),
        "again": "" if (check := last_check(results.folder)) is None else in_words(check),
    }


def _table1(results: Results, conclusions: AllVerdicts) -> dict[str, Any]:
    rows = results.rows("table1", [*COLUMNS, "parameters"])
    if rows is None:
        return {}
    benchmarks = tuple(dict.fromkeys([b for b in BENCHMARKS if b in set(rows.benchmark)] + list(rows.benchmark)))
    return shape_table1(shown(make_table(rows, benchmarks), benchmarks), conclusions.claims)


def _search(results: Results) -> dict[str, Any]:
    rows = results.rows(f"search/{space_name(RULE)}", COLUMNS)
    if rows is None:
        return {}
    settings = make_run(RULE, SEARCHED_ON, 0).options.as_dict()
    return shape_search(rows, {name: settings[name] for name in SEARCHED})
