"""Methods, benchmarks, search spaces and experiments in files of a user's own, which every command then knows by name.

Files are named by `--module`, by presyn.toml in the working folder, or by the entry points of an installed package.
"""

import importlib
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from presyn import BENCHMARKS, METHODS, Benchmark, PresynError
from presyn.benchmarks import PATTERNS
from presyn.code_digest import forget_code
from presyn.files import expand_home, read_file
from presyn.methods import PERCEPTRONS, Method
from presyn.methods.base import MethodOptions
from presyn.options import reject_unknown
from sweeps.files import MOST_BYTES, USER_BENCHMARKS, read_benchmark, read_yaml
from sweeps.space import USER_SPACES, read_space, space_names

FILE = "presyn.toml"
KEYS = ("modules", "benchmarks", "spaces")
"""Lists in presyn.toml: Python files or modules, and YAML files of benchmarks and of search spaces."""
GROUP = "presyn"
"""The group of entry points of packages that bring methods, benchmarks or experiments."""


@dataclass
class UserCode:
    """What was loaded.

    Attributes:
        modules: In the order in which they were named.
        given: Those that --module named, rather than presyn.toml or a package.
        methods, benchmarks: What the modules and files added, by name.
    """

    modules: list[ModuleType] = field(default_factory=list)
    given: list[ModuleType] = field(default_factory=list)
    methods: dict[str, type[Method]] = field(default_factory=dict)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)


loaded = UserCode()
"""What this process has loaded."""


@contextmanager
def user_code(names: Sequence[str] = (), folder: Path | None = None) -> Iterator[UserCode]:
    """A context in which what users' files define is known by name.

    Args:
        names: Python files or modules, or YAML files, as --module names them.
        folder: Where presyn.toml is looked for; None for the working folder.

    Raises:
        PresynError: a file is not there, cannot be read or imported, defines nothing, or takes the name of something built in.
    """
    tables: tuple[dict, ...] = (METHODS, BENCHMARKS, USER_BENCHMARKS, USER_SPACES)
    before, modules_before, path_before = [dict(table) for table in tables], set(sys.modules), list(sys.path)
    try:
        for entry in importlib.metadata.entry_points(group=GROUP):
            _add_module(entry.value.partition(":")[0], f"The package {entry.dist.name if entry.dist else entry.name}")
        for name, who in [*_named_in_file(folder or Path.cwd()), *((name, "--module") for name in names)]:
            (_add_yaml if name.endswith((".yaml", ".yml")) else _add_module)(name, who)
        yield loaded
    finally:
        modules_of_users = users_modules()
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)
        for name in set(sys.modules) - modules_before:
            if sys.modules[name] in modules_of_users:
                del sys.modules[name]
        sys.path[:] = path_before
        loaded.modules, loaded.given, loaded.methods, loaded.benchmarks = [], [], {}, {}
        forget_code()


def _named_in_file(folder: Path) -> list[tuple[str, str]]:
    """What presyn.toml names, benchmarks before the spaces that may be on them, and who says so; nothing without one.

    Raises:
        PresynError: it is not TOML, or not such a file.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        values = tomllib.loads(read_file(path, MOST_BYTES).decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise PresynError(f"{path} is not TOML ({e}).") from None
    try:
        reject_unknown(values, KEYS, "key")
    except PresynError as e:
        raise PresynError(f"{path}: {e}") from None
    names = []
    for key in KEYS:
        files = values.get(key, [])
        if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
            raise PresynError(f'{path}: {key} must be a list of files, such as {key} = ["{_example(key)}"], not {files!r}.')
        for name in files:
            if key != "modules" and not name.endswith((".yaml", ".yml")):
                raise PresynError(f"{path}: {key} must be YAML files, not {name!r}.")
            is_path = "/" in name or name.endswith((".py", ".yaml", ".yml"))
            names.append((str(path.parent / expand_home(name)) if is_path else name, f"{FILE}, {key}:"))
    return names


def _example(key: str) -> str:
    return "mine.py" if key == "modules" else "mine.yaml"


def _add_yaml(name: str, who: str) -> None:
    """Make the space or the benchmark of a YAML file known by its name."""
    path = Path(name).absolute()
    if "search" in read_yaml(path):
        space = read_space(str(path))
        _refuse_taken(
            "search space", space.name, USER_SPACES.get(space.name) != path and space.name in space_names(), f"{who} {name}"
        )
        USER_SPACES[space.name] = path
        return
    benchmark = read_benchmark(str(path))
    _refuse_taken("benchmark", benchmark.name, loaded.benchmarks.get(benchmark.name, benchmark) != benchmark, f"{who} {name}")
    USER_BENCHMARKS[benchmark.name] = BENCHMARKS[benchmark.name] = loaded.benchmarks[benchmark.name] = benchmark


def _refuse_taken(what: str, name: str, is_taken: bool, source: str) -> None:
    if is_taken:
        raise PresynError(f"{source}: there is a {what} {name} already. Give this one another name.")


def _add_module(name: str, who: str) -> None:
    """Import a module, and make known what it defines.

    Raises:
        PresynError: it cannot be imported, defines nothing, or takes the name of something built in.
    """
    methods, benchmarks = dict(METHODS), dict(BENCHMARKS)
    module = _import(name, who)
    if module in loaded.modules:
        if who == "--module":
            loaded.given.append(module)
        return
    for value in vars(module).values():
        if isinstance(value, Benchmark) and value not in (*benchmarks.values(), PATTERNS):
            is_taken = value.name == PATTERNS.name or BENCHMARKS.setdefault(value.name, value) != value
            _refuse_taken("benchmark", value.name, is_taken, f"{who} {name}")
    for what, table_before, table in (("method", methods, METHODS), ("benchmark", benchmarks, BENCHMARKS)):
        for key, value in table_before.items():
            _refuse_taken(what, key, table.get(key) is not value, f"{who} {name}")
    for method, kind in METHODS.items():
        if not (isinstance(method, str) and isinstance(kind, type) and issubclass(kind, Method)) or method in PERCEPTRONS:
            raise PresynError(f"{who} {name}: METHODS[{method!r}] must be a subclass of Method under a name of its own.")
        _refuse_options(kind, f"{who} {name}")
    for own_name, benchmark in BENCHMARKS.items():
        if not isinstance(benchmark, Benchmark) or benchmark.name != own_name:
            raise PresynError(f"{who} {name}: BENCHMARKS[{own_name!r}] must be a Benchmark of that name.")
    loaded.modules.append(module)
    if who == "--module":
        loaded.given.append(module)
    loaded.methods |= {key: METHODS[key] for key in METHODS.keys() - methods.keys()}
    loaded.benchmarks |= {key: BENCHMARKS[key] for key in BENCHMARKS.keys() - benchmarks.keys()}


def _refuse_options(kind: type[Method], source: str) -> None:
    """Raise a PresynError for a method without options, or with one that nothing is said of."""
    options = getattr(kind, "Options", None)
    if not (isinstance(options, type) and issubclass(options, MethodOptions) and is_dataclass(options)):
        raise PresynError(f"{source}: {kind.__name__} needs Options, a frozen dataclass that is a subclass of MethodOptions.")
    bare = [f.name for f in fields(options) if "doc" not in f.metadata]
    if bare:
        raise PresynError(f"{source}: {bare[0]} of {options.__name__} must be an option: {bare[0]}: float = option(1.0, …).")


def _import(name: str, who: str) -> ModuleType:
    """The module in a Python file, or of that name.

    Raises:
        PresynError: it is not there, or cannot be imported; says why, and in which line.
    """
    path = expand_home(name).absolute() if name.endswith(".py") or "/" in name else None
    if path is not None and not path.is_file():
        raise PresynError(f"{who} {name} is not there: give the path of a Python or YAML file.")
    folder = str(path.parent if path else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that a file there stands for no module of Python's own
    importlib.invalidate_caches()  # a file may have been written a moment ago
    try:
        return importlib.import_module(name) if path is None else _import_file(path.resolve())
    except (Exception, SystemExit) as e:  # what somebody's module raises is anything
        where = "" if path else " Is its folder here, or on PYTHONPATH? A file is named by its path, such as mine.py."
        raise PresynError(f"{who} {name} cannot be imported ({_reason(e)}).{where}") from None


def _import_file(path: Path) -> ModuleType:
    """The module in a file, under the file's name, or under a longer one if that name is another module's."""
    name = re.sub(r"\W", "_", path.stem)
    while (origin := _origin(name)) not in (None, path):
        name = f"user_{name}"
    if origin is not None:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _origin(name: str) -> Path | None:
    """The file of the module that goes by a name; the name itself if it has none, and None if there is no such module."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that was made by hand
        return Path(name)
    return None if spec is None else Path(spec.origin or name).resolve()


def _reason(e: BaseException) -> str:
    """What an error says, and the line of the innermost file outside of libraries."""
    text = (str(e).splitlines() or [""])[0] or type(e).__name__
    if isinstance(e, SyntaxError):
        return text
    text = text if isinstance(e, ImportError | PresynError) else f"{type(e).__name__}: {text}"
    lines = [f for f in traceback.extract_tb(e.__traceback__) if f.filename != __file__ and "importlib" not in f.filename]
    return f"{text}, {Path(lines[0].filename).name} line {lines[0].lineno}" if lines else text


def send_by_value() -> None:
    """Let the classes of users' own files travel with what uses them, since other processes do not know these files."""
    for module in users_modules():
        cloudpickle.register_pickle_by_value(module)


def users_modules() -> list[ModuleType]:
    """The modules in users' own files, and those beside them that they import; not those of installed packages."""
    folders = {path.parent for path in map(_file, loaded.modules) if path and not _is_installed(path)}
    if not folders:  # as nearly always; looking at all modules takes a while
        return []
    return [
        module
        for module in list(sys.modules.values())
        if (path := _file(module)) and not _is_installed(path) and any(path.is_relative_to(folder) for folder in folders)
    ]


def _file(module: Any) -> Path | None:
    name = getattr(module, "__file__", None)
    return Path(name).resolve() if isinstance(name, str) else None


def _is_installed(path: Path) -> bool:
    """Whether a module is of an installed package, or of this one, which may be used where it was checked out."""
    ours = [Path(__file__).parents[1] / room for room in ("presyn", "sweeps", "pipeline")]
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or any(map(path.is_relative_to, ours))
