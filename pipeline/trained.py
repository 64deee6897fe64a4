"""Trained networks as PyTorch modules, from the states that runs were asked to keep (`keep=true`)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.records.find import find_row
from pipeline.records.row import Row
from pipeline.workspace import open_store
from presyn import Benchmark, PresynError, Run, choose_device, make_cohort
from presyn.code_digest import digest_method, is_known
from presyn.inputs import DenseImages
from presyn.methods import METHODS, PERCEPTRONS, method_class
from presyn.random_numbers import Purpose, keys
from presyn.runs import identify


class TrainedNetwork(torch.nn.Module):
    """A network as it was at the end of its run; made by `trained`.

    Attributes:
        row: The run: its configuration, where it was trained, and what came out.
        state: What the method keeps of it, such as weights, biases and p, each with a first dimension of 1. The weights are
            flat; `layers` gives them by layer.
    """

    def __init__(self, row: Row, run: Run, state: dict[str, Tensor], data: Any, device: torch.device) -> None:
        super().__init__()
        self.row = row
        saved = {"run": identify(run.config(), data.sha256), "record": row.record.as_dict(), "state": state}
        self._cohort = make_cohort([run], data, device, [saved], arithmetic="dense")
        self.state = self._cohort.state
        self._draws = 0

    def forward(self, images: Any, task: int | None = None, sampled: bool = True) -> Tensor:
        """The logits of some images, (N, classes).

        Args:
            images: Pixels as they are stored, from 0 to the largest (255 of MNIST), (N, pixels) or (N, height, width).
            task: The task, counted from 0, whose permutation of the pixels is applied; for permuted benchmarks alone.
            sampled: Whether synapses release at random, as in a test; every call draws anew. Else each transmits its mean.

        Raises:
            PresynError: images of another size, or no task where pixels are permuted.
        """
        pixels = torch.as_tensor(images, device=self._cohort.device)
        m = self._cohort.minibatches
        if pixels.ndim < 2 or pixels[:1].numel() != m.pixels and len(pixels):
            raise PresynError(f"The network takes images of {m.pixels} pixels, (N, {m.pixels}), not {tuple(pixels.shape)}.")
        pixels = pixels.flatten(1)
        images = DenseImages(pixels, m.test.scale, m.test.offset)
        x = images.inputs(torch.arange(len(pixels), device=pixels.device)[None], self._pixel_index(task))
        weights, biases = self._sample() if sampled else self._mean()
        return self._cohort.network.forward(weights, biases, x)[0]

    def layers(self, sampled: bool = False) -> list[Tensor]:
        """The weight matrices, (inputs, outputs) of each layer: what synapses transmit on average, or a draw of it."""
        weights, _ = self._sample() if sampled else self._mean()
        return [layer[0] for layer in self._cohort.network.layers(weights)]

    def _pixel_index(self, task: int | None) -> Tensor | None:
        benchmark = self._cohort.benchmark
        if not benchmark.permuted:
            return None
        if task is None or not 0 <= task < benchmark.tasks:
            raise PresynError(f"{benchmark.name} permutes the pixels of each task: say which, task=0 to {benchmark.tasks - 1}.")
        return self._cohort.minibatches.pixel_index(task)

    def _sample(self) -> tuple[Tensor, Tensor]:
        """Weights (1, n_weights) and biases (1, n_biases) of the next sampled network."""
        key = keys([self.row.config["seed"]], Purpose.MEASURE, self._draws).to(self._cohort.device)
        self._draws += 1
        weights, biases = self._cohort.method.transmit(self.state, key)
        return weights[:1], biases[:1]  # of a method that gives several at once, the first

    def _mean(self) -> tuple[Tensor, Tensor]:
        return self._cohort.method.mean_weights(self.state), self.state["biases"]


def trained(
    run_id: str,
    store: str | None = None,
    data: str | None = None,
    source: str | None = None,
    device: str | None = "cpu",
) -> TrainedNetwork:
    """The network of a run whose final state was kept (`presyn run … --set keep=true`).

    Args:
        run_id: The id of the run, or the first letters of it.
        store: The folder of the store; by default $PRESYN_STORE, else .presyn.
        data: The folder of the data sets; by default $PRESYN_DATA, else a cache folder.
        source: For a benchmark on images of one's own: where they are now, if not where they were when the run was trained.
        device: Where it computes; None takes a GPU if there is one.

    Raises:
        PresynError: there is no such run, its state was not kept, its images are not there or are others, or its method was
            trained with other code than is loaded.
    """
    opened = open_store(store, write=False)
    row = find_row(run_id, opened)
    run = _run_of(row, source or row.provenance.get("source"))
    _refuse_other_code(row)
    state = opened.session_checkpoints().kept_state(row.run_id)
    if state is None:
        raise PresynError(
            f"The final state of run {row.run_id} was not kept, or is damaged. `presyn show {row.run_id}` prints the command "
            "that repeats it: give that once more with keep=true among its settings."
        )
    images = run.benchmark.load(data)
    if images.sha256 != row.provenance["data_sha256"]:
        raise PresynError(f"{row.config['dataset']} is not what run {row.run_id} was trained on: its images have another hash.")
    return TrainedNetwork(row, run, state, images, choose_device(device))


def _refuse_other_code(row: Row) -> None:
    """Raise a PresynError where the code of a method that is loaded may make another network of a state than was trained."""
    method, code = row.config["method"], row.provenance.get("code")
    loaded_code = digest_method(method)
    if code != loaded_code and not (is_known(method, code) and is_known(method, loaded_code)):
        raise PresynError(
            f"Run {row.run_id} was trained with other code of {method} ({code}) than is loaded ({loaded_code}): load that "
            "code, or train the run again."
        )


def _run_of(row: Row, source: str | None) -> Run:
    """The run of a row, with the place of its images if they are somebody's own."""
    config = row.config
    if config["method"] in PERCEPTRONS:
        raise PresynError(f"Run {row.run_id} is of a perceptron, which takes random patterns and no images.")
    if config["method"] not in METHODS:
        raise PresynError(
            f"Run {row.run_id} is of the method {config['method']}, which is not known here: import the file that has it first."
        )
    if source is None:
        return row.run()
    tasks = {k: v for k, v in config.items() if k in Benchmark.names()}
    benchmark = Benchmark.build({**tasks, "name": config["benchmark"], "source": str(Path(source).absolute())})
    kind = method_class(config["method"]).Options
    options = kind.build({k: v for k, v in config.items() if k in kind.names()})
    return Run(config["method"], options, benchmark, config["seed"])
