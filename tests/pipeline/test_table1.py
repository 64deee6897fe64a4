"""The table is made from rows alone, and each of its cells is what the rows say."""

import dataclasses
import io
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

import pipeline.experiments.table1.stage
from pipeline.ask import Asked, in_order, refuse
from pipeline.cli import main
from pipeline.experiments.catalogue import Choice, chosen_stages
from pipeline.experiments.search.stage import choose, search
from pipeline.experiments.search.winner import Winner
from pipeline.experiments.table1.stage import Table1, tuned_winners
from pipeline.experiments.table1.table import make_table, shown
from pipeline.paper import BENCHMARKS as FOUR
from pipeline.paper import SEEDS
from pipeline.report.drawing import table_picture
from pipeline.stage import Known
from presyn import BENCHMARKS, METHODS, PresynError
from sweeps.files import read_benchmark
from sweeps.space import method_options, read_space
from sweeps.trials import Trial

TABLE = Table1(search(read_space("presynaptic-permuted-mnist")), (2019, 2020, 2021), tuple(BENCHMARKS[b] for b in FOUR))
NOWHERE = Path("/nowhere")
WINNER = {"p_up": 0.06, "p_down": 0.04, "g_lim": 0.002, "p_freeze": 0.95, "eta0": 0.01}


@pytest.fixture(autouse=True)
def no_winners(monkeypatch):
    """No winners of searches that come along."""
    monkeypatch.setattr(pipeline.experiments.table1.stage, "COME_ALONG", NOWHERE)


def wanted(table, params):
    """(label, run) of all that a table asks for, with this winner of its search."""
    space = table.search.space
    winner = None if params is None else Winner(params, method_options(space.method, space.fixed), 0.9, 0)
    return [(w.labels["parameters"], w.run) for w in table.ask(Known((), {table.search.name: winner}))]


def searching(space):
    return dataclasses.replace(TABLE, search=search(space))


def test_the_winner_is_carried_over_unchanged_and_eta0_only_to_permuted_tasks():
    runs = [run for label, run in wanted(TABLE, {**WINNER, "eta0": 0.02}) if label == "searched"]
    assert len(runs) == 12
    for run in runs:
        config = run.config()
        assert {k: config[k] for k in ("p_up", "p_down", "g_lim", "p_freeze")} == {
            k: v for k, v in WINNER.items() if k != "eta0"
        }
        assert config["eta0"] == (0.02 if run.benchmark.permuted else 0.001)


def test_fixed_options_of_the_search_are_carried_over_too():
    table = searching(dataclasses.replace(TABLE.search.space, fixed={"validation": 9, "rule": "printed"}))
    runs = [run for label, run in wanted(table, WINNER) if label == "searched"]
    assert {r.options.p_step for r in runs} == {"additive"} and {r.benchmark.validation for r in runs} == {0}


def test_the_strict_transfer_carries_eta0_everywhere():
    runs = [run for label, run in wanted(TABLE, {**WINNER, "eta0": 0.02}) if label == "strict"]
    assert len(runs) == 12 and {run.options.eta0 for run in runs} == {0.02}


def test_baselines_take_their_own_winners(tmp_path):
    searches = {"ewc-split-mnist": (0.1, "form: online"), "ewc-permuted-mnist": (0.2, ""), "sgd-permuted-mnist": (0.3, "")}
    for space, (eta0, fixed) in searches.items():
        (tmp_path / "search" / space).mkdir(parents=True)
        (tmp_path / "search" / space / "best.yaml").write_text(
            f"params: {{eta0: {eta0}}}\nspace: {{fixed: {{validation: 10000, {fixed}}}}}"
        )
    table = dataclasses.replace(TABLE, tuned=tuned_winners(tmp_path))
    runs = [(label, run) for label, run in wanted(table, None) if run.method in ("ewc", "sgd")]
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
    monkeypatch.setattr(pipeline.experiments.table1.stage, "COME_ALONG", tmp_path)  # where a folder of one's own has no winner
    table = dataclasses.replace(searching(read_space("sgd-permuted-mnist")), tuned=tuned_winners(NOWHERE))
    runs = wanted(table, {"eta0": 0.3})

    def etas(method, reading):
        return {(r.benchmark.permuted, r.options.eta0) for label, r in runs if (label, r.method) == (reading, method)}

    assert etas("presynaptic", "searched") == {(True, 0.02), (False, 0.001)}
    assert etas("presynaptic", "strict") == {(True, 0.02), (False, 0.02)}
    assert etas("sgd", "searched") == {(True, 0.3), (False, 0.3)} and not etas("sgd", "strict")
    with pytest.raises(PresynError, match="carries over what was searched on permuted tasks, but ewc-split-mnist"):
        searching(read_space("ewc-split-mnist"))


def test_settings_that_nobody_published_are_not_called_published():
    table = dataclasses.replace(TABLE, benchmarks=(BENCHMARKS["continuous-permuted-mnist"], BENCHMARKS["split-mnist"]))
    labels = {(r.method, r.benchmark.name): label for label, r in wanted(table, None)}
    assert labels["presynaptic", "continuous-permuted-mnist"] == labels["sgd", "split-mnist"] == "as_published"
    assert labels["sgd", "continuous-permuted-mnist"] == "default", "sgd has published settings, but not of this benchmark"


def test_on_a_benchmark_of_ones_own_nothing_was_published_or_set_by_hand(tmp_path):
    (tmp_path / "mine.yaml").write_text("dataset: mnist\nkind: split\ntasks: 3\n")
    table = dataclasses.replace(TABLE, benchmarks=(read_benchmark(str(tmp_path / "mine.yaml")),))
    runs = wanted(table, {**WINNER, "eta0": 0.02})
    assert {label for label, r in runs if r.method == "joint"} == {"default"}
    assert {r.options.eta0 for label, r in runs if r.method == "presynaptic" and label == "searched"} == {0.02}


def test_a_method_of_ones_own_has_a_row(monkeypatch):
    class Mine(METHODS["sgd"]):
        published = {}

    monkeypatch.setitem(METHODS, "mine", Mine)
    runs = [(label, r) for label, r in wanted(TABLE, None) if r.method == "mine"]
    assert {label for label, _ in runs} == {"default"} and len(runs) == 12
    lines = [("mine", r.benchmark.name, label, r.seed, "finished", 0.5 + 0.01 * (r.seed % 3)) for label, r in runs]
    frame = pd.DataFrame(lines, columns=["method", "benchmark", "parameters", "seed", "status", "mean_accuracy"])
    assert shown(make_table(frame, FOUR), FOUR).values.tolist() == [["mine", "default settings", *["51.00 ± 0.58"] * 4]]


def test_reported_runs_train_on_everything_and_never_use_search_seeds():
    runs = [run for _, run in wanted(TABLE, WINNER)]
    assert len(runs) == 12 * 6  # four methods as published, the searched rule in two readings; ewc has no settings here
    assert all(r.benchmark.validation == 0 and r.benchmark.drop_below == 0 for r in runs)
    with pytest.raises(PresynError, match="are for searches"):
        dataclasses.replace(TABLE, seeds=(1_000_000,))


def test_the_winner_is_the_best_finished_one():
    trials = [Trial(i, i, {"p_up": i}) for i in range(4)]
    assert choose(TABLE.search.space, trials, [0.8, None, 0.9, 0.9]) == Winner({"p_up": 2}, {}, 0.9, 2)
    least = dataclasses.replace(TABLE.search.space, directions=("minimize",))
    assert choose(least, trials, [0.8, None, 0.9, 0.8]).trial == 0
    with pytest.raises(PresynError, match="presynaptic-permuted-mnist finished: all were dropped"):
        choose(TABLE.search.space, trials[1:2], [None])


def test_two_stages_of_one_name_are_refused():
    other = search(dataclasses.replace(TABLE.search.space, sampler_seed=1))
    with pytest.raises(PresynError, match="Two stages are called search/presynaptic-permuted-mnist"):
        in_order([TABLE, other])
    assert in_order([TABLE, search(TABLE.search.space)]) == [TABLE.search, TABLE]


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
    table = shown(make_table(frame, FOUR), FOUR)
    assert table["permuted-mnist"].tolist()[0] == "86.14 ± 0.67"
    assert "Joint Training" not in set(table.iloc[:, 0]), "rows whose runs do not exist are absent"


def test_the_table_is_written_in_every_format():
    table = shown(make_table(rows_frame(), FOUR), FOUR)
    files = TABLE.remake(rows_frame()).files
    assert r"88.00 $\pm$ 0.58" in files["table1.tex"] and "88.00 ± 0.58" in files["table1.md"]
    picture = io.BytesIO()
    table_picture(table, 4).savefig(picture, format="png")
    assert picture.getvalue()[:4] == b"\x89PNG"


def test_the_table_so_far_is_of_the_runs_that_are_there(home, capsys):
    so_far = ["table1", "--digits", "--so-far", "--results", "results"]
    assert main(so_far) == 1 and "None of the runs of table 1" in capsys.readouterr().err
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
    cells = shown(make_table(fewer, FOUR), FOUR).set_index(["accuracy in %", ""])
    assert all(c.endswith(", n = 2") for c in cells.loc[("No Consolidation", "as published")])
    assert not any("n =" in c for c in cells.loc[("Joint Training", "as published")])


def test_a_winner_is_used_only_for_what_it_was_searched_for(tmp_path):
    come_along = Path(__file__).parents[2] / "results" / "search" / "presynaptic-permuted-mnist" / "best.yaml"
    space = read_space("presynaptic-permuted-mnist")
    folder = tmp_path / "search" / space.name
    folder.mkdir(parents=True)
    path, best = folder / "best.yaml", yaml.safe_load(come_along.read_text())
    path.write_text(yaml.safe_dump(best))
    assert tuned_winners(tmp_path)[space.name].params == best["params"]
    for change, said in (
        ({"space": {**best["space"], "method": "sgd"}}, "its method is 'sgd', not 'presynaptic'"),
        ({"space": {**best["space"], "fixed": {"validation": 1}}}, "winner of another search: its fixed is"),
        ({"space": {**best["space"], "sampler_seed": 1}}, "its sampler_seed is 1"),
        ({"rules_version": 0}, "its rules_version is 0, not 1"),
        ({"rules_version": 0, "code": "of another rule"}, "its rules_version is 0, not 1"),
        ({"data_sha256": "of other images"}, "its data_sha256 is 'of other images'"),
        ({"params": {**best["params"], "p_up": 7}}, "p_up must be between"),
        ({"params": {"p_up": 0.05}}, "is not the winner of a search. Delete it"),
        ({"params": None}, "is not the winner of a search"),
        ({"space": []}, "is not the winner of a search"),
    ):
        path.write_text(yaml.safe_dump({**best, **change}))
        with pytest.raises(PresynError, match=re.escape(said)):
            tuned_winners(tmp_path)
    path.write_text(yaml.safe_dump({**best, "code": "of another rule"}))
    own_search = searching(space).search
    assert own_search.refuse(tmp_path) is None, "the same search finds one with the code of today"
    with pytest.raises(PresynError, match="of a search with other code of presynaptic than today's. Search again with"):
        own_search.recall(tmp_path)
    assert space.name not in tuned_winners(tmp_path)
    path.write_text("params: [1, 2")
    with pytest.raises(PresynError, match="best.yaml line .* is not YAML"):
        tuned_winners(tmp_path)


def test_a_search_that_no_file_lists_counts_for_its_method_and_benchmark(tmp_path):
    committed = Path(__file__).parents[2] / "results" / "search" / "sgd-permuted-mnist" / "best.yaml"
    best = yaml.safe_load(committed.read_text())
    benchmark = BENCHMARKS["split-digits"]
    best |= {"params": {"eta0": 0.03, "optimizer": "sgd"}, "data_sha256": benchmark.sha256()}
    best["space"] |= {"benchmark": benchmark.as_dict(), "fixed": {"validation": 300}}

    def found(name, **changed):
        (tmp_path / "search" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "search" / name / "best.yaml").write_text(yaml.safe_dump({**best, **changed}))
        return tuned_winners(tmp_path).get("sgd-split-digits")

    assert found("one", data_sha256="of other images") is None
    assert found("one", space={**best["space"], "benchmark": {**benchmark.as_dict(), "tasks": 2}}) is None
    assert found("one").params == best["params"]
    os.utime(tmp_path / "search" / "one" / "best.yaml", (1, 1))
    assert found("two", params={"eta0": 0.05, "optimizer": "sgd"}).params["eta0"] == 0.05, "the newest counts"


def test_a_search_of_another_space_is_not_written_over(home, here, capsys):
    text = "method: presynaptic\nbenchmark: permuted-digits\ntrials: 1\n"
    text += "fixed: {validation: 300, epochs: 1, tasks: 2, hidden: [16]}\n"
    Path("mine.yaml").write_text(text + "search: {eta0: {choices: [0.05]}}\n")
    assert main(["search", "--space", "mine.yaml", "--results", "out"]) == 0
    before = {p: p.read_bytes() for p in Path("out").rglob("*.*")}
    Path("mine.yaml").write_text(text.replace("epochs: 1", "epochs: 2") + "search: {eta0: {choices: [0.05]}}\n")
    assert main(["search", "--space", "mine.yaml", "--results", "out"]) == 1
    assert "is the winner of another search" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in Path("out").rglob("*.*")}


SPACE = "method: sgd\nbenchmark: permuted-digits\ntrials: 2\nfixed: {validation: 300, epochs: 1, tasks: 1, hidden: [8]}\n"


def test_a_search_whose_ranges_were_changed_replaces_nothing(home, here, capsys):
    def give(ranges, *words):
        Path("s.yaml").write_text(f"{SPACE}search: {{eta0: {ranges}}}\n")
        return main(["search", "--space", "s.yaml", *words])

    same = "{low: 0.01, high: 0.1}"
    assert give(same, "--results", "out") == 0
    rows = sorted(Path(".presyn/results").iterdir())
    for name in ("runs.csv", "best.yaml"):  # either of them is enough to tell
        shutil.copytree("out", name)
        for path in set(Path(name).rglob("*.*")) - set(Path(name).rglob(name)):
            path.unlink()
    for ranges in ("{low: 0.01, high: 0.2}", "{low: 0.01, high: 0.1, log: true}", "{choices: [0.01, 0.1]}"):
        for folder in ("out", "runs.csv", "best.yaml"):
            before = {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
            for dry in ([], ["--dry-run"]):
                assert give(ranges, "--results", folder, *dry) == 1
                said = capsys.readouterr().err.splitlines()[-1]
                assert said.startswith(f"presyn: {folder}/search/s has the results of another search: its ranges were others")
            after = {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
            assert after.items() - {Path(folder, ".presyn.lock"): b""}.items() <= before.items()
    assert sorted(Path(".presyn/results").iterdir()) == rows, "nothing was trained"
    assert give(same, "--results", "out", "--trials", "3") == 0, "more trials of the same space go on"


def test_with_the_searches_in_one_command_the_table_takes_their_winners():
    """Not those of before, which searches with smaller budgets may have left."""
    stages = {stage.name: stage for stage in chosen_stages(["searches", "table1", "baselines"], Choice(NOWHERE))}
    table, ewc = stages["table1"], stages["baselines/ewc"]
    assert {need.name for need in table.needs} == {name for name in stages if name.startswith("search/") and "unit" not in name
                                                   and "fashion" not in name}  # fmt: skip
    assert [need.name for need in ewc.needs] == ["search/ewc-permuted-mnist"]
    values = {need.name: need.stand_in(Known()) for need in table.needs}
    values["search/ewc-permuted-mnist"] = dataclasses.replace(values["search/ewc-permuted-mnist"], params={"lam": 7.0})
    for stage in (table, ewc):
        runs = [w.run for w in stage.ask(Known((), values)) if w.run.method == "ewc" and w.run.benchmark.permuted]
        assert len(runs) >= 4 * len(SEEDS) and {run.options.lam for run in runs} == {7.0}
    assert not any("has not been searched" in line for line in table.leaves_out())
    (alone,) = chosen_stages(["table1"], Choice(NOWHERE))
    assert [need.name for need in alone.needs] == ["search/presynaptic-permuted-mnist"]


def test_a_table_that_would_drop_rows_says_why_it_does_not_ask_for_them():
    """As after an edit of a method, when the winners of before are of other code."""
    wishes = TABLE.ask(Known((), {TABLE.search.name: None}))
    committed = Path(__file__).parents[2] / "results"
    said = "would drop, such as .*without .* sgd-permuted-mnist has not been searched with today's code .presyn search"
    with pytest.raises(PresynError, match=said):
        refuse(Asked(TABLE, [(wish, str(number)) for number, wish in enumerate(wishes)], [], True), committed)


def test_a_plan_says_which_rows_the_table_leaves_out_and_why():
    lines = TABLE.leaves_out()  # with no winner of another search
    assert any(
        line.startswith("ewc on split-mnist, split-fashion, ") and "presyn search --space ewc-split-mnist" in line
        for line in lines
    )
    assert any(line.startswith("sgd on split-mnist, ") and "sgd-permuted-mnist has not been searched" in line for line in lines)
    assert not any(line.startswith(("presynaptic", "joint")) for line in lines)
    wishes = {(w.run.method, w.run.benchmark.name) for w in TABLE.ask(Known((), {TABLE.search.name: None}))}
    assert ("ewc", "split-mnist") not in wishes, "what is said to be left out is"
