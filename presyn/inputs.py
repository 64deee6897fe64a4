"""What a network sees of a minibatch, and the two products that its first layer makes of it: dense, or of lit pixels alone.

Most pixels of some images are 0: four fifths of MNIST's. An input is x = v − c, with v = scale · pixel, c = scale · offset, so

    x W = v W − c Σ_j W_j           W: weights, (pixels, outputs); of v only the pixels that are not 0, the lit ones, count
    xᵀ δ = vᵀ δ − c Σ_b δ_b         δ: gradient by the outputs, (B, outputs)

Both ways give the same numbers but for rounding. `torch.nn.functional.embedding_bag` sums over lit pixels: it adds in the order
of its entries, here for one network after the other, so the bits depend neither on the packing nor on the number of threads.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from presyn.datasets import Dataset
from presyn.errors import PresynError

ARITHMETICS = ("dense", "lit")
MOST_LIT = 0.4
"""Share of pixels that are lit up to which lit products are used on a core; docs/speed.md has the measurements."""
BYTE, MOST_BRIGHT = 8, 255  # bits of a pixel, and their largest number
PART = 4096  # images that are looked through at a time


def choose_arithmetic(data: Dataset, device: torch.device, wanted: str | None = None) -> str:
    """How first layers multiply, a word of ARITHMETICS: by the data set alone on a core, dense on a GPU.

    Args:
        data: Whose share of lit pixels decides; images of floating-point numbers are multiplied whole.
        device: Where to train.
        wanted: This one, whatever the share; lit is not to be had on a GPU or for images of floating-point numbers.

    Raises:
        PresynError: there is no such arithmetic, or not on this device or for these images.
    """
    if wanted is not None and wanted not in ARITHMETICS:
        raise PresynError(f"arithmetic must be one of {', '.join(ARITHMETICS)}, or left out, not {wanted!r}.")
    if device.type != "cpu":
        if wanted == "lit":
            raise PresynError(f"The arithmetic lit is for a CPU, not for {device}: choose device cpu, or leave arithmetic out.")
        return "dense"
    whole = data.train_x.dtype == np.uint8
    if wanted == "lit" and not whole:
        raise PresynError(
            f"The arithmetic lit is for images of whole numbers, and those of {data.name} are floating-point numbers: leave it "
            "out, or store pixels from 0 to 255 as uint8."
        )
    return wanted or ("lit" if whole and data.lit_share <= MOST_LIT else "dense")


class Inputs(ABC):
    """The inputs x of a minibatch to K·S networks, (K·S, B, pixels); S networks of a member see the same ones."""

    @abstractmethod
    def multiply(self, weights: Tensor, offsets: Tensor, out: Tensor) -> None:
        """Fill out (K·S, B, outputs) with x W + offsets; weights are (K·S, pixels, outputs), offsets (K·S, 1, outputs)."""

    @abstractmethod
    def multiply_back(self, delta: Tensor, out: Tensor, add: bool = False) -> None:
        """Fill out (K·S, pixels, outputs) with xᵀ δ, or add that to it; delta is (K·S, B, outputs)."""

    @abstractmethod
    def squared(self) -> "Inputs":
        """The same with each input squared."""

    @property
    @abstractmethod
    def batch(self) -> int:
        """Images in the minibatch, B."""


@dataclass(frozen=True)
class DenseInputs(Inputs):
    """Inputs with all their pixels.

    Attributes:
        x: (K·S, B, pixels).
    """

    x: Tensor

    def multiply(self, weights: Tensor, offsets: Tensor, out: Tensor) -> None:
        torch.baddbmm(offsets, self.x, weights, out=out)

    def multiply_back(self, delta: Tensor, out: Tensor, add: bool = False) -> None:
        if add:
            out.baddbmm_(self.x.transpose(1, 2), delta)
        else:
            torch.bmm(self.x.transpose(1, 2), delta, out=out)

    def squared(self) -> "DenseInputs":
        return DenseInputs(self.x.square())

    @property
    def batch(self) -> int:
        return self.x.shape[1]


class Bags(NamedTuple):
    """Weighted sums of rows of a matrix, one for each bag.

    Attributes:
        rows: Which rows, those of one bag after those of another, (entries,).
        values: What each is multiplied with, (entries,).
        edges: Where each bag begins, and where the last one ends, (bags + 1,).
    """

    rows: Tensor
    values: Tensor
    edges: Tensor

    def sums(self, matrix: Tensor) -> Tensor:
        """The sum of each bag, (bags, columns), for a matrix (rows, columns)."""
        return embedding_bag(
            self.rows, matrix, self.edges, mode="sum", per_sample_weights=self.values, include_last_offset=True
        )


@dataclass(frozen=True)
class LitInputs(Inputs):
    """Inputs of which only the lit pixels are kept.

    Attributes:
        images: A bag for each image, of its lit inputs; one for each member, K.
        pixels: A bag for each input, of the images in which it is lit; None where nobody asks for `multiply_back`.
        dark: The input that a pixel of 0 is, −scale · offset; the values of the bags are what others are more than that.
    """

    images: Sequence[Bags]
    pixels: Sequence[Bags] | None
    dark: float

    def multiply(self, weights: Tensor, offsets: Tensor, out: Tensor) -> None:
        networks = len(weights) // len(self.images)
        for i, (w, b, o) in enumerate(zip(weights, offsets, out, strict=True)):
            torch.add(self.images[i // networks].sums(w), b + self.dark * w.sum(dim=0), out=o)

    def multiply_back(self, delta: Tensor, out: Tensor, add: bool = False) -> None:
        assert self.pixels is not None
        networks = len(delta) // len(self.pixels)
        for i, (d, o) in enumerate(zip(delta, out, strict=True)):
            sums, dark = self.pixels[i // networks].sums(d), self.dark * d.sum(dim=0)
            if add:
                o.add_(sums.add_(dark))
            else:
                torch.add(sums, dark, out=o)

    def squared(self) -> "LitInputs":
        # (v + dark)² is (v + dark)² − dark² more than dark².
        def square(bags: Bags) -> Bags:
            return bags._replace(values=(bags.values + self.dark).square() - self.dark**2)

        pixels = None if self.pixels is None else [square(bags) for bags in self.pixels]
        return LitInputs([square(bags) for bags in self.images], pixels, self.dark**2)

    @property
    def batch(self) -> int:
        return len(self.images[0].edges) - 1


def make_inputs(x: Tensor, image: Tensor, pixel: Tensor | None, scale: float, offset: float) -> Tensor:
    """Network inputs (K, B, pixels) from pixels x (N, pixels): rows image (K, B), columns pixel (K, 1 or B, pixels)."""
    raw = x[image] if pixel is None else x[image[..., None], pixel]
    return (raw.float() - offset) * scale


@dataclass(frozen=True)
class DenseImages:
    """Images with all their pixels, on the device.

    Attributes:
        x: uint8 or float32, (N, pixels).
        scale, offset: Pixels to inputs, as of a `Dataset`.
    """

    x: Tensor
    scale: float
    offset: float

    @staticmethod
    def tabulate(permutations: Tensor) -> Tensor:
        """What `index` looks up: which pixel each input is."""
        return permutations

    def index(self, permutations: Tensor, tasks: Tensor | int) -> Tensor:
        """Which pixel each input is, as `inputs` takes it: (K, 1, pixels) for one task, (K, B, pixels) for tasks (K, B).

        Args:
            permutations: Input j of a task is pixel permutations[k, task, j], (K, tasks, pixels).
            tasks: The task of all images, or of each.
        """
        if isinstance(tasks, int):
            return permutations[:, tasks, None]
        return permutations[torch.arange(len(tasks), device=tasks.device)[:, None], tasks]

    def inputs(self, rows: Tensor, index: Tensor | None, networks: int = 1, back: bool = False) -> DenseInputs:
        """The inputs of images rows (K, B) to so many networks of each member; index is None for pixels as stored."""
        x = make_inputs(self.x, rows, index, self.scale, self.offset)
        return DenseInputs(x if networks == 1 else x.repeat_interleave(networks, dim=0))


class Places(NamedTuple):
    """Which input each pixel of an image is: number first + pixel of a table.

    Attributes:
        table: For each member the inputs of all tasks, (K, tasks · pixels).
        first: Where the task of an image begins: one number, or one for each image, (K, B) or (S, K, B).
    """

    table: Tensor
    first: Tensor | int


class LitImages:
    """Images of which only the lit pixels are kept, each with its brightness in one word.

    Args:
        x: uint8, (N, pixels).
        scale, offset: Pixels to inputs, as of a `Dataset`.
    """

    def __init__(self, x: np.ndarray, scale: float, offset: float) -> None:
        self.n_pixels, self.scale, self.offset, self.dark = x.shape[1], scale, offset, -scale * offset
        self._counts = np.count_nonzero(x, axis=1)  # lit pixels of each image
        self._starts = np.cumsum(self._counts) - self._counts
        dtype = _integers(self.n_pixels << BYTE)
        parts = [x[i : i + PART] for i in range(0, len(x), PART)]  # so that no large array of 64-bit indices is made
        self._position_type = _integers(int(self._counts.sum()))
        self._words = torch.from_numpy(np.concatenate([np.nonzero(p)[1].astype(dtype) << BYTE | p[p != 0] for p in parts]))

    @staticmethod
    def tabulate(permutations: Tensor) -> Tensor:
        """What `index` looks up: which input each pixel is, of permutations that say which pixel each input is."""
        return permutations.argsort(dim=-1).to(torch.int32)

    def index(self, table: Tensor, tasks: Tensor | int) -> Places:
        """Which input each pixel is, as `inputs` takes it; tasks are one for all images, (K, B) or (S, K, B)."""
        return Places(table.flatten(1), tasks * self.n_pixels)

    def inputs(self, rows: Tensor, index: Places | None, networks: int = 1, back: bool = False) -> LitInputs:
        """The inputs of images rows (K, B) to the networks of each member, however many; index is None for pixels as stored.

        With back they are made so that `multiply_back` can be called.
        """
        if index is not None and isinstance(index.first, Tensor):
            index = index._replace(first=index.first[None])
        return self.minibatches(rows[None], index, back)[0]

    def minibatches(self, rows: Tensor, index: Places | None, back: bool = True) -> list[LitInputs]:
        """The inputs of several minibatches, rows (S, K, B); arguments as of `inputs`."""
        by_member = []
        for k in range(rows.shape[1]):
            table, first = (None, 0) if index is None else (index.table[k], index.first)
            by_member.append(self._bags(rows[:, k], table, first[:, k] if isinstance(first, Tensor) else first, back))
        minibatches = zip(*by_member, strict=True)
        return [LitInputs([i for i, _ in bags], [p for _, p in bags if p is not None], self.dark) for bags in minibatches]

    def _bags(self, rows: Tensor, table: Tensor | None, first: Tensor | int, back: bool) -> list[tuple[Bags, Bags | None]]:
        """The bags of one member's images rows (S, B) for each minibatch: by image and, with back, by input."""
        steps, batch = rows.shape
        images = rows.flatten().numpy()
        counts = self._counts[images]
        edges = np.zeros(len(images) + 1, np.int64)
        np.cumsum(counts, out=edges[1:])
        position = np.repeat((self._starts[images] - edges[:-1]).astype(self._position_type), counts)
        position += np.arange(len(position), dtype=position.dtype)
        words = self._words.index_select(0, torch.from_numpy(position)).numpy()
        place = self._find_places(words >> BYTE, counts, table, first)
        brightness = words & MOST_BRIGHT
        bounds = edges[::batch].tolist()
        cuts = [slice(*cut) for cut in pairwise(bounds)]
        edges_by_step = edges[np.arange(steps)[:, None] * batch + np.arange(batch + 1)] - edges[:-1:batch, None]
        by_image = self._cut(place, brightness, torch.from_numpy(edges_by_step).to(place.dtype), cuts)
        by_input = self._sort(place, brightness, counts, cuts, batch) if back else [None] * steps
        return list(zip(by_image, by_input, strict=True))

    def _find_places(self, pixel: np.ndarray, counts: np.ndarray, table: Tensor | None, first: Tensor | int) -> Tensor:
        """The input that each lit pixel is, (entries,), image after image, of each of which so many are lit."""
        if table is None:
            return torch.from_numpy(pixel)
        if isinstance(first, int):
            return table[first : first + self.n_pixels].index_select(0, torch.from_numpy(pixel))
        return table.index_select(0, torch.from_numpy(pixel + np.repeat(first.flatten().numpy(), counts)))

    def _sort(self, place: Tensor, brightness: np.ndarray, counts: np.ndarray, cuts: list[slice], batch: int) -> list[Bags]:
        """The bags of each input of minibatches, by sorting words made of input, image and brightness.

        Args:
            place: The input that each lit pixel is, (entries,).
            brightness: Of each.
            counts: Lit pixels of each image, (S · B,).
            cuts: The lit pixels of each minibatch.
            batch: Images in a minibatch, B.
        """
        shift = BYTE + max(1, (batch - 1).bit_length())
        dtype = _integers(self.n_pixels << shift)
        words = np.repeat(np.tile(np.arange(batch, dtype=dtype) << BYTE, len(cuts)), counts)
        words |= brightness
        words |= place.numpy().astype(dtype, copy=False) << shift
        edges = torch.zeros(len(cuts), self.n_pixels + 1, dtype=torch.from_numpy(words).dtype)
        for i, cut in enumerate(cuts):
            words[cut].sort()
            edges[i, 1:] = torch.bincount(place[cut], minlength=self.n_pixels)
        image = (words >> BYTE) & ((1 << shift - BYTE) - 1)
        return self._cut(torch.from_numpy(image), words & MOST_BRIGHT, edges.cumsum_(dim=1), cuts)

    def _cut(self, rows: Tensor, brightness: np.ndarray, edges: Tensor, cuts: list[slice]) -> list[Bags]:
        """The bags of each minibatch; edges are (S, bags + 1)."""
        values = torch.from_numpy(brightness.astype(np.float32) * np.float32(self.scale))
        return [Bags(rows[cut], values[cut], e) for cut, e in zip(cuts, edges, strict=True)]


def _integers(most: int) -> type:
    """The type of whole numbers below a limit."""
    return np.int32 if most < 1 << 31 else np.int64
