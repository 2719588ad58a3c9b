"""The data of a run: a source's three sets, and the statistics of the one that is trained on.

The sets are resident or streamed, all three alike.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.data import Source, decode, identity, open_source, split
from mlpvis_jax.data.examples import ArrayExamples, Examples, Part
from mlpvis_jax.data.index_cache import kept
from mlpvis_jax.data.paths import read_path
from mlpvis_jax.data.prefetching import refuse_without_grain
from mlpvis_jax.data.reading import count_values
from mlpvis_jax.data.resident import ResidentSet
from mlpvis_jax.data.streamed import StreamedSet
from mlpvis_jax.errors import InputError
from mlpvis_jax.learning import augment
from mlpvis_jax.running.room import device_bytes
from mlpvis_jax.settings.config import RunConfig

ImageSet = ResidentSet | StreamedSet
# Decoded images that would fill more of a device's memory are streamed, unless settings say else.
_SHARE_OF_MEMORY = 0.25


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run learns from and is measured on.

    Attributes:
      source: where the images come from.
      training, validation, test: its three sets.
      normalization: how pixels are scaled.
      identity: JSON values that are others for other data; see `data.identity`.
    """

    source: Source
    training: ImageSet
    validation: ImageSet
    test: ImageSet
    normalization: augment.Normalization
    identity: dict[str, Any]

    @classmethod
    def read(cls, config: RunConfig, run: Path) -> "Task":
        """Decodes the sets, or maps their cached copies: by default in the run's neighbour.

        Of sets that are streamed no image is decoded, unless their statistics are asked for.

        The limit comes first, and the images that validate are taken from those it leaves.

        Raises:
          InputError: no such source, or one that cannot be trained on.
        """
        source = open_data(config)
        _refuse_inside(source, config, run)
        rule = split.find_rule(source, config.data.validation)
        training, examples = _read(config, source, "train", run)
        labels = np.asarray(training.labels)
        if rule == source.split_names.get("validation"):
            validation, of_validation = _read(config, source, "validation", run)
        else:
            rows = split.divide(source, rule, examples, training.images, labels)
            training, validation = (training.part(some) for some in rows)
            examples, of_validation = (examples.take(some) for some in rows)
        lost = set(np.unique(labels)) - set(np.unique(training.labels))
        if lost:
            raise InputError(
                f"config.data.validation={rule} leaves no image of the class "
                f"{source.class_names[min(lost)]!r} of {source.name} to train on; "
                "config.data.validation=stratified:0.1 takes from every class its share."
            )
        test, of_test = _read(config, source, "test", run)
        described: dict[str, Any] = {
            "source": source.name,
            "class_names": list(source.class_names),
            "image_shape": list(source.image_shape),
            "validation_rule": rule,
            "training": identity.describe_set(training, examples),
            "validation": identity.describe_set(validation, of_validation),
            "test": identity.describe_set(test, of_test),
        }
        normalization = _normalization(config, source, training, described["training"])
        return cls(source, training, validation, test, normalization, described)

    @classmethod
    def of_test_set(
        cls, config: RunConfig, source: Source, run: Path, normalization: augment.Normalization
    ) -> "Task":
        """Reads the test set alone; the two other sets have no images.

        It is decoded in any case, for a report needs its images in one array; one that is streamed
        is read from there.
        """
        decoded, examples = _decode(config, source, "test", run)
        test: ImageSet = decoded
        if is_streamed(config, source):
            images = np.asarray(decoded.images).reshape(-1, *decoded.image_shape)
            labels = np.asarray(decoded.labels)
            test = StreamedSet(ArrayExamples(images, labels), labels, decoded.image_shape)
        nothing = test.part(slice(0))
        described = {"test": identity.describe_set(decoded, examples)}
        return cls(source, nothing, nothing, test, normalization, described)

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.source.image_shape[-1]

    def describe(self) -> str:
        """Describes the data in words: images, classes, and classes that a set has no image of."""
        sets = {"training": self.training, "validation": self.validation, "test": self.test}
        train, validation, test = (len(one) for one in sets.values())
        words = (
            f"{self.source.name}: {train:,} train, {validation:,} validation "
            f"({self.identity['validation_rule']}), {test:,} test images, "
            f"{self.source.num_classes} classes"
        )
        for name, one in sets.items():
            absent = sorted(set(range(self.source.num_classes)) - set(np.unique(one.labels)))
            if absent:
                some = ", ".join(repr(self.source.class_names[label]) for label in absent[:3])
                more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
                words += f"; no {name} image of {some}{more}"
        return f"{words}; streamed" if isinstance(self.training, StreamedSet) else words

    def refuse_other(self, before: Mapping[str, Any], place: str) -> None:
        """Raises InputError, naming `place`, where what began on other data cannot go on with it.

        Args:
          before: the `identity` of those data.
          place: such as "--workdir=runs/first".
        """
        differing = identity.differences(before, self.identity)
        if differing:
            raise InputError(
                f"{place} was begun on other data: {'; '.join(differing)}. Give it the data that "
                "it had, or begin anew in another folder."
            )


def open_data(config: RunConfig) -> Source:
    """Opens the source that the settings name; nothing is decoded yet.

    Raises:
      InputError: there is none, or it is not what can be trained on with these settings.
    """
    source = open_source(
        config.data.source,
        image_size=config.model.image_size,
        data_dir=config.data.data_dir,
        framing=config.data.framing,
        reduced_jpeg=config.data.reduced_jpeg,
    )
    if source.num_classes < 2:
        raise InputError(
            f"{source.name} has only the class {', '.join(map(repr, source.class_names))}; at "
            "least 2 classes are needed, to tell one from another."
        )
    if config.data.random_crop is not None and source.train.frame is None:
        raise InputError(
            "config.data.random_crop is for images of any proportions, as they are decoded; those "
            f"of {source.name} have one shape. Set it to None, and crop them on the device: "
            "--config.augment.random_resized_crop.smallest=0.08."
        )
    split.find_rule(source, config.data.validation)
    return source


def is_streamed(config: RunConfig, source: Source) -> bool:
    """Tells whether the sets of a source are streamed with these settings on this machine.

    Raises:
      InputError: they are, and there is nothing to stream them with.
    """
    feed = config.data.feed
    if feed == "resident" and config.data.random_crop is not None:
        raise InputError(
            "config.data.feed=resident decodes an image once, and config.data.random_crop each "
            "time another part of it; set feed=stream, or random_crop=None."
        )
    if feed is None and config.data.random_crop is not None:
        feed = "stream"
    if feed is None:
        parts = [source.train, source.test, *([source.validation] if source.validation else [])]
        # Which images a limit takes is known by their labels, so without these all are decoded.
        limit = config.data.limit
        number = sum(
            len(part) if part.labels is None or limit is None else min(len(part), limit)
            for part in parts
        )
        decoded = number * int(np.prod(source.image_shape))
        feed = "stream" if decoded > _SHARE_OF_MEMORY * device_bytes() else "resident"
    if feed == "stream":
        refuse_without_grain()
    return feed == "stream"


def _normalization(
    config: RunConfig, source: Source, training: ImageSet, described: dict[str, Any]
) -> augment.Normalization:
    """How pixels are scaled; the statistics of a streamed set are kept for its next start."""
    if config.data.normalization == "half_range":
        half = np.full(training.image_shape[-1], 127.5, np.float32)
        return augment.Normalization(half, half)
    if isinstance(training, StreamedSet):
        shape, workers = training.image_shape, config.data.workers

        def count() -> dict[str, np.ndarray]:
            return {"counts": count_values(training.examples, shape, workers)}

        name = f"pixels-{identity.name_of_set(described, source)}"
        counts = count() if training.images is not None else kept(name, ("counts",), count)
        return augment.normalization_of(np.asarray(counts["counts"]))
    return augment.channel_statistics(
        np.asarray(training.images).reshape(-1, *training.image_shape)
    )


def _refuse_inside(source: Source, config: RunConfig, run: Path) -> None:
    """Raises InputError where a run, or what is decoded, would lie among the images."""
    places = {"--workdir": run}
    if config.data.cache_dir:
        setting = "config.data.cache_dir"
        places[setting] = read_path(config.data.cache_dir, setting)
    for setting, place in places.items():
        for folder in source.folders:
            if Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)):
                raise InputError(
                    f"{setting}={place} lies in {folder}, of which every folder is a class of "
                    f"{source.name}; choose a place outside of it."
                )


def _read(config: RunConfig, source: Source, part: Part, run: Path) -> tuple[ImageSet, Examples]:
    """The images of a part that the limit leaves, and where they come from."""
    if not is_streamed(config, source):
        return _decode(config, source, part, run)
    images = open_part(config, source, part)
    return images, images.examples


def open_part(config: RunConfig, source: Source, part: Part) -> StreamedSet:
    """Opens the images of a part that the limit leaves, of which no more is read than the labels.

    Raises:
      InputError: no images, a label outside the classes, or files that cannot be read.
    """
    images, limit = StreamedSet.of(source, part), config.data.limit
    if limit is not None and len(images) > limit:
        images = images.part(split.first_rows(source, images.examples, images.labels, limit))
    return images


def _decode(
    config: RunConfig, source: Source, part: Part, run: Path
) -> tuple[ResidentSet, Examples]:
    """The same, decoded."""
    limit = config.data.limit
    if limit is not None:
        source = split.limit_known(source, part, limit)
    examples = source.examples(part)
    cache_dir = run.absolute().parent / "decoded"
    if config.data.cache_dir:
        cache_dir = read_path(config.data.cache_dir, "config.data.cache_dir")
    images, labels = decode(source, part, cache_dir=cache_dir)
    if limit is not None and len(labels) > limit:
        rows = split.first_rows(source, examples, labels, limit)
        images, labels, examples = images[rows], labels[rows], examples.take(rows)
    return ResidentSet.of(images, labels), examples
