"""Information, energy and accuracy against the l2 penalty, from rows alone (Fig. 1, appendix 1a and 1b)."""

import json
from collections.abc import Sequence

import pandas as pd

from pipeline.paper import MODEL_NAMES
from pipeline.report.statistics import plus_minus

CAPTION = (
    "After the last epoch, mean ± standard error over seeds. Energy: sum of |w̄|; information: bits of one stochastic pass "
    "about the class; per energy: information divided by energy, times 1000; neuronal energy: sum of activities after ReLU, "
    "mean over images."
)
LABELS = ("model", "l2", "seed")
EPOCH_COLUMNS = (*LABELS, "epoch", "accuracy", "energy", "neuronal_energy", "information", "mean_p", "passes", "run_id")
VALUES = ("accuracy", "information", "energy", "neuronal_energy", "mean_p", "per_energy", "per_neuronal")


def series_of(frame: pd.DataFrame) -> pd.Series:
    """The series of each line, as mappings: name -> a value for each segment."""
    return frame.series.map(json.loads)


def by_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run and epoch: EPOCH_COLUMNS, and further labels of the rows before them.

    Accuracy is a share, averaged over so many passes; mean_p of a deterministic network is empty. Lost runs have no lines.
    """
    lines = []
    finished = frame[frame.status == "finished"]
    for row, series in zip(finished.itertuples(), series_of(finished), strict=True):
        epochs = len(series["energy"])
        mean_p = series.get("mean_p") or [None] * epochs
        for epoch in range(epochs):
            lines.append(
                {
                    **{label: getattr(row, label) for label in LABELS},
                    "epoch": epoch + 1,
                    "accuracy": series["sampled_accuracy"][epoch],
                    "energy": series["energy"][epoch],
                    "neuronal_energy": series["neuronal_energy"][epoch],
                    "information": series["information"][epoch],
                    "mean_p": mean_p[epoch],
                    "passes": int(series["passes"][epoch]),
                    "run_id": row.run_id,
                }
            )
    return pd.DataFrame(lines, columns=list(EPOCH_COLUMNS))


def as_file(epochs: pd.DataFrame) -> pd.DataFrame:
    """The lines as they are written to summary.csv; the runs behind them are in runs.csv."""
    return epochs.drop(columns="run_id")


def last_epoch(epochs: pd.DataFrame) -> pd.DataFrame:
    """The lines of the last epoch, with information per energy (times 1000) and per neuronal energy."""
    last = epochs[epochs.epoch == epochs.groupby(list(LABELS)).epoch.transform("max")].copy()
    last["per_energy"] = 1000 * last.information / last.energy
    last["per_neuronal"] = last.information / last.neuronal_energy
    return last


def means_and_errors(lines: pd.DataFrame, keys: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """A line for each combination of the keys: mean and standard error (ddof 1) over seeds, and n."""
    lines = lines.astype(dict.fromkeys(values, float))
    grouped = lines.groupby(list(keys), sort=False)[list(values)]
    table = pd.concat([grouped.mean(), grouped.sem().add_suffix("_error"), grouped.size().rename("n")], axis=1)
    return table.reset_index().round(6)


def by_model(epochs: pd.DataFrame) -> pd.DataFrame:
    """A line for each model and l2: mean and standard error (ddof 1) over seeds of the values after the last epoch, and n."""
    return means_and_errors(last_epoch(epochs), ("model", "l2"), VALUES)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table of models as people read it."""
    digits = {"accuracy": 4, "information": 3, "energy": 0, "neuronal_energy": 0, "mean_p": 3, "per_energy": 2}
    columns = {"model": table.model.map(MODEL_NAMES), "l2": table.l2.map("{:g}".format), "n": table.n.astype(str)}
    for name, places in digits.items():
        pairs = zip(table[name], table[f"{name}_error"], strict=True)
        columns[name.replace("_", " ")] = [plus_minus(mean, error, f".{places}f") for mean, error in pairs]
    return pd.DataFrame(columns)
