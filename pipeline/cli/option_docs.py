"""Every option of the methods and benchmarks, as the terminal and docs/options.md show them.

All of it is read from the fields of the dataclasses, where it is said once.
`python -m pipeline.cli.option_docs` prints the page.
"""

import dataclasses
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from presyn import BENCHMARKS, METHODS, Benchmark, make_run
from presyn.benchmarks import PATTERNS
from presyn.methods import PERCEPTRONS, method_class
from presyn.options import Options

BENCHMARK_NAMES = (*BENCHMARKS, PATTERNS.name)
NOTE = (
    "`--set`, and `fixed` in a search space, take every option of a method and of its benchmark. `search` in a search space "
    "takes the options of a method, and a benchmark's YAML file those of benchmarks. Equations, figures, Methods and "
    "appendices are the paper's; the released code is its authors'."
)


def method_names() -> tuple[str, ...]:
    """All methods, a user's own among them."""
    return (*METHODS, *PERCEPTRONS)


@dataclass(frozen=True)
class OptionDoc:
    """What there is to say of an option, as text; limits and source may be empty."""

    name: str
    value: str
    limits: str
    meaning: str
    source: str


def show_value(value: Any) -> str:
    """A value as --set takes it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{','.join(map(show_value, value))}]"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _limits(field: dataclasses.Field) -> str:
    low, high, choices = (field.metadata.get(k) for k in ("low", "high", "choices"))
    if choices:
        return ", ".join(choices)
    if isinstance(field.default, bool):
        return "true, false"
    if low is None:
        return ""
    return f"at least {low:g}" if high is None else f"{low:g} to {high:,.12g}"


def describe_options(options: type[Options], values: Any = None) -> list[OptionDoc]:
    """The options of a class, in order.

    Args:
        options: The class.
        values: An instance that has the values to show; None shows the defaults.
    """
    return [
        OptionDoc(
            field.name,
            show_value(field.default if values is None else getattr(values, field.name)),
            _limits(field),
            field.metadata["doc"],
            field.metadata.get("source", ""),
        )
        for field in dataclasses.fields(options)
        if field.name != "name"
    ]


def describe_method(method: str, benchmark: Benchmark | None = None) -> list[OptionDoc]:
    """The options of a method, with its published settings on a benchmark if one is named, and its presets."""
    rule = method_class(method)
    values = None if benchmark is None else make_run(method, benchmark, 0).options
    presets = [OptionDoc(name, "", "", meaning, "") for name, meaning in rule.preset_names.items()]
    return [*describe_options(rule.Options, values), *presets]


def describe_benchmark(benchmark: Benchmark | None = None, method: str | None = None) -> list[OptionDoc]:
    """The fields of a benchmark; with a method, those that it is published with there."""
    if benchmark is not None and method is not None:
        benchmark = make_run(method, benchmark, 0).benchmark
    return describe_options(Benchmark, benchmark)


def summary(method: str) -> str:
    """What a method is, in a sentence."""
    lines = (method_class(method).__doc__ or "").strip().splitlines()
    return lines[0] if lines else "a method without a docstring"


def module_path(method: str) -> str:
    """The file that has a method's equations, from the root of the project."""
    return method_class(method).__module__.replace(".", "/") + ".py"


def as_text(options: Iterable[OptionDoc], width: int) -> Iterator[str]:
    """Lines for a terminal: an option, its value and limits, and what it means below them."""
    for option in options:
        yield option.name + (f"={option.value}" if option.value else "") + (f"   ({option.limits})" if option.limits else "")
        meaning = option.meaning + (f" [{option.source}]" if option.source else "")
        yield textwrap.fill(meaning, max(40, width), initial_indent="    ", subsequent_indent="    ")


def _as_markdown(options: Iterable[OptionDoc]) -> str:
    lines = ["| option | default | limits | meaning | source |", "|:--|:--|:--|:--|:--|"]
    for option in options:
        value = f"`{option.value}`" if option.value else ""
        cells = (
            f"`{option.name}`",
            value,
            option.limits,
            option.meaning.replace("|", r"\|"),
            option.source.replace("|", r"\|"),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _published(method: str) -> str:
    """The published settings of a method, a line for each benchmark."""
    settings = method_class(method).published
    lines = [
        f"- {benchmark}: " + ", ".join(f"`{name}={show_value(value)}`" for name, value in values.items())
        for benchmark, values in settings.items()
    ]
    return "\n".join(["\nOn a benchmark, unless something else is said:\n", *lines]) if lines else ""


def options_page() -> str:
    """docs/options.md."""
    parts = ["# Options", NOTE + " `presyn options METHOD BENCHMARK` prints the same for the two, with the values used there."]
    for method in method_names():
        equations = f"[The equations](../{module_path(method)})."
        parts += [
            f"## {method}",
            f"{summary(method)} {equations}",
            _as_markdown(describe_method(method)) + "\n" + _published(method),
        ]
    parts += ["## Benchmarks", _as_markdown(describe_benchmark()), "The benchmarks that come along:"]
    for name in BENCHMARK_NAMES:
        benchmark = BENCHMARKS.get(name, PATTERNS)
        parts.append(f"- `{name}`: " + (", ".join(f"`{k}={show_value(v)}`" for k, v in _changed(benchmark)) or "the defaults"))
    text = "\n\n".join(part.rstrip() for part in parts).replace("\n\n- `", "\n- `")
    return text.replace("come along:\n- `", "come along:\n\n- `") + "\n"


def _changed(benchmark: Benchmark) -> list[tuple[str, Any]]:
    """The fields of a benchmark that differ from their defaults."""
    fields = [f for f in dataclasses.fields(Benchmark) if f.name != "name"]
    return [(f.name, getattr(benchmark, f.name)) for f in fields if getattr(benchmark, f.name) != f.default]


if __name__ == "__main__":
    print(options_page(), end="")
