"""The commands that carry out experiments. All go the same way: options, stages, `perform`."""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pipeline.cli.command import given_command, given_name
from pipeline.cli.options import (
    CHANGED_RESULTS,
    DIGITS_FOLDER,
    REAL_RESULTS,
    Execution,
    Words,
    check_trials,
    in_groups,
    open_workspace,
    parse_seeds,
    parse_settings,
    read_benchmarks,
    refuse_mixed_with_digits,
)
from pipeline.paper import RULE, space_name
from pipeline.places import MLflowPlace, StorePlace
from presyn.errors import PresynError
from sweeps.cluster import Cluster

StoreOptions = Annotated[StorePlace, Parameter(name="*")]
MLflowOptions = Annotated[MLflowPlace, Parameter(name="*")]
ClusterOptions = Annotated[Cluster, Parameter(name="*")]
ExecutionOptions = Annotated[Execution, Parameter(name="*")]
NO_STORE, NO_MLFLOW, NO_CLUSTER, NO_EXECUTION = StorePlace(), MLflowPlace(), Cluster(), Execution()
Build = Callable[[Any], Sequence[Any]]
"""A workspace -> the stages to carry out; called when the store is held, since some keep files in it."""


def _carry_out(
    build: Build, results: Path, places: Sequence[Any], *, wait: bool = False, show: Any = None, **flags: Any
) -> dict[str, Any]:
    """Carry stages out as the store's only writer, and print what they show."""
    from pipeline.cli.show import print_shown
    from pipeline.perform import perform

    workspace = open_workspace(results, given_command.get(), *places)
    with workspace.store.locked(given_name(), wait):
        return perform(build(workspace), workspace, show=show or print_shown, **flags)


def _prepare(execution: Execution, store: StorePlace, digits: bool, otherwise: Path = REAL_RESULTS) -> Path:
    """The results folder, made now, so that one that cannot be made is found before long work."""
    from pipeline.records.files import refuse_unwritable
    from pipeline.workspace import store_folder

    folder = execution.results or (store_folder(store.store) / DIGITS_FOLDER if digits else otherwise)
    refuse_unwritable(folder, "--results")
    return folder


def run(
    *,
    method: str,
    benchmark: str,
    seeds: Words = None,
    set: Words = None,
    json: bool = False,
    rows: Path | None = None,
    dry_run: bool = False,
    fresh: bool = False,
    wait: bool = False,
    store: StoreOptions = NO_STORE,
    mlflow: MLflowOptions = NO_MLFLOW,
    cluster: ClusterOptions = NO_CLUSTER,
) -> int:
    """Train some runs in this process and print them.

    Parameters
    ----------
    method
        a method by name, such as presynaptic; `presyn options` lists them
    benchmark
        a benchmark by name, such as split-mnist, or a .yaml file
    seeds
        such as 1 2 3 or 1-3 (default 2019)
    set
        FIELD=VALUE: any field of the method or the benchmark; @FILE takes those in a YAML file
    json
        print one JSON object on stdout, and nothing else there
    rows
        also write them to this CSV, as the tables' rows are
    dry_run
        print the plan and stop
    fresh
        train again what is in the store
    wait
        wait while another presyn uses the store
    """
    from pipeline.cli.show import as_json, print_rows
    from pipeline.experiments.run import Runs
    from pipeline.records.files import refuse_unwritable
    from sweeps.files import read_benchmark

    settings, numbers = parse_settings(set), parse_seeds(seeds, (2019,))
    if rows:
        refuse_unwritable(rows, "--rows", is_file=True)
    stage = Runs(method, read_benchmark(benchmark), numbers or (), settings, rows)
    finished: list[bool] = []
    stdout = sys.stdout

    def show(_: Any, made: Any) -> None:
        finished.append(all(row.status == "finished" for row in made.value))
        with redirect_stdout(stdout):
            print(as_json(made.value)) if json else print_rows(made.value)

    with redirect_stdout(sys.stderr) if json else nullcontext():  # whatever a library prints, stdout is the object
        flags = {"wait": wait, "fresh": fresh, "dry_run": dry_run}
        _carry_out(lambda _: [stage], REAL_RESULTS, (store, mlflow, cluster), show=show, here=True, **flags)
    return 0 if all(finished) else 2


def _space(name: str | None, trials: int | None, digits: bool) -> Any:
    from pipeline.experiments.catalogue import DIGITS_SPACE
    from sweeps.space import grid_size, read_space

    space = read_space(name or (DIGITS_SPACE if digits else space_name(RULE)))
    number = check_trials(trials, space.trials)
    if space.sampler == "grid" and number > grid_size(space.search):
        raise PresynError(f"--trials is {number}, but the grid of {space.name} has {grid_size(space.search)} points.")
    return replace(space, trials=number)


def search(
    *,
    space: str | None = None,
    trials: int | None = None,
    so_far: bool = False,
    digits: bool = False,
    execution: ExecutionOptions = NO_EXECUTION,
    store: StoreOptions = NO_STORE,
    mlflow: MLflowOptions = NO_MLFLOW,
    cluster: ClusterOptions = NO_CLUSTER,
) -> int:
    """Search a method's parameters on validation data.

    Parameters
    ----------
    space
        search space: a name or a .yaml file (default presynaptic-permuted-mnist)
    trials
        configurations to draw (default: the space's)
    so_far
        choose the best of the runs that are in the store; train nothing
    digits
        on scikit-learn's digits: minutes, and no download
    """
    from pipeline.experiments.search.stage import search as make_search

    searched = _space(space, trials, digits)
    results = _prepare(execution, store, digits)
    places, flags = (store, mlflow, cluster), {**_flags(execution), "so_far": so_far}
    _carry_out(lambda workspace: [make_search(searched, workspace.store.manifests)], results, places, **flags)
    return 0


def _flags(execution: Execution) -> dict[str, bool]:
    return {"dry_run": execution.dry_run, "fresh": execution.fresh, "wait": execution.wait}


def table1(
    *,
    seeds: Words = None,
    benchmarks: Words = None,
    space: str | None = None,
    trials: int | None = None,
    so_far: bool = False,
    digits: bool = False,
    execution: ExecutionOptions = NO_EXECUTION,
    store: StoreOptions = NO_STORE,
    mlflow: MLflowOptions = NO_MLFLOW,
    cluster: ClusterOptions = NO_CLUSTER,
) -> int:
    """Search, carry the winner over, train the controls, and print Table 1.

    Parameters
    ----------
    seeds
        such as 1 2 3 or 1-3 (default 2019 2020 2021)
    benchmarks
        names or .yaml files (default the paper's four)
    space
        search space: a name or a .yaml file (default presynaptic-permuted-mnist; on benchmarks of your own, your space on one
        of them, else no search: what was searched before is carried over)
    trials
        configurations to draw (default: the space's)
    so_far
        make the table of the runs that are in the store; train nothing
    digits
        on scikit-learn's digits: minutes, and no download
    """
    from pipeline.experiments.catalogue import DIGITS_BENCHMARKS
    from pipeline.experiments.search.stage import search as make_search
    from pipeline.experiments.table1.stage import Table1, tuned_winners
    from pipeline.paper import BENCHMARKS
    from sweeps.space import own_space

    columns, numbers = read_benchmarks(benchmarks or (DIGITS_BENCHMARKS if digits else BENCHMARKS)), parse_seeds(seeds)
    refuse_mixed_with_digits(digits, columns)
    if space is None and not any(b.name in (*BENCHMARKS, *DIGITS_BENCHMARKS) for b in columns):
        space = own_space(RULE, [b.name for b in columns])
        if trials is not None and space is None:
            raise PresynError("--trials is of a search, and there is none: name its space with --space.")
        searched = None if space is None else _space(space, trials, digits)
    else:
        searched = _space(space, trials, digits)
    results = _prepare(execution, store, digits)

    def build(workspace: Any) -> Sequence[Any]:
        its_search = None if searched is None else make_search(searched, workspace.store.manifests)
        return [Table1(its_search, numbers or (), columns, tuned_winners(results, columns))]

    if _carry_out(build, results, (store, mlflow, cluster), so_far=so_far, **_flags(execution)):
        print(f"Rows and tables: {results / 'table1'}   MLflow: presyn mlflow-ui", file=sys.stderr)
    return 0


def ablate(
    *,
    method: str = RULE,
    off: Annotated[list[list[str]] | None, Parameter(consume_multiple=True, converter=in_groups)] = None,
    departures: bool = False,
    reuse_parameters: bool = False,
    published_parameters: bool = False,
    space: str | None = None,
    benchmarks: Words = None,
    seeds: Words = None,
    trials: int | None = None,
    digits: bool = False,
    execution: ExecutionOptions = NO_EXECUTION,
    store: StoreOptions = NO_STORE,
    mlflow: MLflowOptions = NO_MLFLOW,
    cluster: ClusterOptions = NO_CLUSTER,
) -> int:
    """Switch parts of a rule off, with parameters searched again for each, and print the table.

    Parameters
    ----------
    method
        the rule
    off
        ablations by name, or FIELD=VALUE to switch something off yourself (repeatable; default: all of Fig. 5a)
    departures
        instead: what the released code does otherwise than the paper says
    reuse_parameters
        the parameters that the last search found
    published_parameters
        the authors' parameters
    space
        search every ablation in this space, but for what it sets: a name or a .yaml file, which also says the rule
    benchmarks
        names or .yaml files (default that of --space, or split-mnist permuted-mnist, with --departures
        continuous-permuted-mnist too)
    seeds
        such as 1 2 3 or 1-3 (default 2019 2020 2021)
    trials
        configurations to draw for each ablation and benchmark (default 24, or those of --space)
    digits
        on scikit-learn's digits: minutes, and no download
    """
    from pipeline.experiments.ablations.stage import ablations, choose
    from sweeps.space import read_space

    number = None if trials is None else check_trials(trials, trials)
    if reuse_parameters and published_parameters:
        raise PresynError("--reuse-parameters and --published-parameters do not go together: choose one of them.")
    if off is not None and not all(off):
        raise PresynError("--off takes ablations by name, or FIELD=VALUE: say what to switch off.")
    if trials is not None and (departures or published_parameters):
        raise PresynError("--trials is of a search, and there is none with these options: leave it out.")
    source = "published" if published_parameters else "reuse" if reuse_parameters else "search"
    groups = None if off is None else [_names_and_settings(group) for group in off]
    names = benchmarks or (["split-digits"] if digits and space is None else None)
    searched_space = None if space is None else read_space(space)
    columns = read_benchmarks(names) if names else None
    refuse_mixed_with_digits(digits, columns or ())
    choice = choose(method, groups, departures, source, columns, searched_space)
    results, numbers = _prepare(execution, store, digits), parse_seeds(seeds)

    def build(workspace: Any) -> Sequence[Any]:
        return [ablations(choice, numbers or (), results, number, workspace.store.manifests)]

    if _carry_out(build, results, (store, mlflow, cluster), **_flags(execution)):
        print(f"Rows, table and figure: {results / choice.name}", file=sys.stderr)
    return 0


def _names_and_settings(group: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Ablations by name, and one of one's own by its settings."""
    return [word for word in group if "=" not in word], parse_settings([word for word in group if "=" in word])


def reproduce(
    *names: str,
    list: bool = False,
    claim: Words = None,
    seeds: Words = None,
    set: Words = None,
    so_far: bool = False,
    digits: bool = False,
    execution: ExecutionOptions = NO_EXECUTION,
    store: StoreOptions = NO_STORE,
    mlflow: MLflowOptions = NO_MLFLOW,
    cluster: ClusterOptions = NO_CLUSTER,
) -> int:
    """Carry out experiments of the paper or of your own by name, or the runs behind a claim.

    Parameters
    ----------
    names
        experiments, as --list names them; without a name, all of the paper's, or all of --module
    list
        list the experiments, and what your own files add
    claim
        instead: train the runs that the verdict on this claim rests on, such as E2, with the same seeds and settings
    seeds
        such as 1 2 3 or 1-3 (default those of the experiment)
    set
        FIELD=VALUE: any field of the methods or benchmarks, such as epochs=2
    so_far
        make it of the runs that are in the store; train nothing
    digits
        on scikit-learn's digits: minutes, and no download
    """
    from pipeline.experiments.catalogue import Choice, chosen_names, chosen_stages, listing, user_stages
    from pipeline.experiments.claim_runs import ClaimRuns

    if list:
        print(*listing(), sep="\n")
        return 0
    settings, numbers = parse_settings(set), parse_seeds(seeds, None)
    own_alone = {*chosen_names(names)} <= user_stages().keys()
    # Other seeds and settings do not go where the paper's rows are, which would be lost.
    changed = (seeds or settings) and not digits and not own_alone
    results = _prepare(execution, store, digits, CHANGED_RESULTS if changed else REAL_RESULTS)

    def build(workspace: Any) -> Sequence[Any]:
        if claim:
            if names or changed or digits:
                raise PresynError("--claim trains the runs that a verdict rests on: give it no names, seeds or settings.")
            return [ClaimRuns.of_claim(id, results) for id in claim]
        choice = Choice(results, workspace.store.manifests, numbers, settings, digits)
        return chosen_stages(names, choice)

    def show(stage: Any, made: Any) -> None:
        from pipeline.cli.show import print_shown

        print_shown(stage, made)
        print(f"{stage.title}: {stage.folder(results)}", file=sys.stderr)

    _carry_out(build, results, (store, mlflow, cluster), so_far=so_far, show=show, **_flags(execution))
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "run": run,
    "search": search,
    "table1": table1,
    "ablate": ablate,
    "reproduce": reproduce,
}
