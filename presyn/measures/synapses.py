"""Which synapses are important: release probability beside strength and Fisher information (Fig. 2)."""

import torch
from torch import Tensor

from presyn.device import TEST_BATCH
from presyn.measures.moment import Moment
from presyn.methods.ewc import fisher_information

LOW, HIGH = 0.3, 0.9  # the text calls p from HIGH on important
BINS, LEAST_P = 15, 0.25  # equal bins of p, from its usual minimum to 1


def split_layers(moment: Moment, values: Tensor) -> list[Tensor]:
    """Flat values (K, n_weights) of each layer, and last of all layers."""
    return [*(layer.flatten(1) for layer in moment.network.layers(values)), values]


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values of each member, (K,); nan where none is."""
    return ((values * chosen).double().sum(dim=1) / chosen.double().sum(dim=1)).float()  # float64: no trace of the packing


def _by_layer(moment: Moment, values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of chosen values in each layer and in all, (K, layers + 1)."""
    pairs = zip(split_layers(moment, values), split_layers(moment, chosen), strict=True)
    return torch.stack([_mean_where(v, c) for v, c in pairs], dim=1)


def _mean_by_p(values: Tensor, p: Tensor) -> Tensor:
    """The mean of values in bins of p, (K, BINS); nan in empty ones."""
    index = _bin(p)
    total, count = (torch.zeros(len(p), BINS, dtype=torch.float64, device=p.device) for _ in range(2))
    total.scatter_add_(1, index, values.double())
    count.scatter_add_(1, index, torch.ones_like(total[:, :1]).expand_as(values))
    return (total / count).float()


def _bin(p: Tensor) -> Tensor:
    """The number of the bin that each p is in, of BINS equal ones from LEAST_P to 1, int64, of the shape of p."""
    return ((p - LEAST_P) / (1 - LEAST_P) * BINS).long().clamp(0, BINS - 1)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of each row of (K, n), in float64, (K,); nan where one does not vary."""
    a, b = (t.double() - t.double().mean(dim=1, keepdim=True) for t in (a, b))
    return ((a * b).sum(dim=1) / (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()).float()


def synapses(moment: Moment) -> dict[str, Tensor]:
    """Shares of low and high p, energy of a synapse on either side of HIGH, the histogram of p (Fig. 2a, 2c).

    Shares and means are (K, layers + 1), the last one over all layers; histogram and energy by p are (K, BINS), BINS equal bins
    from 0.25 to 1. Energy is in units of expected strength.
    """
    p, strength = moment.state["p"], moment.mean_weights.abs()
    everywhere = torch.ones_like(p)
    counts = torch.zeros(len(p), BINS, device=p.device, dtype=torch.float64)  # float32 cannot count beyond 2^24
    histogram = counts.scatter_add_(1, _bin(p), everywhere.double()).float()
    return {
        "share_p_below_0.3": _by_layer(moment, (p < LOW).float(), everywhere),
        "share_p_from_0.9": _by_layer(moment, (p >= HIGH).float(), everywhere),
        "energy_per_synapse_high": _by_layer(moment, strength, (p >= HIGH).float()),
        "energy_per_synapse_low": _by_layer(moment, strength, (p < HIGH).float()),
        "histogram_p": histogram,
        "energy_by_p": _mean_by_p(strength, p),
        "pearson_weight_p": pearson(strength, p)[:, None],
    }


def fisher(moment: Moment) -> dict[str, Tensor]:
    """Fisher information on test images at the observed labels, with all p = 1, beside p (Fig. 2d).

    Mean above and below HIGH by layer, (K, layers + 1); by p, (K, BINS); Pearson correlation with p, (K, layers + 1).
    """
    information, p = observed_fisher_information(moment), moment.state["p"]
    return {
        "fisher_high": _by_layer(moment, information, (p >= HIGH).float()),
        "fisher_low": _by_layer(moment, information, (p < HIGH).float()),
        "fisher_by_p": _mean_by_p(information, p),
        "pearson_fisher_p": torch.stack(
            [pearson(a, b) for a, b in zip(split_layers(moment, information), split_layers(moment, p), strict=True)], dim=1
        ),
    }


def observed_fisher_information(moment: Moment) -> Tensor:
    """Diagonal Fisher information of the expected strengths, (K, n_weights), as (A∘A)ᵀ(D∘D) / N of each layer (Fig. 2d)."""
    m, k = moment.minibatches, len(moment.minibatches.seeds)
    task = m.schedule.task(moment.segment)
    images, pixel = m.test_images(task), m.pixel_index(task)
    no_key = torch.zeros(k, 2, dtype=torch.int32, device=m.device)  # labels are observed, so nothing is drawn
    examples = (
        (m.test.inputs(rows.expand(k, -1), pixel, back=True), m.test_y[rows].expand(k, -1), no_key)
        for rows in images.split(TEST_BATCH)
    )
    return fisher_information(moment.network, moment.mean_weights, moment.state["biases"], examples, len(images), False)[0]


def raises(moment: Moment) -> dict[str, Tensor]:
    """How the chance that p is raised, over the last segment, goes with Fisher information (claim S7 rests on it).

    Means of both in BINS groups of equal size by Fisher information, (K, BINS); Spearman correlation over synapses, (K,).
    """
    assert moment.raised is not None
    information = observed_fisher_information(moment)
    order = information.argsort(dim=1)
    size = information.shape[1] // BINS * BINS
    fisher_by_group, raised_by_group = (
        t.gather(1, order[:, -size:]).view(len(t), BINS, -1).double().mean(dim=2).float() for t in (information, moment.raised)
    )
    return {
        "fisher_of_group": fisher_by_group,
        "raised_of_group": raised_by_group,
        "spearman_fisher_raised": pearson(ranks(information), ranks(moment.raised)),
    }


def ranks(values: Tensor) -> Tensor:
    """Ranks of each row from 1, ties at their mean, float64, as (K, n)."""
    rows = []
    for row in values:
        _, index, count = row.unique(return_inverse=True, return_counts=True)
        last = count.cumsum(0).double()
        rows.append((last - (count.double() - 1) / 2)[index])
    return torch.stack(rows)
