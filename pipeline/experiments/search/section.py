"""What a search found, for the page: its trials as pictures, what mattered, and where the published values lie; pure."""

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.experiments.report.draw import importance_bars, parallel, scatter
from pipeline.experiments.search.expected import LEAST_TRIALS

SEARCHED = ("p_up", "p_down", "g_lim", "p_freeze", "eta0")
RESAMPLED = 20
"""How often trials are drawn again for the intervals of importances."""


def shape_search(frame: pd.DataFrame, published: Mapping[str, float]) -> dict[str, Any]:
    """A search on the page: its trials as pictures, which parameters mattered, and where the published ones lie.

    Nothing comes of fewer than two trials that finished, and no importances of fewer than LEAST_TRIALS.

    Args:
        frame: The rows of its trials.
        published: Parameter -> printed value.
    """
    points = _trials(frame[frame.status == "finished"])
    if len(points) < 2:
        return {}
    best = sorted(points, key=lambda p: -p["accuracy"])[:5]
    title = "Validation accuracy of the search over p_up and p_down: brighter is better, the cross is the published setting"
    lines = "The search's trials as lines over their parameters and validation accuracy"
    return {
        "map": scatter(points, "p_up", "p_down", "accuracy", marks={"published": published}, title=title),
        "slices": {
            k: scatter(points, k, "accuracy", "accuracy", marks={}, title=f"Validation accuracy in % of the trials over {k}")
            for k in SEARCHED
        },
        "parallel": parallel(points, [*SEARCHED, "accuracy"], lines),
        "near": [
            {"name": k, "published": published[k], "best": best[0][k], "low": min(values), "high": max(values)}
            for k, values in ((k, [p[k] for p in best]) for k in SEARCHED)
        ],
        "best": best[0]["accuracy"],
        "finished": len(points),
        "trials": len(frame),
        "dropped": int((frame.status == "dropped").sum()),
        "diverged": int((frame.status == "diverged").sum()),
        "importance": importance_bars(importance(points)) if len(points) >= LEAST_TRIALS else "",
    }


def _trials(frame: pd.DataFrame) -> list[dict[str, Any]]:
    points = []
    for row in frame.itertuples():
        config = json.loads(row.config)
        values = {k: float(config[k]) for k in SEARCHED}
        label = ", ".join(f"{k} {v:.3g}" for k, v in values.items())
        points.append({**values, "accuracy": 100 * row.mean_accuracy, "label": f"{100 * row.mean_accuracy:.1f} %: {label}"})
    return points


def importance(points: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float, float]]:
    """How much of the variance of accuracy each parameter explains (functional ANOVA of a random forest, by Optuna).

    Returns:
        Parameter -> its mean and 2.5 and 97.5 % quantiles over trials that were drawn again with replacement.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.default_rng(2021)
    shares: dict[str, list[float]] = {k: [] for k in SEARCHED}
    spans = {k: (min(p[k] for p in points), max(p[k] for p in points)) for k in SEARCHED}
    space: dict[str, Any] = {k: optuna.distributions.FloatDistribution(low, high, log=True) for k, (low, high) in spans.items()}
    for repeat in range(RESAMPLED):
        study = optuna.create_study(direction="maximize")
        for i in rng.integers(0, len(points), len(points)):
            params = {k: points[i][k] for k in SEARCHED}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=points[i]["accuracy"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=repeat)
            importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
        for k in SEARCHED:
            shares[k].append(importances[k])
    return {k: (float(np.mean(v)), *(float(q) for q in np.quantile(v, (0.025, 0.975)))) for k, v in shares.items()}  # type: ignore[misc]
