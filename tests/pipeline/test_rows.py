"""Rows come back from the CSVs they were written to, so that nothing that is known has to be trained again."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.experiments.catalogue import CLAIMING
from pipeline.experiments.verdicts.stage import all_verdicts
from pipeline.records.csvs import import_rows, read_file, read_rows, rows_csv, text_frame
from pipeline.records.results import Results
from pipeline.records.store import Store
from presyn import PresynError, Record, make_run

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("name", ["seeds/runs.csv", "search/presynaptic-permuted-mnist/runs.csv"])
def test_the_committed_rows_come_back_as_they_were(tmp_path, name):
    store, before = Store(tmp_path), text_frame((RESULTS / name).read_text())
    assert import_rows([RESULTS / name], store) == (len(before), 0, [])
    assert import_rows([RESULTS / name], store) == (0, len(before), [])
    kept = [c for c in before if c not in ("stage", "trial", "digest")]  # the digest is of a line with its labels
    after = text_frame(rows_csv([({}, store.get(i)) for i in before.run_id]))
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


def test_of_two_lines_of_a_run_the_one_that_says_more_is_imported(tmp_path):
    run, rest = "271f9720649df6c3", Store(tmp_path / "short")
    short, full = tmp_path / "short.csv", RESULTS / "lifelong/runs.csv"
    pd.read_csv(full).drop(columns=["series", "digest"]).to_csv(short, index=False)
    for number, files in enumerate(([short, full], [full, short])):
        store = Store(tmp_path / str(number))
        import_rows(files, store)
        assert len(store.get(run).record.figures["mean_p"]) == 10
        assert all(map(math.isfinite, store.get(run).record.figures["mean_p"])), "lifelong trains nothing again"
    import_rows([short], rest)
    assert import_rows([full], rest)[0] == 0, "it was there"
    assert all(map(math.isfinite, rest.get(run).record.figures["mean_p"])), "with less"


def test_other_columns_and_runs_without_a_test_come_along(tmp_path):
    frame = pd.read_csv(RESULTS / "seeds" / "runs.csv").head(2).assign(note="mine").drop(columns="digest")
    frame.loc[1, ["status", "accuracy"]] = "diverged", "[]"
    frame.loc[1, ["mean_accuracy", "forgetting"]] = float("nan")
    frame.to_csv(tmp_path / "mine.csv", index=False)
    store = Store(tmp_path / "store")
    assert import_rows([tmp_path / "mine.csv"], store) == (2, 0, [])
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
            assert (
                file.name in ("table.csv", "table1.csv", "manifest.csv", "authors_bgd.csv")
                or set(pd.read_csv(file).run_id) <= ids
            )


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
    assert main([*train, "--store", "theirs", "--dry-run"]) == 0
    assert "run: 1 runs, 0 in the store, 1 to train" in capsys.readouterr().err and not Path("mine.csv").exists()
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
    for read in (
        lambda: all_verdicts(Results(tmp_path), CLAIMING),
        lambda: import_rows([tmp_path / "table1" / "runs.csv"], Store(tmp_path / "s")),
    ):
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


RUN = make_run("sgd", "permuted-digits", 1, {"tasks": 2})
FINISHED = Record("finished", accuracy=[[0.5, 0.5]], loss=[1.0], seconds=[1.0], ended=[2.0], figures={"mean_p": [0.3]})


def a_row(folder, run=RUN, record=FINISHED):
    return Store(folder).put(run.run_id("sha"), run, "sha", record.as_dict(), {"host": "h", "device": "cpu"})


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line | {"series": line["series"].replace("0.3", "0.31")},
        lambda line: line | {"mean_p": "0.3001"},
        lambda line: line | {"ablation": "ghost"},
        lambda line: line | {"seconds": "2.0"},
        lambda line: line | {"host": "elsewhere"},
        lambda line: line | {"digest": ""},
    ],
    ids=["series", "figure", "label", "seconds", "host", "digest"],
)
def test_a_line_says_when_anything_in_it_was_changed(tmp_path, change):
    """Whatever is consistent with the rest of the line, such as a whole series, only the digest can tell."""
    path = tmp_path / "rows.csv"
    path.write_text(rows_csv([({"ablation": "full"}, a_row(tmp_path / "store"))]))
    assert len(read_rows(path)) == 1
    cells = read_file(path).cells
    pd.DataFrame([change(cells.iloc[0].to_dict())]).to_csv(path, index=False)
    with pytest.raises(PresynError, match="line 2 is not a run that presyn wrote"):
        read_rows(path)


def test_a_file_of_before_is_read_and_gets_digests_when_it_is_written(tmp_path):
    old = pd.read_csv(RESULTS / "seeds" / "runs.csv", dtype=str, keep_default_na=False).head(3)
    old.drop(columns="digest", errors="ignore").to_csv(tmp_path / "old.csv", index=False)
    file = read_file(tmp_path / "old.csv")
    (tmp_path / "new.csv").write_text(rows_csv([], file.cells))
    again = read_file(tmp_path / "new.csv")
    assert again.cells.digest.str.len().eq(16).all() and [r.run_id for r in again.rows] == [r.run_id for r in file.rows]


@pytest.mark.parametrize("name", ["null", "NA", "1e3", "2024", "007", "true", "nan", "inf", "=1+2", "+x", "-5", "@a", "'=1"])
def test_a_name_is_a_name_whatever_it_looks_like(tmp_path, name):
    run = make_run("sgd", replace(RUN.benchmark, name=name), 1)
    row, path = a_row(tmp_path / "store", run), tmp_path / "rows.csv"
    path.write_text(rows_csv([({"ablation": name}, row)]))
    file = read_file(path)
    assert file.frame.benchmark[0] == file.frame.ablation[0] == name and file.rows[0].config == row.config
    assert not re.search(r"(^|,)[=+@]", path.read_text(), re.M), "no spreadsheet takes it for a formula"


def test_large_figures_are_believed(tmp_path):
    record = replace(FINISHED, figures={"neuronal_energy": [123456789.987654]})
    path = tmp_path / "rows.csv"
    path.write_text(rows_csv([({}, a_row(tmp_path / "store", record=record))]))
    assert read_rows(path).neuronal_energy[0] == pytest.approx(123456789.9877)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("rules_version", "1.5", "rules_version is not a whole number"),
        ("git_dirty", "maybe", "git_dirty is neither"),
        ("git_commit", "", "git_commit is empty"),
    ],
)
def test_provenance_must_be_some(tmp_path, column, value, said):
    frame = pd.read_csv(RESULTS / "seeds" / "runs.csv", dtype=str, keep_default_na=False).head(2)
    frame.drop(columns="digest", errors="ignore").assign(**{column: value}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(PresynError, match=f"line 2 .*{said}|run_id is not that of its configuration"):
        import_rows([tmp_path / "x.csv"], Store(tmp_path / "s"))


@pytest.mark.parametrize(
    "change",
    [{"accuracy": [[0.5, 0.6]]}, {"loss": [1.001]}, {"figures": {"mean_p": [0.31]}}, {"accuracy": [[0.4, 0.6]]}],
    ids=["accuracy", "loss", "figure", "the same mean"],
)
@pytest.mark.parametrize("where", ["files", "one file", "file and store"])
def test_rows_of_one_run_that_contradict_each_other_are_refused(tmp_path, change, where):
    row, other = a_row(tmp_path / "a"), a_row(tmp_path / "b", record=replace(FINISHED, **change))
    store, (one, two) = Store(tmp_path / "store"), (tmp_path / "one.csv", tmp_path / "two.csv")
    one.write_text(rows_csv([({}, row), ({}, other)] if where == "one file" else [({}, row)]))
    two.write_text(rows_csv([({}, other)]))
    if where == "file and store":
        store.keep(row)
    with pytest.raises(PresynError, match=f"say different things of run {row.run_id}.* Nothing was imported"):
        import_rows([two] if where == "file and store" else [one] if where == "one file" else [one, two], store)
    assert store.ids() == ([row.run_id] if where == "file and store" else [])


@pytest.mark.parametrize("place", [{"host": "elsewhere"}, {"processor": "x86_64 AVX2"}], ids=["host", "processor"])
def test_rows_of_one_run_from_two_machines_are_told_and_the_first_counts(tmp_path, home, capsys, place):
    row = a_row(tmp_path / "a")
    other = replace(row, provenance={**row.provenance, **place}, record=replace(FINISHED, accuracy=[[0.4, 0.6]]))
    for name, rows in (("one.csv", [row]), ("two.csv", [other])):
        Path(name).write_text(rows_csv([({}, r) for r in rows]))
    assert main(["import", "one.csv", "two.csv"]) == 0
    said = capsys.readouterr()
    assert "1 runs imported" in said.out and f"with other numbers ({row.run_id}); the first one counts" in said.err
    assert Store(home / ".presyn").get(row.run_id).record.accuracy == [[0.5, 0.5]]
    assert main(["import", "one.csv"]) == 0 and not capsys.readouterr().err
    Path("table.csv").write_text("method,mean\nsgd,0.5\n")
    Path("empty").mkdir()
    assert main(["import", ".", "--store", "third"]) == 0 and "1 runs imported" in capsys.readouterr().out
    assert main(["import", "empty"]) == 1 and "In empty there is no CSV of runs." in capsys.readouterr().err


def test_labels_of_a_line_without_series_are_no_figures(tmp_path):
    """A run that diverged at once has no loss, and earlier versions kept no series: its columns are labels and figures."""
    nan = float("nan")
    diverged = Record("diverged", "loss", loss=[nan], seconds=[1.0], ended=[2.0], figures={"mean_p": [nan], "energy": [nan]})
    labels = {"l2": 0.05, "eta0": 0.1, "release": 0.25, "patterns": 20, "dose": 3.5, "part": "p"}
    path, store = tmp_path / "rows.csv", Store(tmp_path / "store")
    path.write_text(rows_csv([(labels, a_row(tmp_path / "a", record=diverged))]))
    for text in (path.read_text(), pd.read_csv(path).drop(columns="digest").to_csv(index=False)):
        path.write_text(text)
        file = read_file(path)
        assert {"l2", "eta0", "release", "patterns", "dose"} <= set(file.frame)
        assert file.rows[0].record.figures.keys() == {"mean_p", "energy"}
    import_rows([path], store)
    assert store.get(file.rows[0].run_id).record.figures.keys() == {"mean_p", "energy"}


def test_a_row_of_changed_code_is_another_run_and_says_so(home, here, capsys, monkeypatch):
    """An edited rule: the same command trains anew, and no table takes rows of two rules for one another in silence."""
    words = ["run", "--method", "sgd", "--benchmark", "split-digits", "--seeds", "1", "--set", "epochs=1", "tasks=1", "--rows"]
    assert main([*words, "first.csv"]) == 0
    said = capsys.readouterr().err
    assert "0 read from the store, 1 trained" in said and said.count("read from the store") == 1
    assert main([*words, "first.csv"]) == 0 and "1 read from the store, 0 trained" in capsys.readouterr().err
    monkeypatch.setattr("presyn.runs.changed_code", lambda method: "0123456789abcdef")
    monkeypatch.setattr("pipeline.records.store.digest_method", lambda method: "0123456789abcdef")
    assert main([*words, "second.csv"]) == 0
    said = capsys.readouterr().err
    assert "0 read from the store, 1 trained" in said
    assert "1 of the 1 runs of run were trained by changed code of sgd (0123456789abcdef)." in " ".join(said.split())
    first, second = (pd.read_csv(f"{name}.csv") for name in ("first", "second"))
    assert first.run_id[0] != second.run_id[0] and second.code[0] == "0123456789abcdef"
    assert first.mean_accuracy[0] == second.mean_accuracy[0], "the code is in truth the same"
    assert main(["show", second.run_id[0]]) == 0
    assert "0123456789abcdef, was not known to give the numbers of version 1" in " ".join(capsys.readouterr().out.split())
    other = Store(Path("other"))
    assert import_rows([Path("first.csv"), Path("second.csv")], other) == (2, 0, [])
    assert other.get(second.run_id[0]).changed_code == "0123456789abcdef" and other.get(first.run_id[0]).changed_code is None
    line = Path("second.csv").read_text().replace("0123456789abcdef", "0123456789abcde0")
    Path("second.csv").write_text(line)
    with pytest.raises(PresynError, match="run_id is not that of its configuration"):
        import_rows([Path("second.csv")], Store(Path("third")))
