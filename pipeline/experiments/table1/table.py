"""Table 1 from rows alone: ours beside the published numbers."""

import pandas as pd

from pipeline.experiments.table1.rows import accuracies
from pipeline.paper import BENCHMARK_NAMES, DEMONSTRATION, METHOD_NAMES, NAMES, PARAMETER_NAME_WITHOUT_SETTINGS, PARAMETER_NAMES
from pipeline.paper.published import authors_code, published_table
from pipeline.report.statistics import Sample, plus_minus, unpaired


def make_table(frame: pd.DataFrame, benchmarks: tuple[str, ...]) -> pd.DataFrame:
    """The table in long form, from rows alone: one line for each method, benchmark and parameters, accuracies in %.

    Columns: method, benchmark, parameters, ours (mean), standard_error, n, lost (runs that did not finish), published,
    published_error, t and p of Welch's test against the published mean.
    """
    printed, lines = published_table(), []
    for method in dict.fromkeys([*NAMES, *frame.method]):
        for benchmark in benchmarks:
            for parameters in [reading for reading in PARAMETER_NAMES if reading != "published"]:
                rows = frame[(frame.method == method) & (frame.benchmark == benchmark) & (frame.parameters == parameters)]
                if len(rows):
                    cell = {"method": method, "benchmark": benchmark, "parameters": parameters}
                    lines.append(cell | _numbers(rows, printed.get((method, benchmark))))
    return pd.DataFrame(lines)


def _numbers(rows: pd.DataFrame, theirs: Sample | None) -> dict[str, float]:
    finished = rows[rows.status == "finished"].mean_accuracy
    ours = Sample.from_values((100 * finished).tolist())
    difference = unpaired(ours, theirs) if theirs else None
    return {
        "ours": ours.mean,
        "standard_error": ours.standard_error,
        "n": ours.n,
        "lost": len(rows) - len(finished),
        "published": theirs.mean if theirs else float("nan"),
        "published_error": theirs.standard_error if theirs else float("nan"),
        "t": difference.t if difference else float("nan"),
        "p": difference.p if difference else float("nan"),
    }


def shown(table: pd.DataFrame, benchmarks: tuple[str, ...]) -> pd.DataFrame:
    """The table as people read it: a row for each method and kind of number, a column for each benchmark."""
    rows, seeds = [], (table.n + table.lost).max()
    for method in table.method.unique():
        for reading, name in PARAMETER_NAMES.items():
            cells = [_cell(table[(table.method == method) & (table.benchmark == b)], reading, seeds) for b in benchmarks]
            if any(cells):
                name = PARAMETER_NAME_WITHOUT_SETTINGS.get(method, name) if reading == "as_published" else name
                rows.append([NAMES.get(method, method), name, *[c or "–" for c in cells]])
    return pd.DataFrame(rows, columns=["accuracy in %", "", *benchmarks])


def beside_authors(rows: pd.DataFrame) -> pd.DataFrame:
    """Cells that the authors' code was run in: the print, that code with today's PyTorch, and ours, mean ± standard error (n).

    Args:
        rows: Ours with the published settings, of all seeds there are; see `rows.as_published`.
    """
    lines = []
    for (method, benchmark), authors in authors_code().items():
        ours, printed = accuracies(rows, method, benchmark).finished, published_table()[method, benchmark]
        if not ours:
            continue
        sample = Sample.from_values(ours)
        cells = [f"{plus_minus(s.mean, s.standard_error)} ({s.n})" for s in (authors, sample)]
        differences = [f"{a.mean - b.mean:+.2f}" for a, b in ((authors, printed), (sample, printed), (sample, authors))]
        lines.append([METHOD_NAMES[method], BENCHMARK_NAMES[benchmark], str(printed), *cells, *differences])
    names = [
        "method",
        "benchmark",
        "published",
        "authors' code",
        "ours",
        "theirs − published",
        "ours − published",
        "ours − theirs",
    ]
    return pd.DataFrame(lines, columns=names)


def _cell(lines: pd.DataFrame, reading: str, seeds: int) -> str:
    if reading == "published":
        printed = lines.dropna(subset="published")
        return "" if printed.empty else plus_minus(printed.published.iloc[0], printed.published_error.iloc[0])
    lines = lines[lines.parameters == reading]
    if lines.empty:
        return ""
    line = lines.iloc[0]
    lost = f", {line.lost} lost" if line.lost else ""
    fewer = f", n = {line.n}" if 1 < line.n < seeds - line.lost else ""
    return f"{Sample(line.ours, line.standard_error, line.n)}{fewer}{lost}"


def caption(table: pd.DataFrame, searched: str) -> str:
    """What the numbers are, as far as the table has them.

    Args:
        table: In long form.
        searched: The benchmark on which parameters were searched.
    """
    error = ", ± standard error (ddof 1) over seeds" if (table.n > 1).any() else ""
    text = f"Mean accuracy over tasks after the last task{error}."
    if "searched" in table.parameters.values:
        where = {"permuted-mnist": "Permuted MNIST"}.get(searched, searched)
        text += f" Tuned once: parameters searched on {where} and carried over"
        by_hand = (
            "; eta0 of Presynaptic Consolidation is set by hand for each kind of benchmark, as in the paper, except in the "
        )
        text += f"{by_hand}row of one eta0." if table.benchmark.isin(("split-mnist", "split-fashion")).any() else "."
    if table.lost.any():
        text += " Lost: runs that diverged or were dropped; no mean counts them."
    return text


def title(benchmarks: tuple[str, ...]) -> str:
    """What the table is of."""
    return f"Table 1 on {DEMONSTRATION}" if all(b.endswith("digits") for b in benchmarks) else "Table 1"
