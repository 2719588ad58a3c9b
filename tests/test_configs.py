"""Every config builds, runs, and holds no setting that nothing reads."""

import dataclasses
import importlib
import inspect
import itertools
import json
import re
import sys
from pathlib import Path

import pytest

from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.recipe import read_config, recipe
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import count_parameters
from mlpvis_jax.learning.plateau import ReduceOnPlateau
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.running import solo
from mlpvis_jax.running.choices import build_model, completed, declarations
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.settings.sections import (
    AveragingConfig,
    CheckpointConfig,
    DataConfig,
    EarlyStoppingConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ReduceOnPlateauConfig,
    ScheduleConfig,
)
from mlpvis_jax.weights import PRETRAINED
from tests import tiny

NAMES = ("mixer", "fnet", "gmlp")
VARIANTS = ("", "paper", "digits")
COUNTS = {"mixer": 242_788, "fnet": 621_924, "gmlp": 885_348}


def read(name, variant=""):
    return importlib.import_module(f"configs.{name}").get_config(variant)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_it_builds_a_model(name, variant):
    config = completed(RunConfig.from_mapping(read(name, variant).to_dict()))
    model = build_model(config.model, num_classes=100)
    shapes = parameter_shapes(model, config.model.image_size, channels=3)
    if not variant:
        assert count_parameters(shapes) == COUNTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_says_all_that_a_run_depends_on(name):
    """But for what the preset says: a name that keeps its meaning."""
    config = RunConfig.from_mapping(read(name).to_dict())
    assert completed(config).flat().keys() - config.flat().keys() == {"augment.flip_zoom.name"}
    left_out = declarations(config).keys() - config.flat().keys()
    assert all(key.startswith("model.") for key in left_out)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_says_how_to_run_it_and_what_came_out(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    # Each variant's command, and what it gave: accuracy / top-5 accuracy, with their deviations.
    for variant in VARIANTS:
        _, found, after = text.partition(f"--config=configs/{name}.py{variant and f':{variant}'}\n")
        assert found
        place = after.partition("python launch.py")[0]
        figures = re.search(r"[\d.]+ ± [\d.]+ / [\d.]+ ± [\d.]+(?=, 3 seeds)", place)
        assert figures, variant
        if not variant:
            assert f"| {COUNTS[name]:,} | {figures[0]} |" in Path("docs/results.md").read_text()


# `make test` has two of them.
QUICK = {("mixer", "digits"), ("fnet", "")}


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param(*one, marks=[] if one in QUICK else pytest.mark.slow)
        for one in itertools.product(NAMES, VARIANTS)
    ],
)
def test_launch_runs_it_for_two_steps(name, variant, launch_main, tiny_npz, tmp_path, capfd):
    folder = RunFolder(tmp_path / "run")
    status = launch_main(
        f"--config=configs/{name}.py{variant and f':{variant}'}",
        f"--workdir={folder.path}",
        f"--config.data.source=npz:{tiny_npz}",
        "--config.duration=1",
        "--config.batch_size=18",  # of 36 training images
        # One narrow block compiles in a second; everything else stays as the config has it.
        "--config.model.num_blocks=1",
        "--config.model.width=16",
    )
    assert status == 0, capfd.readouterr().err
    (record,) = map(json.loads, folder.metrics.read_text().splitlines())
    assert record["step"] == 2
    *_, top1 = capfd.readouterr().out.splitlines()
    results = json.loads(folder.results.read_text())
    assert top1 == f"Test accuracy: {round(results['test_accuracy'] * 100, 2)}%"
    assert not any("top5" in name for name in {**results, **record})  # of two classes


@pytest.mark.slow
def test_every_setting_is_read_by_a_run(monkeypatch, tiny_npz, tmp_path):
    config = tiny.config(tiny_npz, duration=1, batch_size=18)
    sections = (
        *(RunConfig, DataConfig, ModelConfig, OptimizerConfig, ScheduleConfig, LossConfig),
        *(AveragingConfig, EarlyStoppingConfig),
    )
    unread = {(cls, field.name) for cls in sections for field in dataclasses.fields(cls)}

    def record(section, name):
        # Copying all of it, as for config.json, is not reading.
        if sys._getframe(1).f_globals["__name__"] != "dataclasses":
            unread.discard((type(section), name))
        return object.__getattribute__(section, name)

    for cls in sections:
        monkeypatch.setattr(cls, "__getattribute__", record)
    solo.train(config, RunFolder(tmp_path / "run"))
    # It is read where there are weights to start from: tests/running/test_start.py.
    assert unread == {(RunConfig, "init_from_resolution")}


def test_settings_that_are_handed_on_whole_have_a_taker():
    of_plateau = {field.name for field in dataclasses.fields(ReduceOnPlateauConfig)}
    assert of_plateau <= {field.name for field in dataclasses.fields(ReduceOnPlateau)}
    of_checkpoint = {field.name for field in dataclasses.fields(CheckpointConfig)}
    assert of_checkpoint <= set(inspect.signature(Checkpoints).parameters)


@pytest.mark.parametrize("name", ["mixer", "gmlp"])
def test_the_fine_tuning_recipe_is_the_papers(name):
    config = completed(RunConfig.from_mapping(read(name, "finetune").to_dict()))
    assert config.init_from in PRETRAINED
    assert PRETRAINED[config.init_from].model == config.model.name
    assert config.schedule.warmup == "500 steps"
    found = config.optimizer
    assert (found.name, found.learning_rate, found.options["momentum"]) == ("sgd", 0.03, 0.9)
    assert (found.clip_norm, config.data.normalization) == (1.0, "half_range")
    if name == "gmlp":  # of timm, where the weights are from
        assert config.model.options["gate_epsilon"] == 1e-5


@pytest.mark.parametrize("name", ["mixer_s16", "mixer_b16", "gmlp_s16"])
def test_the_recipes_of_imagenet_are_the_papers(name):
    config = completed(RunConfig.from_mapping(read(f"imagenet.{name}").to_dict()))
    assert config.model.name == name and config.model.image_size == 224
    assert (config.duration, config.schedule.warmup) == ("300 epochs", "10000 steps")
    assert (config.batch_size, config.optimizer.learning_rate) == (4096, 0.001)
    found, smoothing = config.optimizer, config.loss.options["label_smoothing"]
    said = {  # Tolstikhin et al., 2021: 1e-4 of the weights a step; Liu et al., 2021
        "mixer": ("linear", 1e-5, 1e-4, 0.1, 0.0, {"mixup"}),
        "gmlp": ("cosine", 0.0, 5e-5, 0.05, 0.1, {"mixup_or_cutmix"}),
    }
    assert (
        config.schedule.name,
        config.schedule.options["final"],
        pytest.approx(found.weight_decay * found.learning_rate),
        config.model.options["stochastic_depth_rate"],
        smoothing,
        set(config.mix),
    ) == said[name.partition("_")[0]]
    # Parts of the images as they are stored, then the middle 224 of 256 pixels.
    assert (config.data.framing, config.data.random_crop < 0.1) == ("centre", True)
    assert "random_resized_crop" not in config.augment
    assert config.model.options.get("head_bias") == (-6.9 if "mixer" in name else None)


def test_none_is_a_value_where_a_setting_can_be_none_and_else_the_presets():
    values = read("gmlp").to_dict()
    values["model"] = {"name": "amlp_paper", "image_size": 64, "num_blocks": None}
    assert (
        build_model(RunConfig.from_mapping(values).model, 10).block_options["attention_dim"] == 64
    )
    values["model"]["attention_dim"] = None
    model = build_model(RunConfig.from_mapping(values).model, 10)
    assert model.block_options["attention_dim"] is None
    assert model.num_blocks == 4


def test_a_recipe_is_read_in_a_project_that_has_configs_of_its_own(monkeypatch, tmp_path):
    expected = recipe("mixer:digits")
    for name in [*sys.modules]:
        if name.split(".")[0] == "configs":
            monkeypatch.delitem(sys.modules, name)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("OWN = 1")
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("configs")
    assert recipe("mixer:digits") == expected and sys.modules["configs"] is own
    mine = tmp_path / "mine.py"
    mine.write_text("import configs\ndef get_config(variant=''):\n    return {'seed': configs.OWN}")
    assert read_config(str(mine))[0] == {"seed": 1}
