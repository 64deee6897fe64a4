"""Stores of earlier versions are used as they are: nothing is trained again, lost, or twice in MLflow.

Each file in layouts/ holds a small store as a version made it, by the commit it is named after: `presyn run` of one network and
`presyn search` of three, what the search wrote, and what was in MLflow. Versions between them wrote the same.
"""

import json
from pathlib import Path

import pytest
from mlflow.entities import Metric, Param

from pipeline.cli import main

LAYOUTS = sorted((Path(__file__).parent / "layouts").glob("*.json"))
RUN = ["run", "--method", "presynaptic", "--benchmark", "split-digits", "--seeds", "1", "--set", "epochs=1", "tasks=2"]
SEARCH = ["search", "--space", "s.yaml", "--results", "out"]
SPACE = """
method: sgd
benchmark: permuted-digits
trials: 3
fixed: {validation: 300, epochs: 1, tasks: 2, hidden: [16]}
search:
  eta0: {low: 0.001, high: 0.1}
"""


@pytest.fixture(params=LAYOUTS, ids=lambda path: path.stem)
def before(request, home, client):
    """A home with the store of an earlier version; gives what was in its files, and the MLflow runs by name and status."""
    layout = json.loads(request.param.read_text().replace("@HOME@", str(home)))
    for name, text in layout["files"].items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    Path("s.yaml").write_text(SPACE)
    ids = {}
    for run in layout["mlflow"]:  # parents come first
        experiment = client.get_experiment_by_name(run["experiment"])
        number = experiment.experiment_id if experiment else client.create_experiment(run["experiment"])
        tags = {k: ids[v] if k == "mlflow.parentRunId" else v for k, v in run["tags"].items()}
        id = ids[run["id"]] = client.create_run(number, run["start"], tags, run["name"]).info.run_id
        client.log_batch(id, [Metric(*m) for m in run["metrics"]], [Param(k, v) for k, v in run["params"].items()])
        client.set_terminated(id, run["status"], run["end"])
    return layout["files"]


def mlflow_runs(client):
    """What tells each run in MLflow, its status, and the MLflow id of its parent; of a parent, its own.

    A run whose metrics had other names is written anew and the one before deleted, so the ids of others may change.
    """
    runs = {r.info.run_id: r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])}
    lines = []
    for id, run in runs.items():
        name = run.data.tags.get("run_id", "parent")
        lines.append((name, run.info.status, id if name == "parent" else run.data.tags.get("mlflow.parentRunId", "")))
    return sorted(lines)


def test_a_store_of_an_earlier_version_goes_on(before, home, client, capsys):
    there = mlflow_runs(client)
    assert len(there) == 5 and {status for _, status, _ in there} == {"FINISHED"}
    for _ in range(2):
        assert main(RUN) == 0 and "1 read from the store, 0 trained" in capsys.readouterr().err
        assert main(SEARCH) == 0 and "3 runs, 3 in the store, 0 to train" in capsys.readouterr().err
        assert mlflow_runs(client) == there
        assert main(["sync-mlflow"]) == 0
        assert mlflow_runs(client) == there
    after = {path.relative_to(home).as_posix(): path for path in home.rglob("*") if path.is_file()}
    kept = [name for name in before if "stages" not in name and not name.endswith((".csv", "best.yaml"))]
    assert all(after[name].read_text() == before[name] for name in kept), "rows, manifest and id are as they were"
    assert len(list(Path(".presyn/stages").iterdir())) == 2, "no stage is noted twice"
    first, second = (
        text.splitlines() for text in (before["out/search/s/manifest.csv"], Path("out/search/s/manifest.csv").read_text())
    )
    assert first == second
    assert main(["table1", "--digits", "--dry-run"]) == 0
