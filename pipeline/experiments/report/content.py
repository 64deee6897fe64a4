"""What the templates show, shaped from verdicts and rows; pure."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from pipeline.experiments.report.draw import LETTERS, bar, forest, slug
from pipeline.experiments.table1.claims import BESIDE_AUTHORS
from pipeline.experiments.verdicts import rates
from pipeline.experiments.verdicts.by_claim import ClaimVerdict, changed_by_the_rule, count
from pipeline.experiments.verdicts.conclusions import HEADINGS, by_part, part_of, sentence
from pipeline.paper import METHOD_NAMES, PARAMETER_NAME_WITHOUT_SETTINGS, PARAMETER_NAMES
from pipeline.records.repeat import changed_settings, repeat_command
from pipeline.records.results import Results
from pipeline.records.row import arithmetic_of
from pipeline.report.verdicts import Verdict, short_p, show_ours

MOST_NAMED = 150
"""Runs behind a claim that are named one by one; of more, only how many they are."""


SHARED_ROWS = ("table1", "seeds")
"""Folders with rows of Table 1, which several experiments are made of."""


def shape_claims(claims: Sequence[ClaimVerdict], runs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A mapping for each claim, as the template reads it.

    Args:
        claims: The verdicts.
        runs: File of rows -> its runs, as `shape_runs` gives them.
    """
    shaped = []
    for c in claims:
        ids = set(c.run_ids)
        folders = (*c.claim.stage.split(), *SHARED_ROWS)
        own_first = sorted(runs, key=lambda name: (name.partition("/")[0] not in folders, name))
        behind = {name: _behind(runs[name]["lines"], ids) for name in own_first}
        behind = _first_mention({name: facts for name, facts in behind.items() if facts["count"]})
        seconds = _seconds_by_run(runs, ids)
        shaped.append(
            {
                "id": c.claim.id,
                "claim": c.claim.claim,
                "place": c.claim.place,
                "kind": c.claim.kind,
                "published": c.claim.published,
                "verdict": c.verdict,
                "old_verdict": c.old_verdict if c.old_verdict != c.verdict else "",
                "note": c.note,
                "seeds": c.seeds,
                "part": part_of(c.claim.id),
                "brief": c.brief,
                "letter": LETTERS[c.verdict],
                "slug": slug(c.verdict),
                "how": c.claim.test,
                "source": c.claim.rows,
                "rests_on": c.claim.rests_on,
                "lines": [_line(v) for v in (*c.parts, *c.readings) if v.difference is not None],
                "runs": behind,
                "command": f"presyn reproduce --claim {c.claim.id}" if ids else "",
                "cost": {"runs": len(ids), "hours": sum(seconds.values()) / 3600},
            }
        )
    return shaped


def _line(v: Verdict) -> dict[str, Any]:
    return {
        "reading": v.reading,
        "comparison": v.comparison,
        "ours": show_ours(v),
        "published": v.published,
        "beside": "that code, run again," if v.reading == BESIDE_AUTHORS else "published",
        "test": v.test,
        "p": v.p,
        "margin": f"{v.margin:.3g}" if v.margin == v.margin else "",
        "old_verdict": v.old_verdict,
        "verdict": v.verdict,
        "slug": slug(v.verdict),
        "forest": forest_of(v),
    }


def forest_of(v: Verdict) -> Markup:
    """A verdict's effect with its interval, beside where there would be none, or the printed value."""
    if not all(map(math.isfinite, (v.effect, v.low, v.high))):
        return Markup("")
    no_effect = None if v.kind == "mean" else 1.0 if v.unit == "ratio" else 0.0
    return forest(v.effect, v.low, v.high, v.printed if math.isfinite(v.printed) else None, no_effect, v.level)


def _behind(lines: Sequence[Mapping[str, Any]], ids: set[str]) -> dict[str, Any]:
    """The runs of a file that are among these."""
    chosen = [line for line in lines if line["run_id"] in ids]
    return {**facts_about(chosen), "ids": sorted({line["run_id"] for line in chosen})}


def _first_mention(behind: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each run in the first of its files alone, as some are in several; the ids of very many are left out."""
    mentioned: set[str] = set()
    kept = {}
    for name, facts in behind.items():
        new = [run_id for run_id in facts["ids"] if run_id not in mentioned]
        mentioned |= set(new)
        if new:
            kept[name] = {**facts, "count": len(new), "ids": new if len(new) <= MOST_NAMED else []}
    return kept


def _seconds_by_run(runs: Mapping[str, Any], ids: set[str]) -> dict[str, float]:
    lines = [line for file in runs.values() for line in file["lines"] if line["run_id"] in ids]
    return {line["run_id"]: line["seconds"] for line in lines if line["seconds"] == line["seconds"]}


def shape_runs(frames: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """File of rows -> its runs, each with its settings other than the published ones, and the settings that they share.

    Args:
        frames: Path of a CSV under the results -> its rows.
    """
    shaped, shown = {}, set[str]()
    for name, frame in frames.items():
        configs = [json.loads(c) for c in frame.config]
        fields = sorted({k for c in configs for k in c} - {"method", "benchmark", "seed"})
        shared = {k: configs[0].get(k) for k in fields if all(c.get(k) == configs[0].get(k) for c in configs)}
        lines = []
        for row, config in zip(frame.to_dict("records"), configs, strict=True):
            changed = changed_settings(config)
            differing = {k: v for k, v in config.items() if k in changed and k not in shared}
            settings = ", ".join(f"{k} = {_plain(v)}" for k, v in differing.items())
            anchor = "" if row["run_id"] in shown else row["run_id"]  # some runs are in several files
            command = repeat_command(config, {}, arithmetic_of(config["method"], row.get("arithmetic")))
            lines.append({**row, "settings": settings, "anchor": anchor, "command": command})
            shown.add(row["run_id"])
        shaped[name] = {
            "lines": lines,
            "shared": ", ".join(f"{k} = {_plain(v)}" for k, v in shared.items()),
            **facts_about(lines),
        }
    return shaped


def facts_about(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is to be said of runs together: how many, how long, made with which code and data, and where."""
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


def shape_table1(shown: pd.DataFrame, claims: Sequence[ClaimVerdict]) -> dict[str, Any]:
    """Table 1 with the verdict on each published cell.

    Args:
        shown: As `table1.table.shown` makes it.
        claims: The verdicts.
    """
    by_cell = {
        part.cell: {
            "id": c.claim.id,
            "verdict": part.verdict,
            "slug": slug(part.verdict),
            "letter": LETTERS[part.verdict],
        }
        for c in claims
        for part in c.parts
        if part.cell and not part.reading
    }
    names = {name: method for method, name in METHOD_NAMES.items()}
    published = {PARAMETER_NAMES["as_published"], *PARAMETER_NAME_WITHOUT_SETTINGS.values()}
    benchmarks = list(shown.columns[2:])
    rows = []
    for method, reading, *cells in shown.to_dict("split")["data"]:
        shaped = []
        for benchmark, text in zip(benchmarks, cells, strict=True):
            cell = by_cell.get((names.get(method, method), benchmark)) if reading in published else None
            shaped.append({"text": text, "verdict": cell})
        rows.append({"method": method, "kind": reading, "cells": shaped})
    return {"benchmarks": benchmarks, "rows": rows}


def shape_conclusions(claims: Sequence[ClaimVerdict]) -> dict[str, Any]:
    """How many claims have which verdict, and what came out part by part."""
    counts = count(claims)
    parts = [
        {
            "part": part,
            "verdicts": [
                {
                    "heading": HEADINGS[verdict],
                    "slug": slug(verdict),
                    "letter": LETTERS[verdict],
                    "sentences": [{"id": c.claim.id, "text": sentence(c).removeprefix(f"{c.claim.id}: ")} for c in chosen],
                }
                for verdict, chosen in sorted(verdicts.items(), key=lambda item: list(HEADINGS).index(item[0]))
            ],
        }
        for part, verdicts in by_part(claims).items()
    ]
    slugs = {verdict: slug(verdict) for verdict in LETTERS}
    return {"counts": counts, "bar": bar(counts), "letters": LETTERS, "slugs": slugs, "parts": parts}


def shape_rule(results: Results, claims: Sequence[ClaimVerdict]) -> dict[str, Any]:
    """How often the rule errs, why it was changed, and which verdicts that changed; empty without all cells of Table 1.

    Args:
        results: Rows whose spreads the simulation takes.
        claims: The verdicts.
    """
    spread = rates.spreads(results)
    if not spread:
        return {}
    simulated = rates.simulate(spread)
    table = rates.over_cells(simulated).pivot(index=["rule", "n"], columns="shift", values="not_reproduced")
    lines = [[rule, n, *(f"{100 * share:.1f}" for share in shares)] for (rule, n), *shares in table.itertuples()]
    return {
        "why": rates.WHY,
        "findings": rates.findings(simulated, spread),
        "changed": changed_by_the_rule(claims),
        "shifts": [f"{shift:g}" for shift in table],
        "lines": lines,
    }


def shape_table(table: pd.DataFrame) -> dict[str, Any]:
    """A table of a stage as columns and rows of text, each mean with its standard error in one cell."""
    shown = table[[c for c in table if not c.endswith("_error")]].astype(object)
    for column in shown:
        error = f"{column}_error" if f"{column}_error" in table else "standard_error" if column == "ours" else ""
        if error in table:
            pairs = zip(table[column], table[error], strict=True)
            shown[column] = [_with_error(v, e) for v, e in pairs]
        else:
            shown[column] = [short_p(v) if column == "p" else _cell(v) for v in table[column]]
    nothing_lost = "lost" in table and not table.lost.any()
    shown = shown.drop(columns=[c for c in ("standard_error", *(["lost"] if nothing_lost else [])) if c in shown])
    return {"columns": [c.replace("_", " ") for c in shown], "rows": shown.values.tolist()}


def _with_error(mean: float, error: float) -> str:
    """A mean and its standard error, to the second digit of the error."""
    if mean != mean or not error > 0:
        return _cell(float(mean)) + (" ± 0" if error == 0 else "")
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:.{decimals}f} ± {error:.{decimals}f}"


def _cell(value: Any) -> str:
    if value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
