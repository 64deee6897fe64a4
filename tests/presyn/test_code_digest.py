"""The code is part of what a run is: an edited rule has other ids, and known code gives the golden numbers."""

import ast
import copy
import importlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

import golden
import pytest

import presyn.code_digest
from presyn import METHODS, PresynError, make_run
from presyn.code_digest import PACKAGE, _plain, changed_code, digest_method
from presyn.methods import PERCEPTRONS, SGD

ALL = (*METHODS, *PERCEPTRONS)
RULES = sorted((PACKAGE / "methods").glob("*.py"))


def test_the_code_gives_the_golden_numbers_and_is_known():
    """If this fails after a change that should move no number: make accept-code. Else raise RULES_VERSION."""
    assert golden.differences() == []
    assert [method for method in ALL if changed_code(method)] == []


@pytest.fixture
def edited(tmp_path):
    """A copy of presyn, and what changed_code says in it."""
    shutil.copytree(PACKAGE, tmp_path / "presyn", ignore=shutil.ignore_patterns("__pycache__"))

    def changed():
        command = [sys.executable, "-m", "presyn.code_digest"]
        done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = [line.split() for line in done.stdout.splitlines()]
        return {method for method, _, state in lines if state == "changed"}

    return tmp_path / "presyn", changed


def test_comments_docstrings_formatting_and_new_methods_do_not_count(edited):
    package, changed = edited
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        path.write_text(f'"""Other words."""\n# a comment\n{ast.unparse(tree)}\n')
    with (package / "methods" / "__init__.py").open("a") as file:
        file.write('\nMETHODS["mine"] = SGD\n')
    assert changed() == {"mine"}, "it is in no list"


def test_an_edited_rule_counts_for_its_own_method_alone_and_the_training_loop_for_all(edited):
    package, changed = edited
    bgd, training = package / "methods" / "bgd.py", package / "training.py"
    bgd.write_text(bgd.read_text().replace("self.h.eta0", "(0.1 * self.h.eta0)"))
    assert changed() == {"bgd"}
    training.write_text(training.read_text() + "\nEXTRA = 1\n")
    assert changed() == set(ALL)


def mutated(tree, rng):
    """A syntax tree with one number, operator, comparison or name replaced by another; None where there is none."""
    tree = copy.deepcopy(tree)
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Constant | ast.BinOp | ast.Compare | ast.Name | ast.Attribute)]
    rng.shuffle(nodes)
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            node.value = node.value + rng.choice([1, -1, 0.5])
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            node.value = not node.value
        elif isinstance(node, ast.BinOp):
            node.op = rng.choice([op() for op in (ast.Add, ast.Sub, ast.Mult, ast.Div) if not isinstance(node.op, op)])
        elif isinstance(node, ast.Compare):
            node.ops[0] = rng.choice([op() for op in (ast.Lt, ast.GtE, ast.NotEq) if not isinstance(node.ops[0], op)])
        elif isinstance(node, ast.Name):
            node.id += "_other"
        elif isinstance(node, ast.Attribute):
            node.attr += "_other"
        else:
            continue
        return tree
    return None


def test_every_random_edit_of_a_rule_has_another_digest():
    rng = random.Random(0)
    for path in RULES:
        tree = ast.parse(path.read_text())
        plain = _plain(tree)
        assert _plain(ast.parse(ast.unparse(tree))) == plain, "formatting does not count"
        for _ in range(40):
            changed = mutated(tree, rng)
            assert changed is None or _plain(changed) != plain, ast.unparse(changed)


def test_a_rule_in_a_file_of_ones_own_counts_with_what_it_imports_beside_it(tmp_path, monkeypatch):
    (tmp_path / "helper_of_mine.py").write_text("FACTOR = 2\n")
    (tmp_path / "rule_of_mine.py").write_text(
        "from helper_of_mine import FACTOR\nfrom presyn.methods.sgd import SGD\n\n\nclass Mine(SGD):\n    factor = FACTOR\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import rule_of_mine

    def digest():
        for cached in (presyn.code_digest._parse, presyn.code_digest._digest_file, changed_code):
            cached.cache_clear()
        return digest_method("mine")

    monkeypatch.setitem(METHODS, "mine", rule_of_mine.Mine)
    before = digest()
    assert before != digest_method("sgd") and changed_code("mine") == before
    (tmp_path / "helper_of_mine.py").write_text("FACTOR = 3  # changed\n")
    after = digest()
    assert after != before
    (tmp_path / "helper_of_mine.py").write_text("FACTOR = 3\n")
    assert digest() == after
    run = make_run("mine", "split-digits", 1)
    assert run.run_id("data") != make_run("sgd", "split-digits", 1).run_id("data")


@pytest.mark.parametrize(
    "imports",
    ["from package_of_mine.parts.helper import FACTOR", "from .parts import helper", "from .parts.helper import FACTOR"],
)
def test_a_rule_in_a_package_counts_with_what_it_imports_of_that_package(tmp_path, monkeypatch, imports):
    package = tmp_path / "package_of_mine"
    (package / "parts").mkdir(parents=True)
    for folder in (package, package / "parts"):
        (folder / "__init__.py").touch()
    (package / "parts" / "helper.py").write_text("FACTOR = 2\n")
    (package / "rule.py").write_text(f"{imports}\nfrom presyn.methods.sgd import SGD\n\n\nclass Mine(SGD):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("package_of_mine")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(METHODS, "mine", importlib.import_module("package_of_mine.rule").Mine)
    # What a process happens to have imported does not count: a helper may be imported late.
    monkeypatch.delitem(sys.modules, "package_of_mine.parts.helper")
    before = digest_method("mine")
    (package / "parts" / "helper.py").write_text("FACTOR = 3\n")
    presyn.code_digest.forget_code()
    assert digest_method("mine") != before


def test_a_rule_that_no_file_keeps_is_refused(monkeypatch):
    monkeypatch.setitem(METHODS, "typed", type("Typed", (SGD,), {"__module__": "__main__"}))
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(PresynError, match="put it into a file"):
        digest_method("typed")


def test_only_code_that_is_not_known_is_in_an_id(monkeypatch):
    run = make_run("sgd", "split-digits", 1)
    plain = run.run_id("data")
    monkeypatch.setattr("presyn.runs.changed_code", lambda method: "0123456789abcdef")
    assert run.run_id("data") != plain
    assert Path(presyn.code_digest.KNOWN_FILE).exists()
