"""Bayesian gradient descent from the start that its authors' code has: Xavier normal weights and biases.

python results/baselines/xavier_bgd.py SEED TASKS [FIELD=VALUE ...]

Everything else is as in `presyn run --method bgd --benchmark permuted-mnist --seeds SEED --set tasks=TASKS ...`.
"""

import sys
from itertools import pairwise

import torch

from pipeline.run import parse_settings
from presyn import Cohort, load, make_run


def xavier(sizes, seed):
    """Weights N(0, 2 / (inputs + outputs)) and biases N(0, 2 / (1 + outputs)), as flat rows of one network."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(1, a * b, generator=generator) * (2 / (a + b)) ** 0.5 for a, b in pairwise(sizes)]
    biases = [torch.randn(1, b, generator=generator) * (2 / (1 + b)) ** 0.5 for b in sizes[1:]]
    return torch.cat(weights, dim=1), torch.cat(biases, dim=1)


def main(seed, tasks, settings):
    torch.set_num_threads(1)
    run = make_run("bgd", "permuted-mnist", seed, {"tasks": tasks, **settings})
    cohort = Cohort([run], load(run.benchmark.dataset), torch.device("cpu"))
    cohort.state = cohort.method.start(*xavier(cohort.network.sizes, seed))
    while not cohort.done:
        cohort.train_part()
        record = cohort.records[0]
        print([None if a is None else round(a, 4) for a in record.accuracy[-1]], record.figures["mean_sigma"][-1], flush=True)
    print(f"mean accuracy {record.mean_accuracy:.4f}, forgetting {record.forgetting:.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), parse_settings(sys.argv[3:]))
