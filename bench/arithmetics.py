"""Dense beside lit products on whole runs: python -m bench.arithmetics REVISION

Compares the committed rows of a git revision with those that lie under results/ now, for runs that dense products made there
and lit ones here: same configuration, same seed. Sums in another order move the last bit of a step, and so, in time, a whole
run, as another seed would; a difference in the mean would be a fault.
"""

import io
import subprocess
import sys
from pathlib import Path

import pandas as pd

from pipeline.records.files import write_whole
from pipeline.report.statistics import paired, show_p
from pipeline.report.tables import markdown_table

COLUMNS = ["run_id", "method", "benchmark", "status", "mean_accuracy", "arithmetic"]
RESULTS = Path("results")


def read_rows(text: str) -> pd.DataFrame:
    """COLUMNS of a CSV of rows; nothing of one that holds none. Rows that name no arithmetic are dense."""
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    if not {"run_id", "status", "mean_accuracy"} <= set(frame.columns):
        return pd.DataFrame(columns=COLUMNS)
    frame = frame.reindex(columns=COLUMNS, fill_value="")
    accuracies = pd.to_numeric(frame.mean_accuracy)  # empty where a run was lost
    return frame.assign(mean_accuracy=accuracies, arithmetic=frame.arithmetic.replace("", "dense"))


def rows_of_revision(revision: str) -> pd.DataFrame:
    """All rows under results/ in a git revision."""
    listed = _git("ls-tree", "-r", "--name-only", revision, f"{RESULTS}/").splitlines()
    return pd.concat([read_rows(_git("show", f"{revision}:{path}")) for path in listed if path.endswith(".csv")])


def compare(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """A line for each method and benchmark: runs, their means in %, lit minus dense in points, and p of a paired t test.

    Args:
        before, now: Rows, with COLUMNS; those of `before` that are dense are paired with those of `now` that are lit.
    """
    finished = [
        rows[(rows.status == "finished") & (rows.arithmetic == arithmetic)].drop_duplicates("run_id")
        for rows, arithmetic in ((before, "dense"), (now, "lit"))
    ]
    pairs = finished[0].merge(finished[1], on=["run_id", "method", "benchmark"], suffixes=("_dense", "_lit"))
    lines = []
    for (method, benchmark), group in pairs.groupby(["method", "benchmark"]):
        dense, lit = 100 * group.mean_accuracy_dense, 100 * group.mean_accuracy_lit
        difference = paired((lit - dense).tolist())
        means = [f"{accuracies.mean():.2f}" for accuracies in (dense, lit)]
        lines.append([method, benchmark, len(group), *means, str(difference), show_p(difference.p)])
    return pd.DataFrame(lines, columns=["method", "benchmark", "runs", "dense", "lit", "lit − dense", "p"])


def main(arguments: list[str]) -> int:
    """Write results/bench/arithmetics.csv and .md."""
    if len(arguments) != 1:
        raise SystemExit("Say which git revision has the rows that dense products made: python -m bench.arithmetics REVISION")
    before = rows_of_revision(arguments[0])
    now = pd.concat([read_rows(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.rglob("*.csv"))])
    table = compare(before, now)
    text = f"{markdown_table(table, disable_numparse=True)}\n"
    print(text)
    write_whole(RESULTS / "bench" / "arithmetics.csv", table)
    write_whole(RESULTS / "bench" / "arithmetics.md", text)
    return 0


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], stdout=subprocess.PIPE, text=True)  # git says itself what is wrong
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
