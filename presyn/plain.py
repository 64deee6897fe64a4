"""Settings of torch that would change what training computes, put aside while a cohort is at work."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def plain_torch() -> Iterator[None]:
    """A context in which torch computes as it does by default; what its user had set is as before when it ends.

    Put aside are a default dtype, a default device, inference mode and autocast. The precision of products stays: it is chosen
    by who trains.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def in_plain_torch(function: Callable[P, T]) -> Callable[P, T]:
    """The function, carried out in `plain_torch`."""

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> T:
        with plain_torch():
            return function(*arguments, **options)

    return call
