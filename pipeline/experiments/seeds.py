"""Seeds of reported runs, which are never those of searches."""

from presyn import PresynError
from presyn.benchmarks import SEARCH_SEEDS


def refuse_search_seeds(seeds: tuple[int, ...]) -> None:
    """Raise a PresynError for seeds that searches use, whose permutations reported runs must not see."""
    if max(seeds) >= SEARCH_SEEDS:
        raise PresynError(f"seeds from {SEARCH_SEEDS} on are for searches; report with smaller ones.")
