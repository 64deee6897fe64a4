"""Options that commands share, each said once: as a field of a dataclass, whose docstring is the help."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from pipeline.paper import SEEDS
from presyn.errors import PresynError

Words = Annotated[list[str] | None, Parameter(consume_multiple=True)]
"""Several words at once; the option can be given several times."""

REAL_RESULTS, CHANGED_RESULTS = Path("results"), Path("my-results")
"""Where a command writes by default: the paper's runs, and those with other seeds or settings."""
DIGITS_FOLDER = "quickstart"
"""The folder of the store in which results on the digits are."""


@dataclass(frozen=True)
class Execution:
    """How a command carries out its stages, and where what they make goes."""

    results: Path | None = None
    """where tables and rows go (default results; my-results if reproduce has --seeds or --set; with --digits in the store)"""
    dry_run: bool = False
    """print the plan and stop"""
    fresh: bool = False
    """train again what is in the store"""
    wait: bool = False
    """wait while another presyn uses the store"""


def open_workspace(results: Path, command: str, *places: Any) -> Any:
    """The workspace that the options of a command name.

    Args:
        results: The folder that stages write to.
        command: The words that were given.
        places: StorePlace, MLflowPlace, Cluster: those that the command has.
    """
    from pipeline.workspace import Workspace

    return Workspace.open(results, command, **{k: v for place in places for k, v in asdict(place).items()})


def parse_seeds(words: Sequence[str] | None, default: tuple[int, ...] | None = SEEDS) -> tuple[int, ...] | None:
    """Seeds such as 7 or 1-5, each once; the default if none is given.

    Raises:
        PresynError: a word is no seed and no range of at most 1000 of them.
    """
    if words is None:
        return default
    seeds: list[int] = []
    for word in words:
        first, dash, last = word.partition("-")
        if not _is_number(first) or dash and not _is_number(last):
            raise PresynError(f"--seeds takes whole numbers, or ranges such as 1-5, not {word!r}.")
        numbers = range(int(first), int(last or first) + 1)
        if not 0 < len(numbers) <= 1000:
            raise PresynError(f"--seeds {word} is no range of at most 1000 seeds from a smaller to a larger number.")
        seeds += numbers
    if not seeds:
        raise PresynError("--seeds names no seed: give some, such as 1 2 3 or 1-3.")
    return tuple(dict.fromkeys(seeds))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 20


def read_benchmarks(names: Sequence[str]) -> tuple[Any, ...]:
    """Benchmarks by names or paths, each once."""
    from sweeps.files import read_benchmark

    return tuple(dict.fromkeys(read_benchmark(name) for name in names))


def refuse_mixed_with_digits(digits: bool, benchmarks: Sequence[Any]) -> None:
    """Raise a PresynError for --digits with benchmarks on other images, which would take hours and a download."""
    others = [benchmark.name for benchmark in benchmarks if benchmark.dataset != "digits"]
    if digits and others:
        raise PresynError(
            f"--digits does not go with the benchmark {others[0]}, which is not on the digits: leave one of them out."
        )


def check_trials(trials: int | None, default: int) -> int:
    """Configurations to draw.

    Raises:
        PresynError: fewer than one.
    """
    from sweeps.space import MOST_TRIALS

    number = default if trials is None else trials
    if not 1 <= number <= MOST_TRIALS:
        raise PresynError(f"--trials must be at least 1 and at most {MOST_TRIALS}, not {number}.")
    return number


def parse_settings(words: Sequence[str] | None, option: str = "--set") -> dict[str, Any]:
    """['p_up=0.05', 'modulate_lr=false', '@best.yaml'] as a mapping of plain values.

    Raises:
        PresynError: a word is not FIELD=VALUE.
    """
    from sweeps.files import parse_yaml

    settings: dict[str, Any] = {}
    for word in words or ():
        if word.startswith("@"):
            settings |= _settings_in_file(Path(word[1:]))
            continue
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise PresynError(f"{option} takes FIELD=VALUE, such as p_up=0.05, not {word!r}.")
        if not value:
            raise PresynError(f"{option} {word} has no value. Say {name}=none where none is meant.")
        try:
            settings[name] = parse_yaml(value)
        except PresynError:
            raise PresynError(f"{option} {word}: {value!r} is not a value.") from None
    return settings


def _settings_in_file(path: Path) -> dict[str, Any]:
    """The fields in a YAML file; of a search's winner, what is carried over."""
    from presyn import METHODS
    from sweeps.files import read_yaml
    from sweeps.space import method_options

    values = read_yaml(path)
    space, params = values.get("space"), values.get("params")
    if isinstance(space, dict) and isinstance(params, dict) and space.get("method") in METHODS:
        return {**method_options(space["method"], space.get("fixed") or {}), **params}
    return values


def in_groups(_: Any, tokens: Sequence[Token]) -> list[list[str]]:
    """The words of each time that an option is given, for cyclopts."""
    groups: list[list[str]] = []
    for token in tokens:
        if token.index == 0:
            groups.append([])
        groups[-1].append(token.value)
    return groups
