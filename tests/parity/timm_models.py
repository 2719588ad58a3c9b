"""Models of timm's, as small as tests need them, with random weights."""

import functools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

CLASSES, IMAGE, PATCH, WIDTH, BLOCKS = 7, 12, 4, 12, 2
SMALL = 0.02
FAMILIES = ("mixer", "gmlp")


@functools.cache
def import_timm() -> ModuleType:
    """Imports timm's module of MLP models; skips the test that asks for it where there is none."""
    torch = pytest.importorskip("torch")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # One for GPUs does not load beside a torch for CPUs. timm needs none of its operators, and
        # it can be imported where they are declared.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_timm.library = library  # type: ignore[attr-defined]  # it is undone when collected
    except ImportError:
        pass
    pytest.importorskip("timm", exc_type=ImportError)
    from timm.models import mlp_mixer

    return mlp_mixer


def small(family: str) -> Any:
    """A module of torch's of a family of FAMILIES."""
    import torch

    timm = import_timm()
    options: dict[str, Any] = {}
    if family == "gmlp":  # as in timm's gmlp_*
        options = {"block_layer": timm.SpatialGatingBlock, "mlp_layer": timm.GatedMlp}
        options["mlp_ratio"] = 6
    model = timm.MlpMixer(
        num_classes=CLASSES, img_size=IMAGE, patch_size=PATCH, num_blocks=BLOCKS, embed_dim=WIDTH,
        **options,
    )  # fmt: skip
    random = np.random.default_rng(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = random.normal(0, 0.4, parameter.shape).astype(np.float32)
            # Small variances, for which the epsilon of a norm counts.
            if name.startswith("stem"):
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
