"""How important synapses are spread over neurons (Fig. 3, appendix 2)."""

import torch
from torch import Tensor

from presyn.measures.moment import Moment

THRESHOLDS = (0.8, 0.9, 0.95)  # the text has 0.9; the others show whether the result depends on it (claim S13)


def neurons(moment: Moment) -> dict[str, Tensor]:
    """Important synapses, p at or above a threshold, of each neuron.

    For each threshold the inputs of every neuron, layer after layer without the images, (K, n_biases), and the outputs of
    every neuron, layer after layer without the last, (K, pixels + hidden neurons). A shuffled control follows from these
    counts alone.
    """
    counts = {}
    for threshold in THRESHOLDS:
        important = [(layer >= threshold).float() for layer in moment.network.layers(moment.state["p"])]
        counts[f"inputs_from_{threshold}"] = torch.cat([layer.sum(dim=1) for layer in important], dim=1).long()
        counts[f"outputs_from_{threshold}"] = torch.cat([layer.sum(dim=2) for layer in important], dim=1).long()
    return counts
