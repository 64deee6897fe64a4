"""The Optuna study of a finished search, for Optuna's own tools; a projection of its rows."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import optuna

from presyn import Record
from sweeps.files import set_aside, sqlite_address
from sweeps.manifest import Trial
from sweeps.space import Space

SPACE = "space"
"""The attribute of a study that tells spaces of one name apart."""
STATES = {
    "finished": optuna.trial.TrialState.COMPLETE,
    "dropped": optuna.trial.TrialState.PRUNED,
    "diverged": optuna.trial.TrialState.FAIL,
}


def make_study(
    space: Space, trials: Sequence[Trial], records: Sequence[Record], values: Sequence[float | None]
) -> optuna.Study:
    """A study in memory: finished = COMPLETE, dropped = PRUNED, diverged = FAIL.

    Args:
        space: What was searched.
        trials: Its trials.
        records: What training gave of each of them, in order.
        values: The objective of each of them.
    """
    study = optuna.create_study(study_name=space.name, direction=space.direction)
    identity = json.dumps(space.identity(), sort_keys=True, default=str)
    study.set_user_attr(SPACE, hashlib.sha256(identity.encode()).hexdigest()[:12])
    for trial, record, value in zip(trials, records, values, strict=True):
        first = record.accuracy[0][0] if record.accuracy else None
        study.add_trial(
            optuna.trial.FrozenTrial(
                number=trial.number,
                trial_id=-1,  # the study gives it one
                state=STATES[record.status],
                params=trial.params,
                distributions=space.search,
                value=value if record.status == "finished" else None,
                intermediate_values={} if first is None else {0: first},
                user_attrs={"seed": trial.seed, "reason": record.reason},
                system_attrs={},
                datetime_start=_local_time(record.ended[0] - record.seconds[0]) if record.ended else datetime.now(),
                datetime_complete=_local_time(record.ended[-1]) if record.ended else datetime.now(),
            )
        )
    return study


def _local_time(seconds: float) -> datetime:
    """Unix time as Optuna's tools expect it."""
    return datetime.fromtimestamp(seconds)


def store_study(study: optuna.Study, path: Path) -> None:
    """Put a study into a database, in place of an earlier one of the same space.

    A study of another space that has the same name stays; then the new one gets the digest of its space after the name. A file
    that is no database is set aside, with a line that says so.
    """
    if path.exists() and path.read_bytes()[:16] not in (b"", b"SQLite format 3\0"):
        set_aside(path, " was no database", ".")
    storage = sqlite_address(path)
    attributes_by_name = {s.study_name: s.user_attrs for s in optuna.get_all_study_summaries(storage, include_best_trial=False)}
    space_digest, name = study.user_attrs[SPACE], study.study_name
    if attributes_by_name.get(name, {}).get(SPACE, space_digest) != space_digest:
        name = f"{name} {space_digest}"
    if name in attributes_by_name:
        optuna.delete_study(study_name=name, storage=storage)
    optuna.copy_study(from_study_name=study.study_name, from_storage=study._storage, to_storage=storage, to_study_name=name)
