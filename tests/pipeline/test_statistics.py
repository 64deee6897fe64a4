"""The tests behind the verdicts agree with textbook numbers and with raw samples."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.experiments.catalogue import CLAIMING
from pipeline.experiments.table1.claims import AUTHORS, TABLE, cell_verdicts, compare
from pipeline.experiments.verdicts.stage import all_verdicts, with_notes
from pipeline.paper import METHOD_NAMES
from pipeline.paper.published import authors_code, published_table, statements
from pipeline.records.csvs import read_file
from pipeline.records.results import Results
from pipeline.report.old_rule import with_old_verdicts
from pipeline.report.rule import decide
from pipeline.report.statistics import (
    Difference,
    Sample,
    benjamini_hochberg,
    difference_from_printed,
    holm,
    paired,
    seeds_to_decide,
    show_p,
    unpaired,
)
from pipeline.report.verdicts import Verdict, round_p, short_p, verdict_table
from presyn import PresynError
from presyn.runs import identify


def test_welch_from_summaries_equals_welch_from_samples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(80, 1, 3), rng.normal(82, 3, 5)
    theirs = stats.ttest_ind(a, b, equal_var=False)
    d = unpaired(Sample.from_values(a), Sample.from_values(b))
    assert (d.t, d.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_standard_error_uses_ddof_one():
    assert Sample.from_values([1.0, 2.0, 3.0]).standard_error == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(Sample.from_values([1.0]).standard_error) and math.isnan(
        unpaired(Sample.from_values([1.0]), Sample.from_values([1.0, 2.0])).p
    )


def test_holm_by_hand_and_with_gaps():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = holm([0.01, math.nan, 0.03])
    assert adjusted[0] == pytest.approx(0.02) and math.isnan(adjusted[1]) and adjusted[2] == pytest.approx(0.03)


def test_benjamini_hochberg_by_hand_and_with_gaps():
    assert benjamini_hochberg([0.01, math.nan, 0.04, 0.03]) == pytest.approx([0.03, math.nan, 0.04, 0.04], nan_ok=True)
    assert all(math.isnan(p) for p in benjamini_hochberg([math.nan, math.nan])) and benjamini_hochberg([]) == []


def test_no_p_value_is_shown_or_kept_as_nothing():
    assert [show_p(p) for p in (0.0213, 0.00034, 0.0)] == ["p = 0.021", "p < 0.001", "p < 0.001"]
    assert [short_p(p) for p in (0.0213, 0.00034, 3e-9, math.nan)] == ["0.0213", "0.0003", "< 0.0001", "–"]
    assert round_p(1.23456e-9) == 1.235e-9


def test_a_printed_mean_is_rarely_unlike_ours_if_it_is_of_the_same_networks():
    # Three printed and five of ours of one distribution: 5 % of p are below 0.05. Outside 50 to 160 of 2000: chance below 1e-6.
    draws = np.random.default_rng(6).normal(80, 1, (2000, 8))
    p = [difference_from_printed(Sample.from_values(d[:5]), float(d[5:].mean()), 3).p for d in draws]
    assert 50 <= sum(value < 0.05 for value in p) <= 160


def test_the_published_numbers_are_complete():
    assert len(published_table()) == 20 and str(published_table()["presynaptic", "permuted-mnist"]) == "86.14 ± 0.67"
    assert len(authors_code()) == 12 and authors_code()["sgd", "split-mnist"].mean == pytest.approx(80.763, abs=1e-3)


def test_welch_and_paired_differences_agree_with_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(80, 1, 6), rng.normal(81, 2, 6)
    theirs = stats.ttest_ind(a, b, equal_var=False)
    d = unpaired(Sample.from_values(a), Sample.from_values(b))
    assert (d.t, d.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    pairs, theirs = paired(a - b), stats.ttest_rel(a, b)
    assert (pairs.t, pairs.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    low = stats.ttest_1samp(a - b, -3, alternative="greater").pvalue
    high = stats.ttest_1samp(a - b, 3, alternative="less").pvalue
    assert pairs.p_within(3) == pytest.approx(max(low, high))


def test_equivalence_keeps_its_false_alarm_rate():
    # 2,000 samples whose true difference lies at the margin: at most 5 % may be called within it. Binomial bound, 4 standard
    # errors: false-alarm rate 3e-5.
    rng = np.random.default_rng(2)
    within = [paired(rng.normal(1.5, 0.5, 5)).p_within(1.5) < 0.05 for _ in range(2000)]
    assert np.mean(within) < 0.05 + 4 * (0.05 * 0.95 / 2000) ** 0.5


def test_the_seeds_that_would_decide_do():
    # One-sided t test of an effect of one standard deviation: about 8 seeds for a power of 0.8 (Cohen 1988, d = 1, alpha 0.05).
    n = seeds_to_decide(1.0, [1.0], 0.05)
    rng = np.random.default_rng(3)
    found = [stats.ttest_1samp(rng.normal(1, 1, n), 0, alternative="greater").pvalue < 0.05 for _ in range(2000)]
    assert n in (7, 8, 9) and abs(np.mean(found) - 0.8) < 0.07
    assert seeds_to_decide(1.0, [0.001], 0.05) is None


@pytest.mark.parametrize("effect", [0.1, 0.8])
def test_the_seeds_that_would_show_an_equivalence_do(effect):
    # Two one-sided tests within 1.5. 2,000 repetitions: 0.73 is 8 standard errors below 0.8, false-alarm rate below 1e-9.
    n = seeds_to_decide(0.8, [1.5 - effect, 1.5 + effect], 0.05)
    rng = np.random.default_rng(4)
    shown = [paired(rng.normal(effect, 0.8, n)).p_within(1.5) < 0.05 for _ in range(2000)]
    assert np.mean(shown) > 0.73


def rows(shift, scatter=0.1, methods=("presynaptic", "sgd", "joint"), seeds=10):
    """Rows around the published means, but for one cell."""
    lines = []
    for (method, benchmark), s in published_table().items():
        for i in range(seeds if method in methods else 0):
            off = shift if (method, benchmark) == ("presynaptic", "split-mnist") else 0
            apart = i % 3 - 1 if method == "presynaptic" else (i % 5 - 2) / 2  # or paired differences would not scatter
            accuracy = (s.mean + off + scatter * apart) / 100
            cell = {"method": method, "benchmark": benchmark, "seed": i, "run_id": f"{method}-{benchmark}-{i}"}
            lines.append({**cell, "status": "finished", "mean_accuracy": accuracy})
    return pd.DataFrame(lines)


def verdicts(table, ablations=None):
    """The verdicts on Table 1 and the printed comparisons, of rows."""
    found = [*cell_verdicts(table, published_table(), TABLE), *cell_verdicts(table, authors_code(), AUTHORS, "beside it")]
    for statement in statements():
        if statement.subject in METHOD_NAMES:
            found.append(compare(statement, table, "method"))
        elif statement.kind != "mean" and ablations is not None:
            found.append(compare(statement, ablations, "ablation"))
    return verdict_table(with_notes(with_old_verdicts(decide(found))))


def line(table, claim, family="Table 1 of the paper"):
    return table[(table.family == family) & (table.claim == claim)].iloc[0]


def test_a_wrong_number_turns_the_verdict():
    def verdict(shift, **more):
        return line(verdicts(rows(shift, **more)), "presynaptic on split-mnist").verdict

    assert [verdict(s) for s in (0, 4, -4)] == ["reproduced", "not reproduced", "not reproduced"]
    assert verdict(0, scatter=8) == "undecided"


def test_an_undecided_claim_says_how_many_seeds_would_decide():
    few = line(verdicts(rows(0.2, scatter=2, seeds=3)), "presynaptic on split-mnist")
    n = int(few.seeds.removeprefix("about "))
    assert few.verdict == "undecided" and 3 < n < 100
    for more in (n, 2 * n):
        assert line(verdicts(rows(0.2, scatter=2, seeds=more)), "presynaptic on split-mnist").verdict == "reproduced"
    assert line(verdicts(rows(0)), "ewc on split-mnist")[["verdict", "seeds"]].tolist() == ["not tested", "no runs"]


def test_what_would_show_no_worse_is_the_way_to_the_margin():
    wide = Difference(0.5, 6 / 3**0.5, 2)
    (line,) = decide([Verdict("L26", "c", "f", "no worse", difference=wide, spread=6.0, margin=1.5)])
    assert line.verdict == "undecided" and line.seeds == f"about {seeds_to_decide(6.0, [2.0], 0.025)}"


@pytest.mark.parametrize(
    ("kind", "mean", "verdict"),
    [
        ("similar", 0.5, "reproduced"),
        ("similar", 1.4, "undecided"),
        ("similar", 3.0, "not reproduced"),
        ("similar", -3.0, "not reproduced"),
        ("no worse", 3.0, "reproduced"),
        ("no worse", -1.4, "undecided"),
        ("no worse", -3.0, "not reproduced"),
    ],
)
def test_a_likeness_is_decided_by_its_interval_and_the_margin(kind, mean, verdict):
    near = Difference(mean, 0.2, 9)
    (line,) = decide([Verdict("L25", "c", "f", kind, difference=near, spread=0.6, margin=1.5, n=10)])
    low, high = near.interval()
    assert line.verdict == verdict and (line.low, line.high) == pytest.approx((low, high))
    assert (line.p < 0.05) == (verdict != "undecided"), "of being as far as the margin, from the side on which ours lies"


def cell(mean, n=10, spread=1.0, **fields):
    """A printed value of three networks, from which our mean is so far off."""
    more = {"n": n, "spread": spread, "repetitions": 3, "margin": 2.0, **fields}
    return Verdict("L2", "c", "f", "mean", difference=Difference(mean, spread * (1 / 3 + 1 / n) ** 0.5, n - 1), **more)


def test_the_interval_that_is_shown_is_the_one_that_decides():
    found = decide([cell(d) for d in (0.0, 1.2, 1.6, 2.2, 3.0, 9.0)])
    for v in found:
        assert (v.verdict == "not reproduced") == (v.low > 0 or v.high < 0) == (v.p < 0.05)
    assert all((v.level == 0.95) == (v.p_alone >= 0.05) and v.level >= 0.95 for v in found)
    for v in decide([cell(0.1, n=n) for n in (3, 10)]):
        assert (v.verdict == "reproduced") == (v.high - v.low <= 2 * v.margin), "the width of what is shown is judged"


def test_readings_decide_nothing_whatever_they_are():
    alone = decide([cell(d) for d in (0.2, 2.2)])
    beside = decide([*(cell(d) for d in (0.2, 2.2)), *(cell(0.0, reading=f"r{i}") for i in range(50))])
    assert [(v.verdict, v.p, v.low) for v in beside[:2]] == [(v.verdict, v.p, v.low) for v in alone]
    assert {(v.p, v.level) for v in beside[2:]} == {(1.0, 0.95)}


@pytest.mark.parametrize("off", [0.0, 1.0, 2.5, 5.0])
def test_more_seeds_with_the_same_mean_and_spread_never_decide_less(off):
    kinds = [decide([cell(off, n)])[0].verdict for n in range(2, 400)]
    decided = [verdict != "undecided" for verdict in kinds]
    assert decided == sorted(decided) and decided[-1]


def test_orders_need_the_right_sign():
    name = "presynaptic above sgd on split-mnist"
    assert line(verdicts(rows(0)), name, "statements").verdict == "reproduced"
    assert line(verdicts(rows(-9)), name, "statements").verdict == "not reproduced"


def test_equal_values_decide_nothing():
    """Two networks that agree to the digit say nothing about how far others scatter."""
    for mean, kind in ((0.5, "above"), (-0.5, "above"), (0.5, "similar"), (0.5, "no worse"), (0.12, "mean"), (0.0, "mean")):
        verdict = Verdict("L2", "c", "f", kind, difference=Difference(mean, 0.0, 1), n=2, spread=0.0, repetitions=3, margin=2.0)
        (decided,) = decide([verdict])
        assert (decided.verdict, decided.seeds) == ("undecided", "at least 3")
    assert paired([0.0, 0.0]).p == 1


def test_a_paired_claim_shows_the_two_sample_test_of_the_paper_beside():
    table = rows(0)
    accuracy = {
        m: 100 * table[(table.method == m) & (table.benchmark == "split-mnist")].mean_accuracy for m in ("presynaptic", "sgd")
    }
    theirs = stats.ttest_ind(accuracy["presynaptic"], accuracy["sgd"], equal_var=False)
    shown = line(verdicts(table), "presynaptic above sgd on split-mnist", "statements").two_sample
    assert shown == f"t = {theirs.statistic:.2f}, p < 0.001" and theirs.pvalue < 0.001


def test_lost_runs_are_said_and_a_claim_says_what_it_rests_on():
    table = rows(0, methods=("presynaptic", "sgd"))
    far = table.assign(mean_accuracy=table.mean_accuracy - 0.09 * (table.method == "sgd"))
    own = far.index[(far.method == "sgd") & (far.benchmark == "split-mnist")]
    far.loc[own[:2], "status"] = "diverged"
    found = verdicts(far)
    assert line(found, "sgd on split-mnist").ours.endswith("(n = 8, 2 lost)")
    claim = line(found, "presynaptic above sgd on split-mnist", "statements")
    assert claim.ours.endswith("(n = 8, 2 lost)") and claim.note == "sgd on split-mnist is not reproduced"
    assert not line(verdicts(table), "presynaptic above sgd on split-mnist", "statements").note


def test_the_size_of_the_ghost_effect_is_compared_with_the_printed_one():
    def verdict(loss):
        accuracy = {"full": 83.0, "ghost-by-release": 83.0 - loss}
        scatter = {"full": [0.0, 0.1, 0.2] * 3, "ghost-by-release": [0.0, 0.2, 0.1] * 3}
        cells = [(a, i, (v + scatter[a][i]) / 100) for a, v in accuracy.items() for i in range(9)]
        lines = [(a, "split-mnist", i, "finished", v) for a, i, v in cells]
        ablations = pd.DataFrame(lines, columns=["ablation", "benchmark", "seed", "status", "mean_accuracy"])
        ablations["run_id"] = ablations.ablation + ablations.seed.astype(str)
        return line(
            verdicts(rows(0), ablations),
            "ghost control minus full, divided by the release probability on split-mnist",
            "further printed values",
        )

    assert "0.00 ± 0.06" in verdict(1.4).difference and verdict(1.4).published == "-1.40 ± 0.41"
    assert [verdict(loss).verdict for loss in (1.4, 40.0)] == ["reproduced", "not reproduced"]


def test_similar_means_within_the_margin_and_better_is_no_worse():
    table = rows(0, methods=("presynaptic", "bgd", "ewc"))
    better = table.assign(mean_accuracy=table.mean_accuracy + 0.1 * (table.method == "presynaptic"))
    worse = table.assign(mean_accuracy=table.mean_accuracy - 0.1 * (table.method == "presynaptic"))
    names = ("overall similar to bgd", "overall similar to or better than ewc")
    found = {w: [line(verdicts(t), n, "statements").verdict for n in names] for w, t in (("better", better), ("worse", worse))}
    assert found == {"better": ["not reproduced", "reproduced"], "worse": ["not reproduced", "not reproduced"]}


def test_a_verdict_names_the_runs_behind_it_and_no_others():
    table = rows(0)
    line = verdicts(table).set_index("claim").loc["presynaptic above sgd on split-mnist"]
    assert set(line.run_ids.split()) == {f"{m}-split-mnist-{i}" for m in ("presynaptic", "sgd") for i in range(10)}
    cell = verdicts(table).set_index(["family", "claim"]).loc[(TABLE, "joint on permuted-fashion")]
    assert cell.run_ids.split() == sorted(f"joint-permuted-fashion-{i}" for i in range(10)) and cell.n == 10


def test_effects_and_intervals_are_numbers_in_the_unit_of_the_print():
    line = verdicts(rows(0)).set_index(["family", "claim"]).loc[(TABLE, "presynaptic on split-mnist")]
    values = 100 * rows(0).query("method == 'presynaptic' and benchmark == 'split-mnist'").mean_accuracy
    half = stats.t.ppf((1 + line.level) / 2, 9) * values.std() * (1 / 3 + 1 / 10) ** 0.5
    shown = values.mean(), values.mean() - half, values.mean() + half
    assert (line.effect, line.low, line.high) == pytest.approx(shown, abs=1e-3)
    assert line.unit == "%"


def test_seeds_with_other_settings_and_odd_files_are_refused(tmp_path):
    shutil.copytree(Path(__file__).parents[2] / "results", tmp_path / "results", ignore=shutil.ignore_patterns("report"))

    def verify():
        return all_verdicts(Results(tmp_path / "results"), CLAIMING)

    seeds = tmp_path / "results" / "seeds" / "runs.csv"
    frame = read_file(seeds).cells.drop(columns="digest", errors="ignore")
    changed = frame.index[frame.method == "presynaptic"][0]
    frame.loc[changed, "config"] = frame.loc[changed, "config"].replace('"p_up": 0.052', '"p_up": 0.09')
    frame.to_csv(seeds, index=False)
    with pytest.raises(PresynError, match="its run_id is not that of its configuration"):
        verify()
    frame.loc[changed, "run_id"] = identify(json.loads(frame.loc[changed, "config"]), frame.data_sha256[changed], 1)
    frame.to_csv(seeds, index=False)
    with pytest.raises(PresynError, match=f"run {frame.run_id[changed]} of presynaptic on .* has other settings"):
        verify()
    named = tmp_path / "results" / "seeds" / "presynaptic-split-mnist.csv"
    lines = read_file(named).cells.drop(columns="digest", errors="ignore")
    shutil.rmtree(tmp_path / "results" / "table1")
    seeds.unlink()
    lines["config"] = lines.config.str.replace('"p_up": 0.052', '"p_up": 0.09')
    lines["run_id"] = [identify(json.loads(c), sha, 1) for c, sha in zip(lines.config, lines.data_sha256, strict=True)]
    lines.to_csv(named, index=False)
    with pytest.raises(PresynError, match="of presynaptic on split-mnist has other settings than the published ones"):
        verify()
    for text, says in (("", "is not a CSV of runs"), ("a,b\n1,2\n", "it has no column run_id")):
        seeds.write_text(text)
        with pytest.raises(PresynError, match=says):
            verify()
