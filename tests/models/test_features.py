"""What layers give: under the same names with scan, and each what the next one is given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import create_model
from mlpvis_jax.models.layers import LayerNorm
from mlpvis_jax.models.resmlp import Affine

BLOCKS = {
    "mixer_paper": "MixerBlock",
    "fnet_paper": "FNetBlock",
    "fnet_hybrid_paper": "FNetBlock",
    "gmlp_paper": "GMlpBlock",
    "amlp_paper": "GMlpBlock",
    "resmlp_paper": "ResMlpBlock",
    "vit_paper": "VitBlock",
}
WITH_TABLE = {"fnet_paper", "fnet_hybrid_paper", "vit_paper"}


@functools.partial(jax.jit, static_argnums=0)
def apply(module, params, inputs):
    """What the module gives, by one program for all that are equal."""
    return module.apply({"params": params}, inputs)


def features(model, variables, images):
    return jax.jit(functools.partial(model.apply, method="features"))(variables, images)


@pytest.mark.parametrize("name", BLOCKS)
def test_names_and_values(name):
    init = nn.initializers.normal(1.0)
    model = create_model(name, 5, num_blocks=3, width=8, patch_size=4, head_kernel_init=init)
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    found, scanned = (features(one, variables, images) for one in (model, model.clone(scan=True)))
    blocks = [f"{BLOCKS[name]}_{index}" for index in range(3)]
    table = ["position_table"] if name in WITH_TABLE else []
    norms = {"fnet_paper": [], "fnet_hybrid_paper": [], "resmlp_paper": ["pre_head_affine"]}
    norm = norms.get(name, ["pre_head_layer_norm"])
    # In this order; jit sorts the names of what it returns.
    assert model.layer_names == ["stem", *table, *blocks, *norm, "pooled", "head"]
    assert list(found) == sorted(model.layer_names)
    jax.tree.map(np.testing.assert_array_equal, scanned, found)

    params = variables["params"]
    patches = images.reshape(2, 2, 4, 2, 4, 3).swapaxes(2, 3).reshape(2, 4, -1)
    stem = patches @ params["stem"]["kernel"].reshape(-1, 8) + params["stem"]["bias"]
    np.testing.assert_allclose(found["stem"], stem, rtol=1e-4, atol=1e-5)
    before = found["stem"]
    if table:
        before = before + params["position_table"]["embedding"]
        np.testing.assert_allclose(found["position_table"], before, rtol=1e-5, atol=1e-6)
    for index, block in enumerate(blocks):
        # By hand, in a hybrid: the last two with attention.
        is_attention = name == "fnet_hybrid_paper" and index > 0
        options = {"mixing": "attention"} if is_attention else {}
        module = model.block(**{**model.block_options, **options})
        before = apply(module, params[block], before)
        np.testing.assert_allclose(found[block], before, rtol=1e-4, atol=1e-5)
    if norm:
        module = Affine() if norm == ["pre_head_affine"] else LayerNorm(model.epsilon)
        before = apply(module, params[norm[0]], before)
        np.testing.assert_allclose(found[norm[0]], before, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["pooled"], before.mean(axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["head"], apply(model, params, images), rtol=1e-5, atol=1e-5)


def test_types_and_refusals():
    model = create_model("mixer_keras", 5, num_blocks=1, width=8, dtype="bfloat16")
    images = jnp.zeros((2, 16, 16, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    found = model.apply(variables, images, method="features")
    assert list(found) == model.layer_names
    assert {name: output.dtype for name, output in found.items()} == {
        **{"stem": jnp.bfloat16, "MixerBlock_0": jnp.bfloat16},
        **{"pooled": jnp.float32, "head": jnp.float32},
    }
    with pytest.raises(InputError, match="batch, height, width, channels"):
        model.apply(variables, images[0], method="features")
