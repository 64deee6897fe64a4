"""The commands that look at options and runs: quick help, choices by id, option and status, curves, progress, removal."""

import dataclasses
import io
import json
import math
import subprocess
import sys
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

import pipeline.cli.tables
from pipeline import cli
from pipeline.cli.choose import choose_rows, sort_rows
from pipeline.cli.curves import _means, make_curves
from pipeline.cli.option_docs import BENCHMARK_NAMES, describe_method, method_names, options_page
from pipeline.cli.tables import print_table
from pipeline.records.mlflow.notes import Note
from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import BENCHMARKS, Benchmark, PresynError, Record, make_run
from presyn.methods import method_class
from sweeps.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "mlflow", "ray", "pandas", "optuna", "scipy", "sklearn", "matplotlib")
HELP = f"""
import sys
from pipeline import cli
assert cli.main(["--help"]) == 0
assert all(cli.main([command, "--help"]) == 0 for command in cli.COMMANDS)
print("imported:", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def make_row(method="sgd", seed=1, benchmark="split-digits", status="finished", level=0.9, **settings):
    """The row of a run that went evenly: accuracy level - 0.1 on every task but the newest, level there."""
    run = make_run(method, benchmark, seed, {"tasks": 3, **settings})
    table = [[level - 0.1] * i + [level] + [None] * (2 - i) for i in range(3)]
    if status != "finished":
        table = table[:1]
    n = len(table)
    figures = {"mean_p": [0.25 + 0.1 * i for i in range(n)], "histogram_p": [[1, 2]] * n} if method == "presynaptic" else {}
    record = Record(status, "", table, [0.5] * n, figures, [30.0] * n, [1e9 + i for i in range(n)]).as_dict()
    provenance = {"git_commit": "abc", "git_dirty": False, "rules_version": 1, "data_sha256": "d", "torch": "2", "host": "here"}
    return Row.from_run(run.run_id("d"), run, {**provenance, "device": "cpu"}, record)


@pytest.fixture
def store(home):
    """Six runs: of the rule with two values of p_freeze and two seeds each, one without consolidation, one that diverged."""
    store = Store(home / ".presyn")
    for p_freeze in (0.9, 1.0):
        for seed, level in ((1, 0.8), (2, 0.84)):
            store.keep(make_row("presynaptic", seed, p_freeze=p_freeze, level=level))
    store.keep(make_row("sgd", 1, level=0.7))
    store.keep(make_row("sgd", 2, status="diverged"))
    return store


def run(capsys, *words):
    """What a command prints; its exit code must be 0."""
    assert cli.main(list(words)) == 0
    return capsys.readouterr().out


def test_help_imports_nothing_that_takes_seconds():
    done = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"


@pytest.mark.parametrize("name", method_names())
def test_every_option_says_what_it_means_and_where_it_comes_from(name):
    for field in dataclasses.fields(method_class(name).Options):
        assert field.metadata["doc"] and field.metadata["source"], field.name


def test_options_are_printed_with_the_values_of_a_benchmark(capsys):
    shown = run(capsys, "options", "presynaptic", "split-mnist")
    assert "eta0=0.001 " in shown and "eta0=0.01 " in run(capsys, "options", "presynaptic")
    assert "tasks=5 " in shown and "batch_size=128 " in run(capsys, "options", "bgd", "split-mnist")
    everything = run(capsys, "options")
    for name in {n for m in method_names() for n in method_class(m).Options.names()} | {*Benchmark.names()} - {"name"}:
        assert f"\n{name}" in everything
    assert cli.main(["options", "sgdd"]) == 1 and "Did you mean sgd" in capsys.readouterr().err
    assert cli.main(["run", "--method", "sgd", "--benchmark", "mnist", "--set", "p_up=1"]) == 1
    assert "presyn options sgd" in capsys.readouterr().err


def test_a_number_is_shown_in_full():
    benchmark = dataclasses.replace(BENCHMARKS["split-mnist"])
    assert {o.name: o.value for o in describe_method("bgd", benchmark)}["sigma0"] == "0.001"
    assert pipeline.cli.option_docs.show_value(0.04460148) == "0.04460148"


def test_the_page_of_options_is_up_to_date():
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert page == options_page(), "write it again: python -m pipeline.cli.option_docs > docs/options.md"
    assert all(f"## {name}\n" in page for name in method_names()) and all(f"- `{name}`: " in page for name in BENCHMARK_NAMES)


def test_runs_are_chosen_by_method_option_status_and_id(store):
    def chosen(*prefixes, **how):
        return {(r.config["method"], r.config["seed"]) for r in choose_rows(store, prefixes, **how)}

    assert len(choose_rows(store)) == 6
    assert chosen(methods=["sgd"]) == {("sgd", 1), ("sgd", 2)}
    assert chosen(methods=["sgd"], statuses=["finished"]) == {("sgd", 1)}
    assert chosen(settings=["p_freeze=1", "seed=2"]) == {("presynaptic", 2)}
    assert len(choose_rows(store, settings=["l2=0"])) == 6, "an option at its neutral value is not part of a configuration"
    assert len(choose_rows(store, settings=["release=none"])) == 4
    assert not choose_rows(store, settings=["p_freeze=0.5"])
    row = make_row("sgd", 1, level=0.7)
    assert [r.run_id for r in choose_rows(store, [row.run_id[:10]])] == [row.run_id]
    for wrong, message in (({"methods": ["sdg"]}, "Did you mean sgd"), ({"settings": ["p_frez=1"]}, "p_freeze")):
        with pytest.raises(PresynError, match=message):
            choose_rows(store, **wrong)
    with pytest.raises(PresynError, match="6 runs begin with ''"):
        choose_rows(store, [""])


def test_runs_are_sorted_and_those_without_a_value_come_last(store):
    rows = choose_rows(store)
    by_accuracy = sort_rows(rows, "mean_accuracy", reverse=True)
    values = [row.mean_accuracy for row in by_accuracy]
    assert values[:-1] == sorted(values[:-1], reverse=True) and values[-1] is None
    assert [r.config["method"] for r in sort_rows(rows, "mean_p", reverse=False)][-2:] == ["sgd", "sgd"]
    with pytest.raises(PresynError, match="Did you mean mean_p"):
        sort_rows(rows, "mean_pp", reverse=False)


def test_the_list_of_runs_can_be_read_by_programs(store, home, capsys):
    runs = json.loads(run(capsys, "list", "--method", "presynaptic", "--json"))["runs"]
    assert {r["config"]["p_freeze"] for r in runs} == {0.9, 1.0} and all(r["provenance"]["host"] == "here" for r in runs)
    (home / "rows.csv").write_text(run(capsys, "list", "--csv"), encoding="utf-8")
    assert sorted(pd.read_csv(home / "rows.csv").run_id) == store.ids()
    other = home / "other"
    assert "6 runs imported" in run(capsys, "import", "rows.csv", "--store", str(other))
    assert cli.main(["list", "--csv", "--json"]) == 1


def test_the_list_of_runs_fits_a_terminal_and_cuts_nothing(store, capsys):
    shown = run(capsys, "list")
    assert all(run_id in shown for run_id in store.ids()) and max(map(len, shown.splitlines())) <= 80
    assert shown.count("p_freeze=0.9 ") + shown.count("p_freeze=0.9\n") == 2 and shown.count("diverged") == 1


def test_two_runs_are_compared_by_what_differs(store, capsys):
    first, second = make_row("presynaptic", 1, p_freeze=0.9, level=0.8), make_row("presynaptic", 2, p_freeze=1.0, level=0.84)
    shown = run(capsys, "compare", first.run_id[:12], second.run_id)
    assert first.run_id in shown and second.run_id in shown
    options = shown.split("what came out")[0]
    assert "p_freeze" in options and "seed" in options and "p_up" not in options
    assert "84.00%" in shown and "74.00%" in shown and "mean_p" in shown
    assert cli.main(["compare", first.run_id]) == 1 and "two different runs" in capsys.readouterr().err


def test_runs_are_removed_from_mlflow_too_and_their_parent_stays_finished(store, client, capsys):
    row, other = make_row("sgd", 1, level=0.7), make_row("presynaptic", 1, p_freeze=0.9, level=0.8)
    Note("search", "s", "a search", [row.run_id, other.run_id]).save(store)
    run(capsys, "sync-mlflow")
    theirs = client.create_run(
        client.get_experiment_by_name("run").experiment_id, tags={"run_id": row.run_id, "presyn_store": "x"}
    )
    assert "In MLflow 1 of their runs are deleted" in run(capsys, "remove", row.run_id, "--yes")
    for _ in range(2):
        runs = client.search_runs([client.get_experiment_by_name("search").experiment_id])
        assert sorted(r.data.tags.get("run_id", "parent") for r in runs) == sorted([other.run_id, "parent"])
        assert {r.info.status for r in runs} == {"FINISHED"}
        run(capsys, "sync-mlflow")
    assert client.get_run(theirs.info.run_id).info.lifecycle_stage == "active", "another store's is left alone"
    told = run(capsys, "remove", other.run_id, "--yes", "--mlflow", "http://127.0.0.1:9")
    assert "did not answer within 3 s: they stay there" in told and other.run_id not in store.ids()


def test_what_looks_writes_nothing(home):
    """Such as into a colleague's store, which cannot be written, or into a folder whose name was mistyped."""
    for words, code in ((["list"], 0), (["status"], 0), (["compare", "a"], 1), (["curves"], 1), (["show", "a"], 1)):
        assert cli.main([*words, "--store", "mistyped"]) == code and not Path("mistyped").exists()


def test_runs_are_removed_only_with_yes_and_the_cost_is_said_before(store, home, capsys):
    row = make_row("sgd", 1, level=0.7)
    state = Checkpoints(store.checkpoints, "").state_path(row.run_id)
    state.parent.mkdir()
    state.write_bytes(b"x")
    (home / "results").mkdir()
    (home / "results" / "runs.csv").write_text(run(capsys, "list", row.run_id, "--csv"), encoding="utf-8")
    told = run(capsys, "remove", row.run_id[:12])
    assert "takes 90 s" in told or "takes 2 min" in told, told
    assert "results/runs.csv" in told and "--yes" in told and row.run_id in store.ids()
    session = store.session_checkpoints("s")
    session.open()
    session.save({row.run_id: {"record": dataclasses.asdict(row.record), "state": {}}})
    run(capsys, "remove", row.run_id[:12], "--yes")
    assert row.run_id not in store.ids() and len(store.ids()) == 5 and not state.exists()
    assert not session.index(), "else the next command would take its end from there instead of training it"
    with store.locked("presyn search"):
        assert cli.main(["remove", store.ids()[0], "--yes"]) == 1
    assert len(store.ids()) == 5


def test_curves_are_means_over_seeds_with_their_standard_error(store):
    rows = choose_rows(store, methods=["presynaptic"])
    first, second = make_curves(rows, "accuracy")
    assert (first.label, second.label, first.runs) == ("p_freeze=0.9", "p_freeze=1", 2)
    on_first_task = first.samples["task 1"]
    assert [round(s.mean, 9) for s in on_first_task] == [0.82, 0.72, 0.72]
    assert on_first_task[0].standard_error == pytest.approx(0.02)
    assert [s.n for s in first.samples["task 3"]] == [0, 0, 2]
    (together,) = make_curves(rows, "mean_p", ["method"])
    assert together.runs == 4 and [round(s.mean, 9) for s in together.samples[""]] == [0.25, 0.35, 0.45]
    assert [c.label for c in make_curves(choose_rows(store, statuses=["finished"]), "loss", ["method"])] == [
        "presynaptic",
        "sgd",
    ]
    for figure, group, message in (("mean_q", None, "mean_p"), ("loss", ["p_upp"], "p_up"), ("histogram_p", None, "Known")):
        with pytest.raises(PresynError, match=message):
            make_curves(rows, figure, group)


def test_a_curve_has_no_point_where_not_all_tasks_so_far_were_tested():
    assert _means([[0.9, None], [0.5, 0.7]], 0) == [0.9, pytest.approx(0.6)]
    newest, last = _means([[0.9, None, None], [None, 0.8, None], [0.5, 0.6, 0.7]], 0)[1:]
    assert math.isnan(newest) and last == pytest.approx(0.6)
    before, after = _means([[0.9, 0.7]], 1)
    assert math.isnan(before) and after == pytest.approx(0.8), "joint training is tested once, after all tasks"


def test_a_run_that_was_lost_is_drawn_where_it_was_tested():
    row = make_row("sgd", 1)
    record = replace(row.record, status="dropped", accuracy=[[0.4, None, None]], figures={}, loss=[1.0])
    lost = replace(row, record=record)
    for figure, title in (("accuracy", "task 1"), ("mean_accuracy", "")):
        (curve,) = make_curves([lost], figure)
        assert [s.mean for s in curve.samples[title]] == [0.4]


def test_more_curves_than_can_be_told_apart_are_refused():
    rows = [make_row("sgd", 1, eta0=0.001 * (i + 1)) for i in range(30)]
    with pytest.raises(PresynError, match="differ in eta0"):
        make_curves(rows, "loss")
    assert len(make_curves(rows, "loss", ["method"])) == 1


def test_curves_are_written_as_png_and_svg(store, home, capsys):
    assert "p_freeze=1: 2 runs" in run(capsys, "curves", "--method", "presynaptic", "--out", "c.svg")
    drawing = (home / "c.svg").read_text(encoding="utf-8")
    xml.etree.ElementTree.fromstring(drawing)
    assert all(text in drawing for text in ("task 3", "tasks learned", "p_freeze=0.9 (2)"))
    run(capsys, "curves", "--group", "method", "--figure", "mean_accuracy", "--out", "c.png")
    assert (home / "c.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["curves", "--out", "c.pdf"]) == 1 and ".png or .svg" in capsys.readouterr().err
    assert cli.main(["curves", "--method", "ewc"]) == 1 and "presyn list" in capsys.readouterr().err


def test_the_status_counts_what_is_finished_running_and_waiting(store, capsys):
    finished = store.ids()[:2]
    ids = [*finished, *(f"{i:016x}" for i in range(5))]
    Note("search", "s", "the search", run_ids=ids).save(store)
    saved = {"record": {"ended": [1.0, 2.0], "status": "training"}, "state": None}
    checkpoints = Checkpoints(store.checkpoints, "a-session")
    checkpoints.open()
    checkpoints.save({ids[2]: saved, ids[3]: saved})
    stopped = run(capsys, "status")
    assert "7 runs, 2 finished, 2 begun, 3 waiting" in stopped and "2 after segment 2" in stopped
    assert "No command uses it" in stopped
    with store.locked("presyn search"):
        running = run(capsys, "status")
    assert "in use by 'presyn search'" in running and "2 running, 3 waiting or in their first task" in running
    for name in ids[2:]:
        (store.results / f"{name}.json").write_text("{}")
    assert "the search" not in run(capsys, "status")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_number_is_cut_in_a_table_of_any_width(capsys, monkeypatch, width):
    table = Table("model", "l2", *(f"figure {i}" for i in range(8)), "run id", title="a title", caption="a caption")
    for model in ("plastic release", "deterministic"):
        for l2 in ("0", "0.001"):
            table.add_row(model, l2, *("5405.25 ± 12.34" for _ in range(8)), "0123456789abcdef")
    monkeypatch.setattr(pipeline.cli.tables, "console", Console(width=width, file=io.StringIO()))
    print_table(table)
    shown = capsys.readouterr().out
    assert shown.count("5405.25 ± 12.34") == 32 and shown.count("0123456789abcdef") == 4
    assert shown.count("a title") == shown.count("a caption") == 1
    if width >= 80:
        assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("width", [40, 60, 80])
def test_run_ids_and_figures_are_whole_after_a_run(capsys, monkeypatch, width):
    monkeypatch.setattr(pipeline.cli.tables, "console", Console(width=width, file=io.StringIO()))
    rows = [make_row("presynaptic", seed, level=0.8) for seed in (1, 2, 3)]
    pipeline.cli.show.print_rows(rows)
    shown = capsys.readouterr().out
    assert all(row.run_id in shown for row in rows) and shown.count("73.33%") == 3 and shown.count("0.450") == 3
    assert max(len(line) for line in shown.splitlines() if line[0] in "┃│") <= width


def test_a_figure_keeps_its_digits():
    assert [pipeline.cli.show.show_figure(v) for v in (0.25, 5405.5, 0.0, 6.9e-3, math.nan)] == [
        "0.250", "5405.500", "0.000", "0.0069", "–",
    ]  # fmt: skip
