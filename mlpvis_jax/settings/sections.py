"""The sections of a run's settings: each key with its type, its range, its role and its meaning."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from mlpvis_jax.settings.declared import (
    Count,
    NotNegative,
    OneOf,
    Pixels,
    Positive,
    Rate,
    Role,
    Within,
)
from mlpvis_jax.settings.durations import Duration

Options = Mapping[str, Any]
Name = Annotated[str, Role.SHAPE, "A row of the section's table, or MODULE:NAME of your own."]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    source: Annotated[
        str,
        Role.SHAPE,
        "One of digits, cifar10, cifar100, tfds:NAME, folder:PATH, npz:PATH, shards:PATH, or "
        "MODULE:NAME.",
    ]
    data_dir: Annotated[
        str | None,
        Role.MACHINE,
        "Folder of prepared TFDS sets; None: TFDS_DATA_DIR or TFDS's own.",
    ]
    cache_dir: Annotated[
        str | None, Role.MACHINE, "Folder of decoded images; None: a folder beside the run."
    ]
    validation: Annotated[
        str | None,
        Role.SHAPE,
        "A split of the source by its name, last:SHARE or stratified:SHARE of the images to train "
        "on; None: the source's own split; where it has none, last:0.1 of cifar and digits, and "
        "stratified:0.1 of all others.",
    ]
    limit: Annotated[
        Count | None, Role.SHAPE, "Images of each split, of all classes, for a quick try."
    ]
    normalization: Annotated[
        str,
        OneOf(("statistics", "half_range")),
        Role.SHAPE,
        "How pixels are scaled: to mean 0 and deviation 1 of each channel over the training "
        "images, or (x - 127.5) / 127.5 as for the papers' published weights.",
    ] = "statistics"
    feed: Annotated[
        str | None,
        OneOf(("resident", "stream")),
        Role.MACHINE,
        "Whether decoded images lie on every device, or are read and decoded on the way; None: a "
        "stream where the decoded images would fill a quarter of a device's memory, or random_crop "
        "is set.",
    ] = None
    workers: Annotated[
        int,
        Within(0, most=1024),
        Role.MACHINE,
        "Processes that decode the images of a stream; 0: threads of this process, one a core.",
    ] = 0
    framing: Annotated[
        str,
        OneOf(("stretch", "centre")),
        Role.SHAPE,
        "What becomes the square of an image of any proportions: all of it, stretched, or the "
        "middle of it, a square of 224/256 of the shorter side, as the papers evaluate ImageNet.",
    ] = "stretch"
    random_crop: Annotated[
        float | None,
        Within(0, above=0, most=1),
        Role.SHAPE,
        "Least share of the area of a random part of each training image that a stream decodes, "
        "anew each epoch (Szegedy et al., 2015), such as 0.08; None: as framing says.",
    ] = None
    reduced_jpeg: Annotated[
        bool,
        Role.SHAPE,
        "Decode JPEGs to train on at a half, a quarter or an eighth of their size where they are "
        "that much larger than is needed; faster, and slightly other pixels.",
    ] = False


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A preset by its name, with any field of its classifier or block replaced."""

    name: Name
    image_size: Annotated[Pixels, Role.SHAPE, "Height and width that images are resized to."]
    options: Options


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optimiser by its name, with its options."""

    name: Name
    learning_rate: Annotated[
        NotNegative, Role.TRACED, "Highest step size; the schedule and the plateau lower it."
    ]
    weight_decay: Annotated[
        NotNegative, Role.TRACED, "Decoupled decay, multiplied by the learning rate."
    ]
    decay: Annotated[
        str,
        OneOf(("all", "matrices")),
        Role.SHAPE,
        "What decays: all parameters, or no biases and norms.",
    ]
    clip_norm: Annotated[
        Positive | None, Role.TRACED, "Largest global norm of the gradients; None: no clipping."
    ]
    options: Options
    sharpness_radius: Annotated[
        Positive | None,
        Role.TRACED,
        "Sharpness-aware minimisation: gradients are those of the weights at this distance up the "
        "slope, which takes twice the time; None: those of the weights.",
    ] = None
    head_learning_rate: Annotated[
        NotNegative | None, Role.TRACED, "Highest step size of the head; None: that of the rest."
    ] = None
    layer_decay: Annotated[
        float | None,
        Within(0, above=0, most=1),
        Role.TRACED,
        "What the learning rate of a layer is multiplied by, from the head down to the stem; None: "
        "all layers have the same.",
    ] = None
    freeze: Annotated[
        str | None,
        Role.SHAPE,
        "Patterns of parameters that stay as they are, such as 'stem/*'; '!head/*': all but the "
        "head; None: none.",
    ] = None


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """A schedule of the learning rate by its name, with its options."""

    name: Name
    warmup: Annotated[
        Duration,
        Within(0, most=10**12),
        Role.TRACED,
        "Duration over which the learning rate rises linearly from 0, such as '500 steps'.",
    ]
    options: Options


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """A loss by its name, with its options."""

    name: Name
    options: Options


@dataclasses.dataclass(frozen=True)
class AveragingConfig:
    decay: Annotated[
        Rate | None,
        Role.TRACED,
        "Share of the average of the weights that stays at each step, at most (1 + t) / (10 + t) "
        "after t steps; None: no averaging.",
    ]


@dataclasses.dataclass(frozen=True)
class ReduceOnPlateauConfig:
    factor: Annotated[
        float, Within(0, above=0, below=1), Role.RULE, "What the learning rate is multiplied by."
    ]
    patience: Annotated[
        Count | None, Role.RULE, "Epochs without a lower validation loss; None: never."
    ]
    min_delta: Annotated[NotNegative, Role.RULE, "Nats by which a validation loss must be lower."]


@dataclasses.dataclass(frozen=True)
class EarlyStoppingConfig:
    patience: Annotated[
        Count | None, Role.RULE, "Epochs without a lower validation loss; None: never."
    ]


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When a checkpoint is due besides the end of each epoch."""

    every_minutes: Annotated[Positive | None, Role.MACHINE, "Minutes; None: not by the clock."]
    every_steps: Annotated[
        Count | None, Role.MACHINE, "Steps, counted after a whole dispatch; None: not by steps."
    ]
