"""Imports point one way, pipeline → sweeps → presyn, and presyn needs torch and numpy alone."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"presyn": {"sweeps", "pipeline", "ray", "optuna", "mlflow", "yaml"}, "sweeps": {"pipeline", "mlflow"}}

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
    tree = ast.parse(path.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def test_imports_point_one_way():
    for room, forbidden in FORBIDDEN.items():
        files = list((ROOT / room).rglob("*.py"))
        assert files
        for path in files:
            assert not imported(path) & forbidden, path


def test_presyn_trains_with_torch_and_numpy_alone():
    done = subprocess.run([sys.executable, "-c", WITHOUT_THE_REST], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "finished", done.stderr
