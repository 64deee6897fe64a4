"""presyn without what Python lacks on Windows and macOS. Nobody tried a real Windows machine: this takes away what is known."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bench.memory
import presyn.files
from presyn import PresynError, choose_device

ROOT = Path(__file__).parents[2]
AS_ON_WINDOWS = """
import os, sys, warnings
import torch, torch._dynamo, torch._inductor, psutil, numpy, pandas, mlflow, optuna, sklearn.datasets, filelock
import matplotlib.pyplot
from mlflow.tracking import MlflowClient  # libraries choose for themselves, and have done so now
for name in ("sysconf", "sysconf_names", "getuid", "sched_getaffinity", "link"):
    delattr(os, name)
sys.modules["resource"] = sys.modules["fcntl"] = None
import pipeline.cli, pipeline.perform, pipeline.train
ours = tuple(os.path.join(os.getcwd(), room) for room in ("presyn", "sweeps", "pipeline"))
def show(message, category, filename, lineno, file=None, line=None):
    if issubclass(category, EncodingWarning) and filename.startswith(ours):
        print(f"no encoding: {filename}:{lineno}", file=sys.stderr)
        os._exit(3)
warnings.showwarning = show
warnings.simplefilter("always", EncodingWarning)
trained = pipeline.train.train
pipeline.perform.train = lambda plan, write, title, here=False: trained(plan, write, title, True)  # Ray is a library
os.chdir(sys.argv[1])
tiny = ["--set", "epochs=1", "tasks=2", "hidden=[16]", "keep=true"]
for words in (
    ["run", "--method", "presynaptic", "--benchmark", "split-digits", "--seeds", "1", "2", *tiny],
    ["search", "--space", "mine.yaml", "--results", "out"],
    ["list"], ["list", "--csv"], ["status"], ["curves", "--out", "c.svg"], ["options", "sgd"], ["sync-mlflow"],
    ["reproduce", "--list"],
):
    if code := pipeline.cli.main(words):
        sys.exit(code)
import pipeline.trained, pipeline.records.find, pipeline.workspace
id = pipeline.workspace.open_store().ids()[0]
sys.exit(pipeline.cli.main(["show", id]) or pipeline.cli.main(["remove", id, "--yes"]))
"""
SPACE = """
method: presynaptic
benchmark: split-digits
trials: 2
fixed: {validation: 300, epochs: 1, tasks: 2, hidden: [16]}
search: {p_up: {low: 0.01, high: 0.1}}
"""


def test_commands_work_without_what_windows_lacks_and_name_the_encoding_of_every_file(home):
    (home / "mine.yaml").write_text(SPACE, encoding="utf-8")
    words = [sys.executable, "-X", "warn_default_encoding", "-c", AS_ON_WINDOWS, str(home)]
    system = {**os.environ, "USERNAME": "somebody", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=system, capture_output=True, encoding="utf-8", errors="replace")
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_memory_of_the_machine_is_what_windows_says_or_taken_as_enough(monkeypatch):
    monkeypatch.delattr(presyn.files.os, "sysconf")
    assert presyn.files.machine_memory() == presyn.files.UNKNOWN_MEMORY

    class Kernel:
        @staticmethod
        def GlobalMemoryStatusEx(status):  # noqa: N802
            numbers = ctypes.cast(status, ctypes.POINTER(ctypes.c_ulonglong))
            assert numbers[0] == 64  # the size that Windows asks for
            numbers[1] = 24 << 30
            return 1

    monkeypatch.setattr(ctypes, "windll", type("Libraries", (), {"kernel32": Kernel}), raising=False)
    assert presyn.files.machine_memory() == 24 << 30


def test_peak_memory_is_bytes_on_macos_and_kib_elsewhere():
    assert bench.memory.peak_mib(3 << 20, "darwin") == 3 and bench.memory.peak_mib(3 << 10, "linux") == 3
    assert bench.memory.memory_mib("VmHWM") > 10


def test_a_gpu_of_apple_is_refused_by_name():
    with pytest.raises(PresynError, match="device 'mps' is not usable here .presyn trains on cpu and cuda alone.*--device cpu"):
        choose_device("mps")
