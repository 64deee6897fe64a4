"""What is lost when synapses are cut, the least important first (Fig. 2b)."""

import torch
from torch import Tensor

from presyn.measures.moment import Moment, compute_outputs
from presyn.random_numbers import Purpose, bits, keys

SHARES = tuple(s / 10 for s in range(1, 10))
ORDERS = 3  # random orders, of whose accuracies the mean is taken
LESIONS = len(SHARES) * (3 + ORDERS)  # networks that are tested


def lesion(moment: Moment) -> dict[str, Tensor]:
    """Accuracy after cutting 10, 20 … 90 % of all synapses, (K, 9), lowest importance first.

    Importance is p, |w̄|, |w̄| p, or random. Synapses are ranked over all layers together, ties in random order; a cut one
    has w̄ = 0, its p and all biases stay; accuracy averages the sampled networks of a test (Fig. 2b).
    """
    p, strength = moment.state["p"], moment.mean_weights.abs()
    at_random = [curve(moment, torch.zeros_like(p), order) for order in range(ORDERS)]
    return {
        "lesion_p": curve(moment, p, 0),
        "lesion_weight": curve(moment, strength, 0),
        "lesion_product": curve(moment, strength * p, 0),
        "lesion_random": torch.stack(at_random).mean(dim=0),
    }


def curve(moment: Moment, importance: Tensor, order: int) -> Tensor:
    """Accuracy after cutting each of SHARES, (K, 9).

    Args:
        moment: The networks.
        importance: (K, n_weights).
        order: Which random order breaks ties.
    """
    n = importance.shape[1]
    rank = ranking(importance, keys(moment.minibatches.seeds, Purpose.LESION, order).to(importance.device))
    accuracies = []
    for share in SHARES:
        cut = moment.state | {"weights": moment.state["weights"].masked_fill(rank < round(share * n), 0.0)}
        outputs = compute_outputs(moment, cut, moment.transmissions, Purpose.LESION)
        accuracies.append(outputs.right / outputs.images)
    return torch.stack(accuracies, dim=1)


def ranking(importance: Tensor, key: Tensor) -> Tensor:
    """The rank of each synapse by importance, from 0, ties in a random order; (K, n) int64."""
    shuffled = bits(key, importance.shape[1]).sort(dim=1, stable=True).indices
    order = shuffled.gather(1, importance.gather(1, shuffled).sort(dim=1, stable=True).indices)
    return torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
