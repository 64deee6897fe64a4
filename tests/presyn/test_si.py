"""Synaptic intelligence agrees with its equations over several tasks, and holds on to what earlier tasks needed."""

import pytest
import torch
from reference import SITwin

from presyn import Benchmark, Cohort, make_run
from presyn.inputs import DenseInputs
from presyn.methods.si import SI, SIOptions
from presyn.network import Backprop, Network

CPU = torch.device("cpu")
NET = Network((12, 8, 6, 4))
TASKS = Benchmark(name="t", dataset="digits", kind="permuted", tasks=3, epochs=4, batch_size=20, hidden=(30,))


@pytest.mark.parametrize("fuse", [False, True])
def test_follows_the_equations_over_three_tasks(fuse):
    o = SIOptions(eta0=0.2, optimizer="sgd", c=5.0, xi=0.01)
    weights, biases = NET.initial([5], CPU)
    method, twin = SI([o], CPU, fuse), SITwin(o, NET.sizes, weights[0], biases[0])
    state = method.start(weights, biases)
    backprop = Backprop(NET, state["weights"], state["biases"], True, 40)
    key = torch.zeros(1, 2, dtype=torch.int32)
    for task in range(3):
        generator = torch.Generator().manual_seed(task)
        x, y = torch.randn(1, 40, 12, generator=generator), torch.randint(0, 4, (1, 40), generator=generator)
        for _ in range(10):
            backprop(DenseInputs(x), y)
            method.update(state, backprop.grad, backprop.bias_grad, state["weights"], state["biases"], key)
            twin.step(x[0], y[0])
        method.end_task(state, NET, iter(()))
        twin.end_task()
    for part, theirs in (("", twin.theta), ("_importance", twin.importance)):
        ours = torch.cat([state[f"{name}{part}"][0] for name in ("weights", "biases")])
        torch.testing.assert_close(ours, torch.cat([t.flatten() for t in theirs]), rtol=1e-4, atol=1e-6)
    assert max(i.max() for i in twin.importance) > 0.01


def test_without_a_pull_it_is_sgd_and_with_one_important_parameters_stay(tiny):
    def train(method, **settings):
        cohort = Cohort([make_run(method, TASKS, 1, {"eta0": 0.1, "optimizer": "sgd", **settings})], tiny, CPU)
        cohort.train_segment()
        before, importance = cohort.state["weights"].clone(), cohort.state.get("weights_importance", torch.ones(1)).clone()
        while not cohort.done:
            cohort.train_segment()
        return cohort.state["weights"], (importance * (cohort.state["weights"] - before).square()).sum()

    free, held = train("si", c=0.0), train("si", c=1.0)
    assert torch.equal(free[0], train("sgd")[0])
    assert held[1] < 0.5 * free[1]
