"""Within what a value of ours counts as the printed one, each with its reason; they were set after results were seen."""

from pipeline.paper import BENCHMARKS, RULE
from pipeline.paper.published import published_table

BASELINE, UPPER_BOUND = "sgd", "joint"


def printed_lead(benchmark: str) -> float:
    """Points by which the paper's rule is printed above No Consolidation."""
    return published_table()[RULE, benchmark].mean - published_table()[BASELINE, benchmark].mean


def accuracy_margin(benchmark: str, method: str = "") -> float:
    """Points within which an accuracy counts as the printed one.

    Half the printed lead over No Consolidation: those two rows cannot change places if both are off by less. Of Joint Training
    no more than its printed error rate: what makes twice as many errors is another upper bound.
    """
    half = printed_lead(benchmark) / 2
    return min(half, 100 - published_table()[method, benchmark].mean) if method == UPPER_BOUND else half


def margin_over_all() -> float:
    """Points within which two methods count as similar on average over the four benchmarks: half the mean printed lead."""
    return sum(printed_lead(b) for b in BENCHMARKS) / len(BENCHMARKS) / 2
