"""The results as a Research Object (RO-Crate 1.1, Process Run Crate 0.5): files, the commands that made them, and the paper."""

import json
import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from pipeline import __version__
from pipeline.records.csvs import read_rows

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
PAPER = "https://doi.org/10.7554/eLife.69884"
LICENCE = "https://spdx.org/licenses/MIT"


def crate(results: Path, more: list[str], commands: Mapping[str, tuple[str, tuple[str, ...]]]) -> str:
    """The metadata of the files under a folder of results, as JSON-LD.

    Args:
        results: The folder.
        more: Files that are being written to it.
        commands: What makes files of an experiment, such as "presyn reproduce energy" -> what it is, and folders of them.
    """
    made = ROCrate(version="1.1")
    root = made.root_dataset
    made.name = "Presynaptic consolidation, reproduced: runs, tables, figures and verdicts"
    made.description = "Results of repeating Schug, Benzing and Steger (eLife 2021), with a verdict on each of its claims."
    root["license"] = {"@id": LICENCE}
    root["citation"], root["conformsTo"] = {"@id": PAPER}, {"@id": PROFILE}
    for id, properties in _context().items():
        made.add(ContextEntity(made, id, properties=properties))
    present = {p.relative_to(results).as_posix() for p in results.rglob("*") if p.is_file() and not p.name.startswith(".")}
    names = sorted((present | set(more)) - {"ro-crate-metadata.json"})
    for name in names:
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        made.add_file(dest_path=name, properties={"name": name, "encodingFormat": kind})
    actions, ends = [], []
    for command, (description, folders) in commands.items():
        files = [name for name in names if name.startswith(folders)]
        if files:
            end = _latest([results / name for name in files if name.endswith("runs.csv")])
            action = {
                "@type": "CreateAction",
                "name": description,
                "description": command,
                "instrument": {"@id": "#presyn"},
                "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
                **({"endTime": end} if end else {}),
                "result": [{"@id": name} for name in files],
            }
            ends.append(end)
            actions.append(made.add(ContextEntity(made, f"#{command.split()[-1]}", properties=action)))
    root["mentions"] = actions
    root["datePublished"] = max(filter(None, ends), default=None) or "unknown"
    text: dict[str, Any] = made.metadata.generate()
    return json.dumps(text, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _latest(files: list[Path]) -> str:
    """The day on which the last run of these files of rows ended, by their series; empty where none says."""
    ends = [
        json.loads(series)["ended"][-1]
        for file in files
        for series in read_rows(file).get("series", ())
        if isinstance(series, str)
    ]
    return datetime.fromtimestamp(max(ends), UTC).date().isoformat() if ends else ""


def _context() -> dict[str, dict[str, Any]]:
    return {
        PAPER: {
            "@type": "ScholarlyArticle",
            "name": "Presynaptic stochasticity improves energy efficiency and helps alleviate the stability-plasticity dilemma",
            "author": "Simon Schug, Frederik Benzing, Angelika Steger",
            "datePublished": "2021",
        },
        PROFILE: {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        LICENCE: {"@type": "CreativeWork", "name": "MIT License"},
        "#presyn": {
            "@type": "SoftwareApplication",
            "name": "presyn",
            "url": "https://doi.org/10.7554/eLife.69884",
            "softwareVersion": __version__,
        },
    }
