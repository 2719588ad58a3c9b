"""Makes tests/parity/published: weights in other people's formats, and the logits of their code.

    python -m tests.parity.make_published CHECKOUT

CHECKOUT is a folder with the Mixer authors' vit_jax/models_mixer.py (the GitHub repository
google-research/vision_transformer, commit c6de1e5378c9). It takes torch, timm and einops besides.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors.torch import save_file

from tests.parity import timm_models
from tests.parity.timm_models import BLOCKS, CLASSES, IMAGE, PATCH, SMALL, WIDTH

FOLDER = Path(__file__).parent / "published"


def authors_mixer(checkout: Path, images: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Random weights by name, and the logits."""
    spec = importlib.util.spec_from_file_location(
        "models_mixer", checkout / "vit_jax/models_mixer.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    model = module.MlpMixer(
        patches=SimpleNamespace(size=(PATCH, PATCH)),
        num_classes=CLASSES,
        num_blocks=BLOCKS,
        hidden_dim=WIDTH,
        tokens_mlp_dim=6,
        channels_mlp_dim=48,
    )
    random = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: random.normal(0, 0.4, leaf.shape).astype(np.float32),
        model.init(jax.random.key(0), images, train=False)["params"],
    )
    params["stem"] = jax.tree.map(lambda leaf: leaf * np.float32(SMALL), params["stem"])
    found = model.apply({"params": params}, images, train=False)
    return traverse_util.flatten_dict(params, sep="/"), np.asarray(found)


def main(checkout: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    images = np.random.default_rng(2).normal(size=(3, IMAGE, IMAGE, 3)).astype(np.float32)
    named, logits = authors_mixer(checkout, images)
    np.savez(FOLDER / "mixer_authors.npz", allow_pickle=False, **named)
    expected = {"mixer_authors": logits}
    for family in timm_models.FAMILIES:
        model = timm_models.small(family)
        config = timm_models.config(family)
        path = FOLDER / (f"{family}_timm/model" if config else f"{family}_timm")
        path.parent.mkdir(exist_ok=True)
        save_file(model.state_dict(), path.with_suffix(".safetensors"), {"format": "pt"})
        if config:
            (path.parent / "config.json").write_text(json.dumps(config) + "\n")
        expected[f"{family}_timm"] = timm_models.logits(model, images)
    np.savez(FOLDER / "logits.npz", allow_pickle=False, images=images, **expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
