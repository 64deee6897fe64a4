"""A process that was forked from one that uses presyn trains to the same bits, or is told in one line why it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, multiprocessing, os, sys
import torch
from presyn import Cohort, PresynError, load, make_run, train

torch.set_num_threads(2)
a = torch.ones(1500, 1500)
(a @ a).exp().sum().item()  # the threads are at work from now on
RUNS = [make_run("presynaptic", "permuted-digits", seed, {"epochs": 1, "tasks": 2, "hidden": [400]}) for seed in (1, 2)]

def outcomes(records):
    return json.dumps([(r.accuracy, r.loss, r.figures) for r in records])

def train_both():
    return outcomes(train(RUNS, load("digits"), "cpu"))

def train_with_threads(threads):
    torch.set_num_threads(threads)
    try:
        cohort = Cohort(RUNS, load("digits"), "cpu", fuse=False)
        while not cohort.done:
            cohort.train_segment()
        return outcomes(record for _, record in cohort.results())
    except PresynError as e:
        return str(e)

def in_fork(function, *arguments):
    end, start = os.pipe()
    if os.fork() == 0:
        os.write(start, function(*arguments).encode())
        os._exit(0)
    os.wait()
    return os.read(end, 1 << 16).decode()

whole = train_both()
fork = multiprocessing.get_context("fork")
with fork.Pool(1) as pool:
    print(json.dumps({
        "forked": in_fork(train_both) == whole,
        "multiprocessing": pool.apply(train_both) == whole,
        "one thread": in_fork(train_with_threads, 1) == whole,
        "two threads": in_fork(train_with_threads, 2),
    }))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_trains_to_the_same_bits_or_says_that_it_lacks_threads():
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert '"forked": true, "multiprocessing": true, "one thread": true' in done.stdout, done.stdout + done.stderr
    assert "call torch.set_num_threads(1) first, or start the process with spawn" in done.stdout
