"""Bayesian gradient descent agrees with its equations, one sampled network after the other."""

import pytest
import torch
from reference import BGDTwin

from presyn import Benchmark, Cohort, make_run
from presyn.inputs import DenseInputs
from presyn.methods.bgd import BGD, BGDOptions, _mean
from presyn.network import Backprop, Network
from presyn.random_numbers import Purpose, keys, normal, quantiles

CPU = torch.device("cpu")
NET = Network((12, 8, 6, 4))
TASKS = Benchmark(name="t", dataset="digits", kind="permuted", tasks=2, epochs=2, batch_size=20, hidden=(30,))


@pytest.mark.parametrize("fuse", [False, True])
def test_follows_the_equations_step_for_step(fuse):
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(1, 20, 12, generator=generator), torch.randint(0, 4, (1, 20), generator=generator)
    o = BGDOptions(eta0=0.7, sigma0=0.1, draws=3)
    weights, biases = NET.initial([5], CPU)
    method, twin = BGD([o], CPU, fuse, batch=20), BGDTwin(o, NET.sizes, weights[0], biases[0])
    state = method.start(weights, biases)
    key = keys([5], Purpose.RELEASE, torch.arange(21).numpy())
    sampled = method.transmit(state, key[0])
    backprop = Backprop(NET, *sampled, True, 20)
    inputs = DenseInputs(x.expand(3, -1, -1))
    n, m, table = NET.n_weights, NET.n_biases, quantiles(CPU)
    for step in range(20):
        epsilon = torch.cat(
            [normal(key[step], 3 * n, table).view(3, n), normal(key[step], 3 * m, table, first=3 * n).view(3, m)], dim=1
        )
        backprop(inputs, y.expand(3, -1))
        method.update(state, backprop.grad, backprop.bias_grad, *sampled, key[step + 1])
        twin.step(x[0], y[0], epsilon)
    for ours, theirs in (("", twin.mu), ("_sigma", twin.sigma)):
        torch.testing.assert_close(
            torch.cat([state[f"weights{ours}"][0], state[f"biases{ours}"][0]]), theirs, rtol=2e-4, atol=2e-6
        )
    assert (twin.sigma - 0.1).abs().max() > 1e-3


def test_without_width_it_does_not_move(tiny):
    cohort = Cohort([make_run("bgd", TASKS, 1, {"sigma0": 1e-9})], tiny, CPU)
    before = cohort.state["weights"].clone()
    cohort.train_segment()
    assert torch.equal(cohort.state["weights"], before)
    moving = Cohort([make_run("bgd", TASKS, 1, {"sigma0": 0.05})], tiny, CPU)
    moving.train_segment()
    assert not torch.equal(moving.state["weights"], before)


def test_its_test_averages_the_accuracy_of_sampled_networks(tiny):
    cohort = Cohort([make_run("bgd", TASKS, s, {"draws": 4}) for s in (1, 2)], tiny, CPU)
    rows = cohort.minibatches.test_images(0)[:50]
    weights, biases = cohort.method.transmit(
        cohort.state, keys([1, 2], Purpose.TEST_RELEASE, 0, 0, 0, torch.arange(1).numpy())[0]
    )
    s = cohort.minibatches
    for k in range(2):
        x = s.test.inputs(rows.expand(2, -1), s.pixel_index(0)).x[k]
        right = 0.0
        for i in range(4 * k, 4 * k + 4):
            logits = cohort.network.forward(weights[i : i + 1], biases[i : i + 1], x[None])[0]
            right += float((logits.argmax(dim=-1) == s.test_y[rows]).float().sum()) / 4
        assert cohort._test_batch(0, 0, 0, rows)[k].item() == pytest.approx(right, abs=1e-3)


def test_normal_numbers_are_normal():
    # 2 million numbers; each bound is 5 standard errors: false-alarm rate below 1e-5 for the four.
    e = normal(keys([3], Purpose.RELEASE, 1), 2_000_000, quantiles(CPU))[0].double()
    se = len(e) ** -0.5
    assert abs(e.mean()) < 5 * se and abs(e.square().mean() - 1) < 5 * se * 2**0.5
    assert abs((e**3).mean()) < 5 * se * 15**0.5 and abs((e**4).mean() - 3) < 5 * se * 96**0.5 + 0.01
    later = normal(keys([3], Purpose.RELEASE, 1), 10, quantiles(CPU), first=5)[0]
    assert torch.equal(later.double(), e[5:15])


def test_it_trains_on_minibatches_of_128_as_its_authors_did():
    assert make_run("bgd", "permuted-mnist", 1).benchmark.batch_size == 128
    assert make_run("bgd", "permuted-mnist", 1, {"batch_size": 100}).benchmark.batch_size == 100


def test_as_its_authors_start_it(tiny):
    """Weights have the variance of Glorot & Bengio, biases are PyTorch's, and the first task shows pixels as stored."""
    wide = Benchmark(name="t", dataset="digits", kind="permuted", tasks=2, epochs=1, batch_size=20, hidden=(300, 200))
    run = make_run("bgd", wide, 1, {"rule": "authors"})
    cohort, usual = Cohort([run], tiny, CPU), Cohort([make_run("bgd", wide, 1)], tiny, CPU)
    for layer in cohort.network.layers(cohort.state["weights"]):
        n = layer.numel()  # bounds of 5 standard errors: false-alarm rate below 1e-5 for all six
        variance = 2 / (layer.shape[1] + layer.shape[2])
        assert abs(layer.mean()) < 5 * (variance / n) ** 0.5
        assert abs(layer.square().mean() / variance - 1) < 5 * (2 / n) ** 0.5
    assert torch.equal(cohort.state["biases"], usual.state["biases"])
    assert torch.equal(cohort.minibatches.permutations[0, 0], torch.arange(cohort.minibatches.pixels))
    assert torch.equal(cohort.minibatches.permutations[:, 1], usual.minibatches.permutations[:, 1])
    assert run.run_id("data") != make_run("bgd", wide, 1).run_id("data")
    assert make_run("bgd", wide, 1, {"rule": "paper"}) == make_run("bgd", wide, 1)


def test_the_sum_over_samples_one_by_one_is_the_mean():
    samples = torch.randn(3, 10, 50, generator=torch.Generator().manual_seed(0))

    class OnGpu(torch.Tensor):
        is_cuda = True

    torch.testing.assert_close(_mean(samples.as_subclass(OnGpu)).as_subclass(torch.Tensor), samples.mean(dim=1))
