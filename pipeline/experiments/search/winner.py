"""The winner of a search, and the file that keeps it for people and for later commands."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from presyn import METHODS, RULES_VERSION, Benchmark, PresynError
from presyn.code_digest import changed_code, is_known
from sweeps.files import read_yaml
from sweeps.space import Space, method_options, space_names


class OtherCodeError(PresynError):
    """A winner that was found with other code of its method than today's."""


@dataclass(frozen=True)
class Winner:
    """The best configuration of a search.

    Attributes:
        params: What was searched.
        fixed: What the search fixed of the method itself; it goes with the winner.
        value: Of the objective, on validation data.
        trial: Its number.
    """

    params: dict[str, Any]
    fixed: dict[str, Any]
    value: float
    trial: int

    @property
    def settings(self) -> dict[str, Any]:
        """What is carried over."""
        return {**self.fixed, **self.params}


def best_yaml(space: Space, winner: Winner, trials: int, provenance: Mapping[str, Any]) -> str:
    """The winner as a file for people and for later commands; it says under which rules and on which data it was found."""
    note = f"# Trial {winner.trial} of {trials}: {winner.value:.4f} on validation data.\n"
    source = {"rules_version": int(provenance["rules_version"]), "data_sha256": str(provenance["data_sha256"])}
    if not is_known(space.method, provenance.get("code")):
        source["code"] = str(provenance["code"])
    return note + yaml.safe_dump({"space": _described(space), "params": winner.params, **source})


def _described(space: Space) -> dict[str, Any]:
    """What a winner's file says of the space it was found in."""
    return space.identity() | {"search": sorted(space.search)}


def searched_for(path: Path, benchmarks: Mapping[str, Benchmark]) -> tuple[str, str] | None:
    """Method and benchmark of the search whose winner a file holds; None if either, or its images, are not those of today.

    Args:
        path: The file.
        benchmarks: Those of today, by name.
    """
    best = read_yaml(path)
    space = _mapping(best.get("space"))
    benchmark, fixed = _mapping(space.get("benchmark")), _mapping(space.get("fixed"))
    method, name = str(space.get("method")), str(benchmark.get("name"))
    if method not in METHODS or name not in benchmarks or "dataset" in fixed:
        return None
    today = yaml.safe_load(yaml.safe_dump(benchmarks[name].as_dict()))
    same = benchmark == today and best.get("data_sha256") == benchmarks[name].sha256()
    return (method, name) if same else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def winner_of_today(path: Path, method: str, space: Space | None = None) -> Winner | None:
    """As `read_best`, but None also for a winner that was found with other code of the method: a search would find another."""
    try:
        return read_best(path, method, space)
    except OtherCodeError:
        return None


def read_best(path: Path, method: str, space: Space | None = None, remedy: str = "") -> Winner | None:
    """The winner in a file that `best_yaml` wrote, or None without one.

    Args:
        path: The file.
        method: Whose parameters they have to be.
        space: What it has to be the winner of; None where the space is somebody's own.
        remedy: What makes another winner, if not a command that searches the space by its name.

    Raises:
        OtherCodeError: it was found with other code of the method than today's.
        PresynError: it is none, or one of another search.
    """
    if not path.exists():
        return None
    command = shlex.join(["presyn", "search", "--space", path.parent.name, "--results", str(path.parents[2])])
    how = f"with: {command}" if path.parent.name in space_names() else "with the command that searched it"
    again = remedy or f"Search again {how}, or give the space another name."
    best = read_yaml(path)
    searched, params = best.get("space"), best.get("params")
    if (
        not isinstance(searched, dict)
        or not isinstance(params, dict)
        or sorted(params) != searched.get("search", sorted(params))
    ):
        raise PresynError(f"{path} is not the winner of a search. Delete it. {again}")
    expected: dict[str, Any] = _described(space) if space and "method" in searched else {"method": method}
    if space and "data_sha256" in best:
        expected["data_sha256"] = space.benchmark.sha256()
    expected["rules_version"] = RULES_VERSION
    searched = searched | {k: best[k] for k in ("rules_version", "data_sha256") if k in best}
    for name, value in expected.items():
        if searched.get(name, value) != value:
            raise PresynError(
                f"{path} is the winner of another search: its {name} is {searched.get(name)!r}, not {value!r}. {again}"
            )
    if best.get("code") != changed_code(method):
        raise OtherCodeError(f"{path} is the winner of a search with other code of {method} than today's. {again}")
    fixed = searched.get("fixed")
    if not isinstance(fixed, dict):
        raise PresynError(f"{path} does not say what was fixed in the search. Delete it. {again}")
    options, kind = method_options(method, fixed), METHODS[method].Options
    kind.build({**{k: v for k, v in options.items() if k in kind.names()}, **params})
    return Winner(params, options, float("nan"), -1)
