"""FNet's block with attention is a layer of BERT: live, where torch and transformers are."""

import numpy as np
import pytest

from mlpvis_jax.models import FNetBlock
from tests.parity.timm_models import import_torch

pytestmark = [pytest.mark.optimised, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SIZES = {"hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 9}
# As FNet's authors have them.
COMPUTES = {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12, "attn_implementation": "eager"}


def ours(state):
    """The parameters of a BertLayer by this project's names."""

    def linear(name):
        return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}

    def norm(name):
        return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}

    apart = [linear(f"attention.self.{name}") for name in ("query", "key", "value")]
    joint = {key: np.concatenate([one[key] for one in apart], axis=-1) for key in apart[0]}
    return {
        "self_attention": {
            "query_key_value": joint,
            "projection": linear("attention.output.dense"),
        },
        "LayerNorm_0": norm("attention.output.LayerNorm"),
        "feed_forward": {
            "Dense_0": linear("intermediate.dense"),
            "Dense_1": linear("output.dense"),
        },
        "LayerNorm_1": norm("output.LayerNorm"),
    }


def test_a_layer_of_bert():
    torch = import_torch()
    bert = pytest.importorskip("transformers.models.bert.modeling_bert", exc_type=ImportError)
    layer = bert.BertLayer(bert.BertConfig(**SIZES, **COMPUTES)).eval()  # without dropout
    random = np.random.default_rng(0)
    inputs = random.normal(size=(3, 10, 12)).astype(np.float32)
    with torch.no_grad():
        for parameter in layer.parameters():
            values = random.normal(0.1, 0.3, parameter.shape).astype(np.float32)
            parameter.copy_(torch.from_numpy(values))
        expected = layer(torch.from_numpy(inputs))
    if isinstance(expected, tuple):  # as older versions have it
        expected = expected[0]
    params = ours({name: tensor.numpy() for name, tensor in layer.state_dict().items()})
    block = FNetBlock(9, mixing="attention", num_heads=3)
    found = block.apply({"params": params}, inputs)
    np.testing.assert_allclose(found, expected.numpy(), 0, 2e-6)
