"""All searches under the results in one table: how many configurations, what was lost, and the best."""

from collections import Counter

import pandas as pd

from pipeline.records.results import Results
from pipeline.report.tables import as_markdown, grid
from pipeline.stage import Known, Made, Stage, Wish


class SearchOverview(Stage):
    """The table of what searches found; it trains nothing."""

    name = "search"
    title = "searches"
    reads_results = True
    made_of_others = True

    def ask(self, known: Known) -> list[Wish]:
        return []

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        assert known.results is not None
        return self.remake(frame, known.results)

    def remake(self, frame: pd.DataFrame, results: Results) -> Made:
        table = summarise(results)
        if table.empty:
            return Made(message="Nothing was searched yet.")
        shown = table.assign(best=table.best.map("{:.1f}".format))
        return Made(table, {"table.csv": table, "table.md": as_markdown(shown)}, "table.csv", shown=grid(shown, self.title))


def summarise(results: Results) -> pd.DataFrame:
    """A line for each search of one objective: search, configurations, finished, and lost by how; best accuracy in %."""
    lines = []
    for path in sorted((results.folder / "search").glob("*/runs.csv")):
        rows = results.file(path, ("trial", "status", "mean_accuracy"))
        if (path.parent / "trials.csv").exists():  # of several objectives or rounds, where no accuracy alone is best
            continue
        counts = Counter(rows.status)
        finished = rows[rows.status == "finished"]
        lost = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()) if status != "finished")
        best = round(100 * float(finished.mean_accuracy.max()), 2) if len(finished) else float("nan")
        lines.append([path.parent.name, len(rows), counts["finished"], lost or "–", best])
    return pd.DataFrame(lines, columns=["search", "configurations", "finished", "lost", "best"])
