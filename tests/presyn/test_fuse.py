"""Without a working compiler everything runs, slower, after one message."""

import subprocess
import sys
from pathlib import Path

CODE = """
import torch
from presyn.fuse import fused
double = lambda x: 2 * x
assert fused(double, True) is double and fused(double, True) is double
"""


def test_a_broken_compiler_falls_back_to_eager_with_one_message(tmp_path):
    environment = {
        "CXX": "/bin/false",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no working C++ compiler") == 1


def test_a_cache_that_cannot_be_written_falls_back_to_eager_with_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "file" / "cache"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no place for compiled code, see TORCHINDUCTOR_CACHE_DIR") == 1
