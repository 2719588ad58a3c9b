"""What a model costs, counted in its traced program: against Flax, hand counts and the FFT."""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from benchmarks.arithmetic import forward_flop
from mlpvis_jax.models import arithmetic, create_model


@pytest.mark.parametrize(
    ("name", "size", "changes"),
    [("mixer_keras", 64, {}), ("fnet_s16", 224, {"num_blocks": 5}), ("gmlp_ti16", 224, {})],
)
def test_parameters_are_those_that_flax_tabulates(name, size, changes):
    model = create_model(name, 100, **changes)
    table = nn.tabulate(model, jax.random.key(0), depth=0, console_kwargs={"width": 200})(
        jnp.zeros((1, size, size, 3))
    )
    (total,) = re.findall(r"Total Parameters: ([\d,]+)", table)
    assert arithmetic.cost_of(model, size).parameters == int(total.replace(",", ""))


@pytest.mark.parametrize(
    "name",
    [
        "mixer_keras",
        "fnet_keras",
        "gmlp_keras",
        "gmlp_ti16",
        "vit_paper",
        "vit_ti16",
        "resmlp_12",
        "amlp_ti16",
        "fnet_hybrid_s16",
    ],
)
def test_operations_are_those_of_the_count_by_hand(name):
    """Also of 30 blocks, of which three are traced."""
    size = 64 if name.endswith(("_keras", "_paper")) else 224
    model = create_model(name, 100)
    flop = forward_flop(model, size)
    by_hand = flop.stem + flop.blocks + flop.head + flop.fourier
    cost = arithmetic.cost_of(model, size)
    assert (cost.forward_flop, cost.tokens) == (by_hand, 196 if size == 224 else 64)


def test_what_is_kept_where_blocks_are_computed_again():
    model = create_model("mixer_keras", 100, dropout_rate=0.0, remat=True)
    # float32: the stem's patches of 8 * 8 * 3 values, the inputs of four blocks, the head's input.
    kept = 4 * (64 * 192 + 4 * 64 * 256 + 256)
    assert arithmetic.cost_of(model, 64).activation_bytes == kept
    images = jax.ShapeDtypeStruct((3, 64, 64, 3), jnp.float32)
    assert arithmetic.kept_bytes(model, images) == 3 * kept


def test_what_is_kept_where_all_but_products_is_computed_again():
    options = {"dropout_rate": 0.0, "remat": True, "remat_keeps_products": True}
    model = create_model("mixer_keras", 100, **options)
    # Beside what stands above: in each block, of 64 tokens, 256 channels and hidden widths of 64,
    # both products over tokens and the first one over channels; the second gives the next input.
    block = 256 * 64 + 64 * 256 + 64 * 64
    kept = 4 * (64 * 192 + 4 * (64 * 256 + block) + 256)
    assert arithmetic.cost_of(model, 64).activation_bytes == kept


def test_deep_models_keep_what_all_their_blocks_keep():
    model = create_model("gmlp_keras", 10, width=16, hidden_dim=32, num_blocks=5)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    assert arithmetic.cost_of(model, 16).activation_bytes == arithmetic.kept_bytes(model, images)


def test_a_hybrid_keeps_what_each_kind_of_its_blocks_keeps():
    """Of 8 blocks, of which 6 are traced; and the transform of the last three is not there."""
    sizes = {"width": 16, "hidden_dim": 32, "num_blocks": 8, "attention_blocks": 3}
    model = create_model("fnet_paper", 10, **sizes, stochastic_depth_rate=0.1)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    assert arithmetic.cost_of(model, 16).activation_bytes == arithmetic.kept_bytes(model, images)


def test_a_loop_counts_every_turn():
    def once(inputs, matrix):
        return inputs @ matrix

    def often(inputs, matrix):
        return jax.lax.scan(lambda carry, _: (once(carry, matrix), None), inputs, length=7)[0]

    arrays = jnp.ones((2, 3)), jnp.ones((3, 3))
    assert arithmetic.traced_flop(jax.make_jaxpr(once)(*arrays).jaxpr) == 2 * 2 * 3 * 3
    assert arithmetic.traced_flop(jax.make_jaxpr(often)(*arrays).jaxpr) == 7 * 2 * 2 * 3 * 3


def test_a_convolution_and_a_fourier_transform():
    def convolve(images):
        return nn.Conv(5, (2, 2), (2, 2), use_bias=False).init_with_output(
            jax.random.key(0), images
        )[0]

    images = jnp.ones((1, 8, 8, 3))
    # 16 patches of 2 * 2 * 3 values to 5 features each.
    assert arithmetic.traced_flop(jax.make_jaxpr(convolve)(images).jaxpr) == 2 * 16 * 12 * 5
    transform = jax.make_jaxpr(jnp.fft.fft)(jnp.ones((3, 64), jnp.complex64))
    assert arithmetic.traced_flop(transform.jaxpr) == 5 * (3 * 64) * 6  # log2 of 64
