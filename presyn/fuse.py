"""Fuse a function of tensors into one pass over memory with torch.compile, or run it eagerly: same numbers."""

import logging
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch


@cache
def compiler_available() -> bool:
    """Whether torch.compile works here, tried once on a trifle; says on stderr when it does not."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # warns of a missing GPU
    # The built-in limit of recompilations falls back to eager mode in silence; cohorts of many sizes are normal here.
    torch._dynamo.config.cache_size_limit = 256
    try:
        torch.compile(_increment)(torch.zeros(8))
    except Exception:  # whatever a missing or broken compiler leads to
        print("presyn: no working C++ compiler, so updates run unfused: same results, several times slower.", file=sys.stderr)
        return False
    return True


def _increment(x: torch.Tensor) -> torch.Tensor:
    return x + 1


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


def fused(function: Callable[..., Any], enabled: bool) -> Callable[..., Any]:
    """The function compiled into one pass if asked for and possible, else the function itself."""
    return _compiled(function) if enabled and compiler_available() else function
