"""A spot check: committed runs, drawn at random, trained again here and compared with what their rows say."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.experiments.verdicts.stage import AllVerdicts
from pipeline.plan import Plan, describe
from pipeline.records.csvs import read_file
from pipeline.records.files import write_whole
from pipeline.records.results import Results
from pipeline.records.row import Row
from pipeline.records.store import Store, code_version
from pipeline.train import reach, train
from presyn import BENCHMARKS, METHODS, PresynError
from presyn.benchmarks import PATTERNS
from presyn.code_digest import changed_code, is_known
from presyn.inputs import ARITHMETICS
from presyn.methods import PERCEPTRONS
from sweeps.cluster import Cluster

FILE = "again.csv"
COLUMNS = (
    "date",
    "run_id",
    "method",
    "benchmark",
    "seed",
    "committed",
    "again",
    "same",
    "same_machine",
    "torch",
    "device",
    "git_commit",
)
SHOWN = ("run_id", "method", "benchmark", "seed", "committed", "again", "same")
FALSE_ALARM = 0.01
"""The chance that rows of another kind of machine are called different although nothing but rounding is."""


def committed_rows(results: Results) -> dict[str, Row]:
    """Run id -> row, of the finished runs under a folder whose images come with presyn and whose code is that of today."""
    rows = {row.run_id: row for path in results.paths() for row in read_file(path).rows}
    return {i: row for i, row in rows.items() if row.status == "finished" and _can_be_repeated(row)}


def _can_be_repeated(row: Row) -> bool:
    method, code = row.config["method"], row.provenance.get("code")
    if method not in {**METHODS, **PERCEPTRONS} or row.config["benchmark"] not in {*BENCHMARKS, PATTERNS.name}:
        return False
    today = changed_code(method)
    if not (is_known(method, code) if today is None else code == today):
        return False
    # The id has the version of the rules and the code in it: of others, what is trained now would be another run.
    return row.run().run_id(row.provenance["data_sha256"]) == row.run_id


def draw_rows(rows: Mapping[str, Row], verdicts: AllVerdicts, count: int, seed: int) -> list[Row]:
    """Rows drawn at random without replacement, each with a weight of one more than the number of claims that rest on it."""
    claims = Counter(run_id for claim in verdicts.claims for run_id in set(claim.run_ids))
    ids = sorted(rows)
    weights = np.array([1.0 + claims[run_id] for run_id in ids])
    drawn = np.random.default_rng(seed).choice(len(ids), count, replace=False, p=weights / weights.sum())
    return [rows[ids[i]] for i in drawn]


def refuse_count(rows: Mapping[str, Row], count: int) -> None:
    """Raise a PresynError for more runs than there are, or none."""
    if not 1 <= count <= len(rows):
        raise PresynError(
            f"--again {count}: there are {len(rows)} finished runs of today's code; ask for 1 to {len(rows)} of them."
        )


def named_rows(rows: Mapping[str, Row], names: Iterable[str]) -> list[Row]:
    """Rows by the beginnings of their ids.

    Raises:
        PresynError: no row begins so, or several do.
    """
    chosen = []
    for name in names:
        ids = [run_id for run_id in rows if run_id.startswith(name)]
        if len(ids) != 1:
            raise PresynError(f"--runs {name}: {len(ids) or 'no'} finished runs of today's code have ids that begin so.")
        chosen.append(rows[ids[0]])
    return chosen


def train_again(rows: Sequence[Row], store: Path, cluster: Cluster, here: bool = False) -> list[Row]:
    """The rows of the same runs, trained now; in a store of their own, so that nothing is read instead of trained.

    Args:
        rows: Of the runs.
        store: The store beside which that is; if the training is stopped, the next call goes on there.
        cluster: Where to train.
        here: In this process.
    """
    separate = Store(store / "again")
    repeated: dict[str, Row] = {}
    with separate.locked("presyn verify --again"):
        for arithmetic in dict.fromkeys(row.arithmetic for row in rows):
            plan = Plan(separate, repeating_cluster(cluster, arithmetic))
            for row in rows:
                if row.arithmetic == arithmetic:
                    plan.add(row.run())
            if not here:
                reach(plan)
            title = " in ".join(filter(None, ["committed runs again", arithmetic and f"{arithmetic} arithmetic"]))
            describe(plan, title)
            train(plan, lambda row: None, title, here)
            repeated |= plan.rows
    again = [repeated[row.run_id] for row in rows]
    shutil.rmtree(separate.root)
    return again


def repeating_cluster(cluster: Cluster, arithmetic: str) -> Cluster:
    """Where to train rows of an arithmetic again: with the same one, unless the user named one, or a GPU, which has no lit one.

    Rows that began in one and went on in the other cannot be repeated to the digit.
    """
    if cluster.arithmetic or (cluster.device or "").startswith("cuda"):
        return cluster
    return replace(cluster, arithmetic=arithmetic if arithmetic in ARITHMETICS else None)  # type: ignore[arg-type]


def compare(rows: Sequence[Row], again: Sequence[Row]) -> pd.DataFrame:
    """A line for each run: its mean accuracy as committed and again, and whether every digit that a CSV keeps is the same."""
    date, version = time.strftime("%Y-%m-%d"), code_version()
    lines = [
        {
            "date": date,
            "run_id": row.run_id,
            **{name: row.config[name] for name in ("method", "benchmark", "seed")},
            "committed": round(100 * (row.mean_accuracy or 0.0), 4),
            "again": round(100 * (new.mean_accuracy or 0.0), 4),
            "same": is_same(row, new),
            "same_machine": is_same_machine(row, new),
            "torch": version["torch"],
            "device": new.provenance.get("device", ""),  # of one whose row was made of its last checkpoint, nobody knows
            "git_commit": version["git_commit"][:7],
        }
        for row, new in zip(rows, again, strict=True)
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def is_same(row: Row, other: Row) -> bool:
    """Whether two rows have the same accuracies, losses and figures, to the digits that a line of a CSV has of the first."""
    lines = [kept_digits(r.line({})) for r in (row, other)]
    return all(lines[1].get(name) == value for name, value in lines[0].items())


def kept_digits(line: dict[str, Any]) -> dict[str, Any]:
    """What a line of a CSV says of the result, without times."""
    series = {k: v for k, v in json.loads(line["series"] or "{}").items() if k not in ("seconds", "ended")}
    return {"status": line["status"], "accuracy": line["accuracy"], **series}


def in_words(table: pd.DataFrame) -> str:
    """What a spot check came to, in a sentence."""
    same, other = int(table.same.sum()), table[~table.same]
    where = f"with torch {table.torch.iloc[0]} on {table.device.iloc[0]}"
    text = f"Of {len(table)} runs that were trained again on {table.date.iloc[0]} {where}, {same} gave the same to every digit."
    if len(other):
        text += f" The others differ by {_difference(other)}."
    if len(other) == 1:
        text += " One run that differs tests nothing: it takes two or more."
    return text


def _difference(other: pd.DataFrame) -> str:
    difference = other.again - other.committed
    if len(other) == 1:
        return f"{difference.iloc[0]:+.2f} points of mean accuracy"
    return f"{difference.mean():+.2f} ± {difference.sem():.2f} points of mean accuracy (paired t, p = {p_value(other):.2g})"


def p_value(other: pd.DataFrame) -> float:
    """Paired t test of mean accuracies; 1 where fewer than two runs differ, or only in other digits than these."""
    difference = other.again - other.committed
    if len(other) < 2:
        return 1.0
    if difference.std() > 0:
        return float(stats.ttest_1samp(difference, 0.0).pvalue)
    return float((difference == 0).all())


def refuse_different(table: pd.DataFrame) -> None:
    """Raise a PresynError for runs that must repeat to the digit and did not, or that differ more than rounding explains.

    The digits must be the same on a CPU of the same kind, under the same torch. On others whole runs agree statistically.
    """
    other = table[~table.same]
    exact = other[other.same_machine]
    if len(exact):
        ids = ", ".join(exact.run_id)
        raise PresynError(f"{ids} did not repeat on the kind of machine that made them: rows or code changed.")
    if p_value(other) < FALSE_ALARM:
        raise PresynError(
            f"Runs that were trained again differ from their rows by {_difference(other)}: too much for rounding."
        )


def is_same_machine(row: Row, other: Row) -> bool:
    """Whether two rows are of one kind of device and processor under one version of torch, as far as both say so, and multiply
    alike."""
    names = ("device", "torch", "processor")
    same = all(name in row.provenance and row.provenance[name] == other.provenance.get(name) for name in names)
    return same and row.arithmetic == other.arithmetic


def write(table: pd.DataFrame, results: Path) -> Path:
    """Keep the table of the last spot check for the page."""
    return write_whole(results / FILE, table)


def last_check(results: Path) -> pd.DataFrame | None:
    """The table of the last spot check; None if there was none.

    Raises:
        PresynError: the file is none.
    """
    path = results / FILE
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path, dtype={"run_id": str, "git_commit": str})[list(COLUMNS)]
        is_whole = len(table) > 0 and table.same.dtype == bool and table[["committed", "again"]].notna().all(axis=None)
    except (ValueError, KeyError):  # not a CSV, or without one of the columns
        is_whole = False
    if not is_whole:
        raise PresynError(f"{path} is not what presyn verify --again writes: delete it, and check again.")
    return table
