"""Information, energy and accuracy against the l2 penalty, from rows alone (Fig. 1, appendix 1a and 1b)."""

import json

import pandas as pd

from pipeline.report.statistics import Sample

NAMES = {"plastic": "plastic release", "fixed": "fixed release", "deterministic": "deterministic"}
CAPTION = (
    "After the last epoch, mean ± standard error over seeds. Energy: sum of |w̄|; information: bits of one stochastic pass "
    "about the class; per energy: information divided by energy, times 1000; neuronal energy: sum of activities after ReLU, "
    "mean over images."
)
_SERIES = {"accuracy": "sampled_accuracy", "energy": "energy", "neuronal_energy": "neuronal_energy"}


def series_of(frame: pd.DataFrame) -> pd.Series:
    """The series of each line, as mappings: name -> a value for each part."""
    return frame.series.map(json.loads)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run and epoch: model, l2, seed, epoch, accuracy, energy, neuronal_energy, information, mean_p, passes.

    Accuracy is a share, averaged over so many passes; mean_p of a deterministic network is empty. Lost runs have no lines.
    """
    lines = []
    done = frame[frame.status == "finished"]
    for row, series in zip(done.itertuples(), series_of(done), strict=True):
        for i in range(len(series["energy"])):
            own = {k: series[name][i] for k, name in _SERIES.items()}
            own |= {"information": series["information"][i], "mean_p": series.get("mean_p", [None] * 999)[i]}
            label = {"model": row.model, "l2": row.l2, "seed": row.seed, "epoch": i + 1}
            lines.append({**label, **own, "passes": int(series["passes"][i])})
    return pd.DataFrame(lines)


def last_epoch(series: pd.DataFrame) -> pd.DataFrame:
    """Of a summary, the last epoch, with information per energy (times 1000) and per neuronal energy."""
    last = series[series.epoch == series.groupby(["model", "l2", "seed"]).epoch.transform("max")].copy()
    last["per_energy"] = 1000 * last.information / last.energy
    last["per_neuronal"] = last.information / last.neuronal_energy
    return last


VALUES = ("accuracy", "information", "energy", "neuronal_energy", "mean_p", "per_energy", "per_neuronal")


def by_model(series: pd.DataFrame) -> pd.DataFrame:
    """A line for each model and l2: mean and standard error (ddof 1) over seeds of the values after the last epoch, and n."""
    grouped = last_epoch(series).groupby(["model", "l2"], sort=False)
    table = grouped[list(VALUES)].mean()
    errors = grouped[list(VALUES)].sem().add_suffix("_error")
    return pd.concat([table, errors, grouped.size().rename("n")], axis=1).reset_index().round(6)


def fixed_release(last: pd.DataFrame) -> pd.DataFrame:
    """A line for each fixed release probability, with the learning rate found for it: mean and standard error over seeds."""
    names = ["accuracy", "information", "energy", "per_energy"]
    grouped = last.groupby(["release", "eta0"])[names]
    table = pd.concat([grouped.mean(), grouped.sem().add_suffix("_error"), grouped.size().rename("n")], axis=1)
    return table.reset_index().round(6)


def display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    digits = {"accuracy": 4, "information": 3, "energy": 0, "neuronal_energy": 0, "mean_p": 3, "per_energy": 2}
    shown = pd.DataFrame({"model": table.model.map(NAMES), "l2": table.l2.map("{:g}".format), "n": table.n.astype(str)})
    for name, places in digits.items():
        shown[name.replace("_", " ")] = [
            _words(mean, error, places) for mean, error in zip(table[name], table[f"{name}_error"], strict=True)
        ]
    return shown


def _words(mean: float, error: float, places: int) -> str:
    if mean != mean:
        return "–"
    return f"{mean:.{places}f}" + (f" ± {error:.{places}f}" if error == error else "")


def per_energy_ratio(series: pd.DataFrame, model: str, rival: str, value: str = "per_energy") -> Sample:
    """How many times as much information per energy a model has as a rival, each at its own best l2, over seeds in pairs."""
    last = last_epoch(series)
    best = {}
    for name in (model, rival):
        of = last[last.model == name]
        best[name] = of[of.l2 == of.groupby("l2")[value].mean().idxmax()].set_index("seed")[value]
    return Sample.of((best[model] / best[rival]).dropna().tolist())
