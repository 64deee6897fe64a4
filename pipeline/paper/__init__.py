"""The decisions of the paper, and of this reproduction where the paper leaves one open, as data with their source.

Settings that belong to a method on a benchmark are with the method (`published` in presyn/methods), what an ablation switches
off is with the ablations. Printed numbers are in results/paper, which `pipeline.paper.published` reads.
"""

SEEDS = (2019, 2020, 2021)
"""Seeds of the paper's repetitions (released configurations)."""
ENERGY_SEEDS = (*SEEDS, 2022, 2023)
"""Seeds of the energy experiments: the paper's three, and two more."""
ABLATION_SEEDS = tuple(range(2019, 2027))
"""Seeds of the ablations whose parameters are searched again: the paper's three, and as many more as decide A4 and A5."""
OVERLAP_SEEDS = tuple(range(2019, 2033))
"""Seeds of the runs behind claim M1."""
PERCEPTRON_SEEDS = tuple(range(1000, 1060))
"""The released notebook's ten, and fifty more."""

METHOD_NAMES = {
    "presynaptic": "Presynaptic Consolidation",
    "sgd": "No Consolidation",
    "bgd": "Bayesian Gradient Descent",
    "ewc": "Elastic Weight Consolidation",
    "joint": "Joint Training",
}
"""What the paper calls the methods, in the order of its Table 1."""
NAMES = {**METHOD_NAMES, "si": "Synaptic Intelligence"}
"""The same, and of methods that the paper does not compare with."""
RULE = "presynaptic"
"""The paper's own rule."""
BENCHMARKS = ("split-mnist", "split-fashion", "permuted-mnist", "permuted-fashion")
"""The benchmarks of Table 1, in its order."""
BENCHMARK_NAMES = {
    "split-mnist": "Split MNIST",
    "split-fashion": "Split Fashion-MNIST",
    "permuted-mnist": "Permuted MNIST",
    "permuted-fashion": "Permuted Fashion-MNIST",
}

SEARCHED_ON = "permuted-mnist"
"""Where the paper searches its rule's parameters, to use them unchanged on the other benchmarks (Methods)."""
SET_BY_HAND = "eta0"
"""What the paper sets by hand for its own rule, for each kind of benchmark (Methods)."""
SEARCHED_PER_KIND = {"ewc": {"permuted": "ewc-permuted-mnist", "split": "ewc-split-mnist"}}
"""Methods whose settings the paper does not name: the space in which they are searched for each kind of benchmark."""
PARAMETER_NAMES = {
    "published": "published",
    "as_published": "as published",
    "default": "default settings",
    "searched": "tuned once",
    "strict": "tuned once, one eta0",
}
"""What the kinds of settings in Table 1 are called there (column parameters of its rows)."""
PARAMETER_NAME_WITHOUT_SETTINGS = {"ewc": "tuned on Permuted and on Split MNIST"}
"""The same instead of "as published", for a method whose settings the paper does not name."""

L2 = (0.0, 0.001, 0.005, 0.01, 0.05, 0.1)
"""Strengths of the l2 penalty in the energy experiments, from the released configurations."""
MODEL_NAMES = {"plastic": "plastic release", "fixed": "fixed release", "deterministic": "deterministic"}
"""What the three models of the energy experiments are called in tables and figures."""
RIVALS = ("deterministic", "fixed")
"""The models that plastic release is compared with."""
FIXED_P = 0.4
"""Release probability of the fixed model: about the mean p of the plastic one after learning (released configurations)."""
P_STEP = 0.07
"""p_up and p_down of the energy experiments (Methods)."""
QUARTER = (0.75, 1.25)
"""The paper changes p_up and p_down by a quarter, less and more (Methods)."""
QUARTER_L2 = (0.01, 0.1)
"""Penalties at which each of the two is changed alone here; the paper does not say at which."""
BEST_L2 = 0.05
"""Penalty at which all three models have the most information per energy here; both are changed together there."""
IMPORTANT = 0.9
"""From which p on a synapse is important (Fig. 3)."""
UNNAMED_L2 = 0.0
"""The penalty of Fig. 2 and 3 here: the text names none, and what is printed fits no penalty best (docs/energy.md)."""
PATTERNS = 500
"""Patterns of a perceptron in the paper: 5 tasks of 100 (Methods)."""
DEMONSTRATION = "scikit-learn's digits: a demonstration of the pipeline, which says nothing about the paper"
"""The digits are no benchmark of the paper."""


def space_name(method: str) -> str:
    """The search space that a method is tuned in once."""
    return f"{method}-{SEARCHED_ON}"
