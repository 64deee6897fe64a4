"""Release masks are Bernoulli, independent, and a function of their key alone.

Each statistical test computes a p-value on fixed keys and asks for p > 1e-4: it can fail, and it raises a false alarm
for one in 10,000 choices of the keys (they are fixed, so it does not flicker).
"""

import numpy as np
import pytest
import torch
from scipy import stats

from presyn.benchmarks import Benchmark
from presyn.minibatches import Minibatches
from presyn.random_numbers import Purpose, bits, keys, permutation, uniform

ALPHA = 1e-4
SYNAPSES, STEPS = 20_000, 400


def masks(p: float, seed: int = 2019, purpose: Purpose = Purpose.RELEASE, steps: int = STEPS, n: int = SYNAPSES) -> np.ndarray:
    key = keys([seed], purpose, np.arange(steps))[:, 0]
    return (uniform(key, n) < p).numpy()


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9353])
def test_release_frequency_is_p(p):
    m = masks(p)
    assert stats.binomtest(int(m.sum()), m.size, p).pvalue > ALPHA


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9353])
@pytest.mark.parametrize("axis", [0, 1], ids=["over steps", "over synapses"])
def test_counts_scatter_as_binomials_do(p, axis):
    # A weak hash gives the right frequency with a far too small scatter; so the test is two-sided.
    counts = masks(p).sum(axis=axis)
    n = (STEPS, SYNAPSES)[axis]
    chi2 = ((counts - n * p) ** 2).sum() / (n * p * (1 - p))
    tail = stats.chi2.cdf(chi2, len(counts))
    assert 2 * min(tail, 1 - tail) > ALPHA


def agreement_p_value(a: np.ndarray, b: np.ndarray, p: float) -> float:
    return stats.binomtest(int((a == b).sum()), a.size, p * p + (1 - p) ** 2).pvalue


def test_steps_seeds_purposes_and_neighbours_are_independent():
    p = 0.5
    m = masks(p)
    pairs = {
        "step": (m[:-1], m[1:]),
        "every other step": (m[:-2], m[2:]),
        "synapse": (m[:, :-1], m[:, 1:]),
        "layer": (m[:, :10_000], m[:, 10_000:]),
        "seed": (m, masks(p, seed=2020)),
        "purpose": (m, masks(p, purpose=Purpose.TEST_RELEASE)),
    }
    p_values = {name: agreement_p_value(a, b, p) for name, (a, b) in pairs.items()}
    assert min(p_values.values()) > ALPHA, p_values


def test_numbers_depend_on_their_key_alone():
    together = keys([5, 6, 7], Purpose.RELEASE, np.arange(3))
    alone = keys([6], Purpose.RELEASE, 2)
    assert torch.equal(together[2, 1], alone[0])
    assert torch.equal(uniform(together[2], 100)[1], uniform(alone, 100)[0])
    assert torch.equal(uniform(alone, 100)[:, :10], uniform(alone, 10))


def test_the_numbers_are_frozen():
    # A change here changes every number ever reported: raise RULES_VERSION and rerun.
    key = keys([2019], Purpose.RELEASE, 3)
    assert key.tolist() == [[1144836814, -1692313229]]
    assert bits(key, 3).tolist() == [[-228481051, -1322330551, 350475785]]


def test_permutation_is_one_and_uniform():
    key = keys(range(3000), Purpose.PERMUTATION, 0)
    orders = permutation(key, 10)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(10).expand(3000, 10))
    table = np.stack([np.bincount(orders[:, i].numpy(), minlength=10) for i in range(10)])
    # Rows and columns of the table sum to 3000, which leaves 81 degrees of freedom.
    chi2 = ((table - 300) ** 2 / 300).sum() * 9 / 10
    assert ALPHA / 2 < stats.chi2.cdf(chi2, 81) < 1 - ALPHA / 2


@pytest.mark.parametrize("transition", ["zeno", "released"])
def test_tasks_mix_by_whole_numbers_as_by_chances(transition, tiny):
    """The comparison of words of 24 bits gives what that of the numbers gives, here; and the same on every device."""
    own = Benchmark.build(
        {"name": "m", "kind": "continuous", "dataset": "digits", "tasks": 3, "epochs": 2, "hidden": [8], "batch_size": 20,
         "transition": transition}
    )  # fmt: skip
    minibatches = Minibatches(own, tiny, [1, 2], False, torch.device("cpu"))
    for task in range(3):
        for epoch in range(2):
            mixed = minibatches.order(task, epoch).tasks
            steps = len(mixed)
            length = steps * own.epochs
            width = length / (4 if transition == "released" else 2)
            now = torch.arange(steps) + 0.5 + epoch * steps
            to_next = ((now - length) / width + 0.5).clamp(0, 1) if task < 2 else torch.zeros_like(now)
            to_last = (0.5 - now / width).clamp(0, 1) if task > 0 else torch.zeros_like(now)
            u = minibatches._cut(uniform(minibatches._keys(Purpose.MIXTURE, task, epoch), len(minibatches.train_y)), task)
            expected = task + (u < to_next[:, None, None]).long() - (u >= 1 - to_last[:, None, None]).long()
            assert torch.equal(mixed, expected)
