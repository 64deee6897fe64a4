"""The rows of the paper's experiments: claims rest on runs with the paper's settings, and on no others with the same labels."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.experiments.ablations.variants import PUBLISHED
from pipeline.records.csvs import refuse_twice
from pipeline.records.results import Results
from pipeline.stage import Known, Stage, refuse_labels
from presyn import Benchmark, PresynError

SEEDS, TABLE = "seeds", "table1"
"""The folder of further seeds of Table 1, and the stage whose runs these are."""
MOST_NAMED = 3
"""Settings that a message names."""


class PaperRows(Results):
    """The rows under a folder that are runs of the paper's experiments. Others are left out, which is said once for each file.

    Args:
        results: The rows under the folder.
        stages: The experiments as they are carried out without options. What a search chooses, a method's options, may be
            anything in their runs.
    """

    def __init__(self, results: Results, stages: Iterable[Stage]) -> None:
        super().__init__(results.folder)
        self._read = results._read
        self._stages = {stage.name: stage for stage in stages}
        self._expected: dict[str, _Expected] = {}
        self._said: set[Path] = set()

    def file(self, path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
        """The rows in a file that are runs of the paper's experiment.

        Raises:
            PresynError: as of `Results.file`; or a run is there twice or has a label of another run, or two are on one data set
                with different contents.
        """
        frame = super().file(path, columns)
        stage = self._stages.get(self._stage_name(path))
        if stage is None or frame.empty:
            return frame
        if set(stage.columns) <= set(frame):
            refuse_labels(stage, refuse_twice(frame, stage.columns, path), path)
        _refuse_other_data(frame, path)
        if stage.name not in self._expected:
            self._expected[stage.name] = _Expected(stage)
        expected = self._expected[stage.name]
        differences = [expected.differences(json.loads(config)) for config in frame.config]
        left_out = [difference for difference in differences if difference]
        if left_out and path not in self._said:
            self._said.add(path)
            print(
                f"presyn: {len(left_out)} of the {len(frame)} runs in {path} are not of the paper's experiment "
                f"({', '.join(left_out[0][:MOST_NAMED])}): no claim is tested on them.",
                file=sys.stderr,
            )
        return frame[[not difference for difference in differences]]

    def _stage_name(self, path: Path) -> str:
        """The stage whose runs a file holds, by its place."""
        folder = path.relative_to(self.folder).parent.as_posix()
        if folder == SEEDS or folder.startswith(f"{SEEDS}/"):
            return TABLE
        return PUBLISHED if folder.startswith("ablations") and folder.endswith("/published") else folder


class _Expected:
    """The configurations that a stage asks for, but for seeds; of one that depends on searches, those of its benchmarks."""

    def __init__(self, stage: Stage) -> None:
        values = {need.name: need.stand_in(Known()) for need in stage.needs}
        later = stage.to_come(Known())
        wishes = [*stage.ask(Known((), values)), *later]
        self._whole = not stage.needs and not later
        self._configs = {_text(self._compared(wish.run.config())): self._compared(wish.run.config()) for wish in wishes}

    def _compared(self, config: Mapping[str, Any]) -> dict[str, Any]:
        names = config.keys() - {"seed"} if self._whole else config.keys() & {*Benchmark.names(), "benchmark"}
        return {name: config[name] for name in names}

    def differences(self, config: Mapping[str, Any]) -> list[str]:
        """In what a configuration differs from the nearest of those that the stage asks for; nothing if it is one of them."""
        compared = json.loads(_text(self._compared(config)))
        if _text(compared) in self._configs or not self._configs:
            return []
        plain = [json.loads(text) for text in self._configs]
        differing = [
            [f"{k} = {compared.get(k, 'as usual')}" for k in sorted({*compared, *p}) if compared.get(k) != p.get(k)]
            for p in plain
        ]
        return min(differing, key=len)


def _text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)


def _refuse_other_data(frame: pd.DataFrame, path: Path) -> None:
    """Raise a PresynError for rows on one data set with different contents, which would mix two experiments in a verdict."""
    contents: dict[str, tuple[str, str]] = {}
    for line in frame.itertuples():
        dataset = json.loads(line.config)["dataset"]
        first = contents.setdefault(dataset, (line.data_sha256, line.run_id))
        if first[0] != line.data_sha256:
            raise PresynError(
                f"{path}: runs {first[1]} and {line.run_id} are on different images of {dataset}, which would mix two "
                "experiments in a verdict. Move one of them out of there."
            )
