"""What the papers' recipes for ImageNet-1k share; each number names its source.

[M] Tolstikhin et al., MLP-Mixer, 2021, and the configuration that the authors published for
    Mixer-B/16 on ImageNet-1k.
[G] Liu et al., Pay Attention to MLPs, 2021, its appendix on the hyper-parameters of image
    classification, as remembered and not read again.
"""

from ml_collections import ConfigDict

from configs import recipe


def from_scratch(model: str) -> ConfigDict:
    """Builds what [M] and [G] share: 300 epochs of ImageNet-1k at 224 px in batches of 4,096.

    Both have AdamW with a learning rate of 0.001 after 10,000 steps of warm-up, beta1 0.9, beta2
    0.999, and gradients clipped to norm 1. Pixels are in [-1, 1] [M].
    """
    config = recipe.keras_example(model, learning_rate=0.001)
    config.duration = "300 epochs"
    config.batch_size = 4096
    config.data.source = "tfds:imagenet2012"
    config.data.validation = "stratified:0.01"  # a hundredth validates, as [M] has it
    config.data.normalization = "half_range"
    config.data.framing = "centre"  # of 256 pixels the middle 224 are tested
    config.model.image_size = 224
    config.optimizer.update(clip_norm=1.0, b1=0.9, b2=0.999)
    config.reduce_on_plateau.patience = None
    config.early_stopping.patience = None
    return config


def mixer(model: str) -> ConfigDict:
    """Builds the recipe of Mixer-B/16 from scratch [M].

    A linear decay to a share of 1e-5 of the learning rate, a weight decay of 1e-4 a step, which is
    0.1 times the learning rate, on matrices alone, stochastic depth up to 0.1, sigmoid
    cross-entropy, mixup of 0.5, crops as of Inception, flips, and RandAugment with 2 operations;
    the head's biases begin at -6.9, about the logit of one class in a thousand.

    Three things differ. The authors' magnitude of 15 is beyond their scale, which ends at 10, and
    the strength here ends where torchvision's ends: so theirs moves images by 150 of 224 pixels
    (here by 101), makes colours, contrast, brightness and sharpness 2.8 times as strong and never
    weaker (here 1.9 or 0.1 times, by a fair draw), keeps 6 bits in "posterize" (here 4), and
    inverts no pixel in "solarize", which here inverts all. Their list of operations has three more
    (a square that is erased, inversion, and a solarisation that first adds), and not the identity;
    what comes in from outside of an image is grey there, and black here. And their stochastic depth
    does not divide the branches that are kept by the probability of keeping them.
    """
    config = from_scratch(model)
    config.model.update(stochastic_depth_rate=0.1, head_bias=-6.9)
    config.optimizer.update(weight_decay=0.1, decay="matrices", epsilon=1e-8)
    config.schedule = ConfigDict({"name": "linear", "warmup": "10000 steps", "final": 1e-5})
    config.loss = ConfigDict({"name": "sigmoid_cross_entropy", "label_smoothing": 0.0})
    config.mix = ConfigDict({"mixup": {"alpha": 0.5}})
    config.data.random_crop = 0.05
    config.augment = ConfigDict(
        {
            "flip": {"probability": 0.5},
            "rand_augment": {"num_operations": 2, "strength": 1.0},
        }
    )
    return config


def gmlp(model: str, stochastic_depth_rate: float) -> ConfigDict:
    """Builds the recipe of gMLP from scratch [G].

    A cosine to 0, a weight decay of 0.05, mixup of 0.8 or cutmix of 1.0 by a fair draw, smoothing
    of 0.1, and AutoAugment.
    """
    config = from_scratch(model)
    config.model.stochastic_depth_rate = stochastic_depth_rate
    config.optimizer.update(weight_decay=0.05, epsilon=1e-6)
    config.schedule = ConfigDict({"name": "cosine", "warmup": "10000 steps", "final": 0.0})
    config.loss.label_smoothing = 0.1
    config.data.random_crop = 0.08
    config.mix = ConfigDict(
        {
            "mixup_or_cutmix": {
                "mixup_alpha": 0.8,
                "cutmix_alpha": 1.0,
                "probability": 1.0,
                "switch_probability": 0.5,
            }
        }
    )
    config.augment = ConfigDict(
        {
            "flip": {"probability": 0.5},
            "auto_augment": {"strength": 1.0},
        }
    )
    return config
