"""What the configs share: every setting of a run, with the Keras example's values."""

from ml_collections import ConfigDict


def keras_example(model: str, learning_rate: float) -> ConfigDict:
    """Gives the Keras example's experiment on CIFAR-100 with one of its three models."""
    return ConfigDict(
        {
            "seed": 0,
            "duration": "50 epochs",
            "batch_size": 128,
            "microbatch_size": None,  # as is fastest on the kind of device
            "steps_per_dispatch": 8,
            "repeats": 1,
            "average_flips": False,
            "data": {
                "source": "cifar100",
                "data_dir": None,
                "cache_dir": None,
                "validation": None,  # as is right for the source: the last tenth of CIFAR-100
                "limit": None,
                "normalization": "statistics",
                "feed": None,  # resident where the images fit, else a stream
                "workers": 0,
                "framing": "stretch",
                "random_crop": None,
                "reduced_jpeg": False,
            },
            "augment": {"flip_zoom": {"flip_probability": 0.5, "zoom": 0.2}},
            "mix": {},
            # Any other field of the preset can be set, too: --config.model.num_blocks=8.
            "model": {"name": model, "image_size": 64},
            "optimizer": {
                "name": "adamw",
                "learning_rate": learning_rate,
                "weight_decay": 1e-4,
                "decay": "all",
                "clip_norm": None,
                "sharpness_radius": None,
                "head_learning_rate": None,
                "layer_decay": None,
                "freeze": None,
                "b1": 0.9,
                "b2": 0.999,
                "epsilon": 1e-7,
            },
            "schedule": {"name": "constant", "warmup": "0 epochs"},
            "averaging": {"decay": None},
            "loss": {"name": "softmax_cross_entropy", "label_smoothing": 0.0},
            "metrics": "top5_accuracy",
            "writers": "tensorboard curves",
            "reduce_on_plateau": {"factor": 0.5, "patience": 5, "min_delta": 1e-4},
            "early_stopping": {"patience": 10},
            "checkpoint": {"every_minutes": 10.0, "every_steps": None},
            "writers_every_steps": None,
            "writers_histograms": False,
            "init_from": None,
            "init_from_resolution": "interpolate",
        }
    )


def digits(config: ConfigDict) -> ConfigDict:
    """Takes scikit-learn's embedded digits, 8 x 8 grey pixels: a small model and a short run."""
    config.data.source = "digits"
    config.augment.flip_zoom.flip_probability = 0.0  # a mirrored digit is another sign
    config.duration = "60 epochs"
    config.batch_size = 32
    config.model.update(image_size=16, patch_size=2, width=64, num_blocks=2, dropout_rate=0.1)
    config.optimizer.learning_rate = 1e-3
    config.early_stopping.patience = 20  # 144 images validate, which is noisy
    return config


def finetune(config: ConfigDict, model: str, weights: str) -> ConfigDict:
    """Goes on with published weights, as the Mixer paper fine-tunes.

    Tolstikhin et al., 2021: SGD with momentum 0.9, batches of 512, a learning rate of 0.03 that
    falls along a cosine after 500 steps of warm-up, gradients clipped to norm 1, 224 px,
    pixels scaled to [-1, 1]. The number of epochs and no weight decay are this project's.
    """
    config.init_from = weights
    config.model = ConfigDict({"name": model, "image_size": 224, "dropout_rate": 0.0})
    config.data.normalization = "half_range"
    config.optimizer = ConfigDict(
        {
            "name": "sgd",
            "learning_rate": 0.03,
            "weight_decay": 0.0,
            "decay": "all",
            "clip_norm": 1.0,
            "head_learning_rate": None,
            "layer_decay": None,
            "freeze": None,
            "sharpness_radius": None,
            "momentum": 0.9,
            "nesterov": False,
        }
    )
    config.batch_size = 512
    config.duration = "20 epochs"
    config.schedule = ConfigDict({"name": "cosine", "warmup": "500 steps", "final": 0.0})
    config.reduce_on_plateau.patience = None
    config.early_stopping.patience = None
    return config


def fast(config: ConfigDict) -> ConfigDict:
    """Reaches about the accuracy of the example's 50 epochs in 5: Muon, a linear decay, no dropout.

    The schedule, the zoom, the batch size and the smoothing were chosen by the Mixer's validation
    accuracy.
    """
    config.duration = "5 epochs"
    config.augment.flip_zoom.zoom = 0.1
    config.model.dropout_rate = 0.0
    config.optimizer = ConfigDict(
        {
            "name": "muon",
            "learning_rate": 0.02,
            "weight_decay": 0.1,
            "decay": "all",
            "clip_norm": 1.0,
            "sharpness_radius": None,
            "head_learning_rate": None,
            "layer_decay": None,
            "freeze": None,
            "momentum": 0.95,
            "adam_share": 0.2,
            "b1": 0.9,
            "b2": 0.999,
        }
    )
    config.schedule = ConfigDict({"name": "linear", "warmup": "0.5 epochs", "final": 0.0})
    config.loss.label_smoothing = 0.1
    config.reduce_on_plateau.patience = None
    config.early_stopping.patience = None
    return config


def best(config: ConfigDict) -> ConfigDict:
    """Trains `fast` for 50 epochs, crops at random, and mixes a quarter of the images.

    It has half the learning rate of `fast`, and two epochs of warm-up. The share of mixed images
    was chosen by the Mixer's validation accuracy; gMLP has another.
    """
    flip_zoom = fast(config).augment.flip_zoom
    config.duration = "50 epochs"
    config.optimizer.learning_rate = 0.01
    config.schedule.warmup = "2 epochs"
    # The crop shifts images as they are stored; the zoom, which comes after it, enlarges them.
    config.augment = ConfigDict({"random_crop": {"padding": 4.0}, "flip_zoom": flip_zoom})
    config.mix = ConfigDict(
        {
            "mixup_or_cutmix": {
                "mixup_alpha": 0.2,
                "cutmix_alpha": 1.0,
                "probability": 0.25,
                "switch_probability": 0.5,
                "per": "image",
            }
        }
    )
    return config


def paper(config: ConfigDict) -> ConfigDict:
    """Takes the block of the paper, at the size of the example's."""
    config.model.name = config.model.name.replace("keras", "paper")
    return config


_VARIANTS = {"paper": paper, "digits": digits, "fast": fast, "best": best}


def variant(config: ConfigDict, name: str, further: tuple[str, ...] = ()) -> ConfigDict:
    """Gives the config as its variant has it; "" is the config as it is.

    Args:
      config: of the Keras example; it may be changed.
      name: a key of the table above.
      further: variants that the config file makes itself, for the message.
    """
    if name and name not in _VARIANTS:
        *others, last = *_VARIANTS, *further
        raise ValueError(f"there is no variant {name!r}; there are {', '.join(others)} and {last}.")
    return _VARIANTS[name](config) if name else config
