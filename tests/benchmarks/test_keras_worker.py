"""The peer is the Keras example's model, with its augmentation inside."""

import keras
import numpy as np
import pytest

from benchmarks import keras_worker, recipes
from benchmarks.keras_worker import build_model

PARAMETERS = {"mixer": 242_788, "fnet": 621_924, "gmlp": 885_348}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_model_is_the_examples(name):
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    model = build_model(name, images, num_classes=100)
    assert sum(np.size(variable) for variable in model.trainable_variables) == PARAMETERS[name]
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[1:5] == ["Normalization", "Resizing", "RandomFlip", "RandomZoom"]
    rates = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.2}
    # PyTorch's modules take no dots.
    assert not any("." in layer.name for layer in model.layers)


def test_its_recipe_is_that_of_the_configs():
    for name in PARAMETERS:
        config = recipes.run_config(name)
        assert keras_worker.LEARNING_RATES[name] == config.optimizer.learning_rate
        assert config.optimizer.weight_decay == keras_worker.WEIGHT_DECAY
        assert config.batch_size == keras_worker.BATCH_SIZE
