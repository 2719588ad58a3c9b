"""Whatever is wrong with the input: exit status 2, one message that names the culprit, no more.

Nothing is compiled, and nothing in the folder of the run changes.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import save_weights
from mlpvis_jax.models import create_model
from mlpvis_jax.running import task
from mlpvis_jax.running.placement import Devices

ROOT = Path(__file__).parents[1]
MIXER = "--config=configs/mixer.py:digits"


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise AssertionError("this must not happen with bad input")

    monkeypatch.setattr(Devices, "compile", refuse)
    monkeypatch.setattr(RunFolder, "write_config", refuse)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)


def no_network(*arguments, **options):
    raise urllib.error.URLError("Name or service not known")


@pytest.fixture
def refused(launch_main, capsys, tmp_path):
    """A function: these arguments are refused with a message that has all of these parts."""

    def check(arguments, parts):
        if not any(argument.startswith("--workdir") for argument in arguments):
            arguments = [*arguments, f"--workdir={tmp_path / 'run'}"]
        before = files_below(tmp_path)
        status = launch_main(*arguments)
        out, err = capsys.readouterr()
        assert status == 2, err
        assert out == "" and err.startswith("launch.py: ") and err.endswith((".\n", "?\n", ")\n"))
        assert err.count("\n") == 1 and "Traceback" not in err
        for part in parts:
            assert part in err, err
        assert files_below(tmp_path) == before

    return check


def files_below(folder):
    """Content and time of every file, but of data, which may be decoded before it fails."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and not {"tfds", "decoded", "lock"} & set(path.parts)
    }


COMMAND_LINES = {
    "no config": ([], ["--mode=train needs --config=FILE, such as configs/mixer.py", "--workdir"]),
    "unknown flag": (["--confg=a"], ["'--confg=a'", "--config"]),
    "positional": ([MIXER, "extra"], ["'extra'", "--workdir"]),
    "mode": ([MIXER, "--mode=test"], ["--mode=test", "train, evaluate"]),
    "evaluate nothing": (["--mode=evaluate", "--workdir="], ["--workdir"]),
    "evaluate a config": (["--mode=evaluate", MIXER, "--workdir="], ["--workdir"]),
    "no such config": (["--config=configs/mixr.py"], ["configs/mixr.py", "configs/mixer.py"]),
    "a folder": (["--config=configs"], ["--config=configs is no file"]),
    "a text": (["--config=README.md"], ["README.md", "config.json"]),
    "no get_config": (["--config=configs/recipe.py"], ["recipe.py", "get_config(variant)"]),
    "no such json": (["--config=none.json"], ["none.json"]),
    "variant": (["--config=configs/fnet.py:papr"], ["'papr'", "paper and digits"]),
    "no value": ([MIXER, "--config.seed"], ["--config.seed=VALUE"]),
    "group": ([MIXER, "--config.model=mixer_s16"], ["config.model", "name", "image_size"]),
    "below a setting": ([MIXER, "--config.seed.x=1"], ["config.seed is one setting"]),
    "misspelt": ([MIXER, "--config.num_epoch=1"], ["config.num_epoch;", "config.num_epochs?"]),
    "misspelt below": (
        [MIXER, "--config.optimizer.learning_rte=1"],
        ["config.optimizer.learning_rte;", "config.optimizer.learning_rate?"],
    ),
    "misspelt group": ([MIXER, "--config.optimiser.b1=0"], ["config.optimizer?"]),
    "like no key": ([MIXER, "--config.xyzzy=1"], ["config.xyzzy", "num_epochs", "batch_size"]),
    "empty key": ([MIXER, "--config.=1"], ["config."]),
}


@pytest.mark.parametrize("arguments, parts", COMMAND_LINES.values(), ids=COMMAND_LINES)
def test_command_line(refused, arguments, parts):
    refused(arguments, parts)


VALUES = {
    # key: values that are refused, and what the message says would be right
    "seed": ("-1 4294967296 1.5 x True", "config.seed must be"),
    "num_epochs": ("0 -1 2.5 ten None", "config.num_epochs must be"),
    "batch_size": ("0 -128 2.5 x", "config.batch_size must be"),
    "steps_per_dispatch": ("0 x", "config.steps_per_dispatch must be"),
    "augment.flip_probability": ("-0.1 1.1 nan", "config.augment.flip_probability must be"),
    "augment.zoom": ("-0.2 1 inf", "config.augment.zoom must be"),
    "optimizer.learning_rate": ("-0.1 nan inf x", "config.optimizer.learning_rate must be"),
    "optimizer.weight_decay": ("-0.1", "config.optimizer.weight_decay must be at least 0"),
    "optimizer.b1": ("1 -0.1", "config.optimizer.b1 must be at least 0 and below 1"),
    "optimizer.b2": ("1.0", "config.optimizer.b2 must be"),
    "optimizer.epsilon": ("-0.1", "config.optimizer.epsilon must be"),
    "optimizer.label_smoothing": ("1 -0.1", "config.optimizer.label_smoothing must be"),
    "reduce_on_plateau.factor": ("0 1 -2", "config.reduce_on_plateau.factor must be above 0"),
    "reduce_on_plateau.patience": ("0 1.5", "config.reduce_on_plateau.patience must be"),
    "reduce_on_plateau.min_delta": ("-1", "config.reduce_on_plateau.min_delta must be"),
    "early_stopping.patience": ("0 None", "config.early_stopping.patience must be"),
    "model.name": ("mixer_s17 resnet50", "the models are mixer_keras"),
    "model.image_size": ("0 15 x", "config.model."),
    "model.patch_size": ("0 3 x", "config.model.patch_size"),
    "model.width": ("0 1.5", "config.model.width must be"),
    "model.num_blocks": ("0 -2", "config.model.num_blocks must be at least 1"),
    "model.hidden_dim": ("0", "config.model.hidden_dim must be at least 1"),
    "model.dropout_rate": ("1 -0.5", "config.model.dropout_rate must be"),
    "model.stochastic_depth_rate": ("1", "config.model.stochastic_depth_rate must be"),
    "model.dtype": ("float16 int8", "one of float32, bfloat16"),
    "model.param_dtype": ("float64", "one of float32, bfloat16"),
    "model.remat": ("yes 1", "config.model.remat must be True or False"),
    "model.scan": ("0", "config.model.scan must be True or False"),
    "data.validation": ("val last last:0 stratified:1", "which digits cannot follow; give None"),
    "data.limit": ("0 -5 1.5 9", "config.data.limit"),
    "data.source": ("cifar11 digit imagenet: tfds folder: npz", "There is no data source"),
}
TABLE = [(key, value, part) for key, (values, part) in VALUES.items() for value in values.split()]


@pytest.mark.parametrize(
    "key, value, part", TABLE, ids=[f"{key}={value}" for key, value, _ in TABLE]
)
def test_values(refused, key, value, part):
    refused([MIXER, f"--config.{key}={value}"], [part, value.removeprefix("-").rstrip(":")])


def test_widths_of_another_model(refused):
    refused(
        ["--config=configs/mixer.py", "--config.model.hidden_dim=64"],
        ["'mixer_keras' has no setting 'hidden_dim'", "'tokens_hidden_dim'?"],
    )
    refused(["--config=configs/gmlp.py", "--config.model.hidden_dim=7"], ["even", "not 7"])


def test_config_files(refused, tmp_path):
    config = tmp_path / "mine.py"
    for text, parts in (
        ("def get_config(variant):\n    return {}\n", ["mine.py", "ConfigDict"]),
        ("def get_config(variant):\n    return 1 / 0\n", ["mine.py, line 2", "ZeroDivision"]),
        ("def get_config(:\n", ["mine.py", "SyntaxError"]),
        (
            "from configs import mixer\ndef get_config(variant):\n    c = mixer.get_config()\n"
            "    c.optimizer.learning_rat = 1\n    return c\n",
            ["config.optimizer.learning_rat;", "config.optimizer.learning_rate?"],
        ),
        ("from ml_collections import ConfigDict as get_config\n", ["mine.py"]),
    ):
        config.write_text(text)
        refused([f"--config={config}"], parts)
    config = tmp_path / "config.json"
    for text, parts in (
        ("{", ["config.json cannot be read as JSON"]),
        ("[]", ["config.json must hold a JSON object"]),
        ('{"seed": 1}', ["config.num_epochs is missing"]),
        ('{"sed": 1}', ["config.sed", "config.seed?"]),
    ):
        config.write_text(text)
        refused([f"--config={config}"], parts)


def test_the_folder_of_the_run(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    refused([MIXER, f"--workdir={tmp_path / 'file'}"], ["file", "cannot be a folder"])
    refused([MIXER, f"--workdir={tmp_path / 'file' / 'run'}"], ["file", "cannot be a folder"])
    refused([MIXER, f"--workdir={tmp_path / 'done'}"], ["done holds a run (metrics.jsonl)"])


def test_a_run_with_other_settings(refused, finished):
    workdir = f"--workdir={finished}"
    refused([MIXER, workdir, "--config.seed=5"], ["config.seed was 0 and is now 5"])
    refused([MIXER, workdir, "--config.num_epochs=2"], ["is now 2; it may only grow"])
    refused([workdir, "--config.model.width=7"], ["config.model.width was 64 and is now 7"])
    (finished / "config.json").write_text('{"seed": 0}')
    refused([MIXER, workdir], [str(finished / "config.json"), "num_epochs is missing"])


def test_a_folder_in_use(refused, finished):
    with RunFolder(finished).locked():
        refused([MIXER, f"--workdir={finished}"], ["in use by process", str(os.getpid())])


def test_checkpoints_that_cannot_be_used(refused, finished):
    checkpoints = finished / "checkpoints"
    for step in (41, 82):
        (checkpoints / str(step) / "arrays").mkdir(parents=True)
        (checkpoints / str(step) / "arrays" / "manifest.ocdbt").write_bytes(b"noise")
    refused(
        [MIXER, f"--workdir={finished}"],
        [f"No checkpoint in {checkpoints} can be used", "step 82", "step 41", "another folder"],
    )


def test_results_without_checkpoints(refused, finished):
    (finished / "results.json").write_text('{"epochs": 1, "stopped_early": false}')
    refused([MIXER, f"--workdir={finished}"], ["results of a run, but no checkpoint"])


def test_a_read_only_disk(refused, mounted):
    disk = mounted("ro")
    refused([MIXER, f"--workdir={disk / 'run'}"], [str(disk), "read-only"])


def test_folders_of_images(refused, tmp_path):
    images = tmp_path / "images"
    source = [MIXER, f"--config.data.source=folder:{images}"]
    refused(source, [str(images), "There is no folder"])
    images.mkdir()
    refused(source, [str(images), "has no folders"])
    for name in ("cat", "dog"):
        (images / name).mkdir()
    refused(source, [str(images / "cat"), "has no images"])
    for index in range(20):
        for name in ("cat", "dog"):
            Image.new("RGB", (9, 9), (index, 0, 0)).save(images / name / f"{index}.png")
    (images / "cow").mkdir()
    refused(source, [str(images / "cow"), "has no images"])
    (images / "cow" / "0.png").write_bytes((images / "cat" / "0.png").read_bytes()[:40])
    for index in range(1, 20):
        Image.new("RGB", (9, 9), (index, 0, 0)).save(images / "cow" / f"{index}.png")
    refused(source, [str(images / "cow" / "0.png"), "cannot be decoded"])


def test_npz_files(refused, tmp_path):
    path = tmp_path / "set.npz"
    source = [MIXER, f"--config.data.source=npz:{path}"]
    refused(source, [str(path), "There is no file"])
    path.write_bytes(b"no archive")
    refused(source, [str(path), "not an .npz file"])
    images = np.arange(10 * 8 * 8 * 3).reshape(10, 8, 8, 3).astype(np.uint8)
    labels = np.arange(10) % 2
    good = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    for changes, parts in (
        ({"y_train": labels.astype(object)}, ["y_train", "Python objects"]),
        ({"y_test": labels + 1}, ["y_test[1] is 2", "0 to 1"]),
        ({"y_train": labels - 1}, ["y_train[0] is -1"]),
        ({"y_train": labels * 2}, ["no image of class 1"]),
        ({"y_train": labels[:9]}, ["10 images", "9 labels"]),
        ({"x_train": images / 255}, ["x_train is float64", "uint8"]),
        ({"x_train": images[..., 0, 0]}, ["x_train has shape [10, 8]"]),
        ({"x_test": images[:, :4]}, ["[8, 8, 3]", "[4, 8, 3]"]),
        ({"x_test": images[:0], "y_test": labels[:0]}, ["test part", "empty"]),
        ({"x_train": images[:1], "y_train": labels[:1], "y_test": labels * 0}, ["at least 2"]),
    ):
        np.savez(path, **{**good, **changes})
        refused(source, [str(path), *parts])
    del good["x_test"]
    np.savez(path, **good)
    refused(source, ["has no x_test"])


def test_tfds_sets(refused, tmp_path, monkeypatch):
    source = f"{MIXER} --config.data.source=tfds:".split()
    for name, parts in (
        ("mnistt", ["mnistt", "did you mean tfds:mnist?"]),
        ("no/such:name!", ["no/such:name!"]),
        ("mnist", ["'mnist' is not prepared", "TensorFlow", str(tmp_path / "tfds")]),
    ):
        monkeypatch.setattr("mlpvis_jax.data.tfds_source._can_import_tensorflow", lambda: False)
        refused([source[0], source[1] + name], parts)


def test_no_network(refused, tmp_path):
    refused(
        ["--config=configs/mixer.py", f"--config.data.data_dir={tmp_path / 'tfds'}"],
        ["cifar-100", "could not be downloaded", "Name or service not known", "by hand"],
    )


def test_an_unusable_model_is_refused_before_a_download(refused, monkeypatch):
    monkeypatch.setattr(task, "open_data", None)  # would fail with another error
    refused(
        ["--config=configs/mixer.py", "--config.model.patch_size=7"],
        ["patch_size", ", 7, does not divide"],
    )


@pytest.fixture
def finished(tmp_path):
    """The folder of a run on the digits, as far as evaluation looks at it."""
    from configs import mixer

    config = mixer.get_config("digits")
    folder = tmp_path / "finished"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    return folder


def weights_of(folder, num_classes=10, description=None, **overrides):
    import jax

    settings = {"patch_size": 2, "width": 64, "num_blocks": 2, **overrides}
    model = create_model("mixer_keras", num_classes, **settings)
    params = model.init(jax.random.key(0), np.zeros((1, 16, 16, 1), np.float32))["params"]
    save_weights(folder / "best.safetensors", params, {} if description is None else description)


def test_weights_that_cannot_be_evaluated(refused, finished):
    evaluate = ["--mode=evaluate", f"--workdir={finished}"]
    weights = finished / "best.safetensors"
    refused(evaluate, ["There are no weights", str(weights)])
    for description, message in (
        ({}, "does not say how its images, of 1 channels, were scaled"),
        ({"normalization_mean": [0], "normalization_deviation": None}, "does not say"),
        ({"normalization_mean": [0, 0], "normalization_deviation": [1, 1]}, "does not say"),
        ({"normalization_mean": ["a"], "normalization_deviation": [1]}, "does not say"),
        ([1], "is no JSON object"),
    ):
        weights_of(finished, description=description)
        refused(evaluate, [str(weights), message])
    content = weights.read_bytes()
    for damaged in (b"", content[:100], content[:-1], b"\xff" * 50, os.urandom(200)):
        weights.write_bytes(damaged)
        refused(evaluate, [str(weights), "is damaged or no safetensors file"])
    for num_classes, overrides, parts in (
        (11, {}, ["head/", "(11,)", "(10,)"]),
        (10, {"width": 32}, ["of shape"]),
        (10, {"num_blocks": 3}, ["another model", "MixerBlock_2"]),
        (10, {"num_blocks": 1}, ["another model", "missing MixerBlock_1"]),
    ):
        weights_of(finished, num_classes, **overrides)
        refused(evaluate, [str(weights), *parts])
    (finished / "config.json").unlink()
    refused(evaluate, ["--mode=evaluate needs --config=FILE", "--workdir that holds a run"])


@pytest.mark.parametrize(
    "argument", ["--config.model.patch_size=5", "--config.num_epoch=1", "--config.data.source=x"]
)
def test_as_a_process(argument, tmp_path):
    """What the shell sees: the status, an empty standard output and a single line of error."""
    done = subprocess.run(
        [sys.executable, "launch.py", MIXER, argument, f"--workdir={tmp_path / 'run'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
