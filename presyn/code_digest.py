"""Which code gives a run its numbers: a digest for each method, of what the code says and not of how it is written down.

Comments, docstrings and formatting do not count. known_code.json has the digests of code that gives the numbers of
RULES_VERSION; a run of any other code has the digest of that code in its id, so an edited rule trains anew, and rows of two
rules are never taken for one another. After a change that moves no number, `make accept-code` checks the golden runs and adds
the digests of today's code.
"""

import ast
import hashlib
import inspect
import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from presyn.errors import PresynError
from presyn.methods import METHODS, PERCEPTRONS, method_class

PACKAGE = Path(__file__).parent
KNOWN_FILE = PACKAGE / "known_code.json"
TABLES = ("__init__.py", "methods/__init__.py", "code_digest.py")
"""Files of presyn that give no run its numbers: a new method is a line in one of them, and moves no other method's digest."""
OTHER_ROOMS = ("sweeps", "pipeline")
"""Packages of this project that give no run its numbers."""


def digest_method(method: str) -> str:
    """The digest of the code that trains and measures a method, 16 hexadecimal digits.

    It covers all of presyn but other methods; of a method in a file elsewhere also that file, and those of the same person that
    it imports: beside it, in its package, and wherever this process found them outside of installed packages.

    Raises:
        PresynError: the method was defined where no file keeps it, or a file cannot be read.
    """
    return _digest_files(_files(method_class(method)))


@cache
def changed_code(method: str) -> str | None:
    """The digest of a method's code if it is not known to give the numbers of RULES_VERSION, else None.

    Of the code as it is when this is first asked, which is what the process has loaded.
    """
    code = digest_method(method)
    return None if is_known(method, code) else code


def is_known(method: str, code: str | None) -> bool:
    """Whether this code is known to give the numbers of its rules. Rows of earlier versions name no code and count as known."""
    return not code or code in known_digests().get(method, ())


def forget_code() -> None:
    """Forget digests: the next call reads the files again, for a process that loads another version of a user's file."""
    for function in (changed_code, _parse, _digest_file):
        function.cache_clear()


@cache
def known_digests() -> dict[str, list[str]]:
    """Method -> digests of code that gives the numbers of RULES_VERSION."""
    return json.loads(KNOWN_FILE.read_text(encoding="utf-8"))


def accept() -> None:
    """Add the digests of the code as it is to known_code.json. The golden runs say before whether that is right."""
    known = known_digests()
    accepted = {m: list(dict.fromkeys([*known.get(m, ()), digest_method(m)])) for m in (*METHODS, *PERCEPTRONS)}
    KNOWN_FILE.write_text(json.dumps(accepted, indent=1) + "\n", encoding="utf-8")
    known_digests.cache_clear()
    changed_code.cache_clear()


def _files(kind: type) -> dict[str, Path]:
    """Name -> file of all the code behind a class of methods."""
    files = {p.relative_to(PACKAGE).as_posix(): p for p in PACKAGE.rglob("*.py")}
    files = {name: path for name, path in files.items() if name not in TABLES}
    shared = {name: path for name, path in files.items() if not name.startswith("methods/")}
    parents = [parent for parent in kind.__mro__ if parent.__module__ not in ("builtins", "abc", "typing")]
    waiting = [*shared.values(), *map(_file_of_class, parents)]
    folder = _file_of_class(kind).parent
    reached: dict[str, Path] = {}
    while waiting:
        path = waiting.pop()
        inside = path.is_relative_to(PACKAGE)
        name = os.path.relpath(path, PACKAGE if inside else folder)
        name = Path(name).as_posix() if inside else f"beside/{Path(name).as_posix()}"
        if name in reached or inside and name not in files:
            continue
        reached[name] = path
        waiting += _imported_files(path)
    return reached


def _file_of_class(kind: type) -> Path:
    try:
        return Path(inspect.getfile(kind)).resolve()
    except (OSError, TypeError):
        raise PresynError(
            f"{kind.__name__} is defined where no file keeps its code: put it into a file of its own, and import that."
        ) from None


def _imported_files(path: Path) -> Iterator[Path]:
    """Files of presyn and of its user that a file imports; none of installed packages or of Python's own."""
    packages = [path.parent]  # folders in which a name is looked for: that of the file, and those around its package
    while (packages[-1] / "__init__.py").is_file():
        packages.append(packages[-1].parent)
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            names, folders = [alias.name for alias in node.names], packages
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
            folders = [path.parents[node.level - 1]] if node.level else packages
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first in OTHER_ROOMS:
                continue
            is_ours = first == PACKAGE.name
            stems = [PACKAGE.joinpath(*rest)] if is_ours else [folder.joinpath(first, *rest) for folder in folders]
            files = [file for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()]
            yield from (file.resolve() for file in files or _loaded_files(name))


def _loaded_files(name: str) -> list[Path]:
    """The file of a module that this process has imported, unless it is of Python or of an installed package."""
    origin = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(origin, str) or not origin.endswith(".py"):
        return []
    path = Path(origin).resolve()
    installed = [PACKAGE, *(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib"))]
    return [] if any(map(path.is_relative_to, installed)) else [path]


@cache
def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as e:
        raise PresynError(f"{path}, which is code of a method, cannot be read ({e}).") from None


def _digest_files(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}:{_digest_file(files[name])}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _digest_file(path: Path) -> str:
    """The digest of a file's syntax tree, the same under all versions of Python that can read it."""
    return hashlib.sha256(_plain(_parse(path)).encode()).hexdigest()


def _plain(node: object) -> str:
    """A syntax tree as text, without docstrings, places, and fields that are empty."""
    if isinstance(node, list):
        return f"[{','.join(_plain(item) for item in node if not _is_docstring(item))}]"
    if isinstance(node, ast.Constant):
        return f"Constant({node.value!r})"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ",".join(f"{name}={_plain(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({fields})"


def _is_docstring(node: object) -> bool:
    """Whether a statement is nothing but a string."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def main() -> int:
    """Print the digest of each method's code, and whether it is known."""
    for method in (*METHODS, *PERCEPTRONS):
        print(f"{method:24}{digest_method(method)}  {'changed' if changed_code(method) else 'known'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
