"""What a row is: one run, its configuration, where it was trained, and what came out; as JSON and as a line of a CSV."""

import json
import math
import time
from dataclasses import dataclass
from typing import Any

from presyn import Record, Run
from presyn.runs import identify

ENDS = ("finished", "dropped", "diverged")
PROVENANCE = ("git_commit", "git_dirty", "rules_version", "data_sha256", "torch", "host", "device")
LATEST = 1e11
"""Seconds of unix time, or of a part, that no run reaches."""
ROUNDED = 1e-4
"""How far a mean may be from that of accuracies which were rounded."""
_OF_ROWS = {
    *("stage", "trial", "parameters", "ablation", "method", "benchmark", "seed", "status", "mean_accuracy", "forgetting"),
    *("seconds", "accuracy", "run_id", "config", "series"),
}


@dataclass(frozen=True)
class Row:
    """One run that came to an end.

    Attributes:
        run_id: Its identity.
        config: Its resolved configuration, as plain values.
        provenance: Commit, versions, data, host and device.
        record: What came out.
        mean_accuracy, forgetting: Of the record; a line of a CSV keeps them in full and the accuracies to four digits.
    """

    run_id: str
    config: dict[str, Any]
    provenance: dict[str, Any]
    record: Record
    mean_accuracy: float | None
    forgetting: float | None

    @classmethod
    def of(cls, run_id: str, run: Run, provenance: dict[str, Any], record: dict[str, Any]) -> "Row":
        """The row of a run that has just ended, from its record as plain values."""
        return cls.from_dict({"run_id": run_id, "config": run.config(), "provenance": provenance, **record})

    def identity(self) -> str:
        """The run id that its configuration, data and rules give it."""
        return identify(self.config, self.provenance["data_sha256"], int(self.provenance["rules_version"]))

    @property
    def status(self) -> str:
        return self.record.status

    def as_dict(self) -> dict[str, Any]:
        """Flat plain values, as the store keeps them."""
        own = {"run_id": self.run_id, "config": self.config, "provenance": self.provenance}
        return {**own, **self.record.as_dict(), "mean_accuracy": self.mean_accuracy, "forgetting": self.forgetting}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Row":
        """The inverse of `as_dict`.

        Raises:
            ValueError: they are not those of a row, or were changed; in words that fit after "it is not a run".
        """
        run_id, config, provenance = (values.get(k) for k in ("run_id", "config", "provenance"))
        if not isinstance(config, dict) or not isinstance(provenance, dict):
            raise ValueError("its configuration or provenance is missing")
        try:
            record = Record.from_dict(values)
            row = cls(str(run_id), config, provenance, record, values.get("mean_accuracy"), values.get("forgetting"))
            check(row)
        except (LookupError, TypeError, AttributeError, ArithmeticError) as e:
            raise ValueError(f"it is not whole: {type(e).__name__}") from None
        return row

    def line(self, labels: dict[str, Any]) -> dict[str, Any]:
        """A line of a CSV, after its labels; accuracies, series and the configuration are JSON."""
        r = self.record
        last = {k: v[-1] for k, v in r.figures.items() if v and not isinstance(v[-1], list)}
        return {
            **labels,
            "method": self.config["method"],
            "benchmark": self.config["benchmark"],
            "seed": self.config["seed"],
            "status": r.status,
            "mean_accuracy": self.mean_accuracy,
            "forgetting": self.forgetting,
            "seconds": round(sum(r.seconds), 1),
            "accuracy": json.dumps([[None if a is None else round(a, 4) for a in line] for line in r.accuracy]),
            **{k: round(v, 4) for k, v in last.items()},
            "run_id": self.run_id,
            **{k: self.provenance.get(k) for k in PROVENANCE},
            "config": json.dumps(self.config, sort_keys=True),
            "series": self._series(),
        }

    def _series(self) -> str | None:
        """Everything over parts as JSON; None of a row whose series were not kept."""
        r = self.record
        if all(math.isnan(v) for v in r.loss):
            return None
        series = {"loss": r.loss, "seconds": r.seconds, **r.figures}
        return json.dumps({k: _short(v) for k, v in series.items()} | {"ended": [round(t, 1) for t in r.ended]})

    @classmethod
    def from_line(cls, line: dict[str, Any]) -> "Row":
        """The row that `line` made a line of. An older line has the last of the figures, the sum of the seconds, and no loss.

        Raises:
            ValueError: it is not such a line, or was changed.
        """
        try:
            return cls._of_line(line)
        except (LookupError, TypeError, AttributeError, ArithmeticError) as e:
            raise ValueError(f"it is not whole: {type(e).__name__} {e}".strip()) from None

    @classmethod
    def _of_line(cls, line: dict[str, Any]) -> "Row":
        config, accuracy = json.loads(line["config"]), json.loads(line["accuracy"])
        finished = line["status"] == "finished"
        series = _known_series(line) if isinstance(line.get("series"), str) else _last_of_series(line, max(1, len(accuracy)))
        reason = "" if finished else "said where it was trained"
        forgetting = None if line["forgetting"] != line["forgetting"] else line["forgetting"]
        mean = line["mean_accuracy"] if finished else None
        record = Record(line["status"], reason, accuracy, **series)
        row = cls(line["run_id"], config, {k: line[k] for k in PROVENANCE}, record, mean, forgetting)
        if row.run_id != row.identity():
            raise ValueError("its run_id is not that of its configuration")
        check(row)
        for name in ("method", "benchmark", "seed"):
            if line[name] != config[name]:
                raise ValueError(f"its {name} is not that of its configuration")
        for name, values in record.figures.items():
            told = line.get(name)
            known = isinstance(told, float) and isinstance(values[-1], float) and told == told
            if known and not abs(told - values[-1]) <= 6e-5:
                raise ValueError(f"its {name} is not the last of its series")
        return row


def check(row: Row) -> None:
    """Check a row that was read back: its shape, its ranges, and what is derived against what it is derived from.

    Args:
        row: As it was read. Accuracies may have been rounded to four digits.

    Raises:
        ValueError: what is wrong with it.
        LookupError, TypeError, AttributeError, ArithmeticError: it is not whole.
    """
    r = row.record
    if r.status not in ENDS:
        raise ValueError(f"its status is not one of {', '.join(ENDS)}")
    tested = [a for line in r.accuracy for a in line if a is not None]
    if any(isinstance(a, bool) or not 0 <= a <= 1 for a in tested):
        raise ValueError("its accuracies are not from 0 to 1")
    if not len(r.loss) == len(r.seconds) == len(r.ended) >= len(r.accuracy):
        raise ValueError("its series are not as long as each other")
    if not all(map(_number, r.loss)) or not all(_number(t) and 0 <= t < LATEST for t in (*r.seconds, *r.ended)):
        raise ValueError("its loss or times are not numbers that they can be")
    if (
        not isinstance(r.reason, str)
        or not isinstance(row.provenance["data_sha256"], str)
        or int(row.provenance["rules_version"]) < 0
    ):
        raise ValueError("its reason or provenance is not what it should be")
    if any(not isinstance(v, list) or not 1 <= len(v) <= r.segments or not _numbers(v) for v in r.figures.values()):
        raise ValueError("its figures are not series over its parts")
    finished = r.status == "finished"
    if finished and (not r.accuracy or not r.accuracy[-1] or None in r.accuracy[-1]):
        raise ValueError("its accuracies are not those of a run that finished")
    if (row.mean_accuracy is not None) is not finished or finished and not _near(row.mean_accuracy, r.mean_accuracy, ROUNDED):
        raise ValueError("its mean_accuracy is not that of its accuracies")
    if not _near(row.forgetting, r.forgetting, 2 * ROUNDED):
        raise ValueError("its forgetting is not that of its accuracies")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(values: list[Any]) -> bool:
    """Whether these are numbers, or lists of them."""
    return all(_numbers(v) if isinstance(v, list) else _number(v) for v in values)


def _near(told: float | None, derived: float | None, slack: float) -> bool:
    if told is None or derived is None:
        return told is derived
    return not isinstance(told, bool) and abs(told - derived) <= slack


def _short(values: Any) -> Any:
    """Numbers to nine significant digits, which tell float32 numbers apart; JSON has no nan: None instead."""
    if isinstance(values, list):
        return [_short(v) for v in values]
    if not math.isfinite(values):
        return None
    return values if isinstance(values, int) or values.is_integer() and abs(values) < 1e6 else float(f"{values:.9g}")


def _full(values: Any) -> Any:
    return [_full(v) for v in values] if isinstance(values, list) else math.nan if values is None else values


def _known_series(line: dict[str, Any]) -> dict[str, Any]:
    series = {k: _full(v) for k, v in json.loads(line["series"]).items()}
    own = {k: series.pop(k) for k in ("loss", "seconds", "ended")}
    if not len(own["loss"]) == len(own["seconds"]) == len(own["ended"]):
        raise ValueError("its series are not as long as each other")
    return {"loss": own["loss"], "figures": series, "seconds": own["seconds"], "ended": own["ended"]}


def _last_of_series(line: dict[str, Any], parts: int) -> dict[str, Any]:
    known = {*_OF_ROWS, *PROVENANCE}
    lost = line["status"] == "diverged"  # whose figures are nan, and not those of another method
    figures = {k: v for k, v in line.items() if k not in known and isinstance(v, float) and (lost or v == v)}
    return {
        "loss": [math.nan] * parts,
        "figures": {k: [*[math.nan] * (parts - 1), v] for k, v in figures.items()},
        "seconds": [0.0] * (parts - 1) + [float(line["seconds"])],
        "ended": [time.time()] * parts,
    }
