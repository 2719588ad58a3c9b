"""FNet on CIFAR-100, the Keras example's recipe."""

from ml_collections import ConfigDict

from configs import recipe


def get_config(variant: str = "") -> ConfigDict:
    return recipe.variant(recipe.keras_example("fnet_keras", learning_rate=0.001), variant)
