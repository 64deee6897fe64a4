"""Tables for the terminal."""

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
