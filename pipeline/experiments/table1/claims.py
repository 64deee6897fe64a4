"""Claims L2 to L26: the cells of Table 1 and the printed comparisons between methods."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from pipeline.experiments.table1.rows import accuracies, as_published
from pipeline.paper import BENCHMARKS, METHOD_NAMES
from pipeline.paper.published import Statement, authors_code, cell_ids, published_table, statements
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed, mean_over
from pipeline.report.statistics import Sample, unpaired
from pipeline.report.verdicts import Verdict, order, printed_mean

TABLE, AUTHORS = "Table 1 of the paper", "the authors' code"
VALUES, STATEMENTS = "further printed values", "statements"


def table1_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on each cell, beside the print and beside the authors' code, and on each printed comparison of methods."""
    rows = as_published(results)
    yield from cell_verdicts(rows, published_table(), TABLE)
    yield from cell_verdicts(rows, authors_code(), AUTHORS, reading=f"beside {AUTHORS}")
    for statement in statements():
        if statement.subject in METHOD_NAMES:
            yield compare(statement, rows, "method")


def cell_verdicts(
    rows: pd.DataFrame, printed: Mapping[tuple[str, str], Sample], family: str, reading: str = ""
) -> Iterator[Verdict]:
    """A verdict for each mean of a table."""
    ids = cell_ids()
    for (method, benchmark), sample in printed.items():
        values = accuracies(rows, method, benchmark)
        cell = f"{method} on {benchmark}"
        yield printed_mean(ids.get((method, benchmark), ""), cell, family, values, sample, unit="%", reading=reading)


def compare(statement: Statement, rows: pd.DataFrame, column: str) -> Verdict:
    """A printed order, likeness or size of a difference, over the same seeds.

    Args:
        statement: What is printed.
        rows: Of the subject and the rival.
        column: In which they are named.
    """
    benchmarks = BENCHMARKS if statement.benchmark == "all four" else (statement.benchmark,)
    subject, rival = (
        mean_over(accuracies(rows, name, b, column) for b in benchmarks) for name in (statement.subject, statement.rival)
    )
    where = "" if statement.benchmark == "all four" else f" on {statement.benchmark}"
    difference, comparison = subject - rival, statement.comparison + where
    if statement.kind == "size":
        assert statement.printed is not None
        return printed_mean(
            statement.id, comparison, VALUES, difference, statement.printed, unit="points", reading=statement.reading
        )
    by_method = column == "method"
    rests_on = tuple((name, b) for name in (statement.subject, statement.rival) for b in benchmarks) if by_method else ()
    verdict = order(
        statement.id, comparison, STATEMENTS, {"": difference.without_lost()}, "points", kind=statement.kind,
        published=statement.published, reading=statement.reading, rests_on=rests_on,
    )  # fmt: skip
    if verdict.difference is None:
        return verdict
    samples = [Sample.from_values(side.finished) for side in (subject, rival)]
    return replace(verdict, lost=difference.lost, two_sample=unpaired(*samples))


def printed_mean_of(statement: Statement, values: BySeed) -> Verdict:
    """A printed mean accuracy that is no cell of Table 1."""
    assert statement.printed is not None
    return printed_mean(
        statement.id, statement.comparison, VALUES, values, statement.printed, unit="%", reading=statement.reading
    )
