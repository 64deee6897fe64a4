"""Measurements of trained networks.

To add one, write a small function of a moment, and a line in this table and in MEASUREMENT_NAMES. A benchmark names the ones
that it wants (`measures`); accuracy on the tasks is always measured.
"""

from collections.abc import Iterable

from presyn.benchmarks import MEASUREMENT_NAMES
from presyn.errors import PresynError
from presyn.measures.lesion import LESIONS, lesion
from presyn.measures.moment import Measurement, Moment
from presyn.measures.neurons import THRESHOLDS, neurons
from presyn.measures.output import energy, output, readings
from presyn.measures.overlap import overlap
from presyn.measures.synapses import BINS, fisher, raises, synapses
from presyn.methods.base import State

_WITH_P = ("weights", "biases", "p")
_SYNAPSES = (
    "share_p_below_0.3",
    "share_p_from_0.9",
    "energy_per_synapse_high",
    "energy_per_synapse_low",
    "histogram_p",
    "energy_by_p",
    "pearson_weight_p",
)
_FISHER = ("fisher_high", "fisher_low", "fisher_by_p", "pearson_fisher_p")
_LESIONS = tuple(f"lesion_{name}" for name in ("p", "weight", "product", "random"))
_NEURONS = tuple(f"{side}_from_{threshold}" for threshold in THRESHOLDS for side in ("inputs", "outputs"))

MEASURES: dict[str, Measurement] = {
    "energy": Measurement(energy, ("energy",), every=True),
    "output": Measurement(output, ("information", "neuronal_energy", "sampled_accuracy", "passes"), every=True, tests=1),
    "readings": Measurement(readings, ("information_hard_one", "information_soft_mean", "information_hard_mean")),
    "synapses": Measurement(synapses, _SYNAPSES, _SYNAPSES, needs=_WITH_P),
    "fisher": Measurement(fisher, _FISHER, _FISHER, needs=_WITH_P),
    "lesion": Measurement(lesion, _LESIONS, _LESIONS, needs=_WITH_P, tests=LESIONS),
    "neurons": Measurement(neurons, _NEURONS, _NEURONS, needs=_WITH_P),
    "raises": Measurement(
        raises,
        ("fisher_of_group", "raised_of_group", "spearman_fisher_raised"),
        ("fisher_of_group", "raised_of_group"),
        needs=_WITH_P,
    ),
    "overlap": Measurement(overlap, ("frozen_by_task", "frozen_by_both"), ("frozen_by_task", "frozen_by_both"), needs=_WITH_P),
}
assert tuple(MEASURES) == MEASUREMENT_NAMES


def refuse_unmeasurable(names: Iterable[str], method: str, state: State) -> None:
    """Raise a PresynError for a measurement that reads a tensor which a state does not have, or groups too few synapses."""
    for name in names:
        if name == "raises" and state["weights"].shape[1] < BINS:
            raise PresynError(f"raises needs at least {BINS} synapses, and the network has fewer: leave it out of measures.")
        missing = [needed for needed in MEASURES[name].needs if needed not in state]
        if missing:
            raise PresynError(f"{name} cannot be measured of {method}: it has no {missing[0]}. Leave it out of measures.")


def figure_names(names: Iterable[str]) -> set[str]:
    """The names of the figures that these measurements give."""
    return {figure for name in names for figure in MEASURES[name].figures}


def series_names(names: Iterable[str]) -> set[str]:
    """The names of those figures of these measurements that are series and not single numbers."""
    return {figure for name in names for figure in MEASURES[name].series}


__all__ = ["MEASURES", "Measurement", "Moment", "figure_names", "refuse_unmeasurable", "series_names"]
