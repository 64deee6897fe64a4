"""The ablations of Fig. 5a and the departures of the released code: the same rule with a part of it off or otherwise.

Each ablation is searched again on the validation data of each benchmark, or takes the authors' parameters, or ours of before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from optuna.distributions import BaseDistribution, FloatDistribution

from pipeline.paper import PAPER
from pipeline.rows import export, read_rows, refuse_to_drop
from pipeline.search import search
from pipeline.statistics import Sample, holm, paired
from pipeline.store import Store
from pipeline.tracking import Stage, Tracker, digest
from pipeline.training import Plan, describe, out, train
from presyn import PresynError, make_run
from presyn.benchmarks import SEARCH_SEEDS, Benchmark
from presyn.options import reject_unknown
from sweeps.execute import Cluster
from sweeps.files import read_benchmark
from sweeps.space import Space, own_options, read_space, space_names

FULL = "full"
SEARCHED = "ablations/searched"  # where the study of all of Fig. 5a is
ABLATIONS: dict[str, dict[str, Any]] = {
    FULL: {},
    "no-freezing": {"p_freeze": 1.0},
    "no-lr-modulation": {"modulate_lr": False},
    "no-consolidation": {"p_freeze": 1.0, "modulate_lr": False},
    "ghost": {"release": 0.5, "ghost_scale": "ghost"},
    "ghost-by-release": {"release": 0.5, "ghost_scale": "release"},
    "no-normalisation": {"normalise": False},
}
"""Fig. 5a, with the ghost control in both readings (PAPER sections 2 and 4)."""

DEPARTURES: dict[str, dict[str, Any]] = {
    "released": {},
    "p_step=additive": {"p_step": "additive"},
    "threshold=gt": {"threshold": "gt"},
    "p_up and p_down as printed": {"p_up": 0.0516, "p_down": 0.0520},
    "bias=none": {"bias": "none"},
    "bias=trained": {"bias": "trained"},
    "printed": {"rule": "printed"},
}
"""What the released code does otherwise than the paper says, one by one and as a whole (PAPER section 2, rows 1, 2, 3, 5)."""
TRANSITIONS: dict[str, dict[str, Any]] = {"released": {"transition": "zeno"}, "transition=released": {"transition": "released"}}
"""Row 9, on a continuous benchmark; elsewhere the transition has no meaning."""

RANGES: dict[str, BaseDistribution] = {
    "p_up": FloatDistribution(0.01, 0.1),
    "p_down": FloatDistribution(0.01, 0.1),
    "p_freeze": FloatDistribution(0.9, 0.96),
}
"""The authors' search (PAPER section 4)."""
OTHERS: dict[str, BaseDistribution] = {"eta0": FloatDistribution(1e-4, 1e-1, log=True)}
"""Of a method that has no search space."""
VALIDATION = {"digits": 300}
"""Training images held out for a search: of small datasets; 10,000 of the others."""


@dataclass(frozen=True)
class Study:
    """What is switched off, on what, and where its parameters come from.

    Attributes:
        variants: Benchmark -> name -> settings; the first name is what the others are compared with.
        parameters: search, reuse (the winners of the last search), published (those of the ablations), or default.
    """

    name: str
    method: str
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]]
    seeds: tuple[int, ...]
    parameters: str
    trials: int = 24


def own_variants(off: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The full rule, and it with each of these settings."""
    names = [", ".join(f"{k}={v}" for k, v in settings.items()) for settings in off]
    return {FULL: {}, **{name: dict(settings) for name, settings in zip(names, off, strict=True)}}


def check(study: Study) -> None:
    """Raise a PresynError for what cannot be trained or found, before anything is opened."""
    if max(study.seeds) >= SEARCH_SEEDS:
        raise PresynError(f"seeds from {SEARCH_SEEDS} on are for searches; report with smaller ones.")
    for benchmark, variants in study.variants.items():
        for settings in variants.values():
            make_run(study.method, read_benchmark(benchmark), study.seeds[0], settings)


def space_of(study: Study, variant: str, benchmark: str) -> Space:
    """Where a variant's parameters are searched: the authors' ranges, or those of the method's own space; what the variant sets
    is not searched."""
    settings, tasks = dict(study.variants[benchmark][variant]), read_benchmark(benchmark)
    own = None if study.method == "presynaptic" else _own_space(study.method, tasks)
    ranges = RANGES if study.method == "presynaptic" else own.search if own else OTHERS
    search = {k: ranges[k] for k in (ranges if own else sorted(ranges)) if k not in settings}
    chance = {"drop_below": 0.5} if tasks.kind != "split" else {}
    of_method = own_options(study.method, own.fixed) if own else {}
    fixed = {"validation": VALIDATION.get(tasks.dataset, 10_000), "tests": "new", **chance, **of_method, **settings}
    name = f"{study.method}-{variant.replace('=', '-').replace(', ', '-')}-{Path(benchmark).stem}"
    sampler = own.sampler if own else "random"
    return Space(name, study.method, tasks, search, fixed, study.trials if search else 1, 2021, sampler)


def _own_space(method: str, benchmark: Benchmark) -> Space | None:
    """The search space that comes along with a method for this kind of benchmark, or for permuted ones."""
    for kind in ("permuted" if benchmark.permuted else "split", "permuted"):
        if f"{method}-{kind}-mnist" in space_names():
            return read_space(f"{method}-{kind}-mnist")
    return None


def published_parameters() -> dict[tuple[str, str], dict[str, float]]:
    """(ablation, benchmark) -> the authors' parameters."""
    frame = pd.read_csv(PAPER / "ablations.csv")
    return {(r.ablation, r.benchmark): {k: getattr(r, k) for k in RANGES} for r in frame.itertuples()}


def _parameters(
    study: Study, store: Store, cluster: Cluster, uri: str, results: Path, dry_run: bool
) -> dict[tuple[str, str], Any]:
    """(variant, benchmark) -> parameters."""
    pairs = [(v, b) for b, variants in study.variants.items() for v in variants]
    if study.parameters == "default":
        return {pair: {} for pair in pairs}
    if study.parameters == "published":
        known = published_parameters()
        for v, b in pairs:
            reject_unknown([b], {b for _, b in known}, "benchmark with published parameters")
            reject_unknown([v], {v for v, _ in known}, "ablation with published parameters")
        return {pair: known[pair] for pair in pairs}
    folder = results / study.name
    winners = folder / "winners.yaml"
    if study.parameters == "reuse":
        if not winners.exists() and study.method == "presynaptic":
            winners = results / SEARCHED / "winners.yaml"
        if not winners.exists():
            raise PresynError(f"{winners} is missing: without --reuse-parameters they are searched.")
        saved = yaml.safe_load(winners.read_text())
        missing = [f"{v} on {b}" for v, b in pairs if v not in saved.get(b, {})]
        if missing:
            raise PresynError(f"{winners} has no parameters of {missing[0]}: without --reuse-parameters they are searched.")
        return {(v, b): saved[b][v] for v, b in pairs}
    winners_of = search([space_of(study, v, b) for v, b in pairs], store, cluster, uri, folder, dry_run)
    found = {pair: winner.params if winner else {} for pair, winner in zip(pairs, winners_of, strict=True)}
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        saved = yaml.safe_load(winners.read_text()) if winners.exists() else {}
        for (v, b), params in found.items():
            saved.setdefault(b, {})[v] = params
        winners.write_text(yaml.safe_dump(saved))
    return found


def ablate(study: Study, store: Store, cluster: Cluster, uri: str, results: Path, dry_run: bool = False) -> pd.DataFrame | None:
    """Search where asked, train, and write rows, table and figure; returns the table, or None for a dry run.

    A column of the table stands for itself, so those of other benchmarks stay in it.

    Raises:
        PresynError: bad input, no parameters to reuse, no finished configuration, or rows would be lost.
    """
    check(study)
    folder = results / study.name
    others = None
    if not dry_run and (folder / "runs.csv").exists():
        columns = ["ablation", "benchmark", "seed"]
        there = read_rows(folder / "runs.csv", columns)
        others = there[~there.benchmark.isin(list(study.variants))]
        keys = [(v, b, s) for b, variants in study.variants.items() for v in variants for s in study.seeds]
        refuse_to_drop(folder / "runs.csv", columns, [*keys, *others[columns].itertuples(index=False, name=None)])
    parameters = _parameters(study, store, cluster, uri, results, dry_run)
    plan = Plan(store, cluster)
    labelled = []
    for (variant, benchmark), params in parameters.items():
        of_method = own_options(study.method, space_of(study, variant, benchmark).fixed)  # as when it was searched
        settings = {**params, **of_method, **study.variants[benchmark][variant]}
        for seed in study.seeds:
            labelled.append((variant, plan.add(make_run(study.method, read_benchmark(benchmark), seed, settings))))
    describe(plan, f"{study.name}, parameters: {study.parameters}")
    if dry_run:
        return None
    ids = sorted({i for _, i in labelled})
    stage = Stage("ablations", f"{study.name}/{study.parameters}/{digest(ids)}", study.name, ids)
    stage.save(store)
    tracker = Tracker(uri, store, stage)
    train(plan, tracker, study.name)
    rows = [(plan.rows[i], {"stage": "ablations", "ablation": v}) for v, i in labelled]
    frame = export(folder / "runs.csv", rows, others)
    table = make_table(frame)
    files = write(table, folder)
    stage.files = [str(f.absolute()) for f in (folder / "runs.csv", *files)]
    stage.table = str((folder / "table.csv").absolute())
    stage.save(store)
    tracker.finish()
    return table


def make_table(frame: pd.DataFrame) -> pd.DataFrame:
    """From rows alone, a line for each variant and benchmark, accuracies in %.

    Columns: ablation, benchmark, ours, standard_error, n, lost, difference (from the first variant of the benchmark, over the
    seeds of both), difference_error, t and p (paired t test, Holm over the benchmark).
    """
    lines = []
    for benchmark in frame.benchmark.unique():
        of = frame[(frame.benchmark == benchmark) & (frame.status == "finished")]
        by_seed = {a: 100 * of[of.ablation == a].set_index("seed").mean_accuracy for a in frame.ablation.unique()}
        all_of = frame[frame.benchmark == benchmark]
        names = list(all_of.ablation.unique())
        full = by_seed[names[0]]
        differences = {a: (by_seed[a] - full).dropna().tolist() for a in names[1:]}
        found = {a: paired(d) for a, d in differences.items() if d}
        adjusted = dict(zip(found, holm([d.p for d in found.values()]), strict=True))
        for a in names:
            ours = Sample.of(by_seed[a].tolist()) if len(by_seed[a]) else Sample(float("nan"), float("nan"), 0)
            d = found.get(a)
            lines.append(
                {
                    "ablation": a,
                    "benchmark": benchmark,
                    "ours": ours.mean,
                    "standard_error": ours.standard_error,
                    "n": ours.n,
                    "lost": int((all_of.ablation == a).sum()) - ours.n,
                    "difference": d.mean if d else float("nan"),
                    "difference_error": d.standard_error if d else float("nan"),
                    "t": d.t if d else float("nan"),
                    "p": adjusted.get(a, float("nan")),
                }
            )
    return pd.DataFrame(lines)


CAPTION = (
    "Accuracy in %, mean ± standard error over seeds; in brackets the difference from the first row over the same seeds, "
    "and p of a paired t test, Holm over the column."
)


def display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    benchmarks = list(table.benchmark.unique())
    rows = []
    for a in table.ablation.unique():
        cells = []
        for b in benchmarks:
            of = table[(table.ablation == a) & (table.benchmark == b)]
            cells.append("–" if of.empty else _cell(of.iloc[0]))
        rows.append([a, *cells])
    return pd.DataFrame(rows, columns=["", *benchmarks])


def _cell(line: pd.Series) -> str:
    lost = f", {line.lost} lost" if line.lost else ""
    p = "" if line.p != line.p else f", p = {line.p:.3f}" if line.p >= 0.001 else ", p < 0.001"
    change = "" if line.difference != line.difference else f" ({line.difference:+.2f}{p})"
    return f"{Sample(line.ours, line.standard_error, line.n)}{change}{lost}"


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the table as CSV and Markdown, and bars as in Fig. 5a; returns the files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = {kind: folder / f"table.{kind}" for kind in ("csv", "md", "png")}
    table.round(4).to_csv(names["csv"], index=False)
    names["md"].write_text(f"{display(table).to_markdown(index=False)}\n\n{CAPTION}\n")
    benchmarks = list(table.benchmark.unique())
    figure, axes = plt.subplots(1, len(benchmarks), figsize=(4.2 * len(benchmarks), 4), squeeze=False)
    for ax, b in zip(axes[0], benchmarks, strict=True):
        of = table[table.benchmark == b]
        ax.bar(of.ablation, of.ours, yerr=of.standard_error.fillna(0), capsize=3, color=["C1"] + ["C0"] * (len(of) - 1))
        low = (of.ours - of.standard_error.fillna(0)).min()
        ax.set(title=b, ylabel="mean accuracy in %", ylim=(max(0, low - 5), min(100, of.ours.max() + 3)))
        ax.tick_params(axis="x", rotation=90)
    figure.tight_layout()
    figure.savefig(names["png"], dpi=130, metadata={"Software": None})
    plt.close(figure)
    return list(names.values())


def show(table: pd.DataFrame, title: str) -> None:
    """The table on the terminal."""
    from rich.table import Table

    shown = display(table)
    grid = Table(title=title, caption=CAPTION)
    for name in shown.columns:
        grid.add_column(name)
    for row in shown.itertuples(index=False):
        grid.add_row(*row)
    out.print(grid)
