"""What stages ask for: each in order, again while its rows are known, and with stand-ins for what is not made yet."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.plan import Plan
from pipeline.records.csvs import frame_of, read_rows, refuse_to_drop, refuse_twice
from pipeline.records.files import write_whole
from pipeline.stage import Known, Made, Stage, Wish
from presyn import PresynError


@dataclass(frozen=True)
class Asked:
    """What a stage has asked for so far.

    Attributes:
        wishes: With the id of each run.
        complete: Whether all their rows are known and it asks for nothing more.
        certain: Whether it asked with what the stages that it needs made, and not with stand-ins.
    """

    stage: Stage
    wishes: Sequence[tuple[Wish, str]]
    complete: bool
    certain: bool = True

    @property
    def ids(self) -> list[str]:
        return sorted({run_id for _, run_id in self.wishes})

    def labels(self) -> dict[str, dict[str, str]]:
        """Run id -> what the stage calls it, in words; a run that it calls two things has both."""
        found: dict[str, dict[str, str]] = {}
        for wish, run_id in self.wishes:
            of = found.setdefault(run_id, {})
            for name, value in wish.labels.items():
                words = f"{value:g}" if isinstance(value, float) else str(value)
                if name != "stage" and words not in of.get(name, "").split(", "):
                    of[name] = f"{of[name]}, {words}" if name in of else words
        return found

    def rows(self, plan: Plan) -> list[tuple[dict[str, Any], Any]]:
        """The rows that are there, with their labels."""
        return [(wish.labels, plan.rows[run_id]) for wish, run_id in self.wishes if run_id in plan.rows]


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Stages and all that they need, each once, after what it needs.

    Raises:
        PresynError: two different stages have one name.
    """
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        for needed in stage.needs:
            visit(needed)
        if found.setdefault(stage.name, stage) != stage:
            raise PresynError(f"Two stages are called {stage.name}: rename a benchmark, a space or an ablation of one of them.")

    for stage in stages:
        visit(stage)
    return list(found.values())


def collect(stage: Stage, values: Mapping[str, Any], plan: Plan) -> Asked:
    """Ask a stage, and again while the rows of all that it asked for are known."""
    wishes: list[tuple[Wish, str]] = []
    while True:
        rows = [(wish.labels, plan.rows[run_id]) for wish, run_id in wishes]
        new = [(wish, plan.add(wish.run)) for wish in stage.ask(Known(rows, values))]
        if not new:
            return Asked(stage, wishes, True)
        if {i for _, i in new} <= {i for _, i in wishes}:
            raise PresynError(f"The stage {stage.name} asks again for runs that it has: its `ask` must end with nothing.")
        wishes += new
        if not plan.rows.keys() >= {i for _, i in wishes}:
            return Asked(stage, wishes, False)


def foresee(order: Sequence[Stage], plan: Plan) -> list[Asked]:
    """What stages will ask for, with stand-ins for values that are not made yet."""
    values: dict[str, Any] = {}
    foreseen: dict[str, Asked] = {}
    for stage in order:
        known = {need.name: values[need.name] for need in stage.needs}
        certain = all(foreseen[need.name].complete and foreseen[need.name].certain for need in stage.needs)
        asked = collect(stage, known, plan)
        foreseen[stage.name] = Asked(stage, asked.wishes, asked.complete, certain)
        if asked.complete and certain:
            values[stage.name] = make(foreseen[stage.name], known, plan, None)[0].value
        else:
            values[stage.name] = stage.stand_in(Known((), known))
    return list(foreseen.values())


def rounds(foreseen: Sequence[Asked]) -> list[list[Asked]]:
    """What is trained together, and after what it needs."""
    depth: dict[str, int] = {}
    for asked in foreseen:
        depth[asked.stage.name] = 1 + max((depth[need.name] for need in asked.stage.needs), default=0)
    return [[a for a in foreseen if depth[a.stage.name] == d and a.wishes] for d in sorted(set(depth.values()))]


def _told_apart(asked: Asked) -> list[tuple]:
    """The values of a stage's columns for each of its wishes."""
    lines = []
    for wish, run_id in asked.wishes:
        own = {"method": wish.run.method, "benchmark": wish.run.benchmark.name, "seed": wish.run.seed, "run_id": run_id}
        lines.append(tuple({**own, **wish.labels}[column] for column in asked.stage.columns))
    return lines


def _others(asked: Asked, path: Path | None) -> pd.DataFrame | None:
    """Lines of a stage's CSV that it does not ask about, which stay."""
    column, columns = asked.stage.extends, list(asked.stage.columns)
    if column is None or path is None or not path.exists():
        return None
    there = read_rows(path, columns)
    about = {line[columns.index(column)] for line in _told_apart(asked)}
    return there[~there[column].isin(about)]


def refuse(asked: Asked, results: Path) -> None:
    """Refuse what would drop rows that are there."""
    path = asked.stage.file(results)
    if path is None or not asked.wishes:
        return
    asked.stage.refuse(results)
    others, columns = _others(asked, path), list(asked.stage.columns)
    kept = [] if others is None else others[columns].itertuples(index=False, name=None)
    refuse_to_drop(path, columns, [*_told_apart(asked), *kept])


def make(asked: Asked, values: Mapping[str, Any], plan: Plan, results: Path | None) -> tuple[Made, list[Path]]:
    """What a stage makes of the rows that are there, and the files that were written; without a folder, nothing is."""
    stage, rows = asked.stage, asked.rows(plan)
    path = stage.file(results) if results and rows else None
    frame = refuse_twice(frame_of(rows, _others(asked, path)), stage.columns if rows else (), path or stage.name)
    files = [write_whole(path, frame)] if path else []
    made = stage.make(frame, Known(rows, values))
    if results:
        files += [write_whole(stage.folder(results) / name, content) for name, content in made.files.items()]
        drawn = [(results / "figures" / f"{n}.{kind}", figure) for n, figure in made.figures.items() for kind in ("png", "svg")]
        files += [write_whole(path, figure) for path, figure in drawn]
    return made, files
