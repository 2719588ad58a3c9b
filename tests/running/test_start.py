"""A run that starts from weights: which it takes, that it goes on to the bit, what stays frozen."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import read_description
from mlpvis_jax.running import solo
from tests import tiny

pytestmark = pytest.mark.slow  # `make test` takes less than five minutes

HEAD = {"head/kernel", "head/bias"}


@pytest.fixture(scope="module")
def first(tiny_npz, tmp_path_factory):
    """The folder of a run whose weights others start from."""
    folder = RunFolder(tmp_path_factory.mktemp("first") / "run")
    solo.train(tiny.config(tiny_npz, duration=1), folder)
    return folder


def train(path, source, **changes):
    folder = RunFolder(path)
    solo.train(tiny.config(source, **{"duration": 1, **changes}), folder)
    return folder


def arrays(folder, name="last"):
    return load_file(folder.path / f"{name}.safetensors")


def assert_equal(found, wanted, but=()):
    assert found.keys() == wanted.keys()
    for key in found.keys() - set(but):
        np.testing.assert_array_equal(found[key], wanted[key], err_msg=key)


def test_with_a_learning_rate_of_zero_a_run_is_what_it_started_from(
    first, tiny_npz, tmp_path, capfd
):
    still = {"optimizer.learning_rate": 0.0, "init_from": first.path, "averaging.decay": 0.5}
    run = train(tmp_path / "run", tiny_npz, **still)
    assert_equal(arrays(run), arrays(first, "best"))
    for name, leaf in arrays(run, "averaged").items():  # the average of equal weights, rounded
        np.testing.assert_allclose(leaf, arrays(first, "best")[name], rtol=1e-6)
    line = next(line for line in capfd.readouterr().out.splitlines() if line[:6] == "begins")
    assert str(first.path) in line and "head" not in line
    file = train(tmp_path / "other", tiny_npz, **{**still, "init_from": first.best_weights})
    assert_equal(arrays(file), arrays(first, "best"))


def test_other_classes_get_a_new_head(first, write_npz, tmp_path, capfd):
    labels = np.arange(60) % 3
    images = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 3))
    source = write_npz(images, labels, training=50)
    still = {"optimizer.learning_rate": 0.0}
    run = train(tmp_path / "run", source, init_from=first.path, **still)
    new = train(tmp_path / "new", source, **still)
    assert_equal(arrays(run) | {"head/bias": 0, "head/kernel": 0},
                 arrays(first, "best") | {"head/bias": 0, "head/kernel": 0})  # fmt: skip
    for name in HEAD:  # drawn from the seed, as without weights
        np.testing.assert_array_equal(arrays(run)[name], arrays(new)[name])
    assert "with a new head for 3 classes" in capfd.readouterr().out


@pytest.mark.parametrize("decay", ["None", "0.5"])
def test_a_run_goes_on_from_its_checkpoint_and_not_from_the_weights(
    first, tiny_npz, tmp_path, decay
):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(first.best_weights.read_bytes())
    settings = {"init_from": weights, "averaging.decay": decay}
    whole = train(tmp_path / "whole", tiny_npz, duration=2, **settings)
    pieces = train(tmp_path / "pieces", tiny_npz, duration=1, **settings)
    digest = read_description(pieces.best_weights)["initial_weights"]
    assert read_description(first.best_weights).get("initial_weights") is None
    save_file({key: leaf + 1 for key, leaf in arrays(first, "best").items()}, weights)
    with pytest.raises(InputError, match=f"begun with other weights.*{digest[:8]} before"):
        train(tmp_path / "pieces", tiny_npz, duration=2, **settings)
    weights.unlink()  # they are not needed any more
    train(tmp_path / "pieces", tiny_npz, duration=2, **settings)
    assert_equal(arrays(pieces), arrays(whole))
    assert tiny.history(pieces.path) == tiny.history(whole.path)
    with pytest.raises(InputError, match="there is nothing"):
        train(tmp_path / "anew", tiny_npz, **settings)
    assert not (tmp_path / "anew").exists()


@pytest.mark.parametrize("kind", ["mixer", "gmlp"])
def test_weights_are_carried_over_to_another_image_size(kind, tiny_npz, tmp_path, capfd):
    still = {"optimizer.learning_rate": 0.0, "model": kind}
    first = train(tmp_path / "first", tiny_npz, model=kind)
    larger = {"model.image_size": 16, "init_from": first.path}
    run = train(tmp_path / "run", tiny_npz, **still, **larger)
    assert "carried over from 2 x 2 to 4 x 4 tokens" in capfd.readouterr().out
    before, now = arrays(first, "best"), arrays(run)
    over_tokens = {key for key in now if now[key].shape != before[key].shape}
    assert {key.split("/")[1] for key in over_tokens} <= {"token_mixing", "spatial_gating"}
    assert over_tokens
    assert_equal({**now, **dict.fromkeys(over_tokens, 0)},
                 {**before, **dict.fromkeys(over_tokens, 0)})  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.num_blocks": 3}, "they have 1 blocks MixerBlock, and the model 3"),
        ({"model.width": 16}, r"LayerNorm_0/scale is \[8\], and the model's \[16\]"),
        ({"model": "fnet"}, "0 blocks FNetBlock|FNetBlock"),
        ({"init_from_resolution": "block_diagonal", "model.image_size": 16}, "256, not 64"),
        ({"init_from_resolution": "block_diagonal", "model.image_size": 12}, "a multiple of"),
    ],
)
def test_another_model_is_refused_before_anything_is_written(
    first, tiny_npz, tmp_path, changes, words
):
    with pytest.raises(InputError, match=words) as error:
        train(tmp_path / "run", tiny_npz, init_from=first.path, **changes)
    assert f"config.init_from={first.path}" in str(error.value) or "block_diagonal" in words
    assert not (tmp_path / "run").exists()


def test_another_gelu_is_said(first, tiny_npz, tmp_path, capfd):
    changes = {"model.approximate_gelu": True, "model.dropout_rate": 0.0}
    train(tmp_path / "run", tiny_npz, init_from=first.path, **changes)
    line = next(line for line in capfd.readouterr().out.splitlines() if line[:6] == "begins")
    assert line.endswith("whose approximate_gelu was False and is now True")


def test_another_number_of_heads_is_said(tiny_npz, tmp_path, capfd):
    """No shape tells it, and without a word the weights would be of another model."""
    vit = {"model.name": "vit_paper", "model.dropout_rate": 0.0}
    stored = train(tmp_path / "first", tiny_npz, **vit)
    changes = {"init_from": stored.path, "model.num_heads": 2}
    train(tmp_path / "run", tiny_npz, **vit, **changes)
    line = next(line for line in capfd.readouterr().out.splitlines() if line[:6] == "begins")
    assert line.endswith("whose num_heads was 4 and is now 2")


def test_a_linear_probe_moves_the_head_alone(first, tiny_npz, tmp_path):
    """Not a bit of the others changes, by no gradient and by no weight decay."""
    settings = {
        "init_from": first.path,
        "optimizer.freeze": "!head/*",
        "optimizer.weight_decay": 0.5,
        "optimizer.head_learning_rate": 0.05,
        "duration": 2,
    }
    run = train(tmp_path / "run", tiny_npz, **settings)
    found, before = arrays(run), arrays(first, "best")
    assert_equal(found, before, but=HEAD)
    for name in HEAD:
        assert not np.array_equal(found[name], before[name])
    # And it ends in the same bits where it is taken in two pieces.
    train(tmp_path / "pieces", tiny_npz, **{**settings, "duration": 1})
    pieces = train(tmp_path / "pieces", tiny_npz, **settings)
    assert_equal(arrays(pieces), found)


def test_trials_that_start_from_other_weights_are_one_program_and_each_is_its_solo_run(
    first, tiny_npz, tmp_path, launch_main, capsys
):
    other = train(tmp_path / "other", tiny_npz, seed=1)
    starts = [str(first.path), str(other.path)]
    rates = {"optimizer.learning_rate": 0.01, "optimizer.head_learning_rate": 0.05}
    settings = {**rates, "duration": 1, "microbatch_size": 4}
    arguments = [
        *tiny.settings(tiny_npz, **settings),
        f"--sweep.init_from={starts}",
        f"--workdir={tmp_path / 'sweep'}",
    ]
    assert launch_main(*arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("compiled in") <= 1
    assert all(start in printed for start in starts)
    for number, start in enumerate(starts):
        solo_run = train(tmp_path / f"solo{number}", tiny_npz, init_from=start, **settings)
        assert_equal(load_file(tmp_path / f"sweep/trials/{number:04}/last.safetensors"),
                     arrays(solo_run))  # fmt: skip
    # Other weights under the same name, and none: the sweep is over, and says so.
    save_file({key: leaf + 1 for key, leaf in arrays(other, "best").items()}, other.best_weights)
    assert launch_main(*arguments) == 2
    assert "was begun with other weights" in capsys.readouterr().err
    other.best_weights.unlink()
    assert launch_main(*arguments) == 0
