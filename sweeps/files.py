"""Read YAML files of users: search spaces and benchmarks, with errors that name the file, the field and the fix."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from presyn import BENCHMARKS, Benchmark, PresynError
from presyn.benchmarks import PATTERNS, find_benchmark
from presyn.files import expand_home, read_file
from presyn.options import reject_unknown

USER_BENCHMARKS: dict[str, Benchmark] = {}
"""Benchmarks of users' own files by name; see `sweeps.user_code`."""
MOST_BYTES = 1 << 20
"""The most bytes that a YAML file may have."""
MOST_VALUES = 200_000
"""In a YAML file; aliases can make a short text endless."""


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: a key given twice is an error, 1e-4 is a number, a date is a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in keys:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            keys.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER = r"[-+]?(\d[\d_]*\.[\d_]*(e[-+]?\d+)?|\d+e[-+]?\d+|\.\d+(e[-+]?\d+)?|\.(inf|nan))"
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_NUMBER})$", re.IGNORECASE), list("-+0123456789."))


def sqlite_address(path: Path) -> str:
    """The address of an SQLite database in a file, whatever characters are in the names of its folders."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def set_aside(path: Path, was: str, then: str) -> None:
    """Give a damaged file another name, and say so.

    Args:
        path: The file.
        was: What it was, as the message says it after its name.
        then: What comes of it, as the message says it after the new name.
    """
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    print(f"presyn: {path.name}{was}; it is set aside as {aside.name}{then}", file=sys.stderr)


def parse_yaml(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        PresynError: it is none; says where and why.
    """
    try:
        values = yaml.load(text, _Loader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = f"line {mark.line + 1} " if mark else ""
        reason = getattr(e, "problem", None) or str(e).splitlines()[0]
        raise PresynError(f"{line}is not YAML: {reason}.") from None
    except (ValueError, RecursionError, OverflowError) as e:
        reason = "it is nested too deeply" if isinstance(e, RecursionError) else str(e).splitlines()[0]
        raise PresynError(f"is not YAML: {reason}.") from None
    if _count_values(values, MOST_VALUES) > MOST_VALUES:
        raise PresynError(f"holds more than {MOST_VALUES:,} values, by aliases that refer to each other: write less.")
    return values


def _count_values(values: Any, most: int) -> int:
    """How many values there are in lists and mappings, or one more than most, where counting ends."""
    count, waiting = 0, [values]
    while waiting and count <= most:
        value = waiting.pop()
        count += 1
        waiting += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return count


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        PresynError: no such file, not YAML, or not a mapping; names the file and the line.
    """
    try:
        text = read_file(path, MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise PresynError(f"{path} is not a text file in UTF-8.") from None
    try:
        values = parse_yaml(text)
    except PresynError as e:
        raise PresynError(f"{path} {e}") from None
    if not isinstance(values, Mapping):
        raise PresynError(f"{path} must hold fields, such as 'method: presynaptic', not {type(values).__name__}.")
    for key in values:
        if not isinstance(key, str):
            raise PresynError(f"{path}: a field is a word, not {key!r}.")
    return dict(values)


def read_benchmark(name: str) -> Benchmark:
    """The benchmark of that name, or the one in the YAML file of that path.

    Raises:
        PresynError: neither; or a bad field, named with its file.
    """
    built_in = [*(b for b in BENCHMARKS if b not in USER_BENCHMARKS), PATTERNS.name]
    if name in USER_BENCHMARKS:
        return USER_BENCHMARKS[name]
    if not name.endswith((".yaml", ".yml")):
        reject_unknown([name], [*built_in, *USER_BENCHMARKS], "benchmark (or path of a .yaml file)")
        return find_benchmark(name)
    path = Path(name)
    try:
        values = {"name": path.stem, **read_yaml(path)}
        if isinstance(values.get("source"), str):  # relative to the file that names it
            values["source"] = str((path.parent / expand_home(values["source"])).resolve())
            values.setdefault("dataset", Path(values["source"]).stem)
        reject_unknown(values, Benchmark.names(), more=" What they mean: presyn options")
        benchmark = Benchmark.build(values)
        if benchmark.name in built_in:
            raise PresynError(f"name {benchmark.name!r} is taken by a built-in benchmark: choose another.")
        return benchmark
    except PresynError as e:
        raise e if str(path) in str(e) else PresynError(f"{path}: {e}") from None
