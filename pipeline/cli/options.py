"""Options that commands share, each said once, and what they are read into."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.experiments.paper import FOUR, SEEDS, space_of
from pipeline.workspace import Workspace
from presyn import BENCHMARKS, METHODS, Benchmark, PresynError
from presyn.benchmarks import PATTERNS
from presyn.methods import PERCEPTRONS
from sweeps.files import parse_yaml, read_benchmark, read_yaml
from sweeps.space import MOST_TRIALS

Parser = argparse.ArgumentParser
Args = argparse.Namespace


@dataclass(frozen=True)
class Command:
    """A command: its help, its options, and the function that returns its exit code."""

    help: str
    options: Callable[[Parser], None]
    do: Callable[[Args], int]


@dataclass(frozen=True)
class Preset:
    """What a command does unless told otherwise."""

    space: str
    benchmarks: tuple[str, ...]
    results: Path


REAL = Preset(space_of("presynaptic"), FOUR, Path("results"))
DIGITS = Preset("presynaptic-permuted-digits", ("permuted-digits", "split-digits"), Path(".presyn/quickstart"))


def preset(args: Args) -> Preset:
    return DIGITS if getattr(args, "digits", False) else REAL


def storage(p: Parser, mlflow: bool = True) -> Any:
    """Where rows are, and MLflow."""
    group = p.add_argument_group("where")
    group.add_argument("--store", metavar="DIR", help="results, manifests, checkpoints (PRESYN_STORE; default .presyn)")
    if mlflow:
        group.add_argument("--mlflow", metavar="URI", help="MLflow (MLFLOW_TRACKING_URI; default SQLite in the store)")
        prefix = "before the names of MLflow's experiments, as in PREFIX/table1 (MLFLOW_EXPERIMENT_NAME; default none)"
        group.add_argument("--mlflow-prefix", metavar="PREFIX", help=prefix)
    return group


def place(p: Parser, ray: bool = True) -> None:
    """Where to train."""
    group = storage(p)
    group.add_argument("--data", help="folder of the IDX files (PRESYN_DATA; default a cache folder, with download)")
    group.add_argument("--device", help="cpu, cuda, … (PRESYN_DEVICE; default cuda if there is one)")
    group.add_argument("--tf32", action="store_true", help="let a GPU multiply in TF32: faster, less exact (default off)")
    group.add_argument("--wait", action="store_true", help="wait while another presyn uses the store")
    if ray:
        ray_help = "a Ray cluster (RAY_ADDRESS; default one that runs on this node, else Ray is started here)"
        group.add_argument("--ray-address", help=ray_help)
        group.add_argument("--cpus", type=int, default=1, help="cores that a cohort takes (default 1)")
        group.add_argument("--gpu-share", type=float, default=1.0, help="share of a GPU that a cohort takes (default 1)")
        group.add_argument("--cohort", type=int, help="most members of a cohort (default: chosen)")
        far = (
            "where checkpoints go, such as s3://bucket/folder, if nodes share no folder (PRESYN_CHECKPOINTS; default the store)"
        )
        group.add_argument("--checkpoints", metavar="URI", help=far)


def outcome(p: Parser) -> None:
    """What a stage is and where it goes."""
    p.add_argument("--results", type=Path, help="where tables and rows go (default results)")
    p.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    p.add_argument("--digits", action="store_true", help="on scikit-learn's digits: minutes, and no download")
    place(p)


def searched(p: Parser) -> None:
    """What is searched."""
    p.add_argument("--space", help=f"search space: a name or a .yaml file (default {REAL.space})")
    p.add_argument("--trials", type=int, help="configurations to draw (default: the space's)")


def seeded(p: Parser, default: Sequence[int] | None = SEEDS) -> None:
    """Seeds of the reported runs; without a default, those of the experiment."""
    told = "those of the experiment" if default is None else " ".join(map(str, default))
    given = None if default is None else [tuple(default)]
    p.add_argument("--seeds", type=_seeds, nargs="+", default=given, help=f"such as 1 2 3 or 1-3 (default {told})")


def _seeds(word: str) -> tuple[int, ...]:
    """'7' or '1-5'."""
    first, dash, last = word.partition("-")
    if not first.isdecimal() or dash and not last.isdecimal():
        raise argparse.ArgumentTypeError(f"a seed is a whole number, or some of them such as 1-5, not {word!r}")
    found = range(int(first), int(last or first) + 1)
    if not 0 < len(found) <= 1000:
        raise argparse.ArgumentTypeError(f"{word} is no range of at most 1000 seeds from a smaller to a larger number")
    return tuple(found)


def method(p: Parser, **how: Any) -> None:
    p.add_argument("--method", help=", ".join([*METHODS, *PERCEPTRONS]), **how)


def benchmarks(p: Parser, default: str) -> None:
    p.add_argument("--benchmarks", nargs="+", help=f"names or .yaml files (default {default})")


def settings(p: Parser, what: str) -> None:
    p.add_argument("--set", nargs="+", action="extend", default=[], metavar="FIELD=VALUE", help=what)


BENCHMARK_HELP = f"{', '.join(BENCHMARKS)}, {PATTERNS.name} (for {' and '.join(PERCEPTRONS)}), or a .yaml file"


def workspace(args: Args) -> Workspace:
    """The workspace that the options of a command name."""
    names = (
        "store",
        "mlflow",
        "data",
        "device",
        "ray_address",
        "cohort",
        "tf32",
        "gpu_share",
        "cpus",
        "checkpoints",
        "mlflow_prefix",
        "command_line",
    )
    given: dict[str, Any] = {name: getattr(args, name) for name in names if hasattr(args, name)}
    given["command"] = given.pop("command_line", "")
    return Workspace.open(getattr(args, "results", None) or preset(args).results, **given)


def read_benchmarks(names: Sequence[str]) -> tuple[Benchmark, ...]:
    """Benchmarks by names or paths, each once."""
    return tuple(dict.fromkeys(read_benchmark(name) for name in names))


def seeds_of(args: Args) -> tuple[int, ...]:
    """Seeds, each once."""
    return tuple(dict.fromkeys(seed for word in args.seeds for seed in word))


def trials_of(given: int | None, default: int) -> int:
    """Configurations to draw.

    Raises:
        PresynError: fewer than one.
    """
    trials = default if given is None else given
    if not 1 <= trials <= MOST_TRIALS:
        raise PresynError(f"--trials must be at least 1 and at most {MOST_TRIALS}, not {trials}.")
    return trials


def _from_file(path: Path) -> dict[str, Any]:
    """The fields in a YAML file; of a search's winner, what is carried over."""
    from sweeps.space import method_options

    values = read_yaml(path)
    space, params = values.get("space"), values.get("params")
    if isinstance(space, dict) and isinstance(params, dict) and space.get("method") in METHODS:
        return {**method_options(space["method"], space.get("fixed") or {}), **params}
    return values


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """['p_up=0.05', 'modulate_lr=false'] as a mapping of plain values.

    Raises:
        PresynError: a word is not FIELD=VALUE.
    """
    settings: dict[str, Any] = {}
    for word in words:
        if word.startswith("@"):
            settings |= _from_file(Path(word[1:]))
            continue
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise PresynError(f"--set takes FIELD=VALUE, such as p_up=0.05, not {word!r}.")
        if not value:
            raise PresynError(f"--set {word} has no value. Say {name}=none where none is meant.")
        try:
            settings[name] = parse_yaml(value)
        except PresynError:
            raise PresynError(f"--set {word}: {value!r} is not a value.") from None
    return settings
