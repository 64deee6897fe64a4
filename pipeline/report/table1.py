"""Table 1 from rows alone: ours beside the published numbers."""

import pandas as pd

from pipeline.report.published import published_table
from pipeline.report.statistics import Sample, p_words, unpaired
from pipeline.report.words import COLUMNS, NAMES, NO_SETTINGS


def make_table(frame: pd.DataFrame, benchmarks: tuple[str, ...]) -> pd.DataFrame:
    """The table in long form, from rows alone: one line for each method, benchmark and parameters, accuracies in %.

    Columns: method, benchmark, parameters, ours (mean), standard_error, n, lost (runs that did not finish), published,
    published_error, t and p of Welch's test against the published mean.
    """
    paper, lines = published_table(), []
    for method in dict.fromkeys([*NAMES, *frame.method]):
        for benchmark in benchmarks:
            for parameters in [c for c in COLUMNS if c != "published"]:
                of = frame[(frame.method == method) & (frame.benchmark == benchmark) & (frame.parameters == parameters)]
                if len(of):
                    cell = {"method": method, "benchmark": benchmark, "parameters": parameters}
                    lines.append(cell | _numbers(of, paper.get((method, benchmark))))
    return pd.DataFrame(lines)


def _numbers(of: pd.DataFrame, theirs: Sample | None) -> dict[str, float]:
    done = of[of.status == "finished"].mean_accuracy
    ours = Sample.of((100 * done).tolist()) if len(done) else Sample(float("nan"), float("nan"), 0)
    d = unpaired(ours, theirs) if theirs else None
    return {
        "ours": ours.mean,
        "standard_error": ours.standard_error,
        "n": ours.n,
        "lost": len(of) - len(done),
        "published": theirs.mean if theirs else float("nan"),
        "published_error": theirs.standard_error if theirs else float("nan"),
        "t": d.t if d else float("nan"),
        "p": d.p if d else float("nan"),
    }


def display(table: pd.DataFrame, benchmarks: tuple[str, ...]) -> pd.DataFrame:
    """The table as people read it: a row for each method and kind of number, a column for each benchmark."""
    rows, seeds = [], (table.n + table.lost).max()
    for method in table.method.unique():
        for column, words in COLUMNS.items():
            cells = [_cell(table[(table.method == method) & (table.benchmark == b)], column, seeds) for b in benchmarks]
            if any(cells):
                words = NO_SETTINGS.get(method, words) if column == "as_published" else words
                rows.append([NAMES.get(method, method), words, *[c or "–" for c in cells]])
    return pd.DataFrame(rows, columns=["accuracy in %", "", *benchmarks])


def _cell(lines: pd.DataFrame, column: str, seeds: int) -> str:
    if column == "published":
        known = lines.dropna(subset="published")
        return "" if known.empty else f"{known.published.iloc[0]:.2f} ± {known.published_error.iloc[0]:.2f}"
    of = lines[lines.parameters == column]
    if of.empty:
        return ""
    line = of.iloc[0]
    p = "" if line.p != line.p else f" ({p_words(line.p)})"
    lost = f", {line.lost} lost" if line.lost else ""
    fewer = f", n = {line.n}" if 1 < line.n < seeds - line.lost else ""
    return f"{Sample(line.ours, line.standard_error, line.n)}{p}{fewer}{lost}"


def caption(table: pd.DataFrame, searched: str) -> str:
    """What the numbers are, as far as the table has them.

    Args:
        table: In long form.
        searched: The benchmark on which parameters were searched.
    """
    error = ", ± standard error (ddof 1) over seeds" if (table.n > 1).any() else ""
    test = "; p of Welch's test against the published mean" if table.p.notna().any() else ""
    words = f"Mean accuracy over tasks after the last task{error}{test}."
    if "searched" in table.parameters.values:
        where = {"permuted-mnist": "Permuted MNIST"}.get(searched, searched)
        words += f" Tuned once: parameters searched on {where} and carried over"
        by_hand = (
            "; eta0 of Presynaptic Consolidation is set by hand for each kind of benchmark, as in the paper, except in the "
        )
        words += f"{by_hand}row of one eta0." if table.benchmark.isin(SPLIT).any() else "."
    return words


SPLIT = ("split-mnist", "split-fashion")
DEMONSTRATION = "scikit-learn's digits: a demonstration of the pipeline, which says nothing about the paper"


def title(benchmarks: tuple[str, ...]) -> str:
    """What the table is of."""
    return f"Table 1 on {DEMONSTRATION}" if all(b.endswith("digits") for b in benchmarks) else "Table 1"


def as_latex(shown: pd.DataFrame, benchmarks: tuple[str, ...], words: str = "") -> str:
    """The table as LaTeX."""
    caption = f"{title(benchmarks)}. {words}".replace("%", r"\%").replace("_", r"\_")
    style = shown.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    latex = style.to_latex(hrules=True, caption=caption, label="tab:table1")
    head, begin, body = latex.partition(r"\begin{tabular}")
    return head + begin + body.replace("±", r"$\pm$").replace("–", "--").replace("<", "$<$")


def as_markdown(shown: pd.DataFrame, benchmarks: tuple[str, ...], words: str = "") -> str:
    """The table as Markdown."""
    return f"{title(benchmarks)}\n\n{shown.to_markdown(index=False)}\n\n{words}\n"
