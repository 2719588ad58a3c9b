"""Mixer-S/16 on ImageNet-1k, from scratch, as Tolstikhin et al., 2021, train Mixer-B/16.

python launch.py --config=configs/imagenet/mixer_s16.py --config.data.data_dir=DIR
    300 epochs in batches of 4,096. Not trained here, and its accuracy is not known: the paper
    states none of S/16 without pre-training.
"""

from ml_collections import ConfigDict

from configs.imagenet import recipe


def get_config(variant: str = "") -> ConfigDict:
    if variant:
        raise ValueError(f"there is no variant {variant!r}.")
    return recipe.mixer("mixer_s16")
