"""A verdict on a claim as one value: what is compared, what came out, and how it is shown. `rule` decides it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pipeline.report.by_seed import BySeed
from pipeline.report.statistics import Difference, Sample, difference_from_printed, paired, round_p, show_p, unpaired
from pipeline.report.tables import markdown_table

REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED = "reproduced", "not reproduced", "undecided", "not tested"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)
MOST_PARTS = 3
"""Parts of an order that are shown one by one; of more, the least certain and the smallest."""


@dataclass(frozen=True)
class Verdict:
    """What is said of a claim, or of one part or reading of it, and everything that it was decided by.

    Attributes:
        id: Of the claim.
        comparison: What is compared, in words.
        family: Verdicts that are listed together; the printed values among them that decide are adjusted together.
        kind: mean (a printed value), above (a printed order), similar, or no worse.
        reading: Which of several ways to read the claim; empty for the one that decides.
        published: What is printed, as it is shown.
        printed: The printed number, in the unit of the effect; nan where none is printed.
        parts: Name -> difference, of an order that has to hold in every part; the least certain decides.
        difference: What decides: ours minus published, or subject minus rival; None without runs.
        origin: What the difference is counted from: the printed number, in the unit of the test; 0 for an order.
        effect, low, high: What came out and its interval at the level, in the print's own unit.
        level: Of the interval: 0.95, or more where the rule adjusts for others.
        unit: %, points, ratio, r, D, or empty for a plain number.
        n, lost: Seeds whose runs finished, and seeds whose runs were lost.
        test: By name.
        margin: Within which two values count as the same, in the unit of the test; nan for an order.
        spread: Standard deviation over our seeds.
        repetitions: Networks behind a printed value.
        two_sample: Of a paired claim, the difference by the test that the paper printed; it decides nothing.
        welch: Ours minus a printed mean by Welch's test, which the former rule took (`old_rule`).
        rests_on: Cells of Table 1, as (method, benchmark), whose runs the claim is about.
        cell: The cell of Table 1, as (method, benchmark), whose printed mean it is on.
        run_ids: The runs behind it.
        p_alone: Of no difference, by itself.
        p: Of the test that decides: adjusted, and of a likeness, that the difference is as large as the margin.
        verdict: reproduced, not reproduced, undecided or not tested.
        old_verdict: What the former rule says of the same comparison.
        seeds: Those that would decide an undecided one, in words.
        note: What it rests on that is not reproduced.
    """

    id: str
    comparison: str
    family: str
    kind: str = "above"
    reading: str = ""
    published: str = "–"
    printed: float = math.nan
    parts: Mapping[str, Difference] = field(default_factory=dict)
    difference: Difference | None = None
    origin: float = 0.0
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    unit: str = ""
    n: int = 0
    lost: int = 0
    test: str = "paired t"
    margin: float = math.nan
    spread: float = math.nan
    repetitions: int = 0
    two_sample: Difference | None = None
    welch: Difference | None = None
    rests_on: tuple[tuple[str, str], ...] = ()
    cell: tuple[str, str] | None = None
    run_ids: tuple[str, ...] = ()
    p_alone: float = math.nan
    p: float = math.nan
    verdict: str = NOT_TESTED
    old_verdict: str = NOT_TESTED
    seeds: str = ""
    note: str = ""

    @property
    def decides(self) -> bool:
        """Whether it is the reading by which the claim is decided."""
        return not self.reading


def in_unit(value: float, unit: str) -> float:
    """A logarithm as a ratio and Fisher's z as a correlation; other numbers as they are."""
    if unit == "ratio":
        return math.exp(min(value, 700.0)) if value == value else value
    return math.tanh(value) if unit == "r" else value


def estimate(difference: Difference, unit: str, origin: float = 0.0, level: float = 0.95) -> tuple[float, float, float]:
    """The effect and its interval in a unit: effect, low, high."""
    low, high = difference.interval(level)
    return in_unit(origin + difference.mean, unit), in_unit(origin + low, unit), in_unit(origin + high, unit)


def order(id: str, comparison: str, family: str, parts: Mapping[str, BySeed], unit: str = "", **more: Any) -> Verdict:
    """An order that holds if it holds in every part: differences over seeds, each to be above 0.

    The part that is least certain decides, by its one-sided p: an intersection-union test, which keeps the error rate of
    "reproduced" (Berger 1982). A part without rows leaves the whole untested.

    Args:
        id, comparison, family: Of the verdict.
        parts: What is compared -> a difference for each seed; a log ratio where the unit is ratio, Fisher's z where it is r.
        unit: Of the effect.
        more: Further fields of the verdict.
    """
    differences = {name: paired(values.finished) for name, values in parts.items() if values.finished}
    if len(differences) < len(parts) or not differences:
        return Verdict(id, comparison, family, unit=unit, **more)
    least_certain = max(differences, key=lambda name: _p_not_above_zero(differences[name]))
    values, difference = parts[least_certain], differences[least_certain]
    run_ids = tuple(sorted({run_id for part in parts.values() for run_id in part.run_ids}))
    return Verdict(
        id, comparison, family, parts=differences, difference=difference, unit=unit, n=len(values.finished),
        lost=values.lost, spread=_spread(values.finished), run_ids=run_ids, **more,
    )  # fmt: skip


def printed_mean(
    id: str, comparison: str, family: str, values: BySeed, printed: Sample, repetitions: int = 0, **more: Any
) -> Verdict:
    """A printed mean of a few networks: could as many of ours have given it?

    Args:
        id, comparison, family: Of the verdict.
        values: One for each seed; Fisher's z where the unit is r.
        printed: In the same unit as the values.
        repetitions: Networks behind it, where the degrees of freedom of its error are not one less.
        more: Further fields of the verdict, such as its margin.
    """
    ours, unit = Sample.from_values(values.finished), more.get("unit", "")
    repetitions = repetitions or printed.n
    return Verdict(
        id, comparison, family, "mean", published=str(more.pop("published", printed)), printed=in_unit(printed.mean, unit),
        difference=difference_from_printed(ours, printed.mean, repetitions) if ours.n else None, origin=printed.mean,
        n=ours.n, lost=values.lost,
        test="t of as many of our networks as the print has", spread=_spread(values.finished), repetitions=repetitions,
        welch=unpaired(ours, printed) if ours.n and printed.n > 1 else None, run_ids=values.run_ids, **more,
    )  # fmt: skip


def printed_value(id: str, comparison: str, family: str, values: BySeed, printed: float, **more: Any) -> Verdict:
    """A printed value of one network: could one of ours have given it? See `printed_mean`."""
    return printed_mean(id, comparison, family, values, Sample(printed, math.nan, 1), **more)


def _p_not_above_zero(difference: Difference) -> float:
    """One-sided p of "not above 0"; 1 where there is no scatter to tell by."""
    p = difference.p_above(0.0)
    return 1.0 if p != p else p


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def show_effect(v: Verdict) -> str:
    """What came out, with the interval that decides, as people read it; a dash where nothing did."""
    return _show_numbers(v.effect, v.low, v.high, v.unit)


def _show_numbers(effect: float, low: float, high: float, unit: str) -> str:
    if effect != effect:
        return "–"
    near_one = unit == "ratio" and 0.9 < effect < 1.1
    digits = ".3g" if unit in ("ratio", "points") and not near_one else ".4g"
    before, after = ("×\N{NO-BREAK SPACE}" if unit == "ratio" else ""), (" points" if unit == "points" else "")
    return f"{before}{effect:{digits}}" + (f" [{low:{digits}}, {high:{digits}}]" if low == low else "") + after


def show_parts(v: Verdict) -> dict[str, str]:
    """Part -> what came out in it, with its interval and its seeds; one part without a name where there are no others."""
    if not v.parts:
        return {"": show_ours(v)}
    return {
        name: f"{_show_numbers(*estimate(d, v.unit, level=v.level), v.unit)} (n = {round(d.df) + 1 if d.df == d.df else v.n})"
        for name, d in v.parts.items()
    }


def show_ours(v: Verdict) -> str:
    """What came out, part by part where there are several, and the number of seeds."""
    if v.difference is None:
        return "–"
    seeds = f" (n = {v.n}{f', {v.lost} lost' if v.lost else ''})"
    if v.unit == "%":
        return str(Sample(v.effect, v.spread / math.sqrt(v.n), v.n)).split(" (")[0] + seeds
    shown = {name: _show_numbers(*estimate(d, v.unit, level=v.level), v.unit) for name, d in v.parts.items()}
    if len(shown) <= MOST_PARTS and shown:
        return "; ".join(f"{name} {numbers}".strip() for name, numbers in shown.items()) + seeds
    if shown:
        holding = sum(d.mean > 0 for d in v.parts.values())
        least_certain = next(name for name, d in v.parts.items() if d is v.difference)
        smallest = min(v.parts, key=lambda name: v.parts[name].mean)
        text = f"{holding} of {len(shown)} in this order; least certain: {least_certain} {shown[least_certain]}{seeds}"
        # Parts without a unit may be of different kinds, of which none is the smallest.
        return f"{text}; smallest: {smallest} {shown[smallest]}" if v.unit and smallest != least_certain else text
    return show_effect(v) + seeds


def _show_difference(v: Verdict) -> str:
    """The difference that decides, in the unit of its test, which is named where it is not that of the effect."""
    if v.difference is None:
        return "–"
    scale = {"ratio": " (ln)", "r": " (z)"}.get(v.unit, "")
    return (str(v.difference) if v.unit in ("%", "points") else v.difference.show("+.3g", ".2g")) + scale


def _show_test(difference: Difference | None) -> str:
    if difference is None or difference.p != difference.p:
        return "–"
    return f"t = {difference.t:.2f}, {show_p(difference.p)}"


def verdict_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A line for each verdict: results/verdicts.csv."""
    lines = [
        {
            "family": v.family,
            "claim": v.comparison,
            "published": v.published,
            "ours": show_ours(v),
            "difference": _show_difference(v),
            "test": v.test,
            "t": math.nan if v.difference is None else round(v.difference.t, 4),
            "p_alone": round_p(v.p_alone),
            "p": round_p(v.p),
            "margin": round(v.margin, 4),
            "two_sample": _show_test(v.two_sample),
            "verdict": v.verdict,
            "old_verdict": v.old_verdict,
            "seeds": v.seeds,
            "note": v.note,
            "id": v.id,
            "reading": v.reading,
            "interval": "" if v.difference is None else show_effect(v),
            "effect": round(v.effect, 4),
            "low": round(v.low, 4),
            "high": round(v.high, 4),
            "level": round(v.level, 4),
            "unit": v.unit,
            "n": v.n,
            "run_ids": " ".join(v.run_ids),
        }
        for v in verdicts
    ]
    return pd.DataFrame(lines)


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as people read them."""
    table = verdict_table(verdicts).drop(columns=["effect", "low", "high", "unit", "n", "run_ids"])
    shown = {name: [short_p(p) for p in table[name]] for name in ("p_alone", "p")}
    numbers = {"t": table.t.map("{:.2f}".format), "margin": table.margin.map("{:.2g}".format)}
    level = [f"{100 * level:.4g} %" for level in table.level]
    return markdown_table(table.assign(**shown, **numbers, level=level).replace("nan", "–"), disable_numparse=True)


def short_p(p: float) -> str:
    """A p value in a table; a dash for none."""
    return "–" if p != p else f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
