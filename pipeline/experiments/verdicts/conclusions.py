"""What came out, in sentences: each is chosen by a verdict and filled from the rows behind it, so none can contradict them."""

import re
from collections.abc import Mapping, Sequence

from pipeline.experiments.verdicts.by_claim import ClaimVerdict, in_short
from pipeline.report.tables import escape_bars
from pipeline.report.verdicts import NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED, show_parts

PARTS = {
    "E": "Energy",
    "S": "Sparsity",
    "L": "Lifelong learning",
    "M": "Lifelong learning",
    "A": "Ablations",
    "P": "Perceptron",
    "B": "Biology",
    "R": "As a whole",
}
"""First letter of a claim's id -> part of the paper."""
HEADINGS = {
    REPRODUCED: "Reproduced",
    NOT_REPRODUCED: "Not reproduced",
    UNDECIDED: "Undecided",
    NOT_TESTED: "Not tested",
}
BEGIN, END = "<!-- conclusions -->", "<!-- /conclusions -->"
"""Around the block of the README; a page of the docs names the parts of the paper that its block has."""
BLOCK = re.compile(r"(<!-- conclusions(?:: (?P<parts>[^>]+))? -->\n).*?(<!-- /conclusions -->)", re.DOTALL)
TABLE_BLOCK = re.compile(r"(<!-- table: (?P<file>[^>]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
"""Around a table of the README or the docs: the file under the results that it is a copy of."""
IN_FULL = re.compile(r"(<!-- in full: (?P<ids>[^>]+) -->\n).*?(<!-- /in full -->)", re.DOTALL)
"""Around a table of all that is found on some claims: each of their parts and readings."""


def part_of(id: str) -> str:
    """The part of the paper that a claim belongs to."""
    return PARTS[id[0]]


def sentence(c: ClaimVerdict, with_note: bool = True) -> str:
    """A claim with what came out here, and a note on what it rests on or would need."""
    outcome = "" if c.brief == "–" else f": {c.brief}"
    is_in_words = not any(character.isdigit() for character in c.claim.published)
    shown = f'"{c.claim.published}"' if is_in_words else c.claim.published
    published = "" if c.claim.published == "–" else f", published {shown}"
    note = f"; {c.note}" if c.note and with_note else ""
    return f"{c.claim.id}: {c.claim.claim.strip('… ')}{outcome}{_quantity(c)}{published}{note}"


def _quantity(c: ClaimVerdict) -> str:
    """What the numbers of a claim are of, and of which of its parts; nothing of a printed mean, which says so itself."""
    v = c.shown
    if v is None or v.unit == "%":
        return ""
    name = next((name for name, d in v.parts.items() if d is v.difference), "").strip(" :=")
    if name.startswith("("):  # what is returned is in brackets
        name = name.strip("()")
    part = f"; {name}" if name else ""
    others = f", the least certain of {len(v.parts)}" if len(v.parts) > 1 else ""
    holding = [p.comparison for p in c.parts if c.verdict != REPRODUCED and p.verdict == REPRODUCED]
    and_yet = f"; reproduced by itself: {', '.join(holding)}" if holding else ""
    return f" ({v.comparison}{part}{others}{and_yet})"


def by_part(claims: Sequence[ClaimVerdict]) -> dict[str, dict[str, list[ClaimVerdict]]]:
    """Part of the paper -> verdict -> its claims; what has none is left out."""
    parts: dict[str, dict[str, list[ClaimVerdict]]] = {}
    for c in claims:
        parts.setdefault(part_of(c.claim.id), {}).setdefault(c.verdict, []).append(c)
    return parts


def fill_blocks(text: str, claims: Sequence[ClaimVerdict], tables: Mapping[str, str]) -> str:
    """A text with each of its blocks of conclusions made of the verdicts, and each of its tables made of rows.

    Args:
        text: Of a page in Markdown.
        claims: All of them.
        tables: File under the results -> the table in it.
    """

    def conclusions(block: re.Match[str]) -> str:
        parts = [part.strip() for part in (block["parts"] or "").split(",") if part.strip()]
        return f"{block[1]}{as_markdown(claims, parts)}{block[3]}"

    def table(block: re.Match[str]) -> str:
        made = tables.get(block["file"])
        return block[0] if made is None else f"{block[1]}{made[made.index('|') :]}{block[3]}"

    def in_full(block: re.Match[str]) -> str:
        ids = [id.strip() for id in block["ids"].split(",")]
        return f"{block[1]}{_part_by_part([c for c in claims if c.claim.id in ids])}{block[3]}"

    return IN_FULL.sub(in_full, TABLE_BLOCK.sub(table, BLOCK.sub(conclusions, text)))


def _part_by_part(claims: Sequence[ClaimVerdict]) -> str:
    """A table in Markdown that opens at a click: a line for each part of each reading of claims, with effect and interval."""
    cells = [
        (c.claim.id, v.comparison, v.reading or "decides", name.rstrip(":") or "–", ours)
        for c in claims
        for v in (*c.parts, *c.readings)
        if v.difference is not None
        for name, ours in show_parts(v).items()
    ]
    lines = [f"| {' | '.join(map(escape_bars, line))} |" for line in cells]
    ids = ", ".join(c.claim.id for c in claims)
    return "\n".join(
        [
            f'<details markdown="1"><summary>{ids}: every part of every reading, {len(lines)} lines</summary>',
            "",
            "| claim | what is compared | reading | part | ours |",
            "|:-|:-|:-|:-|:-|",
            *lines,
            "",
            "</details>\n",
        ]
    )


def as_markdown(claims: Sequence[ClaimVerdict], parts: Sequence[str] = ()) -> str:
    """What came out: which claims have which verdict, and a line for each that is not reproduced.

    Args:
        claims: All of them.
        parts: Parts of the paper, for a page that is about them: each of their claims has a line, and there is no count.
    """
    chosen = {part: verdicts for part, verdicts in by_part(claims).items() if not parts or part in parts}
    lines = [] if parts else [in_short(claims), "", *_ids_by_part(chosen)]
    for verdict, heading in HEADINGS.items():
        claims_with_verdict = [c for verdicts in chosen.values() for c in verdicts.get(verdict, ())]
        if claims_with_verdict and (parts or verdict == NOT_REPRODUCED):
            lines += ["", f"**{heading}:**", "", *(f"- {sentence(c, with_note=bool(parts))}." for c in claims_with_verdict)]
    return "\n".join(lines).strip() + "\n"


def _ids_by_part(chosen: Mapping[str, Mapping[str, Sequence[ClaimVerdict]]]) -> list[str]:
    """A table in Markdown: the ids of the claims of each part by verdict."""
    lines = ["| |" + "".join(f" {heading} |" for heading in HEADINGS.values()), "|:-|" + ":-|" * len(HEADINGS)]
    for part, verdicts in chosen.items():
        cells = [", ".join(c.claim.id for c in verdicts.get(verdict, ())) or "–" for verdict in HEADINGS]
        lines.append(f"| {part} |" + "".join(f" {cell} |" for cell in cells))
    return lines
