"""Claims L2 to L26 and L32: the cells of Table 1 and the printed comparisons between methods."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from pipeline.experiments.table1.rows import COLUMNS, accuracies, as_published
from pipeline.paper import BENCHMARKS, METHOD_NAMES, RULE, SEARCHED_ON
from pipeline.paper.margins import UPPER_BOUND, accuracy_margin, margin_over_all
from pipeline.paper.published import Statement, authors_code, cell_ids, published_table, statements
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed, mean_over
from pipeline.report.statistics import Sample, unpaired
from pipeline.report.verdicts import Verdict, order, printed_mean

TABLE, AUTHORS = "Table 1 of the paper", "the authors' code"
VALUES, STATEMENTS, READINGS = "further printed values", "statements", "statements, other readings"
BESIDE_AUTHORS = f"beside {AUTHORS}"
"""The reading of a cell in which ours is compared with the authors' code instead of the print."""
UNIT_INPUTS = {"permuted-mnist": "mnist-unit", "permuted-fashion": "fashion-unit"}
"""Benchmark -> its images as inputs in [0, 1] instead of normalised ones, on which EWC was trained as well."""


def table1_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on each cell, beside the print and beside the authors' code, and on each printed comparison of methods."""
    rows = as_published(results)
    yield from cell_verdicts(rows, published_table(), TABLE)
    yield from cell_verdicts(rows, authors_code(), AUTHORS, reading=BESIDE_AUTHORS)
    for statement in statements():
        if statement.subject in METHOD_NAMES:
            yield compare(statement, rows, "method")
    yield from _ewc_by_inputs(results, rows)
    yield from _ewc_searched_there(results, rows)
    yield from _bgd_as_authors(results, rows)
    above = {b: accuracies(rows, UPPER_BOUND, b) - accuracies(rows, RULE, b) for b in BENCHMARKS}
    yield order("L32", "joint minus presynaptic, on all four benchmarks", STATEMENTS, above, "points")


def _ewc_by_inputs(results: Results, rows: pd.DataFrame) -> Iterator[Verdict]:
    """L26 on the permuted benchmarks alone, by the inputs of EWC, whose settings were searched on normalised ones."""
    carried_over = {b: _ewc_on_unit_inputs(results, rows, b) for b in UNIT_INPUTS}
    for inputs, ewc in (
        ("normalised inputs", {b: accuracies(rows, "ewc", b) for b in UNIT_INPUTS}),
        ("EWC on inputs in [0, 1]", carried_over),
    ):
        lead = mean_over(accuracies(rows, RULE, b) - values for b, values in ewc.items())
        yield order(
            "L26", "presynaptic minus ewc", READINGS, {"": lead}, "points", kind="no worse",
            published="similar or better", reading=f"permuted benchmarks, {inputs}",
            margin=sum(map(accuracy_margin, UNIT_INPUTS)) / len(UNIT_INPUTS),
        )  # fmt: skip
        for b, values in ewc.items():
            alone = accuracies(rows, RULE, b) - values
            yield order(
                "L26", f"presynaptic minus ewc on {b}", READINGS, {"": alone}, "points", kind="no worse",
                reading=f"{b} alone, {inputs}", margin=accuracy_margin(b),
            )  # fmt: skip


def _ewc_searched_there(results: Results, rows: pd.DataFrame) -> Iterator[Verdict]:
    """The cells of EWC on permuted benchmarks, and L26, with settings searched on that benchmark or on those inputs."""
    for benchmark, space, where in (
        (SEARCHED_ON, "ewc-permuted-mnist-unit", "searched on inputs in [0, 1]"),
        ("permuted-fashion", "ewc-permuted-fashion", "searched on this benchmark"),
    ):
        frame = results.rows(f"baselines/{space}", COLUMNS)
        if frame is None:
            continue
        values, margin = accuracies(frame, "ewc", benchmark), accuracy_margin(benchmark)
        yield printed_mean(
            cell_ids()["ewc", benchmark], f"ewc on {benchmark}, {where}", READINGS, values, published_table()["ewc", benchmark],
            unit="%", reading=where, margin=margin,
        )  # fmt: skip
        alone = accuracies(rows, RULE, benchmark) - values
        yield order(
            "L26", f"presynaptic minus ewc on {benchmark}", READINGS, {"": alone}, "points", kind="no worse",
            reading=f"{benchmark} alone, EWC {where}", margin=margin,
        )  # fmt: skip


def _bgd_as_authors(results: Results, rows: pd.DataFrame) -> Iterator[Verdict]:
    """The cells of BGD, L23 and L25 with networks that start as in the authors' last script (`rule=authors`)."""
    groups = [results.rows(f"baselines/bgd-{kind}", COLUMNS) for kind in ("split", "permuted")]
    if all(group is None for group in groups):
        return
    frame = pd.concat([group for group in groups if group is not None], ignore_index=True)
    ids, reading = cell_ids(), "first weights and first task as in the authors' last script"
    by_benchmark = {b: accuracies(frame, "bgd", b) for b in BENCHMARKS if b in set(frame.benchmark)}
    for benchmark, values in by_benchmark.items():
        printed = published_table()["bgd", benchmark]
        yield printed_mean(
            ids["bgd", benchmark], f"bgd on {benchmark}, {reading}", READINGS, values, printed, unit="%", reading=reading,
            margin=accuracy_margin(benchmark, "bgd"),
        )  # fmt: skip
    for statement in statements():
        if statement.rival == "bgd" and not statement.reading:
            both = pd.concat([rows[rows.method != "bgd"], frame], ignore_index=True)
            yield replace(compare(statement, both, "method"), reading=reading, family=READINGS)


def _ewc_on_unit_inputs(results: Results, rows: pd.DataFrame, benchmark: str) -> BySeed:
    """Accuracies with the settings of Table 1, but for the inputs."""
    frame = results.rows("baselines/ewc", COLUMNS)
    table = rows[(rows.method == "ewc") & (rows.benchmark == benchmark)]
    if frame is None or table.empty:
        return BySeed()
    settings = {**json.loads(table.config.iloc[0]), "seed": None, "dataset": UNIT_INPUTS[benchmark]}
    same = [{**json.loads(config), "seed": None} == settings for config in frame.config]
    return accuracies(frame[same], "ewc", benchmark)


def cell_verdicts(
    rows: pd.DataFrame, printed: Mapping[tuple[str, str], Sample], family: str, reading: str = ""
) -> Iterator[Verdict]:
    """A verdict for each mean of a table."""
    ids = cell_ids()
    for (method, benchmark), sample in printed.items():
        values = accuracies(rows, method, benchmark)
        yield printed_mean(
            ids.get((method, benchmark), ""), f"{method} on {benchmark}", family, values, sample, unit="%", reading=reading,
            margin=accuracy_margin(benchmark, method), cell=(method, benchmark),
        )  # fmt: skip


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
            statement.id, comparison, VALUES, difference, statement.printed, statement.repetitions, unit="points",
            reading=statement.reading, margin=accuracy_margin(statement.benchmark),
        )  # fmt: skip
    by_method = column == "method"
    rests_on = tuple((name, b) for name in (statement.subject, statement.rival) for b in benchmarks) if by_method else ()
    margin = math.nan if statement.kind == "above" else margin_over_all()
    verdict = order(
        statement.id, comparison, STATEMENTS, {"": difference}, "points", kind=statement.kind,
        published=statement.published, reading=statement.reading, rests_on=rests_on, margin=margin,
    )  # fmt: skip
    if verdict.difference is None:
        return verdict
    samples = [Sample.from_values(side.finished) for side in (subject, rival)]
    return replace(verdict, lost=difference.lost, two_sample=unpaired(*samples))


def printed_mean_of(statement: Statement, values: BySeed) -> Verdict:
    """A printed mean accuracy that is no cell of Table 1."""
    assert statement.printed is not None
    return printed_mean(
        statement.id, statement.comparison, VALUES, values, statement.printed, unit="%", reading=statement.reading,
        margin=accuracy_margin(SEARCHED_ON),
    )  # fmt: skip
