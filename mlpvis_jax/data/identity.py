"""What a run's data are, in a few lines of JSON, and in words how two runs' data differ."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpvis_jax.data.examples import Examples, Source
from mlpvis_jax.data.resident import ResidentSet
from mlpvis_jax.data.streamed import StreamedSet

_AT_A_TIME = 4096
_NAMED = 3  # classes in a message


def describe_set(examples: ResidentSet | StreamedSet, origin: Examples) -> dict[str, Any]:
    """Describes images and labels in their order: their number, and a digest of each.

    Of images that are streamed there is no digest of the pixels, but one of the marks that tell
    them apart undecoded, such as name and size; of those that are decoded there are both.

    Args:
      examples: images and labels.
      origin: where they come from, in the same order.
    """
    described: dict[str, Any] = {"number": len(examples)}
    marks = origin.marks()
    if marks is not None:
        described["marks"] = hashlib.sha256(np.asarray(marks, "<u8").tobytes()).hexdigest()[:32]
    if examples.images is not None:
        of_images = hashlib.sha256()
        for start in range(0, len(examples), _AT_A_TIME):  # some at a time: it may be a memory map
            of_images.update(examples.images[start : start + _AT_A_TIME].tobytes())
        described["images"] = of_images.hexdigest()[:32]
    of_labels = hashlib.sha256(np.asarray(examples.labels, "<i4").tobytes())
    return {**described, "labels": of_labels.hexdigest()[:32]}


def name_of_set(described: Mapping[str, Any], source: Source) -> str:
    """Names what is found out about a set, such as the statistics of its pixels.

    Args:
      described: as `describe_set` gives it.
      source: of the set; its fingerprint is another one where the pixels may be others.
    """
    told = sorted(described.items()), source.name, source.fingerprint
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def is_same_set(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tells whether two descriptions, of which one may be of a stream, are of the same images."""
    same = all(before.get(key) == now.get(key) for key in ("number", "labels"))
    return same and not _has_other_images(before, now)


def _has_other_images(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Compares the pixels, if both are decoded, and else the marks, if both have some."""
    for key in ("images", "marks"):
        if key in before and key in now:
            return before[key] != now[key]
    return False


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
        elif _has_other_images(old, new):
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
