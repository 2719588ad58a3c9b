"""Weights files of every format: what is read, what is written, and what is refused."""

import io
import json
import re
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from mlpvis_jax import weights
from mlpvis_jax.errors import InputError
from mlpvis_jax.models import create_model
from mlpvis_jax.weights.architecture import GMLP, MIXER, RESMLP, VIT, build, shapes_of
from mlpvis_jax.weights.foreign import unchanged
from mlpvis_jax.weights.mixer_npz import LAYOUT
from mlpvis_jax.weights.naming import to_ours, to_theirs

PARAMS = {"stem": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
SMALL = {"patch_size": 2, "num_blocks": 2, "width": 4}
MODELS = {
    "mixer": {"name": "mixer_s16", **SMALL, "tokens_hidden_dim": 3, "channels_hidden_dim": 5},
    "gmlp": {"name": "gmlp_ti16", **SMALL, "hidden_dim": 6},
    "resmlp": {"name": "resmlp_12", **SMALL, "hidden_dim": 6},
    "vit": {"name": "vit_ti16", **SMALL, "hidden_dim": 6, "num_heads": 2},
}


def params_of(model, image_size=6, classes=2):
    """Random parameters by this project's names."""
    options = {key: value for key, value in model.items() if key != "name"}
    random = np.random.default_rng(0)
    shapes = shapes_of(create_model(model["name"], classes, **options), image_size, 3)
    named = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return traverse_util.unflatten_dict(named, sep="/")


def timm_file(path, family="mixer", change=dict, **options):
    """A file of timm's, of which `change` makes other arrays."""
    weights.write(path, params_of({**MODELS[family], **options}), {}, "timm")
    save_file(
        {key: np.ascontiguousarray(value) for key, value in change(load_file(path)).items()}, path
    )
    return path


def test_own_weights_are_read_without_knowing_the_model(tmp_path):
    path = tmp_path / "best.safetensors"
    weights.write(path, PARAMS, {"class_names": ["cat", "dog"]}, "mlpvis")
    params, description = weights.read(path)
    np.testing.assert_array_equal(params["stem"]["kernel"], PARAMS["stem"]["kernel"])
    assert description == {"class_names": ["cat", "dog"], "format": "mlpvis"}


def test_own_weights_that_are_damaged_are_refused(tmp_path):
    path = tmp_path / "best.safetensors"
    weights.write(path, PARAMS, {}, "mlpvis")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged .*not what was written"):
        weights.read(path)


def test_an_option_that_is_off_stays_off():
    """A preset has a value for it, and None is one of its values."""
    description = {"name": "amlp_paper", "image_size": 32, "attention_dim": None, "dtype": None}
    assert build(description, 10).block_options["attention_dim"] is None


@pytest.mark.parametrize(
    "family, block",
    [(MIXER, "mixer_s16"), (GMLP, "gmlp_ti16"), (RESMLP, "resmlp_12"), (VIT, "vit_ti16")],
)
def test_the_modules_of_a_family_are_the_models(family, block):
    model = create_model(block, 5, num_blocks=2, patch_size=4, width=6)
    shapes = shapes_of(model, 8, 3)
    rows = LAYOUT._replace(family=family).parameters(2)
    assert {row.ours: len(row.axes) for row in rows} == {
        name: len(shape) for name, shape in shapes.items()
    }


@pytest.mark.slow  # the whole models are described
@pytest.mark.parametrize(
    "preset, image_size",
    [("gmlp_ti16", 224), ("mixer_s16", 64), ("resmlp_24", 32), ("vit_ti16", 32)],
)
def test_a_published_model_is_known_by_its_name(tmp_path, preset, image_size):
    params = params_of({"name": preset}, image_size, classes=3)
    weights.write(tmp_path / "x", params, {}, "timm")
    model = weights.read(tmp_path / "x").description["model"]
    assert (model.pop("name"), model.pop("image_size")) == (preset, image_size)
    assert not {"patch_size", "width", "num_blocks", "hidden_dim"} & model.keys()


def test_another_model_is_known_by_its_sizes(tmp_path):
    path = timm_file(tmp_path / "x")
    assert weights.read(path).description == {
        "model": {
            **{**MODELS["mixer"], "name": "mixer_s32", "image_size": 6},
            **{"approximate_gelu": False, "epsilon": 1e-6},
        },
        "format": "timm",
    }


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int8])
def test_the_type_of_a_file_is_kept(tmp_path, dtype):
    path = timm_file(
        tmp_path / "x", "gmlp", lambda arrays: {k: v.astype(dtype) for k, v in arrays.items()}
    )
    params, description = weights.read(path)
    assert {leaf.dtype for leaf in traverse_util.flatten_dict(params).values()} == {np.dtype(dtype)}
    weights.write(tmp_path / "y", params, description, "timm")
    before, after = load_file(path), load_file(tmp_path / "y")
    assert {key: value.tobytes() for key, value in after.items()} == {
        key: value.tobytes() for key, value in before.items()
    }


def test_writing_replaces_a_file_as_a_whole(tmp_path):
    path = timm_file(tmp_path / "x")
    before = path.read_bytes()
    params = params_of(MODELS["mixer"])
    params["head"]["bias"] = params["head"]["bias"].astype(ml_dtypes.bfloat16)
    with pytest.raises(InputError, match="no type bfloat16, that head/bias has"):
        weights.write(path, params, {}, "mixer_npz")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def config(**changes):
    told = {"num_classes": 2, "input_size": [3, 6, 6], "mean": [0, 0.5, 1], "std": [1, 0.2, 0.5]}
    return json.dumps({"pretrained_cfg": {**told, **changes}})


def test_timm_scales_images_as_the_config_beside_the_file_says(tmp_path):
    path = timm_file(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config())
    description = weights.read(path).description
    assert description["normalization_mean"] == [0, 127.5, 255]
    assert description["normalization_deviation"] == [255, 51, 127.5]


def test_classes_of_weights_that_were_tuned_stand_outside(tmp_path):
    path = timm_file(tmp_path / "model.safetensors")
    tuned = {**json.loads(config(num_classes=1000)), "num_classes": 2}
    legacy = json.loads(config())["pretrained_cfg"]
    for told in (tuned, legacy):
        (tmp_path / "config.json").write_text(json.dumps(told))
        assert weights.read(path).description["normalization_mean"] == [0, 127.5, 255]


@pytest.mark.parametrize(
    "text",
    [config(num_classes=3), config(mean=[0.5]), config(input_size=[1, 6, 6]), "[", "{}", "[1]",
     config(mean=["a", "b", "c"])],
)  # fmt: skip
def test_a_config_of_other_weights_says_nothing(tmp_path, text):
    path = timm_file(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    assert "normalization_mean" not in weights.read(path).description


def test_the_heads_of_a_vision_transformer_are_never_guessed(tmp_path):
    path = timm_file(tmp_path / "model.safetensors", "vit")
    with pytest.raises(InputError, match="no shape tells num_heads, and their sizes are of no pre"):
        weights.read(path)
    for told in (3, [2]):  # which are none of a width of 4
        (tmp_path / "config.json").write_text(json.dumps({"model_args": {"num_heads": told}}))
        with pytest.raises(InputError, match="num_heads"):
            weights.read(path)
    (tmp_path / "config.json").write_text(json.dumps({"model_args": {"num_heads": 2}}))
    params, description = weights.read(path)
    assert description["model"] == {
        **{**MODELS["vit"], "image_size": 6, "approximate_gelu": False, "epsilon": 1e-6}
    }
    weights.write(tmp_path / "again", params, description, "timm")
    before, after = load_file(path), load_file(tmp_path / "again")
    assert before.keys() == after.keys()
    assert all(after[key].tobytes() == before[key].tobytes() for key in before)


def without(*names):
    return lambda arrays: {name: array for name, array in arrays.items() if name not in names}


def with_(**arrays):
    return lambda others: {
        **others,
        **{key.replace("__", "."): value for key, value in arrays.items()},
    }


def of_shape(name, *shape):
    return lambda arrays: {**arrays, name: np.zeros(shape, np.float32)}


@pytest.mark.parametrize(
    "family, change, message",
    [
        ("mixer", without("head.bias"), "x holds no Mixer of the format timm: it lacks head.bias."),
        (
            "mixer",
            without("blocks.0.norm1.bias", "blocks.1.norm1.bias", "norm.weight"),
            "it lacks blocks.*.norm1.bias, norm.weight.",
        ),
        ("mixer", without("blocks.0.norm2.weight"), "it lacks blocks.0.norm2.weight."),
        (
            "gmlp",
            with_(stem__norm__weight=np.zeros(4), blocks__0__ls1=np.zeros(4)),
            "no gMLP of the format timm: it has no place for blocks.0.ls1, stem.norm.weight.",
        ),
        (
            "gmlp",
            lambda arrays: with_(dist=np.zeros(1))(without("head.weight")(arrays)),
            "it lacks head.weight; it has no place for dist.",
        ),
        (
            "mixer",
            of_shape("head.weight", 2, 5),
            "head.weight is [2, 5], and should be [2, 4].",
        ),
        (
            "mixer",
            of_shape("norm.weight", 4, 1),
            "norm.weight has the shape [4, 1], and not the number of axes 1.",
        ),
        (
            "mixer",
            of_shape("stem.proj.weight", 4, 0, 2, 2),
            "no Mixer of the format timm: stem.proj.weight has no numbers.",
        ),
        (
            "resmlp",
            without("blocks.0.ls1", "blocks.1.ls1"),
            "x holds no ResMLP of the format timm: it lacks blocks.*.ls1.",
        ),
        (
            "resmlp",
            of_shape("norm.alpha", 2, 1, 4),
            "norm.alpha is [2, 1, 4], and should be [1, 1, 4].",
        ),
        ("resmlp", of_shape("norm.beta", 4), "norm.beta has the shape [4], and not the number of"),
        (
            "vit",
            with_(cls_token=np.zeros((1, 1, 4)), fc_norm__weight=np.zeros(4)),
            "x holds no Vision Transformer without a class token of the format timm: it has no "
            "place for cls_token, fc_norm.weight.",
        ),
        ("vit", of_shape("pos_embed", 9, 4), "pos_embed has the shape [9, 4], and not the number"),
        # The gated MLPs of timm's gmixer_* have the same names.
        (
            "mixer",
            lambda arrays: {
                name: array[:, :2] if name.endswith("mlp_tokens.fc2.weight") else array
                for name, array in arrays.items()
            },
            "blocks.*.mlp_tokens.fc2.weight is [9, 2], and should be [9, 3].",
        ),
        (
            "gmlp",
            lambda arrays: {
                name: array[:8, :8] if name.endswith("gate.proj.weight") else array
                for name, array in arrays.items()
            },
            "x holds no gMLP of the format timm: they are for 8 tokens, which are no square grid.",
        ),
    ],
)
def test_what_does_not_match_is_listed(tmp_path, family, change, message):
    path = timm_file(tmp_path / "x", family, change)
    with pytest.raises(InputError, match=re.escape(message)):
        weights.read(path)


def test_few_of_many_differences_are_listed(tmp_path):
    more = {f"extra{letter}": np.zeros(1) for letter in "abcdefghi"}
    path = timm_file(tmp_path / "x", change=lambda arrays: {**arrays, **more})
    with pytest.raises(InputError, match="extraa, .*, extraf and 3 more"):
        weights.read(path)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **{key.replace("__", "/"): value for key, value in arrays.items()})
    return stream.getvalue()


def damaged_npz():
    content = bytearray(npz(stem__kernel=np.zeros((2, 2, 3, 4))))
    content[200] ^= 1
    return bytes(content)


def pickled():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    return stream.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is damaged, or neither a safetensors nor an .npz file"),
        (b"PK", "is damaged, or neither a safetensors nor an .npz file"),
        (npz(a=np.zeros(2))[:-30], "is damaged, or neither"),
        (damaged_npz(), "is damaged or no .npz file of numbers (Bad CRC-32"),
        (pickled(), "is a pickle of PyTorch's, which may run any program"),
        (npz(x=np.zeros(2)), "holds x, and so is of no known format. There are mlpvis, this"),
        (npz(), "holds nothing, and so"),
        (npz(stem__kernel=np.asarray([None])), "is damaged or no .npz file of numbers (Object"),
        (npz(stem__kernel=np.asarray(["a"])), "stem/kernel is no array of numbers, but of <U1."),
        (
            npz(stem__kernel=np.zeros((2, 2, 3, 4))),
            "x holds no Mixer of the format mixer_npz: it l",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        weights.read(tmp_path / "x")


@pytest.mark.parametrize("name", ["fc.weight", "blocks.0.linear_tokens.weight"])
def test_safetensors_of_others_are_refused(tmp_path, name):
    save_file({name: np.zeros(2)}, tmp_path / "x")
    with pytest.raises(InputError, match=f"holds {name}, and so is of no known format"):
        weights.read(tmp_path / "x")


def test_no_file(tmp_path):
    for path in (tmp_path / "x", tmp_path):
        with pytest.raises(InputError, match=re.escape(f"There are no weights at {path}.")):
            weights.read(path)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="no weights format 'pth'; there are mlpvis, mixer_npz, t"):
        weights.write(tmp_path / "x", PARAMS, {}, "pth")


@pytest.mark.parametrize(
    "format, model, message",
    [
        (
            "timm",
            {"name": "fnet_ti16"},
            "for models of the blocks MixerBlock, GMlpBlock, ResMlpBlock, VitBlock, not FNetBlock",
        ),
        ("mixer_npz", {"name": "gmlp_ti16"}, "it lacks MixerBlock_0/LayerNorm_0/scale, "),
        (
            "timm",
            {"name": "amlp_ti16"},
            "it has no place for GMlpBlock_*/tiny_attention/proj",
        ),
        ("timm", {"name": "mixer_keras"}, "it lacks MixerBlock_*/LayerNorm_1/scale, "),
        ("mixer_npz", {"name": "mixer_keras"}, "parameters: it lacks MixerBlock_*/LayerNorm_1/sc"),
    ],
)
def test_parameters_of_others_models_are_not_written(tmp_path, format, model, message):
    params = params_of({**model, "num_blocks": 2}, 32)
    with pytest.raises(InputError, match=re.escape(message)):
        weights.write(tmp_path / "x", params, {}, format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "format, family, options, message",
    [
        ("timm", "mixer", {}, "approximate_gelu is True, and there False. To write"),
        ("mixer_npz", "mixer", {"approximate_gelu": False}, "approximate_gelu is False, and there"),
        ("timm", "mixer", {"approximate_gelu": False}, None),
        ("mixer_npz", "mixer", {}, None),
        ("timm", "gmlp", {}, "computes: gate_epsilon is 1e-06, and there 1e-05. To"),
        ("timm", "gmlp", {"epsilon": 1e-5}, "computes: epsilon is 1e-05, and there 1e-06. To"),
        ("timm", "gmlp", {"gate_epsilon": 1e-5, "normalized_skip": None}, None),
        (
            "timm",
            "gmlp",
            {"gate_epsilon": 1e-5, "normalized_skip": True},
            "normalized_skip is True, and there False",
        ),
        ("timm", "resmlp", {}, None),
        ("timm", "resmlp", {"approximate_gelu": True}, "approximate_gelu is True, and there False"),
        ("timm", "vit", {}, "approximate_gelu is True, and there False"),
        ("timm", "vit", {"approximate_gelu": False}, None),
    ],
)
def test_a_model_that_computes_otherwise_is_not_written(tmp_path, format, family, options, message):
    model, path = {**MODELS[family], **options}, tmp_path / "x"
    params = params_of({key: value for key, value in model.items() if value is not None})
    description = {"model": {**model, "image_size": 6}}
    if message is None:
        weights.write(path, params, description, format)
        return
    with pytest.raises(InputError, match=re.escape(message)):
        weights.write(path, params, description, format)
    assert not path.exists()
    weights.write(path, params, {}, format)  # as the message says


def test_heads_that_a_reader_would_take_for_others_are_not_written(tmp_path):
    """The sizes are those of a preset, which has three."""
    model = {"name": "vit_ti16", "num_heads": 6, "approximate_gelu": False}
    params, description = params_of(model, 16), {"model": {**model, "image_size": 16}}
    with pytest.raises(InputError, match="num_heads is 6, and there 3"):
        weights.write(tmp_path / "x", params, description, "timm")


def test_renaming_undoes_itself():
    row = unchanged("head", "kernel", 3)._replace(axes=(2, 0, 1))
    assert row.their_shape(np.zeros((4, 5, 6)).transpose(row.axes).shape) == (4, 5, 6)
    row = row._replace(ones=2)
    assert row.their_shape((6, 4, 5)) == (1, 1, 4, 5, 6)
    array = np.arange(120).reshape(1, 1, 4, 5, 6)
    ours = to_ours({row.theirs: array}, [row])
    assert ours[row.ours].shape == (6, 4, 5)
    np.testing.assert_array_equal(to_theirs(ours, [row])[row.theirs], array)


def test_paths_may_be_texts(tmp_path):
    path = str(timm_file(tmp_path / "x"))
    assert weights.read(path).description == weights.read(Path(path)).description
