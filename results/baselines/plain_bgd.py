"""Bayesian gradient descent by a plain autograd loop, beside the cohort's: two tasks of Permuted MNIST, σ0 = 0.05, η = 1.

python results/baselines/plain_bgd.py SEED own|presyn [EPOCHS]

`own` takes permutations, order, initial weights and noise from torch's generator; `presyn` takes those of a run of that seed,
which `presyn run --method bgd --benchmark permuted-mnist --set tasks=2 --seeds SEED` must then equal but for rounding.
"""

import sys
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from presyn import Cohort, load, make_run
from presyn.inputs import make_inputs
from presyn.random_numbers import Purpose, keys, normal, quantiles

DRAWS, BATCH, ETA, SIGMA0, SIZES = 10, 128, 1.0, 0.05, (784, 200, 200, 10)
SHAPES = [s for a, b in pairwise(SIZES) for s in ((a, b), (1, b))]  # weights and biases in turn


def forward(theta, x):
    for k in range(0, len(theta), 2):
        x = torch.baddbmm(theta[k + 1], x, theta[k])
        x = x.relu() if k < len(theta) - 2 else x
    return x


def split(flat, which):
    """Rows of weights (which = 0) or biases (1) as layers."""
    shapes = SHAPES[which::2]
    return [t.view(-1, *s) for t, s in zip(flat.split([a * b for a, b in shapes], dim=1), shapes, strict=True)]


def noise(seed, step, own):
    if own:
        return [torch.randn(DRAWS, *s) for s in SHAPES]
    key, n, m = keys([seed], Purpose.RELEASE, step), *(sum(a * b for a, b in SHAPES[i::2]) for i in (0, 1))
    table = quantiles(torch.device("cpu"))
    weights, biases = normal(key, DRAWS * n, table), normal(key, DRAWS * m, table, first=DRAWS * n)
    return [t for pair in zip(split(weights.view(DRAWS, n), 0), split(biases.view(DRAWS, m), 1), strict=True) for t in pair]


def main(seed, own, epochs):
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    run = make_run("bgd", "permuted-mnist", seed, {"tasks": 2})
    cohort = Cohort([run], load("mnist"), torch.device("cpu"), arithmetic="dense")
    s = cohort.minibatches
    weights, biases = cohort.network.initial([seed], torch.device("cpu"))
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(SIZES)]
    theirs = [t[0] for pair in zip(split(weights, 0), split(biases, 1), strict=True) for t in pair]
    ours = [t.detach() for layer in layers for t in (layer.weight.t(), layer.bias[None])]
    mu = [t.clone() for t in (ours if own else theirs)]
    sigma = [torch.full_like(m, SIGMA0) for m in mu]
    pixels = [torch.randperm(784) if own else s.permutations[0, t] for t in range(2)]

    def images(x, rows, task):
        return make_inputs(x, rows[None], pixels[task][None, None], s.train.scale, s.train.offset)[0].expand(DRAWS, -1, -1)

    step = 0
    for task in range(2):
        for epoch in range(epochs):
            order = torch.randperm(60000) if own else s.order(task, epoch).images[:, 0].flatten()
            for rows in order.split(BATCH)[: 60000 // BATCH]:
                epsilon = noise(seed, step, own)
                theta = [(m + w * e).requires_grad_() for m, w, e in zip(mu, sigma, epsilon, strict=True)]
                logits = forward(theta, images(s.train.x, rows, task))
                loss = cross_entropy(logits.flatten(0, 1), s.train_y[rows].repeat(DRAWS), reduction="sum")
                for m, w, e, g in zip(mu, sigma, epsilon, torch.autograd.grad(loss, theta), strict=True):
                    half = w * (g * e).mean(0) / 2
                    m -= ETA * w**2 * g.mean(0)
                    w.copy_(w * torch.sqrt(1 + half**2) - w * half)
                step += 1
        found = []
        for tested in range(task + 1):
            right = 0.0
            for rows in torch.arange(10000).split(500):
                theta = [m + w * torch.randn(DRAWS, *m.shape) for m, w in zip(mu, sigma, strict=True)]
                guess = forward(theta, images(s.test.x, rows, tested)).argmax(-1)
                right += float((guess == s.test_y[rows]).float().mean()) / 20
            found.append(round(right, 4))
        mean_sigma = np.mean(torch.cat([w.flatten() for w in sigma[::2]]).tolist())
        print(f"seed {seed}, task {task + 1}: accuracy {found}, mean sigma {mean_sigma:.5f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "own", int(sys.argv[3]) if len(sys.argv) > 3 else 10)
