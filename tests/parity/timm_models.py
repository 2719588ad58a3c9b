"""Models of timm's, as small as tests need them, with random weights."""

import functools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

CLASSES, IMAGE, PATCH, WIDTH, BLOCKS = 7, 12, 4, 12, 2
SMALL = 0.02
HEADS = 3
FAMILIES = ("mixer", "gmlp", "resmlp", "vit")


@functools.cache
def import_torch() -> ModuleType:
    """Imports torch; skips the test that asks for it where there is none."""
    torch = pytest.importorskip("torch")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # One for GPUs does not load beside a torch for CPUs. Nobody here needs its operators, and
        # it can be imported where they are declared.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_torch.library = library  # type: ignore[attr-defined]  # it is undone when collected
    except ImportError:
        pass
    return torch


@functools.cache
def import_timm() -> ModuleType:
    """Imports timm's models; skips the test that asks for it where there is none."""
    import_torch()
    pytest.importorskip("timm", exc_type=ImportError)
    from timm import models

    return models


def _mixer(**options: Any) -> Any:
    return import_timm().mlp_mixer.MlpMixer(
        num_classes=CLASSES, img_size=IMAGE, patch_size=PATCH, num_blocks=BLOCKS, embed_dim=WIDTH,
        **options,
    )  # fmt: skip


def _gmlp() -> Any:  # as timm's gmlp_*
    timm = import_timm().mlp_mixer
    return _mixer(block_layer=timm.SpatialGatingBlock, mlp_layer=timm.GatedMlp, mlp_ratio=6)


def _resmlp() -> Any:  # as timm's resmlp_*
    timm = import_timm().mlp_mixer
    return _mixer(block_layer=timm.ResBlock, norm_layer=timm.Affine, mlp_ratio=4)


def _vit() -> Any:  # as timm's vit_tiny_patch16_224, with the project's mean over tokens
    return import_timm().vision_transformer.VisionTransformer(
        num_classes=CLASSES, img_size=IMAGE, patch_size=PATCH, depth=BLOCKS, embed_dim=WIDTH,
        num_heads=HEADS, **NO_CLASS_TOKEN,
    )  # fmt: skip


NO_CLASS_TOKEN = {"class_token": False, "global_pool": "avg", "fc_norm": False}
_MAKERS = {"mixer": _mixer, "gmlp": _gmlp, "resmlp": _resmlp, "vit": _vit}


def config(family: str) -> dict[str, Any]:
    """What timm writes into the config.json beside the weights of `small`, as far as it is read."""
    return {"model_args": {"num_heads": HEADS}} if family == "vit" else {}


def small(family: str) -> Any:
    """A module of torch's of a family of FAMILIES."""
    import torch

    model = _MAKERS[family]()
    random = np.random.default_rng(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = random.normal(0, 0.4, parameter.shape).astype(np.float32)
            # Small variances, for which the epsilon of a norm counts.
            if name.startswith(("stem", "patch_embed", "pos_embed")):
                values *= SMALL
            if "mlp_channels.fc1" in name and family == "gmlp":
                values[len(values) // 2 :] *= SMALL
            parameter.copy_(torch.from_numpy(values))
    return model.eval()


def logits(model: Any, images: np.ndarray) -> np.ndarray:
    """What a module makes of images [batch, height, width, channels]."""
    import torch

    with torch.no_grad():
        outputs: np.ndarray = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    return outputs
