"""Claims L1, L27, L29, L30 and R1: learning and forgetting over tasks."""

from collections.abc import Iterator

import pandas as pd

from pipeline.experiments.lifelong.figures import SPLIT
from pipeline.experiments.lifelong.summary import accuracy_by_task, accuracy_on, course_of_p
from pipeline.experiments.table1.rows import accuracies, as_published, searched, strict
from pipeline.paper import BENCHMARKS, SEARCHED_ON
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed, with_lost
from pipeline.report.verdicts import Verdict, order

FAMILY, READINGS = "lifelong", "lifelong, other readings"
LEARNED = 90
"""Accuracy from which on a task counts as learned (claim L1); the paper prints no limit."""


def lifelong_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on each of the claims, and on their readings."""
    rows, carried_over = as_published(results), searched(results)
    tasks = with_lost(accuracy_by_task(rows), rows, ("method", "benchmark", "seed"), ("task", "after"))
    for benchmark, last in ((SPLIT, 5), (SEARCHED_ON, 10)):
        reading = "" if benchmark == SPLIT else benchmark
        parts = {
            f"{method} after task 1 minus {LEARNED}:": accuracy_on(tasks, method, benchmark, 1, 1) - LEARNED
            for method in ("presynaptic", "sgd")
        }
        at_end = {method: accuracy_on(tasks, method, benchmark, 1, last) for method in ("presynaptic", "sgd")}
        parts["at the end, presynaptic minus sgd:"] = at_end["presynaptic"] - at_end["sgd"]
        yield order(
            "L1", f"accuracy on task 1 of {benchmark}", READINGS if reading else FAMILY, parts, "points", reading=reading
        )
    others = [benchmark for benchmark in BENCHMARKS if benchmark != SEARCHED_ON]
    for settings, rivals, reading in (
        (rows, rows, ""),
        (carried_over, rows, "our own winner"),
        (carried_over, carried_over, "our own winner, sgd searched too"),
        (strict(results), carried_over, "our own winner with its eta0 everywhere, sgd searched too"),
    ):
        parts = {b: accuracies(settings, "presynaptic", b) - accuracies(rivals, "sgd", b) for b in others}
        claim = "parameters of Permuted MNIST elsewhere, presynaptic minus sgd"
        yield order("L27", claim, READINGS if reading else FAMILY, parts, "points", reading=reading)
    at_end = {m: accuracy_on(tasks, m, SPLIT, 1, 5) for m in ("presynaptic", "sgd", "bgd", "ewc", "joint")}
    difference = at_end["presynaptic"] - at_end["sgd"]
    over_its_seeds = {m: v.values[v.values.index.isin(difference.values.index)] for m, v in at_end.items()}
    ranked = sorted((values.mean(), m) for m, values in over_its_seeds.items() if len(values))
    means = ", ".join(f"{method} {mean:.1f} %" for mean, method in reversed(ranked))
    parts = {f"presynaptic minus sgd (all: {means}):": difference}
    yield order("L29", "accuracy on task 1 of Split MNIST after task 5", FAMILY, parts, "points")
    course = results.rows("lifelong", ("benchmark",))
    yield _growth(None if course is None else with_lost(course_of_p(course), course, ("benchmark", "seed"), ("task",)))
    on_all = {b: accuracies(rows, "presynaptic", b) - accuracies(rows, "sgd", b) for b in BENCHMARKS}
    yield order("R1", "presynaptic minus sgd, on all four benchmarks", FAMILY, on_all, "points")


def _growth(course: pd.DataFrame | None) -> Verdict:
    """Mean p and the share of frozen synapses, from each task to the next, by seed."""
    claim = "growth of mean p and of the share of frozen synapses from task to task, ten permuted tasks"
    parts: dict[str, BySeed] = {}
    for quantity in ("mean_p", "frozen"):
        for task in range(2, 11):
            parts[f"{quantity}, task {task}"] = BySeed()
            if course is not None:
                permuted = course[course.benchmark == SEARCHED_ON]
                now, before = (BySeed.from_frame(permuted[permuted.task == t], quantity) for t in (task, task - 1))
                parts[f"{quantity}, task {task}"] = now - before
    return order("L30", claim, FAMILY, parts)
