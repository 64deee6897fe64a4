"""What a sweep costs beyond its training, as it grows: python -m bench.scale [RUNS …]

Runs of almost no work, on Ray clusters of several raylets on this machine. Each measurement is a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd

from bench.memory import memory_mib
from pipeline.records.files import write_whole

RUNS = (100, 1000, 10_000)
NODES = (1, 4, 16)
HERE: Any = {"node_ip_address": os.environ["BENCH_ADDRESS"]} if "BENCH_ADDRESS" in os.environ else {}  # where raylets listen
SETTINGS = {"tasks": 1, "epochs": 1, "hidden": (2,), "batch_size": 256}


def measure(count: int, nodes: int, track: bool) -> dict[str, float]:
    """Train so many runs on so many raylets; what it took."""
    import ray
    from ray.cluster_utils import Cluster as Raylets

    os.environ["RAY_AUTH_MODE"] = "disabled"
    raylets = Raylets(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **HERE})
    for _ in range(nodes - 1):
        raylets.add_node(num_cpus=1, **HERE)
    with tempfile.TemporaryDirectory() as folder:
        outcome = _train(count, track, raylets.address, folder)
        ray.shutdown()
        raylets.shutdown()
    return {"runs": count, "nodes": nodes, "MLflow": float(track), **outcome}


def _train(count: int, track: bool, address: str, folder: str) -> dict[str, float]:
    from pipeline.plan import Plan
    from pipeline.records.mlflow.background import BackgroundWriter
    from pipeline.records.mlflow.notes import Note
    from pipeline.records.store import Store
    from pipeline.train import train
    from presyn import make_run
    from sweeps.cluster import Cluster

    store = Store(Path(folder))
    plan = Plan(store, Cluster(device="cpu", ray_address=address))
    began = time.thread_time()
    ids = [plan.add(make_run("sgd", "permuted-digits", seed, SETTINGS)) for seed in range(count)]
    planned = time.thread_time() - began
    plan.seconds(plan.runs[ids[0]])
    tracking = BackgroundWriter(f"sqlite:///{folder}/mlflow.db", store)
    if track:
        tracking.follow(Note("bench", "bench", "bench", ids))
    memory = _Memory()
    began, driver, wall = time.process_time(), time.thread_time(), time.perf_counter()
    train(plan, tracking.write, "runs of no work")
    took, main, process = time.perf_counter() - wall, time.thread_time() - driver, time.process_time() - began + _ray_seconds()
    tracking.close()
    return {
        **{"wall, s": took, "wall per run, ms": 1000 * took / count},
        "driver's thread per run, ms": 1000 * (main + planned) / count,
        "driver's process per run, ms": 1000 * process / count,
        "memory at the start, MiB": memory.first,
        "memory after 1000 runs, MiB": memory.after(store, 1000),
        "memory at the end, MiB": memory_mib("VmRSS"),
    }


def _ray_seconds() -> float:
    """Processor time of the process that speaks to Ray for this one."""
    from sweeps.cluster.ray_process import processes

    ticks = (Path(f"/proc/{p.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13] for p in processes)
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


class _Memory:
    """Memory of this process as runs come to an end."""

    def __init__(self) -> None:
        self.first = memory_mib("VmRSS")
        self.seen: list[tuple[float, float]] = []
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(0.5)
            self.seen.append((time.time(), memory_mib("VmRSS")))

    def after(self, store: object, count: int) -> float:
        """Memory when so many rows had been stored."""
        times = sorted(p.stat().st_mtime for p in store.results.glob("*.json"))  # type: ignore[attr-defined]
        if len(times) < count:
            return memory_mib("VmRSS")
        return next((mib for at, mib in self.seen if at >= times[count - 1]), memory_mib("VmRSS"))


def plot(table: pd.DataFrame) -> object:
    """Cost per run over the number of runs, a line for each number of nodes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    columns = ("wall per run, ms", "driver's thread per run, ms", "memory at the end, MiB")
    for axes, column in zip(figure.subplots(1, 3), columns, strict=True):
        for nodes, part in table[table["MLflow"] == 0].groupby("nodes"):
            axes.plot(part["runs"], part[column], "o-", label=f"{nodes} node{'s' * (nodes != 1)}")
        axes.set(xscale="log", xlabel="runs", ylabel=column, ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    return figure


def main(arguments: list[str]) -> int:
    """Measure all sizes, or those given, and write results/bench/scale.*."""
    if arguments[:1] == ["--one"]:
        print(json.dumps(measure(int(arguments[1]), int(arguments[2]), arguments[3] == "1")))
        return 0
    sizes = [int(w) for w in arguments] or list(RUNS)
    cases = [(runs, nodes, 0) for runs in sizes for nodes in NODES] + [(1000, 1, 1)]
    rows = []
    for case in cases:
        command = [sys.executable, "-m", "bench.scale", "--one", *map(str, case)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows).round(2)
    folder = Path("results/bench")
    write_whole(folder / "scale.csv", table)
    write_whole(folder / "scale.md", table.to_markdown(index=False, floatfmt=".6g") + "\n")
    write_whole(folder / "scale.png", plot(table))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
