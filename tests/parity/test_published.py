"""Other people's weights, read from their formats: our logits are those of their code."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util
from safetensors.numpy import load_file

from mlpvis_jax import weights
from mlpvis_jax.models import PRESETS, create_model
from mlpvis_jax.weights import load_pretrained
from mlpvis_jax.weights.architecture import shapes_of
from mlpvis_jax.weights.timm import from_timm
from tests.parity import timm_models

pytestmark = pytest.mark.optimised

FOLDER = Path(__file__).parent / "published"  # made by make_published.py
FILES = {
    "mixer_authors": "mixer_authors.npz",
    "mixer_timm": "mixer_timm.safetensors",
    "gmlp_timm": "gmlp_timm.safetensors",
    "resmlp_timm": "resmlp_timm.safetensors",
    "vit_timm": "vit_timm/model.safetensors",
}


def stored(name):
    """Arrays of a file by their names there."""
    path = FOLDER / FILES[name]
    if path.suffix == ".npz":
        with np.load(path) as file:
            return dict(file)
    return load_file(path)


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "logits.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", FILES)
def test_logits_are_those_of_their_code(name, expected):
    model, parameters, _ = load_pretrained(FOLDER / FILES[name])
    logits = model.apply({"params": parameters}, expected["images"])
    np.testing.assert_allclose(logits, expected[name], 0, 2e-6)


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("mixer_authors", {"approximate_gelu": False}),
        ("mixer_authors", {"epsilon": 1e-5}),
        ("mixer_timm", {"approximate_gelu": True}),
        ("mixer_timm", {"epsilon": 1e-5}),
        ("gmlp_timm", {"approximate_gelu": True}),
        ("gmlp_timm", {"gate_epsilon": 1e-6}),
        ("gmlp_timm", {"epsilon": 1e-5}),
        ("resmlp_timm", {"approximate_gelu": True}),
        ("vit_timm", {"approximate_gelu": True}),
        ("vit_timm", {"epsilon": 1e-5}),
        ("vit_timm", {"num_heads": 2}),
    ],
)
def test_each_detail_of_a_format_counts(name, wrong, expected):
    """Without it the comparison above would fail, so it could not pass by chance."""
    params, description = weights.read(FOLDER / FILES[name])
    options = {**description["model"], **wrong}
    del options["image_size"]
    model = create_model(options.pop("name"), timm_models.CLASSES, **options)
    logits = model.apply({"params": params}, expected["images"])
    assert np.abs(logits - expected[name]).max() > 1e-5


@pytest.mark.parametrize("name", FILES)
def test_written_back_they_are_the_same_bits(name, tmp_path):
    path = tmp_path / Path(FILES[name]).name
    if (FOLDER / FILES[name]).parent != FOLDER:  # a config.json is of all weights in its folder
        shutil.copy((FOLDER / FILES[name]).with_name("config.json"), tmp_path)
    params, description = weights.read(FOLDER / FILES[name])
    weights.write(path, params, description, description["format"])
    again = weights.read(path)
    assert again.description["model"] == description["model"]
    before = stored(name)
    with np.load(path) if path.suffix == ".npz" else _Opened(load_file(path)) as after:
        assert set(after) == set(before)
        for key, array in before.items():
            assert after[key].dtype == array.dtype and after[key].tobytes() == array.tobytes()


class _Opened(dict):
    def __enter__(self):
        return self

    def __exit__(self, *details):
        pass


@pytest.mark.slow
def test_the_authors_mixer_is_the_papers_equations_in_flax(expected):
    """The same file through Flax's own modules, as the paper describes them."""
    params = traverse_util.unflatten_dict(stored("mixer_authors"), sep="/")

    def flax(module, name, inputs, params=params):
        return module.apply({"params": params[name]}, inputs)

    def mlp(params, inputs):
        hidden, width = params["Dense_0"]["kernel"].shape[1], inputs.shape[-1]
        hidden = nn.gelu(flax(nn.Dense(hidden), "Dense_0", inputs, params))
        return flax(nn.Dense(width), "Dense_1", hidden, params)

    stem = nn.Conv(timm_models.WIDTH, (4, 4), strides=(4, 4), padding="VALID")
    tokens = flax(stem, "stem", expected["images"]).reshape(3, 9, timm_models.WIDTH)
    for index in range(timm_models.BLOCKS):
        block = params[f"MixerBlock_{index}"]
        normalized = flax(nn.LayerNorm(), "LayerNorm_0", tokens, block)
        tokens += mlp(block["token_mixing"], normalized.swapaxes(1, 2)).swapaxes(1, 2)
        normalized = flax(nn.LayerNorm(), "LayerNorm_1", tokens, block)
        tokens += mlp(block["channel_mixing"], normalized)
    pooled = jnp.mean(flax(nn.LayerNorm(), "pre_head_layer_norm", tokens), axis=1)
    logits = flax(nn.Dense(timm_models.CLASSES), "head", pooled)
    np.testing.assert_allclose(logits, expected["mixer_authors"], 0, 2e-6)


@pytest.mark.slow  # torch takes seconds to import
@pytest.mark.filterwarnings("ignore")  # torch's and timm's own
@pytest.mark.parametrize("family", timm_models.FAMILIES)
def test_live(family, tmp_path):
    timm_models.import_timm()
    from safetensors.torch import load_file as load_tensors
    from safetensors.torch import save_file

    module = timm_models.small(family)
    path, written = tmp_path / "model.safetensors", tmp_path / "written.safetensors"
    save_file(module.state_dict(), path)
    (tmp_path / "config.json").write_text(json.dumps(timm_models.config(family)))
    model, parameters, _ = load_pretrained(path)
    images = np.random.default_rng(5).normal(size=(2, 12, 12, 3)).astype(np.float32)
    logits = model.apply({"params": parameters}, images)
    np.testing.assert_allclose(logits, timm_models.logits(module, images), 0, 2e-6)
    params, description = weights.read(path)
    changed = jax.tree.map(lambda leaf: leaf + 1, params)
    weights.write(written, changed, description, "timm")
    module.load_state_dict(load_tensors(written))  # strict: all names and shapes
    logits = model.apply({"params": changed}, images)
    np.testing.assert_allclose(logits, timm_models.logits(module, images), 1e-5, 1e-5)


OF_TIMM = {
    **{"mixer_*": (6, {}), "gmlp_*": (3, {}), "resmlp_*": (4, {})},
    **{f"vit_{size}_patch16_224": (1, timm_models.NO_CLASS_TOKEN) for size in ("tiny", "small")},
}
RENAMED = {"vit_tiny_patch16_224": "vit_ti16", "vit_small_patch16_224": "vit_s16"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pattern", OF_TIMM)
def test_every_model_of_timm_is_known_by_its_shapes(pattern):
    timm_models.import_timm()
    import timm
    import torch

    number, options = OF_TIMM[pattern]
    names = timm.list_models(pattern)
    assert len(names) == number
    for name in names:
        with torch.device("meta"):
            module = timm.create_model(name, **options)
        arrays = {  # of no memory
            key: np.broadcast_to(np.float32(0), tuple(tensor.shape))
            for key, tensor in module.state_dict().items()
        }
        params, description = from_timm(Path(f"{name}.safetensors"), arrays)
        preset = description["model"]["name"]
        assert preset == RENAMED.get(name, name.removesuffix("_224")) and preset in PRESETS
        assert description["model"]["image_size"] == 224
        assert not {"patch_size", "width", "num_blocks"} & description["model"].keys()
        if options:  # the preset's heads are timm's
            model = create_model(preset, 1000)
            assert model.block_options["num_heads"] == module.blocks[0].attn.num_heads
        named = traverse_util.flatten_dict(params, sep="/")
        wanted = shapes_of(create_model(preset, 1000), 224, 3)
        assert {key: array.shape for key, array in named.items()} == wanted
