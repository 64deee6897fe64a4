"""The search of accuracy and energy whose front the page shows."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from pipeline.experiments.search.pictures import draw_front
from pipeline.experiments.search.stage import Search, search
from pipeline.records.results import Results
from pipeline.stage import Figure, Known, Made
from sweeps.space import Space


class FrontSearch(Search):
    """A search of two objectives with a figure of their front."""

    figures = {
        "front": Figure(
            "Ours",
            "Accuracy on validation data against energy, on MNIST after two epochs: the trials of one search by both, "
            "and those of which no other has more accuracy for as little energy",
        )
    }

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        return replace(super().make(frame, known), figures=self.remake(frame).figures)

    def remake(self, frame: pd.DataFrame, results: Results | None = None) -> Made:
        table = frame.assign(front=on_front(frame, self.space))
        return Made(figures={"front": draw_front(table, self.space)})


def on_front(frame: pd.DataFrame, space: Space) -> list[bool]:
    """Whether each row finished and no other row is better in one objective and as good in the rest."""
    signs = [1 if d == "maximize" else -1 for d in space.directions]
    values = frame[list(space.objectives)] * signs
    finished = frame.status == "finished"

    def is_beaten(i: int) -> bool:
        others = values[finished & (frame.index != frame.index[i])]
        as_good, better = (others >= values.iloc[i]).all(axis=1), (others > values.iloc[i]).any(axis=1)
        return bool((as_good & better).any())

    return [bool(finished.iloc[i]) and not is_beaten(i) for i in range(len(frame))]


def front_search(space: Space, manifests: Path | None = None) -> FrontSearch:
    """The search of a space with two objectives."""
    made = search(space, manifests)
    return FrontSearch(made.space, made.draw)
