import numpy as np
from sklearn import datasets

from mlpvis_jax.data import decode, open_source


def test_digits_are_those_of_scikit_learn_in_order() -> None:
    source = open_source("digits", image_size=64)
    bunch = datasets.load_digits()
    assert source.name == "digits"
    assert source.image_shape == (8, 8, 1)
    assert source.num_classes == 10 and source.class_names[3] == "3"
    train, train_labels = decode(source, "train", cache_dir=None)
    test, test_labels = decode(source, "test", cache_dir=None)
    assert train.shape == (1438, 8, 8, 1) and test.shape == (359, 8, 8, 1)
    assert train.dtype == test.dtype == np.uint8
    assert train_labels.dtype == test_labels.dtype == np.int32
    is_test = np.arange(1797) % 5 == 4
    np.testing.assert_array_equal(test_labels, bunch.target[is_test])
    np.testing.assert_array_equal(train_labels, bunch.target[~is_test])
    # 16 levels of grey come back from 255 of them.
    np.testing.assert_array_equal(np.round(train[..., 0] / 255 * 16), bunch.images[~is_test])
    assert train.max() == 255 and train.min() == 0
    image, label = source.test[1]
    np.testing.assert_array_equal(image, test[1])
    assert label == test_labels[1]
