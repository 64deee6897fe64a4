"""What a row is in MLflow: its parameters, metrics, tags and data set; and what in a run there was written by people."""

import getpass
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.records.mlflow.notes import Note
from pipeline.records.repeat import all_options, nearest_benchmark, usual_options
from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import METHODS, PresynError
from presyn.measures import figure_names

DESCRIPTION = "mlflow.note.content"
"""The tag of a run's description."""
STATUS = {"finished": "FINISHED", "dropped": "KILLED", "diverged": "FAILED"}
"""What a row's status is in MLflow."""
NAME = "presyn_name"
"""The tag with the name that presyn gave a run: another name was given by people."""
NOT_SET = object()
PART, SWEEP, CONDITION = "presyn_part", "presyn_sweep", "condition"
"""The tags that say to which search or table of its experiment a run belongs, in which of several times that this was
asked for, and what the run shares with other seeds."""
EARLIER_METRIC = "accuracy_of_tested"
"""A metric of earlier versions, whose values alternated between tasks: runs that have it were not written by this one."""
OF_TASK_IMAGES = figure_names(["output"])
"""Figures that are measured on the images of one task: over several tasks they alternate."""
OUR_TAGS = {
    "presyn_store", "presyn_parent", PART, SWEEP, NAME, CONDITION, "winner", "winner_run_id", "stage", "method", "benchmark",
    "seed", "run_id", "status", "reason", "git_commit", "git_dirty", "data_sha256",
}  # fmt: skip


def metric_name(name: str) -> str:
    """A name with only the characters that MLflow takes in those of metrics and folders."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def common_tags(note: Note, store: Store) -> dict[str, str]:
    """Tags of parents and children alike."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return {
        "stage": note.experiment,
        "presyn_store": store.id,
        "mlflow.user": user,
        "mlflow.source.name": note.command or "presyn",
        "mlflow.source.type": "LOCAL",
    }


def row_tags(row: Row, note: Note, store: Store) -> dict[str, str]:
    """Tags of a row's run under a note."""
    return {
        **common_tags(note, store),
        "method": row.config["method"],
        "benchmark": row.config["benchmark"],
        "seed": str(row.config["seed"]),
        "run_id": row.run_id,
        "status": row.status,
        PART: note.part,
        SWEEP: note.identity,
        CONDITION: condition(row, note),
        NAME: run_name(row, note),
        **({"reason": row.record.reason} if row.record.reason else {}),
        **note.labels.get(row.run_id, {}),
        **{k: str(row.provenance[k]) for k in ("git_commit", "git_dirty", "data_sha256")},
        "mlflow.source.git.commit": str(row.provenance["git_commit"]),
    }


def row_params(row: Row) -> dict[str, str]:
    """Parameters of a row's run: its whole configuration."""
    return {name: str(value) for name, value in row.config.items()}


Metric = tuple[str, float, float, int]
"""Name, value, unix time and step of a metric."""


def row_metrics(row: Row, objective: str = "accuracy") -> list[Metric]:
    """The metrics of a row; steps are segments: tasks or epochs. Lists and nan stay in the rows.

    Each is a course that goes on from step to step: what belongs to one of several tasks has a name for each of them. The
    objective comes first, because MLflow compares runs by the first that they share. A run that was lost has neither accuracy
    nor objective, so that it is never among the best.
    """
    refused = objective if row.mean_accuracy is None else None
    metrics = [metric for metric in _all_metrics(row) if math.isfinite(metric[1]) and metric[0] != refused]
    return sorted(metrics, key=lambda metric: metric[0] != objective)


def _all_metrics(row: Row) -> Iterator[Metric]:
    record, ended = row.record, row.record.ended
    steps = _steps_of_tests(row)
    if row.mean_accuracy is not None:
        name = "validation_accuracy" if row.config.get("validation") else "accuracy"
        for number, (step, accuracies) in enumerate(zip(steps, record.accuracy, strict=True), start=1):
            if None not in accuracies[:number]:  # all tasks so far were tested
                tested = [a for a in accuracies if a is not None]
                yield name, sum(tested) / len(tested), ended[step - 1], step
    for name, value in (("mean_accuracy", row.mean_accuracy), ("forgetting", row.forgetting)):
        if value is not None:
            yield name, value, ended[-1], len(ended)
    segments_of_task = _segments_of_task(row.config)
    series = {**record.figures, "loss": record.loss}
    information, energy = (record.figures.get(name, []) for name in ("information", "energy"))
    if len(information) == len(energy):
        series["information_per_energy"] = [1000 * i / e if e else math.nan for i, e in zip(information, energy, strict=True)]
    for name, values in series.items():
        first = len(ended) - len(values)  # what is measured at the end alone has one value
        of_task = row.config.get("restarts") or name in {"loss", "information_per_energy", *OF_TASK_IMAGES}
        alternates = segments_of_task and of_task
        for step, value in enumerate(values, start=first + 1):
            if isinstance(value, list):
                continue
            if alternates:
                yield f"{name}_task_{(step - 1) // segments_of_task + 1:02d}", value, ended[step - 1], step
            if not alternates or step == len(ended):
                yield name, value, ended[step - 1], step
    seconds = 0.0
    for step, duration in enumerate(record.seconds, start=1):
        seconds += duration
        yield "seconds", seconds, ended[step - 1], step
    for step, accuracies in zip(steps, record.accuracy, strict=True):
        for task, accuracy in enumerate(accuracies, start=1):
            if accuracy is not None:
                yield f"accuracy_task_{task:02d}", accuracy, ended[step - 1], step


def _steps_of_tests(row: Row) -> list[int]:
    """The step of each row of accuracies: joint is tested only at its end, a task at that of its last epoch."""
    segments, tests = len(row.record.ended), len(row.record.accuracy)
    of_task = _segments_of_task(row.config)  # a run that was lost may have ended amid a task
    return [of_task * number if of_task else segments * number // tests for number in range(1, tests + 1)]


def _segments_of_task(config: Mapping[str, Any]) -> int:
    """Segments for each of several tasks that are learned one after the other; 0 where there is one task, or all at once."""
    method = METHODS.get(config["method"])
    if config.get("tasks", 1) == 1 or (method is not None and method.joint):
        return 0
    return config.get("epochs", 1) if config.get("parts") == "epoch" else 1


def run_name(row: Row, note: Note) -> str:
    """The name of a row's run: first what tells it from its neighbours, then what they share."""
    values, columns = _values(row, note), _columns(row, note)
    drawn = [_named(name, row.config[name]) for name in note.searched if name in row.config]
    rest = [name for name in values if name not in columns and name != "seed"]
    return ", ".join([*drawn, *(_named(name, values[name]) for name in (*columns, *rest))])


def condition(row: Row, note: Note) -> str:
    """What runs share that differ in their seeds alone; of a search, which it is."""
    if note.searched:
        return note.part.removeprefix("search/")
    values, columns = _values(row, note), [name for name in _columns(row, note) if name != "seed"]
    if not note.columns:  # nobody says what tells them apart, so it is all there is
        columns = list(dict.fromkeys([*columns, "method", "benchmark"]))
    return ", ".join(_named(name, values[name]) for name in columns) or note.part


def _values(row: Row, note: Note) -> dict[str, Any]:
    """What can tell a row from others: its labels, method, benchmark and seed; without columns, what it sets itself."""
    labels = {name: value for name, value in note.labels.get(row.run_id, {}).items() if name != "stage"}
    settings = {} if note.columns or note.searched else _departures(row.config)
    return {**settings, **{name: row.config[name] for name in ("method", "benchmark", "seed")}, **labels}


def _columns(row: Row, note: Note) -> list[str]:
    """Names of the values that come first."""
    values = _values(row, note)
    columns = note.columns or [*(name for name in values if name not in ("method", "benchmark", "seed")), "seed"]
    return [name for name in columns if name in values]


def _named(name: str, value: Any) -> str:
    """A value as part of a run's name; a word stands for itself."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if re.match(r"[^\W\d]", text) and text not in ("True", "False", "None") else f"{name} {text}"


def _departures(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration sets otherwise than its method and benchmark do by themselves.

    Of a benchmark that is not known here, otherwise than the nearest that comes along.
    """
    values = all_options(config)
    try:
        usual = usual_options(config["method"], config["benchmark"])
    except PresynError:
        usual = usual_options(config["method"], nearest_benchmark(dict(config)))
    names = [*config, *sorted(values.keys() - config.keys())]
    aside = ("method", "benchmark", "seed")
    return {name: values[name] for name in names if name not in aside and values[name] != usual.get(name, NOT_SET)}


def complete(note: Note, rows: Callable[[], Sequence[Row]]) -> Note:
    """Give a note what earlier versions did not keep in it, as far as its numbers and rows say it; returns the note.

    Args:
        note: The note; one of this version stays as it is.
        rows: Gives the rows of its runs that are there.
    """
    if note.objective:
        return note
    present = rows()
    best = next((name for name in note.metrics if name.startswith("best_validation_")), "")
    searched = [name.removeprefix("best_") for name in note.params if name.startswith("best_")]
    labels = dict.fromkeys(label for of_run in note.labels.values() for label in of_run if label != "stage")
    varying = [name for name in ("method", "benchmark") if len({row.config[name] for row in present}) > 1]
    note.searched, note.objective = searched, _earlier_objective(best, present)
    note.columns = [*labels] if searched else [*varying, *labels, "seed"] if labels else []
    if best:
        last = {row.run_id: {name: value for name, value, *_ in row_metrics(row)} for row in present}
        values = {run_id: metrics[note.objective] for run_id, metrics in last.items() if note.objective in metrics}
        chosen = note.metrics[best]
        note.winner = next((run_id for run_id, value in values.items() if value == chosen), "")
        note.minimize = bool(values) and chosen == min(values.values()) < max(values.values())
    if note.experiment == "search" and present and note.name.startswith("Search "):  # so they all began
        method = present[0].config["method"]
        note.name = f"{note.name.removeprefix('Search ').removeprefix(f'{method}-')}, search of {method}"
    return note


def _earlier_objective(best: str, rows: Sequence[Row]) -> str:
    """The objective of a note of an earlier version, by the name of its winner's value, or by what was measured."""
    if best:
        return best.removeprefix("best_" if best == "best_validation_accuracy" else "best_validation_")
    measured = {name for row in rows for name, *_ in row_metrics(row)}
    return next(
        (name for name in ("information_per_energy", "accuracy", "validation_accuracy") if name in measured), "accuracy"
    )


def data_set(row: Row) -> Any:
    """The data set of a run, as MLflow knows inputs."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    sha256 = str(row.provenance["data_sha256"])
    name = str(row.config.get("dataset", "unknown"))
    source = json.dumps({"uri": name, "sha256": sha256})
    return DatasetInput(Dataset(name, sha256[:12] or "unknown", "local", source), [InputTag("mlflow.data.context", "training")])


def description(note: Note, store: Store, winner: str = "") -> str:
    """The description of a parent, as Markdown.

    Args:
        note: The parent's.
        store: Where its rows are.
        winner: What is said of the run that it chose.
    """
    lines = [
        f"**{note.name}**: {len(note.run_ids)} runs of presyn." if note.run_ids else f"**{note.name}**, made by presyn of rows."
    ]
    if winner:
        lines.append(winner)
    if note.command:
        lines.append(f"To carry it out again, or to go on: `{note.command}`")
    if note.folder:
        lines.append(f"Rows and tables: `{note.folder}`")
    lines.append(f"Results of single runs are in the store `{store.root}`; `presyn show RUN_ID` prints one.")
    return "\n\n".join(lines)


def is_our_description(text: str) -> bool:
    """Whether a parent's description is one that `description` gave."""
    return bool(re.match(r"\*\*.*\*\*(: \d+ runs of presyn\.|, made by presyn of rows\.)", text))


def name_by_people(run: Any) -> str:
    """The name that somebody gave a run in MLflow's pages; empty if it has the one that presyn gave it."""
    name, tags = run.info.run_name or "", run.data.tags
    if NAME in tags:
        return "" if name == tags[NAME] else name
    # Earlier versions made names of words that are tags as well, and a parent's description begins with its name.
    tag_words = {word for tag, value in tags.items() if not tag.startswith("mlflow.") for word in value.split()}
    is_ours = set(name.split()) <= tag_words or tags.get(DESCRIPTION, "").startswith(f"**{name}**")
    return "" if is_ours else name


def written_by_people(run: Any, labels: dict[str, str] | None = None) -> dict[str, str]:
    """Tags of a run that neither MLflow nor presyn set."""
    ours = OUR_TAGS | set(labels or {})
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.") and k not in ours}
    text = run.data.tags.get(DESCRIPTION, "")
    return tags if not text or is_our_description(text) else {**tags, DESCRIPTION: text}
