"""The printed numbers and claims in results/paper, checked when they are read: a bad cell is named by its file and line."""

import csv
import hashlib
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.paper import BENCHMARKS, METHOD_NAMES
from pipeline.report.statistics import Sample
from presyn import PresynError

_CHECKOUT = Path(__file__).parents[2] / "results"
COME_ALONG = _CHECKOUT if (_CHECKOUT / "paper").is_dir() else Path(__file__).parents[1] / "come_along"
"""Results that come along: of a checkout those committed; of a wheel the printed numbers and the winners (see setup.py)."""
PAPER = COME_ALONG / "paper"

SUMS, SUMMED = "SHA256SUMS", (".csv", ".yaml")
"""A file beside the printed numbers that says what they are, so that a changed digit is told; and which files it names."""

KINDS = ("above", "similar", "no worse", "mean", "size")
"""The kinds of printed statements: an order, a likeness, one that may also be better, a mean, or the size of a difference."""


@dataclass(frozen=True)
class Statement:
    """A statistic or statement printed in the text or in a figure: a line of results/paper/statements.csv.

    Attributes:
        id, reading: Of its claim; empty for a statement that belongs to no claim of the list.
        comparison: What is compared, in words.
        kind: One of KINDS.
        subject, rival: Methods, or variants of the rule.
        benchmark: Where, or "all four".
        published: As it is printed.
        printed: The printed number with its standard error; None where only an order is printed.
    """

    id: str
    reading: str
    comparison: str
    kind: str
    subject: str
    rival: str
    benchmark: str
    published: str
    printed: Sample | None

    @property
    def repetitions(self) -> int:
        """Networks behind the printed number; pairs of a difference, whose t has the degrees of freedom of two samples."""
        assert self.printed is not None
        return self.printed.n if self.kind == "mean" else (self.printed.n - 1) // 2 + 1


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: an entry of results/paper/claims.yaml.

    Attributes:
        id: Its name in the list.
        place: Where it stands in the paper.
        claim: In our words.
        kind: value, direction, shape, equivalence or non-inferiority; or two of them.
        published: What is printed.
        rows: Which rows a verdict is made of.
        test: How it is tested here.
        stage: The experiment whose runs it is tested on, as `presyn reproduce` names it; or several, with spaces between.
        rests_on: Other claims that it presupposes.
        says_again: Other claims whose numbers decide it too, so that it is no further evidence.
        missing: What it would take to test it, of a claim that cannot be tested with what is here.
        settled_by: The command whose runs would decide it, of a claim that is undecided.
    """

    id: str
    place: str
    claim: str
    kind: str
    published: str
    rows: str
    test: str
    stage: str = ""
    rests_on: tuple[str, ...] = field(default=())
    says_again: tuple[str, ...] = field(default=())
    missing: str = ""
    settled_by: str = ""


@cache
def published_table(folder: Path = PAPER) -> Mapping[tuple[str, str], Sample]:
    """(method, benchmark) -> accuracy in %, Appendix 1—table 1 of the paper.

    Raises:
        PresynError: a cell of the file is not what it must be; names the line.
    """
    return {cell: sample for cell, (_, sample) in _table(folder).items()}


def cell_ids(folder: Path = PAPER) -> dict[tuple[str, str], str]:
    """(method, benchmark) -> id of the claim that this cell of Table 1 is."""
    return {cell: id for cell, (id, _) in _table(folder).items()}


@cache
def _table(folder: Path) -> dict[tuple[str, str], tuple[str, Sample]]:
    cells: dict[tuple[str, str], tuple[str, Sample]] = {}
    for line in _lines(folder / "table1.csv", ("id", "method", "benchmark", "mean", "standard_error", "repetitions")):
        cell = line.choice("method", METHOD_NAMES), line.choice("benchmark", BENCHMARKS)
        if cell in cells:
            raise line.error("method", f"{cell[0]} on {cell[1]} stands there twice")
        sample = Sample(line.number("mean", 0, 100), line.number("standard_error", 0, 100), int(line.number("repetitions", 2)))
        cells[cell] = (line.text("id"), sample)
    return cells


@cache
def authors_code(folder: Path = PAPER) -> Mapping[tuple[str, str], Sample]:
    """(method, benchmark) -> accuracy in %, runs of the authors' released code.

    Raises:
        PresynError: a cell of the file is not what it must be; names the line.
    """
    cells = {}
    for line in _lines(folder / "authors_code.csv", ("method", "benchmark", "accuracies")):
        cell = line.choice("method", METHOD_NAMES), line.choice("benchmark", BENCHMARKS)
        try:
            accuracies = [float(word) for word in line.text("accuracies").split()]
        except ValueError:
            raise line.error("accuracies", "they must be numbers") from None
        if not accuracies or not all(0 <= a <= 1 for a in accuracies):
            raise line.error("accuracies", "they must be from 0 to 1")
        if cell in cells:
            raise line.error("method", f"{cell[0]} on {cell[1]} stands there twice")
        cells[cell] = Sample.from_values([100 * a for a in accuracies])
    return cells


@cache
def statements(folder: Path = PAPER) -> tuple[Statement, ...]:
    """Printed statements, in the order of the file.

    Raises:
        PresynError: a cell of the file is not what it must be; names the line.
    """
    columns = ("id", "reading", "claim", "kind", "subject", "rival", "benchmark", "published", "standard_error", "df", "place")
    statements = []
    for line in _lines(folder / "statements.csv", columns):
        kind = line.choice("kind", KINDS)
        benchmark = line.choice("benchmark", (*BENCHMARKS, "continuous-permuted-mnist", "all four"))
        printed = None
        if kind in ("mean", "size"):
            degrees = int(line.number("df", 1))
            printed = Sample(line.number("published", -100, 100), line.number("standard_error", 0, 100), degrees + 1)
        names = (line.cells["id"], line.cells["reading"], line.text("claim"), kind, line.text("subject"), line.cells["rival"])
        statements.append(Statement(*names, benchmark, line.text("published"), printed))
    return tuple(statements)


@cache
def authors_parameters(folder: Path = PAPER) -> Mapping[tuple[str, str], Mapping[str, float]]:
    """(ablation, benchmark) -> the parameters that the authors found for it.

    Raises:
        PresynError: a cell of the file is not what it must be; names the line.
    """
    names = ("p_up", "p_down", "p_freeze")
    return {
        (line.text("ablation"), line.choice("benchmark", BENCHMARKS)): {name: line.number(name, 0, 1) for name in names}
        for line in _lines(folder / "ablations.csv", ("ablation", "benchmark", *names))
    }


@cache
def claim_list(folder: Path = PAPER) -> tuple[Claim, ...]:
    """The claims, in the order of the file.

    Raises:
        PresynError: an entry is not what it must be; names the claim.
    """
    path = folder / "claims.yaml"
    needed = [
        name for name in Claim.__dataclass_fields__ if name not in ("stage", "rests_on", "says_again", "missing", "settled_by")
    ]
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise PresynError(f"{path} cannot be read ({str(e).splitlines()[0]}). Get it back from the repository.") from None
    if not isinstance(entries, list):
        raise PresynError(f"{path} must be a list of claims. Get it back from the repository.")
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(entries, start=1):
        which = f"{path}, claim {entry.get('id', number) if isinstance(entry, dict) else number}"
        if not isinstance(entry, dict) or set(entry) - Claim.__dataclass_fields__.keys():
            odd = ", ".join(map(str, set(entry) - Claim.__dataclass_fields__.keys())) if isinstance(entry, dict) else "it"
            raise PresynError(f"{which}: {odd} is no field of a claim. Known: {', '.join(Claim.__dataclass_fields__)}.")
        for name in needed:
            if not isinstance(entry.get(name), str) or not entry[name]:
                raise PresynError(f"{which}: {name} must be words, not {entry.get(name)!r}.")
        for name in ("stage", "missing", "settled_by"):
            if not isinstance(entry.get(name, ""), str) or not (entry.get("stage") or entry.get("missing")):
                raise PresynError(f"{which}: it must have a stage, or say what is missing, in words.")
        others = {name: entry.get(name, []) for name in ("rests_on", "says_again")}
        for name, ids in others.items():
            if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
                raise PresynError(f"{which}: {name} must be a list of claims, not {ids!r}.")
        if entry["id"] in claims:
            raise PresynError(f"{which}: it stands there twice.")
        claims[entry["id"]] = Claim(**{**entry, **{name: tuple(ids) for name, ids in others.items()}})
    _check_ids(claims, path, folder)
    return tuple(claims.values())


def _check_ids(claims: Mapping[str, Claim], path: Path, folder: Path) -> None:
    for claim in claims.values():
        for says, others in (("rests on", claim.rests_on), ("says again", claim.says_again)):
            for other in others:
                if other not in claims:
                    raise PresynError(f"{path}, claim {claim.id}: it {says} {other}, which is no claim of the list.")
    for file, ids in (
        ("table1.csv", list(cell_ids(folder).values())),
        ("statements.csv", [s.id for s in statements(folder) if s.id]),
    ):
        odd = [id for id in ids if id not in claims]
        if odd:
            raise PresynError(f"{folder / file}: {odd[0]} is no claim of {path.name}.")


@dataclass(frozen=True)
class _Line:
    """A line of a CSV, whose cells are checked when they are asked for."""

    path: Path
    number_in_file: int
    cells: Mapping[str, str]

    def error(self, column: str, why: str) -> PresynError:
        return PresynError(f"{self.path}, line {self.number_in_file}: {column} is {self.cells[column]!r}, but {why}.")

    def text(self, column: str) -> str:
        if not self.cells[column].strip():
            raise self.error(column, "it must not be empty")
        return self.cells[column]

    def choice(self, column: str, choices: Any) -> str:
        if self.cells[column] not in choices:
            raise self.error(column, f"it must be one of {', '.join(choices)}")
        return self.cells[column]

    def number(self, column: str, low: float, high: float = math.inf) -> float:
        try:
            value = float(self.cells[column])
        except ValueError:
            raise self.error(column, "it must be a number") from None
        if not low <= value <= high:
            raise self.error(column, f"it must be from {low:g}" + ("" if high == math.inf else f" to {high:g}"))
        return value


def _lines(path: Path, columns: tuple[str, ...]) -> list[_Line]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise PresynError(f"{path} cannot be read ({e}). Get it back from the repository.") from None
    rows = list(csv.reader(io.StringIO(text)))
    head = rows[0] if rows else []
    missing = [c for c in columns if c not in head]
    if missing:
        raise PresynError(f"{path} has no column {missing[0]}. Get it back from the repository.")
    lines = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(head):
            raise PresynError(f"{path}, line {number} has {len(row)} cells, but the header has {len(head)}.")
        lines.append(_Line(path, number, dict(zip(head, row, strict=True))))
    return lines


def changed_files(folder: Path = PAPER) -> list[str]:
    """Names of files whose content is not the one that SHA256SUMS, a list as `sha256sum` writes it, says they have."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return [SUMS]
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix in SUMMED}
    return sorted(name for name in sums.keys() | digests.keys() if sums.get(name) != digests.get(name))


Reader = Callable[[Path], Any]
READERS: tuple[Reader, ...] = (published_table, authors_code, statements, authors_parameters, claim_list)
"""Everything that is read from results/paper, so that it can be checked at once."""
