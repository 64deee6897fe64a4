"""The benchmark as Markdown and as a picture."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from bench.steps import TARGET
from pipeline.report.drawing import Picture
from presyn.device import TEST_BATCH

CAPTIONS = {
    "step": "A training step, ms per network. products: its matrix products alone; floor: products and one pass over what an "
    "update reads and writes; usual: one network by nn.Module and autograd (with a DataLoader on a CPU). dense: presyn "
    "with all pixels in the first layer, not the lit ones alone; lit_products: products with these. Ratios are to products.",
    "test": f"A test of {TEST_BATCH} images by 10 sampled networks, ms per network.",
    "arithmetic": "A step and a test in both arithmetics, ms per network.",
    "growth": f"Growth, cohort of {TARGET}: a step, and a whole run on one core.",
    "parts": f"Parts of a step, ms per network, cohort of {TARGET}.",
    "processes": "Memory and compilation of a process.",
    "orchestration": "Ray, store and MLflow around runs of a second.",
    "checks": "The device beside the CPU.",
}


def report(measured: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Everything as Markdown."""
    blocks = [", ".join(f"{k} {v}" for k, v in measured["machine"].items())]
    for name, caption in CAPTIONS.items():
        if name in tables:
            blocks.append(f"{caption}\n\n{tables[name].to_markdown(index=False, floatfmt='.3g')}")
        elif name in measured:
            lines = [
                f"- {k}: {v:.3g}" if isinstance(v, float) and math.isfinite(v) else f"- {k}: {v}"
                for k, v in measured[name].items()
            ]
            blocks.append(caption + "\n\n" + "\n".join(lines))
    return "\n\n".join(blocks)


def plot(step: pd.DataFrame, parts: Mapping[str, float] | None) -> Picture:
    """Steps by cohort size beside their floors, and the parts of one."""
    return Picture(lambda: _plot(step, parts))


def _plot(step: pd.DataFrame, parts: Mapping[str, float] | None) -> Figure:
    figure, axes = plt.subplots(1, 2 if parts else 1, figsize=(9 if parts else 5, 3.6), squeeze=False)
    left = axes[0][0]
    for name, words in (
        ("usual", "usual loop"),
        ("dense", "presyn, all pixels"),
        ("presyn", "presyn"),
        ("floor", "products and traffic"),
        ("products", "products"),
        ("lit_products", "products of lit pixels"),
    ):
        if f"{name}_ms" not in step:
            continue
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
    return figure
