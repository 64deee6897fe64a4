"""The published numbers in results/paper/, as samples."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.report.statistics import Sample

_CHECKOUT = Path(__file__).parents[2] / "results"
COME_ALONG = _CHECKOUT if (_CHECKOUT / "paper").is_dir() else Path(__file__).parents[1] / "come_along"
"""Results that come along: of a checkout those committed; of a wheel the printed numbers and the winners (see setup.py)."""
PAPER = COME_ALONG / "paper"


def published_table(folder: Path = PAPER) -> dict[tuple[str, str], Sample]:
    """(method, benchmark) -> accuracy in %, Appendix 1—table 1 of the paper."""
    frame = pd.read_csv(folder / "table1.csv")
    return {(r.method, r.benchmark): Sample(r.mean, r.standard_error, r.repetitions) for r in frame.itertuples()}


def authors_code(folder: Path = PAPER) -> dict[tuple[str, str], Sample]:
    """(method, benchmark) -> accuracy in %, runs of the authors' released code."""
    frame = pd.read_csv(folder / "authors_code.csv")
    return {(r.method, r.benchmark): Sample.of([100 * float(a) for a in r.accuracies.split()]) for r in frame.itertuples()}


def statements(folder: Path = PAPER) -> list[Any]:
    """Printed statements, with fields claim, kind, subject, rival, benchmark, published, standard_error, its df, place."""
    return list(pd.read_csv(folder / "statements.csv").itertuples(index=False))
