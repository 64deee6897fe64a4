"""Products over lit pixels agree with dense ones, and are the same bits in every packing, after a resume, on two threads."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from reference import PresynapticTwin, uniforms
from scipy import stats

from presyn import METHODS, Benchmark, Cohort, Dataset, PresynError, Record, make_run, train
from presyn.inputs import MOST_LIT, DenseImages, LitImages, choose_arithmetic
from presyn.measures import MEASURES
from presyn.methods.presynaptic import Presynaptic, PresynapticOptions
from presyn.network import Backprop, Network
from presyn.random_numbers import Purpose, keys

CPU = torch.device("cpu")
SCALE, OFFSET = 1 / (255 * 0.3081), 0.1307 * 255
TASKS = Benchmark(name="p", dataset="digits", kind="permuted", tasks=2, epochs=2, batch_size=20, hidden=(24, 16))
KINDS = [
    TASKS,
    dataclasses.replace(TASKS, kind="split", validation=100),
    dataclasses.replace(TASKS, kind="continuous"),
    dataclasses.replace(TASKS, kind="single", tasks=1, parts="epoch"),
]
FALSE_ALARM = 0.001  # of each paired comparison of whole runs


def images(share, pixels=50, n=300, scale=SCALE, offset=OFFSET):
    """The same images in both forms, of which so large a share of pixels is lit; one is all dark, one all lit."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random((n, pixels)) < share, rng.integers(1, 256, (n, pixels)), 0).astype(np.uint8)
    x[3], x[4] = 0, 255
    return DenseImages(torch.from_numpy(x), scale, offset), LitImages(x, scale, offset)


def both(forms, rows, permutations, tasks, networks=1):
    """The inputs that both forms make of images rows (K, B)."""
    index = [None if permutations is None else form.index(form.tabulate(permutations), tasks) for form in forms]
    return [form.inputs(rows, i, networks, back=True) for form, i in zip(forms, index, strict=True)]


@pytest.mark.parametrize(
    ("members", "networks", "batch", "pixels", "mixed"),
    [(1, 1, 1, 50, False), (3, 1, 20, 50, False), (2, 4, 7, 50, True), (2, 1, 33, 1, False), (1, 1, 4100, 1200, False)],
)
@pytest.mark.parametrize("permuted", [True, False])
def test_products_are_those_of_all_pixels(members, networks, batch, pixels, mixed, permuted):
    forms, rng = images(0.02 if batch > 1000 else 0.2, pixels), torch.Generator().manual_seed(1)
    rows = torch.randint(0, 300, (members, batch), generator=rng)
    rows[0, 0] = 3
    rows[-1, -1] = 4
    tasks = torch.randint(0, 3, (members, batch), generator=rng) if mixed else 2
    permutations = torch.stack([torch.stack([torch.randperm(pixels, generator=rng) for _ in range(3)]) for _ in range(members)])
    dense, lit = both(forms, rows, permutations if permuted else None, tasks, networks)
    w = torch.randn(members * networks, pixels, 6, generator=rng)
    b, delta = torch.randn(len(w), 1, 6, generator=rng), torch.randn(len(w), batch, 6, generator=rng)
    assert lit.batch == dense.batch == batch

    def products(inputs):
        out, back, fisher = torch.empty(len(w), batch, 6), torch.empty_like(w), w.clone()
        inputs.multiply(w, b, out)
        inputs.multiply_back(delta, back)
        inputs.squared().multiply_back(delta.square(), fisher, add=True)
        return out, back, fisher

    x = dense.x.double()
    exact = (x @ w.double() + b, x.mT @ delta.double(), w.double() + x.square().mT @ delta.double().square())
    for ours, theirs, expected in zip(products(lit), products(dense), exact, strict=True):
        scale = expected.abs().max()
        assert (ours - expected).abs().max() / scale < 1e-5 > (theirs - expected).abs().max() / scale


def test_a_row_of_minibatches_is_that_of_each_alone():
    form, rng = images(0.2)[1], torch.Generator().manual_seed(2)
    rows, tasks = torch.randint(0, 300, (5, 2, 20), generator=rng), torch.randint(0, 3, (5, 2, 20), generator=rng)
    table = form.tabulate(torch.stack([torch.stack([torch.randperm(50, generator=rng) for _ in range(3)]) for _ in range(2)]))
    together = form.minibatches(rows, form.index(table, tasks))
    for i, several in enumerate(together):
        alone = form.inputs(rows[i], form.index(table, tasks[i]), back=True)
        for one, other in zip((*several.images, *several.pixels), (*alone.images, *alone.pixels), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_rule_follows_its_equations_on_lit_pixels():
    """The slow twin sees every pixel."""
    net, options = Network((50, 8, 6, 4)), PresynapticOptions(eta0=0.3, g_lim=0.01, p_up=0.2, p_freeze=0.7, l2=0.01)
    rows = torch.arange(20)[None]
    dense, lit = both(images(0.2, scale=1 / 255, offset=30.0), rows, None, 0)
    y = torch.randint(0, 4, (1, 20), generator=torch.Generator().manual_seed(1))
    weights, biases = net.initial([3], CPU)
    twin = PresynapticTwin(
        options, net.sizes, weights[0], biases[0], uniforms(keys([3], Purpose.INITIAL_P)[0].tolist(), net.n_weights)
    )
    method = Presynaptic([options], CPU, False)
    state, key = method.start(weights, biases), keys([3], Purpose.RELEASE, np.arange(26))
    sent, biases = method.transmit(state, key[0])
    backprop = Backprop(net, sent, biases, False, 20)
    for i in range(25):
        loss = torch.zeros(1)
        backprop(lit, y, loss)
        method.update(state, backprop.grad, None, sent, biases, key[i + 1])
        expected = twin.step(dense.x[0], y[0], uniforms(key[i][0].tolist(), net.n_weights))
        assert expected.item() == pytest.approx(loss.item(), rel=1e-5)
    for fast, slow in ((state["weights"], twin.w), (state["p"], twin.p)):
        torch.testing.assert_close(fast[0], torch.cat([s.flatten() for s in slow]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("benchmark", KINDS, ids=lambda b: b.kind)
@pytest.mark.parametrize("method", METHODS)
def test_a_step_and_a_test_of_every_method_agree_with_dense_ones(method, benchmark, mostly_dark):
    members = [make_run(method, benchmark, s, {"eta0": 0.01}) for s in (1, 2)]
    cohorts = [Cohort(members, mostly_dark, CPU, arithmetic=name) for name in ("dense", "lit")]
    programs = [cohort.make_steps(0) for cohort in cohorts]
    for program in programs:
        program.load(0, 0)
    dense, lit = (program.advance(1) for program in programs)
    torch.testing.assert_close(lit, dense, rtol=1e-5, atol=1e-6)
    dense, lit = (program._backprop.grad for program in programs)
    assert (lit - dense).abs().max() < 1e-5 * dense.abs().max()
    weights = [cohort.state["weights"] for cohort in cohorts]
    assert (weights[0] - weights[1]).abs().max() < 1e-5 * weights[0].abs().max()
    cohorts[1].state = {name: t.clone() for name, t in cohorts[0].state.items()}
    dense, lit = (cohort._test_task(0, 0) for cohort in cohorts)
    assert (lit - dense).abs().max() <= 0.01, "an image on the brink may fall on either side"


def finish(cohort):
    while not cohort.done:
        cohort.train_segment()
    return cohort


def outcome(cohort, k):
    record = cohort.records[k]
    return record.status, record.accuracy, record.loss, record.figures, {n: t[k].tolist() for n, t in cohort.state.items()}


@pytest.mark.parametrize(("method", "benchmark"), zip(METHODS, itertools.cycle(KINDS)), ids=lambda v: getattr(v, "kind", v))
def test_runs_are_the_same_bits_in_every_packing_and_after_a_resume(method, benchmark, mostly_dark):
    members = [make_run(method, benchmark, s, {"eta0": 0.01 * s}) for s in (1, 2, 3)]
    together = finish(Cohort(members, mostly_dark, CPU))
    assert [record.arithmetic for record in together.records] == ["lit"] * 3, "by the data set alone"
    first = Cohort(members, mostly_dark, CPU)
    first.train_segment()
    saved = first.save()
    resumed = finish(Cohort(members[1:], mostly_dark, CPU, saved[1:]))
    alone = finish(Cohort(members[:1], mostly_dark, CPU))
    for cohort, k, other in ((resumed, 0, 1), (resumed, 1, 2), (alone, 0, 0)):
        assert outcome(cohort, k) == outcome(together, other)


def test_full_size_steps_and_tests_are_the_same_bits_in_every_packing_and_on_two_threads():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((400, 784)) < 0.2, rng.integers(1, 256, (400, 784)), 0).astype(np.uint8)
    data = Dataset.from_arrays("mnist", (x, np.arange(400) % 10, x[:300], np.arange(300) % 10))
    settings = {"tasks": 1, "epochs": 1}
    ends = []
    for size, threads in ((1, 1), (3, 1), (4, 2)):
        torch.set_num_threads(threads)  # of this test, which is short: two threads wait for each other on a busy machine
        cohort = finish(
            Cohort([make_run("presynaptic", "permuted-mnist", s, settings) for s in range(size)], data, CPU, fuse=False)
        )
        torch.set_num_threads(1)
        ends.append(outcome(cohort, 0))
    assert cohort.minibatches.arithmetic == "lit" and ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize(
    ("method", "benchmark", "settings"),
    [
        ("presynaptic", TASKS, {}),
        ("presynaptic", TASKS, {"release": 0.5}),
        ("presynaptic", TASKS, {"rule": "printed"}),
        ("presynaptic", KINDS[1], {}),
        ("presynaptic", KINDS[3], {"l2": 0.001, "modulate_lr": False, "p_freeze": 1.0}),
        ("sgd", TASKS, {}),
        ("ewc", KINDS[2], {}),
        ("si", TASKS, {"optimizer": "sgd"}),
        ("joint", TASKS, {"eta0": 0.001}),
        ("bgd", TASKS, {"draws": 4, "eta0": 1.0, "epochs": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "kind", ""),
)
def test_whole_runs_agree_statistically(method, benchmark, settings, mostly_dark):
    """32 paired runs; paired t test of the mean over all their tests."""
    common = {"hidden": [40, 40], "epochs": 6, "eta0": 0.15, "batch_size": 40} | (
        {"samples": 3} if method == "presynaptic" else {}
    )
    runs = [make_run(method, benchmark, s, common | settings) for s in range(32)]

    def accuracies(arithmetic):
        tables = [record.accuracy for record in train(runs, mostly_dark, CPU, arithmetic=arithmetic)]
        return np.array([np.mean([a for line in table for a in line if a is not None]) for table in tables])

    dense, lit = accuracies("dense"), accuracies("lit")
    assert min(dense.mean(), lit.mean()) > (0.55 if benchmark.kind == "split" else 0.2), "they have learnt something to compare"
    assert np.array_equal(dense, lit) or stats.ttest_rel(dense, lit).pvalue > FALSE_ALARM


def test_every_measurement_is_made_of_lit_pixels(mostly_dark):
    measures = tuple(name for name in MEASURES if name != "overlap")  # which is of states alone, and of several tasks
    benchmark = dataclasses.replace(KINDS[3], measures=measures)
    runs = [make_run("presynaptic", benchmark, s, {"eta0": 0.05}) for s in (1, 2)]
    dense, lit = (train(runs, mostly_dark, CPU, arithmetic=a) for a in ("dense", "lit"))
    assert dense[0].figures.keys() == lit[0].figures.keys()
    for name in ("information", "neuronal_energy", "energy"):
        assert lit[0].figures[name] == pytest.approx(dense[0].figures[name], rel=0.05)


def test_which_arithmetic_a_run_takes(tiny, mostly_dark):
    assert tiny.lit_share > MOST_LIT > mostly_dark.lit_share
    assert choose_arithmetic(tiny, CPU) == "dense" and choose_arithmetic(mostly_dark, CPU) == "lit"
    assert choose_arithmetic(tiny, CPU, "lit") == "lit" and choose_arithmetic(mostly_dark, CPU, "dense") == "dense"
    gpu = torch.device("cuda")
    assert choose_arithmetic(mostly_dark, gpu) == "dense"
    with pytest.raises(PresynError, match="lit is for a CPU, not for cuda: choose device cpu"):
        choose_arithmetic(mostly_dark, gpu, "lit")
    with pytest.raises(PresynError, match="must be one of dense, lit, or left out, not 'sparse'"):
        train([make_run("sgd", TASKS, 1)], tiny, CPU, arithmetic="sparse")


def test_a_run_goes_on_in_the_arithmetic_in_which_it_began(mostly_dark):
    members = [make_run("sgd", TASKS, s, {"eta0": 0.1}) for s in (1, 2)]
    whole = finish(Cohort(members, mostly_dark, CPU, arithmetic="dense"))
    first = Cohort(members, mostly_dark, CPU, arithmetic="dense")
    first.train_segment()
    saved = first.save()
    for s in saved:
        del s["record"]["arithmetic"]  # as in checkpoints of earlier versions, which were dense
    resumed = finish(Cohort(members, mostly_dark, CPU, saved))
    assert [outcome(resumed, k) for k in range(2)] == [outcome(whole, k) for k in range(2)]
    assert {record.arithmetic for record in resumed.records} == {"dense"}
    mixed = finish(Cohort(members, mostly_dark, CPU, saved, arithmetic="lit"))
    assert {record.arithmetic for record in mixed.records} == {"dense, lit"}, "who asks for it is told"
    with pytest.raises(ValueError, match="its arithmetic is not dense or lit"):
        Record(arithmetic="dense, sparse").check()
