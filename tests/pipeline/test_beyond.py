"""Experiments beyond the paper, and what was tried on cells of Table 1: what they ask for, and what they say of rows."""

import json

import pandas as pd
import pytest

from pipeline.experiments.baselines.stage import (
    SEARCHED_AGAIN,
    TRIED,
    Baselines,
    SearchedAgain,
    Tried,
    authors_script,
    compare,
    in_words,
)  # fmt: skip
from pipeline.experiments.beyond.fashion import PENALTIES, EnergyFashion
from pipeline.experiments.beyond.many_tasks import ManyTasks, after_each_task
from pipeline.experiments.beyond.step_map import EPOCHS, PENALTY, STEPS, StepMap, draw_map, finding, on_grid
from pipeline.experiments.energy.claims import model_claims
from pipeline.experiments.energy.summary import EPOCH_COLUMNS
from pipeline.experiments.samplers.summary import compare_winners
from pipeline.experiments.search.stage import search
from pipeline.experiments.search.winner import Winner
from pipeline.experiments.table1.stage import tuned_winners
from pipeline.records.results import Results
from pipeline.stage import Known
from presyn import BENCHMARKS, PresynError
from sweeps.space import read_space


def line(method, benchmark, seed, mean_accuracy, **more):
    row = {"method": method, "benchmark": benchmark, "seed": seed, "status": "finished", "mean_accuracy": mean_accuracy}
    return {**row, "run_id": f"{method}{benchmark}{seed}{more}", **more}


def test_the_map_asks_for_every_pair_and_says_where_the_best_lies():
    stage = StepMap((1, 2), (0.05, 0.1))
    wishes = stage.ask(Known())
    pairs = [(w.run.benchmark.name, w.labels["p_up"], w.labels["p_down"], w.run.seed) for w in wishes]
    assert len(set(pairs)) == len(pairs) == 2 * (4 + 1) * 2, "the grid and the published pair"
    single = [w.run for w in wishes if w.run.benchmark.name == "mnist"]
    assert {(r.options.l2, r.benchmark.epochs) for r in single} == {(PENALTY, EPOCHS)}
    lines = []
    for run, labels in ((w.run, w.labels) for w in wishes):
        information = 1 + labels["p_up"] - labels["p_down"]
        series = {"energy": [1.0], "sampled_accuracy": [0.5], "neuronal_energy": [1.0], "passes": [3]}
        series |= {"information": [information], "mean_p": [0.3]}
        row = line("presynaptic", run.benchmark.name, run.seed, 0.5 + labels["p_up"], mean_p=0.4, **labels)
        lines.append({**row, "series": json.dumps(series)})
    made = stage.make(pd.DataFrame(lines), Known())
    best = made.value.loc[made.value[made.value.benchmark == "mnist"].value.idxmax()]
    assert (best.p_up, best.p_down, best.value) == (0.1, 0.05, pytest.approx(1050))
    assert "On mnist, the largest mean of the grid is 1050 ± 0 bits per 1000 (n = 2), at p_up 0.1 and" in made.finding
    assert "On split-mnist, the largest mean of the grid is 60 ± 0 % (n = 2), at p_up 0.1" in made.finding
    assert "The published pair, p_up 0.07 and p_down 0.07, has 1000 ± 0 bits per 1000." in made.finding
    assert made.figures["step-map"].draw()
    lost = made.value[~((made.value.p_up == 0.05) & (made.value.p_down == 0.05))]
    assert "at p_up 0.1 and p_down 0.05; 2 of 3 pairs" in finding(lost), "a pair without runs takes no others with it"
    assert draw_map(lost)["step-map"].draw()
    published = made.value[~on_grid(made.value, "mnist")]
    assert finding(published) == "" and not draw_map(published), "so far, only runs of Table 1 may be there"
    assert len(STEPS) == 7


def test_the_runs_of_the_script_of_bgd_are_a_table(tmp_path):
    assert authors_script(tmp_path / "none.csv").empty
    (tmp_path / "runs.csv").write_text("seed,inputs,mean_accuracy\n1,padded,0.9\n2,padded,0.8\n1,unit,0.7\n")
    table = authors_script(tmp_path / "runs.csv").set_index("inputs")
    assert table.n.to_dict() == {"padded": "2", "unit": "1"} and table["the script"]["padded"] == "85.00 ± 5.00"
    assert table.difference["unit"] == f"{70 - float(table.published['unit']):+.2f}"


def test_many_tasks_are_followed_one_by_one():
    assert {(w.run.method, w.run.benchmark.tasks) for w in ManyTasks((1,)).ask(Known())} == {("presynaptic", 30), ("sgd", 30)}
    accuracy = json.dumps([[0.9, None], [0.5, 0.8]])
    frozen = {"frozen": [0.2, 0.6], "mean_p": [0.3, 0.5]}
    rows = [
        line(m, "permuted-mnist", seed, 0.65, accuracy=accuracy, series=json.dumps(s))
        for m, s in (("presynaptic", frozen), ("sgd", {}))
        for seed in (1, 2)
    ]
    rows.append({**rows[0], "status": "diverged", "seed": 3})
    lines = after_each_task(pd.DataFrame(rows))
    assert lines[lines.method == "presynaptic"][["tasks", "newest", "mean", "first", "frozen"]].values.tolist() == [
        pytest.approx(values) for values in ([1, 90, 90, 90, 0.2], [2, 80, 65, 90 - 40, 0.6])
    ] * 2  # fmt: skip
    made = ManyTasks((1, 2)).make(pd.DataFrame(rows), Known())
    assert (
        "Presynaptic Consolidation (n = 2) has 90.0 ± 0.0 % on task 1 just after it, with 20.0 % of synapses frozen;"
        in made.finding
    )
    assert "80.0 ± 0.0 % on task 2 just after it, 65.0 ± 0.0 % over 2 tasks, with 60.0 % of synapses frozen" in made.finding
    assert "No Consolidation (n = 2) has" in made.finding and made.figures["many-tasks"].draw()


def test_the_claims_on_energy_are_read_on_another_data_set_and_decide_nothing():
    stage = EnergyFashion(BENCHMARKS["mnist"], (1,))
    assert {(w.run.benchmark.dataset, w.labels["l2"]) for w in stage.ask(Known())} == {("fashion", l2) for l2 in PENALTIES}
    values = {"plastic": 3.0, "fixed": 1.0, "deterministic": 2.0}
    epochs = pd.DataFrame(
        [
            [model, l2, seed, 1, 0.9, 100 / (1 + l2), 10.0, (value + 0.01 * seed) / (1 + 2 * l2), 0.3, 3, f"{model}{l2}{seed}"]
            for model, value in values.items()
            for l2 in PENALTIES
            for seed in (1, 2, 3)
        ],
        columns=list(EPOCH_COLUMNS),
    )
    verdicts = list(model_claims(epochs, PENALTIES, "Fashion-MNIST"))
    assert [v.id for v in verdicts] == ["E1", "E2", "E3", "E4", "E5", "E6"]
    assert all(v.reading == "Fashion-MNIST" and not v.decides and v.difference is not None for v in verdicts)
    effects = {v.id: v.difference.mean for v in verdicts}
    assert all(effects[id] > 0 for id in ("E1", "E2", "E3", "E5", "E6")) and effects["E4"] == 0
    some = epochs[epochs.l2 > 0]
    assert next(v for v in model_claims(some, PENALTIES, "x") if v.id == "E2").difference is None, "not all penalties are there"


def test_what_is_tried_departs_from_table_1_and_is_put_beside_the_print(tmp_path):
    ewc = Tried("ewc", tuned_winners(tmp_path), (1,)).ask(Known())
    assert {w.labels["tried"] for w in ewc} >= {"dataset = mnist-shift", "dataset = fashion-unit"}
    assert {w.run.options.lam for w in ewc} == {tuned_winners(tmp_path)["ewc-permuted-mnist"].params["lam"]}
    without = Tried("ewc", {}, (1,))
    assert without.ask(Known()) == [], "default settings are not those of Table 1"
    assert "ewc-permuted-mnist has not been searched with today's code (presyn search --space" in without.leaves_out()[0]
    assert Tried("ewc", tuned_winners(tmp_path), (1,)).leaves_out() == Tried("bgd-split", {}, (1,)).leaves_out() == []
    authors = [w.run for w in Tried("bgd-split", {}, (1,)).ask(Known())]
    assert all(run.options.start == "xavier" for run in authors)
    for tried in TRIED.values():
        labels = [(method, benchmark, in_words(settings)) for method, benchmark, settings in tried]
        assert len(set(labels)) == len(labels), "a label for each"
    with pytest.raises(PresynError, match="seeds of searches|searches"):
        Tried("sgd", {}, (1_000_000,))
    rows = [line("sgd", "split-mnist", seed, 0.8, tried="eta0 = 1") for seed in (1, 2)]
    table = compare(pd.DataFrame([*rows, {**rows[0], "seed": 3, "status": "diverged"}]))
    assert table[["n", "lost", "ours", "published", "difference"]].values.tolist() == [[2, 1, 80.0, 77.68, 2.32]]
    assert Baselines().remake(pd.DataFrame(), Results(tmp_path)).message == "Nothing was tried yet."


@pytest.mark.parametrize("name", SEARCHED_AGAIN)
def test_what_was_searched_again_is_trained_on_what_it_was_searched_on(name):
    found = search(read_space(name))
    again = SearchedAgain(found, (1,))
    assert again.needs == (found,), "the search comes first"
    winner = Winner({"eta0": 0.2, "lam": 30.0}, {"fisher": "sampled"}, 0.9, 3)
    (wish,) = again.ask(Known(values={found.name: winner}))
    assert (wish.run.options.eta0, wish.run.options.lam) == (0.2, 30.0)
    dataset = {"ewc-permuted-mnist-unit": "mnist-unit", "ewc-permuted-fashion": "fashion"}[name]
    assert wish.run.benchmark.dataset == dataset and wish.run.benchmark.validation == 0, "on the test set"
    assert wish.run.benchmark.epochs == found.space.benchmark.epochs
    assert not again.ask(Known(values={found.name: None})), "nothing was found"


def test_winners_are_compared_over_the_same_new_seeds():
    rows = [
        {**line("presynaptic", "permuted-mnist", seed, accuracy + 0.01 * seed), "sampler": sampler, "sampler_seed": number}
        for sampler, number, accuracy in (("random", 1, 0.5), ("tpe", 1, 0.6), ("tpe", 2, 0.9))
        for seed in (1, 2, 3)
    ]
    compared = compare_winners(pd.DataFrame(rows), "random")
    assert compared[["sampler", "sampler_seed", "n"]].values.tolist() == [["tpe", 1, 3]]
    assert compared.difference.tolist() == pytest.approx([10]) and compared.low[0] == pytest.approx(10)
