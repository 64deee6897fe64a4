"""Every measurement agrees with its slow twin: one network, one image, one synapse at a time."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from reference import unflatten
from scipy import stats
from torch.nn.functional import log_softmax, relu

from presyn import MEASURES, Benchmark, Cohort, PresynError, make_run
from presyn.device import TEST_BATCH
from presyn.measures import Moment, figure_names, series_names
from presyn.measures.lesion import SHARES, ranking
from presyn.measures.moment import compute_outputs
from presyn.measures.neurons import THRESHOLDS
from presyn.measures.output import information
from presyn.measures.synapses import BINS, observed_fisher_information, ranks
from presyn.random_numbers import Purpose, keys

CPU = torch.device("cpu")
OURS = ("energy", "output", "readings", "synapses", "fisher", "lesion", "neurons", "raises")
SINGLE = Benchmark(
    name="s", dataset="digits", kind="single", tasks=1, epochs=3, batch_size=20, hidden=(24, 16), parts="epoch", measures=OURS
)
RULE = {"eta0": 0.1, "modulate_lr": False, "p_freeze": 1.0, "p_up": 0.2, "p_down": 0.1, "g_lim": 0.003, "samples": 4}


@pytest.fixture(scope="module")
def trained(tiny):
    """Two networks after three epochs, and the moment at their end."""
    cohort = Cohort([make_run("presynaptic", SINGLE, s, {**RULE, "l2": 0.01 * s}) for s in (1, 2)], tiny, CPU)
    while not cohort.done:
        cohort.train_segment()
    return cohort, Moment(cohort.network, cohort.method, cohort.state, cohort.minibatches, cohort.segments - 1, True)


def figure(cohort, k, name):
    return cohort.records[k].figures[name]


def one_network(cohort, k, weights, biases, x):
    """Activities of one network, layer by layer."""
    layers = [x]
    sizes = cohort.network.sizes
    for i, (w, b) in enumerate(zip(unflatten(sizes, weights), biases.split(sizes[1:]), strict=True)):
        z = layers[-1] @ w + b
        layers.append(relu(z) if i < len(sizes) - 2 else z)
    return layers


def slow_passes(at, cohort, k, state, passes, purpose):
    """Softmax (passes, N, C) and activity (passes, N) of one member, one sampled network after the other."""
    s = cohort.minibatches
    rows = s.test_images(0)
    assert len(rows) <= TEST_BATCH
    x = s.test.inputs(rows[None], None).x[0]
    p, activity = [], []
    for i in range(passes):
        key = keys(s.seeds, purpose, at.segment, 0, np.arange(passes))[i]
        weights, biases = cohort.method.transmit(state, key)
        layers = one_network(cohort, k, weights[k], biases[k], x)
        p.append(layers[-1].softmax(-1))
        activity.append(sum(layer.sum(-1) for layer in layers[1:-1]))
    return torch.stack(p), torch.stack(activity), s.test_y[rows]


def slow_information(said, y):
    """Σ P(y, z) log2 P(z | y) / P(z) by loops."""
    n, total = len(y), 0.0
    p_z = [float(said[:, z].mean()) for z in range(said.shape[1])]
    for label in y.unique().tolist():
        answers = said[y == label]
        for z in range(said.shape[1]):
            conditional = float(answers[:, z].mean())
            if conditional > 0:
                total += len(answers) / n * conditional * math.log2(conditional / p_z[z])
    return total


def test_output_and_energy_follow_their_twins(trained):
    cohort, at = trained
    for k in range(2):
        p, activity, y = slow_passes(at, cohort, k, cohort.state, 4, Purpose.MEASURE)
        hard = lambda said: torch.nn.functional.one_hot(said.argmax(-1), said.shape[-1]).double()  # noqa: E731
        expected = {
            "information": slow_information(p[0].double(), y),
            "information_hard_one": slow_information(hard(p[0]), y),
            "information_soft_mean": slow_information(p.mean(0).double(), y),
            "information_hard_mean": slow_information(hard(p.mean(0)), y),
            "neuronal_energy": float(activity.mean()),
            "sampled_accuracy": float((p.mean(0).argmax(-1) == y).float().mean()),
            "energy": sum(abs(w) for w in cohort.state["weights"][k].tolist()),
            "passes": 4,
        }
        for name, value in expected.items():
            assert figure(cohort, k, name)[-1] == pytest.approx(value, rel=1e-4), name


def test_information_of_known_tables():
    perfect, useless = torch.eye(4).double()[None] * 25, torch.ones(1, 4, 4).double()
    assert information(torch.cat([perfect, useless])).tolist() == pytest.approx([2.0, 0.0])


def test_series_have_a_value_for_every_epoch_and_the_rest_one_at_the_end(trained):
    cohort, _ = trained
    figures = cohort.records[0].figures
    assert set(figures) == {"mean_p", "frozen"} | figure_names(OURS)
    every = {"mean_p", "frozen"} | {f for m in MEASURES.values() if m.every for f in m.figures}
    assert {name for name, values in figures.items() if len(values) == 3} == every
    assert {name for name, values in figures.items() if isinstance(values[-1], list)} == series_names(OURS)
    assert figures["passes"] == [3, 3, 4], "between epochs fewer sampled networks, and the row says so"
    assert len(cohort.records[0].accuracy) == 1 and cohort.records[0].status == "finished"
    assert len(cohort.records[0].loss) == 3


def test_fisher_information_equals_one_image_at_a_time(trained):
    cohort, at = trained
    s, fast = cohort.minibatches, observed_fisher_information(at)
    for k in range(2):
        total = torch.zeros(cohort.network.n_weights)
        x = s.test.inputs(s.test_images(0)[None], None).x[0]
        for image, label in zip(x, s.test_y, strict=True):
            w = cohort.state["weights"][k].clone().requires_grad_()
            layers = one_network(cohort, k, w, cohort.state["biases"][k], image)
            (g,) = torch.autograd.grad(log_softmax(layers[-1], -1)[label], w)
            total += g.square() / len(x)
        torch.testing.assert_close(fast[k], total, rtol=1e-4, atol=1e-8)
        p = cohort.state["p"][k]
        assert figure(cohort, k, "pearson_fisher_p")[0][-1] == pytest.approx(np.corrcoef(total, p)[0, 1], abs=1e-4)
        high = p >= 0.9
        assert 0 < high.sum() < len(p)
        assert figure(cohort, k, "fisher_high")[0][-1] == pytest.approx(float(total[high].mean()), rel=1e-4)
        assert figure(cohort, k, "fisher_low")[0][-1] == pytest.approx(float(total[~high].mean()), rel=1e-4)


def test_synapses_are_told_apart_by_layer(trained):
    cohort, _ = trained
    for k in range(2):
        p, w = cohort.state["p"][k], cohort.state["weights"][k].abs()
        for i, (p_i, w_i) in enumerate(
            zip([*unflatten(cohort.network.sizes, p), p], [*unflatten(cohort.network.sizes, w), w], strict=True)
        ):
            expected = {
                "share_p_below_0.3": (p_i < 0.3).float().mean(),
                "share_p_from_0.9": (p_i >= 0.9).float().mean(),
                "energy_per_synapse_high": w_i[p_i >= 0.9].mean(),
                "energy_per_synapse_low": w_i[p_i < 0.9].mean(),
            }
            for name, value in expected.items():
                assert figure(cohort, k, name)[0][i] == pytest.approx(float(value), rel=1e-5, nan_ok=True), (name, i)
        counts, edges = np.histogram(p.numpy(), bins=BINS, range=(0.25, 1))
        assert figure(cohort, k, "histogram_p")[0] == pytest.approx(counts, abs=2)  # a p on an edge may fall either way
        assert sum(figure(cohort, k, "histogram_p")[0]) == len(p)
        assert figure(cohort, k, "pearson_weight_p")[0][0] == pytest.approx(np.corrcoef(w, p)[0, 1], abs=1e-4)


def test_lesions_cut_the_least_important_first(trained):
    cohort, at = trained
    for k in range(2):
        p, w = cohort.state["p"][k], cohort.state["weights"][k]
        for name, importance in {"p": p, "weight": w.abs(), "product": w.abs() * p}.items():
            rank = ranking(importance[None], keys([cohort.minibatches.seeds[k]], Purpose.LESION, 0))[0]
            for i, share in enumerate(SHARES):
                cut = rank < round(share * len(p))
                assert cut.sum() == round(share * len(p)) and importance[cut].max() <= importance[~cut].min()
                state = {n: t.clone() for n, t in cohort.state.items()}
                state["weights"][k][cut] = 0
                answers, _, y = slow_passes(at, cohort, k, state, 4, Purpose.LESION)
                right = (answers.mean(0).argmax(-1) == y).float().mean()
                assert figure(cohort, k, f"lesion_{name}")[0][i] == pytest.approx(float(right)), (name, share)


def test_ties_are_broken_at_random_and_orders_differ():
    importance = torch.tensor([[0.5] * 60 + [0.1] * 40])
    ranks_ = [ranking(importance, keys([1], Purpose.LESION, order))[0] for order in range(2)]
    for rank in ranks_:
        assert rank.sort().values.tolist() == list(range(100)) and rank[60:].max() == 39
        assert abs(np.corrcoef(rank[:60], np.arange(60))[0, 1]) < 0.5  # a false alarm of 5e-5
    assert not torch.equal(*ranks_)


def test_important_synapses_are_counted_for_every_neuron(trained):
    cohort, _ = trained
    for threshold in THRESHOLDS:
        layers = [layer >= threshold for layer in unflatten(cohort.network.sizes, cohort.state["p"][0])]
        inputs_, outputs_ = ([int(v) for layer in layers for v in layer.sum(dim=d)] for d in (0, 1))
        assert figure(cohort, 0, f"inputs_from_{threshold}")[0] == inputs_
        assert figure(cohort, 0, f"outputs_from_{threshold}")[0] == outputs_


def test_raises_count_the_large_gradients_of_the_last_epoch(tiny):
    """The twin looks at p before and after each step: with p_up and p_down so small that nothing reaches a limit."""
    gentle = {**RULE, "p_up": 1e-4, "p_down": 1e-5, "p_min": 0.5, "p_step": "additive"}
    benchmark = dataclasses.replace(SINGLE, measures=("raises",))
    cohort = Cohort([make_run("presynaptic", benchmark, 1, gentle)], tiny, CPU)
    cohort.train_segment(), cohort.train_segment()
    steps = cohort.make_steps(2)
    steps.load(2, cohort.schedule.first_step(2))
    raised = steps.count_raises()
    seen = torch.zeros_like(raised)
    for _ in range(steps.count):
        before = cohort.state["p"].clone()
        steps.advance(1)
        seen += cohort.state["p"] > before
    assert torch.equal(raised, seen) and 0 < seen.max() <= steps.count


SEQUENCES = [{}, {"release": 0.5, "ghost_scale": "release"}, {"p_freeze": 1.0}]


@pytest.mark.parametrize("variant", SEQUENCES)
@pytest.mark.parametrize("kind", ["permuted", "split"])
def test_overlap_of_tasks_learned_one_by_one_is_that_of_networks_that_learned_one_task_each(tiny, kind, variant):
    """The twin trains as many networks as there are tasks, each of which is given the images of its task alone."""
    tasks = Benchmark(name="t", dataset="digits", kind=kind, tasks=3, epochs=2, batch_size=20, hidden=(24,))
    settings = {"eta0": 0.1, "p_up": 0.3, "p_down": 0.02, "p_freeze": 0.9353, "g_lim": 0.0003, **variant}
    measured = {"restarts": True, "measures": ["overlap"]}
    whole = Cohort([make_run("presynaptic", tasks, s, {**settings, **measured}) for s in (1, 2)], tiny, CPU)
    frozen = []
    alone = Cohort([make_run("presynaptic", tasks, s, settings) for s in (1, 2)], tiny, CPU)
    start = alone._start()
    for _ in range(tasks.tasks):
        alone.state = {name: values.clone() for name, values in start.items()}
        alone.train_segment()
        frozen.append(alone.state["p"] >= 0.9353)
    whole.train_segment()
    whole = Cohort(whole.runs, tiny, CPU, whole.save())  # it goes on from a checkpoint as if nothing had happened
    while not whole.done:
        whole.train_segment()
    for k in range(2):
        by_task, by_both = (figure(whole, k, name)[0] for name in ("frozen_by_task", "frozen_by_both"))
        assert by_task == pytest.approx([f[k].double().mean().item() for f in frozen], abs=1e-7)
        pairs = [(frozen[a][k] & frozen[b][k]).double().mean().item() for a, b in ((0, 1), (0, 2), (1, 2))]
        assert by_both == pytest.approx(pairs, abs=1e-7) and max(pairs) > 0


def test_overlap_needs_tasks_to_compare():
    with pytest.raises(PresynError, match="overlap compares from 2 to 62 tasks, and mnist has 1"):
        make_run("presynaptic", "mnist", 1, {"measures": ["overlap"]})


def test_ranks_are_those_of_scipy():
    values = torch.randint(0, 20, (2, 200), generator=torch.Generator().manual_seed(0)).float()
    assert ranks(values).tolist() == [stats.rankdata(row).tolist() for row in values]


def test_what_is_measured_changes_no_run(tiny):
    plain = dataclasses.replace(SINGLE, measures=())
    states, ids = [], []
    for benchmark in (SINGLE, plain):
        run = make_run("presynaptic", benchmark, 1, RULE)
        cohort = Cohort([run], tiny, CPU)
        while not cohort.done:
            cohort.train_segment()
        states.append((cohort.state["weights"], cohort.state["p"], cohort.records[0].accuracy))
        ids.append(run.run_id("data"))
    assert torch.equal(states[0][0], states[1][0]) and torch.equal(states[0][1], states[1][1])
    assert states[0][2] == states[1][2] and ids[0] == ids[1]


def test_a_measurement_is_the_same_alone_and_in_a_cohort(trained, tiny):
    together, _ = trained
    alone = Cohort([make_run("presynaptic", SINGLE, 2, {**RULE, "l2": 0.02})], tiny, CPU)
    while not alone.done:
        alone.train_segment()
    assert str(alone.records[0].figures) == str(together.records[1].figures)  # as words, because nan is not nan


def test_networks_of_several_draws_and_deterministic_ones_are_measured_too(tiny):
    few = dataclasses.replace(SINGLE, measures=("energy", "output"))
    for method, settings, passes in (("sgd", {"eta0": 0.1}, 1), ("bgd", {"draws": 3}, 1)):
        cohort = Cohort([make_run(method, few, 1, settings)], tiny, CPU)
        cohort.train_segment()
        assert figure(cohort, 0, "passes") == [passes] and figure(cohort, 0, "information")[0] >= 0
    deterministic = Cohort([make_run("sgd", few, 1, {"eta0": 0.1})], tiny, CPU)
    at = Moment(deterministic.network, deterministic.method, deterministic.state, deterministic.minibatches, 0, False)
    tables = compute_outputs(at, deterministic.state, 3).tables
    assert torch.allclose(tables["soft_one"], tables["soft_mean"], atol=1e-4)


def test_what_a_network_does_not_have_is_not_measured(tiny):
    with pytest.raises(PresynError, match="lesion cannot be measured of sgd: it has no p"):
        Cohort([make_run("sgd", SINGLE, 1, {"measures": ["lesion"]})], tiny, CPU)
    with pytest.raises(PresynError, match="measures must be one of energy, output"):
        make_run("sgd", SINGLE, 1, {"measures": ["enrgy"]})


@pytest.mark.parametrize(
    "settings",
    [{"normalise": False}, {"release": 0.4}, {"release": 0.4, "ghost_scale": "release"}, {"normalise": False, "release": 0.4}],
)
def test_energy_and_lesions_count_what_synapses_transmit_on_average(tiny, settings):
    """Without the division by p a synapse transmits p m on average: energy, energy by p and lesions go by that (Eq. 1).

    The mean over 400 release masks lies within six standard errors in all synapses: a false alarm in 1e-4 of runs.
    """
    run = make_run(
        "presynaptic", "digits", 1, {"epochs": 2, "hidden": [16], "measures": ["energy", "synapses", "lesion"]} | settings
    )
    cohort = Cohort([run], tiny, CPU)
    while not cohort.done:
        cohort.train_segment()
    mean = cohort.method.mean_weights(cohort.state)
    draws = keys([7], Purpose.MEASURE, 0, np.arange(400))
    transmitted = torch.stack([cohort.method.transmit(cohort.state, key)[0] for key in draws])
    error = transmitted.std(dim=0) / 20
    assert ((transmitted.mean(dim=0) - mean).abs() <= 6 * error + 1e-6).float().mean() == 1
    figures = cohort.records[0].figures
    assert figures["energy"][-1] == pytest.approx(mean.abs().sum().item(), rel=1e-6)
    at = Moment(cohort.network, cohort.method, cohort.state, cohort.minibatches, cohort.segments - 1, True)
    rank = ranking(mean.abs(), keys([1], Purpose.LESION, 0))
    cut = cohort.state | {"weights": cohort.state["weights"].masked_fill(rank < round(0.5 * rank.shape[1]), 0.0)}
    outputs = compute_outputs(at, cut, at.transmissions, Purpose.LESION)
    assert figures["lesion_weight"][-1][4] == pytest.approx((outputs.right / outputs.images).item())
