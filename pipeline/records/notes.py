"""What stages are in MLflow, kept in the store, so that MLflow can be rebuilt from it."""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.records.store import Store


@dataclass
class Note:
    """What a stage is in MLflow; kept in the store, so that MLflow can be rebuilt from it.

    Attributes:
        experiment: The MLflow experiment, such as search, table1 or run.
        identity: The same whenever the same sweep or table is run.
        name: Of the parent run; empty for runs without a parent.
        run_ids: The children, in order.
        params, metrics: Of the parent.
        files: Artifacts of the parent, as paths.
        table: A CSV that becomes the parent's MLflow table.
        labels: Run id -> what the stage calls it, such as {"ablation": "full"}; they become tags.
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

    def save(self, store: Store) -> None:
        """Keep it in the store."""
        store.write(store.stages / f"{self.experiment}-{digest([self.identity])}.json", json.dumps(asdict(self), indent=1))


def digest(words: Iterable[str]) -> str:
    """Twelve letters that stand for these words, such as the runs of a stage."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def notes(store: Store) -> list[Note]:
    """All notes in the store; damaged ones are skipped."""
    found = []
    for path in sorted(store.stages.glob("*.json")):
        with contextlib.suppress(ValueError, TypeError):
            found.append(Note(**json.loads(path.read_text())))
    return found
