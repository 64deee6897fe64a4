"""Settings of torch that would change what training computes, put aside while a cohort is at work."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

from presyn.errors import PresynError

P = ParamSpec("P")
T = TypeVar("T")


_is_fork = [False]
"""Whether this process was forked from one that had imported presyn."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _is_fork.__setitem__(0, True))


def refuse_dead_threads() -> None:
    """Raise a PresynError in a forked process whose torch would wait for ever for threads that only its parent has."""
    if _is_fork[0] and torch.get_num_threads() > 1:
        raise PresynError(
            "This process was forked, and the threads of torch do not live on in a fork: call torch.set_num_threads(1) first, "
            "or start the process with spawn instead of fork."
        )


@contextmanager
def plain_torch() -> Iterator[None]:
    """A context in which torch computes as it does by default; what its user had set is as before when it ends.

    Put aside are a default dtype, a default device, inference mode and autocast. The precision of products stays: it is chosen
    by who trains.

    Raises:
        PresynError: torch would use threads that a fork does not have.
    """
    refuse_dead_threads()
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
