"""Measure: a training step beside its floors and the usual loop, a test, memory, growth, and what orchestration costs."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

from bench.around import orchestration, processes
from bench.checks import check
from bench.report import plot, report
from bench.steps import SIZES, SIZES_ON_GPU, arithmetic_table, data_or_noise, growth, parts, step_table, test_table
from pipeline.records.files import write_whole
from pipeline.records.store import code_version


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    version = code_version()
    return {"device": name, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
            "commit": version["git_commit"][:7], "dirty": version["git_dirty"],
            "torch": version["torch"], "python": version["python"], "date": time.strftime("%Y-%m-%d")}  # fmt: skip


def _processor() -> str:
    try:
        lines = subprocess.run(["lscpu"], capture_output=True, text=True, timeout=10).stdout.splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("Model name"))
    except (OSError, subprocess.SubprocessError, StopIteration):
        return platform.processor() or platform.machine()


def bench(device: torch.device, results: Path, quick: bool, runs: int) -> None:
    """Measure, print, and write results/bench/<cpu or cuda>.json, .md and .png."""
    console = Console(markup=False)
    torch.set_num_threads(1)
    data, what = data_or_noise()
    rounds = 5 if quick else 25
    gpu = device.type == "cuda"
    measured: dict[str, Any] = {"machine": {**machine(device), "data": what}}
    tables: dict[str, pd.DataFrame] = {}
    with console.status("measuring …") as status:
        if gpu:
            measured["checks"] = check(data, device)
        tables["step"] = step_table(data, device, SIZES_ON_GPU if gpu else SIZES, rounds)
        if not gpu:
            measured["parts"] = parts(data, rounds)
            tables["test"] = test_table(data, rounds)
            tables["arithmetic"] = arithmetic_table(data, rounds)
            tables["growth"] = growth(data)
            measured["processes"] = processes()
        status.update(f"{runs} one-second runs …")
        if runs and not gpu:
            measured["orchestration"] = orchestration(runs)
    text = report(measured, tables)
    print(text)
    folder = results / "bench"
    kind = "cuda" if gpu else "cpu"
    plain = measured | {name: t.round(4).to_dict("records") for name, t in tables.items()}
    write_whole(folder / f"{kind}.json", json.dumps(plain, indent=1) + "\n")
    write_whole(folder / f"{kind}.md", text + "\n")
    write_whole(folder / f"{kind}.png", plot(tables["step"], measured.get("parts")))
