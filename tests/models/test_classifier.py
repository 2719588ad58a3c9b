"""The presets' sizes, and the options that change no result."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.core import FrozenDict

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import PRESETS, Classifier, create_model
from mlpvis_jax.models.layers import Dropout

# At 100 classes and 64 px for the Keras example's size, 1000 classes and 224 px for the papers'.
PARAMETERS = {
    "mixer_keras": 242_788,
    "fnet_keras": 621_924,
    "gmlp_keras": 885_348,
    "mixer_paper": 245_348,  # a second norm in each block and one before the head: 5 x 512 more
    "fnet_paper": 621_924,
    "fnet_hybrid_paper": 621_924 + 2 * (4 * 256**2 + 4 * 256),
    "gmlp_paper": 885_860,  # a norm before the head
    # gmlp_paper's and 4 times 256 -> 3 * 64 -> 256.
    "amlp_paper": 885_860 + 4 * (257 * 192 + 65 * 256),
    # By hand: stem, 4 (2 affines, 2 scales, the map over tokens, two Dense layers), affine, head.
    "resmlp_paper": 193 * 256 + 4 * (6 * 256 + 65 * 64 + 514 * 256) + 512 + 257 * 100,
    # By hand, fnet_paper's and 4 times queries, keys, values and projection, and the last norm.
    "vit_paper": 621_924 + 4 * (4 * 256**2 + 4 * 256) + 512,
    "mixer_s32": 19_104_624,
    "mixer_s16": 18_528_264,
    "mixer_b32": 60_293_428,
    "mixer_b16": 59_880_472,
    "mixer_l32": 206_939_264,
    "mixer_l16": 208_196_168,
    "mixer_h14": 432_350_952,
    "gmlp_ti16": 5_867_328,
    "gmlp_s16": 19_422_656,
    "gmlp_b16": 73_075_392,
    # gMLP's and 30 times width -> 3 * 64 -> hidden / 2.
    "amlp_ti16": 5_867_328 + 30 * (129 * 192 + 65 * 384),
    "amlp_s16": 19_422_656 + 30 * (257 * 192 + 65 * 768),
    "amlp_b16": 73_075_392 + 30 * (513 * 192 + 65 * 1536),
    # By hand: stem + positions + 12 (2 norms + the two Dense layers) + head.
    "fnet_ti16": 768 * 192 + 192 + 196 * 192 + 12 * (4 * 192 + 8 * 192**2 + 5 * 192) + 193_000,
    "fnet_s16": 768 * 384 + 384 + 196 * 384 + 12 * (4 * 384 + 8 * 384**2 + 5 * 384) + 385_000,
    "fnet_b16": 768 * 768 + 768 + 196 * 768 + 12 * (4 * 768 + 8 * 768**2 + 5 * 768) + 769_000,
    # FNet's, and twice queries, keys, values and projection.
    "fnet_hybrid_ti16": 3_937_960 + 2 * (4 * 192**2 + 4 * 192),
    "fnet_hybrid_s16": 14_952_808 + 2 * (4 * 384**2 + 4 * 384),
    "fnet_hybrid_b16": 58_216_168 + 2 * (4 * 768**2 + 4 * 768),
    # Those of timm's; published are 15, 30, 45 and 129 million.
    "resmlp_12": 15_350_872,
    "resmlp_24": 30_020_680,
    "resmlp_36": 44_690_488,
    "resmlp_big_24": 129_138_280,
    # Published (5.7, 22.1 and 86.6 million), less a class token and its position.
    "vit_ti16": 5_717_416 - 2 * 192,
    "vit_s16": 22_050_664 - 2 * 384,
    "vit_b16": 86_567_656 - 2 * 768,
}
SMALL = {"num_blocks": 3, "width": 16, "patch_size": 4}
PAPERS = [
    *("mixer_paper", "fnet_paper", "gmlp_paper", "vit_paper", "resmlp_paper", "amlp_paper"),
    "fnet_hybrid_paper",
]
# Each model in a Python loop over its blocks, and scanned: all but two of these are slow.
LOOPED_OR_SCANNED = [
    *((name, False) for name in PAPERS),
    *((name, True) for name in ("mixer_paper", "fnet_hybrid_paper")),
    *(pytest.param(name, True, marks=pytest.mark.slow) for name in PAPERS[1:-1]),
]


def is_small(name):
    return name.endswith(("_keras", "_paper"))


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_of_every_preset(name):
    model = create_model(name, 100 if is_small(name) else 1000)
    size = 64 if is_small(name) else 224
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    logits, shapes = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == PARAMETERS[name]
    assert logits.shape == (1, model.num_classes)
    assert logits.dtype == jnp.float32


def small_model(name, **overrides):
    """A model of a few parameters, images, and weights none of which is zero."""
    model = create_model(name, 7, **SMALL, **overrides)
    images = np.random.default_rng(0).normal(size=(4, 8, 12, 3)).astype("float32")
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    random = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda leaf: random.normal(0.1, 0.3, leaf.shape).astype(leaf.dtype), shapes
    )
    return model, images, variables


def loss_and_gradients(model, images, variables, **call):
    def loss(variables):
        return (model.apply(variables, images, **call) ** 2).mean()

    return jax.jit(jax.value_and_grad(loss))(variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mixer_keras",
        "fnet_keras",
        "gmlp_keras",
        "mixer_paper",
        "vit_paper",
        "resmlp_paper",
        "amlp_paper",
    ],
)
@pytest.mark.parametrize(
    "option",
    [
        {"scan": True},
        {"remat": True},
        {"scan": True, "remat": True},
        {"remat": True, "remat_keeps_products": True},
    ],
)
def test_scan_and_remat_change_no_result(name, option):
    model, images, variables = small_model(name, dropout_rate=0.0)
    changed = create_model(name, 7, **SMALL, dropout_rate=0.0, **option)
    plain, same = (jax.jit(one.init)(jax.random.key(5), images) for one in (model, changed))
    jax.tree.map(np.testing.assert_array_equal, plain, same)
    expected = loss_and_gradients(model, images, variables, train=True)
    found = loss_and_gradients(changed, images, variables, train=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 2e-4, 1e-5), expected, found)


@pytest.mark.parametrize("keeps_products", [False, True])
def test_remat_draws_the_same_masks(keeps_products):
    call = {"train": True, "rngs": {"dropout": jax.random.key(2)}}
    options = {"dropout_rate": 0.3, "stochastic_depth_rate": 0.4}
    model, images, variables = small_model("gmlp_keras", **options)
    options.update(remat=True, remat_keeps_products=keeps_products)
    remat = create_model("gmlp_keras", 7, **SMALL, **options)
    expected = loss_and_gradients(model, images, variables, **call)
    found = loss_and_gradients(remat, images, variables, **call)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 2e-4, 1e-5), expected, found)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("option", ["dropout_rate", "stochastic_depth_rate"])
def test_training_draws_masks_and_evaluation_does_not(scan, option):
    rates = {"dropout_rate": 0.0, option: 0.5}
    model, images, variables = small_model("mixer_keras", scan=scan, **rates)

    @jax.jit
    def train(seed):
        call = {"train": True, "rngs": {"dropout": jax.random.key(seed)}}
        return model.apply(variables, images, **call)

    logits = [train(seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2])
    plain = create_model("mixer_keras", 7, **SMALL, dropout_rate=0.0)
    found, expected = (jax.jit(one.apply)(variables, images) for one in (model, plain))
    np.testing.assert_allclose(found, expected, 1e-5, 1e-5)


def test_stochastic_depth_rises_from_none_at_the_first_block():
    model, _, _ = small_model("mixer_keras", stochastic_depth_rate=0.4)
    assert [model.options_of(index) for index in range(3)] == [
        {"stochastic_depth_rate": rate} for rate in (0.0, 0.2, 0.4)
    ]


@pytest.mark.parametrize(("name", "scan"), LOOPED_OR_SCANNED)
def test_bfloat16_gives_float32_logits(name, scan):
    model, images, variables = small_model(name, scan=scan)
    coarse = create_model(name, 7, **SMALL, dtype="bfloat16", scan=scan)
    logits = jax.jit(coarse.apply)(variables, images)
    assert logits.dtype == jnp.float32
    exact = jax.jit(model.apply)(variables, images)
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()
    low = create_model(name, 7, **SMALL, param_dtype="bfloat16")
    stored = jax.eval_shape(low.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(stored)} == {jnp.dtype(jnp.bfloat16)}


def test_the_published_names():
    model, images, _ = small_model("mixer_paper")
    params = jax.jit(model.init)(jax.random.key(0), images)["params"]
    assert set(params) == {
        "stem", "MixerBlock_0", "MixerBlock_1", "MixerBlock_2", "pre_head_layer_norm", "head"
    }  # fmt: skip
    assert set(params["MixerBlock_1"]) == {
        "LayerNorm_0", "LayerNorm_1", "token_mixing", "channel_mixing"
    }  # fmt: skip
    assert set(params["MixerBlock_1"]["token_mixing"]) == {"Dense_0", "Dense_1"}
    assert not params["head"]["kernel"].any() and not params["head"]["bias"].any()
    biased, _, _ = small_model("mixer_paper", head_bias=-6.9)
    params = jax.jit(biased.init)(jax.random.key(0), images)["params"]
    np.testing.assert_array_equal(params["head"]["bias"], np.full(7, -6.9, np.float32))


def test_models_of_equal_settings_are_equal_and_hashable():
    assert create_model("gmlp_keras", 5) == create_model("gmlp_keras", 5)
    assert hash(create_model("gmlp_keras", 5)) == hash(create_model("gmlp_keras", 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("mixer_kera", 10, {}),
            "config.model.name has no 'mixer_kera' .did you mean 'mixer_keras'.",
        ),
        (("fnet_keras", 10, {"tokens_hidden_dim": 8}), "'fnet_keras' has no setting 'tokens_hid"),
        (("mixer_keras", 10, {"drop_rate": 0.1}), "did you mean 'dropout_rate'"),
        (("mixer_keras", 0, {}), "num_classes .* at least 1 .*not 0"),
        (("mixer_keras", 10, {"width": -4}), "width .* at least 1 .*not -4"),
        (("mixer_keras", 10, {"width": 4.0}), "width .* whole number, not 4.0"),
        (("mixer_keras", 10, {"dropout_rate": 1.0}), "dropout_rate .* not 1.0"),
        (("mixer_keras", 10, {"dtype": "float16"}), "dtype of model .* one of .*'float16'"),
        (("gmlp_keras", 10, {"hidden_dim": 5}), "must be even, not 5"),
        (
            ("fnet_s16", 10, {"attention_blocks": 13}),
            "attention_blocks 13 is more than num_blocks 12",
        ),
        (
            ("mixer_s16", 10, {"attention_blocks": 1}),
            "has the field `mixing`, such as FNetBlock, an",
        ),
        (("fnet_s16", 10, {"mixing": "linear"}), "one of fourier, attention, not 'linear'"),
        (("amlp_s16", 10, {"attention_dim": 0}), "attention_dim .* at least 1 .*not 0"),
        (("resmlp_12", 10, {"layer_scale": 0.0}), "layer_scale .* above 0"),
        (("vit_paper", 10, {"num_heads": 0}), "num_heads .* at least 1 .*not 0"),
    ],
)
def test_impossible_models_are_refused(arguments, message):
    name, classes, overrides = arguments
    with pytest.raises(InputError, match=message):
        create_model(name, classes, **overrides)


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("scan", [False, True])
def test_images_that_do_not_fit_are_refused_and_none_are_no_error(name, scan):
    model, images, variables = small_model(name, scan=scan)
    assert jax.eval_shape(model.apply, variables, images[:0]).shape == (0, 7)
    axes = r"must have the axes .batch, height, width, channels.; its shape is .8, 12, 3."
    with pytest.raises(ValueError, match=axes):
        jax.eval_shape(model.apply, variables, images[0])
    with pytest.raises(ValueError, match="'stem/kernel' is for 3 channels, and the input has 1 ch"):
        jax.eval_shape(model.apply, variables, images[..., :1])
    with pytest.raises(ValueError, match="is for 6 tokens, and the input has 8 tokens"):
        jax.eval_shape(model.apply, variables, np.zeros((1, 8, 16, 3)))


def only_dense(module, method):
    return type(module).__name__ == "Dense" and method == "__call__"


@pytest.mark.parametrize(
    "name",
    [
        "mixer_keras",
        "fnet_keras",
        "gmlp_keras",
        "vit_paper",
        "resmlp_paper",
        "amlp_paper",
        "fnet_hybrid_paper",
    ],
)
@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize(
    "captured", [True, pytest.param(only_dense, marks=pytest.mark.slow)], ids=["all", "dense"]
)
def test_scan_captures_the_intermediates_of_the_loop(name, remat, captured):
    model, images, variables = small_model(name, remat=remat)
    scan = create_model(name, 7, **SMALL, scan=True, remat=remat)
    expected, found = (
        jax.jit(functools.partial(one.apply, capture_intermediates=captured))(variables, images)[1]
        for one in (model, scan)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 2e-4, 1e-4), expected, found)
    for one in (model, scan):
        apply = functools.partial(one.apply, mutable=["intermediates"])
        assert jax.eval_shape(apply, variables, images)[1] == {}


class OwnBlock(nn.Module):
    """A block of a user's own: it sows, and has running statistics."""

    dropout_rate: Any = 0.0
    stochastic_depth_rate: Any = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    dropout: type[nn.Module] = Dropout

    @nn.compact
    def __call__(self, inputs, deterministic=True):
        inputs = inputs + nn.BatchNorm(deterministic)(inputs)
        self.sow("intermediates", "mean", inputs.mean())
        return self.dropout(self.dropout_rate)(inputs, deterministic)


def own_classifier(**fields):
    return Classifier(OwnBlock, fields.pop("options", FrozenDict()), 7, 4, 16, 3, **fields)


def test_scan_keeps_what_a_block_of_the_users_own_stores():
    images = np.random.default_rng(0).normal(size=(4, 8, 12, 3)).astype("float32")
    loop, scan = own_classifier(), own_classifier(scan=True)
    variables = jax.jit(loop.init)(jax.random.key(0), images)
    call = {"train": True, "mutable": ["intermediates", "batch_stats"]}
    expected, found = (
        jax.jit(functools.partial(one.apply, **call))(variables, images)[1] for one in (loop, scan)
    )
    assert found["intermediates"]["OwnBlock_2"]["mean"][0].shape == ()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), expected, found)


class WithoutParameters(OwnBlock):
    """Pooling in the place of token mixing, as in MetaFormer's simplest form."""

    @nn.compact
    def __call__(self, inputs, deterministic=True):
        return inputs + inputs.mean(axis=1, keepdims=True)


def test_scan_takes_a_block_without_parameters():
    images = np.random.default_rng(0).normal(size=(4, 8, 12, 3)).astype("float32")
    loop, scan = (
        Classifier(WithoutParameters, FrozenDict(), 7, 4, 16, 3, scan=one) for one in (False, True)
    )
    variables = jax.jit(loop.init)(jax.random.key(0), images)
    expected, found = (jax.jit(one.apply)(variables, images) for one in (loop, scan))
    np.testing.assert_allclose(found, expected, 1e-5, 1e-5)


def test_the_dropout_of_flax_in_a_block_is_refused_where_rates_are_traced():
    images = np.zeros((4, 8, 12, 3), np.float32)
    rngs = {"dropout": jax.random.key(0)}

    @functools.partial(jax.jit, static_argnums=0)
    def train(model, variables, rate):
        call = {"train": True, "rngs": rngs, "mutable": ["batch_stats"]}
        return model.clone(dropout_rate=rate).apply(variables, images, **call)[0]

    own, flax = own_classifier(), own_classifier(options=FrozenDict(dropout=nn.Dropout))
    variables = jax.jit(own.init)(jax.random.key(0), images)
    assert train(own, variables, 0.5).shape == (4, 7)
    with pytest.raises(InputError, match="OwnBlock .* use mlpvis_jax.models.layers.Dropout inst"):
        train(flax, variables, 0.5)


@pytest.mark.parametrize(("name", "scan"), LOOPED_OR_SCANNED)
def test_initialisers_may_name_the_axes_of_their_kernels(name, scan):
    _, images, _ = small_model(name)
    initializer = nn.initializers.lecun_normal()
    boxed = nn.with_partitioning(initializer, ("in", "out"))
    plain, named = (
        create_model(name, 7, **SMALL, dropout_rate=0.0, kernel_init=init, scan=scan)
        for init in (initializer, boxed)
    )
    variables = named.init(jax.random.key(0), images)
    expected = plain.init(jax.random.key(0), images)
    jax.tree.map(np.testing.assert_array_equal, nn.unbox(variables), expected)
    specs = nn.get_partition_spec(variables)["params"]
    assert specs["stem"]["kernel"] == jax.P("in", None, None, "out")
    block = specs[f"{named.block.__name__}_1"]
    assert jax.P("in", "out") in jax.tree.leaves(block)
    logits = named.apply(variables, images)
    np.testing.assert_array_equal(logits, plain.apply(expected, images))
