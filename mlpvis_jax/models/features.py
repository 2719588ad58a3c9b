"""What the layers of a classifier give, by name, and in what its blocks differ."""

import dataclasses
from typing import Any

import jax
from flax import linen as nn

from mlpvis_jax.errors import InputError
from mlpvis_jax.models.layers import LayerNorm

Outputs = dict[str, jax.Array]  # of layers, by name


class Layered(nn.Module):
    """The part of a `Classifier` that names its layers and gives what they compute.

    It says in what the blocks differ, too. Its attributes are those of the Classifier.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        number, block = self.attention_blocks, self.block
        if number > self.num_blocks:
            raise InputError(
                f"attention_blocks {number} is more than num_blocks {self.num_blocks}."
            )
        if number and "mixing" not in {field.name for field in dataclasses.fields(block)}:
            raise InputError(
                f"attention_blocks {number} is for a block that has the field `mixing`, such as "
                f"FNetBlock, and {block.__name__} has none."
            )

    def options_of(self, index: int) -> dict[str, Any]:
        """Gives the fields of a block in which it differs from the others, counted from 0."""
        rate = self.stochastic_depth_rate * (index / max(self.num_blocks - 1, 1))
        is_last = index >= self.num_blocks - self.attention_blocks
        mixing = {"mixing": "attention"} if is_last else {}
        return {"stochastic_depth_rate": rate, **mixing}

    def features(self, images: jax.Array) -> Outputs:
        """Computes what each layer makes of normalised images, without dropout.

        It is for `model.apply({"params": params}, images, method="features")`. Under `jax.jit`,
        what the caller does not return is not computed.

        Args:
          images: float [batch, height, width, channels], as the classifier is called with.

        Returns:
          The output of each layer by its name, of `layer_names`. "pooled", the mean over tokens, is
          float32 [batch, width]; "head", the logits, is float32 [batch, num_classes]; all others
          are tokens of type `dtype`, [batch, tokens, width].

        Raises:
          InputError: as the call of the classifier does.
        """
        outputs: Outputs = {}
        self(images, False, outputs)
        return outputs

    @property
    def block_names(self) -> list[str]:
        """Lists the names of the blocks, which their parameters have too, such as MixerBlock_0."""
        return [f"{self.block.__name__}_{index}" for index in range(self.num_blocks)]

    @property
    def norm_names(self) -> list[str]:
        """Lists the name of the norm before the mean over tokens, where there is one.

        It says which it is: pre_head_layer_norm, pre_head_affine.
        """
        kind = "layer_norm" if self.norm is LayerNorm else self.norm.__name__.lower()
        return [f"pre_head_{kind}"] if self.final_norm else []

    @property
    def layer_names(self) -> list[str]:
        """Lists the names of the layers, as `features` has them, from the first layer to the last.

        With `scan` they are the same. They are those of the parameters, and "pooled": stem,
        position_table where there is one (the tokens after it was added), the blocks,
        the norm before the mean over tokens (`norm_names`), pooled, head.
        """
        table = ["position_table"] if self.position_init is not None else []
        return ["stem", *table, *self.block_names, *self.norm_names, "pooled", "head"]
