"""The claims of Table 1 and of the printed statements, from rows alone."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.report.claim_list import claim_list
from pipeline.report.energy_claims import energy_findings
from pipeline.report.findings import Evidence
from pipeline.report.memory_claims import ablation_findings, data_findings, lifelong_findings, perceptron_findings
from pipeline.report.published import authors_code, published_table, statements
from pipeline.report.sparsity_claims import sparsity_findings
from pipeline.report.statistics import Sample, paired, unpaired
from pipeline.report.verdicts import NOT_REPRODUCED, NOT_TESTED, Claim, decide
from pipeline.report.words import NAMES

COLUMNS = ("method", "benchmark", "seed", "status", "mean_accuracy", "run_id", "config", "rules_version")
VALUES = "further printed values"
NO_ROWS = pd.DataFrame(columns=["ablation", *COLUMNS])
FOUR = ("split-mnist", "split-fashion", "permuted-mnist", "permuted-fashion")


def _accuracies(rows: pd.DataFrame, method: str, benchmark: str, column: str = "method") -> pd.Series:
    """Accuracy in % by seed; nan for a run that did not finish."""
    of = rows[(rows[column] == method) & (rows.benchmark == benchmark)].drop_duplicates("seed").set_index("seed")
    return 100 * of.mean_accuracy.where(of.status == "finished").astype(float).sort_index()


def cells(name: str, rows: pd.DataFrame, published: dict[tuple[str, str], Sample]) -> list[Claim]:
    """A claim for each published mean."""
    claims = []
    for (method, benchmark), theirs in published.items():
        claims.append(_mean_claim(name, f"{method} on {benchmark}", _accuracies(rows, method, benchmark), theirs))
    return claims


def _mean_claim(family: str, claim: str, all_own: pd.Series, theirs: Sample) -> Claim:
    own = all_own.dropna()
    ours = Sample.of(own.tolist()) if len(own) else None
    difference = unpaired(ours, theirs) if ours else None
    words = "–" if ours is None else f"{ours.mean:.2f} ± {ours.standard_error:.2f}" if ours.n > 1 else f"{ours.mean:.2f}"
    return Claim(family, claim, str(theirs), words + _count(all_own), "Welch", "mean", difference, _spread(own), theirs)


def _spread(values: pd.Series) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _count(values: pd.Series) -> str:
    """How many there are, and how many were lost because a run did not finish."""
    n, lost = values.count(), int(values.isna().sum())
    return f" (n = {n}{f', {lost} lost' if lost else ''})" if len(values) else ""


def _over(benchmarks: Sequence[str], rows: pd.DataFrame, method: str, column: str) -> pd.Series:
    """Accuracy in % by seed, averaged over benchmarks, of the seeds that all of them have; nan where a run did not finish."""
    return pd.concat([_accuracies(rows, method, b, column) for b in benchmarks], axis=1, join="inner").mean(
        axis=1, skipna=False
    )


def statement_claims(rows: pd.DataFrame, ablations: pd.DataFrame, further: pd.DataFrame) -> list[Claim]:
    """A claim for each printed statement.

    Args:
        rows: Of the table, with the published parameters.
        ablations: Of the ablations with the published parameters.
        further: Of the departures, where the continuous benchmark is.
    """
    claims = []
    for s in statements():
        if s.kind == "mean":
            claims += _printed_means(s, further)
        else:
            claims.append(_printed_comparison(s, rows, ablations))
    return claims


def _printed(s: Any) -> Sample:
    return Sample(float(s.published), s.standard_error, int(s.df) + 1)


def _printed_means(s: Any, further: pd.DataFrame) -> list[Claim]:
    """A printed mean on the continuous benchmark, in both readings of its transitions."""
    claims = []
    for variant, reading in (("released", "in Zeno et al."), ("transition=released", "in the released code")):
        own = _accuracies(further[further.method == s.subject], variant, s.benchmark, "ablation")
        claims.append(_mean_claim(VALUES, f"{s.subject} on {s.benchmark}, transitions as {reading}", own, _printed(s)))
    return claims


def _printed_comparison(s: Any, rows: pd.DataFrame, ablations: pd.DataFrame) -> Claim:
    """A printed order, likeness or size of a difference, over the same seeds."""
    where = "" if s.benchmark == "all four" else f" on {s.benchmark}"
    benchmarks = FOUR if s.benchmark == "all four" else (s.benchmark,)
    table, column = (rows, "method") if s.subject in NAMES else (ablations, "ablation")
    subject, rival = (_over(benchmarks, table, m, column) for m in (s.subject, s.rival))
    both = pd.concat([subject, rival], axis=1, join="inner")
    differences = both[0] - both[1]
    if s.kind == "size":
        return _mean_claim(VALUES, s.claim + where, differences, _printed(s))
    known = differences.dropna()
    d = paired(known.tolist()) if len(known) else None
    return Claim(
        "statements",
        s.claim + where,
        s.published,
        "–" if d is None else f"{d}{_count(differences)}",
        "paired t",
        s.kind,
        d,
        _spread(known),
        two_sample=unpaired(*(Sample.of(side.dropna().tolist()) for side in (subject, rival))) if d else None,
        rests_on=tuple(f"{m} on {b}" for m in (s.subject, s.rival) for b in benchmarks if table is rows),
    )


def verdicts(
    rows: pd.DataFrame,
    ablations: pd.DataFrame = NO_ROWS,
    further: pd.DataFrame = NO_ROWS,
    evidence: Evidence | None = None,
) -> pd.DataFrame:
    """All verdicts.

    Args:
        rows: With the published settings: columns method, benchmark, seed, status, mean_accuracy.
        ablations, further: As in `statement_claims`.
        evidence: For the claims beyond Table 1 and the printed statements; None leaves them out.

    Returns:
        One line for each claim, or part or reading of one: family, claim, published, ours, difference, test, t, p, p_margin,
        two_sample, verdict, seeds, a note on what the claim rests on, its id, the reading, and the interval of the effect.
    """
    others = statement_claims(rows, ablations, further)
    families = [
        cells("Table 1 of the paper", rows, published_table()),
        cells("the authors' code", rows, authors_code()),
        [c for c in others if c.family == VALUES],
        [c for c in others if c.family != VALUES],
    ]
    decided = [decide(f) for f in families]
    wrong = set(decided[0].claim[decided[0].verdict == NOT_REPRODUCED])
    notes = [", ".join(f"{cell} is not reproduced" for cell in c.rests_on if cell in wrong) for f in families for c in f]
    table = pd.concat(decided, ignore_index=True).assign(note=notes)
    cell = {f"{method} on {benchmark}": f"L{n}" for n, (method, benchmark) in enumerate(published_table(), start=2)}
    known = [_named(line.family, line.claim, cell) for line in table.itertuples()]
    table = table.assign(id=[id for id, _ in known], reading=[reading for _, reading in known], interval="")
    if evidence is None:
        return table
    table = pd.concat([table, _beyond(evidence)], ignore_index=True)
    untested = table.difference == "–"
    return table.assign(verdict=table.verdict.mask(untested, NOT_TESTED), seeds=table.seeds.mask(untested, "no runs"))


def _named(family: str, claim: str, cell: dict[str, str]) -> tuple[str, str]:
    """The id and the reading of a verdict on Table 1, whose cells have ids, or on a printed statement."""
    if claim in cell:
        return cell[claim], "" if family == "Table 1 of the paper" else f"beside {family}"
    by_release = "divided by the release probability" if "divided by" in claim else ""
    for start, id in {
        **{f"presynaptic above {m}": f"L{22 + n}" for n, m in enumerate(("sgd", "bgd", "ewc"))},
        **{"overall similar to bgd": "L25", "overall similar to or": "L26"},
    }.items():
        if claim.startswith(start):
            return id, ""
    if claim.startswith("ghost"):
        return "A2" if "split" in claim else "A3", by_release
    if "continuous" in claim:
        return "L28", "" if "Zeno" in claim else "transitions as in the released code"
    return "", ""


def _beyond(evidence: Evidence) -> pd.DataFrame:
    """Verdicts on the other claims, a family for each part of the paper; other readings are families of their own."""
    printed = {c["id"]: c["published"] for c in claim_list()}
    decided = []
    for family, findings in (
        ("energy", energy_findings),
        ("sparsity", sparsity_findings),
        ("lifelong", lifelong_findings),
        ("ablations", ablation_findings),
        ("perceptron", perceptron_findings),
        ("measured synapses", data_findings),
    ):
        found = list(findings(evidence))
        for name, of in (
            (family, [f for f in found if not f.reading]),
            (f"{family}, other readings", [f for f in found if f.reading]),
        ):
            claims = [f.as_claim(name, printed[f.id]) for f in of]
            if claims:
                own = {"note": "", "id": [c.id for c in claims], "reading": [c.reading for c in claims]}
                decided.append(decide(claims).assign(**own, interval=[c.interval for c in claims]))
    return pd.concat(decided, ignore_index=True)
