"""What the configs share: every setting of a run, with the Keras example's values."""

from ml_collections import ConfigDict


def keras_example(model: str, learning_rate: float) -> ConfigDict:
    """The Keras example's experiment on CIFAR-100 with one of its three models."""
    return ConfigDict(
        {
            "seed": 0,
            "num_epochs": 50,
            "batch_size": 128,
            "microbatch_size": None,  # as is fastest on the kind of device
            "steps_per_dispatch": 8,
            "data": {
                "source": "cifar100",
                "data_dir": None,
                "cache_dir": None,
                "validation": None,  # as is right for the source: the last tenth of CIFAR-100
                "limit": None,
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
                "b1": 0.9,
                "b2": 0.999,
                "epsilon": 1e-7,
            },
            "schedule": {"name": "constant", "warmup_epochs": 0.0},
            "averaging": {"decay": None},
            "loss": {"name": "softmax_cross_entropy", "label_smoothing": 0.0},
            "metrics": "top5_accuracy",
            "writers": "tensorboard curves",
            "reduce_on_plateau": {"factor": 0.5, "patience": 5, "min_delta": 1e-4},
            "early_stopping": {"patience": 10},
            "checkpoint": {"every_minutes": 10.0, "every_steps": None},
            "writers_every_steps": None,
            "writers_histograms": False,
        }
    )


def digits(config: ConfigDict) -> ConfigDict:
    """Scikit-learn's embedded digits, 8 x 8 grey pixels: a small model and a short run."""
    config.data.source = "digits"
    config.augment.flip_zoom.flip_probability = 0.0  # a mirrored digit is another sign
    config.num_epochs = 60
    config.batch_size = 32
    config.model.update(image_size=16, patch_size=2, width=64, num_blocks=2, dropout_rate=0.1)
    config.optimizer.learning_rate = 1e-3
    config.early_stopping.patience = 20  # 144 images validate, which is noisy
    return config


def variant(config: ConfigDict, name: str) -> ConfigDict:
    """The config as its variant has it: "" (as it is), "paper" or "digits"."""
    if name == "digits":
        return digits(config)
    if name == "paper":
        config.model.name = config.model.name.replace("keras", "paper")
    elif name:
        raise ValueError(f"there is no variant {name!r}; there are paper and digits.")
    return config
