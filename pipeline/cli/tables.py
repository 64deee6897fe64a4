"""Tables on a terminal of any width, in which no number and no run id is cut."""

import re
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Column, Table

console = Console(markup=False, emoji=False)  # names are shown as they are

SHORT = 16
"""Cells of at most so many letters stay in one line, such as a run id, or "83.01 ± 0.26"."""
BESIDE = 3
"""What a column takes besides its text: a line and two spaces."""
_PIECES = re.compile(r"(?<![±<=×]) (?![±<=])")
"""Where a cell may go on in the next line: at a space, but not inside "83.0 ± 0.3" or "p < 0.001"."""


def print_table(table: Table) -> None:
    """Print a table; one that is too wide as several below each other, each with the columns that tell its lines apart."""
    columns = [(str(column.header), [str(cell) for cell in column.cells]) for column in table.columns]
    blocks = list(_blocks(columns, console.width))
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        widths = _widths(block, console.width)
        shown = Table(
            *(Column(header, width=width) for (header, _), width in zip(block, widths, strict=True)),
            title=None if number else table.title,
            caption=table.caption if last else None,
        )
        for line in zip(*(cells for _, cells in block), strict=True):
            shown.add_row(*line)
        # Where not even the first columns fit, the terminal breaks the lines, and whoever reads a file has them whole.
        Console(markup=False, emoji=False, width=max(console.width, _table_width(widths))).print(shown)


def _least_width(header: str, cells: Sequence[str]) -> int:
    """The width at which no piece of a column is cut, and short cells are whole."""
    lines = [line for cell in cells for line in cell.split("\n")]
    pieces = [piece for line in lines for piece in ([line] if len(line) <= SHORT else _PIECES.split(line))]
    return max(map(len, [*header.split(), *pieces]), default=1)


def _widths(block: Sequence[tuple[str, list[str]]], most: int) -> list[int]:
    """The widths of columns: none below its least, and as near as there is room to that at which no cell takes two lines."""
    widths = [_least_width(header, cells) for header, cells in block]
    for i, (header, cells) in enumerate(block):
        full = max(len(line) for text in (header, *cells) for line in text.split("\n"))
        widths[i] += max(0, min(full - widths[i], most - _table_width(widths)))
    return widths


def _table_width(widths: Sequence[int]) -> int:
    return 1 + sum(width + BESIDE for width in widths)


def _blocks(columns: Sequence[tuple[str, list[str]]], width: int) -> Iterator[list[tuple[str, list[str]]]]:
    """The columns in blocks that fit into a width, each beginning with those that together tell the lines apart."""
    lines = list(zip(*(cells for _, cells in columns), strict=True))
    keys = next((n for n in range(1, len(columns)) if len({line[:n] for line in lines}) == len(lines)), 0)
    block = list(columns[:keys])
    for column in columns[keys:]:
        if _table_width([_least_width(*c) for c in (*block, column)]) > width and len(block) > keys:
            yield block
            block = list(columns[:keys])
        block.append(column)
    yield block
