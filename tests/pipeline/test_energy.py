"""The energy half of the paper as stages: small runs on the digits, the promised columns, the figures, what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.experiments.catalogue import Choice, chosen_stages
from pipeline.experiments.energy import fixed_release
from pipeline.experiments.energy.fixed_release import FixedRelease
from pipeline.experiments.energy.settings import ONE_AT_A_TIME, TOGETHER
from pipeline.experiments.energy.stage import MODELS, Energy
from pipeline.experiments.energy.summary import by_epoch, by_model, last_epoch
from pipeline.experiments.perceptron.stage import Perceptrons
from pipeline.experiments.sparsity.stage import FURTHER_SEEDS
from pipeline.experiments.sparsity.summary import against_shuffles
from pipeline.paper import ENERGY_SEEDS
from pipeline.perform import perform
from pipeline.stage import Known
from pipeline.workspace import Workspace
from presyn import BENCHMARKS, Cohort, PresynError, choose_device, load, make_run

SMALL = "--digits --set epochs=2 hidden=[24,16] --results out"


def presyn(words):
    return main(words.split())


@pytest.fixture
def out(home, here):
    return Path("out")


def figures(out):
    return {p.stem for p in (out / "figures").glob("*.png")}


def test_energy_and_sparsity_share_runs_and_have_their_columns(out, capsys):
    assert presyn(f"reproduce energy sparsity --seeds 1 2 {SMALL}") == 0
    energy = pd.read_csv(out / "energy" / "summary.csv")
    promised = ["model", "l2", "seed", "epoch", "accuracy", "energy", "neuronal_energy", "information", "mean_p"]
    assert list(energy.columns[: len(promised)]) == promised
    assert set(energy.model) == set(MODELS) and len(energy) == 3 * 6 * 2 * 2 and set(energy.epoch) == {1, 2}
    assert energy[promised[:-1]].notna().all().all() and energy[energy.model == "fixed"].mean_p.round(6).eq(0.4).all()
    assert energy.information.between(0, np.log2(10)).all()
    sparse = pd.read_csv(out / "sparsity" / "summary.csv")
    assert list(sparse.columns) == ["quantity", "layer", "model", "l2", "seed", "value"]
    named = "share_p_below_0.3 share_p_from_0.9 energy_per_synapse_high energy_per_synapse_low fisher_high fisher_low "
    named += "pearson_fisher_p ks_d_inputs ks_p_inputs ks_d_outputs ks_p_outputs pearson_in_out "
    named += " ".join(f"lesion_{order}{cut}" for order in ("p_", "random_", "weight_") for cut in (50, 70, 80, 90))
    assert set(named.split()) <= set(sparse.quantity) and set(sparse.layer.astype(str)) == {"1", "2", "3", "all"}
    # A run that both stages want was trained once.
    both = [set(pd.read_csv(out / s / "runs.csv").run_id) for s in ("energy", "sparsity")]
    assert both[1] < both[0] and len(list(Path(".presyn/results").glob("*.json"))) == 36
    assert {"fig1a", "fig1b", "appendix1a", "appendix1b", "fig2a", "fig2b", "fig2c", "fig2d"} <= figures(out)
    assert {"fig3a", "fig3b", "fig3c", "appendix2a", "appendix2b"} <= figures(out)
    assert all((out / "figures" / f"{name}.svg").exists() for name in figures(out))
    assert not list(Path(".presyn/states").glob("*.pt")), "rows that were imported have none, and would be trained again"


def test_settings_leave_fixed_release_fixed():
    stage = Energy(BENCHMARKS["digits"], (1,), {"p_up": 0.1, "p_init": "uniform", "eta0": 0.03})
    options = {w.labels["model"]: w.run.options for w in stage.ask(Known())}
    assert (options["plastic"].p_up, options["plastic"].p_init) == (0.1, "uniform")
    assert (options["fixed"].p_up, options["fixed"].p_init) == (0.0, "p_min")
    assert {o.eta0 for o in options.values()} == {0.03}


def test_further_seeds_of_sparsity_are_those_of_the_paper_and_not_of_other_seeds_or_settings():
    def seeds(**choice):
        (stage,) = chosen_stages(["sparsity"], Choice(Path("nowhere"), **choice))
        wishes = stage.ask(Known())
        return {(w.run.seed, w.labels["l2"]) for w in wishes}

    further = {(seed, 0.0) for seed in FURTHER_SEEDS}
    assert seeds() - further == seeds(seeds=ENERGY_SEEDS) < seeds()
    assert not further & (seeds(settings={"epochs": 2}) | seeds(digits=True))


def test_the_same_seed_starts_all_models_from_the_same_strengths():
    start = {}
    for model, (method, own) in MODELS.items():
        run = make_run(method, "digits", 5, {**own, "hidden": [24, 16]})
        start[model] = Cohort([run], load("digits"), choose_device("cpu")).state["weights"]
    assert (start["plastic"] == start["fixed"]).all() and (start["plastic"] == start["deterministic"]).all()


def test_fixed_release_searches_then_reports(out, capsys):
    stage = FixedRelease(
        BENCHMARKS["digits"], (1, 2), {"epochs": 6, "hidden": [24, 16]}, releases=(0.5, 0.8, 1.0), rates=(1e-6, 0.2)
    )
    perform([stage], Workspace.open(out), dry_run=True)
    assert "and then about 6 more runs" in capsys.readouterr().err
    made = perform([stage], Workspace.open(out), here=True)["fixed-release"]
    rows = pd.read_csv(out / "fixed-release" / "runs.csv")
    assert (rows.part == "search").sum() == 6 and (rows.part == "reported").sum() == 6
    assert set(rows[rows.part == "reported"].eta0) == {0.2}  # 1e-6 learns nothing in six epochs
    assert list(made.value.release) == [0.5, 0.8, 1.0] and made.value.n.eq(2).all()
    searched = rows[rows.part == "search"].config.str.contains('"validation": 300')
    assert searched.all() and not rows[rows.part == "reported"].config.str.contains('"validation": 300').any()


def test_fixed_release_replaces_what_it_chose_before_and_so_far_drops_nothing(out, capsys, monkeypatch):
    """Other digits, as of another kind of processor, may choose other learning rates when all runs are trained anew."""
    stage = FixedRelease(BENCHMARKS["digits"], (1,), {"epochs": 2, "hidden": [8]}, releases=(0.5, 1.0), rates=(0.1, 0.2))
    first, second = (Workspace.open(out, store=name) for name in ("one", "two"))

    def reported(rate, workspace, **how):
        monkeypatch.setattr(fixed_release, "_best_rates", lambda rows, by: {release: rate for release, _ in rows})
        perform([stage], workspace, here=True, **how)
        rows = pd.read_csv(out / "fixed-release" / "runs.csv")
        return set(rows[rows.part == "reported"].eta0)

    assert reported(0.1, first) == {0.1} and reported(0.2, second) == {0.2}
    assert reported(0.1, first, so_far=True) == {0.1}, "all of its runs are there"
    assert reported(0.2, second) == {0.2}
    for row in map(second.store.get, second.store.ids()):
        if not row.config["validation"]:
            second.store.set_aside(row.run_id)
    with pytest.raises(PresynError, match="would drop, such as part reported"):
        reported(0.2, second, so_far=True)
    capsys.readouterr()
    perform([stage], second, dry_run=True)
    said = capsys.readouterr().err
    assert "6 runs, 4 in the store, 2 to train" in said and "and then" not in said


def test_other_steps_and_another_start_of_p(out):
    assert presyn(f"reproduce energy-settings uniform-start --seeds 1 2 {SMALL}") == 0
    settings = pd.read_csv(out / "energy-settings" / "summary.csv")
    assert set(settings.setting) == set(ONE_AT_A_TIME) | set(TOGETHER) and len(TOGETHER) == 2
    uniform = pd.read_csv(out / "uniform-start" / "summary.csv").set_index(["quantity", "seed"]).value
    # From U(0.25, 1) two fifteenths of all p are above 0.9 at the start; from 0.25 two epochs bring hardly any there.
    assert (uniform["share_p_from_0.9"] > 0.2).all() and "appendix1d" in figures(out)


def test_perceptrons(out):
    stage = Perceptrons((1000, 1001), (20, 500), {"epochs": 2})
    perform([stage], Workspace.open(out), here=True)
    table = pd.read_csv(out / "perceptron" / "summary.csv")
    assert list(table.columns) == ["model", "seed", "patterns", "mean_accuracy", *(f"task1_after_{i}" for i in range(1, 6))]
    assert set(table.patterns) == {20, 500} and set(table.model) == {"standard", "presynaptic"} and len(table) == 8
    assert {"fig5b", "fig5c"} <= figures(out)


def test_lifelong_reads_the_tables_rows(out, capsys):
    assert presyn("reproduce lifelong --results out --dry-run") == 1
    assert "table1/runs.csv is missing. Make it with: presyn table1" in capsys.readouterr().err


def test_a_long_summary_has_a_line_for_each_epoch_and_leaves_lost_runs_out():
    def row(status, epochs):
        series = {k: [float(i + 1) for i in range(epochs)] for k in ("energy", "information", "neuronal_energy")}
        series |= {"sampled_accuracy": [0.5] * epochs, "passes": [3] * epochs}
        return {
            "model": "fixed",
            "l2": 0.0,
            "seed": epochs,
            "status": status,
            "run_id": str(epochs),
            "series": pd.Series([series]).to_json()[5:-1],
        }

    frame = pd.DataFrame([row("finished", 3), row("diverged", 2)])
    series = by_epoch(frame)
    assert series.epoch.tolist() == [1, 2, 3] and last_epoch(series).per_energy.tolist() == [1000.0]
    assert by_model(series).n.tolist() == [1]


def test_counts_that_are_shuffled_look_shuffled_and_others_do_not():
    rng = np.random.default_rng(0)
    fair = rng.multivariate_hypergeometric([200] * 200, 6400, method="marginals")
    uneven = np.repeat([0, 64], 100)
    found = [against_shuffles(counts, 200, np.random.default_rng(1)) for counts in (fair, uneven)]
    # D of two samples of 200 from one distribution is above 0.2 with a chance below 1e-3.
    assert found[0]["ks_d_{}"] < 0.2 and found[0]["ks_p_{}"] > 0.01
    assert found[1]["ks_d_{}"] == pytest.approx(0.5) and found[1]["ks_p_{}"] < 1e-9
    assert found[1]["few_{}"] == found[1]["many_{}"] == 0.5 and found[1]["few_{}_shuffled"] < 0.05


def test_the_page_shows_the_table_that_the_rows_make():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "energy.md").read_text()
    assert (root / "results" / "energy" / "table.md").read_text().strip() in page


def test_other_settings_do_not_go_where_the_papers_rows_are(home, here, capsys):
    # The committed rows come along with a clone: this must neither drop them nor be refused because of them.
    Path("results/perceptron").mkdir(parents=True)
    rows = Path(__file__).parents[2] / "results" / "perceptron" / "runs.csv"
    Path("results/perceptron/runs.csv").write_text("".join(rows.read_text().splitlines(True)[:3]))
    assert presyn("reproduce perceptron --seeds 1000 --set epochs=1 --dry-run") == 0
    assert Path("my-results").is_dir()
    assert presyn("reproduce perceptron --seeds 1000 --set epochs=1 --dry-run --results results") == 0  # a plan drops nothing
    Path("out").mkdir()
    assert presyn("reproduce uniform-start --seeds 1 --digits --set epochs=1 hidden=[8] --results out") == 0
    assert "p from a uniform start: out/uniform-start" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "energy --set l2=0.5",
        "sparsity --set measures=energy",
        "fixed-release --set eta0=0.1",
        "energy-settings --set p_up=0.1",
        "uniform-start --set p_init=p_min",
    ],
)
def test_what_an_experiment_sweeps_cannot_be_set(home, capsys, words):
    assert presyn(f"reproduce {words} epochs=1 --digits --seeds 1 --results out") == 1
    assert f"--set {words.split()[-1].split('=')[0]} does not go with" in capsys.readouterr().err


def test_the_number_of_patterns_is_swept(home, capsys):
    assert presyn("reproduce perceptron --set patterns=100 --results out") == 1
    assert "--set patterns does not go with perceptrons" in capsys.readouterr().err
    assert presyn("run --method perceptron --benchmark patterns --seeds 1 --set patterns=20") == 1
    assert "batch_size 5 is more than the 4 patterns of a task: lower it" in capsys.readouterr().err
