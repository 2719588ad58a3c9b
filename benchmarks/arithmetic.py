"""How many floating-point operations the matrix products of a model take, counted by hand.

`mlpvis_jax.models.arithmetic` counts those of a traced program; here is the count by the papers'
equations, with the parts of a model apart. Only products with learned matrices, and those of
attention, count; sums, norms, gelu, masks, augmentation and the optimiser do not, although they
take time.
In the backward pass each product is followed by two of its size, for the gradients of its input
and of its matrix; the stem alone lacks the first, for nobody asks for a gradient of the images.
FNet's Fourier transform has nothing learned and is counted apart, as the real matrix products that
compute it for short sequences.
"""

import dataclasses
from typing import Any

from mlpvis_jax.models import Classifier, FNetBlock, GMlpBlock, MixerBlock, ResMlpBlock, VitBlock
from mlpvis_jax.models.arithmetic import product_flop


@dataclasses.dataclass(frozen=True)
class ForwardFlop:
    """Operations of the forward pass of one image.

    Attributes:
      stem: patch projection.
      blocks: all blocks' products with learned matrices.
      head: logits.
      fourier: all blocks' Fourier transforms by matrix products; 0 where there are none.
    """

    stem: int
    blocks: int
    head: int
    fourier: int

    @property
    def training(self) -> int:
        """Counts an image's forward and backward pass, products with learned matrices only."""
        return 2 * self.stem + 3 * (self.blocks + self.head)

    @property
    def fourier_training(self) -> int:
        """Counts the forward and backward pass of one image's Fourier transforms."""
        return 2 * self.fourier  # no matrix to find a gradient of


def forward_flop(model: Classifier, image_size: int, image_channels: int = 3) -> ForwardFlop:
    """Counts the products of a classifier for square images of `image_size` pixels a side."""
    tokens = (image_size // model.patch_size) ** 2
    pixels = model.patch_size**2 * image_channels
    counts = {
        **{MixerBlock: _mixer, FNetBlock: _fnet, GMlpBlock: _gmlp},
        **{ResMlpBlock: _resmlp, VitBlock: _vit},
    }
    count_block = counts[model.block]
    attention = model.attention_blocks * _attention(tokens, *(3 * [model.width]))
    fourier = model.num_blocks - model.attention_blocks if model.block is FNetBlock else 0
    return ForwardFlop(
        stem=product_flop(tokens, pixels, model.width),
        blocks=model.num_blocks * count_block(model.block_options, tokens, model.width) + attention,
        head=product_flop(1, model.width, model.num_classes),
        fourier=fourier * _fourier(tokens, model.width),
    )


def _mlp(rows: int, width: int, hidden: int) -> int:
    return product_flop(rows, width, hidden) + product_flop(rows, hidden, width)


def _mixer(options: Any, tokens: int, width: int) -> int:
    across_tokens = _mlp(width, tokens, options["tokens_hidden_dim"])
    return across_tokens + _mlp(tokens, width, options["channels_hidden_dim"])


def _fnet(options: Any, tokens: int, width: int) -> int:
    return _mlp(tokens, width, options["hidden_dim"])


def _gmlp(options: Any, tokens: int, width: int) -> int:
    hidden = options["hidden_dim"]
    gate = product_flop(hidden // 2, tokens, tokens)
    if options.get("attention_dim"):
        gate += _attention(tokens, width, options["attention_dim"], hidden // 2)
    return product_flop(tokens, width, hidden) + gate + product_flop(tokens, hidden // 2, width)


def _resmlp(options: Any, tokens: int, width: int) -> int:
    return product_flop(width, tokens, tokens) + _mlp(tokens, width, options["hidden_dim"])


def _vit(options: Any, tokens: int, width: int) -> int:
    return _attention(tokens, width, width, width) + _mlp(tokens, width, options["hidden_dim"])


def _attention(tokens: int, width: int, inner: int, features: int) -> int:
    # Of all heads together: weights between any two tokens, and the sum of values by them.
    between = product_flop(tokens, inner, tokens) + product_flop(tokens, tokens, inner)
    inputs = product_flop(tokens, width, 3 * inner)
    return inputs + between + product_flop(tokens, inner, features)


def _fourier(tokens: int, width: int) -> int:
    # Sums of mirrored tokens and channels by the cosine tables, differences by the sine tables.
    parts = ((tokens // 2 + 1, width // 2 + 1), ((tokens - 1) // 2, (width - 1) // 2))
    return sum(
        product_flop(rows, inner, width) + product_flop(rows, rows, width) for rows, inner in parts
    )
