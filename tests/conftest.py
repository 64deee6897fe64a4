"""What all tests share: small data, one thread, warnings as errors (see pyproject.toml)."""

import numpy as np
import pytest
import torch

from presyn.datasets import Dataset

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """Ten noisy prototypes of 36 pixels: learnable in seconds, and needs no download."""
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, 17, (10, 36))
    y = np.arange(700) % 10
    x = np.clip(prototypes[y] + rng.integers(-3, 4, (700, 36)), 0, 16).astype(np.uint8)
    labels = y.astype(np.int64)
    return Dataset.from_arrays("digits", (x[:500], labels[:500], x[500:], labels[500:]), (16, 0.3053, 0.3760))
