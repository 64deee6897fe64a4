"""The presynaptic rule: it follows its slow twin step for step, and keeps its invariants."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import PresynapticTwin, uniforms

from presyn.inputs import DenseInputs
from presyn.methods.presynaptic import Presynaptic, PresynapticOptions
from presyn.network import Backprop, Network
from presyn.random_numbers import Purpose, keys, uniform
from presyn.runs import make_run

CPU = torch.device("cpu")
NET = Network((12, 8, 6, 4))
VARIANTS = [
    {},
    {"p_step": "additive", "threshold": "gt", "bias": "none"},
    {"bias": "trained"},
    {"modulate_lr": False},
    {"p_freeze": 1.0},
    {"p_freeze": 1.0, "p_step": "additive", "p_up": 0.5},
    {"release": 0.5},
    {"release": 0.5, "ghost_scale": "release"},
    {"normalise": False},
    {"normalise": False, "release": 0.5},
    {"l2": 0.1, "modulate_lr": False, "p_freeze": 1.0},
    {"l2": 0.1, "bias": "trained"},
    {"p_init": "uniform"},
    {"p_up": 0.0, "p_down": 0.0, "p_min": 0.4, "bias": "trained", "modulate_lr": False, "p_freeze": 1.0},  # fixed release
]


def start(options, seeds=(3,), fuse=False):
    method = Presynaptic([PresynapticOptions(**o) for o in options], CPU, fuse)
    return method, method.start(*NET.initial(list(seeds), CPU))


def steps(method, state, seeds, n, x, y):
    """n steps of the fast path on inputs x (K, B, 12); returns the losses."""
    key = keys(list(seeds), Purpose.RELEASE, torch.arange(n + 1).numpy())
    weights, biases = method.transmit(state, key[0])
    backprop = Backprop(NET, weights, biases, method.traits.trains_biases, x.shape[1])
    losses = torch.zeros(n, len(x))
    for i in range(n):
        backprop(DenseInputs(x), y, losses[i])
        method.update(state, backprop.grad, backprop.bias_grad, weights, biases, key[i + 1])
    return losses


def batch(k=1):
    g = torch.Generator().manual_seed(1)
    return torch.randn(k, 20, 12, generator=g), torch.randint(0, 4, (k, 20), generator=g)


@pytest.mark.parametrize(
    ("variant", "fuse"), [*((v, False) for v in VARIANTS), *((v, True) for v in (*VARIANTS[:2], *VARIANTS[10:12]))], ids=str
)
def test_follows_the_equations_step_for_step(variant, fuse):
    options = {"eta0": 0.3, "g_lim": 0.01, "p_up": 0.2, "p_freeze": 0.7, **variant}
    weights, biases = NET.initial([3], CPU)
    start_key = keys([3], Purpose.INITIAL_P)
    first = uniforms(start_key[0].tolist(), NET.n_weights)
    twin = PresynapticTwin(PresynapticOptions(**options), NET.sizes, weights[0], biases[0], first)
    method, state = start([options], fuse=fuse)
    method.randomise(state, start_key, NET)
    x, y = batch()
    n = 25
    losses = steps(method, state, [3], n, x, y)
    for i in range(n):
        u = uniforms(keys([3], Purpose.RELEASE, i)[0].tolist(), NET.n_weights)
        assert twin.step(x[0], y[0], u).item() == pytest.approx(losses[i].item(), rel=1e-5)
    for fast, slow in [(state["weights"], twin.w), (state["p"], twin.p), (state["biases"], twin.b)]:
        torch.testing.assert_close(fast[0], torch.cat([s.flatten() for s in slow]), rtol=1e-4, atol=1e-6)


def test_fused_and_eager_give_the_same_bits():
    x, y = batch(2)
    states = []
    for fuse in (False, True):
        method, state = start([{"eta0": 0.1}, {"eta0": 0.2, "p_up": 0.08}], (3, 4), fuse)
        steps(method, state, (3, 4), 30, x, y)
        states.append(state)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    p_up=st.floats(0, 1),
    p_down=st.floats(0, 1),
    g_lim=st.floats(0, 0.1),
    p_freeze=st.floats(0.26, 1),
    p_step=st.sampled_from(["scaled", "additive"]),
)
def test_p_stays_in_range_and_a_frozen_p_never_moves(seed, p_up, p_down, g_lim, p_freeze, p_step):
    options = {"p_up": p_up, "p_down": p_down, "g_lim": g_lim, "p_freeze": p_freeze, "p_step": p_step, "eta0": 0.5}
    method, state = start([options], [seed])
    x, y = batch()
    before = state["p"].clone()
    for _ in range(6):
        steps(method, state, [seed], 3, x, y)
        p = state["p"]
        assert p.min() >= 0.25 and p.max() <= 1
        if p_freeze < 1:
            frozen = before >= method.h.p_freeze
            assert torch.equal(p[frozen], before[frozen])
        before = p.clone()


def test_without_freezing_p_moves_even_at_one():
    method, state = start([{"p_freeze": 1.0, "p_step": "additive", "p_up": 1.0, "p_down": 0.1, "g_lim": 0.0}])
    x, y = batch()
    steps(method, state, [3], 1, x, y)
    assert (state["p"] == 1).all()
    method.h.g_lim.fill_(1e9)
    steps(method, state, [3], 1, x, y)
    assert torch.allclose(state["p"], torch.tensor(0.9))


def test_a_synapse_with_p_one_always_releases_and_the_mean_weight_is_the_expected_strength():
    key = keys([1], Purpose.RELEASE, torch.arange(4000).numpy())[:, 0]
    w = torch.full((4000, 30), 2.0)
    method, _ = start([{}])
    assert (method.transmit({"weights": w, "p": torch.ones_like(w), "biases": w}, key)[0] == 2).all()
    sampled, _ = method.transmit({"weights": w, "p": torch.full_like(w, 0.25), "biases": w}, key)
    # 120,000 samples of 8 Bernoulli(1/4), standard error 0.01: five of them is a false alarm of 6e-7.
    assert sampled.mean().item() == pytest.approx(2.0, abs=0.05)


def test_masks_equal_their_twin_in_plain_integers():
    key = keys([7], Purpose.RELEASE, 11)
    assert torch.equal(uniform(key, 500)[0], uniforms(key[0].tolist(), 500))


def test_printed_is_a_preset_that_explicit_options_win_over():
    printed = make_run("presynaptic", "permuted-mnist", 1, {"rule": "printed"}).options
    assert (printed.p_up, printed.p_down, printed.p_step) == (0.0516, 0.0520, "additive")
    assert (printed.threshold, printed.bias, printed.p_freeze) == ("gt", "none", 0.9353)
    mixed = make_run("presynaptic", "permuted-mnist", 1, {"rule": "printed", "bias": "fixed", "p_up": 0.06}).options
    assert (mixed.bias, mixed.p_up, mixed.p_step) == ("fixed", 0.06, "additive")
    assert make_run("presynaptic", "split-mnist", 1).options == PresynapticOptions(eta0=0.001)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_released_weight_of_zero_still_learns_and_a_silent_one_does_not(fuse):
    # Who released is read from the sign of zero in what was transmitted, so a weight of 0 must not look silent.
    method, state = start([{"eta0": 0.5}], fuse=fuse)
    state["weights"].zero_()
    now, then = keys([3], Purpose.RELEASE, torch.arange(2).numpy())
    transmitted, biases = method.transmit(state, now)
    released = uniform(now, NET.n_weights) < 0.25
    assert 0 < released.sum() < NET.n_weights and not transmitted.any()
    method.update(state, torch.ones_like(transmitted), None, transmitted, biases, then)
    assert torch.equal(state["weights"] != 0, released)


@pytest.mark.parametrize(("gap", "moves"), [(1e-7, False), (4e-6, True)])
def test_p_near_one_is_absorbing_in_float32(gap, moves):
    # Once 1 - p is about 4e-7 or less, both scaled steps round to nothing, so nothing leaves although
    # p_freeze is 1; ten times as far away both still move it.
    for g_lim in (0.0, 1e6):  # every gradient counts as large, or none does
        options = {"p_freeze": 1.0, "p_up": 0.07, "p_down": 0.07, "g_lim": g_lim, "modulate_lr": False, "eta0": 0.0}
        method, state = start([options])
        p = torch.full_like(state["p"], 1 - gap)
        state["p"].copy_(p)
        assert state["p"].dtype == torch.float32
        x, y = batch()
        steps(method, state, [3], 20, x, y)
        assert torch.equal(state["p"], p) is not moves
        if moves:
            assert ((state["p"] > p) if g_lim == 0.0 else (state["p"] < p)).all()
