"""What is recorded of a run."""

import time

import pytest
import torch

from presyn import BENCHMARKS, METHODS, Benchmark, Cohort, PresynError, Record, choose_device, load, make_run, train

CPU = torch.device("cpu")
TASKS = Benchmark(name="t", dataset="digits", kind="permuted", tasks=3, epochs=6, batch_size=20, hidden=(40, 40))


def test_mean_accuracy_and_forgetting_by_hand():
    record = Record(status="finished", accuracy=[[0.9, None, None], [0.7, 0.8, None], [0.5, 0.9, 1.0]])
    assert record.mean_accuracy == pytest.approx(0.8)
    assert record.forgetting == pytest.approx(((0.9 - 0.5) + (0.8 - 0.9)) / 2)
    assert Record(status="finished", accuracy=[[0.9, 0.8]]).forgetting is None
    assert Record(status="dropped", accuracy=[[0.2, None]]).mean_accuracy is None


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_records(method, tiny):
    record = train([make_run(method, TASKS, 1, {"eta0": {"joint": 0.01, "bgd": 1.0}.get(method, 0.1)})], tiny, CPU)[0]
    assert record.status == "finished"
    segments = TASKS.epochs if METHODS[method].joint else TASKS.tasks
    assert len(record.loss) == len(record.seconds) == len(record.ended) == segments
    assert record.ended == sorted(record.ended) and min(record.seconds) > 0
    if METHODS[method].joint:
        assert len(record.accuracy) == 1 and None not in record.accuracy[0] and record.forgetting is None
    else:
        assert [[a is not None for a in row] for row in record.accuracy] == [[j <= i for j in range(3)] for i in range(3)]
    # 200 test images of ten balanced classes; chance is 0.1 with a standard error of 0.021.
    assert record.accuracy[0][0] > 0.3
    assert record.loss[0] < 2.2


@pytest.mark.parametrize("benchmark", ["permuted-digits", "split-digits"])
def test_the_digits_run_end_to_end(benchmark):
    records = train([make_run("sgd", benchmark, s, {"epochs": 2}) for s in (1, 2)], load("digits"), CPU)
    chance = 0.5 if BENCHMARKS[benchmark].kind == "split" else 0.1
    assert all(r.mean_accuracy > chance + 0.1 for r in records)


def test_a_stochastic_network_is_tested_by_the_samples_it_names(tiny):
    run = make_run("presynaptic", TASKS, 1, {"samples": 3})
    cohort = Cohort([run], tiny, CPU)
    drawn = []
    transmit = cohort.method.transmit
    cohort.method.transmit = lambda state, key: drawn.append(tuple(key[0].tolist())) or transmit(state, key)
    cohort._test_task(0, 0)
    assert len(drawn) == len(set(drawn)) == 3


def test_an_unusable_device_is_named():
    with pytest.raises(PresynError, match="device 'gpu7' is not usable here"):
        choose_device("gpu7")
    if not torch.cuda.is_available():
        assert choose_device(None) == CPU
        with pytest.raises(PresynError, match="cuda.*--device cpu"):
            choose_device("cuda")


def test_the_measure_counts_the_work_of_a_run(tiny):
    cohort = Cohort([make_run("presynaptic", TASKS, 1)] * 2, tiny, CPU)
    assert cohort.schedule.first_step(cohort.segments) == 3 * 6 * 25
    assert cohort.schedule.images_tested() == (1 + 2 + 3) * 200
    joint = Cohort([make_run("joint", TASKS, 1)], tiny, CPU)
    assert joint.schedule.first_step(joint.segments) == 6 * 75 and joint.schedule.images_tested() == 600
    assert all(s > 0 for s in cohort.measure(steps=3))


def test_the_loss_of_a_part_is_that_of_its_last_epoch(tiny):
    # Other epochs do not measure it: one epoch more must change it, and none may be recorded as 0.
    losses = [
        train([make_run("sgd", "permuted-digits", 1, {"epochs": n, "tasks": 2, "eta0": 0.03})], tiny, CPU)[0].loss
        for n in (1, 2)
    ]
    assert all(loss > 0 for losses_of_run in losses for loss in losses_of_run) and losses[1][0] < losses[0][0]


@pytest.mark.parametrize("clock", [lambda real: real - 300.0, lambda real: -1e6, lambda real: 4e9])
def test_a_clock_that_is_set_while_a_segment_is_trained_changes_no_duration(tiny, monkeypatch, clock):
    cohort = Cohort([make_run("sgd", "split-digits", 1, {"epochs": 1, "tasks": 2, "hidden": [8]})], tiny, torch.device("cpu"))
    cohort.train_segment()
    real = time.time()
    monkeypatch.setattr("presyn.training.time.time", lambda: clock(real))
    cohort.train_segment()
    (record,) = cohort.records
    record.check()
    assert record.status == "finished" and all(0 <= seconds < 60 for seconds in record.seconds)
