"""Rows come back from the CSVs they were written to, so that nothing that is known has to be trained again."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.experiments.verify import verify
from pipeline.records.csvs import frame_of, import_rows
from pipeline.records.store import Store
from presyn import PresynError, Record, make_run

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("name", ["seeds/runs.csv", "search/presynaptic-permuted-mnist/runs.csv"])
def test_the_committed_rows_come_back_as_they_were(tmp_path, name):
    store, before = Store(tmp_path), pd.read_csv(RESULTS / name)
    assert import_rows([RESULTS / name], store) == (len(before), 0)
    assert import_rows([RESULTS / name], store) == (0, len(before))
    kept = [c for c in before if c not in ("stage", "trial")]
    after = frame_of([({}, store.get(i)) for i in before.run_id])
    pd.testing.assert_frame_equal(after[kept], before[kept], check_dtype=False)


@pytest.mark.parametrize(
    "column, change, says",
    [
        ("mean_accuracy", lambda v: v + 0.01, "mean_accuracy is not that of its accuracies"),
        ("config", lambda v: v.replace('"seed": 20', '"seed": 30'), "run_id is not that of its configuration"),
        ("accuracy", lambda v: "[]", "is not a run"),
        ("accuracy", lambda v: "[[]]", "is not a run"),
        ("status", lambda v: "training", "status is not one of finished, dropped, diverged"),
    ],
)
def test_a_changed_line_is_refused_and_named(tmp_path, column, change, says):
    frame = pd.read_csv(RESULTS / "seeds" / "runs.csv").head(3)
    frame.loc[2, column] = change(frame.loc[2, column])
    frame.to_csv(tmp_path / "changed.csv", index=False)
    store = Store(tmp_path / "store")
    with pytest.raises(PresynError, match=f"changed.csv, line 4 .*{says}|line 4 {says}"):
        import_rows([tmp_path / "changed.csv"], store)
    assert store.ids() == []


def test_other_columns_and_runs_without_a_test_come_along(tmp_path):
    frame = pd.read_csv(RESULTS / "seeds" / "runs.csv").head(2).assign(note="mine")
    frame.loc[1, ["status", "accuracy"]] = "diverged", "[]"
    frame.loc[1, ["mean_accuracy", "forgetting"]] = float("nan")
    frame.to_csv(tmp_path / "mine.csv", index=False)
    store = Store(tmp_path / "store")
    assert import_rows([tmp_path / "mine.csv"], store) == (2, 0)
    assert all("note" not in store.get(i).record.figures for i in frame.run_id)
    assert len(store.get(frame.run_id[1]).record.ended) == 1
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PresynError, match="other.csv is not a CSV of runs: it has no column run_id"):
        import_rows([tmp_path / "other.csv"], store)


def test_all_committed_rows_are_imported_by_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(RESULTS.parent)
    assert main(["import", "--store", str(tmp_path)]) == 0
    ids = set(Store(tmp_path).ids())
    for folder in ("table1", "seeds", "baselines", "departures", "search/ewc-split-mnist", "ablations/published"):
        for file in (RESULTS / folder).glob("*.csv"):
            assert file.name in ("table.csv", "table1.csv", "manifest.csv") or set(pd.read_csv(file).run_id) <= ids


def test_imported_runs_are_shown_and_not_trained_again(home, capsys):
    train = [
        "run",
        "--method",
        "sgd",
        "--benchmark",
        "split-digits",
        "--set",
        "epochs=1",
        "tasks=2",
        "hidden=16",
        "--rows",
        "mine.csv",
    ]
    assert main([*train, "--store", "theirs"]) == 0
    assert main(["import", "mine.csv"]) == 0
    assert "1 runs imported" in capsys.readouterr().out
    before = {p.name: p.read_text() for p in (home / ".presyn" / "results").iterdir()}
    assert main(train) == 0 and before == {p.name: p.read_text() for p in (home / ".presyn" / "results").iterdir()}
    run_id = pd.read_csv("mine.csv").run_id[0]
    assert main(["show", run_id]) == 0 and "method: sgd" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("mean_accuracy", lambda v: v + 0.12, "mean_accuracy is not that of its accuracies"),
        ("accuracy", lambda v: v.replace("0.9", "1.9", 1), "accuracies are not from 0 to 1"),
        ("accuracy", lambda v: "nonsense", "not a run that presyn wrote"),
        ("config", lambda v: v.replace('"p_min": 0.25', '"p_min": 0.3'), "run_id is not that of its configuration"),
        ("config", lambda v: "[]", "not a run that presyn wrote"),
        ("status", lambda v: "splendid", "status is not one of"),
        ("seed", lambda v: v + 1, "seed is not that of its configuration"),
        ("forgetting", lambda v: v + 0.1, "forgetting is not that of its accuracies"),
    ],
)
def test_verify_believes_no_line_that_was_changed(tmp_path, column, change, said):
    # The same file is refused by import and by every command that reads it.
    (tmp_path / "table1").mkdir()
    frame = pd.read_csv(RESULTS / "table1" / "runs.csv").astype({"mean_accuracy": float})
    at = frame.index[frame.method == "presynaptic"][1]
    frame[column] = frame[column].astype(object)
    frame.loc[at, column] = change(frame.loc[at, column])
    frame.to_csv(tmp_path / "table1" / "runs.csv", index=False)
    for read in (lambda: verify(tmp_path), lambda: import_rows([tmp_path / "table1" / "runs.csv"], Store(tmp_path / "s"))):
        with pytest.raises(PresynError, match=f"line {at + 2} is not a run that presyn wrote .*{said}|line {at + 2} .*{said}"):
            read()


@pytest.mark.parametrize(
    "change",
    [
        {"mean_accuracy": 0.99},
        {"config": {**make_run("sgd", "permuted-digits", 1, {"tasks": 2}).config(), "eta0": 0.5}},
        {"run_id": "abc"},
        {"mean_accuracy": None},
        {"accuracy": [[1.5, 0.5]]},
        {"accuracy": None},
        {"loss": []},
        {"figures": {"mean_p": 0.3}},
        {"config": None},
        {"provenance": []},
        {"seconds": "long"},
        {"status": 3},
    ],
    ids=str,
)
def test_a_row_in_the_store_that_was_changed_is_set_aside(tmp_path, capsys, change):
    store = Store(tmp_path)
    record = Record("finished", accuracy=[[0.5, 0.5]], loss=[1.0], seconds=[1.0], ended=[2.0], figures={"mean_p": [0.3]})
    run = make_run("sgd", "permuted-digits", 1, {"tasks": 2})
    own = run.run_id("sha")
    store.put(own, run, "sha", record.as_dict(), {})
    assert store.get(own)
    path = store.results / f"{own}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert store.get(own) is None and "was damaged" in capsys.readouterr().err and store.ids() == []
