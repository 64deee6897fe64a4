"""The tasks are those of the paper, and the minibatches pass over the right images."""

import dataclasses

import numpy as np
import pytest
import torch

from presyn import BENCHMARKS, Benchmark, PresynError
from presyn.benchmarks import hold_out
from presyn.minibatches import Minibatches

CPU = torch.device("cpu")
BASE = Benchmark(name="b", dataset="digits", kind="permuted", tasks=5, epochs=4, batch_size=20, hidden=(8,))


def minibatches(data, joint=False, seeds=(1, 2), **changes):
    return Minibatches(dataclasses.replace(BASE, **changes), data, seeds, joint, CPU)


def test_the_papers_benchmarks():
    assert [BENCHMARKS[b].tasks for b in ("permuted-mnist", "split-mnist", "mnist")] == [10, 5, 1]
    assert {b.batch_size for n, b in BENCHMARKS.items() if "digits" not in n} == {100}
    assert [BENCHMARKS[b].epochs for b in ("permuted-fashion", "split-fashion", "mnist")] == [10, 10, 50]
    assert all(b.hidden == (200, 200) for n, b in BENCHMARKS.items() if "digits" not in n)


def test_every_task_and_seed_has_a_permutation_of_its_own(tiny):
    p = minibatches(tiny, seeds=(1, 2, 3)).permutations
    assert torch.equal(p.sort(dim=-1).values, torch.arange(36).expand(3, 5, 36))
    assert len({tuple(row.tolist()) for row in p.reshape(-1, 36)}) == 15
    assert torch.equal(minibatches(tiny, seeds=(3,)).permutations[0], p[2])
    assert (p != torch.arange(36)).any(dim=-1).all(), "all ten tasks are permuted, the first as well"


def test_an_epoch_is_one_shuffled_pass_without_the_incomplete_batch(tiny):
    s = minibatches(tiny, batch_size=30)
    order = s.order(1, 0)
    assert order.images.shape == (16, 2, 30) and order.tasks == 1
    seen = order.images[:, 0].flatten()
    assert len(seen.unique()) == 480
    assert not torch.equal(seen, order.images[:, 1].flatten())
    assert not torch.equal(seen, s.order(1, 1).images[:, 0].flatten())


def test_split_tasks_hold_two_classes_with_parity_as_label(tiny):
    s = minibatches(tiny, kind="split")
    for task in range(5):
        rows = s.order(task, 0).images.flatten()
        classes = torch.from_numpy(tiny.train_y)[rows]
        assert set(classes.tolist()) == {2 * task, 2 * task + 1}
        assert torch.equal(s.train_y[rows], classes % 2)
        assert set(tiny.test_y[s.test_images(task).numpy()]) == {2 * task, 2 * task + 1}


def test_inputs_are_permuted_scaled_pixels(tiny):
    s = minibatches(tiny)
    batch = s.order(3, 0).images[0]
    fast = s.train.inputs(batch, s.pixel_index(3)).x
    for k in range(2):
        for b in range(3):
            slow = tiny.train_x[batch[k, b]][s.permutations[k, 3].numpy()] / 16
            np.testing.assert_allclose(fast[k, b].numpy(), (slow - 0.3053) / 0.3760, rtol=1e-4, atol=1e-5)


def test_joint_training_sees_every_image_under_every_permutation_once(tiny):
    s = minibatches(tiny, joint=True)
    order = s.order(0, 0)
    pairs = order.images[:, 0].flatten() * 5 + order.tasks[:, 0].flatten()
    assert len(pairs) == 2500 and len(pairs.unique()) == 2500


def test_joint_training_on_split_tasks_sees_every_image_once(tiny):
    rows = minibatches(tiny, joint=True, kind="split").order(0, 0).images[:, 0].flatten()
    assert len(rows.unique()) == 500


@pytest.mark.parametrize(("transition", "width"), [("zeno", 1 / 2), ("released", 1 / 4)])
def test_continuous_tasks_mix_around_the_boundary(tiny, transition, width):
    s = minibatches(tiny, kind="continuous", transition=transition, tasks=3, epochs=40, seeds=range(10))
    # The share of each task over the first two segments, in fortieths of a segment.
    share = np.array([[(s.order(t, e).tasks == i).float().mean() for i in range(3)] for t in range(2) for e in range(40)])
    assert (share[:10, 0] == 1).all(), "the first task begins alone"
    position = (np.arange(80) + 0.5) / 40 - 1  # of the boundary, in segments
    expected = np.clip(position / width + 0.5, 0, 1)
    near = np.abs(position) < 0.49
    # 5000 samples an epoch: a standard error of at most 0.0071, and 80 epochs; 6 of them is a false alarm below 1e-6.
    assert np.abs(share[near, 1] - expected[near]).max() < 0.043 + 0.5 / 40 / width
    assert abs(share[39:41, 1].mean() - 0.5) < 0.04


def test_released_transitions_draw_with_replacement_and_zenos_do_not(tiny):
    rows = {
        t: minibatches(tiny, kind="continuous", transition=t).order(0, 0).images[:, 0].flatten() for t in ("zeno", "released")
    }
    assert len(rows["zeno"].unique()) == 500
    assert 250 < len(rows["released"].unique()) < 400  # 316 expected of 500


def test_validation_images_are_held_out_of_training_and_replace_the_test_set(tiny):
    benchmark = dataclasses.replace(BASE, validation=100)
    train, validation = hold_out(benchmark, tiny)
    assert len(train) == 400 and len(validation) == 100 and not set(train) & set(validation)
    s = minibatches(tiny, validation=100)
    assert torch.equal(s.test.x, torch.from_numpy(tiny.train_x[validation]))
    assert torch.equal(s.train.x, torch.from_numpy(tiny.train_x[train]))
    again = hold_out(benchmark, tiny)[1]
    assert (again == validation).all(), "all runs share the held-out images"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "split", "tasks": 6}, "tasks must be at most 5"),
        ({"kind": "single", "tasks": 2}, "tasks must be 1"),
        ({"hidden": ()}, "hidden must list"),
        ({"name": ""}, "name is missing"),
        ({"epochs": 0}, "epochs must be between 1"),
        ({"dataset": "cifar"}, "dataset must be one of mnist, fashion, digits"),
    ],
)
def test_impossible_benchmarks_are_refused(changes, message):
    with pytest.raises(PresynError, match=message):
        dataclasses.replace(BASE, **changes)


def test_holding_out_everything_is_refused(tiny):
    with pytest.raises(PresynError, match="validation must be below 500"):
        hold_out(dataclasses.replace(BASE, validation=500), tiny)
