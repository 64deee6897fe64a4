"""What stages ask for: each in order, again while its rows are there, and with stand-ins for what is not made yet."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.plan import Plan
from pipeline.records.csvs import RowsFile, as_cell, read_file, refuse_to_drop, refuse_twice, rows_csv, text_frame
from pipeline.records.files import write_whole
from pipeline.records.results import Results
from pipeline.records.row import Row, reserved_label
from pipeline.stage import Known, Labels, Made, Stage, Wish, with_latex
from presyn import PresynError
from presyn.code_digest import is_known, known_digests


@dataclass(frozen=True)
class Asked:
    """What a stage has asked for so far.

    Attributes:
        wishes: With the id of each run.
        first: Ids of the runs that it asked for before any row was known; they tell it from others in MLflow.
        complete: Whether all their rows are there and it asks for nothing more.
        certain: Whether it asked with what the stages that it needs made, and not with stand-ins.
        to_come: Stand-ins for what it will ask for later.
    """

    stage: Stage
    wishes: Sequence[tuple[Wish, str]]
    first: Sequence[str]
    complete: bool
    certain: bool = True
    to_come: Sequence[Wish] = ()

    @property
    def paused(self) -> list[str]:
        """Ids of the runs from whose end a longer run may go on."""
        return sorted({run_id for wish, run_id in self.wishes if wish.pauses})

    @property
    def ids(self) -> list[str]:
        return sorted({run_id for _, run_id in self.wishes})

    def labels(self) -> dict[str, dict[str, str]]:
        """Run id -> the labels that the stage gives it, as text; a run that has two values of one label has both."""
        labels_by_id: dict[str, dict[str, str]] = {}
        for wish, run_id in self.wishes:
            labels = labels_by_id.setdefault(run_id, {})
            for name, value in wish.labels.items():
                text = f"{value:g}" if isinstance(value, float) else str(value)
                if name != "stage" and text not in labels.get(name, "").split(", "):
                    labels[name] = f"{labels[name]}, {text}" if name in labels else text
        return labels_by_id

    def rows(self, plan: Plan) -> list[tuple[Labels, Row]]:
        """The rows that are there, with their labels."""
        return [(wish.labels, plan.rows[run_id]) for wish, run_id in self.wishes if run_id in plan.rows]

    def line_keys(self) -> list[tuple]:
        """The values of the stage's columns for each of its wishes."""
        cells = [_key_cells(wish, run_id) for wish, run_id in self.wishes]
        return [tuple(values[column] for column in self.stage.columns) for values in cells]


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Stages and all that they need, each once, after what it needs; those that read the results of others come last.

    Raises:
        PresynError: two different stages have one name.
    """
    by_name: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        for needed in stage.needs:
            visit(needed)
        if by_name.setdefault(stage.name, stage) != stage:
            raise PresynError(f"Two stages are called {stage.name}: rename a benchmark, a space or an ablation of one of them.")

    for stage in stages:
        visit(stage)
    return sorted(by_name.values(), key=lambda stage: stage.reads_results)


def collect(stage: Stage, values: Mapping[str, Any], plan: Plan, results: Results | None = None) -> Asked:
    """Ask a stage, and again while the rows of all that it asked for are there.

    Args:
        stage: Whom to ask.
        values: Of the stages that it needs.
        plan: Gets the runs.
        results: The rows of other stages, for one that reads them; None as long as these are not written.
    """
    wishes: list[tuple[Wish, str]] = []
    keys: set[tuple] = set()
    first: list[str] = []
    while True:
        rows = [(wish.labels, plan.rows[run_id]) for wish, run_id in wishes]
        wanted = stage.ask(Known(rows, values, results))
        _refuse_wishes(stage, wanted)
        new = [(wish, plan.add(wish.run, wish.pauses, wish.goes_on_from)) for wish in wanted]
        first = first or sorted({run_id for _, run_id in new})
        if not new:
            return Asked(stage, wishes, first, True)
        if {run_id for _, run_id in new} <= {run_id for _, run_id in wishes}:
            raise PresynError(f"The stage {stage.name} asks again for runs that it has: its `ask` must end with nothing.")
        wishes += new
        _refuse_columns(stage, new, keys)
        if not plan.rows.keys() >= {run_id for _, run_id in wishes}:
            present_rows = [(wish.labels, plan.rows[run_id]) for wish, run_id in wishes if run_id in plan.rows]
            return Asked(stage, wishes, first, False, to_come=stage.to_come(Known(present_rows, values, results)))


def _refuse_wishes(stage: Stage, wishes: Any) -> None:
    """Raise a PresynError for what `ask` may not return: no list of wishes, or a label under the name of another column."""
    if not isinstance(wishes, list | tuple) or not all(isinstance(wish, Wish) for wish in wishes):
        raise PresynError(f"`ask` of the stage {stage.name} must return a list of Wish, not {wishes!r:.60}.")
    for name in dict.fromkeys(name for wish in wishes for name in wish.labels):
        if reserved_label(name):
            raise PresynError(
                f"The stage {stage.name} calls a label {name!r}, which is the name of a column that rows have: "
                "give the label another name."
            )


def _refuse_columns(stage: Stage, wishes: Sequence[tuple[Wish, str]], keys: set[tuple]) -> None:
    """Raise a PresynError, before anything is trained, for columns that are no names or do not tell the runs apart.

    Args:
        stage: Whose columns they are.
        wishes: What it asks for now.
        keys: The values of the columns for what it asked for before; those of the wishes are added.
    """
    columns = stage.columns
    if not isinstance(columns, tuple | list) or not columns:
        raise PresynError(f'columns of the stage {stage.name} must be names, such as ("eta0", "seed"), not {columns!r}.')
    for wish, run_id in wishes:
        cells = _key_cells(wish, run_id)
        for column in columns:
            if column not in cells:
                raise PresynError(
                    f"columns of the stage {stage.name} names {column!r}, but run {run_id} has no label of that name."
                )
        key = tuple(as_cell(cells[column]) for column in columns)
        if key in keys:
            same = ", ".join(f"{column} {value}" for column, value in zip(columns, key, strict=True))
            raise PresynError(
                f"columns of the stage {stage.name} do not tell its runs apart: two have {same}. Add the label in which they "
                "differ."
            )
        keys.add(key)


def _key_cells(wish: Wish, run_id: str) -> dict[str, Any]:
    """Column -> value, of the columns that can tell the rows of a stage apart."""
    run = wish.run
    return {"method": run.method, "benchmark": run.benchmark.name, "seed": run.seed, "run_id": run_id, **wish.labels}


def foresee(order: Sequence[Stage], plan: Plan, results: Results) -> list[Asked]:
    """What stages will ask for, with stand-ins for values that are not made yet."""
    values: dict[str, Any] = {}
    written = results if all(stage.reads_results for stage in order) else None
    needed_by_others = {need.name for stage in order for need in stage.needs}
    foreseen: dict[str, Asked] = {}
    for stage in order:
        needed = {need.name: values[need.name] for need in stage.needs}
        certain = all(foreseen[need.name].complete and foreseen[need.name].certain for need in stage.needs)
        asked = foreseen[stage.name] = replace(collect(stage, needed, plan, written), certain=certain)
        if stage.name not in needed_by_others:
            continue
        if asked.complete and certain and not stage.reads_results:
            values[stage.name] = make(asked, needed, plan, None)[0].value
        else:
            values[stage.name] = stage.stand_in(Known((), needed))
    return list(foreseen.values())


def rounds(foreseen: Sequence[Asked]) -> list[list[Asked]]:
    """Stages in groups that train together, each group after those that it needs."""
    depth: dict[str, int] = {}
    for asked in foreseen:
        depth[asked.stage.name] = 1 + max((depth[need.name] for need in asked.stage.needs), default=0)
    return [[a for a in foreseen if depth[a.stage.name] == d and a.wishes] for d in sorted(set(depth.values()))]


def _other_lines(asked: Asked, file: RowsFile | None) -> pd.DataFrame | None:
    """Cells of the lines of a stage's CSV that it does not ask about, which stay."""
    column = asked.stage.extends
    if column is None or file is None:
        return None
    at = asked.stage.columns.index(column)
    asked_about = {as_cell(key[at]) for key in asked.line_keys()}
    return file.cells[~file.cells[column].map(as_cell).isin(asked_about)]


def refuse(asked: Asked, results: Path, as_whole: bool = True) -> None:
    """Refuse what would drop rows that are there.

    Args:
        asked: A stage and what it asks for.
        results: Where its rows are written.
        as_whole: Whether all of its runs are trained first. A stage that chooses some of its runs by the results of others then
            writes its new choice in place of an earlier one.

    Raises:
        PresynError: rows would be dropped.
    """
    path = asked.stage.file(results)
    if path is None or not asked.wishes:
        return
    asked.stage.refuse(results)
    if not path.exists():
        return
    columns = list(asked.stage.columns)
    file = read_file(path, columns)
    others = _other_lines(asked, file)
    kept = [] if others is None else others[columns].itertuples(index=False, name=None)
    chosen = asked.stage.may_come() if as_whole else ()
    refuse_to_drop(file, path, columns, [*asked.line_keys(), *kept, *chosen], asked.stage.leaves_out)


def make(asked: Asked, values: Mapping[str, Any], plan: Plan, results: Path | None) -> tuple[Made, list[Path]]:
    """What a stage makes of the rows that are there, and the files that were written; without a folder, nothing is."""
    stage, rows = asked.stage, asked.rows(plan)
    for labels, row in rows:
        if same := labels.keys() & row.record.figures.keys():
            raise PresynError(
                f"The stage {stage.name} calls a label {min(same)!r}, which is a figure that {row.config['method']} describes: "
                "give the label another name; what was trained is kept."
            )
    path = stage.file(results) if results and rows else None
    others = _other_lines(asked, read_file(path, stage.columns) if path and path.exists() else None)
    text = rows_csv(rows, others) if rows else ""
    frame = refuse_twice(text_frame(text), stage.columns if rows else (), path or stage.name)
    files = [write_whole(path, text)] if path else []
    _say_codes(stage, frame)
    if results:
        _say_arithmetics(stage, [row for _, row in rows], plan.cluster.arithmetic)
    known = Known(rows, values, Results(results) if results and stage.reads_results else None)
    if len(frame) and not stage.shows_lost and not (frame.status == "finished").any():
        made = lost_runs(stage, frame)
    else:
        made = stage.make(frame, known)
    if results:
        files += [write_whole(stage.folder(results) / name, content) for name, content in with_latex(stage, made).items()]
        files += _draw(made, results / "figures")
    return made, files


def _say_codes(stage: Stage, frame: pd.DataFrame) -> None:
    """Say which runs of a stage were trained by code that is not known to give the numbers of its version of the rules."""
    if "code" not in frame:
        return
    codes = zip(frame.method, frame.code.fillna(""), strict=True)
    changed = frame[[method in known_digests() and not is_known(method, code) for method, code in codes]]
    for (method, code), lines in changed.groupby(["method", "code"], sort=False):
        print(
            f"presyn: {len(lines)} of the {len(frame)} runs of {stage.title or stage.name} were trained by changed code of "
            f"{method} ({code}).",
            file=sys.stderr,
        )


def _say_arithmetics(stage: Stage, rows: Sequence[Row], wanted: str | None) -> None:
    """Say which arithmetics the rows of a stage are of, if one data set has several or not the one that was asked for."""
    by_data: dict[str, Counter[str]] = {}
    for row in rows:
        if row.arithmetic:
            by_data.setdefault(row.provenance["data_sha256"], Counter())[row.arithmetic] += 1
    counts = sum((c for c in by_data.values() if len({*c, wanted or next(iter(c))}) > 1), Counter[str]())
    if not counts:
        return
    parts = " and ".join(f"{count} in {name}" for name, count in counts.items())
    print(
        f"presyn: the runs of {stage.title or stage.name} are {parts} arithmetic. Those in either agree statistically, not to "
        "the last digit; --fresh trains all of them in one.",
        file=sys.stderr,
    )


def _draw(made: Made, folder: Path) -> list[Path]:
    """Write figures as PNG and SVG; one that cannot be drawn is said, and holds up nothing."""
    files = []
    for name, figure in made.figures.items():
        try:
            files += [write_whole(folder / f"{name}.{suffix}", figure) for suffix in ("png", "svg")]
        except OSError:
            raise
        except Exception as e:  # whatever matplotlib raises
            why = str(e).splitlines()[0] if str(e) else type(e).__name__
            print(f"presyn: the figure {name} cannot be drawn ({why}); everything else is written.", file=sys.stderr)
    return files


def lost_runs(stage: Stage, frame: pd.DataFrame) -> Made:
    """What comes of a stage of which every run was lost: a table of how many were, and how."""
    columns = [c for c in stage.columns if c not in ("seed", "run_id")] or ["method", "benchmark"]
    table = frame.groupby([*columns, "status"], sort=False).size().rename("lost").reset_index()
    message = f"{stage.title}: every run was lost ({len(frame)}), so there is nothing to show but how many."
    return Made(None, {"table.csv": table}, "table.csv", message=message, shown=table)
