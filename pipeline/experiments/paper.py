"""The decisions of the paper, and of this reproduction where the paper leaves one open, as data with their source.

Settings that belong to a method on a benchmark are with the method (`published` in presyn/methods).
"""

from pipeline.report.published import published_table

SEEDS = (2019, 2020, 2021)
"""Of the paper's repetitions (PAPER section 3)."""
FOUR = ("split-mnist", "split-fashion", "permuted-mnist", "permuted-fashion")
"""The benchmarks of Table 1, in its order."""
OWN = "presynaptic"
"""The paper's own rule."""
SEARCHED_ONCE = "permuted-mnist"
"""Where the paper searches its rule's parameters, to use them unchanged on the other benchmarks (Methods)."""
BY_HAND = "eta0"
"""What the paper sets by hand for its own rule, for each kind of benchmark (PAPER section 4)."""
TUNED_PER_KIND = {"ewc": {"permuted": "ewc-permuted-mnist", "split": "ewc-split-mnist"}}
"""Methods whose settings the paper does not name: they are searched on one benchmark of each kind."""


def published_benchmarks() -> set[str]:
    """Those of the published table."""
    return {benchmark for _, benchmark in published_table()}


def space_of(method: str) -> str:
    """The space that a method is tuned in once."""
    return f"{method}-{SEARCHED_ONCE}"
