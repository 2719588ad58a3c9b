"""gMLP-S/16 on ImageNet-1k, from scratch, as in Liu et al., 2021.

python launch.py --config=configs/imagenet/gmlp_s16.py --config.data.data_dir=DIR
    300 epochs in batches of 4,096. Not trained here; the paper states 79.6 %.
"""

from ml_collections import ConfigDict

from configs.imagenet import recipe


def get_config(variant: str = "") -> ConfigDict:
    if variant:
        raise ValueError(f"there is no variant {variant!r}.")
    return recipe.gmlp("gmlp_s16", stochastic_depth_rate=0.05)
