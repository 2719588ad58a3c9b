"""A trained classifier says of images what its evaluation says, wherever they come from."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import mlpvis_jax
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import load_weights, save_weights
from mlpvis_jax.inference.trained import load_file
from mlpvis_jax.running.evaluation import evaluate
from tests import tiny

# With small steps, so that nothing is certain after them.
CHANGES = {"model.image_size": 16, "optimizer.learning_rate": 1e-4}
NAMES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def of_folder(launch_main, tmp_path_factory):
    """A run on files of several sizes, and its source: the images of a class share a colour."""
    root = tmp_path_factory.mktemp("pets")
    generator = np.random.default_rng(0)
    for split, number in (("train", 12), ("test", 7)):
        for label, name in enumerate(NAMES):
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                size = generator.integers(5, 30, 2)
                pixels = generator.integers(0, 150, (*size, 3))
                pixels[..., label] += 80
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{index}.png")
    framing = {"data.framing": "centre"}  # which whoever predicts has to know of
    return trained(launch_main, f"folder:{root}", root.parent / "run", **framing), root


@pytest.fixture(scope="module")
def of_npz(launch_main, tiny_npz, tmp_path_factory):
    """A run on images of 8 x 8 pixels, of which the model sees 16 x 16."""
    path = tmp_path_factory.mktemp("runs") / "run"
    return trained(launch_main, f"npz:{tiny_npz}", path, **CHANGES)


def trained(launch_main, source, path, **changes):
    arguments = tiny.settings("", duration=2, **{"data.source": source, **changes})
    assert launch_main(*arguments, f"--workdir={path}") == 0
    return RunFolder(path)


@pytest.fixture(scope="module")
def classifier(of_folder):
    return mlpvis_jax.load(of_folder[0].path, batch_size=8)


def loss_and_accuracy(predictions, labels):
    right = predictions.probabilities.argmax(axis=-1) == labels
    of_labels = predictions.probabilities[np.arange(len(labels)), labels]
    return -np.log(of_labels.astype(float)).mean(), right.mean()


def test_files_that_are_resized_when_decoded(of_folder, classifier, capsys):
    folder, root = of_folder
    paths = [root / "test" / name / f"{n}.png" for name in NAMES for n in range(7)]
    predictions = classifier.predict(paths)
    tested = evaluate(folder.read_config(), folder)
    loss, accuracy = loss_and_accuracy(predictions, np.repeat(range(3), 7))
    assert accuracy == pytest.approx(tested["test_accuracy"])
    assert loss == pytest.approx(tested["test_loss"], rel=1e-5)
    assert predictions.class_names == NAMES and predictions.names == tuple(map(str, paths))
    arrays = [np.asarray(Image.open(path)) for path in paths]
    again = classifier.predict(arrays)
    np.testing.assert_array_equal(again.probabilities, predictions.probabilities)
    assert again.names[3] == "images[3]"
    assert "framed" not in capsys.readouterr().out
    config = folder.read_config()
    data = dataclasses.replace(config.data, framing="stretch")
    evaluate(dataclasses.replace(config, data=data), folder)
    assert "framed as config.data.framing=stretch, and those of the run as centre" in (
        capsys.readouterr().out
    )


def test_images_of_one_shape(of_npz, tiny_npz, tmp_path):
    data = np.load(tiny_npz)
    images, labels = data["x_test"], data["y_test"]
    classifier = mlpvis_jax.load(of_npz.path)
    assert classifier.image_shape == (8, 8, 3) and classifier.image_size == 16
    tested = evaluate(of_npz.read_config(), of_npz)
    paths = [tmp_path / f"{index}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    for given in (images, list(images), paths):
        loss, accuracy = loss_and_accuracy(classifier.predict(given), labels)
        assert accuracy == pytest.approx(tested["test_accuracy"])
        assert loss == pytest.approx(tested["test_loss"], rel=1e-5)
    # A large picture becomes small first, as the images of the set are.
    large = Image.fromarray(images[0]).resize((50, 40), Image.Resampling.NEAREST)
    small = large.resize((8, 8), Image.Resampling.BILINEAR)
    one, other = (classifier.predict([np.asarray(image)]) for image in (large, small))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_kinds_of_files(of_npz, tmp_path):
    """Each file beside the pixels, uint8 [8, 8, 3], that it should be read as."""
    classifier = mlpvis_jax.load(of_npz.path)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    grey = np.repeat(pixels[..., :1], 3, axis=-1)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    files = {
        "grey.png": (Image.fromarray(pixels[..., 0]), grey),
        "alpha.png": (Image.fromarray(np.dstack([pixels, pixels[..., 0]])), pixels),
        "deep.png": (Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), grey),
        "turned.png": (Image.fromarray(pixels), np.rot90(pixels, -1)),
    }
    for name, (image, expected) in files.items():
        image.save(tmp_path / name, **({"exif": exif} if name == "turned.png" else {}))
        np.testing.assert_array_equal(classifier.read(tmp_path / name)[0], expected)
        found = classifier.predict(str(tmp_path / name)).probabilities
        np.testing.assert_array_equal(found, classifier.predict([expected]).probabilities)


def test_batches_are_padded_to_one_shape(of_folder):
    classifier = mlpvis_jax.load(of_folder[0].path, batch_size=4)
    images = np.random.default_rng(2).integers(0, 256, (11, 9, 7, 3)).astype(np.uint8)
    found = classifier.predict(images).probabilities
    assert found.shape == (11, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert classifier._compute._cache_size() == 1
    alone = [classifier.predict(image[None]).probabilities[0] for image in images]
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-6)


def test_top(classifier):
    predictions = classifier.predict(np.zeros((2, 8, 8, 3), np.uint8))
    first, again = predictions.top(2)
    assert first == again and len(first) == 2
    order = np.argsort(-predictions.probabilities[0])
    assert [one.class_name for one in first] == [NAMES[label] for label in order[:2]]
    assert first[0].probability == predictions.probabilities[0].max()
    assert len(predictions.top()[0]) == 3
    with pytest.raises(InputError, match="must be 1 or more"):
        predictions.top(0)


def test_features(classifier):
    images = np.random.default_rng(3).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    assert classifier.layers() == ("stem", "MixerBlock_0", "pooled", "head")
    tokens = classifier.features(images, "MixerBlock_0")
    assert tokens.shape == (5, 4, 8) and tokens.dtype == np.float32
    pooled = classifier.features(images)
    np.testing.assert_allclose(pooled, tokens.mean(axis=1), rtol=1e-5, atol=1e-5)
    head = classifier.params["head"]
    logits = classifier.features(images, "head")
    np.testing.assert_allclose(logits, pooled @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"no layer 'pool' \(did you mean 'pooled'\?\)"):
        classifier.features(images, "pool")


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((1, 8, 8, 3), np.float32), r"images\[0\] is of type float32; .* uint8"),
        (np.zeros((1, 8, 8, 4), np.uint8), r"shape \[8, 8, 4\]; .* images of 3 channels"),
        ([np.zeros((8, 8), np.uint8)], r"shape \[8, 8\]; .* images of 3 channels"),
        ([np.zeros((0, 8, 3), np.uint8)], r"shape \[0, 8, 3\]"),
        (np.zeros((8, 8, 3), np.uint8), r"\[8, 8, 3\]; an array must be .* images\[None\]"),
        ([], "images is empty"),
        (np.zeros((0, 8, 8, 3), np.uint8), "images is empty"),
        (3, "images is a int; give paths"),
        ([None], r"images\[0\] is a NoneType; give paths"),
        ("nowhere.png", "nowhere.png is no file"),
        (["."], "is a folder"),
        (["x" * 5000], "is no file"),
        ([__file__], "test_trained.py cannot be decoded as an image"),
    ],
)
def test_images_that_are_refused(classifier, images, message):
    with pytest.raises(InputError, match=message):
        classifier.predict(images)


def test_weights_that_are_refused(of_folder, tmp_path):
    folder, _ = of_folder
    with pytest.raises(InputError, match="There is no .*none"):
        mlpvis_jax.load(tmp_path / "none")
    with pytest.raises(InputError, match="There is no ~nobody-here/run"):
        mlpvis_jax.load("~nobody-here/run")
    with pytest.raises(InputError, match=r"config.json is no safetensors file \([^)]*\)\.$"):
        mlpvis_jax.load(folder.config)
    with pytest.raises(InputError, match="holds no run"):
        mlpvis_jax.load(tmp_path)
    loaded = mlpvis_jax.load(folder.best_weights)  # a file of weights alone is enough
    params, path = loaded.params, tmp_path / "other.safetensors"
    for lost, message in (
        ("class_names", "what its classes are"),
        ("model", "of which model"),
        ("normalization_mean", "how its images, of 3 channels, were scaled"),
    ):
        told = {key: value for key, value in loaded.description.items() if key != lost}
        save_weights(path, params, told)
        with pytest.raises(InputError, match=f"{path} does not say {message}"):
            mlpvis_jax.load(path)
    with pytest.raises(InputError, match="batch_size is 0"):
        mlpvis_jax.load(folder.path, batch_size=0)


def test_weights_without_the_shape_of_their_images(of_folder, tmp_path):
    loaded = mlpvis_jax.load(of_folder[0].path)
    told = {key: value for key, value in loaded.description.items() if key != "data"}
    save_weights(tmp_path / "bare.safetensors", loaded.params, told)
    assert load_file(tmp_path / "bare.safetensors").image_shape == (8, 8, 3)
    found, _ = load_weights(tmp_path / "bare.safetensors", loaded.params)
    assert set(found) == set(loaded.params)


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        mlpvis_jax.lod  # noqa: B018
    assert "load" in dir(mlpvis_jax)
