"""A sweep whose end is known, on clusters that fail; needs a Linux where namespaces can be made."""

import json
import logging
import shutil

import optuna
import pytest
from nodes import Machine, possible

from pipeline.plan import Plan
from pipeline.records.store import Store
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster
from sweeps.execute import train_in_process
from sweeps.manifest import draw_trials
from sweeps.space import read_space
from sweeps.trials import trial_runs

SPACE = """
method: presynaptic
benchmark: permuted-digits
trials: 6
sampler_seed: {seed}
fixed: {{validation: 300, epochs: {epochs}, samples: 2}}
search:
  p_up: {{low: 0.01, high: 0.1}}
  eta0: {{choices: [0.05, 0.1]}}
"""
COMMAND = "search --space space.yaml --cohort 1 --results out"


class Home:
    """A working folder with a space, and what its search comes to when nothing fails."""

    def __init__(self, folder, expected):
        self.folder, self.expected = folder, expected
        self.store = folder / ".presyn"

    def rows(self, store=None):
        rows = [json.loads(p.read_text()) for p in ((store or self.store) / "results").glob("*.json")]
        return {r["run_id"]: r for r in rows}

    def hosts(self):
        """Where the runs were trained."""
        return {r["provenance"]["host"] for r in self.rows().values()}

    def outcomes(self, store=None):
        return {i: (r["status"], r["accuracy"], r["loss"], r["figures"]) for i, r in self.rows(store).items()}

    def count_checkpoints(self):
        """How many files of checkpoints the store holds."""
        return len(list((self.store / "checkpoints").glob("*/*.pt")))

    def check(self, store=None, uri=None):
        """Nothing is lost or doubled, in the store, in the study and in MLflow."""
        store = store or self.store
        assert self.outcomes(store) == self.expected
        copied = shutil.copy(store / "optuna.db", self.folder / "study.db")  # SQLite does not follow /proc/…/root
        study = optuna.load_study(study_name="space", storage=f"sqlite:///{copied}")
        assert len(study.trials) == len(self.expected)
        assert not list((store / "checkpoints").glob("*/*")), "checkpoints of finished runs are removed"
        assert not list(store.rglob("*.partial*"))
        self.check_mlflow(uri or f"sqlite:///{store / 'mlflow.db'}")

    def check_mlflow(self, uri):
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        mlflow_runs = client.search_runs([client.get_experiment_by_name("search").experiment_id])
        children = [r for r in mlflow_runs if "mlflow.parentRunId" in r.data.tags and r.data.tags["run_id"] in self.expected]
        assert sorted(r.data.tags["run_id"] for r in children) == sorted(self.expected), "one MLflow run for each network"
        parents = {r.data.tags["mlflow.parentRunId"] for r in children}
        assert len(parents) == 1 and {r.info.status for r in children} == {"FINISHED"}
        assert client.get_run(parents.pop()).info.status == "FINISHED"
        for run in children:
            assert run.data.metrics["mean_accuracy"] == pytest.approx(sum(self.expected[run.data.tags["run_id"]][1][-1]) / 5)


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """(seed, epochs) -> what the search comes to, computed in this process without Ray; made once."""
    outcomes = {}

    def train(seed, epochs):
        if (seed, epochs) not in outcomes:
            folder = tmp_path_factory.mktemp("plain")
            (folder / "space.yaml").write_text(SPACE.format(seed=seed, epochs=epochs))
            space = read_space(str(folder / "space.yaml"))
            plan = Plan(Store(folder / "store"), Cluster())
            for run in trial_runs(space, draw_trials(space)):
                plan.add(run)
            records = {}
            train_in_process(
                plan.runs,
                Checkpoints(folder / "checkpoints", "s"),
                Cluster(),
                lambda i, record, place: records.update({i: record}),
                lambda steps: None,
            )
            outcomes[seed, epochs] = {i: (r["status"], r["accuracy"], r["loss"], r["figures"]) for i, r in records.items()}
        return outcomes[seed, epochs]

    return train


@pytest.fixture
def home(tmp_path, expected, request):
    """A home whose runs take seconds."""
    seed, epochs = getattr(request, "param", (1, 40))
    (tmp_path / "space.yaml").write_text(SPACE.format(seed=seed, epochs=epochs))
    return Home(tmp_path, expected(seed, epochs))


@pytest.fixture
def machine(home):
    """A network of its own for nodes."""
    if not possible():
        pytest.skip("needs a Linux where namespaces can be made (root)")
    made = Machine(home.folder)
    yield made
    made.close()


@pytest.fixture(autouse=True, scope="session")
def quiet_torch():
    """What torch notes while it compiles is pages long."""
    logging.getLogger("torch.__trace").propagate = False
