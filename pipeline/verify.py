"""Verdicts from the committed rows alone: no training, no data, no network.

A published mean is *reproduced* when ours lies within MARGIN of it (two one-sided tests), *not reproduced* when a difference
is detected that this does not bound; a published order is reproduced when ours has it and the difference is detected.
Otherwise it is *undecided*, with the seeds that would decide it if what we estimated is true. p values are adjusted by Holm
over each family.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.paper import authors_code, published_table, statements
from pipeline.rows import read_rows
from pipeline.statistics import Difference, Sample, holm, paired, seeds_to_decide, unpaired
from pipeline.store import Store
from pipeline.tracking import Stage, Tracker
from presyn import METHODS, PresynError

ALPHA = 0.05
MARGIN = 1.5  # points of accuracy within which two means count as the same

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
COLUMNS = ("method", "benchmark", "seed", "status", "mean_accuracy", "run_id", "config", "rules_version")
VALUES = "further printed values"
NO_ROWS = pd.DataFrame(columns=["ablation", *COLUMNS])
FOUR = ("split-mnist", "split-fashion", "permuted-mnist", "permuted-fashion")


@dataclass(frozen=True)
class Claim:
    """One claim and what we found.

    Attributes:
        kind: mean, similar, above or no worse.
        difference: Ours minus published, or subject minus rival; None without runs.
        spread: Standard deviation over our seeds, for the seeds that would decide.
        other: The published sample, which more seeds of ours do not enlarge.
        rests_on: Cells of Table 1 whose runs the claim is about.
        two_sample: Of a paired claim, the difference by the test that the paper printed; shown beside, it decides nothing.
    """

    family: str
    claim: str
    published: str
    ours: str
    test: str
    kind: str
    difference: Difference | None
    spread: float = math.nan
    other: Sample | None = None
    two_sample: Difference | None = None
    rests_on: tuple[str, ...] = ()


def decide(claims: Sequence[Claim]) -> pd.DataFrame:
    """A line for each claim of one family."""
    found = [c.difference for c in claims]
    differs = holm([math.nan if d is None else d.p for d in found])
    # Each claim has one more test: that the difference is within, or not below, the margin.
    bounded = holm([_p_bounded(c) for c in claims])
    lines = []
    for c, p, p_bound in zip(claims, differs, bounded, strict=True):
        verdict, of = _verdict(c, p, p_bound)
        d = c.difference
        lines.append(
            {
                "family": c.family,
                "claim": c.claim,
                "published": c.published,
                "ours": c.ours,
                "difference": "–" if d is None else str(d),
                "test": c.test,
                "t": math.nan if d is None else d.t,
                "p": p,
                "p_margin": p_bound,
                "two_sample": _t_and_p(c.two_sample),
                "verdict": verdict,
                "seeds": _seeds(c, sum(p == p for p in differs)) if verdict == UNDECIDED else of,
            }
        )
    return pd.DataFrame(lines)


def _t_and_p(d: Difference | None) -> str:
    return "–" if d is None or d.p != d.p else f"t = {d.t:.2f}, p {'< 0.001' if d.p < 0.001 else f'= {d.p:.3f}'}"


def _p_bounded(c: Claim) -> float:
    if c.difference is None or c.kind == "above":
        return math.nan
    if c.kind == "no worse":
        return Difference(-c.difference.mean, c.difference.standard_error, c.difference.df).p_below(MARGIN)
    return c.difference.p_within(MARGIN)


def _verdict(c: Claim, p: float, p_bound: float) -> tuple[str, str]:
    if c.difference is None or math.isnan(p):
        return UNDECIDED, ""
    detected = p < ALPHA
    if c.kind == "above":
        return (UNDECIDED if not detected else REPRODUCED if c.difference.mean > 0 else NOT_REPRODUCED), ""
    if p_bound < ALPHA:
        return REPRODUCED, ""
    wrong = detected and (c.difference.mean < 0 or c.kind != "no worse")
    return (NOT_REPRODUCED if wrong else UNDECIDED), ""


def _seeds(c: Claim, family: int) -> str:
    """Seeds that would decide an undecided claim, if what we estimated is true, after Holm's strictest step."""
    if c.difference is None:
        return "no runs"
    if math.isnan(c.spread) or math.isnan(c.difference.mean):
        return "at least 2"
    d, alpha = c.difference.mean, ALPHA / family
    ways = [(alpha / 2, [abs(d)])] if d < 0 or (d and c.kind != "no worse") else []  # a difference is detected
    if c.kind == "no worse":
        ways.append((alpha, [MARGIN + d]))
    elif c.kind != "above":
        ways.append((alpha, [MARGIN - d, MARGIN + d]))
    needed = [seeds_to_decide(c.spread, far, a, c.other) for a, far in ways if min(far) > 0]
    possible = [n for n in needed if n]
    return f"about {min(possible)}" if possible else "no number of our seeds alone" if c.other else "more than 1000"


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
        where = "" if s.benchmark == "all four" else f" on {s.benchmark}"
        theirs = Sample(float(s.published), s.standard_error, int(s.df) + 1) if s.kind in ("mean", "size") else None
        if theirs and s.kind == "mean":
            own_rows = further[further.method == s.subject]
            for variant, reading in (("released", "in Zeno et al."), ("transition=released", "in the released code")):
                own = _accuracies(own_rows, variant, s.benchmark, "ablation")
                words = f"{s.subject} on {s.benchmark}, transitions as {reading}"
                claims.append(_mean_claim(VALUES, words, own, theirs))
            continue
        benchmarks = FOUR if s.benchmark == "all four" else (s.benchmark,)
        table, column = (rows, "method") if s.subject in METHODS else (ablations, "ablation")
        subject, rival = (_over(benchmarks, table, m, column) for m in (s.subject, s.rival))
        both = pd.concat([subject, rival], axis=1, join="inner")
        differences = both[0] - both[1]
        if theirs:
            claims.append(_mean_claim(VALUES, s.claim + where, differences, theirs))
            continue
        known = differences.dropna()
        d = paired(known.tolist()) if len(known) else None
        claims.append(
            Claim(
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
        )
    return claims


def as_published(results: Path) -> pd.DataFrame:
    """Our runs with the published settings: of the table, and of further seeds where there are some.

    Raises:
        PresynError: the table's rows are not there.
    """
    path = results / "table1" / "runs.csv"
    if not path.exists():
        raise PresynError(f"{path} is missing. Make it with: presyn table1")
    table = read_rows(path, [*COLUMNS, "parameters"])
    table = table[table.parameters == "as_published"]
    further = [read_rows(p, COLUMNS) for p in sorted((results / "seeds").glob("*.csv"))]
    rows = pd.concat([table, *further], ignore_index=True).drop_duplicates("run_id")
    rows = rows[rows.benchmark.isin(FOUR)]
    for (method, benchmark), of in rows.groupby(["method", "benchmark"], sort=False):
        settings = [{**json.loads(r.config), "seed": None, "rules_version": r.rules_version} for r in of.itertuples()]
        odd = [r.run_id for r, s in zip(of.itertuples(), settings, strict=True) if s != settings[0]]
        if odd:
            raise PresynError(
                f"{results / 'seeds'}: run {odd[0]} of {method} on {benchmark} has other settings than run "
                f"{of.run_id.iloc[0]}, which would mix two experiments in a verdict. Move it out of there."
            )
    return rows


def verdicts(rows: pd.DataFrame, ablations: pd.DataFrame = NO_ROWS, further: pd.DataFrame = NO_ROWS) -> pd.DataFrame:
    """All verdicts.

    Args:
        rows: With the published settings: columns method, benchmark, seed, status, mean_accuracy.
        ablations, further: As in `statement_claims`.

    Returns:
        One line for each claim: family, claim, published, ours, difference, test, t, p, p_margin, two_sample, verdict, seeds,
        and a note on what the claim rests on.
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
    return pd.concat(decided, ignore_index=True).assign(note=notes)


def track(table: pd.DataFrame, results: Path, store: Store, uri: str) -> None:
    """Log the verdicts to MLflow, experiment verify; other verdicts are another run."""
    text = table.to_csv(index=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    stage = Stage("verify", f"verify/{digest}", "verdicts")
    stage.metrics = {v.replace(" ", "_"): float((table.verdict == v).sum()) for v in (REPRODUCED, NOT_REPRODUCED, UNDECIDED)}
    stage.files = [str((results / name).absolute()) for name in ("verdicts.csv", "verdicts.md")]
    stage.table = stage.files[0]
    stage.save(store)
    Tracker(uri, store, stage).finish()


def verify(results: Path) -> pd.DataFrame:
    """Verdicts from the rows under results/, written as verdicts.csv and verdicts.md.

    Raises:
        PresynError: the rows are not there.
    """
    rows = as_published(results)
    if rows.empty:
        raise PresynError(f"{results} has no runs of a published cell to compare. Make some with: presyn table1")
    # Of all of Fig. 5a, and of those that were run again with more seeds by --off.
    ablations = [
        NO_ROWS,
        *[read_rows(p, [*COLUMNS, "ablation"]) for p in sorted(results.glob("ablations*/published/runs.csv"))],
    ]
    departures = [NO_ROWS, *[read_rows(p, [*COLUMNS, "ablation"]) for p in results.glob("departures/runs.csv")]]
    table = verdicts(rows, *[pd.concat(f, ignore_index=True) for f in (ablations, departures)])
    table.round(4).to_csv(results / "verdicts.csv", index=False)
    (results / "verdicts.md").write_text(f"{as_markdown(table)}\n\n{NOTE}\n")
    return table


NOTE = (
    f"Accuracy in %, mean ± standard error. *Reproduced*: within {MARGIN} points of the published mean (two one-sided tests, "
    f"p_margin), or in the published order (p). *Not reproduced*: a difference is detected (p) that is not bounded so. "
    f"*Undecided*: neither; `seeds` would decide it with a chance of 80 % if our estimate is true. "
    f"p adjusted by Holm over each family, α = {ALPHA}. two_sample: Welch's test of the same difference, not adjusted; "
    f"the paper tested two samples, ours are paired by seed."
)


def as_markdown(table: pd.DataFrame) -> str:
    """The verdicts as people read them."""
    shown = table.assign(
        t=table.t.map("{:.2f}".format), p=table.p.map("{:.3f}".format), p_margin=table.p_margin.map("{:.3f}".format)
    ).replace("nan", "–")
    return shown.to_markdown(index=False, disable_numparse=True)
