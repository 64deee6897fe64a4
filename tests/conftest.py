"""What all tests share: small data, one thread, warnings as errors (see pyproject.toml)."""

import signal

import numpy as np
import pytest
import torch

from presyn.datasets import Dataset

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heard():
    """Where tests run in the background, a shell has them, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _noisy_prototypes(dark: float) -> Dataset:
    """Ten noisy prototypes of 36 pixels, of which this share is 0."""
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, 17, (10, 36))
    y = np.arange(700) % 10
    x = np.clip(prototypes[y] + rng.integers(-3, 4, (700, 36)), 0, 16).astype(np.uint8)
    x[np.random.default_rng(1).random((10, 36))[y] < dark] = 0
    labels = y.astype(np.int64)
    return Dataset.from_arrays("digits", (x[:500], labels[:500], x[500:], labels[500:]), (16, 0.3053, 0.3760))


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """Images that are learnable in seconds, and need no download."""
    return _noisy_prototypes(0.0)


@pytest.fixture(scope="session")
def mostly_dark() -> Dataset:
    """The same with three quarters of the pixels 0, so that the lit arithmetic is the default on a core."""
    return _noisy_prototypes(0.75)
