"""Measure: a training step beside its floors and the usual loop, a test, memory, growth, and what orchestration costs.

Published parameters, Permuted MNIST's shapes (100 × 784-200-200-10). What is compared is timed in rounds that alternate in
one process, so that all see the same machine; figures are medians over rounds, after warm-up.
"""

import json
import math
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from scipy import stats
from torch import Tensor

from pipeline.store import Store, code_version
from pipeline.tracking import Stage, Tracker
from pipeline.training import Plan, train
from pipeline.usual import BATCH, loop_on_device, loop_with_loader
from presyn import Cohort, Dataset, PresynError, Run, load, make_run
from presyn import train as train_plainly
from presyn.datasets import data_root
from presyn.device import TEST_BATCH
from presyn.fuse import fused
from presyn.methods.presynaptic import PresynapticOptions
from presyn.streams import Purpose, bits, keys, permutation
from sweeps.execute import Cluster
from sweeps.packing import MOST_ON_CPU

SIZES = (1, 3, 16, 64)
SIZES_ON_GPU = (1, 16, 64, 256)
TARGET = 3  # the cohort whose parts are shown
FALSE_ALARM = 0.001  # of the comparison of accuracies between devices

Steps = Callable[[int], None]
"""Makes so many steps."""


def data_or_noise() -> tuple[Dataset, str]:
    """MNIST if it is there, else noise of its shape: a step costs the same."""
    try:
        return load("mnist", data_root()), "MNIST"  # a named folder is not downloaded to
    except PresynError:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (60_000, 784), dtype=np.uint8), rng.integers(0, 10, 60_000)
        return Dataset("mnist", x, y, x[:10_000], y[:10_000], "noise"), "noise of MNIST's shape"


def cohort_of(k: int, data: Dataset, device: torch.device, **settings: Any) -> Cohort:
    """K networks on Permuted MNIST."""
    return Cohort([make_run("presynaptic", "permuted-mnist", s, settings) for s in range(k)], data, device)


def our_steps(cohort: Cohort) -> Steps:
    """Steps as the training loop makes them in nine epochs of ten."""
    program = cohort.steps_of(0)
    program.load(0, 0)
    left = program.count

    def steps(count: int) -> None:
        nonlocal left
        if left < count:
            program.load(0, 0)
            left = program.count
        program.advance(count, measure_loss=False)
        left -= count

    return steps


def products(cohort: Cohort) -> Steps:
    """The matrix products of steps, and nothing else."""
    k, sizes = len(cohort.runs), cohort.network.sizes
    weights = cohort.network.layers(cohort.state["weights"])
    grads = cohort.network.layers(torch.empty_like(cohort.state["weights"]))
    activity = [torch.randn(k, BATCH, n, device=cohort.device) for n in sizes]
    forward, backward = ([torch.empty_like(a) for a in activity] for _ in range(2))

    def steps(count: int) -> None:
        for _ in range(count):
            for i, w in enumerate(weights):
                torch.bmm(activity[i], w, out=forward[i + 1])
            for i in reversed(range(len(weights))):
                torch.bmm(activity[i].transpose(1, 2), activity[i + 1], out=grads[i])
                if i:
                    torch.bmm(activity[i + 1], weights[i].transpose(1, 2), out=backward[i])

    return steps


def _stream_through(w: Tensor, p: Tensor, grad: Tensor, transmitted: Tensor) -> None:
    w.copy_(w + grad)
    p.copy_(p + transmitted)
    transmitted.copy_(w)


def floor(cohort: Cohort) -> Steps:
    """The products, and one pass over what an update must read and write: 4 numbers in and 3 out for each synapse."""
    multiply, stream = products(cohort), fused(_stream_through, True)
    tensors = [torch.zeros_like(cohort.state["weights"]) for _ in range(4)]

    def steps(count: int) -> None:
        for _ in range(count):
            multiply(1)
            stream(*tensors)

    return steps


def times(work: Mapping[Any, Steps], rounds: int, steps: int, wait: Callable[[], object] = lambda: None) -> dict[Any, float]:
    """Seconds of a step of each, the median over alternating rounds."""
    taken: dict[Any, list[float]] = {name: [] for name in work}
    for make in work.values():
        make(steps)
    for _ in range(rounds):
        for name, make in work.items():
            wait()
            began = time.perf_counter()
            make(steps)
            wait()
            taken[name].append((time.perf_counter() - began) / steps)
    return {name: statistics.median(t) for name, t in taken.items()}


def step_table(data: Dataset, device: torch.device, sizes: tuple[int, ...], rounds: int) -> pd.DataFrame:
    """ms of a step per network for cohorts of these sizes, beside products, floor and the usual loop."""
    gpu = device.type == "cuda"
    options = PresynapticOptions(eta0=0.01)
    usual = loop_on_device(data, options, device) if gpu else loop_with_loader(data, options)
    lines = []
    for k in sizes:
        cohort = cohort_of(k, data, device)
        work = {"presyn": our_steps(cohort), "products": products(cohort), "floor": floor(cohort), "usual": usual}
        took = times(work, rounds, 30 if gpu else 10, torch.cuda.synchronize if gpu else lambda: None)
        each = {name: 1e3 * t / (1 if name == "usual" else k) for name, t in took.items()}
        lines.append(
            {
                "networks": k,
                **{f"{name}_ms": ms for name, ms in each.items()},
                "to_products": each["presyn"] / each["products"],
                "to_floor": each["presyn"] / each["floor"],
                "speedup": each["usual"] / each["presyn"],
            }
        )
    return pd.DataFrame(lines)


def parts(data: Dataset, rounds: int) -> dict[str, float]:
    """ms per network of the parts of a step, of its products, and of the tests as a share of a whole run."""
    cohort = cohort_of(TARGET, data, torch.device("cpu"))
    program = cohort.steps_of(0)
    program.load(0, 0)
    program.advance(10, measure_loss=False)
    multiply = products(cohort)
    seen = []
    for _ in range(rounds):
        began = time.perf_counter()
        multiply(10)
        alone = (time.perf_counter() - began) / 10
        program.load(0, 0)
        seen.append({**program.profile(10), "products alone": alone})
    ms = {name: 1e3 * statistics.median(s[name] for s in seen) / TARGET for name in seen[0]}
    step, image = cohort_of(TARGET, data, torch.device("cpu")).measure()
    tests = cohort.schedule.images_tested() * image
    return {**ms, "tests, share of a run": tests / (tests + step * cohort.schedule.first_step(cohort.parts))}


def test_table(data: Dataset, rounds: int) -> pd.DataFrame:
    """A test of 500 images by 10 sampled networks, beside its products."""
    lines = []
    for k in SIZES[:2]:
        cohort = cohort_of(k, data, torch.device("cpu"))
        images = cohort.stream.test_images(0)[:TEST_BATCH]
        weights = cohort.network.layers(cohort.state["weights"])
        activity = [torch.randn(k, TEST_BATCH, n) for n in cohort.network.sizes]

        def ours(count: int, cohort: Cohort = cohort, images: Tensor = images) -> None:
            for batch in range(count):
                cohort._test_batch(0, 0, batch, images)

        def alone(count: int, weights: list[Tensor] = weights, activity: list[Tensor] = activity) -> None:
            for _ in range(10 * count):
                for i, w in enumerate(weights):
                    torch.bmm(activity[i], w, out=activity[i + 1])

        took = times({"presyn": ours, "products": alone}, rounds, 1)
        ms = {f"{name}_ms": 1e3 * t / k for name, t in took.items()}
        lines.append({"networks": k, **ms, "to_products": took["presyn"] / took["products"]})
    return pd.DataFrame(lines)


def growth(data: Dataset) -> pd.DataFrame:
    """How a run's time grows with the width of its layers and the number of its tasks."""
    lines: list[dict[str, Any]] = []
    for width in (100, 200, 400, 800):
        cohort = cohort_of(TARGET, data, torch.device("cpu"), hidden=[width, width])
        step, image = cohort.measure(60)
        lines.append({"width": width, "tasks": 10, "tests": "all", "step_ms": 1e3 * step, "run_s": _whole(cohort, step, image)})
        if width != 200:
            continue
        for tasks, tests in ((5, "all"), (20, "all"), (20, "new")):
            other = cohort_of(1, data, torch.device("cpu"), tasks=tasks, tests=tests)
            lines.append({**lines[-1], "tasks": tasks, "tests": tests, "run_s": _whole(other, step, image)})
    return pd.DataFrame(lines)


def _whole(cohort: Cohort, step: float, image: float) -> float:
    return step * cohort.schedule.first_step(cohort.parts) + image * cohort.schedule.images_tested()


def _in_a_process(k: int, cache: str) -> tuple[float, float]:
    """In a process of its own: MiB at the peak of training and testing K networks; seconds of the first step."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    torch.set_num_threads(1)
    cohort = cohort_of(k, data_or_noise()[0], torch.device("cpu"))
    program = cohort.steps_of(0)
    marks = [time.perf_counter()]
    program.load(0, 0)
    program.advance(1)
    marks.append(time.perf_counter())
    cohort._test_batch(0, 0, 0, cohort.stream.test_images(0)[:TEST_BATCH])
    return _peak_mib(), marks[1] - marks[0]


def _peak_mib() -> float:
    status = Path("/proc/self/status")  # getrusage inherits the peak of the process that started this one
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
        train(plan, Tracker(f"sqlite:///{folder}/mlflow.db", store, Stage("bench", "bench", "bench", ids)), "one-second runs")
        wall = time.perf_counter() - began
    slots = os.cpu_count() or 1
    each = (before + plainly(epochs)) / 2
    return {"runs": count, "seconds of a run": each, "wall, s": wall, "overhead per run, s": wall / count - each / slots}


def same_bits(device: torch.device) -> dict[str, bool]:
    """Whether random words and orders on a device are those of the CPU."""
    key = keys(range(64), Purpose.RELEASE, 7)
    n = 198_800
    words = torch.equal(bits(key, n), bits(key.to(device), n).cpu())
    orders = torch.equal(permutation(key[:4], 60_000), permutation(key[:4].to(device), 60_000).cpu())
    return {"release words": words, "orders": orders}


def step_difference(data: Dataset, device: torch.device, k: int = 4, steps: int = 5) -> float:
    """The largest difference of strengths, relative to the largest strength, after steps on a device and on the CPU."""
    ends = []
    for where, fuse in ((torch.device("cpu"), False), (device, True)):
        cohort = Cohort([make_run("presynaptic", "permuted-mnist", s) for s in range(k)], data, where, fuse=fuse)
        program = cohort.steps_of(0)
        program.load(0, 0)
        program.advance(steps)
        ends.append(cohort.state["weights"].cpu())
    return float((ends[0] - ends[1]).abs().max() / ends[0].abs().max())


def accuracy_p(device: torch.device, seeds: int = 32) -> float:
    """p of a paired t test of the mean accuracies of the same seeds on a device and on the CPU."""
    here, there = (_accuracies(seeds, *how) for how in ((torch.device("cpu"), False), (device, True)))
    return 1.0 if np.array_equal(here, there) else float(stats.ttest_rel(here, there).pvalue)


def _accuracies(seeds: int, device: torch.device, fuse: bool) -> np.ndarray:
    cohort = Cohort([make_run("presynaptic", "permuted-digits", s) for s in range(seeds)], load("digits"), device, fuse=fuse)
    while not cohort.done:
        cohort.train_part()
    ends = {run.seed: record.mean_accuracy or 0.0 for run, record in cohort.results()}  # 0 where a run diverged
    return np.array([ends[seed] for seed in range(seeds)])


def check(data: Dataset, device: torch.device) -> dict[str, Any]:
    """Whether a device computes what the CPU does.

    Raises:
        PresynError: it does not; names what differs.
    """
    found = {
        **same_bits(device),
        "step, relative difference": step_difference(data, device),
        "accuracies, p": accuracy_p(device),
    }
    wrong = [name for name, value in found.items() if value is False]
    if found["step, relative difference"] > 1e-4:
        wrong.append(f"a step (by {found['step, relative difference']:.1e} of the largest strength)")
    if found["accuracies, p"] < FALSE_ALARM:
        wrong.append(f"accuracies (p = {found['accuracies, p']:.1e})")
    if wrong:
        raise PresynError(f"{device} does not compute what the CPU does: {', '.join(wrong)}. Its timings would mean nothing.")
    return found


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    version = code_version()
    return {"device": name, "cores": os.cpu_count(), "commit": version["git_commit"][:7], "dirty": version["git_dirty"],
            "torch": version["torch"], "python": version["python"], "date": time.strftime("%Y-%m-%d")}  # fmt: skip


def _processor() -> str:
    try:
        lines = subprocess.run(["lscpu"], capture_output=True, text=True, timeout=10).stdout.splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("Model name"))
    except (OSError, subprocess.SubprocessError, StopIteration):
        return platform.processor() or platform.machine()


def bench(device: torch.device, results: Path, quick: bool, runs: int) -> None:
    """Measure, print, and write results/bench/<cpu or cuda>.json, .md and .png."""
    console = Console()
    torch.set_num_threads(1)
    data, what = data_or_noise()
    rounds = 5 if quick else 25
    gpu = device.type == "cuda"
    found: dict[str, Any] = {"machine": {**machine(device), "data": what}}
    tables: dict[str, pd.DataFrame] = {}
    with console.status("measuring …") as status:
        if gpu:
            found["checks"] = check(data, device)
        tables["step"] = step_table(data, device, SIZES_ON_GPU if gpu else SIZES, rounds)
        if not gpu:
            found["parts"] = parts(data, rounds)
            tables["test"] = test_table(data, rounds)
            tables["growth"] = growth(data)
            found["processes"] = processes()
        status.update(f"{runs} one-second runs …")
        if runs and not gpu:
            found["orchestration"] = orchestration(runs)
    text = report(found, tables)
    print(text)
    folder = results / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    kind = "cuda" if gpu else "cpu"
    plain = found | {name: t.round(4).to_dict("records") for name, t in tables.items()}
    (folder / f"{kind}.json").write_text(json.dumps(plain, indent=1) + "\n")
    (folder / f"{kind}.md").write_text(text + "\n")
    plot(tables["step"], found.get("parts"), folder / f"{kind}.png")


CAPTIONS = {
    "step": "A training step, ms per network. products: its matrix products alone; floor: products and one pass over what an "
    "update reads and writes; usual: one network by nn.Module and autograd (with a DataLoader on a CPU).",
    "test": f"A test of {TEST_BATCH} images by 10 sampled networks, ms per network.",
    "growth": f"Growth, cohort of {TARGET}: a step, and a whole run on one core.",
    "parts": f"Parts of a step, ms per network, cohort of {TARGET}.",
    "processes": "Memory and compilation of a process.",
    "orchestration": "Ray, store and MLflow around runs of a second.",
    "checks": "The device beside the CPU.",
}


def report(found: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Everything as Markdown."""
    blocks = [", ".join(f"{k} {v}" for k, v in found["machine"].items())]
    for name, caption in CAPTIONS.items():
        if name in tables:
            blocks.append(f"{caption}\n\n{tables[name].to_markdown(index=False, floatfmt='.3g')}")
        elif name in found:
            lines = [
                f"- {k}: {v:.3g}" if isinstance(v, float) and math.isfinite(v) else f"- {k}: {v}"
                for k, v in found[name].items()
            ]
            blocks.append(caption + "\n\n" + "\n".join(lines))
    return "\n\n".join(blocks)


def plot(step: pd.DataFrame, parts: Mapping[str, float] | None, path: Path) -> None:
    """Steps by cohort size beside their floors, and the parts of one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2 if parts else 1, figsize=(9 if parts else 5, 3.6), squeeze=False)
    left = axes[0][0]
    for name, words in (
        ("usual", "usual loop"),
        ("presyn", "presyn"),
        ("floor", "products and traffic"),
        ("products", "products"),
    ):
        left.plot(step.networks, step[f"{name}_ms"], marker="o", label=words)
    left.set(xscale="log", yscale="log", xlabel="networks in the cohort", ylabel="ms per step per network")
    left.set_xticks(step.networks, [str(k) for k in step.networks])
    left.legend()
    if parts:
        right = axes[0][1]
        names = ["inputs", "forward and backward", "update"]
        bottom = 0.0
        for name in names:
            right.bar("a step", parts[name], bottom=bottom, label=name)
            bottom += parts[name]
        right.bar("products alone", parts["products alone"], color="grey")
        right.set(ylabel=f"ms per network, cohort of {TARGET}")
        right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
