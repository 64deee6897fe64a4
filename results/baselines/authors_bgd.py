"""Bayesian gradient descent as in the logs that the paper's first author published (github.com/smonsays/bgd).

python results/baselines/authors_bgd.py SEED padded|unit|normalised [FIELD=VALUE ...]

A run without FIELD=VALUE adds a line to authors_bgd.csv beside this file: its accuracies on all tasks after each, and the mean
of sigma.

Three things differ from `presyn run --method bgd --benchmark permuted-mnist --seeds SEED --set FIELD=VALUE ...`: weights and
biases start Xavier normal; the first task's pixels are not permuted; and the inputs, which there are `padded` (images of
32 × 32 pixels, normalised) or `unit` (784 pixels in [0, 1]), and `normalised` as everywhere else in presyn.
"""

import csv
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from pipeline.cli.options import parse_settings
from presyn import Cohort, Dataset, load, make_run


class Padded(Dataset):
    """MNIST in a frame of two pixels; mean and deviation are those of the method's authors' code."""

    scale, offset = 1 / (255 * 0.2752), 255 * 0.1

    @classmethod
    def of(cls, data):
        train_x, test_x = (
            np.pad(x.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2))).reshape(-1, 1024) for x in (data.train_x, data.test_x)
        )
        return cls(**{**vars(data), "train_x": train_x, "test_x": test_x})


def xavier(sizes, seed):
    """Weights N(0, 2 / (inputs + outputs)) and biases N(0, 2 / (1 + outputs)), as flat rows of one network."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(1, a * b, generator=generator) * (2 / (a + b)) ** 0.5 for a, b in pairwise(sizes)]
    biases = [torch.randn(1, b, generator=generator) * (2 / (1 + b)) ** 0.5 for b in sizes[1:]]
    return torch.cat(weights, dim=1), torch.cat(biases, dim=1)


def main(seed, kind, settings):
    torch.set_num_threads(1)
    run = make_run("bgd", "permuted-mnist", seed, {"dataset": "mnist-unit" if kind == "unit" else "mnist", **settings})
    data = load(run.benchmark.dataset)
    cohort = Cohort([run], Padded.of(data) if kind == "padded" else data, torch.device("cpu"))
    cohort.minibatches.permutations[:, 0] = torch.arange(cohort.minibatches.pixels)
    cohort.state = cohort.method.start(*xavier(cohort.network.sizes, seed))
    while not cohort.done:
        cohort.train_segment()
        record = cohort.records[0]
        print(f"after task {len(record.accuracy)}: {[a and round(a, 4) for a in record.accuracy[-1]]}", flush=True)
    print(f"mean accuracy {record.mean_accuracy:.4f}")
    if not settings:
        accuracy = [[a and round(a, 4) for a in tested] for tested in record.accuracy]
        line = [seed, kind, round(record.mean_accuracy, 4), json.dumps(accuracy), json.dumps(record.figures["mean_sigma"])]
        with Path(__file__).with_suffix(".csv").open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(line)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], parse_settings(sys.argv[3:]))
