"""FNet: the Keras example's recipe on CIFAR-100, the paper's block, and a small run on digits.

Test accuracy / top-5 accuracy in percent, mean ± standard deviation over seeds; 2 cores of an
AMD EPYC, JAX 0.10.2.

python launch.py --config=configs/fnet.py
    The block of the example.
    After 1 epoch (--config.duration='1 epoch') 13.54 ± 0.44 / 36.20 ± 0.35, 3 seeds.
    484 images/s (median of four rounds, 378 to 517),
    about a minute and a half an epoch: docs/results.md.

python launch.py --config=configs/fnet.py:paper
    The block of the paper at the same size, with the example's dropout.
    After 1 epoch 10.90 ± 0.52 / 31.45 ± 0.83, 3 seeds.

python launch.py --config=configs/fnet.py:digits
    Scikit-learn's embedded digits: 98.33 ± 0.28 / 100.00 ± 0.00, 3 seeds, after 50 to 60 epochs of
    about a second each.

python launch.py --config=configs/fnet.py:fast
    Five epochs of Muon, with less of the learning rate for what Muon leaves to Adam: a share of 0.1
    in place of the Mixer's 0.2, which the validation accuracy chose. The rest is the Mixer's.
    47.59 ± 0.27 / 77.41 ± 0.10, 3 seeds, where the example's page has 46.63 / 76.47 after 50
    epochs (two cores of an Intel Xeon). With a share of 0.2 it was 46.55 ± 0.57 / 76.57 ± 0.26,
    3 seeds.

python launch.py --config=configs/fnet.py:best
    Fifty epochs of Muon, with the same share, and with crops and mixed images:
    53.59 / 81.19, 1 seed, where the example's page has 46.63 / 76.47. About two hours of two cores
    of an Intel Xeon.
"""

from ml_collections import ConfigDict

from configs import recipe


def get_config(variant: str = "") -> ConfigDict:
    config = recipe.variant(recipe.keras_example("fnet_keras", learning_rate=0.001), variant)
    if variant in ("fast", "best"):
        config.optimizer.adam_share = 0.1
    return config
