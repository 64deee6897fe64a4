"""Small pictures in the page, as SVG: the verdicts in one bar, an interval, trials of a search. No script is needed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

COLOURS = {"reproduced": "#00664b", "not reproduced": "#b04a00", "undecided": "#44546a", "not tested": "#8a8a8a"}
LETTERS = {"reproduced": "R", "not reproduced": "N", "undecided": "U", "not tested": "–"}


def slug(verdict: str) -> str:
    return verdict.replace(" ", "-")


def bar(counts: Mapping[str, int]) -> Markup:
    """Verdicts and how many claims have each, side by side in one bar."""
    label = escape("; ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    parts = "".join(
        f'<span class="{slug(v)}" style="flex-grow:{n}">{n if n > 1 else ""}</span>' for v, n in counts.items() if n
    )
    return Markup(f'<div class="bar" role="img" aria-label="{label}">{parts}</div>')


def bar_picture(counts: Mapping[str, int], colours: Mapping[str, str]) -> str:
    """The bar of verdicts as a picture of its own, for pages that take nothing but pictures."""
    total, x, parts = max(1, sum(counts.values())), 0.0, []
    for verdict, n in counts.items():
        width = 900 * n / total
        text = f'<text x="{x + 12:.1f}" y="26" fill="#fff">{n} {verdict}</text>' if width > 140 else ""
        parts.append(f'<rect x="{x:.1f}" width="{max(0.0, width - 2):.1f}" height="40" fill="{colours[verdict]}"/>{text}')
        x += width
    title = "; ".join(f"{n} {verdict}" for verdict, n in counts.items())
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 40" font-family="sans-serif" font-size="17" role="img">'
    return f"{head}<title>{title}</title>{''.join(parts)}</svg>\n"


def forest(
    effect: float, low: float, high: float, printed: float | None, no_effect: float | None, level: float = 0.95
) -> Markup:
    """An effect with its interval, beside where there would be none, or the published value.

    Args:
        effect, low, high: What came out, and its interval.
        printed: The published value; None where none is printed.
        no_effect: Where there is no effect; None if that says nothing.
        level: Of the interval.
    """
    marks = [v for v in (no_effect, printed) if v is not None]
    left, right = min([low, *marks]), max([high, *marks])
    room = 0.08 * (right - left) or 1.0
    left, right = left - room, right + room

    def at(value: float) -> str:
        return f"{240 * (value - left) / (right - left):.1f}"

    lines = ['<line class="axis" x1="0" x2="240" y1="30" y2="30"/>']
    for tick in _ticks(left, right):
        x = min(222.0, max(18.0, float(at(tick))))  # a number at an end stays whole
        lines.append(f'<line class="axis" x1="{at(tick)}" x2="{at(tick)}" y1="30" y2="34"/>')
        lines.append(f'<text class="tick" x="{x:.1f}" y="45" text-anchor="middle">{tick:g}</text>')
    lines.append(f'<line class="interval" x1="{at(low)}" x2="{at(high)}" y1="14" y2="14"/>')
    if no_effect is not None:
        lines.append(f'<line class="null" x1="{at(no_effect)}" x2="{at(no_effect)}" y1="2" y2="26"/>')
    if printed is not None:
        x = float(at(printed))
        lines.append(f'<path class="printed" d="M{x:.1f} 7l6 7-6 7-6-7z"/>')
    lines.append(f'<circle class="ours" cx="{at(effect)}" cy="14" r="4.5"/>')
    label = f"ours {effect:.4g}, {100 * level:.4g} % interval {low:.4g} to {high:.4g}"
    label += f"; published {printed:.4g}" if printed is not None else ""
    label += f"; no effect at {no_effect:g}" if no_effect is not None else ""
    return Markup(f'<svg class="forest" viewBox="0 0 240 48" role="img" aria-label="{escape(label)}">{"".join(lines)}</svg>')


def _ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two others, at most so many of them."""
    step = 10.0 ** math.floor(math.log10(high - low))
    steps = (step * factor for factor in (0.1, 0.2, 0.5, 1, 2, 5))
    step = next(s for s in steps if math.floor(high / s) - math.ceil(low / s) < most)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def scatter(
    points: Sequence[Mapping[str, Any]], x: str, y: str, colour: str, *, marks: Mapping[str, Mapping[str, float]], title: str
) -> Markup:
    """Trials by two of their values, both on logarithmic scales where they span much, coloured by a third from 0 to 1.

    Args:
        points: The trials, with the three values and a `label` that is shown when one points at it.
        x, y, colour: Which values.
        marks: Name -> values of further points, such as the published parameters.
        title: What the picture shows.
    """
    across, up = (
        _Scale([float(p[x]) for p in [*points, *marks.values()]]),
        _Scale([float(p[y]) for p in [*points, *marks.values()]]),
    )
    low, high = min(p[colour] for p in points), max(p[colour] for p in points)
    drawn = []
    for p in sorted(points, key=lambda p: p[colour]):
        share = (p[colour] - low) / ((high - low) or 1)
        place = f'cx="{50 + 280 * across(p[x]):.1f}" cy="{230 - 210 * up(p[y]):.1f}"'
        drawn.append(f'<circle {place} r="5" style="--share:{share:.3f}"><title>{escape(p["label"])}</title></circle>')
    for name, p in marks.items():
        cx, cy = 50 + 280 * across(p[x]), 230 - 210 * up(p[y])
        cross = f"M{cx - 6:.1f} {cy - 6:.1f}l12 12m0-12l-12 12"
        drawn.append(f'<path class="mark" d="{cross}"><title>{escape(name)}</title></path>')
    axes = (
        f'<path class="axis" d="M50 20V230H330"/><text x="190" y="262" text-anchor="middle">{escape(x)}</text>'
        f'<text transform="translate(12 125) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
        + "".join(
            f'<text class="tick" x="{50 + 280 * t:.0f}" y="246" text-anchor="middle">{v:.3g}</text>'
            for t, v in ((0.0, across.low), (1.0, across.high))
        )
        + "".join(
            f'<text class="tick" x="46" y="{234 - 210 * t:.0f}" text-anchor="end">{v:.3g}</text>'
            for t, v in ((0.0, up.low), (1.0, up.high))
        )
    )
    return Markup(
        f'<svg class="scatter" viewBox="0 0 365 268" role="img" aria-label="{escape(title)}">{axes}{"".join(drawn)}</svg>'
    )


class _Scale:
    """Maps values to 0 to 1, by their logarithm if they span more than a factor of eight."""

    def __init__(self, values: Sequence[float]) -> None:
        self.low, self.high = min(values), max(values)
        self.log = self.low > 0 and self.high / self.low > 8

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def parallel(points: Sequence[Mapping[str, Any]], names: Sequence[str], title: str) -> Markup:
    """Trials as lines over parallel axes, one for each of their values; coloured by the last one."""
    scales = {n: _Scale([float(p[n]) for p in points]) for n in names}
    x = {n: 45 + 610 * i / (len(names) - 1) for i, n in enumerate(names)}
    drawn = []
    for p in sorted(points, key=lambda p: p[names[-1]]):
        way = " ".join(f"{x[n]:.1f},{200 - 170 * scales[n](p[n]):.1f}" for n in names)
        share = f"--share:{scales[names[-1]](p[names[-1]]):.3f}"
        drawn.append(f'<polyline points="{way}" style="{share}"><title>{escape(p["label"])}</title></polyline>')
    for n in names:
        ends = f'<text class="tick" x="{x[n]:.1f}" y="22">{scales[n].high:.3g}</text>'
        ends += f'<text class="tick" x="{x[n]:.1f}" y="216">{scales[n].low:.3g}</text>'
        drawn.append(f'<path class="axis" d="M{x[n]:.1f} 30V200"/>{ends}<text x="{x[n]:.1f}" y="236">{escape(n)}</text>')
    head = f'<svg class="scatter parallel" viewBox="0 0 700 242" role="img" aria-label="{escape(title)}">'
    return Markup(f"{head}{''.join(drawn)}</svg>")


def importance_bars(importances: Mapping[str, tuple[float, float, float]]) -> Markup:
    """Importances with intervals, a bar each: name -> (mean, low, high)."""
    rows = []
    for i, (name, (mean, low, high)) in enumerate(sorted(importances.items(), key=lambda kv: -kv[1][0])):
        y = 8 + 26 * i
        rows.append(
            f'<text x="70" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="importance" x="78" y="{y}" width="{230 * mean:.1f}" height="18"/>'
            f'<line class="interval" x1="{78 + 230 * low:.1f}" x2="{78 + 230 * high:.1f}" y1="{y + 9}" y2="{y + 9}"/>'
            f'<text class="tick" x="{84 + 230 * max(mean, high):.1f}" y="{y + 13}">{mean:.2f}</text>'
        )
    label = "; ".join(f"{n} {m:.2f} from {lo:.2f} to {hi:.2f}" for n, (m, lo, hi) in importances.items())
    height = 8 + 26 * len(importances)
    head = f'<svg class="scatter" viewBox="0 0 345 {height}" role="img" aria-label="importance: {escape(label)}">'
    return Markup(f"{head}{''.join(rows)}</svg>")
