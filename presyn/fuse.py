"""Fuse a function of tensors into one pass over memory with torch.compile, or run it eagerly.

Both give the same numbers, but for the last bit of roots, which rules such as Adam and BGD take.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

RECOMPILATIONS = 256
"""How often one function may be compiled anew.

Dynamo's own limit of 8 falls back to eager steps in silence; cohorts of many sizes are normal here."""


_notes: dict[str, list[str]] = {}


def add_training_note(kind: str, text: str) -> bool:
    """Remember how devices of a kind train in this process other than they should; False if it was noted before."""
    notes = _notes.setdefault(kind, [])
    if text in notes:
        return False
    notes.append(text)
    return True


def training_notes(kind: str) -> list[str]:
    """How devices of a kind train in this process other than they should: unfused, not captured; for the rows."""
    return list(_notes.get(kind, ()))


@cache
def compiler_error(kind: str) -> str:
    """Why torch.compile does not work for devices of a kind here, such as cpu or cuda; empty if it does.

    It is tried once, on a trifle. What is wrong is printed on stderr, once, and noted for the rows.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # warns of a missing GPU
    try:
        torch.compile(_increment)(torch.zeros(8, device=kind))
    except Exception as e:  # whatever a missing or broken compiler, or a cache that cannot be written, leads to
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        reason = lines[0] if lines else type(e).__name__
        needs = "no working C++ compiler" if kind == "cpu" else "no working Triton"
        cache_folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or tempfile.gettempdir()
        if isinstance(e, OSError) and str(e.filename or "").startswith(cache_folder):
            needs = "no place for compiled code, see TORCHINDUCTOR_CACHE_DIR"
        add_training_note(kind, "unfused")
        print(
            f"presyn: {needs} ({reason[:200]}), so updates run unfused on {kind}: several times slower; roots may differ in "
            "their last bit.",
            file=sys.stderr,
        )
        return reason
    return ""


def _increment(x: torch.Tensor) -> torch.Tensor:
    return x + 1


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


def fused(function: Callable[..., Any], enabled: bool, device: torch.device | None = None) -> Callable[..., Any]:
    """The function compiled into one pass if asked for and possible, else the function itself.

    Args:
        function: Of tensors.
        enabled: Whether to compile it.
        device: Where the tensors are; None for the CPU.
    """
    if not enabled or compiler_error(device.type if device else "cpu"):
        return function
    _allow_sizes()
    return _compiled(function)


def _allow_sizes() -> None:
    """Raise Dynamo's limits in this thread: its configuration is a context variable, so a new thread has the defaults."""
    config = torch._dynamo.config
    for name, least in (("recompile_limit", RECOMPILATIONS), ("accumulated_recompile_limit", 64 * RECOMPILATIONS)):
        if getattr(config, name) < least:
            setattr(config, name, least)
