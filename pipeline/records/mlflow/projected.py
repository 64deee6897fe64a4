"""What MLflow holds of a row, compared with what it should hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.records.mlflow.content import EARLIER_METRIC, STATUS, name_by_people, row_metrics, row_params
from pipeline.records.row import Row


@dataclass(frozen=True)
class ProjectedRun:
    """A run in MLflow.

    Attributes:
        id: Its id there.
        status: Its status there.
        ended: Its end in milliseconds of unix time.
        params, metrics: What it holds, with the last value of each metric.
        tags: Its tags.
        name: Its name; empty if people gave it one.
        data_sets: Digests of its data sets.
    """

    id: str
    status: str
    ended: int | None = None
    params: frozenset[tuple[str, str]] = frozenset()
    metrics: frozenset[tuple[str, float]] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    data_sets: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        return self.status in STATUS.values()

    def is_outdated(self, row: Row, objective: str) -> bool:
        """Whether a row says more than it, or was trained later. One with less in it, or an older one, does not."""
        params, metrics = content(row, objective)
        names_in_mlflow, ours = {name for name, _ in self.metrics}, {name for name, _ in metrics}
        has_more = names_in_mlflow > ours
        if EARLIER_METRIC in names_in_mlflow:  # what earlier versions wrote otherwise is not more than a row has
            has_loss = "loss" in ours
            has_more = bool(names_in_mlflow - ours - {EARLIER_METRIC, *row.record.figures, *(["loss"] if has_loss else [])})
        ended = int(row.record.ended[-1] * 1000) if row.record.ended else self.ended or 0
        if ended < (self.ended or 0) or has_more:
            return False
        return ended > (self.ended or 0) or metrics != self.metrics or not params <= self.params


def read_run(run: Any) -> ProjectedRun:
    """The run that MLflow gives as a value of its own."""
    params, metrics = frozenset(run.data.params.items()), frozenset(run.data.metrics.items())
    name = "" if name_by_people(run) else run.info.run_name
    data_sets = frozenset(entry.dataset.digest for entry in run.inputs.dataset_inputs) if run.inputs else frozenset()
    return ProjectedRun(run.info.run_id, run.info.status, run.info.end_time, params, metrics, run.data.tags, name, data_sets)


def content(row: Row, objective: str) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, float]]]:
    """The parameters of a row, and the last value of each of its metrics."""
    last = {name: float(value) for name, value, _, _ in row_metrics(row, objective)}
    return frozenset(row_params(row).items()), frozenset(last.items())
