"""A function whose kernels a GPU records once and then replays as one graph; elsewhere, and where that fails, it is called."""

import sys
import weakref
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from presyn.fuse import add_training_note

T = TypeVar("T")
EAGER_CALLS = 3  # calls that a GPU makes before it captures one: they compile, and let the libraries allocate

_MEMORY_ERRORS = ("out of memory", "alloc_failed", "cudaerrormemoryallocation", "memoryallocation")


def out_of_memory(error: BaseException) -> bool:
    """Whether a device has no memory left; torch's own error of it, or a plain one of cuBLAS, Triton or a capture."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MEMORY_ERRORS)
    )


def weak_method(method: Callable[..., T], *arguments: object) -> Callable[..., T]:
    """A bound method that does not keep its object alive: in a cycle the object would hold a GPU's memory until Python looks
    for cycles. Further arguments come first in every call."""
    reference = weakref.WeakMethod(method)

    def call(*more: object) -> T:
        return reference()(*arguments, *more)  # type: ignore[misc]

    return call


class ReplayedFunction:
    """A function of no arguments and no result, which reads and writes tensors that stay where they are.

    Args:
        function: What to call.
        device: Where its tensors are.
        eager: Calls before the capture.

    Raises, when called:
        torch.OutOfMemoryError: the device has no memory for it, whatever the error was.
    """

    def __init__(self, function: Callable[[], None], device: torch.device, eager: int = EAGER_CALLS) -> None:
        self._function, self._eager = function, eager
        self._captures = can_capture(device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, times: int = 1) -> None:
        """Call the function so many times."""
        try:
            self._call(times)
        except RuntimeError as e:
            if out_of_memory(e) and not isinstance(e, torch.OutOfMemoryError):
                raise torch.OutOfMemoryError(str(e)) from e
            raise

    def _call(self, times: int) -> None:
        eager = times if not self._captures else 0 if self._graph else min(times, self._eager)
        for _ in range(eager):
            self._function()
        if self._captures and self._graph is None:
            self._eager -= eager
            if times > eager:
                self._capture()
                if not self._captures:
                    return self._call(times - eager)
        for _ in range(times - eager):
            self._graph.replay()  # type: ignore[union-attr]
        return None

    def _capture(self) -> None:
        graph = new_graph()
        try:
            with capture_into(graph):  # records, makes no step
                self._function()
        except Exception as e:  # whatever a library raises in a capture
            if out_of_memory(e):
                raise
            self._captures = False
            lines = [line.strip() for line in str(e).splitlines() if line.strip()]
            if add_training_note("cuda", "not captured"):
                reason = lines[0][:200] if lines else type(e).__name__
                print(
                    f"presyn: a step cannot be captured here ({reason}), so steps are made one by one: same results, slower.",
                    file=sys.stderr,
                )
            return
        self._graph = graph


class BufferedFunction:
    """A function of tensors that give one, called on copies of its arguments which stay where they are, so that it is replayed.

    Args:
        function: What to call.
        device: Where its tensors are; where nothing is captured, it is called as it is.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self._function, self._device = function, device
        self._programs: dict[tuple, tuple[list[Tensor | None], Tensor, ReplayedFunction]] = {}

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        """The function's result for these arguments; arguments of other shapes are another program."""
        if not can_capture(self._device):
            return self._function(*arguments)
        shapes = tuple(None if a is None else a.shape for a in arguments)
        if shapes not in self._programs:
            buffers = [None if a is None else a.clone() for a in arguments]
            out = self._function(*buffers).clone()

            def call() -> None:
                out.copy_(self._function(*buffers))

            program = ReplayedFunction(call, self._device, eager=0)
            self._programs[shapes] = (buffers, out, program)
            return out.clone()
        buffers, out, program = self._programs[shapes]
        for buffer, argument in zip(buffers, arguments, strict=True):
            if buffer is not None and argument is not None:
                buffer.copy_(argument)
        program()
        return out.clone()


def can_capture(device: torch.device) -> bool:
    """Whether a device can record kernels and replay them."""
    return device.type == "cuda"


def new_graph() -> torch.cuda.CUDAGraph:
    """A graph in which nothing is captured yet; a test puts another one here."""
    return torch.cuda.CUDAGraph()


def capture_into(graph: torch.cuda.CUDAGraph) -> torch.cuda.graph:
    """A context in which kernels are recorded into a graph instead of run; a test puts another one here."""
    return torch.cuda.graph(graph)
