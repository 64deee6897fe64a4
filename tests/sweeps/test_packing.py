"""Packing fills the slots, mixes nothing that must not share a program, and loses nobody."""

import pytest

from presyn import make_run
from sweeps.packing import Member, pack


def members(n, method="sgd", segments=0, **settings):
    runs = [make_run(method, "permuted-mnist", s, settings) for s in range(n)]
    return [Member(f"{method}{segments}-{s}", run, segments=segments) for s, run in enumerate(runs)]


@pytest.mark.parametrize(
    ("n", "seconds", "slots", "most", "sizes"),
    [
        (48, 100, 2, 8, [8] * 6),
        (24, 100, 2, 8, [6] * 4),  # three of 8 would leave a slot idle while the other trains the third
        (6, 100, 2, 8, [3, 3]),
        (12, 1, 2, 8, [6, 6]),  # too little work for more programs than the size allows
        (4, 1, 2, 8, [4]),
        (500, 1, 1, 256, [250, 250]),
        (3, 100, 8, 8, [1, 1, 1]),
        (1, 1, 1, 8, [1]),
    ],
)
def test_sizes(n, seconds, slots, most, sizes):
    assert [len(c) for c in pack(members(n), lambda run: seconds, slots, most)] == sizes


def test_cohorts_share_shape_and_standing_and_hold_everybody_once():
    everybody = (
        members(5) + members(4, "presynaptic") + members(3, segments=2) + members(2, "presynaptic", bias="none", segments=1)
    )
    cohorts = pack(everybody, lambda run: 50.0, 2, 8)
    assert all(len({(m.run.shape(), m.segments) for m in c}) == 1 for c in cohorts)
    assert sorted(m.run_id for c in cohorts for m in c) == sorted(m.run_id for m in everybody)


def test_the_longest_cohort_starts_first():
    mixed = members(2, "presynaptic") + members(8)
    lengths = [len(c) for c in pack(mixed, lambda run: 100.0 if run.method == "presynaptic" else 1.0, 1, 8)]
    assert lengths == [2, 8]
