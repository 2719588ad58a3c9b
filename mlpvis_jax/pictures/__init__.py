"""Pictures of what a classifier has learned and how it errs, and the statistics behind them.

A function `draw_...` takes arrays and returns a Matplotlib Figure, which a notebook shows and
`figure.savefig(path)` saves; within `themed(LIGHT)` or `themed(DARK)` it looks as in the report.
"""

from mlpvis_jax.pictures.depth import draw_by_depth
from mlpvis_jax.pictures.errors import (
    draw_class_accuracy,
    draw_confusion,
    draw_errors,
    draw_reliability,
)
from mlpvis_jax.pictures.kernels import draw_kernels
from mlpvis_jax.pictures.learning_curves import draw_learning_curves
from mlpvis_jax.pictures.mixing import (
    Kernels,
    Measures,
    entropy,
    grid_of,
    measure,
    order_in_pairs,
    token_kernels,
)
from mlpvis_jax.pictures.receptive_field import (
    draw_receptive_fields,
    field_distance,
    receptive_fields,
)
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
    "Kernels",
    "Measures",
    "cluster_order",
    "confusion_matrix",
    "draw_by_depth",
    "draw_class_accuracy",
    "draw_confusion",
    "draw_corruptions",
    "draw_errors",
    "draw_kernels",
    "draw_learning_curves",
    "draw_receptive_fields",
    "draw_reliability",
    "entropy",
    "field_distance",
    "grid_of",
    "group_order",
    "holm",
    "mcnemar",
    "measure",
    "order_in_pairs",
    "png",
    "receptive_fields",
    "reliability",
    "themed",
    "token_kernels",
    "wilson_interval",
]
