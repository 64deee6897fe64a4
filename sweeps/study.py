"""The Optuna study of a search, for Optuna's own tools; a projection of its rows."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna

from sweeps.files import set_aside, sqlite_address
from sweeps.space import Space
from sweeps.trials import Outcome, Trial, frozen_trial

SPACE = "space"
"""The attribute of a study that tells spaces of one name apart."""


def make_study(space: Space, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> optuna.Study:
    """A study in memory: finished = COMPLETE, halved and dropped = PRUNED, diverged = FAIL.

    Args:
        space: What was searched.
        trials: Its trials.
        outcomes: What came of each of them, in order.
    """
    study = optuna.create_study(study_name=space.name, directions=space.directions)
    if len(space.objectives) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(space.objectives))
    identity = json.dumps(space.identity(), sort_keys=True, default=str)
    study.set_user_attr(SPACE, hashlib.sha256(identity.encode()).hexdigest()[:12])
    for trial, outcome in zip(trials, outcomes, strict=True):
        study.add_trial(frozen_trial(space, trial, outcome))
    return study


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
