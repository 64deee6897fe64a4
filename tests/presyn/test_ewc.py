"""Elastic weight consolidation agrees with a penalty for every task and a Fisher information image by image."""

import pytest
import torch
from reference import EWCTwin

from presyn import Benchmark, Cohort, make_run
from presyn.inputs import DenseInputs
from presyn.methods.ewc import EWC, EWCOptions, fisher_information
from presyn.network import Backprop, Network
from presyn.random_numbers import Purpose, keys

CPU = torch.device("cpu")
NET = Network((12, 8, 6, 4))
TASKS = Benchmark(name="t", dataset="digits", kind="permuted", tasks=3, epochs=4, batch_size=20, hidden=(30,))


def data(seed, n=40):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, n, 12, generator=generator), torch.randint(0, 4, (1, n), generator=generator)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("settings", [{"lam": 3.0}, {"lam": 3.0, "form": "online", "gamma": 0.7}])
def test_follows_the_equations_over_three_tasks(settings, fuse):
    o = EWCOptions(eta0=0.2, fisher="observed", **settings)
    weights, biases = NET.initial([5], CPU)
    method, twin = EWC([o], CPU, fuse), EWCTwin(o, NET.sizes, weights[0], biases[0])
    state = method.start(weights, biases)
    backprop = Backprop(NET, state["weights"], state["biases"], True, 40)
    key = torch.zeros(1, 2, dtype=torch.int32)
    for task in range(3):
        x, y = data(task)
        for _ in range(10):
            backprop(DenseInputs(x), y)
            method.update(state, backprop.grad, backprop.bias_grad, state["weights"], state["biases"], key)
            twin.step(x[0], y[0])
        expected = float(twin.penalty(twin.theta))
        method.end_task(state, NET, iter([(DenseInputs(x), y, key)]))
        twin.end_task(x[0], y[0])
        assert method.describe(state)["penalty"].item() == pytest.approx(expected, rel=1e-3, abs=1e-7)
    flat = torch.cat([t.flatten() for t in twin.theta])
    torch.testing.assert_close(torch.cat([state["weights"][0], state["biases"][0]]), flat, rtol=1e-4, atol=1e-6)


def test_the_penalty_is_positive_after_the_first_task_and_lambda_binds(tiny):
    def moved(lam, form):
        cohort = Cohort([make_run("ewc", TASKS, 1, {"eta0": 0.1, "lam": lam, "form": form})], tiny, CPU)
        cohort.train_segment()
        before, fisher = cohort.state["weights"].clone(), cohort.state["weights_fisher"].clone()
        while not cohort.done:
            cohort.train_segment()
        distance = (fisher * (cohort.state["weights"] - before).square()).sum()  # where the first task is sensitive
        return cohort.results()[0][1].figures["penalty"], distance

    for form in ("separate", "online"):
        (first, *later), bound = moved(10.0, form)
        assert abs(first) < 1e-6 and min(later) > 1e-4
        assert bound < 0.7 * moved(0.0, form)[1]


def test_without_a_penalty_it_is_sgd(tiny):
    plain = Cohort([make_run("sgd", TASKS, 1, {"eta0": 0.1})], tiny, CPU)
    free = Cohort([make_run("ewc", TASKS, 1, {"eta0": 0.1, "lam": 0.0})], tiny, CPU)
    while not plain.done:
        plain.train_segment()
        free.train_segment()
    assert torch.equal(plain.state["weights"], free.state["weights"])
    assert plain.results()[0][1].accuracy == free.results()[0][1].accuracy


def test_members_of_a_cohort_have_fishers_of_their_own():
    x = torch.cat([data(0)[0], data(1)[0]])
    y = torch.cat([data(0)[1], data(1)[1]])
    weights, biases = NET.initial([5, 6], CPU)
    key = keys([5, 6], Purpose.FISHER, 0)
    both = fisher_information(NET, weights, biases, iter([(DenseInputs(x), y, key)]), 40, False)
    for k in range(2):
        one = fisher_information(
            NET,
            weights[k : k + 1],
            biases[k : k + 1],
            iter([(DenseInputs(x[k : k + 1]), y[k : k + 1], key[k : k + 1])]),
            40,
            False,
        )
        assert all(torch.equal(a[k], b[0]) for a, b in zip(both, one, strict=True))


def test_sampled_labels_give_the_fisher_information_of_the_model():
    # E over y ~ model of the squared gradient, exactly by enumeration; 4,000 draws of the labels, 4.5 standard errors each side
    # of the mean over all weights: false-alarm rate 7e-6.
    x, _ = data(0)
    weights, biases = NET.initial([5], CPU)
    p = NET.forward(weights, biases, x).softmax(dim=-1)
    exact = 0.0
    for label in range(4):
        for n in range(40):
            one = fisher_information(
                NET, weights, biases, iter([(DenseInputs(x[:, n : n + 1]), torch.full((1, 1), label), None)]), 1, False
            )
            exact += float(p[0, n, label] * one[0].mean()) / 40
    drawn = torch.tensor(
        [
            fisher_information(
                NET, weights, biases, iter([(DenseInputs(x), data(0)[1], keys([s], Purpose.FISHER, 0))]), 40, True
            )[0].mean()
            for s in range(100)
        ]
    )
    assert abs(drawn.mean() - exact) < 4.5 * drawn.std() / 10


def test_only_so_many_images_are_used():
    batches = [(*data(i), None) for i in range(3)]
    weights, biases = NET.initial([5], CPU)
    few = fisher_information(NET, weights, biases, ((DenseInputs(x), y, key) for x, y, key in batches), 41, False)
    x, y = (torch.cat([b[i] for b in batches[:2]], dim=1) for i in range(2))
    torch.testing.assert_close(
        few[0], fisher_information(NET, weights, biases, iter([(DenseInputs(x), y, None)]), 80, False)[0]
    )
