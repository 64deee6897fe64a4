"""What stages are in MLflow, kept in the store, so that MLflow can be rebuilt from it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
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
        params, metrics: Of the parent.
        files: Artifacts of the parent, as paths.
        table: A CSV that becomes the parent's MLflow table.
        labels: Run id -> the labels that the stage gives it, such as {"ablation": "full"}; they become tags.
        command: The words that carry it out again, without passwords; empty of one that was not asked for by a command.
        folder: Where its rows and tables are.
        failed: Why nothing came of it; empty as long as it has not failed.
        steps: How far a stage that asks again has come: a message, and metrics, for each step.
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

    def __post_init__(self) -> None:
        """Raises TypeError for values of other types than these, as a damaged file may hold."""
        kinds = {"run_ids": list, "params": dict, "metrics": dict, "files": list, "labels": dict, "steps": list}
        for name in (f.name for f in fields(self) if f.name != "table"):
            if not isinstance(getattr(self, name), kinds.get(name, str)):
                raise TypeError(f"{name} is not what it should be")
        texts = [*self.run_ids, *self.files, *self.labels, *([] if self.table is None else [self.table])]
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(v, dict) for v in self.labels.values()):
            raise TypeError("it holds other things than text")
        if not all(isinstance(step, dict) and isinstance(step.get("message"), str) for step in self.steps):
            raise TypeError("its steps are not what they should be")
        measured = [v for step in self.steps for k, v in step.items() if k != "message"]
        if not all(isinstance(v, int | float) for v in (*self.metrics.values(), *measured)):
            raise TypeError("it has metrics that are no numbers")

    def save(self, store: Store) -> None:
        """Keep it in the store."""
        path = store.stages / f"{self.experiment}-{digest_words([self.identity])}.json"
        store.write(path, json.dumps(asdict(self), indent=1))


def digest_words(words: Iterable[str]) -> str:
    """Twelve letters that stand for these words, such as the ids of the runs of a stage."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


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
