"""Claims on what is remembered, but those of `pipeline.report.claims`: L1, L27, L29, L30, A1, A4, P1 to P3, B1 and R1."""

import math
from collections.abc import Iterator

import pandas as pd

from pipeline.report.findings import Evidence, Finding, above, value, z_of
from pipeline.report.lifelong import SPLIT, on_task
from pipeline.report.perceptron import PRINTED, difference
from pipeline.report.statistics import Difference, Sample
from pipeline.report.verdicts import MARGIN

FOUR = ("split-mnist", "split-fashion", "permuted-mnist", "permuted-fashion")
TRANSFERRED = ("split-mnist", "split-fashion", "permuted-fashion")
MARGIN_SHARE = MARGIN / 100
FIRST_TASK = {"standard": (0.927, 0.889, 0.850, 0.824), "presynaptic": (0.989, 0.960, 0.924, 0.878)}
"""Printed accuracies on task 1 after tasks 2 to 5 (Fig. 5b)."""
MEANS = {"standard": (0.8862, 0.0046), "presynaptic": (0.9174, 0.0046)}
"""Printed means, and their standard errors with ddof 0, of 10 seeds (Fig. 5c)."""
R_OF_DATA = -0.4416
ABLATED = ("no-freezing", "no-lr-modulation", "no-consolidation", "ghost", "no-normalisation")
"""Of Fig. 5a; the ghost control is as the released code has it."""


def _accuracies(rows: pd.DataFrame, method: str, benchmark: str, column: str = "method") -> pd.Series:
    """Accuracy in % by seed, of runs that finished."""
    of = rows[(rows[column] == method) & (rows.benchmark == benchmark) & (rows.status == "finished")]
    return 100 * of.drop_duplicates("seed").set_index("seed").mean_accuracy.astype(float)


def _minus(a: pd.Series, b: pd.Series) -> pd.Series:
    return (a - b).dropna()


def lifelong_findings(evidence: Evidence) -> Iterator[Finding]:
    """Of Table 1's rows, and of the course of p."""
    rows, searched = evidence["rows"], evidence["searched"]
    each = evidence["tasks"]
    for benchmark in (SPLIT, "permuted-mnist"):
        reading = "" if benchmark == SPLIT else benchmark
        after = {m: on_task(each, m, benchmark, 1, 1) for m in ("presynaptic", "sgd")}
        final = {m: on_task(each, m, benchmark, 1, 5 if benchmark == SPLIT else 10) for m in ("presynaptic", "sgd")}
        parts = {f"{m} after task 1 minus 0.9:": after[m] - 0.9 for m in after}
        parts["at the end, presynaptic minus sgd:"] = _minus(final["presynaptic"], final["sgd"])
        yield above("L1", f"accuracy on task 1 of {benchmark}", parts, reading=reading)
    carried = {b: _accuracies(searched, "presynaptic", b) for b in TRANSFERRED}
    for rivals, reading in ((rows, ""), (searched, "sgd searched too")):
        parts = {b: _minus(carried[b], _accuracies(rivals, "sgd", b)) for b in TRANSFERRED}
        yield above("L27", "searched parameters, presynaptic minus sgd in points", parts, reading=reading)
    final = {m: on_task(each, m, SPLIT, 1, 5) for m in ("presynaptic", "sgd", "bgd", "ewc", "joint")}
    order = ", ".join(f"{m} {v.mean():.3f}" for m, v in sorted(final.items(), key=lambda kv: -kv[1].mean()) if len(v))
    parts = {f"presynaptic minus sgd (all: {order}):": _minus(final["presynaptic"], final["sgd"])}
    yield above("L29", "accuracy on task 1 of Split MNIST after task 5", parts)
    yield _growing(evidence.get("lifelong"))
    four = {b: _minus(_accuracies(rows, "presynaptic", b), _accuracies(rows, "sgd", b)) for b in FOUR}
    yield above("R1", "presynaptic minus sgd in points, on all four benchmarks", four)


def _growing(over: pd.DataFrame | None) -> Finding:
    """Mean p and the share of frozen synapses, from each task to the next, by seed."""
    claim = "growth of mean p and of the share of frozen synapses from task to task, ten permuted tasks"
    parts: dict[str, pd.Series] = {}
    for quantity in ("mean_p", "frozen"):
        of = None if over is None else over[over.benchmark == "permuted-mnist"]
        table = pd.DataFrame() if of is None else of.pivot(index="seed", columns="task", values=quantity)
        for t in range(2, 11):
            there = {t, t - 1} <= set(table.columns)
            parts[f"{quantity}, task {t}"] = _minus(table[t], table[t - 1]) if there else pd.Series(dtype=float)
    return above("L30", claim, parts)


def ablation_findings(evidence: Evidence) -> Iterator[Finding]:
    """Of the ablations: with parameters searched again, and with the authors'."""
    for name, reading in (("ablations/searched", ""), ("ablations/published", "the authors' parameters")):
        frame = evidence.get(name)
        lost = {f"{v} on {b}": _lost(frame, v, b) for b in ("split-mnist", "permuted-mnist") for v in ABLATED}
        without = {k: v - MARGIN for k, v in lost.items() if k.startswith("no-consolidation ")}
        yield above("A1", f"points lost without both mechanisms, beyond {MARGIN:g}", without, reading=reading)
        yield above("A4", "points lost by each ablation", lost, reading=reading)


def _lost(frame: pd.DataFrame | None, variant: str, benchmark: str) -> pd.Series:
    """Points of accuracy that an ablation costs, by seed."""
    if frame is None:
        return pd.Series(dtype=float)
    of = [_accuracies(frame, v, benchmark, "ablation") for v in ("full", variant)]
    return _minus(*of)


def perceptron_findings(evidence: Evidence) -> Iterator[Finding]:
    """Of the perceptrons."""
    long = evidence.get("perceptron")
    if long is None or long.empty:
        for id in ("P1", "P2", "P3"):
            yield above(id, "perceptrons", {"": []})
        return
    of = long[long.patterns == PRINTED]
    later = {f"after {i}": difference(long, PRINTED, f"task1_after_{i}") for i in (2, 3, 4, 5)}
    yield above("P1", "accuracy on task 1, presynaptic minus standard, after tasks 2 to 5", later)
    for model, printed in FIRST_TASK.items():
        mean = of[of.model == model].set_index("seed")[[f"task1_after_{i}" for i in (2, 3, 4, 5)]].mean(axis=1)
        # No uncertainty is printed: that of ten seeds with our spread.
        there = Sample(sum(printed) / 4, float(mean.std(ddof=1)) / math.sqrt(10), 10)
        claim = f"accuracy on task 1 of the {model} perceptron, mean of after tasks 2 to 5"
        yield value("P1", claim, mean, there, MARGIN_SHARE, published=f"{there.mean:.4f}")
    yield above("P2", "mean accuracy, presynaptic minus standard", {"": difference(long, PRINTED)})
    for model, (mean, error) in MEANS.items():
        own = of[of.model == model].mean_accuracy
        there = Sample(mean, error * math.sqrt(10 / 9), 10)
        claim = f"mean accuracy of the {model} perceptron"
        yield value("P2", claim, own, there, MARGIN_SHARE, published=f"{mean} ± {error}")
    few, many = difference(long, PRINTED), difference(long, 2000)
    words = f"(500: {few.mean():+.3f}, 2000: {many.mean():+.3f})"
    # The size of each mean difference, whichever model is ahead; seed by seed, noise would count as a difference.
    sizes = _minus(math.copysign(1, few.mean()) * few, math.copysign(1, many.mean()) * many)
    yield above("P3", "size of the difference, 500 patterns minus 2000", {words: sizes})
    yield above("P3", "difference, 500 patterns minus 2000", {words: _minus(few, many)}, reading="signed")


def data_findings(evidence: Evidence) -> Iterator[Finding]:
    """Of measured release probabilities, if their file was there: the same data must give the printed r, and its p."""
    table, claim = evidence.get("release-data"), "r of release probability before and size of change"
    if table is None:
        yield Finding("B1", claim, "–", None, test="Pearson's r")
        return
    r, n = float(table.r.iloc[0]), int(table.synapses.iloc[0])
    z = -float(z_of([r])[0])
    effect = Difference(z, 1 / math.sqrt(n - 3), n - 2)
    same = "as printed" if abs(r - R_OF_DATA) < 5e-5 else f"not the printed {R_OF_DATA}"
    words = f"r = {r:.4f} (n = {n}), {same}"
    yield Finding("B1", "minus " + claim, words, effect, interval=str(effect), test="Fisher's z", spread=1.0)
