"""Tables as people read them: on the terminal, as Markdown and as LaTeX."""

from collections.abc import Sequence

import pandas as pd
from rich.table import Table


def grid(shown: pd.DataFrame, title: str | None = None, caption: str | None = None, columns: Sequence[str] = ()) -> Table:
    """A frame as rich prints it."""
    shown = shown[list(columns)] if columns else shown
    table = Table(*map(str, shown.columns), title=title, caption=caption)
    for row in shown.itertuples(index=False):
        table.add_row(*map(str, row))
    return table


def as_markdown(shown: pd.DataFrame, title: str = "", caption: str = "") -> str:
    """A frame as Markdown, with a title before it and a caption after it; numbers stay as they are written."""
    table = shown.to_markdown(index=False, disable_numparse=True)
    return "\n\n".join(text for text in (title, table, caption) if text) + "\n"
