"""MLP-Mixer: the Keras example's recipe on CIFAR-100, the paper's block, and a small run on digits.

Test accuracy / top-5 accuracy in percent, mean ± standard deviation over seeds; 2 cores of an
AMD EPYC, JAX 0.10.2.

python launch.py --config=configs/mixer.py
    The block of the example.
    After 1 epoch (--config.duration='1 epoch') 17.35 ± 1.63 / 42.60 ± 1.98, 3 seeds.
    After 50 epochs 47.69 / 77.20, 1 seed; as two devices of an Intel Xeon 48.12 / 77.53, 1 seed, in
    43 minutes.
    758 images/s (median of four rounds, 672 to 801),
    about a minute an epoch: docs/results.md.

python launch.py --config=configs/mixer.py:paper
    The block of the paper at the same size, with the example's dropout.
    After 1 epoch 19.18 ± 0.71 / 45.92 ± 0.88, 3 seeds.

python launch.py --config=configs/mixer.py:digits
    Scikit-learn's embedded digits: 97.49 ± 0.28 / 99.91 ± 0.16, 3 seeds, after 35 to 38 epochs of
    about a second each.

python launch.py --config=configs/mixer.py:fast
    Five epochs of Muon: 47.74 ± 0.52 / 76.98 ± 0.14, 3 seeds, where the example's recipe takes 50
    epochs to 47.69 / 77.20; on one machine 3.8 and 43 minutes. Of five runs of seed 0 its
    validation accuracy, 46.8, was the highest: with a cosine in place of the linear decay 45.9;
    with that and the example's zoom 45.4, in batches of 64 images (learning rate 0.015) 45.3, and
    in such batches with this zoom and without smoothing 45.3.

python launch.py --config=configs/mixer.py:best
    Fifty epochs of Muon, with crops and mixed images: 57.45 / 83.20, 1 seed, where the example's
    recipe has 47.69 / 77.20. About 51 minutes, as one of two runs of a sweep. The share of mixed
    images was chosen by the validation accuracy of the two: 55.6, and without mixing 55.3
    (docs/results.md).

python launch.py --config=configs/mixer.py:finetune
    Fine-tunes the published Mixer-B/16 of ImageNet-21k, as in the paper. Not yet trained here.
"""

from ml_collections import ConfigDict

from configs import recipe


def get_config(variant: str = "") -> ConfigDict:
    if variant == "finetune":
        config = recipe.keras_example("mixer_keras", learning_rate=0.03)
        return recipe.finetune(config, "mixer_b16", "mixer_b16_imagenet21k")
    config = recipe.keras_example("mixer_keras", learning_rate=0.005)
    return recipe.variant(config, variant, further=("finetune",))
