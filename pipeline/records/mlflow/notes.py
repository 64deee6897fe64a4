"""What stages are in MLflow, kept in the store, so that MLflow can be rebuilt from it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline.records.store import Store
from sweeps.files import set_aside


@dataclass
class Note:
    """What a stage is in MLflow.

    Attributes:
        experiment: The MLflow experiment, such as search, table1 or run.
        identity: The same whenever the same sweep or table is run.
        name: Of the parent run; empty for runs without a parent.
        run_ids: The children, in order.
        params: Of the parent, such as the best ones of a search; there they are tags.
        metrics: Of the parent.
        files: Artifacts of the parent, as paths.
        table: A CSV that becomes the parent's MLflow table.
        labels: Run id -> the labels that the stage gives it, such as {"ablation": "full"}; they become tags.
        command: The words that carry it out again, without passwords; empty of one that was not asked for by a command.
        folder: Where its rows and tables are.
        failed: Why nothing came of it; empty as long as it has not failed.
        steps: How far a stage that asks again has come: a message, and metrics, for each step.
        about: What it is, for the page of its experiment.
        columns: What tells its runs apart, in order: labels, or method, benchmark and seed.
        searched: Parameters that a search draws.
        objective: The metric by which runs are compared; empty in notes of earlier versions (see `content.complete`).
        minimize: Whether less of it is better.
        winner: The id of the run that a search chose; empty as long as there is none.
        segments: Run id -> segments of its training, of runs that were to be trained; `presyn status` counts by them.
    """

    experiment: str
    identity: str
    name: str = ""
    run_ids: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    table: str | None = None
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    command: str = ""
    folder: str = ""
    failed: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    about: str = ""
    columns: list[str] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)
    objective: str = ""
    minimize: bool = False
    winner: str = ""
    segments: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises TypeError for values of other types than these, as a damaged file may hold."""
        kinds: dict[str, type] = {
            "run_ids": list, "params": dict, "metrics": dict, "files": list, "labels": dict, "columns": list, "searched": list,
            "minimize": bool, "steps": list, "segments": dict,
        }  # fmt: skip
        for name in (f.name for f in fields(self) if f.name != "table"):
            if not isinstance(getattr(self, name), kinds.get(name, str)):
                raise TypeError(f"{name} is not what it should be")
        texts = [*self.run_ids, *self.files, *self.labels, *self.columns, *self.searched]
        texts += [] if self.table is None else [self.table]
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(v, dict) for v in self.labels.values()):
            raise TypeError("it holds other things than text")
        if not all(isinstance(step, dict) and isinstance(step.get("message"), str) for step in self.steps):
            raise TypeError("its steps are not what they should be")
        measured = [v for step in self.steps for k, v in step.items() if k != "message"]
        if not all(isinstance(v, int | float) for v in (*self.metrics.values(), *measured)):
            raise TypeError("it has metrics that are no numbers")

    @property
    def part(self) -> str:
        """The part of its experiment that it is, whatever runs it asked for, such as search/presynaptic-permuted-mnist."""
        return self.identity.rpartition("/")[0] or self.identity

    def path(self, store: Store) -> Path:
        """Its file in a store."""
        return store.stages / f"{self.experiment.replace('/', '-')}-{digest_words([self.identity])}.json"

    def save(self, store: Store) -> None:
        """Keep it in the store."""
        store.write(self.path(store), json.dumps(asdict(self), indent=1))


def digest_words(words: Iterable[str]) -> str:
    """Twelve letters that stand for these words, such as the ids of the runs of a stage."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def note_identity(experiment: str, stage: str, first: Sequence[str], notes: Iterable[Note]) -> str:
    """The identity of a stage's note, by the runs that it asks for first.

    Earlier versions put the same runs in another order, and so gave the stage another identity. A note that holds just these
    runs is that of the same stage, whose parent in MLflow goes on.

    Args:
        experiment: The MLflow experiment.
        stage: What tells the stage from others, besides its runs.
        first: Ids of the runs.
        notes: All notes of the store.
    """
    identity = f"{stage}/{digest_words(first)}"
    earlier = [note for note in notes if note.experiment == experiment and note.name]
    same_runs = [note.identity for note in earlier if set(note.run_ids) == set(first) and note.identity.startswith(f"{stage}/")]
    return identity if not same_runs or any(note.identity == identity for note in earlier) else same_runs[0]


def read_notes(store: Store) -> list[Note]:
    """All notes in the store; damaged ones are set aside, and said: the stage's command writes them again."""
    notes = []
    for path in sorted(store.stages.glob("*.json")):
        try:
            notes.append(Note(**json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError, RecursionError):
            was = ", a note of what a stage is in MLflow, was damaged"
            set_aside(path, was, ", and the command of that stage writes it again.")
    return notes
