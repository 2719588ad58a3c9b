"""What the layers of a classifier give, by name."""

import jax
from flax import linen as nn

from mlpvis_jax.models.layers import LayerNorm

Outputs = dict[str, jax.Array]  # of layers, by name


class Layered(nn.Module):
    """The part of a `Classifier` that names its layers and gives what they compute.

    Its attributes are those of the Classifier.
    """

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
