"""Rows say whether the first layer multiplied by all pixels or by the lit ones, and are repeated with the same."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch

from pipeline.ask import _say_arithmetics
from pipeline.cli import main
from pipeline.experiments.verdicts.again import compare, refuse_different, repeating_cluster, train_again
from pipeline.plan import Plan
from pipeline.records.csvs import import_rows, read_file, rows_csv
from pipeline.records.repeat import repeat_command, usual_arithmetic
from pipeline.records.store import Store
from pipeline.train import train
from presyn import load, make_run
from presyn.inputs import choose_arithmetic
from sweeps.cluster import Cluster

ONE = ["run", "--method", "sgd", "--benchmark", "permuted-digits", "--set", "epochs=2", "tasks=2", "hidden=16", "eta0=0.1"]


def words(captured):
    return " ".join(captured.split())


def test_a_run_of_either_arithmetic_is_one_run_whose_row_names_it(home, here, capsys):
    assert main([*ONE, "--seeds", "1", "--rows", "rows.csv"]) == 0, "digits are dense by themselves"
    assert main([*ONE, "--seeds", "2", "--arithmetic", "lit"]) == 0
    capsys.readouterr()
    assert main([*ONE, "--seeds", "1", "2", "--rows", "rows.csv"]) == 0
    said = words(capsys.readouterr().err)
    assert "2 read from the store" in said and "1 in dense and 1 in lit arithmetic" in said and "--fresh" in said
    frame = pd.read_csv("rows.csv")
    assert frame.arithmetic.to_list() == [row.arithmetic for row in read_file(Path("rows.csv")).rows] == ["dense", "lit"]
    assert main([*ONE, "--seeds", "1", "--arithmetic", "lit"]) == 0
    assert "are 1 in dense arithmetic" in words(capsys.readouterr().err), "another one was asked for"
    store = Store(Path("other"))
    assert import_rows([Path("rows.csv")], store)[:2] == (2, 0)
    assert {store.get(i).arithmetic for i in store.ids()} == {"dense", "lit"}


def test_only_rows_on_one_data_set_are_said_to_be_in_two_arithmetics(capsys):
    def rows(*pairs):
        return [SimpleNamespace(arithmetic=name, provenance={"data_sha256": data}) for data, name in pairs]

    stage = SimpleNamespace(title="table", name="table")
    _say_arithmetics(stage, rows(("mnist", "lit"), ("mnist", "lit"), ("fashion", "dense")), None)
    assert capsys.readouterr().err == "", "each data set has its own"
    _say_arithmetics(stage, rows(("mnist", "lit"), ("mnist", "dense"), ("fashion", "dense")), None)
    assert "are 1 in lit and 1 in dense arithmetic" in words(capsys.readouterr().err)


def test_what_show_prints_repeats_the_run_to_the_digit(home, here, capsys):
    assert main([*ONE, "--arithmetic", "lit", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["runs"][0]
    assert first["provenance"]["arithmetic"] == "lit"
    assert main(["show", first["run_id"]]) == 0
    shown = capsys.readouterr().out
    command = shown.split("repeat it\n")[1].strip()
    assert "arithmetic: lit" in shown and "--arithmetic lit" in command
    assert main([*shlex.split(command)[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["runs"][0]
    names = ("run_id", "accuracy", "loss", "figures")
    assert [again[n] for n in names] == [first[n] for n in names] and again["provenance"]["arithmetic"] == "lit"


def test_commands_name_the_arithmetic_where_it_is_not_the_usual_one():
    assert usual_arithmetic("digits") == choose_arithmetic(load("digits"), torch.device("cpu"))
    config = make_run("sgd", "split-mnist", 1).config()
    commands = [repeat_command(config, {}, arithmetic) for arithmetic in ("lit", "dense", "")]
    assert ["--arithmetic" in command for command in commands] == [False, True, False]
    assert usual_arithmetic("mnist-unit") == "lit" and usual_arithmetic("images-of-mine") == ""


def test_a_spot_check_trains_each_row_in_its_own_arithmetic(home, here):
    store, rows = Store(Path(".presyn")), []
    for seed, arithmetic in enumerate(("lit", "dense")):
        plan = Plan(store, Cluster(arithmetic=arithmetic))
        plan.add(make_run("presynaptic", "permuted-digits", seed, {"epochs": 4, "tasks": 2, "hidden": [40]}))
        train(plan, rows.append, "runs", here=True)
    committed = [rows[0], replace(rows[1], record=replace(rows[1].record, arithmetic=""))]  # the second of an earlier version
    repeated = train_again(committed, store.root, Cluster(), here=True)
    assert [row.arithmetic for row in repeated] == ["lit", "dense"]
    table = compare(committed, repeated)
    assert table.same.all() and table.same_machine.all()
    refuse_different(table)
    other = train_again(committed, store.root, Cluster(arithmetic="dense"), here=True)
    assert compare(committed, other).same_machine.to_list() == [False, True], "in another one it need not be the same digits"
    gpu = Cluster(device="cuda")
    assert repeating_cluster(gpu, "lit") == gpu and repeating_cluster(Cluster(), "dense, lit") == Cluster()


def test_rows_of_earlier_versions_have_no_such_column(home, here):
    assert main([*ONE, "--rows", "rows.csv"]) == 0
    (row,) = read_file(Path("rows.csv")).rows
    text = rows_csv([({}, replace(row, record=replace(row.record, arithmetic="")))])
    assert "arithmetic" not in text.splitlines()[0]
    Path("old.csv").write_text(text)
    (old,) = read_file(Path("old.csv")).rows
    assert old.arithmetic == "dense" and old.record.arithmetic == ""


def test_estimates_are_of_the_arithmetic_that_trains(home):
    run = make_run("sgd", "permuted-digits", 1, {"epochs": 1, "tasks": 1, "hidden": [8]})
    for cluster in (Cluster(), Cluster(arithmetic="dense"), Cluster(arithmetic="lit")):
        assert Plan(Store(Path(".presyn")), cluster).seconds(run) > 0
    keys = [json.loads(key) for key in json.loads(Path(".presyn/timings.json").read_text())]
    assert sorted(arithmetic for key in keys for arithmetic in key if arithmetic in ("dense", "lit")) == ["dense", "lit"]


def test_a_gpu_has_no_lit_arithmetic():
    assert Cluster(arithmetic="lit").kinds(2) == ("cpu",) and Cluster().kinds(2) == ("gpu", "cpu")
