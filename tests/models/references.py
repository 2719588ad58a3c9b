"""The blocks in NumPy, float64, written from their equations and not from the modules."""

import math

import numpy as np

_ERFC = np.vectorize(math.erfc)  # 1 + erf would cancel


def gelu(x, approximate):
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * _ERFC(-x / math.sqrt(2))


def layer_norm(x, weights, epsilon):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * weights["scale"] + weights["bias"]


def dense(x, weights):
    return x @ weights["kernel"] + weights["bias"]


def mlp(x, weights, approximate):
    return dense(gelu(dense(x, weights["Dense_0"]), approximate), weights["Dense_1"])


def mixer_block(x, weights, *, shared_norm, approximate, epsilon=1e-6):
    """Tolstikhin et al., 2021, equation 1."""
    channels_norm = weights["LayerNorm_0" if shared_norm else "LayerNorm_1"]
    normalized = layer_norm(x, weights["LayerNorm_0"], epsilon).transpose(0, 2, 1)
    u = x + mlp(normalized, weights["token_mixing"], approximate).transpose(0, 2, 1)
    return u + mlp(layer_norm(u, channels_norm, epsilon), weights["channel_mixing"], approximate)


def fnet_block(x, weights, *, approximate, epsilon):
    """Lee-Thorp et al., 2021, section 3.2."""
    u = layer_norm(x + np.fft.fft2(x).real, weights["LayerNorm_0"], epsilon)
    y = u + mlp(u, weights["feed_forward"], approximate)
    return layer_norm(y, weights["LayerNorm_1"], epsilon)


def fnet_attention_block(x, weights, *, heads, approximate, epsilon):
    """A layer of BERT's encoder, which the last layers of a hybrid FNet are."""
    u = x + self_attention(x, weights["self_attention"], heads)
    u = layer_norm(u, weights["LayerNorm_0"], epsilon)
    y = u + mlp(u, weights["feed_forward"], approximate)
    return layer_norm(y, weights["LayerNorm_1"], epsilon)


def gmlp_block(x, weights, *, normalized_skip, approximate, epsilon=1e-6, gate_epsilon=1e-6):
    """Liu et al., 2021, equations 1 to 4."""
    normalized = layer_norm(x, weights["LayerNorm_0"], epsilon)
    z1, z2 = np.split(gelu(dense(normalized, weights["Dense_0"]), approximate), 2, axis=-1)
    gating = weights["spatial_gating"]
    z2 = layer_norm(z2, gating["LayerNorm_0"], gate_epsilon)
    # W acts across tokens: out[s] = sum over t of kernel[t, s] in[t].
    gate = np.einsum("btc,ts->bsc", z2, gating["Dense_0"]["kernel"])
    gate = gate + gating["Dense_0"]["bias"][None, :, None]
    return (normalized if normalized_skip else x) + dense(z1 * gate, weights["Dense_1"])


def self_attention(x, weights, heads):
    """Vaswani et al., 2017, section 3.2, one head after another; columns: queries, keys, values."""
    joint = dense(x, weights["query_key_value"])
    of_heads = [np.split(part, heads, axis=-1) for part in np.split(joint, 3, axis=-1)]
    read = []
    for query, key, value in zip(*of_heads, strict=True):
        logits = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
        read.append(weight / weight.sum(axis=-1, keepdims=True) @ value)
    return dense(np.concatenate(read, axis=-1), weights["projection"])


def tiny_attention(x, weights):
    """The pseudo-code of Liu et al., 2021: one head, whose width is that of its queries."""
    q, k, v = np.split(dense(x, weights["query_key_value"]), 3, axis=-1)
    w = np.exp(np.einsum("bnd,bmd->bnm", q, k) / math.sqrt(q.shape[-1]))
    a = w / w.sum(axis=-1, keepdims=True)
    return dense(np.einsum("bnm,bmd->bnd", a, v), weights["projection"])


def amlp_block(x, weights, *, approximate, epsilon=1e-6):
    """The pseudo-code of Liu et al., 2021, with the tiny attention added to the gate (figure 6)."""
    shortcut = x
    x = layer_norm(x, weights["LayerNorm_0"], epsilon)
    attended = tiny_attention(x, weights["tiny_attention"])
    x = gelu(dense(x, weights["Dense_0"]), approximate)
    u, v = np.split(x, 2, axis=-1)
    gating = weights["spatial_gating"]
    v = layer_norm(v, gating["LayerNorm_0"], epsilon).transpose(0, 2, 1)
    v = dense(v, gating["Dense_0"]).transpose(0, 2, 1)
    return shortcut + dense(u * (v + attended), weights["Dense_1"])


def resmlp_block(x, weights, *, approximate):
    """Touvron et al., 2021, equations 1 to 3."""

    def affine(x, weights):
        return x * weights["scale"] + weights["bias"]

    across = weights["token_mixing"]
    # A acts across tokens: out[s] = sum over t of kernel[t, s] in[t].
    mixed = np.einsum("btc,ts->bsc", affine(x, weights["Affine_0"]), across["kernel"])
    z = x + weights["LayerScale_0"]["scale"] * (mixed + across["bias"][None, :, None])
    branch = mlp(affine(z, weights["Affine_1"]), weights["channel_mixing"], approximate)
    return z + weights["LayerScale_1"]["scale"] * branch


def vit_block(x, weights, *, heads, approximate, epsilon=1e-6):
    """Dosovitskiy et al., 2021, equations 2 and 3."""
    normalized = layer_norm(x, weights["LayerNorm_0"], epsilon)
    u = x + self_attention(normalized, weights["self_attention"], heads)
    normalized = layer_norm(u, weights["LayerNorm_1"], epsilon)
    return u + mlp(normalized, weights["channel_mixing"], approximate)
