"""Run by test_mesh.py: every block and classifier on two devices, with and without a mesh.

Sums of the gradients of two devices are in another order, so they are only nearly equal.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from mlpvis_jax.models import FNetBlock, GMlpBlock, MixerBlock, ResMlpBlock, VitBlock, create_model

jax.config.update("jax_num_cpu_devices", 2)
RANDOM = np.random.default_rng(0)


def check(name, module, inputs, axis=0, **call):
    """The outputs and the gradients, and that the outputs are spread over the batch as inputs are.

    Args:
      axis: of the inputs, which is spread over the devices.
    """
    shapes = jax.eval_shape(module.init, jax.random.key(0), inputs)
    variables = jax.tree.map(lambda leaf: RANDOM.normal(0.1, 0.3, leaf.shape), shapes)
    variables = jax.tree.map(jnp.float32, variables)

    @jax.jit
    def outputs_and_gradients(variables, inputs):
        def loss(variables, inputs):
            outputs = module.apply(variables, inputs, **call)
            return jnp.sin(outputs).mean(), outputs

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(variables, inputs)

    mesh = jax.make_mesh((2,), ("data",))
    assert mesh.axis_types == (jax.sharding.AxisType.Explicit,)  # JAX's default
    found = []
    for is_spread in (False, True):
        # jax.set_mesh sets the mesh when it is called, not when its context is entered.
        with jax.set_mesh(mesh) if is_spread else contextlib.nullcontext():
            assert jax.sharding.get_abstract_mesh().empty is not is_spread
            given = inputs
            if is_spread:
                given = jax.device_put(inputs, jax.P(*[None] * axis, "data"))
            (_, outputs), gradients = outputs_and_gradients(variables, given)
            sharding = outputs.sharding
            assert len(sharding.device_set) == 1 + is_spread
            found.append(jax.device_get((outputs, gradients)))
    assert axis or sharding.spec[0] == "data", (name, sharding)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 2e-3, 2e-5, err_msg=name), *found)


tokens = RANDOM.normal(size=(4, 6, 8)).astype("float32")
blocks = MixerBlock(5, 7), FNetBlock(7), GMlpBlock(10), ResMlpBlock(7)
with_attention = (
    *(VitBlock(7, 2), GMlpBlock(10, attention_dim=3)),
    FNetBlock(7, mixing="attention", num_heads=2),
)
for block in (*blocks, *with_attention):
    # Weights between any two tokens cannot be spread over the tokens of both.
    for axis in (0, 2) if block in with_attention else range(3):
        check(f"{type(block).__name__}, axis {axis}", block, tokens, axis)
images = RANDOM.normal(size=(4, 8, 12, 3)).astype("float32")
training = {"train": True, "rngs": {"dropout": jax.random.key(0)}}
options = {
    "mixer_paper": {},
    "fnet_paper": {"scan": True},
    "fnet_hybrid_paper": {"scan": True, "num_blocks": 4},
    "gmlp_paper": {"remat": True},
    "amlp_paper": {},
    "resmlp_paper": {"scan": True},
    "vit_paper": {"scan": True, "remat": True},
}
for preset, option in options.items():
    small = {"num_blocks": 2, "width": 8, "patch_size": 4, "stochastic_depth_rate": 0.3}
    check(preset, create_model(preset, 5, **{**small, **option}), images, **training)
