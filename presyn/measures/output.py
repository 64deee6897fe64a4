"""What a network costs and what its output tells (Fig. 1, appendix 1a and 1b)."""

from torch import Tensor

from presyn.measures.moment import Moment


def energy(moment: Moment) -> dict[str, Tensor]:
    """Σ |w̄| over all weight matrices: what synapses cost, in units of expected strength, (K,) (Fig. 1)."""
    return {"energy": moment.mean_weights.abs().double().sum(dim=1).float()}


def output(moment: Moment) -> dict[str, Tensor]:
    """Information in bits of one transmission; neuronal energy and accuracy, with the transmissions that they average; (K,)."""
    outputs = moment.outputs
    return {
        "information": information(outputs.tables["soft_one"]),
        "neuronal_energy": outputs.activity,
        "sampled_accuracy": outputs.right / outputs.images,
        "passes": outputs.right.new_full((len(outputs.right),), moment.transmissions),
    }


def readings(moment: Moment) -> dict[str, Tensor]:
    """Information in bits in its other readings: of most likely classes, of the mean over transmissions, and of both, (K,)."""
    names = ("hard_one", "soft_mean", "hard_mean")
    return {f"information_{name}": information(moment.outputs.tables[name]) for name in names}


def information(table: Tensor) -> Tensor:
    """I(Y; Z) in bits between class and output unit, (K,).

    Args:
        table: (K, C, units), float64, the sum over the images of each class of P(z | image).

    Σ P(y, z) log2 P(z | y) / P(z), with P(y) the share of the class among the images; 0 log 0 is 0 (Fig. 1).
    """
    joint = table / table.sum(dim=(1, 2), keepdim=True)
    independent = joint.sum(dim=2, keepdim=True) * joint.sum(dim=1, keepdim=True)
    ratio = (joint / independent).where(joint > 0, 1.0)
    return (joint * ratio.log2()).sum(dim=(1, 2)).float()
