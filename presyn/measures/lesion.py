"""What is lost when synapses are cut, the least important first (Fig. 2b)."""

import torch
from torch import Tensor

from presyn.measures.moment import Moment, outputs
from presyn.streams import Purpose, bits, keys

SHARES = tuple(s / 10 for s in range(1, 10))
ORDERS = 3  # random ones, of which the mean is taken
LESIONS = len(SHARES) * (3 + ORDERS)  # networks that are tested


def lesion(at: Moment) -> dict[str, Tensor]:
    """Accuracy after cutting 10, 20 … 90 % of all synapses, (K, 9), lowest importance first.

    Importance is p, |w̄|, |w̄| p, or random. Synapses are ranked over all layers together, ties in random order; a cut one
    has w̄ = 0, its p and all biases stay; accuracy averages the sampled networks of a test (PAPER section 6).
    """
    p, strength = at.state["p"], at.state["weights"].abs()
    found = {name: curve(at, importance, 0) for name, importance in (("p", p), ("weight", strength), ("product", strength * p))}
    found["random"] = torch.stack([curve(at, torch.zeros_like(p), order) for order in range(ORDERS)]).mean(dim=0)
    return {f"lesion_{name}": values for name, values in found.items()}


def curve(at: Moment, importance: Tensor, order: int) -> Tensor:
    """Accuracy after cutting each of SHARES, (K, 9).

    Args:
        at: The networks.
        importance: (K, n_weights).
        order: Which random order breaks ties.
    """
    n = importance.shape[1]
    rank = ranking(importance, keys(at.stream.seeds, Purpose.LESION, order).to(importance.device))
    points = []
    for share in SHARES:
        cut = at.state | {"weights": at.state["weights"].masked_fill(rank < round(share * n), 0.0)}
        found = outputs(at, cut, at.passes, Purpose.LESION)
        points.append(found.right / found.images)
    return torch.stack(points, dim=1)


def ranking(importance: Tensor, key: Tensor) -> Tensor:
    """The rank of each synapse by importance, from 0, ties in a random order; (K, n) int64."""
    shuffled = bits(key, importance.shape[1]).sort(dim=1, stable=True).indices
    order = shuffled.gather(1, importance.gather(1, shuffled).sort(dim=1, stable=True).indices)
    return torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
