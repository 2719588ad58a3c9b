"""Each block against its equation, and the symmetries that the equations imply."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import FNetBlock, GMlpBlock, MixerBlock, ResMlpBlock, VitBlock
from mlpvis_jax.models.fnet import (
    fourier_mixing,
    fourier_mixing_by_matrices,
    fourier_mixing_by_whole_tables,
)
from tests.models import references


def random_weights(module, inputs, seed=0):
    """Weights that hide nothing: biases and norms are random too."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(0.3, 0.4, leaf.shape).astype("float32"), shapes)


def apply(block, weights, inputs, **call):
    """What the block gives, by one compiled program."""
    return jax.jit(functools.partial(block.apply, **call))({"params": weights}, inputs)


def tokens(shape=(3, 10, 12), seed=1):
    return np.random.default_rng(seed).normal(0.2, 1.0, shape).astype("float32")


def as_float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


@pytest.mark.parametrize("shared_norm", [False, True])
@pytest.mark.parametrize("approximate", [False, True])
def test_mixer_block_is_its_equation(shared_norm, approximate):
    block = MixerBlock(7, 9, shared_norm=shared_norm, approximate_gelu=approximate)
    inputs = tokens()
    weights = random_weights(block, inputs)
    expected = references.mixer_block(
        inputs, as_float64(weights), shared_norm=shared_norm, approximate=approximate
    )
    np.testing.assert_allclose(apply(block, weights, inputs), expected, 2e-5, 2e-5)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-12])
@pytest.mark.parametrize("approximate", [False, True])
def test_fnet_block_is_its_equation(epsilon, approximate):
    block = FNetBlock(9, epsilon=epsilon, approximate_gelu=approximate)
    inputs = tokens()
    weights = random_weights(block, inputs)
    expected = references.fnet_block(
        inputs, as_float64(weights), approximate=approximate, epsilon=epsilon
    )
    np.testing.assert_allclose(apply(block, weights, inputs), expected, 2e-5, 2e-5)


@pytest.mark.parametrize("heads", [1, 3])
def test_fnet_block_with_attention_is_a_layer_of_bert(heads):
    block = FNetBlock(9, mixing="attention", num_heads=heads)
    inputs = tokens()
    weights = random_weights(block, inputs)
    expected = references.fnet_attention_block(
        inputs, as_float64(weights), heads=heads, approximate=True, epsilon=1e-12
    )
    np.testing.assert_allclose(apply(block, weights, inputs), expected, 2e-5, 2e-5)
    with pytest.raises(InputError, match="must be one of fourier, attention, not 'random'"):
        FNetBlock(9, mixing="random")


@pytest.mark.parametrize("normalized_skip", [False, True])
@pytest.mark.parametrize("approximate", [False, True])
def test_gmlp_block_is_its_equation(normalized_skip, approximate):
    block = GMlpBlock(14, normalized_skip=normalized_skip, approximate_gelu=approximate)
    inputs = tokens()
    weights = random_weights(block, inputs)
    expected = references.gmlp_block(
        inputs, as_float64(weights), normalized_skip=normalized_skip, approximate=approximate
    )
    np.testing.assert_allclose(apply(block, weights, inputs), expected, 2e-5, 5e-5)


@pytest.mark.parametrize("given, of_gate", [(None, 0.1), (0.01, 0.01)])
def test_the_gate_may_have_an_epsilon_of_its_own(given, of_gate):
    block = GMlpBlock(14, epsilon=0.1, gate_epsilon=given)
    inputs = tokens()
    weights = random_weights(block, inputs)
    expected = references.gmlp_block(
        inputs,
        as_float64(weights),
        normalized_skip=False,
        approximate=False,
        epsilon=0.1,
        gate_epsilon=of_gate,
    )
    np.testing.assert_allclose(apply(block, weights, inputs), expected, 2e-5, 5e-5)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("approximate", [False, True])
def test_vit_block_is_its_equation(heads, approximate):
    block = VitBlock(9, heads, approximate_gelu=approximate)
    inputs = tokens()
    weights = random_weights(block, inputs)
    expected = references.vit_block(
        inputs, as_float64(weights), heads=heads, approximate=approximate
    )
    np.testing.assert_allclose(apply(block, weights, inputs), expected, 2e-5, 2e-5)


@pytest.mark.parametrize("approximate", [False, True])
def test_amlp_is_the_papers_pseudo_code(approximate):
    block = GMlpBlock(14, attention_dim=5, approximate_gelu=approximate)
    inputs = tokens()
    weights = random_weights(block, inputs)
    expected = references.amlp_block(inputs, as_float64(weights), approximate=approximate)
    np.testing.assert_allclose(apply(block, weights, inputs), expected, 2e-5, 5e-5)
    # Without its projection the tiny attention adds nothing, and the block is gMLP's.
    without = {key: value for key, value in weights.items() if key != "tiny_attention"}
    nothing = jax.tree.map(np.zeros_like, weights["tiny_attention"])
    np.testing.assert_array_equal(
        apply(block, {**without, "tiny_attention": nothing}, inputs),
        apply(block.clone(attention_dim=None), without, inputs),
    )


@pytest.mark.parametrize("approximate", [False, True])
def test_resmlp_block_is_its_equation(approximate):
    block = ResMlpBlock(9, approximate_gelu=approximate)
    inputs = tokens()
    weights = random_weights(block, inputs)
    expected = references.resmlp_block(inputs, as_float64(weights), approximate=approximate)
    np.testing.assert_allclose(apply(block, weights, inputs), expected, 2e-5, 2e-5)


def test_layer_scale_begins_with_its_initial_value_and_affine_as_the_identity():
    params = ResMlpBlock(9, layer_scale=1e-5).init(jax.random.key(0), tokens())["params"]
    for index in range(2):
        np.testing.assert_array_equal(params[f"LayerScale_{index}"]["scale"], np.float32(1e-5))
        np.testing.assert_array_equal(params[f"Affine_{index}"]["scale"], 1)
        np.testing.assert_array_equal(params[f"Affine_{index}"]["bias"], 0)


def test_attention_commutes_with_permutations_of_tokens():
    block = VitBlock(9, 3)
    inputs = tokens()
    weights = random_weights(block, inputs)
    order = np.random.default_rng(3).permutation(inputs.shape[1])
    permuted = apply(block, weights, inputs[:, order])
    expected = apply(block, weights, inputs)[:, order]
    np.testing.assert_allclose(permuted, expected, 2e-5, 2e-5)


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(InputError, match="num_heads 5 does not divide 12 channels"):
        VitBlock(9, 5).init(jax.random.key(0), tokens())


def test_dropout_of_attention_stands_after_every_dense_but_the_first():
    """Each place's mask is seen by itself: what follows it is made to carry it alone."""
    block = VitBlock(9, 3, dropout_rate=0.5)
    weights = jax.tree.map(np.zeros_like, random_weights(block, tokens()))

    def zeros(weights):
        call = {"deterministic": False, "rngs": {"dropout": jax.random.key(0)}}
        return float((apply(block, weights, np.zeros((3, 10, 12)), **call) == 0).mean())

    for place in ("self_attention/projection", "channel_mixing/Dense_1"):
        module, dense = place.split("/")
        only = {**weights, module: {**weights[module], dense: {**weights[module][dense]}}}
        only[module][dense]["bias"] = np.ones(12, np.float32)
        assert 0.3 < zeros(only) < 0.7, place
    hidden = {
        "Dense_0": {"kernel": np.zeros((12, 9), np.float32), "bias": np.ones(9, np.float32)},
        "Dense_1": {"kernel": np.eye(9, 12, dtype=np.float32), "bias": np.zeros(12, np.float32)},
    }
    # Of 12 channels 9 carry a hidden unit, which is dropped there or after the second Dense.
    assert 0.7 < zeros({**weights, "channel_mixing": hidden}) < 0.9


@pytest.mark.parametrize(
    "shape", [(2, 16, 16), (2, 9, 7), (1, 1, 5), (2, 5, 1), (1, 64, 2), (1, 6, 3)]
)
def test_fourier_mixing_is_the_dft_matrix(shape):
    inputs = tokens(shape)

    def dft(size):
        return np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size)

    expected = (dft(shape[1]) @ inputs.astype(np.float64) @ dft(shape[2])).real
    scale = np.abs(expected).max()
    by_matrices = jax.jit(fourier_mixing_by_matrices)(inputs.swapaxes(0, 1))
    np.testing.assert_allclose(by_matrices.swapaxes(0, 1), expected, 0, 2e-6 * scale)
    by_tables = jax.jit(fourier_mixing_by_whole_tables)(inputs.swapaxes(0, 1))
    np.testing.assert_allclose(by_tables.swapaxes(0, 1), expected, 0, 2e-6 * scale)
    np.testing.assert_allclose(jnp.fft.fft2(inputs).real, expected, 0, 2e-6 * scale)


@pytest.mark.parametrize("shape", [(4, 2, 6), (5, 1, 7), (1, 3, 2), (1030, 1, 4)])
def test_fourier_mixing_is_its_own_transpose(shape):
    inputs, gradient = (tokens(shape) + np.float32(shift) for shift in (0.0, 0.5))

    def transposed(transform):
        outputs, transpose = jax.vjp(transform, inputs)
        assert outputs.shape == shape
        return transpose(gradient)[0]

    expected = jax.jit(transposed, static_argnums=0)(lambda x: jnp.fft.fft2(x, axes=(0, 2)).real)
    found = jax.jit(transposed, static_argnums=0)(fourier_mixing)
    np.testing.assert_allclose(found, expected, 0, 1e-5 * np.abs(expected).max())


def test_a_number_of_tokens_that_the_program_does_not_know():
    mixing = jax.export.export(jax.jit(fourier_mixing))
    exported = mixing(jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, 2, 6"), jnp.float32))
    for size in (1, 4, 7):
        inputs = tokens((size, 2, 6))
        expected = np.fft.fft2(inputs.astype(np.float64), axes=(0, 2)).real
        scale = np.abs(expected).max()
        np.testing.assert_allclose(exported.call(inputs), expected, 0, 2e-6 * scale)


def test_long_sequences_take_the_fast_transform():
    inputs = jnp.asarray(tokens((1030, 1, 6)))
    expected = np.fft.fft2(np.asarray(inputs, np.float64), axes=(0, 2)).real
    np.testing.assert_allclose(fourier_mixing(inputs), expected, 0, 1e-5 * np.abs(expected).max())


def test_fourier_mixing_of_low_precision_is_float32():
    inputs = jnp.asarray(tokens((5, 1, 7)), jnp.bfloat16)
    expected = np.fft.fft2(np.asarray(inputs, np.float64), axes=(0, 2)).real
    mixed = fourier_mixing(inputs)
    assert mixed.dtype == jnp.float32
    np.testing.assert_allclose(mixed, expected, 0, 1e-5 * np.abs(expected).max())


def test_channel_mlp_commutes_with_permutations_of_tokens():
    block = MixerBlock(7, 9)
    inputs = tokens()
    weights = random_weights(block, inputs)
    # With its second Dense at zero the token MLP adds nothing: what is left acts on each token.
    weights["token_mixing"]["Dense_1"] = jax.tree.map(
        np.zeros_like, weights["token_mixing"]["Dense_1"]
    )
    order = np.random.default_rng(3).permutation(inputs.shape[1])
    permuted = apply(block, weights, inputs[:, order])
    np.testing.assert_allclose(permuted, apply(block, weights, inputs)[:, order], 1e-6)
    # The token MLP itself does not commute.
    weights = random_weights(block, inputs)
    permuted = apply(block, weights, inputs[:, order])
    assert not np.allclose(permuted, apply(block, weights, inputs)[:, order], atol=1e-2)


def test_the_gate_begins_as_the_identity():
    block = GMlpBlock(16)
    inputs = tokens((2, 6, 8))
    variables = jax.jit(block.init)(jax.random.key(0), inputs)
    capture = functools.partial(block.apply, capture_intermediates=True)
    captured = jax.jit(capture)(variables, inputs)[1]["intermediates"]
    gated = captured["spatial_gating"]["__call__"][0]
    weights = as_float64(variables["params"])
    normalized = references.layer_norm(inputs, weights["LayerNorm_0"], 1e-6)
    passed = np.split(
        references.gelu(references.dense(normalized, weights["Dense_0"]), False), 2, axis=-1
    )[0]
    np.testing.assert_allclose(gated.swapaxes(0, 1), passed, atol=1e-4)


BLOCKS = [
    *(MixerBlock(7, 9), FNetBlock(9), GMlpBlock(14), GMlpBlock(14, attention_dim=5)),
    *(ResMlpBlock(9), VitBlock(9, 3), FNetBlock(9, mixing="attention", num_heads=3)),
]
NAMED = {"argvalues": BLOCKS, "ids": lambda block: type(block).__name__}


@pytest.mark.parametrize("block", **NAMED)
def test_bfloat16_computes_what_float32_does_but_coarser(block):
    inputs = tokens()
    weights = random_weights(block, inputs)
    exact = apply(block, weights, inputs)
    coarse = apply(block.clone(dtype=jnp.bfloat16), weights, inputs.astype(jnp.bfloat16))
    assert coarse.dtype == jnp.bfloat16
    error = np.abs(np.asarray(coarse, np.float32) - exact).max()
    assert error < 0.06 * np.abs(exact).max()
    low = block.clone(param_dtype=jnp.bfloat16)
    stored = jax.eval_shape(low.init, jax.random.key(0), inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(stored)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("given", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("block", **NAMED)
def test_a_block_returns_its_dtype_whatever_it_is_given(block, given, dtype):
    inputs = jnp.asarray(tokens(), given)
    block = block.clone(dtype=dtype)
    outputs = jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), inputs)[0])
    assert outputs.dtype == dtype


@pytest.mark.parametrize("block", **NAMED)
def test_a_batch_may_be_empty(block):
    weights = random_weights(block, tokens())
    outputs = apply(block, weights, tokens((0, 10, 12)))
    assert outputs.shape == (0, 10, 12)


@pytest.mark.parametrize("block", **NAMED)
def test_inputs_of_other_axes_are_refused(block):
    weights = random_weights(block, tokens())
    name = type(block).__name__
    for shape in [(10, 12), (2, 2, 10, 12)]:
        with pytest.raises(ValueError) as refused:
            apply(block, weights, np.zeros(shape))
        assert str(refused.value) == (
            f"The input of {name} must have the axes [batch, tokens, channels]; "
            f"its shape is {list(shape)}."
        )


@pytest.mark.parametrize("block", **NAMED)
def test_inputs_of_another_size_than_the_parameters_are_refused(block):
    weights = random_weights(block, tokens((3, 9, 12)))
    with pytest.raises(ValueError, match="is for 12 channels, and the input has 13 channels"):
        apply(block, weights, tokens((3, 9, 13)))
    if isinstance(block, FNetBlock | VitBlock):  # they have no parameters over tokens
        assert apply(block, weights, tokens((3, 11, 12))).shape == (3, 11, 12)
        return
    path = {
        MixerBlock: "token_mixing/Dense_0/kernel",
        GMlpBlock: "spatial_gating/Dense_0/kernel",
        ResMlpBlock: "token_mixing/kernel",
    }[type(block)]
    message = f"'{path}' is for 9 tokens (3 x 3 of a square image), and the input has 11 tokens."
    with pytest.raises(ValueError, match=re.escape(message)):
        apply(block, weights, tokens((3, 11, 12)))
