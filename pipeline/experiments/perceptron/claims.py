"""Claims P1 to P3: perceptrons with and without consolidation (Fig. 5b, c; Methods)."""

import math
from collections.abc import Iterator

import pandas as pd

from pipeline.experiments.perceptron.summary import accuracy, gain, summarise
from pipeline.paper import PATTERNS
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed, mean_over, with_lost
from pipeline.report.statistics import Sample
from pipeline.report.verdicts import Verdict, order, printed_mean

FAMILY, READINGS = "perceptron", "perceptron, other readings"
MARGIN, NOTEBOOK = 0.015, "values of the notebook"
"""Half the lead in the notebook, which prints the values: the paper shows them in a figure alone."""
CAPACITY = 2000
"""Patterns near the capacity of 2 N."""
FIRST_TASK = {"standard": (0.927, 0.889, 0.850, 0.824), "presynaptic": (0.989, 0.960, 0.924, 0.878)}
"""Printed accuracies on task 1 after tasks 2 to 5 (Fig. 5b; released notebook)."""
MEANS = {"standard": (0.8862, 0.0046), "presynaptic": (0.9174, 0.0046)}
"""Printed means, and their standard errors with ddof 0, of 10 seeds (Fig. 5c; released notebook)."""
PRINTED_SEEDS = 10


def perceptron_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on each of the claims, and on their readings."""
    rows = results.rows("perceptron", ("model", "patterns"))
    if rows is None:
        for id in ("P1", "P2", "P3"):
            yield order(id, "perceptrons", FAMILY, {"": BySeed()})
        return
    summary = with_lost(summarise(rows), rows, ("model", "seed", "patterns"))
    yield from _first_task(summary)
    yield from _means(summary)
    few, many = gain(summary, PATTERNS).in_points(), gain(summary, CAPACITY).in_points()
    name = f"({PATTERNS}: {few.values.mean():+.1f}, {CAPACITY}: {many.values.mean():+.1f})"
    # The size of each mean difference, whichever model is ahead; seed by seed, noise would count as a difference.
    sizes = [_size(few), _size(many)]
    claim = f"size of the difference, {PATTERNS} patterns minus {CAPACITY}"
    yield order("P3", claim, FAMILY, {name: sizes[0] - sizes[1]}, "points")
    yield order("P3", claim.removeprefix("size of the "), READINGS, {name: few - many}, "points", reading="signed")


def _size(gain: BySeed) -> BySeed:
    """A gain by seed, turned so that its mean is above 0."""
    sign = math.copysign(1, gain.values.mean())
    return gain.map(lambda values: sign * values)


def _first_task(summary: pd.DataFrame) -> Iterator[Verdict]:
    later = [f"task1_after_{i}" for i in (2, 3, 4, 5)]
    gains = {f"after {value[-1]}": gain(summary, PATTERNS, value).in_points() for value in later}
    yield order("P1", "accuracy on task 1, presynaptic minus standard, after tasks 2 to 5", FAMILY, gains, "points")
    for model, printed in FIRST_TASK.items():
        ours = mean_over(accuracy(summary, model, PATTERNS, value) for value in later)
        # No uncertainty is printed: that of ten seeds with our spread.
        error = float(ours.values.std(ddof=1)) / math.sqrt(PRINTED_SEEDS)
        theirs = Sample(sum(printed) / len(printed), error, PRINTED_SEEDS)
        claim = f"accuracy on task 1 of the {model} perceptron, mean of after tasks 2 to 5"
        yield printed_mean("P1", claim, READINGS, ours, theirs, margin=MARGIN, published=f"{theirs.mean:.4f}", reading=NOTEBOOK)


def _means(summary: pd.DataFrame) -> Iterator[Verdict]:
    yield order("P2", "mean accuracy, presynaptic minus standard", FAMILY, {"": gain(summary, PATTERNS).in_points()}, "points")
    for model, (mean, error) in MEANS.items():
        theirs = Sample(mean, error * math.sqrt(PRINTED_SEEDS / (PRINTED_SEEDS - 1)), PRINTED_SEEDS)
        claim, published = f"mean accuracy of the {model} perceptron", f"{mean} ± {error}"
        ours = accuracy(summary, model, PATTERNS)
        yield printed_mean("P2", claim, READINGS, ours, theirs, margin=MARGIN, published=published, reading=NOTEBOOK)
