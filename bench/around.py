"""Around the steps: memory and compilation of a process, and what orchestration costs."""

import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from bench.memory import memory_mib
from bench.steps import data_or_noise, make_cohort
from pipeline.plan import Plan
from pipeline.records.mlflow.background import BackgroundWriter
from pipeline.records.mlflow.notes import Note
from pipeline.records.store import Store
from pipeline.train import train
from presyn import Run, load, make_run
from presyn import train as train_plainly
from presyn.device import TEST_BATCH
from sweeps.cluster import Cluster
from sweeps.packing import MOST_ON_CPU


def _in_a_process(k: int, cache: str) -> tuple[float, float]:
    """In a process of its own: MiB at the peak of training and testing K networks; seconds of the first step."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    torch.set_num_threads(1)
    cohort = make_cohort(k, data_or_noise()[0], torch.device("cpu"))
    program = cohort.make_steps(0)
    marks = [time.perf_counter()]
    program.load(0, 0)
    program.advance(1)
    marks.append(time.perf_counter())
    cohort._test_batch(0, 0, 0, cohort.minibatches.test_images(0)[:TEST_BATCH])
    return memory_mib("VmHWM"), marks[1] - marks[0]


def processes() -> dict[str, float]:
    """Peak memory of a process and of each further member; seconds to compile, without and with the cache on disk."""
    with tempfile.TemporaryDirectory() as cache:
        seen = {}
        for name, k in (("cold", 2), ("warm", 2), ("large", 18)):
            # Each in a new process, whose peak is its own.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                seen[name] = pool.submit(_in_a_process, k, cache).result()
    return {
        "process of one network, MiB": seen["warm"][0] - (seen["large"][0] - seen["warm"][0]) / 16,
        "each further network, MiB": (seen["large"][0] - seen["warm"][0]) / 16,
        "first step without cache, s": seen["cold"][1],
        "first step with cache, s": seen["warm"][1],
    }


def orchestration(count: int) -> dict[str, float]:
    """What Ray, the store and MLflow add to runs of about a second: the sweep's wall time beside plain training."""
    device = torch.device("cpu")

    def runs(n: int, epochs: int, first: int = 0) -> list[Run]:
        return [make_run("presynaptic", "permuted-digits", s, {"epochs": epochs}) for s in range(first, first + n)]

    def plainly(epochs: int) -> float:
        began = time.perf_counter()
        train_plainly(runs(MOST_ON_CPU, epochs, first=10_000), load("digits"), device)
        return (time.perf_counter() - began) / MOST_ON_CPU

    epochs = max(1, round(10 / plainly(10)))
    before = plainly(epochs)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        plan = Plan(store, Cluster(device="cpu"))
        ids = [plan.add(run) for run in runs(count, epochs)]
        plan.seconds(plan.runs[ids[0]])  # measured before the clock starts, as a plan is shown before training
        began = time.perf_counter()
        tracking = BackgroundWriter(f"sqlite:///{folder}/mlflow.db", store)
        tracking.follow(Note("bench", "bench", "bench", ids))
        train(plan, tracking.write, "one-second runs")
        tracking.close()
        wall = time.perf_counter() - began
    slots = os.cpu_count() or 1
    each = (before + plainly(epochs)) / 2
    return {"runs": count, "seconds of a run": each, "wall, s": wall, "overhead per run, s": wall / count - each / slots}
