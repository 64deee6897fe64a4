"""Captured steps, without a GPU: a step recorded and replayed as a graph would be, and steps on CUDA tensors that are fake.

A graph replays kernels on the memory that they were recorded with. So does `Recorded`, kernel by kernel on the CPU, and as a
capture does it refuses what waits for the device. What a step decides in Python is frozen then, which a comparison
of bits shows.
"""

import contextlib
import gc
import threading
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import presyn.fuse
import presyn.graph
import presyn.minibatches
import presyn.schedule
from presyn import BENCHMARKS, METHODS, PresynError, make_cohort, make_run
from presyn.device import TEST_BATCH
from presyn.graph import BufferedFunction, ReplayedFunction, out_of_memory
from presyn.random_numbers import quantiles

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.item")
KINDS = {
    "permuted": "permuted-digits",
    "split": "split-digits",
    "single": "digits",
    "continuous": {"name": "mixing", "kind": "continuous", "dataset": "digits", "tasks": 2, "hidden": [8], "batch_size": 20},
}
SMALL = {"epochs": 1, "hidden": [8], "batch_size": 10, "measures": []}


class Recorded(TorchDispatchMode):
    """Records kernels as they run; `replay` runs them again, on the same memory."""

    def __init__(self):
        super().__init__()
        self.kernels = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if str(func).startswith(WAITS):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        out = func(*args, **kwargs)
        self.kernels.append((func, args, kwargs, out))
        return out

    def replay(self):
        for func, args, kwargs, out in self.kernels:
            again = func(*args, **kwargs)
            for mine, new in zip(tree_flatten(out)[0], tree_flatten(again)[0], strict=True):
                if isinstance(mine, torch.Tensor) and mine.data_ptr() != new.data_ptr():
                    mine.copy_(new)


@contextlib.contextmanager
def recording(graph):
    """As a capture: what is recorded leaves no trace in the state."""
    before = [(t, t.clone()) for t in graph.watched]
    try:
        with graph:
            yield
    finally:
        for t, was in before:
            t.copy_(was)


def watched(cohort, steps):
    """All tensors that a step or a test changes."""
    buffers = [
        steps._loss,
        steps._position,
        steps._weights,
        steps._biases,
        steps._reader._x,
        steps._backprop.grad,
        steps._reader._member_x,
    ]
    return [t for t in (*cohort.state.values(), *buffers, *steps._backprop._activity, *steps._backprop._delta) if t is not None]


@pytest.fixture
def captured(monkeypatch):
    """Let the CPU capture; returns what a graph has to watch."""
    tensors = []

    def new_graph():
        graph = Recorded()
        graph.watched = list(tensors)
        return graph

    monkeypatch.setattr(presyn.graph, "can_capture", lambda device: True)
    monkeypatch.setattr(presyn.graph, "new_graph", new_graph)
    monkeypatch.setattr(presyn.graph, "capture_into", recording)
    monkeypatch.setattr(presyn.fuse, "_notes", {})
    return tensors


def runs_of(method, kind, k=3):
    from presyn.benchmarks import Benchmark

    values = KINDS[kind]
    benchmark = Benchmark.build(values) if isinstance(values, dict) else BENCHMARKS[values]
    return [make_run(method, benchmark, seed, SMALL) for seed in range(k)]


def ends(method, kind, data, tensors=None):
    """State, losses and test results after a segment whose steps were made in three pieces, with and without their loss."""
    cohort = make_cohort(runs_of(method, kind), data, CPU)
    steps = cohort.make_steps(0)
    if tensors is not None:
        tensors += watched(cohort, steps)
    results = []
    for epoch in range(2):
        steps.load(epoch, epoch * steps.count)
        for n, measured in ((5, False), (3, True), (steps.count - 8, False)):
            loss = steps.advance(n, measure_loss=measured)
            results += [loss.clone()] if measured else []
    images = cohort.minibatches.test_images(0)
    for batch in range(3):
        results.append(cohort._test_batch(0, 0, batch, images[batch : batch + 50]).clone())
    return [*cohort.state.values(), *results]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_replayed_step_and_test_are_the_same_bits_as_plain_ones(method, kind, tiny, captured):
    with pytest.MonkeyPatch.context() as m:
        m.setattr(presyn.graph, "can_capture", lambda device: False)
        plain = ends(method, kind, tiny)
    replayed = ends(method, kind, tiny, captured)
    assert presyn.fuse.training_notes("cuda") == [], "nothing fell back to steps one by one"
    for a, b in zip(plain, replayed, strict=True):
        assert torch.equal(
            a.view(torch.int32) if a.dtype == torch.float32 else a, b.view(torch.int32) if b.dtype == torch.float32 else b
        )


def plant(monkeypatch, change):
    """Let the update of gradient descent do something more."""
    from presyn.methods.sgd import SGD

    update = SGD.update

    def planted(self, state, *arguments):
        update(self, state, *arguments)
        change(self, state)

    monkeypatch.setattr(SGD, "update", planted)


def test_a_step_that_asks_the_device_falls_back_to_single_steps_and_says_so(tiny, captured, monkeypatch, capsys):
    plant(monkeypatch, lambda self, state: state["weights"].sum().item())
    ends("sgd", "split", tiny, captured)
    assert presyn.fuse.training_notes("cuda") == ["not captured"]
    assert capsys.readouterr().err.count("a step cannot be captured here (operation not permitted") == 1


def test_a_counter_in_python_is_caught_by_the_comparison_of_bits(tiny, captured, monkeypatch):
    def count(self, state):
        self.made = getattr(self, "made", 0) + 1
        state["weights"].mul_(1 + self.made * 1e-3)

    plant(monkeypatch, count)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(presyn.graph, "can_capture", lambda device: False)
        plain = ends("sgd", "split", tiny)
    assert not torch.equal(plain[0], ends("sgd", "split", tiny, captured)[0])


MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    torch.AcceleratorError("CUDA error: out of memory")
    if hasattr(torch, "AcceleratorError")
    else RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("cudaErrorMemoryAllocation"),
]
OTHERS = [
    RuntimeError("operation failed due to a previous error during capture"),
    RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED"),
    NotImplementedError("no capture of this"),
    PresynError("odd"),
]


class Failing:
    watched = ()

    def __init__(self, error):
        self.error = error

    def __enter__(self):
        raise self.error

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("error", MEMORY, ids=lambda e: str(e)[:40])
def test_a_capture_without_memory_is_that_whatever_it_is_called(captured, monkeypatch, error):
    monkeypatch.setattr(presyn.graph, "new_graph", lambda: Failing(error))
    made = []
    with pytest.raises(torch.OutOfMemoryError):
        ReplayedFunction(lambda: made.append(1), CPU)(5)
    assert len(made) == presyn.graph.EAGER_CALLS and presyn.fuse.training_notes("cuda") == [] and out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=lambda e: str(e)[:40])
def test_any_other_failure_of_a_capture_goes_on_step_by_step_with_one_line(captured, monkeypatch, capsys, error):
    monkeypatch.setattr(presyn.graph, "new_graph", lambda: Failing(error))
    made = []
    for _ in range(2):
        program = ReplayedFunction(lambda: made.append(1), CPU)
        program(5)
        program(2)
    assert len(made) == 14 and not out_of_memory(error)
    assert capsys.readouterr().err.count("cannot be captured") == 1 and presyn.fuse.training_notes("cuda") == ["not captured"]


def test_a_step_that_runs_out_of_memory_outside_a_capture_is_out_of_memory_too():
    def step():
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")

    with pytest.raises(torch.OutOfMemoryError):
        ReplayedFunction(step, CPU)(1)
    with pytest.raises(RuntimeError, match="shapes"):
        ReplayedFunction(lambda: (_ for _ in ()).throw(RuntimeError("shapes do not fit")), CPU)(1)


def test_a_function_on_buffers_is_a_program_for_each_shape(captured):
    calls = []

    def double(x, y):
        calls.append(1)
        return 2 * x if y is None else x + y

    on = BufferedFunction(double, CPU)
    for n in (3, 2, 3, 3):
        x = torch.arange(float(n)) + n
        assert torch.equal(on(x, None), 2 * x) and torch.equal(on(x, x), 2 * x)
    assert len(on._programs) == 4


@contextlib.contextmanager
def fake_gpu(data, monkeypatch):
    """CUDA tensors without numbers; what the host computes with numbers is known beforehand."""
    rows = presyn.minibatches.hold_out(BENCHMARKS["digits"], data)
    for module in (presyn.minibatches, presyn.schedule):
        monkeypatch.setattr(module, "hold_out", lambda benchmark, data: rows)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(presyn.graph, "can_capture", lambda device: False)
    quantiles.cache_clear()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        quantiles.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_steps_and_tests_on_a_gpu_hold_no_tensor_of_the_host(method, kind, tiny, monkeypatch):
    """Under fake CUDA tensors an operation that mixes devices is an error, and so is one that waits for a value."""
    with fake_gpu(tiny, monkeypatch):
        cohort = make_cohort(runs_of(method, kind), tiny, CUDA)
        steps = cohort.make_steps(0)
        steps.load(0, 0)
        for measured in (False, True):
            assert steps.advance(2, measure_loss=measured).device.type == "cuda"
        rows = cohort.minibatches.test_images(0)[:TEST_BATCH]
        assert cohort._test_batch(0, 0, 0, rows).device.type == "cuda"
    held = tree_map(
        lambda t: t.device.type, [*cohort.state.values(), *watched(cohort, steps), steps._keys, steps._reader._images]
    )
    assert set(held) == {"cuda"}


def test_a_tensor_of_the_host_in_a_step_is_caught(tiny, monkeypatch):
    plant(monkeypatch, lambda self, state: state["weights"].add_(torch.ones(1, state["weights"].shape[1])))
    with fake_gpu(tiny, monkeypatch), pytest.raises(Exception, match="device"):
        steps = make_cohort(runs_of("sgd", "split"), tiny, CUDA).make_steps(0)
        steps.load(0, 0)
        steps.advance(1)


def test_every_thread_may_compile_many_sizes(monkeypatch):
    limits = {}

    def in_a_thread():
        config = torch._dynamo.config
        limits["before"] = config.recompile_limit
        presyn.fuse.fused(torch.sin, True)
        limits["after"] = config.recompile_limit, config.accumulated_recompile_limit

    monkeypatch.setattr(presyn.fuse, "compiler_error", lambda kind: "")
    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert limits["after"][0] == presyn.fuse.RECOMPILATIONS and limits["after"][1] >= presyn.fuse.RECOMPILATIONS


def test_members_that_drop_out_do_not_cost_a_compilation_each(monkeypatch):
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    monkeypatch.setattr(presyn.fuse, "compiler_error", lambda kind: "")
    monkeypatch.setattr(presyn.fuse, "_compiled", lambda function: torch.compile(function, backend=counter))
    torch._dynamo.reset()
    step = presyn.fuse.fused(lambda w, g, eta: w.sub_(eta * g), True)
    for k in range(24, 1, -1):
        step(torch.zeros(k, 30), torch.ones(k, 30), torch.ones(k, 1))
    assert counter.frame_count <= 3


def test_the_compiler_is_tried_on_the_device_that_it_is_for(monkeypatch, capsys):
    tried = []

    def compile_(function):
        def run(x):
            tried.append(x.device.type)
            if x.device.type == "meta":
                raise RuntimeError("Triton is broken\nand more")
            return function(x)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(presyn.fuse, "_notes", {})
    presyn.fuse.compiler_error.cache_clear()
    try:
        assert presyn.fuse.compiler_error("cpu") == "" and presyn.fuse.compiler_error("meta") == "Triton is broken"
        assert presyn.fuse.fused(torch.sin, True, torch.device("meta")) is torch.sin
        assert (
            tried == ["cpu", "meta"]
            and presyn.fuse.training_notes("meta") == ["unfused"]
            and not presyn.fuse.training_notes("cpu")
        )
        assert "no working Triton (Triton is broken), so updates run unfused on meta" in capsys.readouterr().err
    finally:
        presyn.fuse.compiler_error.cache_clear()


def test_steps_and_cohorts_are_gone_when_nobody_holds_them(tiny):
    """On a GPU what a cycle holds is memory that the next cohort lacks."""
    gc.collect()
    gc.disable()
    try:
        cohort = make_cohort(runs_of("presynaptic", "split"), tiny, CPU)
        steps = cohort.make_steps(0)
        steps.load(0, 0)
        steps.advance(2)
        cohort.train_segment()
        held = [weakref.ref(steps), weakref.ref(cohort)]
        del steps, cohort
        assert [ref() for ref in held] == [None, None]
    finally:
        gc.enable()
