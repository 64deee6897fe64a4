"""What a network costs and what its output tells (Fig. 1, appendix 1a and 1b)."""

from torch import Tensor

from presyn.measures.moment import Moment


def energy(at: Moment) -> dict[str, Tensor]:
    """Σ |w̄| over all weight matrices: what synapses cost, in units of expected strength, (K,) (PAPER section 6)."""
    return {"energy": at.state["weights"].abs().double().sum(dim=1).float()}


def output(at: Moment) -> dict[str, Tensor]:
    """Information in bits of one stochastic pass, neuronal energy, and accuracy, with the passes behind the last two, (K,)."""
    o = at.outputs
    return {
        "information": information(o.tables["soft_one"]),
        "neuronal_energy": o.activity,
        "sampled_accuracy": o.right / o.images,
        "passes": o.right.new_full((len(o.right),), at.passes),
    }


def readings(at: Moment) -> dict[str, Tensor]:
    """Information in bits in its other readings: of most likely classes instead of softmax, of the mean of all passes, (K,)."""
    names = ("hard_one", "soft_mean", "hard_mean")
    return {f"information_{name}": information(at.outputs.tables[name]) for name in names}


def information(table: Tensor) -> Tensor:
    """I(Y; Z) in bits between class and output unit, (K,).

    Args:
        table: (K, C, units), float64, the sum over the images of each class of P(z | image).

    Σ P(y, z) log2 P(z | y) / P(z), with P(y) the share of the class among the images; 0 log 0 is 0 (PAPER section 6).
    """
    joint = table / table.sum(dim=(1, 2), keepdim=True)
    independent = joint.sum(dim=2, keepdim=True) * joint.sum(dim=1, keepdim=True)
    ratio = (joint / independent).where(joint > 0, 1.0)
    return (joint * ratio.log2()).sum(dim=(1, 2)).float()
