"""The list of all claims of the paper, and one verdict on each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.report.published import PAPER
from pipeline.report.verdicts import NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED


def claim_list(folder: Path = PAPER) -> list[dict[str, Any]]:
    """The claims of results/paper/claims.yaml, in order: id, place, claim, kind, published, stage, rows, test, rests_on."""
    return yaml.safe_load((folder / "claims.yaml").read_text())


def together(verdicts: Sequence[str]) -> str:
    """The verdict on a claim of several parts, such as a value and a direction: it needs all of them."""
    for verdict in (NOT_REPRODUCED, NOT_TESTED, UNDECIDED):
        if verdict in verdicts:
            return verdict
    return REPRODUCED if verdicts else NOT_TESTED


def by_claim(table: pd.DataFrame, claims: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A line for each claim.

    Args:
        table: All verdicts, with columns id and reading.
        claims: As `claim_list` gives them.

    Returns:
        id, place, claim, kind, published, verdict, what it comes to of ours, p (the largest of its parts; of a value, that of
        its margin), seeds that would decide, other readings and their verdicts, the reading whose values lie nearest to what is
        printed, and a note: what it rests on that is not reproduced, or what is missing.
    """
    found = {c["id"]: together(_deciding(table, c["id"]).verdict.tolist()) for c in claims}
    lines = []
    for c in claims:
        parts = _deciding(table, c["id"])
        readings = table[(table.id == c["id"]) & (table.reading != "")]
        by_reading = {r: together(of.verdict.tolist()) for r, of in readings.groupby("reading", sort=False)}
        shaky = [f"{other} is {found[other]}" for other in c.get("rests_on", []) if found[other] != REPRODUCED]
        missing = [f"no rows: presyn reproduce {c['stage']}"] if found[c["id"]] == NOT_TESTED else []
        lines.append(
            {
                **{k: c[k] for k in ("id", "place", "claim", "kind", "published")},
                "verdict": found[c["id"]],
                "ours": "; ".join(f"{r.claim}: {r.ours}" for r in parts.itertuples()) or "–",
                "p": parts.p_margin.fillna(parts.p).max() if len(parts) else float("nan"),
                "seeds": "; ".join(s for s in parts.seeds.fillna("") if s),
                "readings": "; ".join(f"{r}: {verdict}" for r, verdict in by_reading.items()),
                "fits_print": _nearest(table[table.id == c["id"]]),
                "note": "; ".join([*missing, *shaky]),
            }
        )
    return pd.DataFrame(lines)


def _deciding(table: pd.DataFrame, id: str) -> pd.DataFrame:
    return table[(table.id == id) & (table.reading == "")]


def _nearest(of: pd.DataFrame) -> str:
    """Of a claim with printed values and several readings, the reading that they fit best; empty of other claims."""
    values = of[
        of.test.isin(("Welch", "t of one more network")) & (of.difference != "–") & ~of.reading.str.startswith("beside")
    ]
    if values.reading.nunique() < 2:
        return ""
    far = values.difference.str.split().str[0].astype(float).abs().groupby(values.reading, sort=False).mean()
    return str(far.idxmin()) or "the one that decides"


def in_short(claims: pd.DataFrame) -> str:
    """How many claims have which verdict."""
    words = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)
    counts = ", ".join(f"{(claims.verdict == v).sum()} {v}" for v in words)
    return f"Of the paper's {len(claims)} claims: {counts}."


def as_markdown(claims: pd.DataFrame) -> str:
    """The verdicts claim by claim, as people read them."""
    shown = claims.assign(p=claims.p.map("{:.3f}".format).replace("nan", "–"))
    return f"{in_short(claims)}\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n"
