"""gMLP: the Keras example's recipe on CIFAR-100, the paper's block, and a small run on digits.

Test accuracy / top-5 accuracy in percent, mean ± standard deviation over seeds; 2 cores of an
AMD EPYC, JAX 0.10.2.

python launch.py --config=configs/gmlp.py
    The block of the example.
    After 1 epoch (--config.duration='1 epoch') 15.84 ± 1.16 / 41.18 ± 1.07, 3 seeds.
    324 images/s (median of four rounds, 280 to 399),
    about two and a half minutes an epoch: docs/results.md.

python launch.py --config=configs/gmlp.py:paper
    The block of the paper at the same size, with the example's dropout.
    After 1 epoch 20.84 ± 0.13 / 48.66 ± 0.13, 3 seeds.

python launch.py --config=configs/gmlp.py:digits
    Scikit-learn's embedded digits: 98.14 ± 0.16 / 100.00 ± 0.00, 3 seeds, after 35 to 47 epochs of
    about a second each.

python launch.py --config=configs/gmlp.py:fast
    Five epochs of Muon, with the Mixer's settings: 51.84 ± 0.58 / 80.20 ± 0.20, 3 seeds, where the
    example's page has 50.64 / 78.28 after 50 epochs.

python launch.py --config=configs/gmlp.py:best
    Fifty epochs of Muon, with the Mixer's settings, but half of the images mixed: 62.84 / 86.28, 1
    seed, where the example's page has 50.64 / 78.28. 108 minutes of two cores of an Intel Xeon as
    two devices (JAX_NUM_CPU_DEVICES=2).

python launch.py --config=configs/gmlp.py:finetune
    Fine-tunes the published gMLP-S/16 of ImageNet-1k, as the Mixer paper fine-tunes. Not yet
    trained here.
"""

from ml_collections import ConfigDict

from configs import recipe


def get_config(variant: str = "") -> ConfigDict:
    if variant == "finetune":
        config = recipe.keras_example("gmlp_keras", learning_rate=0.03)
        config = recipe.finetune(config, "gmlp_s16", "gmlp_s16_imagenet1k")
        config.model.gate_epsilon = 1e-5  # as timm, which trained these weights, has it
        return config
    config = recipe.keras_example("gmlp_keras", learning_rate=0.003)
    config = recipe.variant(config, variant, further=("finetune",))
    if variant == "best":  # it has 3.6 times the parameters of the Mixer, and overfits more
        config.mix.mixup_or_cutmix.probability = 0.5
    return config
