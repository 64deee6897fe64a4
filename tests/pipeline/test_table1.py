"""The table is made from rows alone, and each of its cells is what the rows say."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import yaml

import pipeline.table1
from pipeline.cli import main
from pipeline.search import Winner, choose
from pipeline.table1 import Settings, display, make_table, wanted, write
from presyn import METHODS, PresynError
from sweeps.space import Trial, read_space

FOUR = ("split-mnist", "split-fashion", "permuted-mnist", "permuted-fashion")
SETTINGS = Settings(read_space("presynaptic-permuted-mnist"), (2019, 2020, 2021), FOUR)
NOWHERE = Path("/nowhere")
WINNER = {"p_up": 0.06, "p_down": 0.04, "g_lim": 0.002, "p_freeze": 0.95, "eta0": 0.01}


@pytest.fixture(autouse=True)
def no_winners(monkeypatch):
    """No winners of searches that come along."""
    monkeypatch.setattr(pipeline.table1, "COME_ALONG", NOWHERE)


def test_the_winner_is_carried_over_unchanged_and_eta0_only_to_permuted_tasks():
    runs = [run for label, run in wanted(SETTINGS, {**WINNER, "eta0": 0.02}, NOWHERE) if label == "searched"]
    assert len(runs) == 12
    for run in runs:
        config = run.config()
        assert {k: config[k] for k in ("p_up", "p_down", "g_lim", "p_freeze")} == {
            k: v for k, v in WINNER.items() if k != "eta0"
        }
        assert config["eta0"] == (0.02 if run.benchmark.permuted else 0.001)


def test_fixed_options_of_the_search_are_carried_over_too():
    settings = dataclasses.replace(
        SETTINGS, space=dataclasses.replace(SETTINGS.space, fixed={"validation": 9, "rule": "printed"})
    )
    runs = [run for label, run in wanted(settings, WINNER, NOWHERE) if label == "searched"]
    assert {r.options.p_step for r in runs} == {"additive"} and {r.benchmark.validation for r in runs} == {0}


def test_the_strict_transfer_carries_eta0_everywhere():
    runs = [run for label, run in wanted(SETTINGS, {**WINNER, "eta0": 0.02}, NOWHERE) if label == "strict"]
    assert len(runs) == 12 and {run.options.eta0 for run in runs} == {0.02}


def test_baselines_take_their_own_winners(tmp_path):
    searches = {"ewc-split-mnist": (0.1, "form: online"), "ewc-permuted-mnist": (0.2, ""), "sgd-permuted-mnist": (0.3, "")}
    for space, (eta0, fixed) in searches.items():
        (tmp_path / "search" / space).mkdir(parents=True)
        (tmp_path / "search" / space / "best.yaml").write_text(
            f"params: {{eta0: {eta0}}}\nspace: {{fixed: {{validation: 10000, {fixed}}}}}"
        )
    runs = [(label, run) for label, run in wanted(SETTINGS, None, tmp_path) if run.method in ("ewc", "sgd")]
    found = {(run.method, label, run.benchmark.name): run.options.eta0 for label, run in runs}
    forms = {(label, run.benchmark.name): run.options.form for label, run in runs if run.method == "ewc"}
    assert found["ewc", "as_published", "split-fashion"] == 0.1 and found["ewc", "as_published", "permuted-fashion"] == 0.2
    assert found["ewc", "searched", "split-fashion"] == 0.2  # tuned once
    assert forms["as_published", "split-mnist"] == "online" and forms["searched", "split-mnist"] == "separate"
    assert all(run.benchmark.validation == 0 for _, run in runs)
    assert found["sgd", "searched", "split-mnist"] == 0.3 and found["sgd", "as_published", "split-mnist"] == 1e-6


def test_a_search_of_another_method_leaves_the_readings_of_the_papers_rule_as_they_are(tmp_path, monkeypatch):
    folder = tmp_path / "search" / "presynaptic-permuted-mnist"
    folder.mkdir(parents=True)
    (folder / "best.yaml").write_text(yaml.safe_dump({"params": {**WINNER, "eta0": 0.02}, "space": {"fixed": {}}}))
    monkeypatch.setattr(pipeline.table1, "COME_ALONG", tmp_path)  # where a folder of one's own has no winner
    settings = dataclasses.replace(SETTINGS, space=read_space("sgd-permuted-mnist"))
    runs = wanted(settings, {"eta0": 0.3}, NOWHERE)

    def etas(method, reading):
        return {(r.benchmark.permuted, r.options.eta0) for label, r in runs if (label, r.method) == (reading, method)}

    assert etas("presynaptic", "searched") == {(True, 0.02), (False, 0.001)}
    assert etas("presynaptic", "strict") == {(True, 0.02), (False, 0.02)}
    assert etas("sgd", "searched") == {(True, 0.3), (False, 0.3)} and not etas("sgd", "strict")
    with pytest.raises(PresynError, match="carries over what was searched on permuted tasks, but ewc-split-mnist"):
        wanted(dataclasses.replace(SETTINGS, space=read_space("ewc-split-mnist")), None, NOWHERE)


def test_settings_that_nobody_published_are_not_called_published():
    settings = dataclasses.replace(SETTINGS, benchmarks=("continuous-permuted-mnist", "split-mnist"))
    labels = {(r.method, r.benchmark.name): label for label, r in wanted(settings, None, NOWHERE)}
    assert labels["presynaptic", "continuous-permuted-mnist"] == labels["sgd", "split-mnist"] == "as_published"
    assert ("sgd", "continuous-permuted-mnist") not in labels, "sgd has published settings, but not of this benchmark"


def test_on_a_benchmark_of_ones_own_nothing_was_published_or_set_by_hand(tmp_path):
    (tmp_path / "mine.yaml").write_text("dataset: mnist\nkind: split\ntasks: 3\n")
    settings = dataclasses.replace(SETTINGS, benchmarks=(str(tmp_path / "mine.yaml"),))
    runs = wanted(settings, {**WINNER, "eta0": 0.02}, NOWHERE)
    assert {label for label, r in runs if r.method == "joint"} == {"default"}
    assert {r.options.eta0 for label, r in runs if r.method == "presynaptic" and label == "searched"} == {0.02}


def test_a_method_of_ones_own_has_a_row(monkeypatch):
    class Mine(METHODS["sgd"]):
        published = {}

    monkeypatch.setitem(METHODS, "mine", Mine)
    runs = [(label, r) for label, r in wanted(SETTINGS, None, NOWHERE) if r.method == "mine"]
    assert {label for label, _ in runs} == {"default"} and len(runs) == 12
    lines = [("mine", r.benchmark.name, label, r.seed, "finished", 0.5 + 0.01 * (r.seed % 3)) for label, r in runs]
    frame = pd.DataFrame(lines, columns=["method", "benchmark", "parameters", "seed", "status", "mean_accuracy"])
    assert display(make_table(frame, FOUR), FOUR).values.tolist() == [["mine", "default settings", *["51.00 ± 0.58"] * 4]]


def test_reported_runs_train_on_everything_and_never_use_search_seeds():
    runs = [run for _, run in wanted(SETTINGS, WINNER, NOWHERE)]
    assert len(runs) == 12 * 6  # four methods as published, the searched rule in two readings; ewc has no settings here
    assert all(r.benchmark.validation == 0 and r.benchmark.drop_below == 0 for r in runs)
    with pytest.raises(PresynError, match="are for searches"):
        wanted(Settings(SETTINGS.space, (1_000_000,), FOUR), None, NOWHERE)


def test_the_winner_is_the_best_finished_one():
    trials = [Trial(i, i, {"p_up": i}) for i in range(4)]
    rows = [
        {"status": "finished", "mean_accuracy": 0.8},
        {"status": "dropped", "mean_accuracy": None},
        {"status": "finished", "mean_accuracy": 0.9},
        {"status": "finished", "mean_accuracy": 0.9},
    ]
    assert choose(SETTINGS.space, trials, rows) == Winner({"p_up": 2}, 0.9, 2)
    with pytest.raises(PresynError, match="presynaptic-permuted-mnist finished: all were dropped"):
        choose(SETTINGS.space, trials[1:2], rows[1:2])


def rows_frame():
    lines = []
    for method, parameters, base in [
        ("presynaptic", "as_published", 86),
        ("presynaptic", "searched", 88),
        ("sgd", "as_published", 70),
    ]:
        for seed, off in zip((1, 2, 3), (-1, 0, 1), strict=True):
            lines.append([method, "permuted-mnist", parameters, seed, "finished", (base + off) / 100])
    return pd.DataFrame(lines, columns=["method", "benchmark", "parameters", "seed", "status", "mean_accuracy"])


def test_cells_are_what_the_rows_say():
    frame = rows_frame()
    frame.loc[8, ["status", "mean_accuracy"]] = ["diverged", None]
    table = make_table(frame, FOUR).set_index(["method", "parameters"])
    ours = table.loc["presynaptic", "searched"]
    assert (ours.ours, ours.standard_error, ours.n, ours.published) == pytest.approx((88, 3**-0.5, 3, 86.14))
    assert table.loc["sgd", "as_published"].p < 0.01 < table.loc["presynaptic", "as_published"].p
    assert table.loc["sgd", "as_published"].lost == 1
    shown = display(make_table(frame, FOUR), FOUR)
    assert shown["permuted-mnist"].tolist()[0] == "86.14 ± 0.67"
    assert "Joint Training" not in set(shown.iloc[:, 0]), "rows whose runs do not exist are absent"


def test_the_table_is_written_in_every_format(tmp_path):
    files = write(make_table(rows_frame(), FOUR), FOUR, tmp_path)
    assert sorted(f.suffix for f in files) == [".csv", ".md", ".png", ".tex"]
    assert r"88.00 $\pm$ 0.58" in (tmp_path / "table1.tex").read_text()
    assert "88.00 ± 0.58" in (tmp_path / "table1.md").read_text()
    assert (tmp_path / "table1.png").read_bytes()[:4] == b"\x89PNG"
    assert pd.read_csv(tmp_path / "table1.csv").ours.tolist() == [86, 88, 70]


def test_the_readme_shows_the_table_that_the_rows_make():
    root = Path(__file__).parents[2]
    frame = pd.read_csv(root / "results" / "table1" / "runs.csv")
    shown = display(make_table(frame, FOUR), FOUR).to_markdown(index=False)
    assert shown in (root / "results" / "table1" / "table1.md").read_text()
    assert shown in (root / "README.md").read_text()


def test_the_table_so_far_is_of_the_runs_that_are_there(home, capsys):
    so_far = ["table1", "--digits", "--so-far", "--results", "results"]
    assert main(so_far) == 1 and "None of the table's runs" in capsys.readouterr().err
    assert main(["run", "--method", "sgd", "--benchmark", "split-digits", "--seeds", "2019", "2021"]) == 0
    before = sorted((home / ".presyn" / "results").iterdir())
    assert main(so_far) == 0 and sorted((home / ".presyn" / "results").iterdir()) == before
    assert pd.read_csv("results/table1/runs.csv").seed.tolist() == [2019, 2021]


def test_a_table_with_fewer_runs_does_not_replace_one_with_more(home, capsys):
    assert main(["run", "--method", "sgd", "--benchmark", "split-digits", "--seeds", "2019", "2021"]) == 0
    so_far = ["table1", "--digits", "--so-far", "--results", "results", "--seeds"]
    assert main([*so_far, "2019", "2021"]) == 0
    before = Path("results/table1/runs.csv").read_text()
    assert main([*so_far, "2021"]) == 1
    assert "would drop, such as method sgd, benchmark split-digits, parameters default" in capsys.readouterr().err
    assert Path("results/table1/runs.csv").read_text() == before
    assert main([*so_far, "2019", "2021", "2020"]) == 0


def test_a_cell_of_fewer_seeds_than_the_table_says_so():
    frame = pd.read_csv(Path(__file__).parents[2] / "results" / "table1" / "runs.csv")
    fewer = frame[(frame.method != "sgd") | (frame.seed != 2019)]
    cells = display(make_table(fewer, FOUR), FOUR).set_index(["accuracy in %", ""])
    assert all(c.endswith(", n = 2") for c in cells.loc[("No Consolidation", "as published")])
    assert not any("n =" in c for c in cells.loc[("Joint Training", "as published")])
