"""Which images validate, and which a quick try takes: drawn by hashes, not by their order.

A hash of an image's own name (its path; of arrays the pixels; of TFDS its place) decides, so that
the draw is the same on every machine and for every seed, in whatever order the images are listed.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from mlpvis_jax.data.decoded import check_labels
from mlpvis_jax.data.examples import Examples, Part, Source, digests, mark_of
from mlpvis_jax.data.index_cache import kept
from mlpvis_jax.errors import InputError

_LAST, _STRATIFIED = "last", "stratified"


def find_rule(source: Source, asked: str | None) -> str:
    """Finds the rule by which some images validate, as `divide` takes it.

    Args:
      source: of the images.
      asked: last:SHARE, stratified:SHARE, or what the source calls its split that validates; None
        for that split where there is one, and for the source's default rule otherwise.

    Raises:
      InputError: it is none of these.
    """
    own = source.split_names.get("validation")
    if asked is None:
        return own or source.default_validation
    kind, _, share = asked.partition(":")
    if asked == own:
        return asked
    try:
        if kind in (_LAST, _STRATIFIED) and 0 < float(share) < 1:
            return f"{kind}:{float(share):g}"
    except ValueError:
        pass
    splits = f"{own!r}, its own split" if own else "None (it has no split of its own to validate)"
    raise InputError(
        f"config.data.validation is {asked!r}, which {source.name} cannot follow; give {splits}, "
        "or stratified:0.1 or last:0.1, with any share between 0 and 1."
    )


def divide(
    source: Source, rule: str, examples: Examples, images: Any, labels: np.ndarray
) -> tuple[slice | np.ndarray, slice | np.ndarray]:
    """Divides the images to train on into those that do train and those that validate.

    last:SHARE takes the last ones as they are listed. stratified:SHARE takes from each class those
    of the smallest hashes, at least one, and leaves at least one; copies of an image in a class
    stay together. Of images that are not decoded, copies are told by their bytes, if at all.

    Args:
      source: named in messages.
      rule: as `find_rule` gives it, and no split of the source.
      examples: the images to train on.
      images: the same decoded, uint8 [n, ...]; None where they are not.
      labels: of them, int32 [n].

    Returns:
      The rows that train and the rows that validate, as slices or int [n]; slices copy nothing.

    Raises:
      InputError: too few images for both.
    """
    kind, _, text = rule.partition(":")
    share = float(text)
    if kind == _LAST:
        number = int(len(labels) * (1 - Fraction(text)))  # floats would be off by one at times
        if number in (0, len(labels)):
            raise InputError(
                f"{source.name} has {len(labels):,} training images, of which config.data."
                f"validation={rule} leaves none to train or none to validate."
            )
        return slice(number), slice(number, None)
    copies = _copies(source, examples) if images is None else digests(np.asarray(images))
    # Of a class: a stream looks for copies nowhere else, and both feeds divide a set alike.
    pairs = np.column_stack([labels.astype(np.uint64), copies])
    _, place = np.unique(pairs, axis=0, return_inverse=True)
    hashes = np.full(len(labels), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(hashes, place, _hashes("validation", examples.names()))
    # By class, and in it by the smallest hash of all copies.
    order = np.lexsort((copies, hashes[place], labels))
    validates = np.zeros(len(labels), bool)
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        ends = np.flatnonzero(np.diff(copies[rows])) + 1  # where no copies are torn apart
        if not len(ends):
            few = "one image" if len(rows) == 1 else f"{len(rows)} copies of one image"
            raise InputError(
                f"The class {source.class_names[labels[rows[0]]]!r} of {source.name} has {few} to "
                f"train on, and config.data.validation={rule} needs another to validate; add "
                "images, take the class out, or raise config.data.limit if it is set."
            )
        wanted = max(1, round(share * len(rows)))
        cut = ends[np.minimum(np.searchsorted(ends, wanted), len(ends) - 1)]
        validates[rows[:cut]] = True
    return np.flatnonzero(~validates), np.flatnonzero(validates)


def _copies(source: Source, examples: Examples) -> np.ndarray:
    """Tells copies of images that are not decoded, from what is kept between processes."""

    def find() -> dict[str, np.ndarray]:
        found = examples.copies()
        return {"copies": np.arange(len(examples)) if found is None else found}

    marks = examples.marks()
    if marks is None:  # nothing tells which of the source's images these are
        return find()["copies"]
    name = f"copies-{mark_of(source.name, source.content, marks.tobytes()):016x}"
    return np.asarray(kept(name, ("copies",), find)["copies"])


def limit_known(source: Source, part: Part, limit: int) -> Source:
    """Takes the first images of a part, so that only they are decoded, if its labels are known."""
    examples = source.examples(part)
    if examples.labels is None or len(examples) <= limit:
        return source
    check_labels(examples.labels, source, part)
    taken = examples.take(first_rows(source, examples, examples.labels, limit))
    fingerprint = hashlib.sha256(f"{source.fingerprint} {limit}".encode()).hexdigest()[:16]
    changes: dict[str, Any] = {part: taken, "fingerprint": fingerprint}
    return dataclasses.replace(source, **changes)


def first_rows(source: Source, examples: Examples, labels: np.ndarray, limit: int) -> np.ndarray:
    """Chooses the first `limit` of some images, from each class its share.

    An image comes the sooner, the smaller the share of its class that has a smaller hash; but two
    images of each class come before all others. So a larger limit adds to what a smaller one takes.

    Args:
      source: named in messages.
      examples: the images.
      labels: of them, int32 [n].
      limit: their number, at most.

    Returns:
      Rows in the order of the source, int [limit].

    Raises:
      InputError: there are more classes than images are wanted.
    """
    hashes = _hashes("limit", examples.names())
    order = np.lexsort((hashes, labels))
    number = np.bincount(labels)
    if limit < np.count_nonzero(number):
        raise InputError(
            f"config.data.limit is {limit}, and {source.name} has {np.count_nonzero(number)} "
            "classes; an image of each is the least, and two are to train and to validate."
        )
    rank = np.empty(len(labels), np.int64)  # within the class
    starts = np.cumsum(number) - number
    rank[order] = np.arange(len(labels)) - starts[labels[order]]
    share = (rank + 0.5) / number[labels]
    return np.sort(np.lexsort((hashes, share, np.minimum(rank, 2)))[:limit])


def _hashes(purpose: str, names: Sequence[str]) -> np.ndarray:
    """Hashes names to uint64 [n]; other hashes for every purpose."""
    keys = (os.fsencode(f"{purpose} {name}") for name in names)
    return np.frombuffer(b"".join(hashlib.sha256(key).digest()[:8] for key in keys), "<u8")
