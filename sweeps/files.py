"""Read YAML files of users: search spaces and benchmarks, with errors that name the file, the field and the fix."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from presyn import BENCHMARKS, Benchmark, PresynError
from presyn.benchmarks import PATTERNS, named
from presyn.options import reject_unknown


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        PresynError: no such file, not YAML, or not a mapping; names the file and the line.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as e:
        raise PresynError(f"{path} cannot be read: {e.strerror}.") from None
    except UnicodeDecodeError:
        raise PresynError(f"{path} is not a text file in UTF-8.") from None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise PresynError(f"{path}{where} is not YAML: {getattr(e, 'problem', e)}.") from None
    if not isinstance(values, Mapping):
        raise PresynError(f"{path} must hold fields, such as 'method: presynaptic', not {type(values).__name__}.")
    return dict(values)


def read_benchmark(name: str) -> Benchmark:
    """The built-in benchmark of that name, or the one in the YAML file of that path.

    Raises:
        PresynError: neither; or a bad field, named with its file.
    """
    known = [*BENCHMARKS, PATTERNS.name]
    if not name.endswith((".yaml", ".yml")):
        reject_unknown([name], known, "benchmark (or path of a .yaml file)")
        return named(name)
    path = Path(name)
    try:
        values = {"name": path.stem, **read_yaml(path)}
        if isinstance(values.get("source"), str):  # relative to the file that names it
            values["source"] = str((path.parent / Path(values["source"]).expanduser()).resolve())
            values.setdefault("dataset", Path(values["source"]).stem)
        benchmark = Benchmark.build(values)
        if benchmark.name in known:
            raise PresynError(f"name {benchmark.name!r} is taken by a built-in benchmark: choose another.")
        return benchmark
    except PresynError as e:
        raise e if str(path) in str(e) else PresynError(f"{path}: {e}") from None
