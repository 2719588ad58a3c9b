"""The data of a run: a source's three sets, and the statistics of the one that is trained on."""

import dataclasses
from pathlib import Path
from typing import Literal

from mlpvis_jax.data import Source, decode, open_source
from mlpvis_jax.data.resident import ResidentSet
from mlpvis_jax.errors import InputError
from mlpvis_jax.learning import augment
from mlpvis_jax.settings.config import RunConfig

TRAINING_SHARE = 0.9  # of the training split; what follows validates


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run learns from and is measured on.

    Attributes:
      source: where the images come from.
      training, validation, test: its three sets.
      normalization: statistics of the training images.
    """

    source: Source
    training: ResidentSet
    validation: ResidentSet
    test: ResidentSet
    normalization: augment.Normalization

    @classmethod
    def read(cls, config: RunConfig, run: Path) -> "Task":
        """Decodes the sets, or maps their cached copies: by default in the run's neighbour.

        Raises:
          InputError: no such source, or one that cannot be trained on.
        """
        source = open_data(config)
        training, validation = split_off_validation(
            source, read_split(config, source, "train", run)
        )
        test = read_split(config, source, "test", run)
        images = training.images.reshape(-1, *training.image_shape)
        return cls(source, training, validation, test, augment.channel_statistics(images))

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.source.image_shape[-1]

    def describe(self) -> str:
        """Describes the data in words, with the number of images and classes."""
        sizes = [len(part) for part in (self.training, self.validation, self.test)]
        return (
            f"{self.source.name}: {sizes[0]:,} train, {sizes[1]:,} validation, {sizes[2]:,} test "
            f"images, {self.source.num_classes} classes"
        )


def open_data(config: RunConfig) -> Source:
    """Opens the source that the settings name; nothing is decoded yet."""
    return open_source(
        config.data.source, image_size=config.model.image_size, data_dir=config.data.data_dir
    )


def read_split(
    config: RunConfig, source: Source, split: Literal["train", "test"], run: Path
) -> ResidentSet:
    """Decodes a split, or maps its cached copy: by default in the run's neighbour `decoded`."""
    cache_dir = Path(config.data.cache_dir or run.absolute().parent / "decoded").expanduser()
    return ResidentSet.of(*decode(source, split, cache_dir=cache_dir))


def split_off_validation(source: Source, examples: ResidentSet) -> tuple[ResidentSet, ResidentSet]:
    """Splits the training split into the part to train on and its last tenth, which validates.

    Raises:
      InputError: too few images for both.
    """
    number = int(len(examples) * TRAINING_SHARE)
    if number == 0:
        raise InputError(
            f"{source.name} has {len(examples)} training image, too few to set a tenth aside for "
            "validation; at least 2 are needed."
        )
    return examples.part(slice(number)), examples.part(slice(number, None))
