"""Fuse a function of tensors into one pass over memory with torch.compile, or run it eagerly: same numbers."""

import logging
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch


@cache
def compiler_available() -> bool:
    """Whether torch.compile can work here; says once on stderr when it cannot."""
    if torch.cuda.is_available() or shutil.which(os.environ.get("CXX", "g++")):
        return True
    print("presyn: no C++ compiler found, so updates run unfused: same results, about twice as slow.", file=sys.stderr)
    return False


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # warns of a missing GPU
    # The built-in limit of recompilations falls back to eager mode in silence; cohorts of many sizes are normal here.
    torch._dynamo.config.cache_size_limit = 256
    return torch.compile(function)


def fused(function: Callable[..., Any], enabled: bool) -> Callable[..., Any]:
    """The function compiled into one pass if asked for and possible, else the function itself."""
    return _compiled(function) if enabled and compiler_available() else function
