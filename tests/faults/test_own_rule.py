"""A rule of a user's own on a real Ray, whose workers know nothing of the folder that it is in."""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
CODE = f"import sys; sys.path.insert(0, {str(DOCS.parent)!r}); from pipeline.cli import main; sys.exit(main(sys.argv[1:]))"


def test_workers_train_a_rule_whose_file_they_cannot_see(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRESYN_STORE", str(tmp_path / "store"))
    rule = re.findall(r"```python\n(.*?)```", (DOCS / "adding_a_method.md").read_text(encoding="utf-8"), re.S)
    Path("brakes.py").write_text("from helper import METHODS\n" + "\n".join(rule), encoding="utf-8")
    Path("helper.py").write_text("from presyn import METHODS\n", encoding="utf-8")
    page = (DOCS / "own_folder.md").read_text(encoding="utf-8")
    for text in re.findall(r"```yaml\n(.*?)```", page, re.S):
        Path(re.match(r"# (\S+)\n", text)[1]).write_text(text, encoding="utf-8")
    Path("presyn.toml").write_text(re.findall(r"```toml\n(.*?)```", page, re.S)[0], encoding="utf-8")
    words = ["search", "--space", "brakes-mine", "--trials", "2", "--results", "out", "--ray-address", "local"]
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, encoding="utf-8", errors="replace")
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(Path("store/results").glob("*.json"))) == 2
