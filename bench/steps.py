"""A training step and a test beside their floors and the usual loop.

Published parameters, Permuted MNIST's shapes (100 × 784-200-200-10). What is compared is timed in rounds that alternate in
one process, so that all see the same machine; figures are medians over rounds, after warm-up. On a core they are seconds of the
core and not of the clock, so that other programs that run at the same time count little.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.usual import BATCH, loop_on_device, loop_with_loader
from presyn import Cohort, Dataset, PresynError, load, make_run
from presyn.datasets import data_root
from presyn.device import TEST_BATCH
from presyn.fuse import fused
from presyn.graph import ReplayedFunction
from presyn.inputs import Inputs
from presyn.methods.presynaptic import PresynapticOptions
from presyn.steps import STEPS_AHEAD

SIZES = (1, 3, 16, 64)
SIZES_ON_GPU = (1, 16, 64, 256)
TARGET = 3  # the cohort whose parts are shown

Steps = Callable[[int], None]
"""Makes so many steps."""


def data_or_noise() -> tuple[Dataset, str]:
    """MNIST if it is there, else noise of its shape, of which as much is lit: a step costs the same."""
    try:
        return load("mnist", data_root()), "MNIST"  # a named folder is not downloaded to
    except PresynError:
        return noise(0.19), "noise of MNIST's shape"


def noise(lit: float, images: int = 60_000) -> Dataset:
    """Noise of MNIST's shape, of which this share of pixels is not 0."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 256, (images, 784), dtype=np.uint8)
    x[rng.random((images, 784), dtype=np.float32) >= lit] = 0
    y, tested = rng.integers(0, 10, images), images // 6
    return Dataset("mnist", x, y, x[:tested], y[:tested], "noise", scale=1 / (255 * 0.3081), offset=0.1307 * 255)


def make_cohort(
    k: int, data: Dataset, device: torch.device, arithmetic: str | None = None, method: str = "presynaptic", **settings: Any
) -> Cohort:
    """K networks on Permuted MNIST."""
    return Cohort([make_run(method, "permuted-mnist", s, settings) for s in range(k)], data, device, arithmetic=arithmetic)


def our_steps(cohort: Cohort) -> Steps:
    """Steps as the training loop makes them in nine epochs of ten."""
    program = cohort.make_steps(0)
    program.load(0, 0)
    left = program.count

    def steps(count: int) -> None:
        nonlocal left
        while count:
            if not left:
                program.load(0, 0)
                left = program.count
            now = min(count, left)
            program.advance(now, measure_loss=False)
            left, count = left - now, count - now

    return steps


def products(cohort: Cohort) -> Steps:
    """The matrix products of steps, and nothing else; on a GPU as a captured graph, as the steps are."""
    return ReplayedFunction(_products(cohort), cohort.device)


def lit_products(cohort: Cohort) -> Steps:
    """The products of steps on a core of which those of the first layer are over lit pixels, always the same ones."""
    inputs = some_inputs(cohort, BATCH)
    return ReplayedFunction(_products(cohort, inputs), cohort.device)


def some_inputs(cohort: Cohort, count: int) -> Inputs:
    """The inputs of so many training images to each network of a cohort, on its first task."""
    m = cohort.minibatches
    return m.train.inputs(torch.arange(count).expand(len(cohort.runs), -1), m.pixel_index(0), back=True)


def _products(cohort: Cohort, inputs: Inputs | None = None) -> Callable[[], None]:
    """The products of a step; those of the first layer with these inputs, or else dense ones."""
    k, sizes = len(cohort.runs), cohort.network.sizes
    weights = cohort.network.layers(cohort.state["weights"])
    grads = cohort.network.layers(torch.empty_like(cohort.state["weights"]))
    activity = [torch.randn(k, BATCH, n, device=cohort.device) for n in sizes]
    forward, backward = ([torch.empty_like(a) for a in activity] for _ in range(2))
    biases = cohort.network.offsets(cohort.state["biases"])

    def step() -> None:
        for i, w in enumerate(weights):
            if i or inputs is None:
                torch.bmm(activity[i], w, out=forward[i + 1])
            else:
                inputs.multiply(w, biases[0], out=forward[1])
        for i in reversed(range(len(weights))):
            if i or inputs is None:
                torch.bmm(activity[i].transpose(1, 2), activity[i + 1], out=grads[i])
            else:
                inputs.multiply_back(activity[1], out=grads[0])
            if i:
                torch.bmm(activity[i + 1], weights[i].transpose(1, 2), out=backward[i])

    return step


def _stream_through(w: Tensor, p: Tensor, grad: Tensor, transmitted: Tensor) -> None:
    w.copy_(w + grad)
    p.copy_(p + transmitted)
    transmitted.copy_(w)


def floor(cohort: Cohort) -> Steps:
    """The products, and one pass over what an update must read and write: 4 numbers in and 3 out for each synapse."""
    multiply, stream = _products(cohort), fused(_stream_through, True, cohort.device)
    tensors = [torch.zeros_like(cohort.state["weights"]) for _ in range(4)]

    def step() -> None:
        multiply()
        stream(*tensors)

    return ReplayedFunction(step, cohort.device)


def times(work: Mapping[Any, Steps], rounds: int, steps: int, wait: Callable[[], object] | None = None) -> dict[Any, float]:
    """Seconds of a step of each, the median over alternating rounds; where a device is to wait for, by the clock."""
    taken: dict[Any, list[float]] = {name: [] for name in work}
    clock, wait = (time.perf_counter, wait) if wait else (time.thread_time, lambda: None)
    for make in work.values():
        make(steps)
    for _ in range(rounds):
        for name, make in work.items():
            wait()
            began = clock()
            make(steps)
            wait()
            taken[name].append((clock() - began) / steps)
    return {name: statistics.median(t) for name, t in taken.items()}


def step_table(data: Dataset, device: torch.device, sizes: tuple[int, ...], rounds: int) -> pd.DataFrame:
    """ms of a step per network for cohorts of these sizes, beside products, floor and the usual loop."""
    gpu = device.type == "cuda"
    options = PresynapticOptions(eta0=0.01)
    usual = loop_on_device(data, options, device) if gpu else loop_with_loader(data, options)
    lines = []
    for k in sizes:
        cohort = make_cohort(k, data, device)
        work = {"presyn": our_steps(cohort), "products": products(cohort), "floor": floor(cohort), "usual": usual}
        if not gpu:
            work |= {"dense": our_steps(make_cohort(k, data, device, "dense")), "lit_products": lit_products(cohort)}
        took = times(work, rounds, 30 if gpu else STEPS_AHEAD, torch.cuda.synchronize if gpu else None)
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
    cohort = make_cohort(TARGET, data, torch.device("cpu"))
    program = cohort.make_steps(0)
    steps = min(STEPS_AHEAD, program.count)
    program.load(0, 0)
    program.advance(min(10, program.count), measure_loss=False)
    multiply = products(cohort)
    seen = []
    for _ in range(rounds):
        program.load(0, 0)
        began = time.thread_time()
        multiply(steps)
        alone = (time.thread_time() - began) / steps
        seen.append({**program.profile(steps), "products alone": alone})
    ms = {name: 1e3 * statistics.median(s[name] for s in seen) / TARGET for name in seen[0]}
    step, image = make_cohort(TARGET, data, torch.device("cpu")).measure()
    tests = cohort.schedule.images_tested() * image
    return {**ms, "tests, share of a run": tests / (tests + step * cohort.schedule.first_step(cohort.segments))}


def test_table(data: Dataset, rounds: int) -> pd.DataFrame:
    """A test of 500 images by 10 sampled networks, beside its products."""
    lines = []
    for k in SIZES[:2]:
        cohort = make_cohort(k, data, torch.device("cpu"))
        work = {
            "presyn": our_tests(cohort),
            "dense": our_tests(make_cohort(k, data, torch.device("cpu"), "dense")),
            "products": _test_products(cohort),
            "lit_products": _test_products(cohort, some_inputs(cohort, TEST_BATCH)),
        }
        took = times(work, rounds, 1)
        ms = {f"{name}_ms": 1e3 * t / k for name, t in took.items()}
        lines.append({"networks": k, **ms, "to_products": took["presyn"] / took["products"]})
    return pd.DataFrame(lines)


def our_tests(cohort: Cohort) -> Steps:
    """Tests of a batch of images."""
    images = cohort.minibatches.test_images(0)[:TEST_BATCH]

    def tests(count: int) -> None:
        for batch in range(count):
            cohort._test_batch(0, 0, batch, images)

    return tests


def _test_products(cohort: Cohort, inputs: Inputs | None = None) -> Steps:
    """The products of such tests; those of the first layer with these inputs, or else dense ones."""
    weights, biases = cohort.network.layers(cohort.state["weights"]), cohort.network.offsets(cohort.state["biases"])
    activity = [torch.randn(len(cohort.runs), TEST_BATCH, n) for n in cohort.network.sizes]

    def tests(count: int) -> None:
        for _ in range(10 * count):
            for i, w in enumerate(weights):
                if i or inputs is None:
                    torch.bmm(activity[i], w, out=activity[i + 1])
                else:
                    inputs.multiply(w, biases[0], out=activity[1])

    return tests


def arithmetic_table(data: Dataset, rounds: int) -> pd.DataFrame:
    """ms of a step and of a test of the same networks in both arithmetics: by method, and by the share of lit pixels."""
    cases: list[tuple[str, Dataset, str, int]] = [
        *((method, data, method, TARGET) for method in ("presynaptic", "sgd", "ewc")),
        ("bgd", data, "bgd", 1),
        *((f"presynaptic, noise {s:.0%} lit", noise(s, 12_000), "presynaptic", TARGET) for s in (0.1, 0.3, 0.4, 0.5, 0.6)),
    ]
    lines = []
    for name, images, method, k in cases:
        cohorts = {way: make_cohort(k, images, torch.device("cpu"), way, method) for way in ("dense", "lit")}
        step, test = (
            times({way: work(cohort) for way, cohort in cohorts.items()}, max(3, rounds // 4), steps)
            for work, steps in ((our_steps, STEPS_AHEAD), (our_tests, 1))
        )
        took = {f"{way}_{what}_ms": 1e3 * t[way] / k for what, t in (("step", step), ("test", test)) for way in cohorts}
        ratios = {"step_ratio": step["lit"] / step["dense"], "test_ratio": test["lit"] / test["dense"]}
        lines.append({"networks": f"{k} × {name}", "lit": round(images.lit_share, 2), **took, **ratios})
    return pd.DataFrame(lines)


def growth(data: Dataset) -> pd.DataFrame:
    """How a run's time grows with the width of its layers and the number of its tasks."""
    lines: list[dict[str, Any]] = []
    for width in (100, 200, 400, 800):
        cohort = make_cohort(TARGET, data, torch.device("cpu"), hidden=[width, width])
        step, image = cohort.measure(4 * STEPS_AHEAD)
        lines.append({"width": width, "tasks": 10, "tests": "all", "step_ms": 1e3 * step, "run_s": _whole(cohort, step, image)})
        if width != 200:
            continue
        for tasks, tests in ((5, "all"), (20, "all"), (20, "new")):
            other = make_cohort(1, data, torch.device("cpu"), tasks=tasks, tests=tests)
            lines.append({**lines[-1], "tasks": tasks, "tests": tests, "run_s": _whole(other, step, image)})
    return pd.DataFrame(lines)


def _whole(cohort: Cohort, step: float, image: float) -> float:
    return step * cohort.schedule.first_step(cohort.segments) + image * cohort.schedule.images_tested()
