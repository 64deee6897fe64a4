"""Ablations: what is searched, what is carried, and a table that says what the rows say."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import pipeline.experiments.ablations.variants
from pipeline.cli import main
from pipeline.experiments.ablations.claims import _loss
from pipeline.experiments.ablations.table import make_table, shown
from pipeline.experiments.ablations.variants import ABLATIONS, DEPARTURES, RANGES, variant_space
from pipeline.paper.published import authors_parameters
from presyn import BENCHMARKS as ALL
from presyn import PresynError, make_run
from sweeps.halving import Halving
from sweeps.manifest import draw_trials
from sweeps.space import read_space

BENCHMARKS = ("split-mnist", "permuted-mnist")


def test_what_an_ablation_sets_is_not_searched():
    for name, settings in ABLATIONS.items():
        space = variant_space("presynaptic", settings, name, ALL["permuted-mnist"])
        assert set(space.search) == set(RANGES) - set(settings)
        assert settings.items() <= space.fixed.items() and space.fixed["validation"] == 10_000
    assert len({variant_space("presynaptic", ABLATIONS[a], a, ALL[b]).name for a in ABLATIONS for b in BENCHMARKS}) == 14


def test_every_ablation_has_the_authors_parameters_and_every_departure_trains():
    assert set(authors_parameters()) == {(a, b) for a in ABLATIONS for b in BENCHMARKS}
    for settings in [*ABLATIONS.values(), *DEPARTURES.values()]:
        make_run("presynaptic", "split-mnist", 1, settings)


def test_differences_are_of_the_same_seeds():
    values = {"full": {1: 0.8, 2: 0.82, 3: 0.84}, "ghost": {1: 0.78, 2: 0.81}, "lost": {1: None}}
    frame = pd.DataFrame(
        [(a, "b", s, "finished" if v else "diverged", v) for a, of in values.items() for s, v in of.items()],
        columns=["ablation", "benchmark", "seed", "status", "mean_accuracy"],
    )
    table = make_table(frame).set_index("ablation")
    ghost = table.loc["ghost"]
    assert (ghost.ours, ghost.difference, ghost.difference_error, ghost.n) == pytest.approx((79.5, -1.5, 0.5, 2))
    assert ghost.t == pytest.approx(-3) and table.loc["lost", ["n", "lost"]].tolist() == [0, 1]
    elsewhere = frame[frame.ablation != "full"].assign(benchmark="c")
    both = make_table(pd.concat([elsewhere, frame])).set_index(["ablation", "benchmark"])
    assert both.loc[("ghost", "b"), "difference"] == pytest.approx(-1.5)
    assert both.xs("c", level="benchmark").difference.isna().all(), "nothing takes the place of the whole rule"
    with_ids = frame.assign(run_id="x")
    assert [_loss(with_ids, "full", variant, "b").lost for variant in ("ghost", "lost")] == [0, 1]


def test_so_far_leaves_out_what_is_not_searched_yet(home, here, capsys):
    """Without parameters of its own a variant would be trained with the default ones, which Table 1 has in the store."""
    full = ["--method", "presynaptic", "--benchmark", "split-digits", "--seeds", "1"]
    assert main(["run", *full]) == 0
    words = ["reproduce", "ablations", "--digits", "--seeds", "1", "--results", "out", "--so-far"]
    assert main(words) == 1
    assert "None of the runs of ablations" in capsys.readouterr().err and not Path("out/ablations").exists()


def test_search_then_reuse(home, here, capsys):
    words = ["ablate", "--digits", "--off", "no-freezing", "--trials", "2", "--seeds", "1", "2"]
    assert main(words) == 0
    folder = home / ".presyn" / "quickstart" / "ablations-presynaptic" / "searched"
    rows = pd.read_csv(folder / "runs.csv")
    assert capsys.readouterr().err.count("2 searches: 4 runs") == 1, "all searches of a study are planned and trained together"
    winners = yaml.safe_load((folder / "winners.yaml").read_text())["split-digits"]
    assert set(winners) == {"full", "no-freezing"} and "p_freeze" not in winners["no-freezing"]
    assert rows.ablation.tolist() == ["full", "full", "no-freezing", "no-freezing"] and not set(rows.seed) - {1, 2}
    best = next(folder.glob("search/*no-freezing*/best.yaml"))
    whole = best.read_text()
    best.write_text(whole.replace("rules_version: 1", "rules_version: 0"))
    assert main([*words, "--reuse-parameters"]) == 1 and "its rules_version is 0" in capsys.readouterr().err
    best.write_text(whole + "code: 0123456789abcdef\n")
    assert main([*words, "--reuse-parameters"]) == 1
    said = capsys.readouterr().err
    assert "with other code of presynaptic than" in said and "Without --reuse-parameters they are searched." in said
    best.write_text(whole)
    (folder / "winners.yaml").write_text("split-digits: [1]\n")
    assert main(words) == 1 and "holds no winners of ablations. Delete it" in capsys.readouterr().err
    (folder / "winners.yaml").unlink()
    assert main([*words, "--reuse-parameters"]) == 0
    assert pd.read_csv(folder / "runs.csv").run_id.tolist() == rows.run_id.tolist()
    assert "no-freezing" in capsys.readouterr().out and (folder / "table.png").exists()
    assert main(["ablate", "--digits", "--off", "no-freezing", "--reuse-parameters", "--seeds", "1"]) == 1
    assert "would drop, such as ablation full, benchmark split-digits, seed 2" in capsys.readouterr().err
    assert main(["ablate", "--digits", "--off", "ghost", "--reuse-parameters", "--seeds", "1", "2"]) == 1
    assert "has no parameters of ghost on split-digits" in capsys.readouterr().err
    fewer = ["search", "--space", "space.yaml", "--trials", "1", "--results", str(folder)]
    Path("space.yaml").write_text(
        "method: sgd\nbenchmark: split-digits\nfixed: {validation: 300, epochs: 1}\nsearch: {eta0: {choices: [0.1, 0.2]}}"
    )
    assert main([*fewer[:3], "--trials", "2", *fewer[5:]]) == 0 and main(fewer) == 1
    assert "would drop, such as trial 1" in capsys.readouterr().err


def test_columns_of_other_benchmarks_stay_in_the_table(home, here, monkeypatch):
    monkeypatch.setattr(
        pipeline.experiments.ablations.variants, "DEPARTURES", {k: DEPARTURES[k] for k in ("released", "bias=none")}
    )
    words = ["ablate", "--departures", "--seeds", "1", "--results", "out", "--benchmarks"]
    path = Path("out/departures/runs.csv")
    assert main([*words, "split-digits"]) == 0
    first = path.read_text().splitlines()
    assert main([*words, "permuted-digits"]) == 0
    lines = path.read_text().splitlines()
    assert lines[: len(first)] == first and len(lines) == 2 * len(first) - 1
    table = pd.read_csv(path.with_name("table.csv"))
    assert table.groupby("benchmark").ablation.count().to_dict() == {"split-digits": 2, "permuted-digits": 2}
    assert main([*words, "split-digits"]) == 0
    assert sorted(path.read_text().splitlines()) == sorted(lines)


def test_a_space_that_halves_is_refused_on_a_benchmark_with_fewer_tasks():
    space = read_space("presynaptic-permuted-mnist")
    halves = replace(space, sampler="tpe", halving=Halving((1, 3)))
    small = replace(ALL["permuted-digits"], name="small", tasks=2)
    with pytest.raises(PresynError, match="after under halving must be below the 2 tasks of small, not 3"):
        variant_space("presynaptic", {}, "full", small, own=halves)


def test_a_method_is_searched_where_its_own_space_says():
    def space(method, benchmark, settings):
        return variant_space(method, settings, "it", ALL[benchmark], trials=7)

    ewc = space("ewc", "split-fashion", {"form": "online"})
    assert ewc.search == read_space("ewc-split-mnist").search and ewc.trials == 7
    assert {"form": "online", "fisher": "sampled", "validation": 10_000}.items() <= ewc.fixed.items()
    bgd = space("bgd", "permuted-fashion", {"eta0": 1.0})
    assert list(bgd.search) == ["sigma0"] and [t.params["sigma0"] for t in draw_trials(bgd)] == [0.05, 0.01, 1e-3, 1e-4]
    assert space("sgd", "split-digits", {}).fixed["validation"] == 300
    nothing_left = space("sgd", "split-digits", {"eta0": 0.1, "optimizer": "adam"})
    assert nothing_left.trials == len(draw_trials(nothing_left)) == 1


def test_one_of_the_users_own(home, here):
    words = ["ablate", "--digits", "--method", "sgd", "--off", "optimizer=adam", "--trials", "1", "--seeds", "1", "2"]
    assert main(words) == 0
    rows = pd.read_csv(home / ".presyn" / "quickstart" / "ablations-sgd" / "searched" / "runs.csv")
    assert set(rows.ablation) == {"full", "optimizer=adam"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--off", "no-freezin"], "Did you mean no-freezing?"),
        (["--off", "p_freze=1"], "Did you mean p_freeze?"),
        (["--method", "sgd"], "--off is missing"),
        (["--digits", "--published-parameters"], "benchmark with published parameters"),
        (["--digits", "--reuse-parameters"], "Without --reuse-parameters they are searched"),
        (["--trials", "0"], "--trials must be at least 1"),
    ],
)
def test_bad_input_is_named(words, message, home, capsys):
    assert main(["ablate", *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["ablations/published", "ablations/searched", "departures"])
def test_the_results_page_shows_the_tables_that_the_rows_make(folder):
    root = Path(__file__).parents[2]
    table = shown(make_table(pd.read_csv(root / "results" / folder / "runs.csv"))).to_markdown(index=False)
    assert table in (root / "results" / folder / "table.md").read_text() and table in (root / "docs" / "results.md").read_text()


def test_ablations_in_a_space_of_ones_own_on_few_images_of_ones_own(home, here):
    rng = np.random.default_rng(0)
    y = np.arange(240) % 4
    x = np.clip(rng.integers(0, 200, (4, 5, 5))[y] + rng.integers(0, 40, (240, 5, 5)), 0, 255).astype(np.uint8)
    np.savez("mine.npz", train_x=x[:200], train_y=y[:200], test_x=x[200:], test_y=y[200:])
    own = "source: mine.npz\nkind: split\ntasks: 2\nepochs: 2\nbatch_size: 10\nhidden: [8]\nvalidation: 40\n"
    Path("mine.yaml").write_text(own)
    words = "ablate --method sgd --off optimizer=adam --benchmarks mine.yaml --trials 1 --seeds 1 --results out"
    assert main(words.split()) == 0
    searched = pd.read_csv("out/ablations-sgd/searched/search/sgd-full-mine/runs.csv").config.map(json.loads)
    reported = pd.read_csv("out/ablations-sgd/searched/runs.csv").config.map(json.loads)
    assert {c["validation"] for c in searched} == {40}, "10,000 are held out of 200 images"
    assert {c["validation"] for c in reported} == {0}, "reported on images that the search has chosen by"
    Path("space.yaml").write_text(
        "method: sgd\nbenchmark: mine.yaml\nsampler: tpe\ntrials: 3\nbatch: 2\nfixed: {validation: 40, epochs: 1}\n"
        "search: {eta0: {low: 0.01, high: 0.3, log: true}, optimizer: {choices: [sgd, adam]}}\n"
    )
    assert main(["ablate", "--space", "space.yaml", "--off", "optimizer=adam", "--seeds", "1", "2", "--results", "out"]) == 0
    folder = Path("out/ablations-space/searched")
    assert {p.name for p in (folder / "search").iterdir()} == {"space-full-mine", "space-optimizer-adam-mine"}
    winners = yaml.safe_load((folder / "winners.yaml").read_text())["mine"]
    assert set(winners["full"]) == {"eta0", "optimizer"} and set(winners["optimizer=adam"]) == {"eta0"}
    assert pd.read_csv(folder / "runs.csv").ablation.tolist() == ["full"] * 2 + ["optimizer=adam"] * 2
