"""Tables as LaTeX."""

import pandas as pd
from rich.table import Table

SIGNS = {
    "±": r"$\pm$", "–": "--", "−": "$-$", "<": "$<$", ">": "$>$", "×": r"$\times$", "ℓ": r"$\ell$", "η": r"$\eta$",
    "λ": r"$\lambda$", "θ": r"$\theta$", "σ": r"$\sigma$", "≥": r"$\geq$", "≤": r"$\leq$", "…": r"\ldots{}", "w̄": r"$\bar w$",
}  # fmt: skip
"""Signs that plain LaTeX lacks, and what stands for them there."""


def as_latex(shown: pd.DataFrame, caption: str, label: str) -> str:
    """A frame as LaTeX, for a document that has booktabs."""
    for sign in "&%#_":
        caption = caption.replace(sign, f"\\{sign}")
    style = shown.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    head, begin, body = style.to_latex(hrules=True, caption=_signs(caption), label=label).partition(r"\begin{tabular}")
    return head + begin + _signs(body)


def _signs(text: str) -> str:
    for sign, command in SIGNS.items():
        text = text.replace(sign, command)
    return text


def as_frame(shown: pd.DataFrame | Table) -> pd.DataFrame:
    """What the terminal shows, as text in a frame."""
    if isinstance(shown, pd.DataFrame):
        return shown.map(lambda cell: f"{cell:.4g}" if isinstance(cell, float) else str(cell))
    columns = [[str(cell) for cell in column.cells] for column in shown.columns]
    frame = pd.DataFrame(dict(enumerate(columns)))
    frame.columns = pd.Index([str(column.header) for column in shown.columns])
    return frame
