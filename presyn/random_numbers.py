"""Keyed random numbers: every number is a function of (seed, purpose, counters, index), never of shared state.

So a run sees the same release masks, data order, permutations and initial weights on every device, alone or in a
cohort, before and after a resume. A *key* is a pair of 32-bit words hashed from the seed, the purpose and the counters;
the numbers of a key are hashed from it and their index by integer arithmetic alone, which is exact everywhere.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache

import numpy as np
import torch
from torch import Tensor

from presyn.errors import PresynError


class Purpose(IntEnum):
    """What random numbers are for; those of different purposes are independent."""

    WEIGHTS = 1
    BIASES = 2
    PERMUTATION = 3
    ORDER = 4
    MIXTURE = 5
    RELEASE = 6
    TEST_RELEASE = 7
    HOLD_OUT = 8
    FISHER = 9
    INITIAL_P = 10
    MEASURE = 11
    LESION = 12
    PATTERNS = 13


def _mix64(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): a bijection of 64-bit words in which every bit counts."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def keys(seeds: Sequence[int], purpose: Purpose, *counters: int | np.ndarray) -> Tensor:
    """Hash (seed, purpose, counters) into keys.

    Args:
        seeds: One non-negative whole number for each of the K members.
        purpose: What the numbers are for.
        counters: Whole numbers, or one array of S of them (a key for each), such as steps.

    Returns:
        int32, (K, 2), or (S, K, 2) if a counter is an array. Always on the CPU.
    """
    gamma = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):  # wrapping is the point
        state = _mix64(np.asarray(seeds, dtype=np.uint64) + gamma)
        for value in (int(purpose), *counters):
            word = np.asarray(value, dtype=np.uint64)
            state = _mix64(state ^ _mix64(word[..., None] + gamma) if word.ndim else state ^ _mix64(word.reshape(1) + gamma))
    halves = np.stack([state >> np.uint64(32), state & np.uint64(0xFFFFFFFF)], axis=-1)
    return torch.from_numpy(halves.astype(np.uint32).view(np.int32))


def _mix32(x: Tensor) -> Tensor:
    """A full mix of int32 words: `lowbias32` of C. Wellons' hash-prospector; the masks make the shifts logical."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * (0x846CA68B - (1 << 32))
    return x ^ ((x >> 16) & 0xFFFF)


def bits(key: Tensor, n: int, first: int = 0) -> Tensor:
    """Random words number first … first + n - 1 of a key: key (K, 2) int32 -> (K, n) int32."""
    index = torch.arange(first, first + n, dtype=torch.int32, device=key.device)
    # One full mix, or keys that are not hashed, gives frequencies that look right but are under-dispersed.
    return _mix32(_mix32(index ^ key[:, :1]) ^ key[:, 1:])


def uniform(key: Tensor, n: int) -> Tensor:
    """Uniform numbers in [0, 1), multiples of 2^-24: key (K, 2) int32 -> (K, n) float32."""
    return (bits(key, n) & 0xFFFFFF).float() * (1.0 / (1 << 24))


@cache
def quantiles(device: torch.device) -> Tensor:
    """The 2^16 equally likely values of a standard normal variable, midpoints scaled to a variance of 1, up to ±4.3."""
    middle = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    values = torch.special.ndtri(middle)
    return (values / values.square().mean().sqrt()).float().to(device)


def normal(key: Tensor, n: int, table: Tensor, first: int = 0) -> Tensor:
    """Standard normal numbers, looked up in `quantiles`: key (K, 2) int32 -> (K, n) float32, numbers first … first + n - 1.

    A table, because logarithms and cosines are not the same bits everywhere.
    """
    return table[bits(key, n, first) & 0xFFFF]


def permutation(key: Tensor, n: int) -> Tensor:
    """A random order of 0 … n-1: key (K, 2) int32 -> (K, n) int64.

    Raises:
        PresynError: n is more than 2^20, so that an index would not fit beside the random word.
    """
    if n > 1 << 20:
        raise PresynError(f"At most {1 << 20:,} images or pixels can be shuffled, not {n:,}: make them fewer.")
    word = bits(key, n).long() & 0xFFFFFFFF
    index = torch.arange(n, device=key.device)
    # The index in the low bits makes the sorted values unique, so every device sorts them alike.
    return ((word << 20) | index).sort(dim=1).values & 0xFFFFF
