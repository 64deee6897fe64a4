"""The results as a Research Object (RO-Crate 1.1, Process Run Crate 0.5): files, the commands that made them, and the paper."""

import json
import mimetypes
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from pipeline.experiments.catalogue import EXPERIMENTS

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
PAPER = "https://doi.org/10.7554/eLife.69884"
LICENCE = "https://spdx.org/licenses/MIT"
DATE = "2026-11-26"  # of the version that is described
FOLDERS = {
    **{"searches": ("search",), "table1": ("table1", "seeds"), "ablations": ("ablations/searched",)},
    **{"ablations-published": ("ablations/published", "ablations-presynaptic"), "verdicts": ("claims.", "verdicts.")},
}
"""Experiment -> where its files lie, if not in a folder of its name."""


def crate(results: Path, more: list[str]) -> str:
    """The metadata of the files under a folder of results, as JSON-LD.

    Args:
        results: The folder.
        more: Files that are being written to it.
    """
    made = ROCrate(version="1.1")
    root = made.root_dataset
    made.name = "Presynaptic consolidation, reproduced: runs, tables, figures and verdicts"
    made.description = "Results of repeating Schug, Benzing and Steger (eLife 2021), with a verdict on each of its claims."
    root["datePublished"], root["license"] = DATE, {"@id": LICENCE}
    root["citation"], root["conformsTo"] = {"@id": PAPER}, {"@id": PROFILE}
    for id, properties in _context().items():
        made.add(ContextEntity(made, id, properties=properties))
    skipped = {"ro-crate-metadata.json"}
    present = {p.relative_to(results).as_posix() for p in results.rglob("*") if p.is_file() and not p.name.startswith(".")}
    names = sorted((present | set(more)) - skipped)
    for name in names:
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        made.add_file(dest_path=name, properties={"name": name, "encodingFormat": kind})
    actions = []
    for experiment, of in EXPERIMENTS.items():
        starts = FOLDERS.get(experiment, (f"{experiment}/",))
        files = [{"@id": name} for name in names if name.startswith(starts)]
        if files:
            action = {
                "@type": "CreateAction",
                "name": of.words,
                "description": f"presyn reproduce {experiment}",
                "instrument": {"@id": "#presyn"},
                "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
                "endTime": DATE,
                "result": files,
            }
            actions.append(made.add(ContextEntity(made, f"#{experiment}", properties=action)))
    root["mentions"] = actions
    text: dict[str, Any] = made.metadata.generate()
    return json.dumps(text, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


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
            "softwareVersion": "0.1.0",
        },
    }
