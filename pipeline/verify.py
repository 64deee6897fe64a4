"""Verdicts from the committed rows alone: no training, no data, no network."""

import math
from pathlib import Path

import pandas as pd

from pipeline.paper import authors_code, published_table
from pipeline.statistics import Sample, holm, welch
from presyn import PresynError

ALPHA = 0.01


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare our runs with the published settings with Table 1 and with the authors' own code.

    Welch's test of each pair of means, Holm over each family, at ALPHA. `agrees` means that no difference was detected,
    which with three seeds leaves room for differences of a point or two; the columns give both means.

    Args:
        rows: Of table 1, as exported: columns method, benchmark, parameters, status, mean_accuracy.

    Returns:
        One line for each claim: family, claim, published, ours, test, t, p (adjusted), verdict.
    """
    families = {"Table 1 of the paper": published_table(), "the authors' code": authors_code()}
    return pd.concat([_family(name, rows, published) for name, published in families.items()], ignore_index=True)


def _family(name: str, rows: pd.DataFrame, published: dict[tuple[str, str], Sample]) -> pd.DataFrame:
    lines: list[dict[str, str]] = []
    tests = []
    for (method, benchmark), theirs in published.items():
        of = rows[(rows.method == method) & (rows.benchmark == benchmark) & (rows.parameters == "as_published")]
        done = of[of.status == "finished"].mean_accuracy
        if len(done) < 2:
            continue
        ours = Sample.of((100 * done).tolist())
        tests.append(welch(ours, theirs))
        claim = f"{method} on {benchmark}"
        lines.append({"family": name, "claim": claim, "published": str(theirs), "ours": str(ours), "test": "Welch"})
    adjusted = holm([p for _, p in tests])
    return pd.DataFrame(lines).assign(t=[t for t, _ in tests], p=adjusted, verdict=[_verdict(p) for p in adjusted])


def _verdict(p: float) -> str:
    if math.isnan(p):
        return "undecided"
    return "differs" if p < ALPHA else "agrees"


def verify(results: Path) -> pd.DataFrame:
    """Verdicts from results/table1/runs.csv, written as verdicts.csv and verdicts.md.

    Raises:
        PresynError: the rows are not there.
    """
    path = results / "table1" / "runs.csv"
    if not path.exists():
        raise PresynError(f"{path} is missing. Make it with: presyn table1")
    table = verdicts(pd.read_csv(path))
    if table.empty:
        raise PresynError(f"{path} has no runs of a published cell to compare. Make some with: presyn table1")
    table.round(4).to_csv(results / "verdicts.csv", index=False)
    shown = table.assign(t=table.t.map("{:.2f}".format), p=table.p.map("{:.3f}".format))
    note = f"Accuracy in %, mean ± standard error; Welch's test, p adjusted by Holm over each family, α = {ALPHA}."
    (results / "verdicts.md").write_text(f"{shown.to_markdown(index=False, disable_numparse=True)}\n\n{note}\n")
    return table
