"""The fields that the classifier and its blocks have in common, as settings of a config."""

from typing import Annotated, Any

import jax

from mlpvis_jax.settings.declared import Count, NotNegative, OneOf, Role, Within

_Rate = Annotated[float | jax.Array, Within(0, below=1)]
_Dtype = Annotated[Any, OneOf(("float32", "bfloat16"))]

DropoutRate = Annotated[_Rate, Role.TRACED, "Dropout in every block, in [0, 1)."]
StochasticDepthRate = Annotated[
    _Rate, Role.TRACED, "Probability of dropping the last block's branches; it rises from 0."
]
ApproximateGelu = Annotated[bool, Role.SHAPE, "The tanh form of gelu, which is faster."]
NumHeads = Annotated[Count, Role.SHAPE, "Heads of self-attention; they divide the channels."]
AttentionBlocks = Annotated[
    int, Within(0, most=2**10), Role.SHAPE, "Last blocks whose mixing is self-attention, of FNet."
]
HeadBias = Annotated[
    float, Role.SHAPE, "Initial value of the head's biases, such as -6.9 for sigmoid losses."
]
Remat = Annotated[
    bool, Role.MACHINE, "Compute activations again in the backward pass, to save memory."
]
RematKeepsProducts = Annotated[
    bool,
    Role.MACHINE,
    "With remat, keep results of products; the rest, and FNet's transform, are computed again.",
]
Epsilon = Annotated[NotNegative, Role.SHAPE, "Added to variances by every LayerNorm."]
ComputeDtype = Annotated[_Dtype, Role.SHAPE, "What is computed in; logits and loss stay float32."]
ParamDtype = Annotated[
    _Dtype, Role.SHAPE, "What parameters are stored in; to train them takes float32."
]
