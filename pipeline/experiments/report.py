"""The page for readers as a stage: it asks for no runs and reads the committed rows and tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.experiments.crate import crate
from pipeline.experiments.paper import FOUR, space_of
from pipeline.experiments.verify import Verify, verify
from pipeline.records.csvs import read_rows
from pipeline.report import page
from pipeline.report.claim_list import by_claim, claim_list
from pipeline.report.page import content
from pipeline.report.page.draw import COLOURS, bar_picture
from pipeline.report.page.searched import SEARCHED, search_of
from pipeline.report.table1 import display, make_table
from pipeline.stage import Known, Made, Stage, Wish
from presyn import PresynError, make_run

FIGURES: dict[str, tuple[str, str]] = {
    "fig1a": ("Fig. 1a", "Information against energy of three models, a dot for each strength of the ℓ2 penalty"),
    "fig1b": ("Fig. 1b", "Information per energy of each model at its best ℓ2"),
    "fig2a": ("Fig. 2a", "Release probabilities after learning: most low, few near one"),
    "fig2b": ("Fig. 2b", "Accuracy as synapses are removed, the lowest p, the lowest weight or at random first"),
    "fig2c": ("Fig. 2c", "Energy of a synapse by its release probability"),
    "fig2d": ("Fig. 2d", "Fisher information of a synapse by its release probability"),
    "fig3a": ("Fig. 3a", "Important inputs of each neuron, beside a shuffled control"),
    "fig3b": ("Fig. 3b", "Neurons beyond two standard deviations of the control"),
    "fig3c": ("Fig. 3c", "Important inputs and important outputs of the same neurons"),
    "fig4b": ("Fig. 4b", "Accuracy on the first task of Split MNIST as further tasks are learned"),
    "fig4c": ("Fig. 4c", "Mean accuracy of the methods after all tasks"),
    "fig5a": ("Fig. 5a", "Ablations, with parameters searched again for each"),
    "fig5b": ("Fig. 5b", "Perceptrons: accuracy on the first task as further tasks are learned"),
    "fig5c": ("Fig. 5c", "Perceptrons: mean accuracy over five tasks"),
    "appendix1a": ("Appendix 1a", "Information per energy at every ℓ2"),
    "appendix1b": ("Appendix 1b", "Information per activity of neurons"),
    "appendix1c": ("Appendix 1c", "Fixed release, swept over p"),
    "appendix1d": ("Appendix 1d", "Release probabilities from a uniform start"),
    "appendix3a": ("Appendix 3a", "Accuracy on each task of Split MNIST at the end"),
    "appendix3b": ("Appendix 3b", "Mean p and frozen synapses over ten permuted tasks"),
    "energy-course": ("Ours", "Energy and information over the epochs"),
    "perceptron-patterns": ("Ours", "Perceptrons: accuracy against the number of patterns"),
}
"""Name of a picture in results/figures -> its place in the paper, and what it shows."""
TABLES = {
    "departures": (
        "Departures",
        "What the released code does otherwise than the paper says, each undone by itself. Difference is in points of accuracy "
        "from the released rule, paired over seeds.",
    ),
    "ablations/searched": ("Ablations", "Fig. 5a: one part of the rule left out, and its parameters searched again."),
    "energy": ("Energy", "Three models over strengths of the ℓ2 penalty, after the last epoch. per_energy is bits per 1000."),
    "perceptron": ("Perceptron", "Random patterns learned in five tasks, by a perceptron with and without consolidation."),
}
"""Folder of a table.csv -> its title and what it holds."""
SECTIONS = [
    *[("short", "In short"), ("claims", "Claims"), ("table1", "Table 1"), ("figures", "Figures"), ("search", "Search")],
    *[("departures", "Departures"), ("ablations-searched", "Ablations"), ("energy", "Energy"), ("perceptron", "Perceptron")],
    ("made", "How it was made"),
]
LABELS = {"rows": ["run_id", "method", "benchmark", "seed", "status", "mean_accuracy", "seconds", "config"]}


@dataclass(frozen=True, eq=False)
class Report(Stage):
    """The page of the rows and tables under a folder of results."""

    results: Path
    verify: Verify
    name = "report"
    experiment = "report"
    title = "report"

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        return (self.verify,)

    def ask(self, known: Known) -> list[Wish]:
        return []

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        verdicts = known.values["verify"].round(4)
        claims = by_claim(verdicts, claim_list()).round(4)
        runs = content.runs_of(_rows(self.results))
        values = _values(self.results, verdicts, claims, runs)
        files: dict[str, Any] = {
            "index.html": page.render("page.html", values),
            "runs.html": page.render("runs.html", {"runs": runs, "total_runs": values["total_runs"]}),
        }
        files["verdicts.svg"] = bar_picture(values["top"]["counts"], COLOURS)
        for f in values["figures"]:
            files[f"figures/{f['name']}.svg"] = (self.results / "figures" / f"{f['name']}.svg").read_bytes()
        files["../ro-crate-metadata.json"] = crate(self.results, [f"report/{name}" for name in files])
        where = self.folder(self.results) / "index.html"
        return Made(where, files, words=f"The page is {where}")

    def file(self, results: Path) -> Path | None:
        return None


def report(results: Path) -> Report:
    """The page of the rows under a folder.

    Raises:
        PresynError: rows are missing, damaged, or were changed.
    """
    return Report(results, verify(results))


def _rows(results: Path) -> dict[str, pd.DataFrame]:
    """Every file of rows, checked line by line."""
    paths = sorted({*results.rglob("runs.csv"), *(results / "seeds").glob("*.csv")})
    return {p.relative_to(results).as_posix(): read_rows(p, LABELS["rows"]) for p in paths}


def _values(results: Path, verdicts: pd.DataFrame, claims: pd.DataFrame, runs: dict[str, Any]) -> dict[str, Any]:
    listed = content.claims_of(claims, verdicts, claim_list(), runs)
    distinct = {r["run_id"]: r for of in runs.values() for r in of["lines"]}
    table1 = display(make_table(read_rows(results / "table1" / "runs.csv", [*LABELS["rows"], "parameters"]), FOUR), FOUR)
    space = space_of("presynaptic")
    settings = make_run("presynaptic", "permuted-mnist", 0).options.as_dict()
    return {
        "top": content.top(claims),
        "claims": listed,
        "parts": list(dict.fromkeys(c["part"] for c in listed)),
        "sections": SECTIONS,
        "total_runs": len(distinct),
        "table1": content.table1_of(table1, listed),
        "figures": [
            {"name": name, "place": place, "words": words, "alt": f"{place}: {words}"}
            for name, (place, words) in FIGURES.items()
            if (results / "figures" / f"{name}.svg").exists()
        ],
        "search": search_of(
            read_rows(results / "search" / space / "runs.csv", LABELS["rows"]), {k: settings[k] for k in SEARCHED}
        ),
        "tables": [_table(results, folder, *words) for folder, words in TABLES.items()],
        "hours": sum(r["seconds"] for r in distinct.values() if r["seconds"] == r["seconds"]) / 3600,
        "torch": sorted({t for of in runs.values() for t in of["torch"]}),
        "devices": sorted({d for of in runs.values() for d in of["devices"]}),
    }


def _table(results: Path, folder: str, title: str, words: str) -> dict[str, Any]:
    frame = _read(results / folder / "table.csv")
    shown = frame[[c for c in frame if not c.endswith("_error")]].astype(object)
    for column in shown:
        error = f"{column}_error" if f"{column}_error" in frame else "standard_error" if column == "ours" else ""
        if error in frame:
            pairs = zip(frame[column], frame[error], strict=True)
            shown[column] = [f"{v:.4g} ± {e:.2g}" if v == v else "–" for v, e in pairs]
        else:
            shown[column] = [_plain(v) for v in frame[column]]
    shown = shown.drop(columns=[c for c in ("standard_error", "lost") if c in shown])
    source = f"results/{folder}/table.csv, made by presyn; ± is a standard error over n seeds."
    return {
        "id": folder.replace("/", "-"),
        "title": title,
        "words": words,
        "source": source,
        "columns": [c.replace("_", " ") for c in shown],
        "rows": shown.values.tolist(),
    }


def _plain(value: Any) -> str:
    if value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as e:
        raise PresynError(f"{path} cannot be read ({e}). Make it again with: presyn reproduce {path.parent.name}") from None
