"""Attention-free image classifiers in JAX and Flax: MLP-Mixer, FNet and gMLP."""

import importlib
from typing import Any

__version__ = "0.1.0"
# Names that are here and defined elsewhere. They are imported when they are first used, so that
# `import mlpvis_jax` loads nothing else.
_DEFINED_IN = {
    "load": "mlpvis_jax.inference",
    "load_exported": "mlpvis_jax.inference",
    "export_classifier": "mlpvis_jax.inference.export",
}
__all__ = ["__version__", *_DEFINED_IN]


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_DEFINED_IN[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_DEFINED_IN])
