"""The blocks, the classifier around them, and models of known sizes."""

from mlpvis_jax.models.classifier import Classifier
from mlpvis_jax.models.fnet import FNetBlock
from mlpvis_jax.models.gmlp import GMlpBlock
from mlpvis_jax.models.mixer import MixerBlock
from mlpvis_jax.models.presets import PRESETS, create_model
from mlpvis_jax.models.resmlp import ResMlpBlock
from mlpvis_jax.models.vit import VitBlock

__all__ = [
    "PRESETS",
    "Classifier",
    "FNetBlock",
    "GMlpBlock",
    "MixerBlock",
    "ResMlpBlock",
    "VitBlock",
    "create_model",
]
