"""The page of an MLflow experiment: its description, and saved views, which its menu Views lists and an address can name.

A saved view is a tag of the experiment, as MLflow 3.17 reads it: mlflow.sharedViewState.KEY with the JSON of a name, two times
in milliseconds, and a state, which is "deflate;" and the base64 of the compressed JSON of what the page shows.
"""

import base64
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.records.mlflow.content import CONDITION, DESCRIPTION, PART, SWEEP
from pipeline.records.mlflow.notes import Note, digest_words

VIEW = "mlflow.sharedViewState."
KEY_PARAMETER = "viewStateShareKey"
"""The parameter of an address of MLflow's pages that names the view to open."""
BEST_FIRST, BY_CONDITION = "Best first", "By condition"
OURS = "This text is from presyn, which renews it as long as this line is its last."
RUNS = "tags.run_id != ''"
"""Finds the runs of networks, and not their parents."""
RUN_NAME = "attributes.`Run Name`"


@dataclass(frozen=True)
class View:
    """A saved view.

    Attributes:
        name: In the menu.
        key: In the address.
        state: What the page shows.
    """

    name: str
    key: str
    state: Mapping[str, Any]


def views(notes: Sequence[Note]) -> list[View]:
    """The views of an experiment: all its runs; and, where it has several parts, those of each.

    What was asked for more than once, as with more seeds, has its runs in MLflow each time: means are taken of each time.

    Args:
        notes: All of the experiment that have runs, complete.
    """
    parts = list({note.part: note for note in notes}.values())
    if not parts:
        return []
    several = len(parts) > 1
    times = Counter(note.part for note in notes)
    groups = [SWEEP] if max(times.values()) > 1 else [PART] if several else []
    made = [_best_first(parts, [PART] if several else []), _by_condition(parts, groups)]
    for part in parts if several else []:
        made.append(_best_first([part], only=part))
        if not part.searched:
            made.append(_by_condition([part], [SWEEP] if times[part.part] > 1 else [], only=part))
    return made


def opening_view(note: Note, notes: Sequence[Note]) -> str:
    """The key of the view that shows a note: its best runs of a search, its conditions of anything else.

    Args:
        note: The note.
        notes: All of its experiment that have runs.
    """
    several = len({n.part for n in notes}) > 1
    return _key(BEST_FIRST if note.searched else BY_CONDITION, note if several else None)


def _best_first(parts: Sequence[Note], tags: Sequence[str] = (), only: Note | None = None) -> View:
    searched = [_column("params", name) for part in parts for name in part.searched]
    tags = [*tags, *(name for part in parts if not part.searched for name in part.columns)]
    return _view(BEST_FIRST, parts, only, [*searched, *(_column("tags", tag) for tag in tags)])


def _by_condition(parts: Sequence[Note], tags: Sequence[str] = (), only: Note | None = None) -> View:
    keys = [{"mode": "tag", "groupByData": tag} for tag in (*tags, CONDITION)]
    return _view(BY_CONDITION, parts, only, [], {"groupBy": {"aggregateFunction": "average", "groupByKeys": keys}})


def _view(
    name: str, parts: Sequence[Note], only: Note | None, columns: Sequence[str], state: Mapping[str, Any] | None = None
) -> View:
    objectives = [part.objective for part in parts]
    first = max(parts, key=lambda part: objectives.count(part.objective))  # of several objectives the most frequent
    accuracies = {"validation_accuracy" if part.searched else "accuracy": None for part in parts}
    metrics = [_column("metrics", name) for name in (first.objective, *objectives, *accuracies, "forgetting")]
    shown = list(dict.fromkeys([*metrics, *columns]))
    return View(
        f"{name}: {only.part.removeprefix('search/')}" if only else name,
        _key(name, only),
        {
            "selectedColumns": shown,
            "columnOrder": [RUN_NAME, *shown],
            "columnWidths": {RUN_NAME: 340, **{column: 150 if column in metrics else 100 for column in shown}},
            "orderByKey": _column("metrics", first.objective),
            "orderByAsc": first.minimize,
            "searchFilter": (RUNS if only is None else f"tags.{PART} = {_quoted(only.part)}")
            + (_on_all_tasks(parts) if name == BEST_FIRST else ""),
            **_charts(first.objective, [name for part in parts for name in part.searched]),
            **(state or {}),
        },
    )


def _on_all_tasks(parts: Sequence[Note]) -> str:
    """The end of a filter that leaves out the runs on fewer tasks of a search that halves; empty where none does."""
    tasks = {int(labels["tasks"]) for labels in parts[0].labels.values() if labels.get("tasks", "").isdigit()}
    return f" AND tags.tasks = '{max(tasks)}'" if len(parts) == 1 and parts[0].searched and tasks else ""


def _charts(objective: str, searched: Sequence[str]) -> dict[str, Any]:
    """The first charts of a view, of the objective; MLflow puts those of all other metrics after them."""
    section = {"uuid": "presyn", "name": "Model metrics", "display": True, "isReordered": True, "deleted": False}
    card = {"metricSectionId": "presyn", "runsCountToCompare": 10, "deleted": False, "isGenerated": False}
    bars = card | {"uuid": "presyn-objective", "type": "BAR", "metricKey": objective, "displayName": objective}
    lines = card | {"uuid": "presyn-searched", "type": "PARALLEL", "showAllRuns": True}
    lines |= {"selectedParams": list(dict.fromkeys(searched)), "selectedMetrics": [objective]}
    course = card | {"uuid": "presyn-course", "type": "LINE", "metricKey": objective, "displayName": f"{objective} by step"}
    course |= {"xAxisKey": "step", "selectedXAxisMetricKey": "", "yAxisKey": "metric", "yAxisExpressions": [], "range": {}}
    course |= {"lineSmoothness": 0, "scaleType": "linear", "xAxisScaleType": "linear", "ignoreOutliers": False}
    course |= {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}
    cards = [bars, lines, course] if searched else [bars, course]
    return {"compareRunCharts": cards, "compareRunSections": [section | {"isGenerated": True}]}


def _key(name: str, only: Note | None) -> str:
    key = f"presyn-{name.lower().replace(' ', '-')}"
    return f"{key}-{digest_words([only.part])}" if only else key


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _quoted(text: str) -> str:
    """A text in a search of MLflow, which knows no escapes."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def as_tag(view: View, before: str | None, now: int) -> str | None:
    """The value of a view's tag; None if it is there as it should be.

    Args:
        view: The view.
        before: The value of its tag now, if it has one.
        now: Milliseconds of unix time.
    """
    created = now
    try:
        envelope = json.loads(before or "")
        created = int(envelope["createdAt"])
        if envelope["name"] == view.name and read_state(envelope["state"]) == dict(view.state):
            return None
    except (ValueError, TypeError, LookupError, zlib.error):
        pass  # there is none, or none that MLflow could read
    packed = base64.b64encode(zlib.compress(json.dumps(view.state).encode())).decode()
    return json.dumps({"name": view.name, "createdAt": created, "updatedAt": now, "state": f"deflate;{packed}"})


def read_state(state: str) -> Any:
    """What the page shows, from the state of a saved view."""
    return json.loads(zlib.decompress(base64.b64decode(state.removeprefix("deflate;"))))


def describe(name: str, notes: Iterable[Note]) -> str:
    """The description of an experiment, as Markdown; MLflow shows the first line of it until it is opened."""
    notes = list(notes)
    about = " ".join(dict.fromkeys(note.about for note in notes if note.about))
    lines = [about or f"Runs of the experiment {name}."]
    objectives = dict.fromkeys(
        f"`{note.objective}` ({'less' if note.minimize else 'more'} is better)" for note in notes if note.run_ids
    )
    if objectives:
        lines.append(
            f"Runs are compared by {' and '.join(objectives)}. The menu *Views* has *{BEST_FIRST}*, sorted by it, and "
            f"*{BY_CONDITION}*, with means over seeds."
        )
    return "\n\n".join([*lines, OURS])


def tags(name: str, notes: Sequence[Note], before: Mapping[str, str], now: int) -> dict[str, str]:
    """The tags of an experiment that are missing or are to be renewed. A description that somebody else wrote stays.

    Args:
        name: Of the experiment.
        notes: What belongs to it, completed.
        before: The tags that it has.
        now: Milliseconds of unix time.
    """
    renewed: dict[str, str] = {}
    text, present = describe(name, notes), before.get(DESCRIPTION, "")
    if text != present and (not present or present.endswith(OURS)):
        renewed[DESCRIPTION] = text
    with_runs = [note for note in notes if note.run_ids]
    for number, view in enumerate(views(with_runs)):
        value = as_tag(view, before.get(VIEW + view.key), now - number)  # the menu has the latest first
        if value is not None:
            renewed[VIEW + view.key] = value
    return renewed
