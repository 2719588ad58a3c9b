"""Every seam end to end: a row of the package, or of the user's own, trains, goes on and sweeps.

The user's own are in a module outside of the package, named by import path in the config.
"""

import json
import sys
import textwrap
import types

import numpy as np
import pytest
from safetensors.numpy import load_file

from mlpvis_jax.errors import InputError
from mlpvis_jax.learning.schedules import SCHEDULES
from mlpvis_jax.settings.choice import choose
from tests import soak

CLOCK = {"seconds", "images_per_second"}

OWN = """
    from typing import Annotated, Any

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from flax import linen as nn

    from mlpvis_jax.data.examples import ArrayExamples, Source, fingerprint_of
    from mlpvis_jax.learning.metrics import Metric
    from mlpvis_jax.models.layers import Dropout
    from mlpvis_jax.settings.declared import Role, Share
    from mlpvis_jax.sweep.store import Store


    class Pool(nn.Module):
        \"\"\"Mixes tokens by their mean.\"\"\"

        strength: Annotated[Share, Role.SHAPE, "Of the mean."] = 0.5
        dropout_rate: Any = 0.0
        stochastic_depth_rate: Any = 0.0
        dtype: Any = jnp.float32
        param_dtype: Any = jnp.float32

        @nn.compact
        def __call__(self, inputs, deterministic=True):
            mean = inputs.mean(axis=1, keepdims=True)
            mixed = nn.Dense(inputs.shape[-1])(inputs + self.strength * mean)
            return inputs + Dropout(self.dropout_rate)(nn.relu(mixed), deterministic)


    TINY = {"block": Pool, "patch_size": 4, "num_blocks": 1, "width": 8, "strength": 0.25}


    def adagrad(learning_rate, weight_decay, mask=None, *,
                start: Annotated[Share, Role.SHAPE, "First accumulator."] = 0.1):
        return optax.chain(
            optax.scale_by_rss(start),
            optax.add_decayed_weights(weight_decay, mask),
            optax.scale_by_learning_rate(learning_rate),
        )


    def steps(progress, *, at: Annotated[Share, Role.TRACED, "Where it falls to a tenth."]):
        return jnp.where(progress < at, 1.0, 0.1)


    def squared(logits, targets):
        if targets.ndim == 1:
            targets = jax.nn.one_hot(targets, logits.shape[-1])
        return ((logits - targets) ** 2).sum(axis=-1)


    def darken(keys, images, image_size, *,
               most: Annotated[Share, Role.TRACED, "Share taken away, at most."]):
        share = jax.vmap(jax.random.uniform)(keys)
        return images * (1 - most * share[:, None, None, None])


    def swap(key, images, targets, partners, places):
        return images[partners], targets[partners]


    confidence = Metric(
        lambda of: jnp.sum(jnp.where(of.mask, jax.nn.softmax(of.logits).max(axis=-1), 0.0)),
        label="confidence", is_trained=True,
    )


    def stripes(asked):
        random = np.random.default_rng(int(asked.rest or 0))
        labels = np.arange(60) % 2
        images = random.integers(0, 90, (60, 8, 8, 3))
        images[labels == 1, ::2] += 120
        train, test = (
            ArrayExamples(images[part].astype(np.uint8), labels[part])
            for part in (slice(40), slice(40, None))
        )
        return Source(
            name=asked.name, class_names=("plain", "striped"), image_shape=(8, 8, 3),
            train=train, test=test, split_names={"train": "40", "test": "20"},
            fingerprint=fingerprint_of("stripes", images.tobytes()),
        )


    class Halves:
        \"\"\"Halves the best learning rate so far.\"\"\"

        knows_points = False

        def max_points(self, space):
            return None

        def suggest(self, sweep, number, rows):
            rates = [row["values"]["optimizer.learning_rate"] for row in rows] or [0.02]
            return [{"optimizer.learning_rate": min(rates) / 2}] * min(number, 1)

        def check(self):
            pass


    class Loud(Store):
        def begin(self):
            print("the sweep begins in", self._folder.path)


    class Lines:
        def __init__(self, run):
            self.path = run.folder / "lines.txt"

        def write(self, record):
            with self.path.open("a") as file:
                file.write(f"{record['epoch']} {record['validation_loss']!r}\\n")

        def finish(self, history, results):
            with self.path.open("a") as file:
                file.write(f"test {results['test_loss']!r}\\n")

        def close(self):
            pass
"""


@pytest.fixture(scope="module", autouse=True)
def own_package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_package.py").write_text(textwrap.dedent(OWN))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


# Changes to the tiny run, and what must then be in the records and results of it.
SEAMS = {
    "muon": (["optimizer.name=muon"], {}),
    "lion": (["optimizer.name=lion", "optimizer.learning_rate=1e-3"], {}),
    "sgd": (["optimizer.name=sgd", "optimizer.nesterov=True"], {}),
    "schedule-free": (
        ["optimizer.name=schedule_free_adamw", "schedule.warmup=4 steps", "averaging.decay=0.9"],
        {"averaged_test_accuracy"},
    ),
    "schedule-free head": (
        [
            *("optimizer.name=schedule_free_adamw", "optimizer.freeze=stem/*"),
            *("optimizer.head_learning_rate=0.01", "optimizer.clip_norm=1"),
        ],
        {},
    ),
    "layer decay": (
        [
            *("optimizer.layer_decay=0.7", "model.num_blocks=2", "model.scan=True"),
            *("optimizer.head_learning_rate=0.01", "optimizer.name=muon"),
        ],
        {},
    ),
    "schedule-free layers": (
        ["optimizer.name=schedule_free_adamw", "optimizer.layer_decay=0.7", "model.num_blocks=2"],
        {},
    ),
    "cosine": (["schedule.name=cosine", "schedule.final=0.1", "schedule.warmup=1"], {}),
    "linear": (["schedule.name=linear"], {}),
    "clipping": (["optimizer.clip_norm=0.1", "optimizer.decay=matrices"], {}),
    "averaging": (["averaging.decay=0.9"], {"averaged_loss", "averaged_test_accuracy"}),
    "classes": (
        ["metrics=class_accuracy"],
        {"validation_class_accuracy", "test_class_accuracy"},
    ),
    "sigmoid": (["loss.name=sigmoid_cross_entropy", "loss.label_smoothing=0.1"], {}),
    "mixup": (["mix.mixup.alpha=0.4"], {}),
    "mixup or cutmix": (["mix.mixup_or_cutmix.per=image", "mix.cutmix.alpha=1"], {}),
    "sharpness": (["optimizer.sharpness_radius=0.05", "optimizer.clip_norm=1"], {}),
    "repeats and flips": (["repeats=3", "average_flips=True"], {}),
    "transforms": (
        ["augment.rand_augment.strength=0.5", "augment.random_erasing.probability=0.5"],
        {},
    ),
    "no rules": (["reduce_on_plateau.patience=None", "early_stopping.patience=None"], {}),
    "own model": (["model.name=my_package:TINY", "model.strength=0.75"], {}),
    "own block": (
        ["model.name=my_package:Pool", "model.width=8", "model.patch_size=4"],
        {},
    ),
    "own optimizer": (["optimizer.name=my_package:adagrad", "optimizer.start=0.2"], {}),
    "own schedule": (["schedule.name=my_package:steps", "schedule.at=0.5"], {}),
    "own loss": (["loss.name=my_package:squared"], {}),
    "own transform": (["augment.dark.name=my_package:darken", "augment.dark.most=0.5"], {}),
    "own mix": (["mix.swap.name=my_package:swap"], {}),
    "own metric": (["metrics=my_package:confidence"], {"train_confidence", "test_confidence"}),
    "own writer": (["writers=my_package:Lines"], {}),
    "own source": (["data.source=my_package:stripes:3"], {}),
}


# Those of `make test`; `make test-all` has them all.
QUICK = ("muon",)


def arguments_of(source, changes):
    changed = [f"--config.{change}" for change in changes]
    return [*soak.settings(source), "--config.duration=3", *changed]


def history_of(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SEAMS],
)
def test_a_seam_trains_and_goes_on_to_the_bit(launch_main, tiny_npz, tmp_path, name):
    changes, measured = SEAMS[name]
    arguments = arguments_of(tiny_npz, changes)
    assert launch_main(*arguments, f"--workdir={tmp_path / 'straight'}") == 0
    if not any(change.startswith("schedule.name=") for change in changes):
        # It goes on from its checkpoint, by its folder alone.
        workdir = f"--workdir={tmp_path / 'pieces'}"
        assert launch_main(*arguments, "--config.duration=1", workdir) == 0
        assert launch_main("--config.duration=3", workdir) == 0
        assert history_of(tmp_path / "pieces") == history_of(tmp_path / "straight")
        for weights in sorted((tmp_path / "straight").glob("*.safetensors")):
            other = load_file(tmp_path / "pieces" / weights.name)
            for key, leaf in load_file(weights).items():
                np.testing.assert_array_equal(other[key], leaf)
    found = history_of(tmp_path / "straight")[-1].keys()
    found |= json.loads((tmp_path / "straight/results.json").read_text()).keys()
    assert set(measured) <= found
    workdir = f"--workdir={tmp_path / 'straight'}"
    assert launch_main(workdir, "--mode=evaluate") == 0


@pytest.mark.slow
def test_a_writer_of_the_users_own_is_told_of_each_epoch(launch_main, tiny_npz, tmp_path):
    arguments = arguments_of(tiny_npz, ["writers=my_package:Lines"])
    assert launch_main(*arguments, f"--workdir={tmp_path}") == 0
    results = json.loads((tmp_path / "results.json").read_text())
    lines = [f"{one['epoch']} {one['validation_loss']!r}" for one in history_of(tmp_path)]
    written = (tmp_path / "lines.txt").read_text().splitlines()
    assert written == [*lines, f"test {results['test_loss']!r}"]
    assert not (tmp_path / "curves.png").exists() and not (tmp_path / "tensorboard").exists()


@pytest.mark.slow
def test_traced_options_of_every_owner_sweep_as_one_program(launch_main, tiny_npz, tmp_path):
    changes = [
        "schedule.name=cosine", "averaging.decay=0.9", "optimizer.clip_norm=1.0",
        "optimizer.sharpness_radius=0.05", "optimizer.layer_decay=0.8",
        "mix.mixup.alpha=0.2", "augment.dark.name=my_package:darken", "augment.dark.most=0.1",
    ]  # fmt: skip
    dimensions = {
        "schedule.final": "uniform(0, 0.5)",
        "schedule.warmup": "uniform(0, 1)",
        "averaging.decay": "uniform(0.5, 0.9)",
        "optimizer.clip_norm": "uniform(0.1, 1)",
        "optimizer.sharpness_radius": "uniform(0.01, 0.1)",
        "optimizer.layer_decay": "uniform(0.5, 1)",
        "mix.mixup.alpha": "uniform(0.1, 1)",
        "augment.dark.most": "uniform(0, 1)",
    }
    sweep = [f"--sweep.{key}={written}" for key, written in dimensions.items()]
    sweep += ["--sweep.strategy=random", "--sweep.num_trials=3"]
    arguments = arguments_of(tiny_npz, changes)
    assert launch_main(*arguments, *sweep, f"--workdir={tmp_path / 'sweep'}") == 0
    groups = list((tmp_path / "sweep/groups").glob("*/group.json"))
    assert len(groups) == 1 and len(json.loads(groups[0].read_text())["trials"]) == 3
    trial = tmp_path / "sweep/trials/0001"
    assert launch_main(f"--config={trial / 'config.json'}", f"--workdir={tmp_path / 'solo'}") == 0
    # To rounding: where numbers are traced, XLA writes a group's step otherwise than a solo run's.
    for record, wanted in zip(history_of(tmp_path / "solo"), history_of(trial), strict=True):
        assert record == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
def test_a_strategy_and_a_store_of_the_users_own(launch_main, tiny_npz, tmp_path, capsys):
    arguments = arguments_of(tiny_npz, ["duration=1"])
    sweep = [
        "--sweep.optimizer.learning_rate=uniform(0.001, 0.1)", "--sweep.num_trials=3",
        "--sweep.strategy=my_package:Halves", "--sweep.trials_per_program=1",
        "--storage=my_package:Loud",
    ]  # fmt: skip
    assert launch_main(*arguments, *sweep, f"--workdir={tmp_path}") == 0
    assert f"the sweep begins in {tmp_path}" in capsys.readouterr().out
    values = [
        json.loads(path.read_text())["values"]["optimizer.learning_rate"]
        for path in sorted(tmp_path.glob("trials/*/trial.json"))
    ]
    assert values == [0.01, 0.005, 0.0025]
    assert launch_main(f"--workdir={tmp_path}") == 2
    assert "--storage=my_package:Loud" in capsys.readouterr().err


class FakeRun:
    """Stands in for a run of Weights & Biases."""

    def __init__(self, **options):
        self.options, self.logged, self.summary, self.is_over = options, [], {}, False

    def log(self, values, step):
        self.logged.append((step, values))

    def define_metric(self, name, step_metric):
        pass

    def finish(self):
        self.is_over = True


def test_weights_and_biases_is_told_of_each_epoch(launch_main, tiny_npz, tmp_path, monkeypatch):
    runs = []

    def init(**options):
        runs.append(FakeRun(**options))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    arguments = arguments_of(tiny_npz, ["writers=wandb"])
    assert launch_main(*arguments, f"--workdir={tmp_path / 'first'}") == 0
    (run,) = runs
    assert run.options["name"] == "first" and run.options["resume"] == "allow"
    assert (tmp_path / "first/wandb_id.txt").read_text().strip() == run.options["id"]
    assert run.options["config"]["optimizer.learning_rate"] == 0.005
    history = history_of(tmp_path / "first")
    assert [(step, values["epoch"]) for step, values in run.logged] == [
        (record["step"], record["epoch"]) for record in history
    ]
    assert [values["validation/loss"] for _, values in run.logged] == [
        record["validation_loss"] for record in history
    ]
    results = json.loads((tmp_path / "first/results.json").read_text())
    assert run.summary["test/accuracy"] == results["test_accuracy"] and run.is_over


def test_weights_and_biases_that_is_not_installed(launch_main, tiny_npz, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    arguments = arguments_of(tiny_npz, ["writers=wandb"])
    assert launch_main(*arguments, f"--workdir={tmp_path / 'first'}") == 2
    assert not (tmp_path / "first").exists()


@pytest.mark.slow
def test_a_schedule_refuses_another_length(launch_main, tiny_npz, tmp_path, capsys):
    arguments = [*arguments_of(tiny_npz, ["schedule.name=cosine"]), f"--workdir={tmp_path}"]
    assert launch_main(*arguments) == 0
    assert launch_main(f"--workdir={tmp_path}", "--config.duration=4") == 2
    assert "config.schedule.name=cosine depends on it" in capsys.readouterr().err


@pytest.mark.slow
def test_the_learning_rate_in_a_record_is_that_of_the_epochs_last_step(
    launch_main, tiny_npz, tmp_path
):
    arguments = arguments_of(tiny_npz, ["schedule.name=linear", "optimizer.learning_rate=0.01"])
    assert launch_main(*arguments, f"--workdir={tmp_path}") == 0
    steps = [record["step"] for record in history_of(tmp_path)]
    rates = [record["learning_rate"] for record in history_of(tmp_path)]
    assert rates == pytest.approx([0.01 * (1 - (step - 1) / steps[-1]) for step in steps])


def test_a_missing_option_and_a_missing_module_are_named():
    with pytest.raises(InputError, match=r"config.schedule.at is missing"):
        choose(SCHEDULES, "my_package:steps", {}, "config.schedule")
    with pytest.raises(InputError, match=r"config.schedule.name=nowhere:steps cannot be imported"):
        choose(SCHEDULES, "nowhere:steps", {}, "config.schedule")
    with pytest.raises(InputError, match=r"did you mean 'cosine'"):
        choose(SCHEDULES, "cosin", {}, "config.schedule")
