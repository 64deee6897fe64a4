"""Tables as people read them: on the terminal, as Markdown and as LaTeX."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from pipeline.report.statistics import plus_minus, round_p


def grid(shown: pd.DataFrame, title: str | None = None, caption: str | None = None, columns: Sequence[str] = ()) -> Table:
    """A frame as rich prints it."""
    shown = shown[list(columns)] if columns else shown
    table = Table(*map(str, shown.columns), title=title, caption=caption)
    for row in shown.itertuples(index=False):
        table.add_row(*map(str, row))
    return table


def markdown_table(shown: pd.DataFrame, **options: Any) -> str:
    """A frame as a table in Markdown; bars in its cells, as in |w|, are escaped, because there they end a cell.

    Args:
        shown: The frame, without its index.
        options: Of tabulate, such as floatfmt.
    """
    escaped = shown.map(lambda cell: escape_bars(cell) if isinstance(cell, str) else cell)
    return escaped.rename(columns=lambda name: escape_bars(str(name))).to_markdown(index=False, **options)


def escape_bars(text: str) -> str:
    """A text that a cell of a table in Markdown can hold."""
    return text.replace("|", r"\|")


def as_markdown(shown: pd.DataFrame, title: str = "", caption: str = "") -> str:
    """A frame as Markdown, with a title before it and a caption after it; numbers stay as they are written."""
    table = markdown_table(shown, disable_numparse=True)
    return "\n\n".join(text for text in (title, table, caption) if text) + "\n"


def with_errors(table: pd.DataFrame, keys: Sequence[str], digits: Mapping[str, str]) -> pd.DataFrame:
    """The table as people read it: the keys, and each mean with its standard error in one cell.

    Args:
        table: With a column of means and one of standard errors, NAME_error, for each of the names.
        keys: What tells its lines apart.
        digits: Name of a mean -> the format of its numbers.
    """
    shown = pd.DataFrame({key: [f"{v:g}" if isinstance(v, float) else str(v) for v in table[key]] for key in keys})
    for name, form in digits.items():
        pairs = zip(table[name], table[f"{name}_error"], strict=True)
        shown[name.replace("_", " ")] = [plus_minus(mean, error, form) for mean, error in pairs]
    return shown


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """A table as its CSV keeps it: six decimals, of which two are shown, and the column p to four significant digits."""
    return table.round(6).assign(p=table.p.map(round_p))
