"""Predictions of images whose labels are known, and the file that holds them."""

import csv

import numpy as np
import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.report.predictions import LabelledPredictions

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]], np.float32)
NAMES = ("cat", 'dog, "big"', "owl")


def test_of_probabilities():
    found = LabelledPredictions.of(PROBABILITIES, np.array([0, 1, 1], np.int32))
    assert found.predictions.tolist() == [0, 0, 2]  # of equal ones the first
    assert found.are_right.tolist() == [True, False, False]
    np.testing.assert_allclose(found.confidences, [0.7, 0.4, 0.8])
    np.testing.assert_allclose(found.label_probabilities, [0.7, 0.4, 0.1])


def test_the_file_gives_back_what_it_was_given(tmp_path):
    found = LabelledPredictions.of(PROBABILITIES, np.array([0, 1, 1]))
    path = tmp_path / "predictions.csv"
    path.write_bytes(found.to_csv(NAMES))
    for before, after in zip(found, LabelledPredictions.read(path), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)
    rows = list(csv.DictReader(path.open(newline="")))
    assert rows[1] == {
        "image": "1",
        "label": "1",
        "prediction": "0",
        "confidence": "0.400000",
        "label_probability": "0.400000",
        "label_name": 'dog, "big"',
        "prediction_name": "cat",
    }


@pytest.mark.parametrize("content", [b"image,label\n1,2\n", b"\xff\xfe", b"label,prediction\nx,1"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "predictions.csv"
    with pytest.raises(InputError, match=r"predictions\.csv cannot be read as predictions"):
        LabelledPredictions.read(path)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"predictions\.csv cannot be read as predictions"):
        LabelledPredictions.read(path)
