"""Labelled images, from files or the network to arrays.

    source = open_source("cifar100", image_size=64)
    images, labels = decode(source, "train", cache_dir=Path("~/.cache/mlpvis").expanduser())

`open_source` reads only what describes a set; `decode` reads the images.
"""

from mlpvis_jax.data.decoded import decode
from mlpvis_jax.data.examples import Example, Examples, Source
from mlpvis_jax.data.sources import open_source

__all__ = ["Example", "Examples", "Source", "decode", "open_source"]
