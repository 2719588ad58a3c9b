"""Maps over tokens on another grid: what they must keep, for random inputs and random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mlpvis_jax.models import ResMlpBlock, create_model
from mlpvis_jax.models.layers import Dense, Mlp
from mlpvis_jax.weights.matching import match
from mlpvis_jax.weights.transfer import block_diagonal, grid_maps, interpolate, token_axes

WIDTH, BATCH = 3, 2
MLP_AXES = {"Dense_0/kernel": [0], "Dense_1/kernel": [1], "Dense_1/bias": [0]}
GATE_AXES = {"kernel": [0, 1], "bias": [0]}
SIDES = [(3, 4), (3, 6), (4, 3), (6, 3), (5, 2), (2, 7)]


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def mlp_over(side, hidden=5):
    """A token MLP with random parameters; arrays by name."""
    tokens = side**2
    return {
        "Dense_0/kernel": random(0, tokens, hidden) / side,
        "Dense_0/bias": random(1, hidden),
        "Dense_1/kernel": random(2, hidden, tokens),
        "Dense_1/bias": random(3, tokens),
    }


def gate_over(side):
    return {"kernel": random(4, side**2, side**2) / side, "bias": random(5, side**2)}


@jax.jit
def apply_mlp(params, inputs):
    nested = traverse_util.unflatten_dict(params, sep="/")
    return Mlp(len(params["Dense_0/bias"]), first_axis=True).apply({"params": nested}, inputs)


@jax.jit
def apply_gate(params, inputs):
    return Dense(len(params["bias"]), first_axis=True).apply({"params": params}, inputs)


CASES = [(mlp_over, apply_mlp, MLP_AXES), (gate_over, apply_gate, GATE_AXES)]


@pytest.mark.parametrize(("make", "apply", "axes"), CASES)
@pytest.mark.parametrize(("side", "new_side"), SIDES)
def test_a_map_on_another_grid_is_the_map_between_two_interpolations(
    make, apply, axes, side, new_side
):
    params = make(side)
    along, back = grid_maps(side, new_side)

    def on(matrix, tokens):
        return jnp.einsum("nt,tbc->nbc", matrix, tokens)

    tokens = random(6, side**2, BATCH, WIDTH)
    moved = interpolate(params, axes, side, new_side)
    if new_side > side:  # any tokens, interpolated, give what they gave, interpolated
        found, wanted = apply(moved, on(along, tokens)), on(along, apply(params, tokens))
    else:  # tokens are interpolated to the grid of the weights, and the outputs fitted
        tokens = on(along, tokens)
        found, wanted = apply(moved, tokens), on(along, apply(params, on(back, tokens)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("make", "apply", "axes"), CASES)
@pytest.mark.parametrize(("side", "new_side"), SIDES)
def test_constant_tokens_give_what_they_gave(make, apply, axes, side, new_side):
    params = make(side)
    along, _ = grid_maps(side, new_side)
    constant = random(7, 1, BATCH, WIDTH)
    before = apply(params, np.tile(constant, (side**2, 1, 1)))
    moved = interpolate(params, axes, side, new_side)
    found = apply(moved, np.tile(constant, (new_side**2, 1, 1)))
    wanted = jnp.einsum("nt,tbc->nbc", along, before)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    # And the sum of a kernel over the tokens that it sums is kept.
    kernel = "Dense_0/kernel" if "Dense_0/kernel" in params else "kernel"
    sums = params[kernel].sum(axis=0)
    if make is gate_over:
        sums = along @ sums
    np.testing.assert_allclose(moved[kernel].sum(axis=0), sums, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("make", "apply", "axes"), CASES)
def test_the_same_grid_changes_no_bit_and_a_finer_one_and_back_nothing(make, apply, axes):
    params = make(4)
    same = interpolate(params, axes, 4, 4)
    assert all(same[name] is params[name] for name in params)
    back = interpolate(interpolate(params, axes, 4, 7), axes, 7, 4)
    for name, array in params.items():
        assert back[name].dtype == np.float32
        np.testing.assert_allclose(back[name], array, rtol=1e-4, atol=1e-5)


def test_the_maps_are_those_of_the_two_dimensional_grid():
    """Two tokens side by side become four, and rows stay rows: a hand-made case."""
    along, back = grid_maps(2, 4)
    picture = np.array([[0.0, 1.0], [0.0, 1.0]])  # dark to the left, light to the right
    row = [0.0, 0.25, 0.75, 1.0]
    np.testing.assert_allclose((along @ picture.ravel()).reshape(4, 4), [row] * 4, atol=1e-6)
    np.testing.assert_allclose(back @ np.tile(row, 4), picture.ravel(), atol=1e-6)


def test_a_table_of_positions_is_interpolated_like_an_image():
    table = {"position_table/embedding": random(8, 9, WIDTH)}
    moved = interpolate(table, {"position_table/embedding": [0]}, 3, 5)
    wanted = jax.image.resize(
        table["position_table/embedding"].reshape(3, 3, WIDTH), (5, 5, WIDTH), "bilinear"
    )
    found = moved["position_table/embedding"].reshape(5, 5, WIDTH)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def shapes_of(model, size):
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))["params"]
    return {name: leaf.shape for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}


def random_weights(model, size):
    """Arrays of the model for images of this size, by name."""
    shapes = sorted(shapes_of(model, size).items())
    return {name: random(seed, *shape) for seed, (name, shape) in enumerate(shapes)}


SMALL = {"patch_size": 4, "width": 16, "num_blocks": 1}  # 16 tokens of width 16: told apart


def test_axes_of_tokens_are_found_where_other_axes_are_as_long():
    mixer = create_model("mixer_paper", 2, **SMALL, tokens_hidden_dim=16, channels_hidden_dim=16)
    place = "MixerBlock_0/token_mixing"
    assert token_axes(shapes_of(mixer, 16), shapes_of(mixer, 24)) == {
        f"{place}/{name}": axes for name, axes in MLP_AXES.items()
    }
    gmlp = create_model("gmlp_paper", 2, **SMALL, hidden_dim=32)
    place = "GMlpBlock_0/spatial_gating/Dense_0"
    assert token_axes(shapes_of(gmlp, 16), shapes_of(gmlp, 24)) == {
        f"{place}/{name}": axes for name, axes in GATE_AXES.items()
    }
    fnet = create_model("fnet_paper", 2, **SMALL, hidden_dim=16)
    assert token_axes(shapes_of(fnet, 16), shapes_of(fnet, 24)) == {"position_table/embedding": [0]}
    vit = create_model("vit_paper", 2, **SMALL, hidden_dim=16)
    assert token_axes(shapes_of(vit, 16), shapes_of(vit, 24)) == {"position_table/embedding": [0]}


def test_the_map_of_a_resmlp_is_carried_over_between_interpolations():
    """On a finer grid, the block of interpolated tokens is the interpolated block."""
    model = create_model("resmlp_paper", 2, patch_size=4, width=8, num_blocks=1, hidden_dim=6)
    stored = random_weights(model, 12)
    matched = match(stored, model, (20, 20, 3), keeps_head=True)
    kernel, bias = (f"ResMlpBlock_0/token_mixing/{name}" for name in ("kernel", "bias"))
    assert (matched.grid, matched.carried) == ((3, 5), (bias, kernel))
    along, _ = grid_maps(3, 5)
    block, tokens = ResMlpBlock(6), random(50, 2, 9, 8)

    @jax.jit
    def apply(params, tokens):
        nested = traverse_util.unflatten_dict(params, sep="/")
        return block.apply({"params": nested["ResMlpBlock_0"]}, tokens)

    # The MLP over channels acts on each token, and no linear map goes through it: it adds nothing.
    for params in (stored, matched.params):
        params["ResMlpBlock_0/LayerScale_1/scale"] = np.zeros(8, np.float32)
    found = apply(matched.params, np.einsum("nt,btc->bnc", along, tokens).astype(np.float32))
    wanted = np.einsum("nt,btc->bnc", along, apply(stored, tokens))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_vision_transformer_starts_at_another_image_size():
    """Its table is interpolated, and all else, which has no axis of tokens, stays bit for bit."""
    model = create_model("vit_paper", 2, patch_size=4, width=8, num_blocks=2, hidden_dim=6)
    stored = random_weights(model, 12)
    matched = match(stored, model, (20, 20, 3), keeps_head=True)
    assert (matched.grid, matched.carried) == ((3, 5), ("position_table/embedding",))
    table = matched.params.pop("position_table/embedding").reshape(5, 5, 8)
    old = stored["position_table/embedding"].reshape(3, 3, 8)
    np.testing.assert_allclose(table, jax.image.resize(old, (5, 5, 8), "bilinear"), atol=1e-6)
    for name, array in matched.params.items():
        np.testing.assert_array_equal(array, stored[name])


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 3])
def test_a_block_diagonal_mixer_sees_each_part_of_the_image_by_itself(factor):
    """The logits of the large image are the mean of those that its parts had: the mean over tokens
    and the head are linear."""
    hidden, size = 5, 8

    def mixer(times):
        return create_model(
            "mixer_paper", 3, patch_size=4, width=6, num_blocks=2, dropout_rate=0.0,
            tokens_hidden_dim=hidden * times, channels_hidden_dim=7,
        )  # fmt: skip

    params = random_weights(mixer(1), size)
    mlps = ["MixerBlock_0/token_mixing", "MixerBlock_1/token_mixing"]
    moved = block_diagonal(params, mlps, size // 4, factor)
    images = random(99, 2, factor * size, factor * size, 3)

    def logits(model, arrays, some):
        return model.apply({"params": traverse_util.unflatten_dict(arrays, sep="/")}, some)

    places = [slice(part * size, (part + 1) * size) for part in range(factor)]
    parts = [logits(mixer(1), params, images[:, y, x]) for y in places for x in places]
    found = logits(mixer(factor**2), moved, images)
    np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=1e-4, atol=1e-4)
    # As the paper has it: a block for each part, zero beside it.
    kernel = moved["MixerBlock_0/token_mixing/Dense_0/kernel"]
    assert kernel.shape == (factor**2 * 4, factor**2 * hidden)
    assert np.count_nonzero(kernel) == factor**2 * 4 * hidden
