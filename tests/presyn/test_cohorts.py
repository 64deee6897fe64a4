"""A run is the same bits alone, in any cohort, and after a resume; for every method."""

import dataclasses

import pytest
import torch

from presyn import METHODS, Benchmark, Cohort, PresynError, make_run, train

CPU = torch.device("cpu")
PERMUTED = Benchmark(name="p", dataset="digits", kind="permuted", tasks=3, epochs=2, batch_size=20, hidden=(24, 16))
SPLIT = dataclasses.replace(PERMUTED, name="s", kind="split", tasks=5)
CONTINUOUS = dataclasses.replace(PERMUTED, name="c", kind="continuous")
BENCHMARKS = [PERMUTED, SPLIT, CONTINUOUS, dataclasses.replace(CONTINUOUS, transition="released")]


def runs(method, benchmark, n=8):
    return [make_run(method, benchmark, 100 + i, {"eta0": 0.01 * (i + 1)}) for i in range(n)]


def finish(cohort):
    while not cohort.done:
        cohort.train_segment()
    return cohort


def state_of(cohort, k):
    return {name: t[k].clone() for name, t in cohort.state.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def outcome(record):
    return record.status, record.accuracy, record.loss, record.figures


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda b: f"{b.kind}-{b.transition}")
@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_the_same_bits_alone_and_in_a_cohort_of_eight(method, benchmark, tiny):
    together = finish(Cohort(runs(method, benchmark), tiny, CPU))
    for k in (0, 5):
        alone = finish(Cohort([runs(method, benchmark)[k]], tiny, CPU))
        assert same(state_of(alone, 0), state_of(together, k))
        assert outcome(alone.records[0]) == outcome(together.records[k])


@pytest.mark.parametrize("size", [1, 3, 8])
def test_full_size_steps_are_the_same_bits_in_every_packing(size, tiny):
    # The real layer sizes: the matrix library may choose other kernels there.
    wide = dataclasses.replace(PERMUTED, hidden=(200, 200), batch_size=100, tasks=1)
    big = dataclasses.replace(tiny, train_x=tiny.train_x.repeat(22, axis=1), test_x=tiny.test_x.repeat(22, axis=1))
    reference = finish(Cohort([runs("presynaptic", wide)[0]], big, CPU))
    assert same(state_of(finish(Cohort(runs("presynaptic", wide, size), big, CPU)), 0), state_of(reference, 0))


@pytest.mark.parametrize("method", METHODS)
def test_perturbing_one_member_leaves_the_others_alone(method, tiny):
    plain, perturbed = (Cohort(runs(method, PERMUTED, 3), tiny, CPU) for _ in range(2))
    perturbed.state["weights"][1, 7] += 1e-3
    finish(plain), finish(perturbed)
    assert same(state_of(plain, 0), state_of(perturbed, 0))
    assert same(state_of(plain, 2), state_of(perturbed, 2))
    assert not same(state_of(plain, 1), state_of(perturbed, 1))


@pytest.mark.parametrize("benchmark", [PERMUTED, SPLIT], ids=lambda b: b.kind)
@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_in_another_packing_equals_uninterrupted(method, benchmark, tiny):
    whole = finish(Cohort(runs(method, benchmark, 3), tiny, CPU))
    first = Cohort(runs(method, benchmark, 3), tiny, CPU)
    first.train_segment()
    saved = first.save()
    pair = finish(Cohort(runs(method, benchmark, 3)[1:], tiny, CPU, saved[1:]))
    single = finish(Cohort(runs(method, benchmark, 3)[:1], tiny, CPU, saved[:1]))
    for k, (cohort, i) in enumerate([(single, 0), (pair, 0), (pair, 1)]):
        assert same(state_of(cohort, i), state_of(whole, k))
        assert outcome(cohort.records[i]) == outcome(whole.records[k])


def test_a_diverging_run_ends_alone_and_named(tiny):
    members = [make_run("sgd", PERMUTED, s, {"eta0": eta}) for s, eta in [(1, 0.01), (2, 1000.0), (3, 0.01)]]
    records = train(members, tiny, CPU)
    assert [r.status for r in records] == ["finished", "diverged", "finished"]
    assert "seed 2" in records[1].reason
    assert outcome(records[2]) == outcome(train(members[2:], tiny, CPU)[0])


def test_a_poor_run_is_dropped_after_task_one_and_the_others_go_on(tiny):
    dropping = dataclasses.replace(PERMUTED, drop_below=0.5)
    members = [make_run("sgd", dropping, s, {"eta0": eta}) for s, eta in [(1, 0.3), (2, 0.0), (3, 0.3)]]
    records = train(members, tiny, CPU)
    assert [r.status for r in records] == ["finished", "dropped", "finished"]
    assert records[1].accuracy[0][0] < 0.5 and records[1].segments == 1 and records[1].mean_accuracy is None
    assert outcome(records[2]) == outcome(train(members[2:], tiny, CPU)[0])


def test_cohorts_take_only_runs_of_one_shape(tiny):
    with pytest.raises(PresynError, match="share everything"):
        Cohort([make_run("sgd", PERMUTED, 1), make_run("sgd", SPLIT, 1)], tiny, CPU)


def test_testing_on_new_tasks_alone_changes_nothing_but_the_gaps(tiny):
    sparse = dataclasses.replace(PERMUTED, tests="new")
    full = train(runs("presynaptic", PERMUTED, 1), tiny, CPU)[0]
    gaps = train(runs("presynaptic", sparse, 1), tiny, CPU)[0]
    assert gaps.accuracy[-1] == full.accuracy[-1]
    assert gaps.accuracy[1] == [None, full.accuracy[1][1], None]
    assert gaps.mean_accuracy == full.mean_accuracy


VARIANTS = [
    {},
    {"modulate_lr": False},
    {"p_freeze": 1.0, "modulate_lr": False},
    {"release": 0.5, "ghost_scale": "ghost"},
    {"release": 0.5, "ghost_scale": "release"},
    {"release": 0.3, "ghost_scale": "release"},
    {"release": 0.4, "normalise": False},
    {"normalise": False, "p_up": 0.07},
    {"l2": 0.01},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("benchmark", ["permuted-digits", "split-digits"])
def test_every_ablation_is_the_same_bits_alone_and_beside_others(benchmark, variant, tiny):
    settings = {"epochs": 1, "tasks": 2, "hidden": [16], "eta0": 0.02, **variant}
    others = {"p_up": 0.08, "l2": 0.0}  # what may differ inside a cohort
    members = [make_run("presynaptic", benchmark, 3, settings), make_run("presynaptic", benchmark, 4, {**settings, **others})]
    for run, record in zip(members, train(members, tiny), strict=True):
        (alone,) = train([run], tiny)
        assert outcome(record) == outcome(alone), run.options


@pytest.mark.parametrize("odd", [{"bias": "trained"}, {"modulate_lr": False}, {"normalise": False}, {"release": 0.5}], ids=str)
def test_what_shapes_the_program_is_not_mixed(odd, tiny):
    members = [make_run("presynaptic", "split-digits", 1, settings) for settings in ({}, odd)]
    with pytest.raises(PresynError, match="share everything"):
        train(members, tiny)
