"""The classifier around a block: patches -> blocks -> mean over tokens -> logits."""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import Scope

from mlpvis_jax.errors import InputError
from mlpvis_jax.models.checks import check_axes
from mlpvis_jax.models.features import Layered, Outputs
from mlpvis_jax.models.fields import (
    AttentionBlocks,
    ComputeDtype,
    DropoutRate,
    Epsilon,
    HeadBias,
    ParamDtype,
    Remat,
    RematKeepsProducts,
    StochasticDepthRate,
)
from mlpvis_jax.models.layers import Dropout, Initializer, LayerNorm, is_zero
from mlpvis_jax.models.patches import PatchProjection, PositionTable
from mlpvis_jax.models.scan import scan_submodules
from mlpvis_jax.settings.declared import Channels, Depth, Pixels, Role


class Classifier(Layered):
    """An image classifier of `num_blocks` equal blocks, or of equal ones and some with attention.

    Parameters are named as in the published Mixer's: `stem`, `MixerBlock_0` (the block's class and
    its index), `pre_head_layer_norm`, `head`.

    Attributes:
      block: MixerBlock, FNetBlock, GMlpBlock, or any module with their call and common fields
        (dropout_rate, stochastic_depth_rate, dtype, param_dtype). Its rates may be traced values,
        so it takes `Dropout` and `StochasticDepth` from `mlpvis_jax.models.layers`; the Dropout of
        Flax needs a Python number.
      block_options: the block's other fields.
      dropout_rate: in every block, and before the head where `dropout_before_head` is set.
      stochastic_depth_rate: of the last block; it rises linearly from 0 at the first.
      attention_blocks: last blocks, whose `mixing` is "attention"; see FNetBlock, which has it.
      position_init: initialiser of a learned position table, or None for no table.
      kernel_init: of the stem and the blocks. `nn.with_partitioning` names a kernel's two axes; the
        stem's rows are patches, whose name goes to the first axis of its four.
      head_bias: initial value of the head's biases.
      final_norm: LayerNorm before the mean over tokens, or what `norm` has in its place.
      remat, remat_keeps_products: the backward pass computes blocks again, or all but products.
      scan: compile one block and loop over it, instead of all of them. The stored parameters, and
        without dropout the results, are the same; with dropout the masks are other draws. Captured
        intermediates, and what else a block stores, have the names that they have in the loop.
    """

    block: type[nn.Module]
    block_options: Mapping[str, Any]
    num_classes: int
    patch_size: Annotated[Pixels, Role.SHAPE, "Height and width of a patch, pixels."]
    width: Annotated[Channels, Role.SHAPE, "Channels of a token."]
    num_blocks: Annotated[Depth, Role.SHAPE, "Blocks, one after another."]
    dropout_rate: DropoutRate = 0.0
    stochastic_depth_rate: StochasticDepthRate = 0.0
    attention_blocks: AttentionBlocks = 0
    position_init: Initializer | None = None
    final_norm: Annotated[bool, Role.SHAPE, "LayerNorm before the mean over tokens."] = True
    norm: type[nn.Module] = LayerNorm
    dropout_before_head: Annotated[bool, Role.SHAPE, "Dropout after the mean over tokens."] = False
    kernel_init: Initializer = nn.initializers.lecun_normal()
    head_kernel_init: Initializer = nn.initializers.zeros
    head_bias: HeadBias = 0.0
    epsilon: Epsilon = 1e-6
    remat: Remat = False
    remat_keeps_products: RematKeepsProducts = False
    scan: Annotated[bool, Role.SHAPE, "Compile one block, and loop over it."] = False
    dtype: ComputeDtype = jnp.float32
    param_dtype: ParamDtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, train: bool = False, outputs: Outputs | None = None
    ) -> jax.Array:
        """Classifies normalised images.

        Args:
          images: float [batch, height, width, channels]; the patch must divide height and width.
          train: apply dropout and stochastic depth, with the random stream "dropout".
          outputs: takes what each layer gives, by its name; see `features`.

        Returns:
          float32 logits [batch, num_classes].

        Raises:
          InputError: the images have other axes, the patch does not divide them, the parameters
            are for another number of tokens or channels, or the block needs a rate that is a Python
            number. From Python it is a ValueError.
        """
        check_axes(self, images, ("batch", "height", "width", "channels"))
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        # A scan hands on its last tokens alone; a Python loop gives the same, and those between.
        is_scanned = self.scan and outputs is None and not self.is_initializing()
        found: Outputs = {} if outputs is None else outputs
        stem = PatchProjection(self.patch_size, self.width, self.kernel_init, **dtypes, name="stem")
        tokens = found["stem"] = stem(images)
        if self.position_init is not None:
            table = PositionTable(self.position_init, **dtypes, name="position_table")
            tokens = found["position_table"] = table(tokens)
        # Blocks with attention have other parameters, which no scan goes over with the others'.
        scanned = self.num_blocks - self.attention_blocks if is_scanned else 0
        tokens = self._scan_blocks(tokens, train, scanned) if scanned else tokens
        tokens = self._loop_blocks(tokens, train, scanned, found)
        for name in self.norm_names:  # one, or none
            tokens = found[name] = self.norm(self.epsilon, **dtypes, name=name)(tokens)
        pooled = found["pooled"] = tokens.mean(axis=1, dtype=jnp.float32)
        dropout = Dropout(self.dropout_rate if self.dropout_before_head else 0.0)
        logits = found["head"] = nn.Dense(
            self.num_classes,
            kernel_init=self.head_kernel_init,
            bias_init=nn.initializers.constant(self.head_bias),
            dtype=jnp.float32,
            param_dtype=self.param_dtype,
            name="head",
        )(dropout(pooled, not train))
        return logits

    def _new_block(self, **options: Any) -> nn.Module:
        block = self.block
        if self.remat:
            keep = jax.checkpoint_policies.dots_saveable if self.remat_keeps_products else None
            block = nn.remat(block, static_argnums=(2,), policy=keep)  # (..., deterministic)
        return block(
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            **{**self.block_options, **options},
        )

    def _loop_blocks(self, tokens: jax.Array, train: bool, first: int, found: Outputs) -> jax.Array:
        for index, name in list(enumerate(self.block_names))[first:]:
            block = self._new_block(**self.options_of(index), name=name)
            tokens = found[name] = self._apply_block(block, tokens, train)
        return tokens

    def _apply_block(self, block: nn.Module, tokens: jax.Array, train: bool) -> jax.Array:
        try:
            return block(tokens, not train)
        except jax.errors.TracerBoolConversionError as error:
            raise InputError(
                f"{self.block.__name__} decides in Python on a value that is traced. The rates of "
                "a block are traced in training: use mlpvis_jax.models.layers.Dropout instead of "
                "flax.linen.Dropout, which needs a Python number."
            ) from error

    def _scan_blocks(self, tokens: jax.Array, train: bool, number: int) -> jax.Array:
        layers: dict[str, Any] = {}
        if train and self.has_rng("dropout"):
            layers["key"] = jax.random.split(self.make_rng("dropout"), number)
        if not is_zero(self.stochastic_depth_rate):
            rates = [self.options_of(index)["stochastic_depth_rate"] for index in range(number)]
            layers["rate"] = jnp.asarray(rates)

        def apply(scope: Scope, tokens: jax.Array, layer: dict[str, Any]) -> jax.Array:
            block = self._new_block(stochastic_depth_rate=layer.get("rate", 0.0), parent=scope)
            return self._apply_block(block, tokens, train)

        return scan_submodules(self, self.block_names[:number], apply, tokens, layers)
