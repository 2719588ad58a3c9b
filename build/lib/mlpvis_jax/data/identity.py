"""What a run's data are, in a few lines of JSON, and in words how two runs' data differ."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpvis_jax.data.resident import ResidentSet

_AT_A_TIME = 4096
_NAMED = 3  # classes in a message


def describe_set(examples: ResidentSet) -> dict[str, Any]:
    """Describes images and labels in their order: their number, and a digest of each."""
    of_images = hashlib.sha256()
    for start in range(0, len(examples), _AT_A_TIME):  # some at a time: it may be a memory map
        of_images.update(examples.images[start : start + _AT_A_TIME].tobytes())
    of_labels = hashlib.sha256(np.asarray(examples.labels, "<i4").tobytes())
    return {
        "number": len(examples),
        "images": of_images.hexdigest()[:32],
        "labels": of_labels.hexdigest()[:32],
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lists in words how data differ; none where they are the same but for the source's name.

    Args:
      before, now: class_names, image_shape, validation_rule, and what `describe_set` gives of
        training, validation and test.
    """
    found = class_differences(before["class_names"], now["class_names"])
    for key, words in (("image_shape", "shape of the images"), ("validation_rule", "validation")):
        if before[key] != now[key]:
            found.append(f"the {words} was {before[key]} and is now {now[key]}")
    for part in ("training", "validation", "test"):
        old, new = before[part], now[part]
        if old["number"] != new["number"]:
            found.append(
                f"the {part} images changed: {old['number']:,} before, {new['number']:,} now"
            )
        elif old["images"] != new["images"]:
            found.append(f"the {part} images changed, {new['number']:,} before and now")
        elif old["labels"] != new["labels"]:
            found.append(f"the labels of the {part} images changed")
    return found


def class_differences(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Lists in words how class names differ."""
    if list(before) == list(now):
        return []
    gone = [name for name in before if name not in set(now)]
    new = [name for name in now if name not in set(before)]
    if not gone and not new:
        return ["the class names have another order"]
    parts = [f"{_some(names)} {what}" for names, what in ((gone, "gone"), (new, "new")) if names]
    return [f"class names differ: {' and '.join(parts)}"]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMED]))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{shown}{more} {'is' if len(names) == 1 else 'are'}"
