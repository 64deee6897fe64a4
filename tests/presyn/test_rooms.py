"""Imports point one way, between the rooms and inside pipeline; presyn needs torch and numpy alone; files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "presyn": {"sweeps", "pipeline", "ray", "optuna", "mlflow", "yaml"},
    "sweeps": {"pipeline", "mlflow"},
    "pipeline/report": {"pipeline.experiments", "pipeline.cli", "pipeline.stage", "pipeline.perform", "pipeline.records"},
    "pipeline/records": {
        *("pipeline.experiments", "pipeline.cli", "pipeline.report", "pipeline.stage", "pipeline.ask", "pipeline.perform"),
        *("pipeline.plan", "pipeline.train", "pipeline.workspace"),
    },
    "pipeline/experiments": {"pipeline.cli"},
}
MACHINE = ("stage", "ask", "plan", "train", "perform", "workspace")  # between the experiments and the records
LONGEST = {"function": 60, "file": 400}
"""Lines from which one should ask whether a function or a file holds more than one concept."""

WITHOUT_THE_REST = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "mlflow", "optuna", "torchvision", "yaml", "sklearn", "scipy", "pandas", "rich"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
from presyn import Benchmark, Dataset, make_run, train
x = np.random.default_rng(0).integers(0, 17, (60, 16)).astype(np.uint8)
y = np.arange(60) % 10
data = Dataset("digits", x, y, x, y, "none")
benchmark = Benchmark(name="b", dataset="digits", tasks=2, epochs=1, batch_size=20, hidden=(8,))
print(train([make_run("presynaptic", benchmark, 1)], data)[0].status)
"""


def imported(path: Path) -> set[str]:
    """Every module that a file imports, with the packages it is in."""
    tree = ast.parse(path.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    return {".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 2)}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_point_one_way(room):
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        assert not imported(path) & FORBIDDEN[room], path


def test_the_machine_knows_no_experiment():
    for name in MACHINE:
        path = ROOT / "pipeline" / f"{name}.py"
        assert not imported(path) & {"pipeline.experiments", "pipeline.cli", "pipeline.report"}, path


def test_no_method_is_named_outside_the_experiments():
    for path in (ROOT / "pipeline").rglob("*.py"):
        if "experiments" not in path.parts:
            assert 'method == "' not in path.read_text(), path


def test_files_and_functions_stay_short():
    for room in ("presyn", "sweeps", "pipeline", "bench"):
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text()
            assert len(text.splitlines()) <= LONGEST["file"], path
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    code = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
                    lines = node.end_lineno - code[0].lineno + 1 if code else 0  # a command's docstring is its help
                    assert lines < LONGEST["function"], (path, node.name)


def test_presyn_trains_with_torch_and_numpy_alone():
    done = subprocess.run([sys.executable, "-c", WITHOUT_THE_REST], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "finished", done.stderr
