"""An exported classifier says what the classifier says, run by other programs."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlpvis_jax
from mlpvis_jax.errors import InputError, RunError, StorageError
from mlpvis_jax.files.atomic import replacing
from mlpvis_jax.inference import agreement, export, exporters, runners
from mlpvis_jax.inference.export import export_classifier
from mlpvis_jax.inference.trained import TrainedClassifier
from mlpvis_jax.learning.augment import Normalization
from mlpvis_jax.models import create_model
from tests import tiny

pytestmark = pytest.mark.slow  # `make test` takes less than five minutes

HEAD = jax.nn.initializers.normal(1.0)  # so that the classes differ
SIZES = {"patch_size": 4, "num_blocks": 2, "width": 8, "head_kernel_init": HEAD}


def classifier_of(name, shape=(6, 8, 3), **fields):
    """A classifier that was never trained; images of `shape` are resized to 16 x 16."""
    model = create_model(name, 5, **SIZES, **fields)
    params = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, shape[-1])))["params"]
    normalization = Normalization(np.float32([100, 110, 120]), np.float32([50, 60, 70]))
    description = {"class_names": list("abcde"), "model": {"name": name}}
    return TrainedClassifier(model, params, description, 16, shape, normalization, 8)


def images_of(number, height=6, width=8):
    return np.random.default_rng(7).integers(0, 256, (number, height, width, 3)).astype(np.uint8)


@pytest.fixture
def in_this_process(monkeypatch):
    """The file is run again without a new process, which takes seconds."""

    def run(file, batches):
        runner = runners.OPENERS[file.suffix](file)
        return {name: runner(images) for name, images in batches.items()}

    monkeypatch.setattr(agreement, "_run_in_fresh_process", run)


def test_stablehlo_of_any_batch_size_for_every_platform(tmp_path):
    classifier = classifier_of("mixer_keras", scan=True, remat=True)
    told = export_classifier(classifier, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        *("classifier.stablehlo", "export.json", "out"),
    ]
    loaded = mlpvis_jax.load_exported(tmp_path / "out")
    assert loaded.description == json.loads(json.dumps(told))
    assert loaded.description["input"]["shape"] == ["batch", 6, 8, 3]
    assert loaded.description["agreement"]["same_class"] == 12
    assert loaded.description["agreement"]["largest_probability_difference"] < 1e-6
    exported = jax.export.deserialize(
        bytearray((tmp_path / "out" / "classifier.stablehlo").read_bytes())
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
    for number in (1, 5):
        images = images_of(number)
        expected = classifier.features(images, "head")
        np.testing.assert_allclose(loaded.logits(images), expected, atol=1e-5)
        assert np.ptp(expected) > 0.1
    several = [images_of(1, 11, 5)[0], images_of(1)[0]]
    expected, found = classifier.predict(several), loaded.predict(several)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert found.names == expected.names and found.class_names == tuple("abcde")
    with pytest.raises(InputError, match=r"uint8 \[1, 7, 8, 3\].* takes uint8 \[batch, 6, 8, 3\]"):
        loaded.logits(images_of(1, 7))
    with pytest.raises(InputError, match="images is float32"):
        loaded.logits(images_of(1).astype(np.float32))
    with pytest.raises(InputError, match="out already"):
        export_classifier(classifier, tmp_path / "out")


def test_images_of_any_size(tmp_path, in_this_process):
    classifier = classifier_of("fnet_keras", position_init=None)
    export_classifier(classifier, tmp_path / "out", any_size=True)
    loaded = mlpvis_jax.load_exported(tmp_path / "out")
    for height, width in ((4, 12), (20, 16)):
        images = images_of(3, height, width)
        expected = classifier.model.apply(
            {"params": classifier.params}, classifier.normalization(images)
        )
        np.testing.assert_allclose(loaded.logits(images), expected, atol=1e-5)
    assert loaded.predict(images_of(2)).probabilities.shape == (2, 5)
    with pytest.raises(InputError, match=r"\[3, 6, 8, 3\].*4\*rows, 4\*columns"):
        loaded.logits(images_of(3))


@pytest.mark.parametrize("name", ["mixer_keras", "fnet_keras"])
def test_weights_for_each_token_are_of_one_image_size(name, tmp_path):
    with pytest.raises(InputError, match=r"any is for a model without.* is for 16 tokens"):
        export_classifier(classifier_of(name), tmp_path / "out", any_size=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mixer_keras", "fnet_keras", "gmlp_keras", "fnet_ti16"])
def test_onnx(name, tmp_path, in_this_process):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    classifier = classifier_of(name, dtype="bfloat16" if name == "gmlp_keras" else "float32")
    told = export_classifier(classifier, tmp_path / "out", format="onnx")
    assert told["opset"] == 17 and told["agreement"]["same_class"] >= 11
    exact = classifier_of(name)
    loaded = mlpvis_jax.load_exported(tmp_path / "out")
    np.testing.assert_allclose(
        loaded.logits(images_of(4)), exact.features(images_of(4), "head"), atol=1e-5
    )


@pytest.mark.parametrize(
    "format, package, extra", [("stablehlo", "flatbuffers", "export"), ("onnx", "jax2onnx", "onnx")]
)
def test_what_is_not_installed(format, package, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs {package}.*mlpvis_jax\[{extra}\]"):
        export_classifier(classifier_of("mixer_keras"), tmp_path / "out", format=format)
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_agree_is_not_kept(tmp_path, monkeypatch, in_this_process):
    run = agreement._run_in_fresh_process
    for change, limit in ((np.nan, "differ by nan"), (0.01, "0.0001 is allowed")):
        monkeypatch.setattr(
            agreement,
            "_run_in_fresh_process",
            lambda file, batches, change=change: {
                name: logits + change * np.arange(5) for name, logits in run(file, batches).items()
            },
        )
        with pytest.raises(RunError, match=limit):
            export_classifier(classifier_of("gmlp_keras"), tmp_path / "out")
        assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_run_is_not_kept(tmp_path, monkeypatch):
    def broken(program, shape):
        return b"noise", {}

    row = exporters.EXPORTERS["stablehlo"]._replace(serialize=broken)
    monkeypatch.setattr(export, "EXPORTERS", {"stablehlo": row})
    with pytest.raises(RunError, match=r"does not run in a fresh process \(\w"):
        export_classifier(classifier_of("mixer_keras"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "replacing", full)
    with pytest.raises(StorageError, match=r"out cannot be written \(No space left"):
        export_classifier(classifier_of("mixer_keras"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_exports_that_are_none(tmp_path, in_this_process):
    with pytest.raises(InputError, match=r"holds no export: there is no .*export\.json"):
        mlpvis_jax.load_exported(tmp_path / "out")
    export_classifier(classifier_of("mixer_keras"), tmp_path / "out")
    file, described = (tmp_path / "out" / name for name in ("classifier.stablehlo", "export.json"))
    content, told = file.read_bytes(), json.loads(described.read_text())
    file.write_bytes(content[:-1] + b"x")
    with pytest.raises(InputError, match="is not what was exported"):
        mlpvis_jax.load_exported(tmp_path / "out")
    file.unlink()
    with pytest.raises(InputError, match="There is no .*classifier.stablehlo"):
        mlpvis_jax.load_exported(tmp_path / "out")
    for key, value in {"class_names": ..., "image_shape": [1], "file": 3, "input": 1}.items():
        changed = {**told, key: value}
        if value is ...:
            del changed[key]
        with replacing(described) as partial:
            partial.write_text(json.dumps(changed))
        with pytest.raises(InputError, match="is not what an export writes"):
            mlpvis_jax.load_exported(tmp_path / "out")


@pytest.mark.slow
def test_the_command(tiny_npz, launch_main, tmp_path, capsys, in_this_process):
    run = tmp_path / "run"
    assert launch_main(*tiny.settings(tiny_npz, duration=1), f"--workdir={run}") == 0
    capsys.readouterr()
    for name in ("export", "export-2"):
        assert launch_main("--mode=export", f"--workdir={run}") == 0
        out = capsys.readouterr().out
        assert f"{run / name / 'classifier.stablehlo'}" in out and "of 12 images" in out
        loaded = mlpvis_jax.load_exported(run / name)
        expected = mlpvis_jax.load(run).predict(images_of(3))
        np.testing.assert_allclose(
            loaded.predict(images_of(3)).probabilities, expected.probabilities, atol=1e-5
        )
