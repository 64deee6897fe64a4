"""One verdict on each claim of the paper: none forgotten, none decided without rows, at the error rates that are stated."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.experiments.catalogue import CLAIMING, EXPERIMENTS
from pipeline.experiments.energy.claims import energy_verdicts, model_claims
from pipeline.experiments.energy.summary import by_epoch
from pipeline.experiments.table1.rows import accuracies, as_published, searched
from pipeline.experiments.verdicts.by_claim import all_together, by_claim, claim_table
from pipeline.experiments.verdicts.stage import all_verdicts
from pipeline.paper import published
from pipeline.paper.published import PAPER, READERS, claim_list
from pipeline.records.csvs import read_file, rows_csv
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed, fisher_z, with_lost
from pipeline.report.rule import ALPHA, decide
from pipeline.report.statistics import Difference, Sample
from pipeline.report.verdicts import (
    NOT_REPRODUCED,
    NOT_TESTED,
    REPRODUCED,
    UNDECIDED,
    Verdict,
    estimate,
    order,
    printed_mean,
    printed_value,
    show_effect,
    show_ours,
    verdict_table,
)
from presyn import PresynError
from presyn.runs import identify

RESULTS = Path(__file__).parents[2] / "results"
IDS = [
    *(f"E{i}" for i in range(1, 9)),
    *(f"S{i}" for i in range(1, 14)),
    *(f"L{i}" for i in range(1, 33)),
    *(f"A{i}" for i in range(1, 6)),
    *(f"P{i}" for i in range(1, 4)),
    *("B1", "R1", "M1"),
]


@pytest.fixture(scope="module")
def found():
    return all_verdicts(Results(RESULTS), CLAIMING)


def test_the_list_has_every_claim_once_and_whole():
    claims = claim_list()
    assert [c.id for c in claims] == IDS
    for c in claims:
        assert {*c.rests_on, *c.says_again} < set(IDS) and (c.missing or {*c.stage.split()} <= {*EXPERIMENTS})


def test_every_claim_has_a_line_and_those_that_are_committed_come_out_again(found):
    missing = {c.id for c in claim_list() if c.missing}
    assert {v.id for v in found.verdicts if not v.reading} >= set(IDS) - missing
    for name, table in (("verdicts", verdict_table(found.verdicts)), ("claims", claim_table(found.claims))):
        assert table.to_csv(index=False) == (RESULTS / f"{name}.csv").read_text(), f"{name}.csv: run make verify"


def test_every_number_that_decides_names_its_runs(found):
    files = [*Results(RESULTS).paths(), *(RESULTS / "baselines").glob("*.csv")]
    ids = {run_id for path in files for run_id in pd.read_csv(path).get("run_id", [])}
    for v in found.verdicts:
        assert (v.difference is None) or (v.run_ids and set(v.run_ids) <= ids), v.comparison
    cell = next(v for v in found.verdicts if v.id == "L2" and not v.reading)
    rows = pd.concat(map(pd.read_csv, [RESULTS / "table1" / "runs.csv", *(RESULTS / "seeds").glob("*.csv")]))
    own = rows[(rows.method == "presynaptic") & (rows.benchmark == "split-mnist") & (rows.parameters != "searched")]
    assert len(cell.run_ids) == cell.n == 14 and set(cell.run_ids) <= set(own.run_id)


def test_further_seeds_of_our_own_winner_are_read_and_no_published_cell_has_them():
    winner, published = searched(Results(RESULTS)), as_published(Results(RESULTS))
    further = pd.concat(map(pd.read_csv, (RESULTS / "seeds" / "searched").glob("*.csv")))
    assert len(accuracies(winner, "presynaptic", "split-mnist").finished) == 10
    assert set(further.run_id) <= set(winner.run_id) and not set(further.run_id) & set(published.run_id)
    assert set(further.run_id) <= {id for path in Results(RESULTS).paths() for id in pd.read_csv(path).run_id}


def test_without_rows_a_claim_is_not_tested_and_says_what_to_do(tmp_path):
    shutil.copytree(RESULTS / "table1", tmp_path / "table1")
    claims = {c.claim.id: c for c in all_verdicts(Results(tmp_path), CLAIMING).claims}
    of_table1 = [c.id for c in claim_list() if c.stage == "table1"]
    assert NOT_TESTED not in [claims[id].verdict for id in of_table1]
    others = [c.id for c in claim_list() if c.stage not in ("table1", "lifelong")]
    assert [claims[id].verdict for id in others] == [NOT_TESTED] * len(others)
    assert claims["E2"].note.startswith("its rows are not there, or not all of them: presyn reproduce energy")
    assert "E2 is not tested" in claims["E5"].note and "Dryad" in claims["B1"].note


@pytest.mark.parametrize("stage", sorted({c.stage for c in claim_list() if not c.missing}))
def test_the_experiments_that_a_claim_names_are_all_that_it_needs(tmp_path, stage):
    for name in stage.split():
        for folder in EXPERIMENTS[name].folders or (name,):
            shutil.copytree(RESULTS / folder, tmp_path / folder)
    claims = {c.claim.id: c for c in all_verdicts(Results(tmp_path), CLAIMING).claims}
    untested = [c.id for c in claim_list() if c.stage == stage and claims[c.id].verdict == NOT_TESTED]
    assert not untested


def rewritten(source, target, change, **configuration):
    """A copy of committed rows, changed, with ids that fit their configurations."""
    cells = change(read_file(source).cells.drop(columns="digest", errors="ignore"))
    if configuration:
        cells["config"] = [json.dumps({**json.loads(c), **configuration}, sort_keys=True) for c in cells.config]
        cells["run_id"] = [identify(json.loads(c), s, 1) for c, s in zip(cells.config, cells.data_sha256, strict=True)]
    target.parent.mkdir(parents=True, exist_ok=True)
    cells.to_csv(target, index=False)


def claims_on(folder):
    return {c.claim.id: c for c in all_verdicts(Results(folder), CLAIMING).claims}


@pytest.mark.parametrize(
    ("stage", "target", "changed", "says", "ids"),
    [
        ("energy", "energy", {"epochs": 1}, "epochs = 1", ["E1", "E2", "E5"]),
        ("energy", "energy", {"hidden": [20, 20]}, "hidden = [20, 20]", ["E1", "E6"]),
        ("table1", "table1", {"epochs": 1}, "epochs = 1", ["L2", "L22", "R1"]),
        ("ablations/published", "ablations/published", {"epochs": 2}, "epochs = 2", ["A2", "A3"]),
        ("ablations/searched", "ablations/published", {}, "p_down = ", ["A2", "A3"]),
    ],
    ids=str,
)
def test_no_claim_rests_on_runs_with_other_settings_than_the_papers(tmp_path, capsys, stage, target, changed, says, ids):
    rewritten(RESULTS / stage / "runs.csv", tmp_path / target / "runs.csv", lambda cells: cells, **changed)
    claims = claims_on(tmp_path)
    assert {claims[id].verdict for id in ids} == {NOT_TESTED}
    error = capsys.readouterr().err
    assert "are not of the paper's experiment" in error and says in error


def test_a_line_that_is_there_twice_is_refused(tmp_path):
    for stage in ("overlap", "energy", "perceptron"):
        folder = tmp_path / stage
        rewritten(RESULTS / stage / "runs.csv", folder / stage / "runs.csv", lambda cells: pd.concat([cells, cells[:1]]))
        with pytest.raises(PresynError, match="holds a run twice"):
            claims_on(folder)


def test_a_run_on_other_images_is_not_mixed_into_a_claim(tmp_path):
    def on_others(cells):
        cells.loc[cells.index[:1], "data_sha256"] = "0" * 64
        return cells

    rewritten(RESULTS / "energy" / "runs.csv", tmp_path / "energy" / "runs.csv", on_others, kind="single")
    with pytest.raises(PresynError, match="are on different images of mnist"):
        claims_on(tmp_path)


def test_lost_runs_are_counted_and_the_best_of_some_is_not_the_best(tmp_path):
    rows = Results(RESULTS).rows("energy").copy()
    rows.loc[(rows.model == "plastic") & (rows.seed == 2019), "status"] = "diverged"
    epochs = with_lost(by_epoch(rows), rows, ("model", "l2", "seed"), ("epoch",))
    by_id = {v.id: v for v in model_claims(epochs) if v.decides}
    assert {by_id[id].lost for id in ("E1", "E2", "E3", "E5", "E6")} == {1} and by_id["E4"].lost == 0
    assert {by_id[id].n for id in ("E2", "E3")} == {4}
    some = lambda cells: cells[(cells.part == "search") | cells.release.isin(["0.4", "1.0"])]  # noqa: E731
    rewritten(RESULTS / "fixed-release" / "runs.csv", tmp_path / "fixed-release" / "runs.csv", some)
    assert claims_on(tmp_path)["E7"].verdict == NOT_TESTED


@pytest.mark.parametrize("stage", ["perceptron", "energy", "energy-settings", "overlap", "sparsity", "table1", "fixed-release"])
def test_files_of_rows_without_a_line_are_as_none(tmp_path, stage):
    rewritten(RESULTS / stage / "runs.csv", tmp_path / stage / "runs.csv", lambda cells: cells[:0])
    shutil.copytree(RESULTS / "departures", tmp_path / "departures")
    assert {c.verdict for c in claims_on(tmp_path).values() if c.claim.id[0] in "ESP"} == {NOT_TESTED}


def test_an_edited_summary_turns_nothing(tmp_path):
    """Summaries are for people: verdicts are made of rows, each time."""
    shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("report", "search", "bench"))
    path = tmp_path / "results" / "energy" / "summary.csv"
    summary = pd.read_csv(path)
    summary.loc[summary.model == "plastic", "information"] *= 0.3
    summary.to_csv(path, index=False)
    ours = verdict_table(all_verdicts(Results(tmp_path / "results"), CLAIMING).verdicts)
    theirs = pd.read_csv(RESULTS / "verdicts.csv", keep_default_na=False)
    assert ours.verdict.tolist() == theirs.verdict.tolist()


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("table1.csv", ("82.90", "eighty"), "table1.csv, line 2: mean is 'eighty', but it must be a number"),
        ("table1.csv", ("presynaptic,split-mnist", "presinaptic,split-mnist"), "line 2: method is 'presinaptic'"),
        ("table1.csv", ("L3,presynaptic,split-fashion", "L3,presynaptic,split-mnist"), "line 3: method .* stands there twice"),
        ("table1.csv", ("82.90", "829.0"), "mean is '829.0', but it must be from 0 to 100"),
        ("table1.csv", ("L2,", "L99,"), "table1.csv: L99 is no claim of claims.yaml"),
        ("statements.csv", (",above,", ",abov,"), "statements.csv, line 2: kind is 'abov'"),
        ("statements.csv", ("85.39,0.6,2", "85.39,,2"), "standard_error is '', but it must be a number"),
        ("authors_code.csv", ("0.8744", "8.744"), "line 2: accuracies .* they must be from 0 to 1"),
        ("ablations.csv", ("0.04460148", "x"), "ablations.csv, line 2: p_up is 'x'"),
        ("claims.yaml", ("- id: E1\n", "- ident: E1\n"), "ident is no field of a claim"),
        ("claims.yaml", ("  rests_on:\n  - E2\n", "  rests_on:\n  - E99\n"), "rests on E99, which is no claim of the list"),
        ("claims.yaml", ("- id: E2\n", "- id: E1\n"), "claim E1: it stands there twice"),
        ("claims.yaml", ("- id: E1\n", "- id: [\n"), "claims.yaml cannot be read"),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_a_bad_word_among_the_printed_numbers_is_named_by_file_and_line(tmp_path, file, change, said):
    shutil.copytree(PAPER, tmp_path / "paper")
    path = tmp_path / "paper" / file
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(PresynError, match=said):
        for read in READERS:
            read(tmp_path / "paper")


def test_the_published_numbers_that_come_along_are_sound():
    assert len(published.cell_ids()) == 20 and len(published.authors_parameters()) == 14


def test_the_parts_of_a_claim_must_all_hold():
    assert all_together([REPRODUCED, REPRODUCED]) == REPRODUCED
    assert all_together([REPRODUCED, UNDECIDED]) == UNDECIDED
    assert all_together([UNDECIDED, NOT_REPRODUCED]) == NOT_REPRODUCED
    assert all_together([]) == NOT_TESTED


def seeds(values):
    """Numbers of seeds 0, 1, …, each of a run of its own."""
    return BySeed(pd.Series(list(values), dtype=float), {i: frozenset([f"run{i}"]) for i in range(len(values))})


def above(parts, unit=""):
    return order("E5", "c", "f", {name: seeds(values) for name, values in parts.items()}, unit)


def verdict_of(*verdicts):
    return [v.verdict for v in decide(verdicts)]


def test_of_many_parts_the_least_certain_and_the_smallest_are_shown():
    parts = {str(i): [10.0 + i, 10.1 + i] for i in range(4)} | {"uncertain": [20.0, 26.0]}
    assert show_ours(above(parts, "points")) == (
        "5 of 5 in this order; least certain: uncertain 23 [-15.1, 61.1] points (n = 2); smallest: 0 10.1 [9.41, 10.7] points"
    )
    assert "smallest" not in show_ours(above(parts)), "parts without a unit may be of different kinds"
    assert "smallest" not in show_ours(above({**parts, "uncertain": [3.0, 9.0]}, "points")), "which is one part here"


def test_an_order_in_every_part_is_decided_by_the_least_certain():
    strong, weak, wrong = [1.0, 1.1, 0.9, 1.0], [0.3, -0.2, 0.1, -0.1], [-1.0, -1.1, -0.9, -1.0]
    assert verdict_of(above({"a": strong, "b": strong})) == [REPRODUCED]
    assert verdict_of(above({"a": strong, "b": weak})) == [UNDECIDED]
    assert verdict_of(above({"a": strong, "b": wrong})) == [NOT_REPRODUCED]
    assert above({"a": strong, "b": []}).difference is None  # a part without rows leaves the whole untested
    assert verdict_of(above({"a": [1.0]})) == [UNDECIDED]  # one seed has no scatter


def test_parts_of_different_sizes_are_compared_by_their_p():
    many = np.random.default_rng(0).normal(0.5, 0.97, 60)  # t about 4, p far below 0.001
    few = [1.0, 1.5, 0.8]  # t larger, but of three seeds
    both = above({"many": many, "few": few})
    assert both.difference.df == 2 and both.n == 3


def test_of_many_parts_without_an_effect_few_are_called_wrong():
    # The worst of 12 parts is often below 0: at most 5 % of 1000 claims may be called not reproduced; more than 80 has a chance
    # below 1e-4.
    rng = np.random.default_rng(5)
    claims = [above({i: rng.normal(0, 1, 5) for i in range(12)}) for _ in range(1000)]
    assert 0 < sum(v.verdict == NOT_REPRODUCED for v in decide(claims)) <= 80


def test_a_claim_on_all_strengths_is_not_tested_before_all_are_there(tmp_path):
    for name in ("energy", "energy-settings"):
        rows = pd.read_csv(RESULTS / name / "runs.csv", dtype=str, keep_default_na=False)
        (tmp_path / name).mkdir()
        rows[rows.l2.isin(["0.01", "0.1"])].to_csv(tmp_path / name / "runs.csv", index=False)
    found = {v.id: v for v in energy_verdicts(Results(tmp_path)) if not v.reading}
    assert all(found[i].difference is None for i in ("E1", "E2", "E3", "E4", "E5", "E6", "E8"))


def test_of_many_parts_without_an_effect_few_are_called_reproduced():
    # 1000 claims of three parts each, of which one has no effect: at most 5 % may be called reproduced, in truth 2.5 % (its
    # sign must be right, too). More than 45 of 1000 has a chance below 1e-3.
    rng = np.random.default_rng(3)
    claims = [above({"a": rng.normal(5, 1, 5), "b": rng.normal(5, 1, 5), "c": rng.normal(0, 1, 5)}) for _ in range(1000)]
    assert 0 < sum(v.verdict == REPRODUCED for v in decide(claims)) <= 45


def test_a_part_that_fails_is_not_excused_by_parts_that_hold():
    strong = {i: [1.0, 1.1, 0.9, 1.0, 1.05] for i in range(11)}
    (verdict,) = decide([above({**strong, "weak": [-0.1, -0.12, -0.02, -0.08, -0.07]})])
    assert verdict.verdict == NOT_REPRODUCED and verdict.level == 1 - ALPHA and verdict.high < 0


def value(values, printed, margin):
    return printed_value("S9", "D", "f", seeds(values), printed, margin=margin)


def test_a_printed_value_of_one_network_is_like_another_of_ours_or_is_not():
    ours = [0.50, 0.52, 0.49, 0.51, 0.50]
    assert verdict_of(value(ours, 0.505, 0.1)) == [REPRODUCED]
    assert verdict_of(value(ours, 0.8, 0.1)) == [NOT_REPRODUCED]
    assert verdict_of(value([0.3, 0.7, 0.5], 0.505, 0.1)) == [UNDECIDED]
    mean = Sample(0.9174, 0.0046, 10)
    assert verdict_of(printed_mean("P2", "c", "f", seeds([0.917, 0.918, 0.916, 0.917]), mean, margin=0.03)) == [REPRODUCED]


def test_a_printed_value_that_is_true_is_rarely_called_wrong():
    # Five of our seeds and the printed network are of one distribution: 5 % are called wrong; more than 80 of 1000 has a
    # chance below 1e-4.
    rng = np.random.default_rng(4)
    draws = rng.normal(0.5, 0.03, (1000, 6))
    assert sum(value(d[:5], d[5], 0.01).difference.p < ALPHA for d in draws) <= 80


def test_effects_are_shown_in_their_own_unit():
    def shown(difference, unit=""):
        effect, low, high = estimate(difference, unit)
        return show_effect(Verdict("E2", "c", "f", effect=effect, low=low, high=high, unit=unit))

    assert shown(Difference(np.log(2), 0.1, 4), "ratio").startswith("×\N{NO-BREAK SPACE}2 [1.5")
    assert shown(Difference(float(fisher_z(0.9)), 0.1, 4), "r").startswith("0.9 [")
    assert shown(Difference(0.5, float("nan"), float("nan"))) == "0.5"


def test_a_printed_correlation_stands_beside_ours_and_not_beside_a_difference():
    (v,) = decide([printed_value("S11", "r", "f", seeds(fisher_z([0.93, 0.94, 0.95])), float(fisher_z(0.939)), unit="r")])
    assert v.effect == pytest.approx(0.94, abs=1e-3) and v.printed == pytest.approx(0.939) and v.low < 0.94 < v.high


def test_the_reading_that_fits_the_print_is_found_by_numbers_and_not_by_rounded_words():
    near, far = (
        printed_value("S9", "D", "f", seeds([0.505 + d, 0.505 + d]), 0.505, reading=r) for d, r in ((0.003, "b"), (0.004, "a"))
    )
    claim = next(c for c in claim_list() if c.id == "S9")
    assert by_claim([far, near], [claim])[0].fits_print == "b"


@pytest.mark.parametrize(
    "name, label",
    [
        ("ablations/published", "ablation"),
        ("departures", "ablation"),
        ("energy", "model"),
        ("energy", "l2"),
        ("energy-settings", "setting"),
        ("fixed-release", "release"),
        ("perceptron", "model"),
        ("perceptron", "patterns"),
        ("table1", "parameters"),
    ],
)
def test_swapped_labels_are_refused_although_each_line_has_its_digest(tmp_path, name, label):
    """Two lines that exchange their labels, written with new digests, would compare rows under wrong names."""
    file = read_file(RESULTS / name / "runs.csv")
    first = file.cells[file.cells.method != "ewc"].index[0]
    other = file.cells[(file.cells[label] != file.cells[label][first]) & (file.cells.method == file.cells.method[first])]
    other = other.index[0] if len(other) else file.cells[file.cells[label] != file.cells[label][first]].index[0]
    cells = file.cells.copy()
    cells.loc[[first, other], label] = file.cells.loc[[other, first], label].tolist()
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "runs.csv").write_text(rows_csv([], cells))
    with pytest.raises(PresynError, match=f"{name}/runs.csv, line ({first + 2}|{other + 2}): its {label} is .*configuration"):
        all_verdicts(Results(tmp_path), CLAIMING)
