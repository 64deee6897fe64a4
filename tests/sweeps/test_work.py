"""Workers get cohorts for the device they have, nobody is lost when they die, and no slot idles beside a straggler."""

import random

import pytest

from presyn import make_run
from sweeps.packing import MOST_ON_CPU, MOST_ON_GPU, Member, Size
from sweeps.work import TRIES, Work


def members(n, method="sgd", segments=0):
    runs = [make_run(method, "permuted-mnist", s) for s in range(n)]
    return [Member(f"{method}{segments}-{s}", run, segments=segments) for s, run in enumerate(runs)]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def work_of(everybody, seconds=100.0, slots=None, most=None, memory=1, segments=10, steps=1000):
    sizes = {m.run.shape(): Size(seconds, segments, steps, memory) for m in everybody}
    clock = Clock()
    work = Work(everybody, sizes, most, clock)
    work.status(slots or {"cpu": 2})
    return work, clock


def ids(cohort):
    return [m.run_id for m in cohort]


def test_every_worker_gets_its_share_and_then_goes():
    work, _ = work_of(members(24))
    sizes = []
    while cohort := work.take_cohort(f"w{len(sizes)}", "node", "cpu"):
        sizes.append(len(cohort))
    assert sizes == [6] * 4
    # Others still train, but there is nothing to split yet that a segment would not finish.
    assert work.status({"cpu": 2})["leased"] == {"cpu": 4}


def test_cohorts_share_shape_and_standing():
    work, _ = work_of(members(5) + members(4, "presynaptic") + members(3, segments=2))
    seen = []
    while cohort := work.take_cohort(f"w{len(seen)}", "node", "cpu"):
        assert len({(m.run.shape(), m.segments) for m in cohort}) == 1
        seen += ids(cohort)
    assert len(seen) == len(set(seen)) == 12


def test_a_gpu_gets_large_cohorts_and_as_many_as_its_memory_holds():
    work, _ = work_of(members(600), slots={"gpu": 1, "cpu": 4})
    assert len(work.take_cohort("a", "node", "gpu", memory=10**9)) == 200  # three of 200 rather than two of 256 and a rest
    work, _ = work_of(members(600), slots={"gpu": 1, "cpu": 4}, memory=100)
    assert len(work.take_cohort("a", "node", "gpu", memory=3500)) <= 35
    assert max(MOST_ON_CPU, 200) <= MOST_ON_GPU


def test_cores_beside_gpus_help_only_where_they_end_before_the_gpus_would():
    work, clock = work_of(members(600), slots={"gpu": 1, "cpu": 4}, seconds=100.0)
    assert work.take_cohort("core", "node", "cpu") == []  # the pace of the GPUs is not known
    work.take_cohort("gpu", "node", "gpu")
    clock.now = 10.0
    work.report_segment("gpu", 200 * 100, [])  # a tenth of 200 runs in 10 s: the other 400 take 200 s
    assert len(work.take_cohort("core", "node", "cpu")) == 2  # of 100 s each on a core
    slow, clock = work_of(members(300), slots={"gpu": 1, "cpu": 4}, seconds=1000.0)
    slow.take_cohort("gpu", "node", "gpu")
    clock.now = 10.0
    slow.report_segment("gpu", 150 * 100, [])
    assert slow.take_cohort("core", "node", "cpu") == []  # the GPU is done with all in 100 s


def test_an_idle_worker_gets_half_of_the_longest_cohort_from_its_next_checkpoint():
    work, clock = work_of(members(4), slots={"cpu": 1})
    cohort = work.take_cohort("straggler", "a", "cpu")
    assert len(cohort) == 4
    clock.now = 60.0
    assert work.report_segment("straggler", 4 * 100, []) == []
    assert work.take_cohort("idle", "b", "cpu") is None  # it waits for the segment that is being made
    left = work.report_segment("straggler", 4 * 100, [])
    assert left == ids(cohort)[2:]
    taken = work.take_cohort("idle", "b", "cpu")
    assert ids(taken) == left and {m.segments for m in taken} == {2}
    assert work.leases["straggler"].members[0].segments == 2


def test_what_is_nearly_done_is_not_split():
    work, clock = work_of(members(4), slots={"cpu": 1}, seconds=5.0)
    work.take_cohort("straggler", "a", "cpu")
    clock.now = 1.0
    work.report_segment("straggler", 4 * 100, [])
    assert work.take_cohort("idle", "b", "cpu") == []


def test_a_run_that_ended_is_not_given_again_when_its_worker_dies():
    work, _ = work_of(members(4), slots={"cpu": 1})
    cohort = work.take_cohort("a", "node", "cpu")
    work.report_segment("a", 400, [cohort[0].run_id])
    assert work.worker_died("a", "killed")
    again = work.take_cohort("b", "node", "cpu")
    assert ids(again) == ids(cohort)[1:] and {m.segments for m in again} == {1}


def test_a_run_that_kills_its_workers_is_given_up_and_one_that_gets_on_is_not():
    work, _ = work_of(members(1))
    for n in range(TRIES):
        assert work.take_cohort(f"w{n}", "node", "cpu")
        work.worker_died(f"w{n}", "out of memory")
    assert work.status({})["failed"] == {"sgd0-0": f"{TRIES} workers died of it, the last one so: out of memory"}
    assert not work.worker_died("who", "never had work")
    work, _ = work_of(members(1))
    for n in range(3 * TRIES):  # preempted again and again, but a segment further each time
        assert work.take_cohort(f"w{n}", "node", "cpu")
        work.report_segment(f"w{n}", 100, [])
        work.worker_died(f"w{n}", "preempted")
    assert not work.status({})["failed"]


def test_an_error_of_a_node_sends_the_cohort_elsewhere_and_one_of_the_run_ends_it():
    work, _ = work_of(members(2), slots={"cpu": 1})
    cohort = work.take_cohort("a", "bad", "cpu")
    work.leave_out("a", "bad", "no store")
    assert work.take_cohort("b", "bad", "cpu") == []
    assert ids(work.take_cohort("c", "good", "cpu")) == ids(cohort)
    work.give_up("c", "does not fit")
    assert work.status({"cpu": 1})["failed"] == dict.fromkeys(ids(cohort), "does not fit")


def test_whatever_happens_every_run_ends_or_is_given_up_once():
    for seed in range(60):
        rng = random.Random(seed)
        everybody = members(rng.randint(1, 40)) + members(rng.randint(0, 20), "presynaptic", segments=rng.randint(0, 3))
        work, clock = work_of(everybody, slots={"cpu": 3}, seconds=rng.choice([1.0, 100.0]), segments=6)
        ended, busy = [], {}
        for _ in range(3000):
            clock.now += 1.0
            name = f"w{rng.randint(0, 4)}"
            if name not in busy:
                cohort = work.take_cohort(name, f"n{rng.randint(0, 1)}", "cpu")
                if cohort:
                    busy[name] = {m.run_id: m.segments for m in cohort}
                continue
            if rng.random() < 0.02:
                work.worker_died(name, "killed")
                del busy[name]
                continue
            mine = busy[name]
            done = [i for i in mine if mine[i] + 1 >= 6]
            ended += done
            for i in {*done, *work.report_segment(name, 10, done)}:
                mine.pop(i, None)
            busy[name] = {i: p + 1 for i, p in mine.items()}
            if not busy[name]:
                del busy[name]
        state = work.status({"cpu": 3})
        assert len(ended) == len(set(ended)), seed
        assert sorted([*ended, *state["failed"]]) == sorted(m.run_id for m in everybody), seed


def ablations(counts):
    """Runs of the full rule and of ablations of it, so many of each, which cannot share a program."""
    settings = [{}, {"modulate_lr": False}, {"normalise": False}, {"p_step": "additive"}]
    return [
        Member(f"{i}-{s}", make_run("presynaptic", "split-digits", s, settings[i]))
        for i, count in enumerate(counts)
        for s in range(count)
    ]


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_ablations_are_cohorts_of_their_own(kind):
    work, _ = work_of(ablations([3, 3, 3, 3]), slots={kind: 1})
    assert work.status({kind: 1})["wanted"] == {kind: 4}
    shapes = []
    while cohort := work.take_cohort(str(len(shapes)), "n", kind):
        assert len(cohort) == 3
        shapes.append(cohort[0].run.shape())
    assert len(set(shapes)) == 4


def test_a_group_keeps_to_the_memory_and_leaves_idle_gpus_their_work():
    work, _ = work_of(ablations([9]), slots={"gpu": 1})
    assert len(work.take_cohort("a", "n", "gpu", memory=6)) == 5, "two cohorts of nine, none larger than six"
    work, _ = work_of(ablations([3, 3, 3]), slots={"gpu": 3})
    assert {len(work.take_cohort(name, "n", "gpu")) for name in "abc"} == {1}, "each group alone fills three GPUs"
    work, _ = work_of(ablations([8, 2]), slots={"gpu": 2})
    assert [len(work.take_cohort(name, "n", "gpu")) for name in "ab"] == [4, 4], "the longest first, in equal shares"
