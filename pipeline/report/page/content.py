"""What the page shows, gathered from claims, verdicts and rows; pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import stats

from pipeline.report.page.draw import LETTERS, bar, forest, slug
from pipeline.report.words import NAMES

PARTS = {
    "E": "Energy",
    "S": "Sparsity",
    "L": "Lifelong learning",
    "A": "Ablations",
    "P": "Perceptron",
    "B": "Biology",
    "R": "As a whole",
}
"""First letter of a claim's id -> part of the paper."""
FILES = {
    "table1": ("table1/", "seeds/"),
    "lifelong": ("lifelong/", "table1/", "seeds/"),
    "ablations": ("ablations/searched/runs.csv",),
    "ablations-published": ("ablations/published/", "ablations-presynaptic/"),
}
"""Stage -> where the rows lie that it is judged by, if not in a folder of its name."""


def claims_of(
    claims: pd.DataFrame, verdicts: pd.DataFrame, listed: Sequence[Mapping[str, Any]], runs: Mapping[str, Any]
) -> list:
    """A mapping for each claim, as the template reads it.

    Args:
        claims: As `claim_list.by_claim` makes them.
        verdicts: All verdicts.
        listed: results/paper/claims.yaml.
        runs: File of rows -> its runs, as `runs_of` gives them.
    """
    told = {c["id"]: c for c in listed}
    found = []
    for c in _records(claims):
        of, stage = told[c["id"]], told[c["id"]]["stage"]
        lines = _records(verdicts[verdicts.id == c["id"]])
        found.append(
            {
                **c,
                "part": part_of(c["id"]),
                "brief": _brief(lines),
                "letter": LETTERS[c["verdict"]],
                "slug": slug(c["verdict"]),
                "how": of["test"],
                "source": of["rows"],
                "stage": stage,
                "rests_on": of.get("rests_on", []),
                "lines": [{**line, "forest": _forest(line), "slug": slug(line["verdict"])} for line in lines],
                "runs": _behind(lines, {n: of for n, of in runs.items() if n.startswith(FILES.get(stage, (f"{stage}/",)))}),
                "command": f"presyn reproduce {stage}",
            }
        )
    return found


def _behind(lines: Sequence[Mapping[str, Any]], runs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs behind a claim: of methods and benchmarks that it names, those alone."""
    named = " ".join(line["claim"] for line in lines)
    found = {}
    for name, of in runs.items():
        benchmarks = {r["benchmark"] for r in of["lines"] if re.search(rf"\bon {r['benchmark']}\b", named)}
        methods = {r["method"] for r in of["lines"] if re.search(rf"\b{r['method']}\b", named)}
        kept = [
            r
            for r in of["lines"]
            if (not benchmarks or r["benchmark"] in benchmarks) and (not methods or not benchmarks or r["method"] in methods)
        ]
        if kept and (benchmarks or not _anywhere(named, runs)):
            ids = [r["run_id"] for r in kept] if len(kept) <= 150 else []
            found[name] = {**of, **facts_of(kept), "ids": ids}
    return found


def _anywhere(named: str, runs: Mapping[str, Any]) -> bool:
    """Whether words name a benchmark of any of the runs."""
    return any(re.search(rf"\bon {r['benchmark']}\b", named) for of in runs.values() for r in of["lines"])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Its lines, with nothing for what is missing."""
    return frame.astype(object).where(frame.notna(), "").to_dict("records")


def _brief(lines: Sequence[Mapping[str, Any]]) -> str:
    """What decides a claim, in a few words: the effect of its first part, and how many parts there are."""
    deciding = [line for line in lines if not line["reading"]]
    if not deciding:
        return "–"
    more = f", and {len(deciding) - 1} more" if len(deciding) > 1 else ""
    return (deciding[0]["interval"] or deciding[0]["ours"]) + more


def part_of(id: str) -> str:
    return PARTS[id[0]]


def _forest(line: Mapping[str, Any]) -> Any:
    if line["interval"]:
        return forest(line["interval"], "", 1.0 if "×" in line["interval"] else 0.0)
    mean = re.match(r"([+-]?[\d.]+) ± ([\d.]+) \(n = (\d+)\)", line["ours"])
    if mean is None or int(mean[3]) < 2:
        return ""
    middle, error, n = float(mean[1]), float(mean[2]), int(mean[3])
    half = float(stats.t.ppf(0.975, n - 1)) * error
    null = 0.0 if line["test"] == "paired t" else None
    return forest(f"{middle:g} [{middle - half:g}, {middle + half:g}]", line["published"] if null is None else "", null)


def counts_of(claims: pd.DataFrame) -> dict[str, int]:
    return {verdict: int((claims.verdict == verdict).sum()) for verdict in LETTERS}


def runs_of(frames: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """File of rows -> its runs, and the settings that they share.

    Args:
        frames: Path of a CSV under the results -> its rows.
    """
    found = {}
    for name, frame in frames.items():
        configs = [json.loads(c) for c in frame.config]
        fields = sorted({k for c in configs for k in c} - {"method", "benchmark", "seed"})
        shared = {k: configs[0].get(k) for k in fields if all(c.get(k) == configs[0].get(k) for c in configs)}
        lines = []
        for row, config in zip(frame.to_dict("records"), configs, strict=True):
            own = {k: v for k, v in config.items() if k in fields and k not in shared}
            lines.append({**row, "settings": ", ".join(f"{k} = {_plain(v)}" for k, v in own.items())})
        found[name] = {
            "lines": lines,
            "shared": ", ".join(f"{k} = {_plain(v)}" for k, v in shared.items()),
            **facts_of(lines),
        }
    return found


def facts_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is to be known of runs together: how many, how long, of which code and data, and where."""
    return {
        "count": len(lines),
        "hours": sum(r["seconds"] for r in lines if r["seconds"] == r["seconds"]) / 3600,
        "commits": sorted({str(r["git_commit"])[:7] for r in lines}),
        "torch": sorted({str(r["torch"]) for r in lines}),
        "devices": sorted({f"{r['host']}, {r['device']}" for r in lines}),
        "data": sorted({str(r["data_sha256"])[:12] for r in lines}),
    }


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, list) else str(value)


def table1_of(shown: pd.DataFrame, claims: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Table 1 with the verdict on each published cell.

    Args:
        shown: As `table1.display` makes it.
        claims: As `claims_of` gives them.
    """
    verdicts = {}
    for c in claims:
        for line in c["lines"]:
            cell = re.match(r"(\w+) on ([\w-]+)$", line["claim"])
            if cell and not line["reading"] and line["test"] == "Welch":
                verdicts[NAMES.get(cell[1], cell[1]), cell[2]] = {"id": c["id"], **line, "letter": LETTERS[line["verdict"]]}
    benchmarks = list(shown.columns[2:])
    rows = []
    for row in shown.to_dict("split")["data"]:
        marked = row[1] in ("as published", "tuned on Permuted and on Split MNIST")
        cells = [
            {"text": text, "verdict": verdicts.get((row[0], b)) if marked else None}
            for b, text in zip(benchmarks, row[2:], strict=True)
        ]
        rows.append({"method": row[0], "kind": row[1], "cells": cells})
    return {"benchmarks": benchmarks, "rows": rows}


def top(claims: pd.DataFrame) -> dict[str, Any]:
    counts = counts_of(claims)
    return {"counts": counts, "bar": bar(counts), "letters": LETTERS, "slugs": {v: slug(v) for v in LETTERS}}
