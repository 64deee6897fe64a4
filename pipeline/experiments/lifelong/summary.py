"""The course of learning over tasks, from rows alone."""

import json

import pandas as pd

from pipeline.experiments.energy.summary import series_of
from pipeline.report.by_seed import BySeed

COURSE_COLUMNS = ("benchmark", "seed", "task", "mean_p", "frozen", "energy", "run_id")
TASK_COLUMNS = ("method", "benchmark", "seed", "task", "after", "accuracy", "run_id")


def course_of_p(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run and task, after that task: COURSE_COLUMNS. Lost runs have no lines."""
    finished = frame[frame.status == "finished"]
    lines = []
    for row, series in zip(finished.itertuples(), series_of(finished), strict=True):
        for task, values in enumerate(zip(series["mean_p"], series["frozen"], series["energy"], strict=True), start=1):
            lines.append([row.benchmark, row.seed, task, *values, row.run_id])
    return pd.DataFrame(lines, columns=list(COURSE_COLUMNS))


def accuracy_by_task(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each run, task, and task after which it was tested: TASK_COLUMNS. Lost runs have no lines."""
    lines = []
    for row in rows[rows.status == "finished"].itertuples():
        matrix = json.loads(row.accuracy)
        first = len(matrix[-1]) - len(matrix)  # joint training has one row, after all tasks
        for i, tested in enumerate(matrix):
            lines += [
                [row.method, row.benchmark, row.seed, task, first + i + 1, accuracy, row.run_id]
                for task, accuracy in enumerate(tested, start=1)
                if accuracy is not None
            ]
    return pd.DataFrame(lines, columns=list(TASK_COLUMNS))


def as_file(summary: pd.DataFrame) -> pd.DataFrame:
    """The lines as they are written; the runs behind them are in the CSVs of rows."""
    return summary.drop(columns="run_id")


def accuracy_on(tasks: pd.DataFrame, method: str, benchmark: str, task: int, after: int) -> BySeed:
    """Accuracy in % by seed on a task after a task."""
    chosen = tasks[(tasks.method == method) & (tasks.benchmark == benchmark) & (tasks.task == task) & (tasks.after == after)]
    return BySeed.from_frame(chosen, "accuracy").in_points()
