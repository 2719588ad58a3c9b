"""Pictures of what a classifier has learned and how it errs, and the statistics behind them.

A function `draw_...` takes arrays and returns a Matplotlib Figure, which a notebook shows and
`figure.savefig(path)` saves; within `themed(LIGHT)` or `themed(DARK)` it looks as in the report.
"""

from mlpvis_jax.pictures.errors import (
    draw_class_accuracy,
    draw_confusion,
    draw_errors,
    draw_reliability,
)
from mlpvis_jax.pictures.learning_curves import draw_learning_curves
from mlpvis_jax.pictures.robustness import draw_corruptions
from mlpvis_jax.pictures.statistics import (
    cluster_order,
    confusion_matrix,
    group_order,
    holm,
    mcnemar,
    reliability,
    wilson_interval,
)
from mlpvis_jax.pictures.theme import DARK, LIGHT, png, themed

__all__ = [
    "DARK",
    "LIGHT",
    "cluster_order",
    "confusion_matrix",
    "draw_class_accuracy",
    "draw_confusion",
    "draw_corruptions",
    "draw_errors",
    "draw_learning_curves",
    "draw_reliability",
    "group_order",
    "holm",
    "mcnemar",
    "png",
    "reliability",
    "themed",
    "wilson_interval",
]
