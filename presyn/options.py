"""Typed, checked configuration: frozen dataclasses whose fields carry their documentation and limits.

One definition drives the code, the command line's ``--set``, the YAML files and the error messages.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from presyn.errors import PresynError

_NO_NEUTRAL = object()  # of an option that was there from the start


def option(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    varies: bool = False,
    neutral: Any = _NO_NEUTRAL,
    identity: bool = True,
    source: str = "",
) -> Any:
    """A dataclass field with its documentation and limits.

    Args:
        default: The value when nothing else is said.
        doc: One line, shown to the user.
        low, high: Inclusive limits of a number.
        choices: The allowed words of a string, or of a list of strings.
        varies: Whether members of one cohort may differ in it (then it is a tensor with one row per member);
            all other fields shape the program and are shared by a cohort.
        neutral: Of an option that was added later: the value at which everything is as it was before. There it is left out
            of `as_dict`, so that the identities of earlier runs stay.
        identity: Whether it is part of what a run is. False for what changes no number of a run, such as what is measured.
        source: Where it comes from: an equation or figure of the paper, the authors' released code, or another paper.
    """
    meta = {
        "doc": doc,
        "low": low,
        "high": high,
        "choices": choices,
        "varies": varies,
        "neutral": neutral,
        "identity": identity,
        "source": source,
    }
    return dataclasses.field(default=default, metadata=meta)


def _parse_annotation(annotation: Any) -> tuple[type, type, bool]:
    """The plain type behind an annotation, that of the elements of a list, and whether None is allowed."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        return inner[0], inner[0], True
    kind = typing.get_origin(annotation) or annotation
    return kind, typing.get_args(annotation)[0] if kind is tuple else kind, False


def _convert(kind: type, element: type, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if kind is tuple:
        if isinstance(value, Mapping | Set | bytes):  # in which an order means nothing, or which are numbers by accident
            raise ValueError
        single = isinstance(value, str if element is str else int)
        if isinstance(value, str) and not single:
            raise ValueError
        return tuple(_convert(element, element, v) for v in ([value] if single else value))
    if isinstance(value, bool) != (kind is bool) or isinstance(value, str) < (kind is str):
        raise ValueError
    if kind is int and int(value) != float(value):
        raise ValueError
    return kind(value)


_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def _describe_type(kind: type, element: type) -> str:
    """What a value of a type is called in a message."""
    if kind is not tuple:
        return _TYPE_NAMES[kind]
    return f"a list of {'words' if element is str else 'whole numbers'}"


@dataclass(frozen=True)
class Options:
    """Base of every configuration: converts and checks its fields.

    Raises:
        PresynError: a value of the wrong type, out of range, or not among the choices.
    """

    def __post_init__(self) -> None:
        annotations = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            kind, element, optional = _parse_annotation(annotations[field.name])
            value = getattr(self, field.name)
            is_none = value is None or (isinstance(value, str) and value == "none")
            value = None if optional and is_none else self._check(field, kind, element, value)
            object.__setattr__(self, field.name, value)

    @staticmethod
    def _check(field: dataclasses.Field, kind: type, element: type, value: Any) -> Any:
        """The value converted to the type of its field."""
        low, high, choices = (field.metadata.get(k) for k in ("low", "high", "choices"))
        try:
            value = _convert(kind, element, value)
        except (TypeError, ValueError, OverflowError):
            raise PresynError(f"{field.name} must be {_describe_type(kind, element)}, not {value!r}.") from None
        refused = [word for word in (value if kind is tuple else [value]) if choices and word not in choices]
        if refused:
            raise PresynError(f"{field.name} must be one of {', '.join(choices or ())}, not {refused[0]!r}.")
        if kind in (int, float):
            if kind is float and not math.isfinite(value):
                raise PresynError(f"{field.name} must be a finite number, not {value!r}.")
            if (low is not None and value < low) or (high is not None and value > high):
                span = f"at least {low}" if high is None else f"between {low} and {high}"
                raise PresynError(f"{field.name} must be {span}, not {value!r}.")
        return value

    @classmethod
    def names(cls) -> list[str]:
        """The names of the fields, in order."""
        return [f.name for f in dataclasses.fields(cls)]

    @classmethod
    def varying(cls) -> list[str]:
        """The fields in which members of one cohort may differ."""
        return [f.name for f in dataclasses.fields(cls) if f.metadata.get("varies")]

    @classmethod
    def neutral(cls) -> dict[str, Any]:
        """The options that `as_dict` leaves out at their neutral value, and that value."""
        values = {f.name: f.metadata.get("neutral", _NO_NEUTRAL) for f in dataclasses.fields(cls)}
        return {name: value for name, value in values.items() if value is not _NO_NEUTRAL}

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> Self:
        """An instance from plain values.

        Raises:
            PresynError: an unknown field (the message lists all fields) or a bad value.
        """
        if not isinstance(values, Mapping):
            raise PresynError(f"Options must be fields and their values, such as {{'epochs': 10}}, not {values!r}.")
        reject_unknown(values, cls.names())
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """What is part of a run's identity, as plain values that JSON can hold; without options at their neutral value."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata.get("identity", True)}
        neutral = self.neutral()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k not in neutral or v != neutral[k]}


def reject_unknown(names: Iterable[str], allowed: Iterable[str], what: str = "field", more: str = "") -> None:
    """Raise a PresynError for the first name that is not allowed; it says the nearest allowed one, all of them, and more."""
    allowed = list(allowed)
    for name in names:
        if name not in allowed:
            nearest = difflib.get_close_matches(str(name), allowed, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise PresynError(f"Unknown {what} {name!r}.{hint} Known: {', '.join(sorted(allowed))}.{more}")
