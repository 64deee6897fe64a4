"""The tests behind the verdicts agree with textbook numbers and with raw samples."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.paper import authors_code, published_table
from pipeline.statistics import Sample, holm, welch
from pipeline.verify import verdicts


def test_welch_from_summaries_equals_welch_from_samples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(80, 1, 3), rng.normal(82, 3, 5)
    theirs = stats.ttest_ind(a, b, equal_var=False)
    assert welch(Sample.of(a), Sample.of(b)) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_standard_error_uses_ddof_one():
    assert Sample.of([1.0, 2.0, 3.0]).standard_error == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(Sample.of([1.0]).standard_error) and math.isnan(welch(Sample.of([1.0]), Sample.of([1.0, 2.0]))[1])


def test_holm_by_hand_and_with_gaps():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = holm([0.01, math.nan, 0.03])
    assert adjusted[0] == pytest.approx(0.02) and math.isnan(adjusted[1]) and adjusted[2] == pytest.approx(0.03)


def test_the_published_numbers_are_complete():
    assert len(published_table()) == 20 and str(published_table()["presynaptic", "permuted-mnist"]) == "86.14 ± 0.67"
    assert len(authors_code()) == 12 and authors_code()["sgd", "split-mnist"].mean == pytest.approx(80.763, abs=1e-3)


def rows(shift):
    """Rows as good as the authors' own runs, but for one cell."""
    lines = []
    for (method, benchmark), s in authors_code().items():
        for i in range(3):
            off = shift if (method, benchmark) == ("presynaptic", "split-mnist") else 0
            lines.append(
                {
                    "method": method,
                    "benchmark": benchmark,
                    "parameters": "as_published",
                    "status": "finished",
                    "mean_accuracy": (s.mean + off + 0.1 * (i - 1)) / 100,
                }
            )
    return pd.DataFrame(lines)


def test_a_wrong_number_turns_the_verdict():
    def verdict(shift):
        table = verdicts(rows(shift))
        of = table[(table.family == "the authors' code") & (table.claim == "presynaptic on split-mnist")]
        return of.verdict.item()

    assert (verdict(0), verdict(5)) == ("agrees", "differs")
