"""What a row is: one run, its configuration, where it was trained, and what came out; as JSON and as a line of a CSV."""

import hashlib
import json
import math
import time
from dataclasses import dataclass
from typing import Any

from presyn import MEASURES, Benchmark, Record, Run
from presyn.measures import figure_names
from presyn.methods import PERCEPTRONS, method_class
from presyn.runs import identify

ENDS = ("finished", "dropped", "diverged")
"""What a run can come to. The last two are lost: their accuracies are in no table."""
PROVENANCE = ("git_commit", "git_dirty", "rules_version", "data_sha256", "torch", "host", "device", "code", "processor")
SAID_LATER = ("code", "processor")
"""Provenance that lines of earlier versions do not have."""
ROUNDED = 1e-4
"""How far a mean may be from that of accuracies which were rounded."""
COLUMNS = (
    "method", "benchmark", "seed", "status", "mean_accuracy", "forgetting", "seconds", "accuracy", "run_id",
    *PROVENANCE, "arithmetic", "config", "series", "digest",
)  # fmt: skip
"""Columns that every line of a CSV of rows has, besides the labels of its stage and the figures that were measured."""
LABELS = ("stage", "trial", "parameters", "ablation")
"""Labels of stages that wrote CSVs before labels and figures could be told apart by a line itself."""
DESCRIBED = ("mean_p", "frozen", "mean_sigma", "penalty")
"""Figures that methods describe, besides what is measured: those that a line without series can have."""


def digest(values: dict[str, Any]) -> str:
    """Sixteen letters that stand for values which JSON can hold, whatever the order of their names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def reserved_label(name: str) -> bool:
    """Whether a stage cannot use this name for a label, because lines of a CSV have a column of that name."""
    return name in COLUMNS or name in DESCRIBED or name in figure_names(MEASURES)


def arithmetic_of(method: str, stated: object) -> str:
    """How the first layer of a run multiplied, by what its row states; earlier versions stated nothing, and were dense."""
    if isinstance(stated, str) and stated:
        return stated
    return "" if method in PERCEPTRONS else "dense"


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
    def from_run(cls, run_id: str, run: Run, provenance: dict[str, Any], record: dict[str, Any]) -> "Row":
        """The row of a run that has just ended, from its record as plain values."""
        return cls.from_dict({"run_id": run_id, "config": run.config(), "provenance": provenance, **record})

    def run(self) -> Run:
        """The run that it is a row of, measured as it was.

        Raises:
            PresynError: its benchmark has images of somebody's own, whose place a row does not know.
        """
        kind, names = method_class(self.config["method"]).Options, set(Benchmark.names())
        measured = [m for m in MEASURES if figure_names([m]) <= self.record.figures.keys()]
        tasks = {"name": self.config["benchmark"], **{k: v for k, v in self.config.items() if k in names}, "measures": measured}
        options = {k: v for k, v in self.config.items() if k in kind.names()}
        return Run(self.config["method"], kind.build(options), Benchmark.build(tasks), self.config["seed"])

    def identity(self) -> str:
        """The run id that its configuration, data and rules give it, or the code that trained it where that was changed."""
        data, rules_version = self.provenance["data_sha256"], int(self.provenance["rules_version"])
        id = identify(self.config, data, rules_version)
        code = self.provenance.get("code")
        return id if code is None or id == self.run_id else identify(self.config, data, rules_version, code)

    @property
    def changed_code(self) -> str | None:
        """The digest of the code that trained it, if that is in its id: it was not known to give the numbers of its rules."""
        plain = identify(self.config, self.provenance["data_sha256"], int(self.provenance["rules_version"]))
        return None if plain == self.run_id else self.provenance.get("code")

    @property
    def arithmetic(self) -> str:
        """How the first layer multiplied (see `presyn.inputs`): dense or lit; empty for perceptrons."""
        return arithmetic_of(self.config["method"], self.record.arithmetic)

    @property
    def origin(self) -> dict[str, Any]:
        """The provenance, and the arithmetic."""
        return {**self.provenance, **({"arithmetic": self.arithmetic} if self.arithmetic else {})}

    @property
    def status(self) -> str:
        return self.record.status

    def as_dict(self) -> dict[str, Any]:
        """Flat plain values, as the store keeps them, with a digest of all of them."""
        values = {"run_id": self.run_id, "config": self.config, "provenance": self.provenance, **self.record.as_dict()}
        values |= {"mean_accuracy": self.mean_accuracy, "forgetting": self.forgetting}
        return {**values, "digest": digest(values)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Row":
        """The inverse of `as_dict`. Rows of earlier versions have no digest.

        Raises:
            ValueError: they are not those of a row, or were changed; in words that fit after "it is not a run".
        """
        run_id, config, provenance = (values.get(name) for name in ("run_id", "config", "provenance"))
        if not isinstance(config, dict) or not isinstance(provenance, dict):
            raise ValueError("its configuration or provenance is missing")
        if "digest" in values and values["digest"] != digest({k: v for k, v in values.items() if k != "digest"}):
            raise ValueError("its digest is not that of what it says: something in it was changed")
        try:
            record = Record.from_dict(values)
            row = cls(str(run_id), config, provenance, record, values.get("mean_accuracy"), values.get("forgetting"))
            check(row)
        except (LookupError, TypeError, AttributeError, ArithmeticError) as e:
            raise ValueError(f"it is not whole: {type(e).__name__}") from None
        return row

    def line(self, labels: dict[str, Any]) -> dict[str, Any]:
        """A line of a CSV, after its labels; accuracies, series and the configuration are JSON."""
        record = self.record
        figures = {k: v[-1] for k, v in record.figures.items() if v and not isinstance(v[-1], list)}
        rounded = [[None if a is None else round(a, 4) for a in tested] for tested in record.accuracy]
        return {
            **labels,
            "method": self.config["method"],
            "benchmark": self.config["benchmark"],
            "seed": self.config["seed"],
            "status": record.status,
            "mean_accuracy": self.mean_accuracy,
            "forgetting": self.forgetting,
            "seconds": round(sum(record.seconds), 1),
            "accuracy": json.dumps(rounded),
            **{k: round(v, 4) for k, v in figures.items()},
            "run_id": self.run_id,
            **{k: self.provenance.get(k) for k in PROVENANCE},
            "arithmetic": record.arithmetic,
            "config": json.dumps(self.config, sort_keys=True),
            "series": self._series(),
        }

    def _series(self) -> str | None:
        """Everything over segments as JSON; None of a row whose series were not kept."""
        record = self.record
        if all(math.isnan(v) for v in record.loss):
            return None
        series = {"loss": record.loss, "seconds": record.seconds, **record.figures}
        shortened = {k: _to_nine_digits(v) for k, v in series.items()}
        return json.dumps(shortened | {"ended": [round(t, 1) for t in record.ended]})

    @classmethod
    def from_line(cls, line: dict[str, Any]) -> "Row":
        """The row that `line` made a line of. An older line has the last of the figures, the sum of the seconds, and no loss.

        Args:
            line: Column -> value, with numbers as numbers.

        Raises:
            ValueError: it is not such a line, or was changed.
        """
        try:
            return cls._from_line(line)
        except (LookupError, TypeError, AttributeError, ArithmeticError) as e:
            raise ValueError(f"it is not whole: {type(e).__name__} {e}".strip()) from None

    @classmethod
    def _from_line(cls, line: dict[str, Any]) -> "Row":
        config, accuracy = json.loads(line["config"]), json.loads(line["accuracy"])
        finished = line["status"] == "finished"
        series = _kept_series(line) if isinstance(line.get("series"), str) else _series_of_last_values(line, len(accuracy))
        reason = "" if finished else "said where it was trained"
        forgetting = None if line["forgetting"] != line["forgetting"] else line["forgetting"]
        mean = line["mean_accuracy"] if finished else None
        arithmetic = line.get("arithmetic")
        record = Record(
            line["status"], reason, accuracy, **series, arithmetic=arithmetic if isinstance(arithmetic, str) else ""
        )
        row = cls(line["run_id"], config, _provenance_of_line(line), record, mean, forgetting)
        if row.run_id != row.identity():
            raise ValueError("its run_id is not that of its configuration")
        check(row)
        check_provenance(row)
        for name in ("method", "benchmark", "seed"):
            if line[name] != config[name]:
                raise ValueError(f"its {name} is not that of its configuration")
        for name, values in record.figures.items():
            last, shown = values[-1], line.get(name)
            if isinstance(shown, float) and isinstance(last, float) and not _rounds_to(last, shown):
                raise ValueError(f"its {name} is not the last of its series")
        return row


def _provenance_of_line(line: dict[str, Any]) -> dict[str, Any]:
    """Where the row of a line comes from."""
    provenance = {name: line[name] for name in PROVENANCE if name not in SAID_LATER}
    later = {name: line.get(name) for name in SAID_LATER}
    return provenance | {name: value for name, value in later.items() if isinstance(value, str) and value}


def check(row: Row) -> None:
    """Check a row that was read back: its shape, its ranges, and what is derived against what it is derived from.

    Args:
        row: As it was read. Accuracies may have been rounded to four digits.

    Raises:
        ValueError: what is wrong with it.
        LookupError, TypeError, AttributeError, ArithmeticError: it is not whole.
    """
    record = row.record
    if record.status not in ENDS:
        raise ValueError(f"its status is not one of {', '.join(ENDS)}")
    record.check()
    data_sha256, rules_version = row.provenance["data_sha256"], row.provenance["rules_version"]
    if not isinstance(data_sha256, str) or int(rules_version) < 0:
        raise ValueError("its provenance is not what it should be")
    finished = record.status == "finished"
    has_mean = row.mean_accuracy is not None
    if has_mean is not finished or finished and not _is_near(row.mean_accuracy, record.mean_accuracy, ROUNDED):
        raise ValueError("its mean_accuracy is not that of its accuracies")
    if not _is_near(row.forgetting, record.forgetting, 2 * ROUNDED):
        raise ValueError("its forgetting is not that of its accuracies")


def check_provenance(row: Row) -> None:
    """Check what a line of a CSV says of where a row comes from.

    Raises:
        ValueError: what is wrong with it.
    """
    provenance = row.provenance
    if not isinstance(provenance["git_commit"], str) or not provenance["git_commit"].strip():
        raise ValueError("its git_commit is empty")
    if not isinstance(provenance["git_dirty"], bool):
        raise ValueError("its git_dirty is neither True nor False")
    if not isinstance(provenance["rules_version"], int) or isinstance(provenance["rules_version"], bool):
        raise ValueError("its rules_version is not a whole number")


def _is_near(value: float | None, derived: float | None, slack: float) -> bool:
    if value is None or derived is None:
        return value is derived
    return not isinstance(value, bool) and abs(value - derived) <= slack


def _rounds_to(value: float, rounded: float) -> bool:
    """Whether a value with nine significant digits can have been rounded to this one with four decimals."""
    return value != value or rounded != rounded or abs(value - rounded) <= 6e-5 + 1e-8 * abs(value)


def _to_nine_digits(values: Any) -> Any:
    """Numbers to nine significant digits, which tell float32 numbers apart; JSON has no nan: None instead."""
    if isinstance(values, list):
        return [_to_nine_digits(v) for v in values]
    if not math.isfinite(values):
        return None
    return values if isinstance(values, int) or values.is_integer() and abs(values) < 1e6 else float(f"{values:.9g}")


def _nan_for_none(values: Any) -> Any:
    return [_nan_for_none(v) for v in values] if isinstance(values, list) else math.nan if values is None else values


def _kept_series(line: dict[str, Any]) -> dict[str, Any]:
    """Fields of a record from the series that a line keeps."""
    series = {k: _nan_for_none(v) for k, v in json.loads(line["series"]).items()}
    loss, seconds, ended = (series.pop(k) for k in ("loss", "seconds", "ended"))
    if not len(loss) == len(seconds) == len(ended):
        raise ValueError("its series are not as long as each other")
    return {"loss": loss, "figures": series, "seconds": seconds, "ended": ended}


def _series_of_last_values(line: dict[str, Any], tests: int) -> dict[str, Any]:
    """Fields of a record from a line without series, in which only the last value of each figure stands."""
    segments = max(1, tests)
    diverged = line["status"] == "diverged"  # its figures are nan, and are its own all the same
    names = {*DESCRIBED, *figure_names(MEASURES)}  # any other column is a label, such as the l2 of an experiment
    figures = {k: v for k, v in line.items() if k in names and isinstance(v, float) and (diverged or v == v)}
    return {
        "loss": [math.nan] * segments,
        "figures": {k: [*[math.nan] * (segments - 1), v] for k, v in figures.items()},
        "seconds": [0.0] * (segments - 1) + [float(line["seconds"])],
        "ended": [time.time()] * segments,
    }
