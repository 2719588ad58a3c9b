"""Entropy, distance and receptive field of mixing whose weights are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.models import Classifier, FNetBlock, GMlpBlock, MixerBlock, ResMlpBlock, VitBlock
from mlpvis_jax.models.fnet import fourier_mixing
from mlpvis_jax.pictures import (
    Kernels,
    draw_by_depth,
    draw_kernels,
    draw_receptive_fields,
    field_distance,
    learned,
    measure,
    order_in_pairs,
    receptive_fields,
    token_kernels,
)
from tests import tiny

GRID = (4, 6)
TOKENS = 24
MIXER = {"tokens_hidden_dim": 5, "channels_hidden_dim": 8}


def of_weights(between):
    return measure(Kernels(between, between), GRID)


def classifier(block, **options):
    rest = {"patch_size": 2, "width": 8, "num_blocks": 2, "final_norm": False}
    return Classifier(block, options, num_classes=3, **rest)


def parameters(model, images):
    """Random ones of the shapes that it has."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda one: generator.normal(size=one.shape).astype(one.dtype), shapes)


def test_one_token_has_no_entropy_and_a_known_distance():
    weights = np.zeros((TOKENS, TOKENS))
    weights[:, 3 * 6 + 4] = -7.0  # row 3, column 4
    found = of_weights(weights)
    np.testing.assert_array_equal(found.entropy, 0)
    assert found.distance[0] == 5.0  # 3, 4, 5
    assert found.distance[3 * 6 + 4] == 0.0
    assert found.distance[3 * 6] == 4.0


@pytest.mark.parametrize("size", [1e-300, 1.0])
def test_all_tokens_alike_have_the_largest_entropy(size):
    found = of_weights(np.full((TOKENS, TOKENS), size))
    np.testing.assert_allclose(found.entropy, np.log(TOKENS))
    # From the corner: the mean over the grid, written out.
    expected = np.mean([(row**2 + column**2) ** 0.5 for row in range(4) for column in range(6)])
    assert found.distance[0] == pytest.approx(expected)


def test_shares_are_squares_and_a_token_that_reads_nothing_has_none():
    weights = np.zeros((TOKENS, TOKENS))
    weights[0, :2] = 1, -2  # shares 1/5 of itself and 4/5 of its neighbour
    found = of_weights(weights)
    assert found.entropy[0] == pytest.approx(-(0.2 * np.log(0.2) + 0.8 * np.log(0.8)))
    assert found.distance[0] == pytest.approx(0.8)
    assert np.isnan(found.entropy[1:]).all() and np.isnan(found.distance[1:]).all()


def test_kernels_are_what_the_blocks_compute():
    images = jnp.zeros((1, 8, 12, 3))
    impulses = jnp.eye(TOKENS)[:, :, None]  # [token that is read, tokens, channels]

    mixer = classifier(MixerBlock, **MIXER)
    params = parameters(mixer, images)["MixerBlock_1"]["token_mixing"]
    kernels = token_kernels(mixer, parameters(mixer, images), GRID)["MixerBlock_1"]
    hidden = jnp.einsum("rtc,th->rhc", impulses, params["Dense_0"]["kernel"])
    np.testing.assert_allclose(kernels.units, hidden[:, :, 0].T, rtol=1e-6)
    written = jnp.einsum("rhc,ht->rtc", hidden, params["Dense_1"]["kernel"])
    np.testing.assert_allclose(kernels.between, written[:, :, 0].T, rtol=1e-5, atol=1e-6)

    gmlp = classifier(GMlpBlock, hidden_dim=8)
    params = parameters(gmlp, images)
    kernels = token_kernels(gmlp, params, GRID)["GMlpBlock_0"]
    dense = params["GMlpBlock_0"]["spatial_gating"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(kernels.between[:, 5], np.asarray(dense)[5])

    resmlp = classifier(ResMlpBlock, hidden_dim=8)
    params = parameters(resmlp, images)
    kernels = token_kernels(resmlp, params, GRID)["ResMlpBlock_0"]
    dense = params["ResMlpBlock_0"]["token_mixing"]["kernel"]
    written = jnp.einsum("rtc,tw->rwc", impulses, dense)
    np.testing.assert_allclose(kernels.between, written[:, :, 0].T, rtol=1e-6)

    fnet = classifier(FNetBlock, hidden_dim=8)
    kernels = token_kernels(fnet, parameters(fnet, images), GRID)["FNetBlock_1"]
    # Of one channel the transform across channels is the identity.
    written = fourier_mixing(impulses.transpose(1, 0, 2))
    np.testing.assert_allclose(kernels.units, written[:, :, 0], atol=1e-5)
    np.testing.assert_allclose(measure(kernels, GRID).entropy, np.log(TOKENS))


def test_of_a_hybrid_only_the_blocks_without_attention_have_kernels():
    images = jnp.zeros((1, 8, 12, 3))
    options = {"hidden_dim": 8, "num_heads": 1}
    hybrid = classifier(FNetBlock, **options).clone(attention_blocks=1)
    assert list(token_kernels(hybrid, parameters(hybrid, images), GRID)) == ["FNetBlock_0"]
    bert = hybrid.clone(attention_blocks=2)
    with pytest.raises(
        InputError, match="FNetBlock computes its weights across tokens from each i"
    ):
        token_kernels(bert, parameters(bert, images), GRID)


def test_other_blocks_and_other_grids_are_refused():
    class Own(nn.Module):
        pass

    with pytest.raises(InputError, match="Own has its weights across tokens is not known"):
        token_kernels(classifier(Own), {}, GRID)
    with pytest.raises(
        InputError, match="VitBlock computes its weights across tokens from each im"
    ):
        token_kernels(classifier(VitBlock, hidden_dim=8, num_heads=1), {}, GRID)
    mixer = classifier(MixerBlock, **MIXER)
    params = parameters(mixer, jnp.zeros((1, 8, 12, 3)))
    with pytest.raises(InputError, match="MixerBlock_0 are for 24 tokens, not for a grid of 2 x 6"):
        token_kernels(mixer, params, (2, 6))


def test_units_of_opposite_phase_become_neighbours_sorted_by_frequency():
    row, column = np.indices((8, 8)) / 8
    slow, fast = np.cos(2 * np.pi * row), np.cos(2 * np.pi * 3 * column)
    checked = np.cos(2 * np.pi * 4 * (row + column))
    noise = 0.01 * np.random.default_rng(0).normal(size=(5, 64))
    units = np.stack([fast, slow, checked, -2 * slow, -fast]).reshape(5, 64) + noise
    order = order_in_pairs(units, (8, 8)).tolist()
    assert set(order[:2]) == {1, 3} and set(order[2:4]) == {0, 4} and order[4] == 2


def test_the_receptive_field_of_known_mixing():
    """A gMLP whose second block alone mixes, and reads one token: that patch, and the skip's."""
    model = classifier(GMlpBlock, hidden_dim=8)
    images = np.random.default_rng(0).normal(size=(3, 8, 12, 3)).astype(np.float32)
    params = parameters(model, images)
    for name in model.block_names:
        params[name]["spatial_gating"]["Dense_0"]["kernel"][:] = 0
    centre, read = 2 * 6 + 3, 1  # of 4 x 6 tokens
    params["GMlpBlock_1"]["spatial_gating"]["Dense_0"]["kernel"][read, centre] = 5.0
    fields = receptive_fields(model, params, images, batch_size=2)
    assert list(fields) == ["stem", "GMlpBlock_0", "GMlpBlock_1"]
    of_centre, of_both = np.zeros((8, 12), bool), np.zeros((8, 12), bool)
    of_centre[4:6, 6:8] = of_both[4:6, 6:8] = of_both[0:2, 2:4] = True
    for name, expected in zip(fields, (of_centre, of_centre, of_both), strict=True):
        np.testing.assert_array_equal(fields[name] > 0, expected)
        assert fields[name].sum() == pytest.approx(1)
    # Pixels of a patch of 2 x 2 are all half a diagonal of a pixel away: sqrt(2) / 4 of a patch.
    assert field_distance(fields["stem"], 2) == pytest.approx(2**0.5 / 4)
    assert field_distance(fields["GMlpBlock_1"], 2) > 2**0.5 / 4


def test_the_field_of_the_stem_is_the_kernels_own():
    """Random signs estimate the sum of squares; over many images it is exact to a percent."""
    model = classifier(MixerBlock, **MIXER)
    images = np.zeros((512, 4, 4, 3), np.float32)
    params = parameters(model, images)
    field = receptive_fields(model, params, images, batch_size=256)["stem"][2:, 2:]
    expected = np.square(np.asarray(params["stem"]["kernel"])).sum(axis=(2, 3))
    np.testing.assert_allclose(field, expected / expected.sum(), rtol=0.1)


def test_pictures_show_what_they_are_given():
    units = np.zeros((TOKENS, TOKENS))
    units[7, 8] = -2.0  # unit 7 is in row 1, column 1; token 8 in its row 1, column 2
    figure = draw_kernels(units, GRID, "title", columns=6)
    mosaic = np.ma.filled(figure.axes[0].images[0].get_array(), 0)
    assert mosaic.shape == (4 * 5 - 1, 6 * 7 - 1)
    assert np.argwhere(mosaic).tolist() == [[1 * 5 + 1, 1 * 7 + 2]] and mosaic.min() == -1
    many = draw_kernels(np.ones((40 * 40, 4)), (2, 2), "title", columns=40)
    assert many.axes[0].get_title() == "title (196 of 1600 units)"

    measures = of_weights(np.ones((TOKENS, TOKENS)))
    unread = of_weights(np.zeros((TOKENS, TOKENS)))
    figure = draw_by_depth({"A_0": measures, "A_1": unread}, GRID, {"stem": 0.4, "A_0": 1.0})
    entropy, distance, field = figure.axes
    assert entropy.lines[0].get_ydata()[0] == pytest.approx(np.log(TOKENS))
    assert distance.lines[0].get_ydata()[0] == pytest.approx(measures.distance.mean())
    assert [label.get_text() for label in field.get_xticklabels()] == ["stem", "0"]
    figure = draw_receptive_fields({f"A_{index}": np.full((4, 4), 1 / 16) for index in range(30)})
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 12 and titles[0] == "A_0" and titles[-1] == "A_29"


@pytest.mark.slow
def test_the_command(launch_main, tiny_npz, tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    assert launch_main(*tiny.settings(tiny_npz, duration=1), f"--workdir={folder.path}") == 0
    capsys.readouterr()
    assert launch_main("--mode=mixing", f"--workdir={folder.path}") == 0
    title, stem, block, alike = capsys.readouterr().out.splitlines()
    assert title.split("\t")[0] == "layer" and stem.startswith("stem\t\t\t")
    assert block.split("\t")[0] == "MixerBlock_0" and "" not in block.split("\t")
    # Two by two tokens: to itself 0, to two neighbours 1, and across the square's diagonal.
    assert alike.split("\t")[1:3] == [f"{np.log(4):.2f}", f"{(2 + 2**0.5) / 4:.2f}"]
    names = {path.name for path in (folder.path / "mixing").iterdir()}
    assert names == {"MixerBlock_0.png", "by_depth.png", "receptive_field.png"}

    tiny_npz_is_gone = "--config.data.source=npz:/nowhere.npz"
    assert launch_main("--mode=mixing", f"--workdir={folder.path}", tiny_npz_is_gone) == 0
    printed = capsys.readouterr()
    assert "The receptive field is left out." in printed.err
    assert printed.out.splitlines()[1].startswith("MixerBlock_0\t")


def test_of_many_hidden_units_whole_pairs_are_drawn(monkeypatch):
    random = np.random.default_rng(0).normal(size=(192, 16))
    units = np.stack([random, -random], axis=1).reshape(-1, 16)
    drawn = []
    monkeypatch.setattr(learned, "draw_kernels", lambda units, *_: drawn.append(units))
    kernels = {"MixerBlock_0": Kernels(units, np.eye(16))}
    found = learned.Learned(classifier(MixerBlock, **MIXER), (4, 4), kernels, {}, {}, {}, "")
    found._draw_hidden_units("MixerBlock_0")
    pairs = drawn[0].reshape(128, 2, 16)
    np.testing.assert_array_equal(pairs[:, 0], -pairs[:, 1])
