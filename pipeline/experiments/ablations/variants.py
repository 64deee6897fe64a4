"""What is switched off, and what departs: the ablations of Fig. 5a and the departures of the released code, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from pipeline.paper import RULE
from presyn import METHODS, Benchmark, make_run
from presyn.methods.presynaptic import PRINTED
from sweeps.space import Space, method_options, own_space, read_space, space_names

Variants = Mapping[str, Mapping[str, Any]]
"""Name -> settings; the first one is what the others are compared with."""
FULL, RELEASED = "full", "released"
"""What the rule is called from which nothing departs: among ablations, and among departures."""
SEARCHED, PUBLISHED = "ablations/searched", "ablations/published"
"""Folders of all of Fig. 5a, with parameters searched again and with the authors'."""
DEPARTURES_FOLDER = "departures"
ABLATIONS: dict[str, dict[str, Any]] = {
    FULL: {},
    "no-freezing": {"p_freeze": 1.0},
    "no-lr-modulation": {"modulate_lr": False},
    "no-consolidation": {"p_freeze": 1.0, "modulate_lr": False},
    "ghost": {"release": 0.5, "ghost_scale": "ghost"},
    "ghost-by-release": {"release": 0.5, "ghost_scale": "release"},
    "no-normalisation": {"normalise": False},
}
"""Fig. 5a, with the ghost control both as the text and as the released code have it."""

DEPARTURES: dict[str, dict[str, Any]] = {
    RELEASED: {},
    "p_step=additive": {"p_step": "additive"},
    "threshold=gt": {"threshold": "gt"},
    "p_up and p_down as printed": {"p_up": 0.0516, "p_down": 0.0520},
    "bias=none": {"bias": "none"},
    "bias=trained": {"bias": "trained"},
    "printed": {"rule": "printed"},
}
"""What the released code does otherwise than the paper says, one by one and as a whole (docs/tour.md)."""
TRANSITIONS: dict[str, dict[str, Any]] = {RELEASED: {"transition": "zeno"}, "transition=released": {"transition": "released"}}
"""Row 9, on a continuous benchmark; elsewhere the transition has no meaning."""

RANGES: dict[str, BaseDistribution] = {
    "p_up": FloatDistribution(0.01, 0.1),
    "p_down": FloatDistribution(0.01, 0.1),
    "p_freeze": FloatDistribution(0.9, 0.96),
}
"""The authors' search (Methods, and ranges of the released code)."""
RANGES_WITHOUT_SPACE: dict[str, BaseDistribution] = {"eta0": FloatDistribution(1e-4, 1e-1, log=True)}
"""What is searched for a method that has no search space."""
VALIDATION = {"digits": 300}
"""Training images held out for a search, where the benchmark does not say: of the digits; of others it is a sixth."""
TRIALS = 24
"""Configurations that the search of a variant draws."""


def fitting_variants(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names that a run of this configuration can have: of each list, the variant with the most settings that it has."""
    names = []
    for variants in (ABLATIONS, {**DEPARTURES, "printed": PRINTED}, TRANSITIONS):
        fitting = {name: len(v) for name, v in variants.items() if all(config.get(k) == value for k, value in v.items())}
        names += [name for name, settings in fitting.items() if settings == max(fitting.values())]
    return tuple(dict.fromkeys(names))


def departures_on(benchmark: Benchmark) -> Variants:
    """The departures that have a meaning on a benchmark."""
    return TRANSITIONS if benchmark.kind == "continuous" else DEPARTURES


def own_variants(off: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The full rule, and it with each of these settings."""
    names = [", ".join(f"{k}={v}" for k, v in settings.items()) for settings in off]
    return {FULL: {}, **{name: dict(settings) for name, settings in zip(names, off, strict=True)}}


def variant_space(
    method: str,
    settings: Mapping[str, Any],
    variant: str,
    benchmark: Benchmark,
    trials: int | None = None,
    own: Space | None = None,
) -> Space:
    """Where a variant is searched: in the authors' ranges, or those of the method's space, but for what the variant sets.

    Args:
        method: The rule.
        settings: What the variant sets.
        variant: Its name.
        benchmark: On what.
        trials: How many configurations are drawn; None for 24, or for those of one's own space.
        own: A space of somebody's own, in which all variants are searched instead.
    """
    short_name = variant.replace("=", "-").replace(", ", "-")
    if own is not None:
        changed = own.with_settings(settings)
        most = min(trials, changed.trials) if trials is not None and changed.sampler == "grid" else trials or changed.trials
        name = f"{own.name}-{short_name}-{benchmark.name}"
        if changed.halving:
            changed.halving.check(make_run(method, benchmark, 0, changed.fixed).benchmark, METHODS[method].joint)
        return replace(changed, name=name, benchmark=benchmark, trials=most if changed.search else 1)
    space = None if method == RULE else _method_space(method, benchmark)
    ranges = RANGES if method == RULE else space.search if space else RANGES_WITHOUT_SPACE
    search = {k: ranges[k] for k in (ranges if space else sorted(ranges)) if k not in settings}
    # As the authors do; on other images, what is hopeless after a task is not known.
    dropped = {"drop_below": 0.5} if benchmark.kind != "split" and benchmark.source is None else {}
    options = method_options(method, space.fixed) if space else {}
    validation = benchmark.validation or held_out(benchmark)
    fixed = {"validation": validation, "tests": "new", **dropped, **options, **settings}
    name = f"{method}-{short_name}-{benchmark.name}"
    number = trials or TRIALS if search else 1
    return Space(name, method, benchmark, search, fixed, number, 2021, space.sampler if space else "random")


def held_out(benchmark: Benchmark) -> int:
    """Training images on which parameters are chosen where the benchmark does not say: a sixth, but of the digits 300."""
    if benchmark.source is None:
        return VALIDATION.get(benchmark.dataset, 10_000)
    return max(1, len(benchmark.load().train_y) // 6)


def _method_space(method: str, benchmark: Benchmark) -> Space | None:
    """The user's own space of a method on a benchmark, or the one that comes along for its kind, or for permuted ones."""
    if own := own_space(method, [benchmark.name]):
        return read_space(own)
    for kind in ("permuted" if benchmark.permuted else "split", "permuted"):
        if f"{method}-{kind}-mnist" in space_names():
            return read_space(f"{method}-{kind}-mnist")
    return None
