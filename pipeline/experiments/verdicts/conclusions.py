"""What came out, in sentences: each is chosen by a verdict and filled from the rows behind it, so none can contradict them."""

import re
from collections.abc import Sequence

from pipeline.experiments.verdicts.by_claim import ClaimVerdict, in_short
from pipeline.report.verdicts import NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED

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


def part_of(id: str) -> str:
    """The part of the paper that a claim belongs to."""
    return PARTS[id[0]]


def sentence(c: ClaimVerdict) -> str:
    """A claim with what came out here."""
    outcome = "" if c.brief == "–" else f": {c.brief}"
    is_in_words = not any(character.isdigit() for character in c.claim.published)
    shown = f'"{c.claim.published}"' if is_in_words else c.claim.published
    published = "" if c.claim.published == "–" else f", published {shown}"
    note = f"; {c.note}" if c.note else ""
    return f"{c.claim.id}, {c.claim.claim.strip('… ')}{outcome}{published}{note}"


def by_part(claims: Sequence[ClaimVerdict]) -> dict[str, dict[str, list[ClaimVerdict]]]:
    """Part of the paper -> verdict -> its claims; what has none is left out."""
    parts: dict[str, dict[str, list[ClaimVerdict]]] = {}
    for c in claims:
        parts.setdefault(part_of(c.claim.id), {}).setdefault(c.verdict, []).append(c)
    return parts


def fill_blocks(text: str, claims: Sequence[ClaimVerdict]) -> str:
    """A text with each of its blocks of conclusions made of the verdicts."""

    def filled(block: re.Match[str]) -> str:
        parts = [part.strip() for part in (block["parts"] or "").split(",") if part.strip()]
        return f"{block[1]}{as_markdown(claims, parts)}{block[3]}"

    return BLOCK.sub(filled, text)


def as_markdown(claims: Sequence[ClaimVerdict], parts: Sequence[str] = ()) -> str:
    """What came out, part by part; of some parts alone without the count of all."""
    lines = [] if parts else [in_short(claims), ""]
    for part, verdicts in by_part(claims).items():
        if parts and part not in parts:
            continue
        lines.append(f"- **{part}.**")
        for verdict, heading in HEADINGS.items():
            if verdict in verdicts:
                lines.append(f"  - *{heading}*: {'; '.join(sentence(c) for c in verdicts[verdict])}.")
    return "\n".join(lines) + "\n"
