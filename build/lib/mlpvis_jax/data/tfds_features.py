"""The features that a prepared TFDS set may name: those of TFDS alone."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlpvis_jax.errors import InputError


@contextlib.contextmanager
def only_own_features(folder: Path) -> Iterator[None]:
    """Refuses the features of others: TFDS imports, and so runs, any module that a copy names."""
    import tensorflow_datasets as tfds

    features: Any = tfds.features.FeatureConnector
    # All the ways to a module's name, in features.json and dataset_info.json, in today's form and
    # in older ones, end in this method.
    import_class, method = features.cls_from_name, vars(features)["cls_from_name"]

    def own(class_name: str) -> Any:
        if not class_name.startswith("tensorflow_datasets."):
            raise InputError(
                f"A set in {folder} names the feature {class_name!r}, which is not of TFDS: its "
                "module would be imported, and could run anything. Prepare the set with TFDS's own "
                "features, or give its images as folder:PATH or npz:PATH."
            )
        return import_class(class_name)

    features.cls_from_name = staticmethod(own)
    try:
        yield
    finally:
        features.cls_from_name = method
