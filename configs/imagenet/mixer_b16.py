"""Mixer-B/16 on ImageNet-1k, from scratch, as in Tolstikhin et al., 2021.

python launch.py --config=configs/imagenet/mixer_b16.py --config.data.data_dir=DIR
    300 epochs in batches of 4,096. Not trained here; the authors state 76.3 %, and 70.5 % for
    60 epochs (--config.duration="60 epochs").
"""

from ml_collections import ConfigDict

from configs.imagenet import recipe


def get_config(variant: str = "") -> ConfigDict:
    if variant:
        raise ValueError(f"there is no variant {variant!r}.")
    return recipe.mixer("mixer_b16")
