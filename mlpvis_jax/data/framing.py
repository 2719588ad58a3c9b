"""What part of an image of any proportions becomes the square that a model is given.

A frame is a function of an image's width and height that gives a box in pixels: left, top, right
and bottom, not rounded. What lies in the box is resized to the square.
"""

from collections.abc import Callable

import numpy as np

Box = tuple[float, float, float, float]
Frame = Callable[[int, int], Box]

# Evaluation on ImageNet: the shorter side becomes 256 pixels, of which the middle 224 are taken.
_CENTRE_SHARE = 224 / 256
_RATIO = 4 / 3  # width by height of a random box is between 3/4 and 4/3, as in Szegedy et al., 2015


def whole(width: int, height: int) -> Box:
    """Takes all of an image, whatever its proportions."""
    return 0.0, 0.0, float(width), float(height)


def centre(width: int, height: int) -> Box:
    """Takes the square in the middle whose side is 224/256 of the shorter side."""
    side = _CENTRE_SHARE * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


FRAMES: dict[str, Frame] = {"stretch": whole, "centre": centre}


def random_frame(seed: int, smallest: float) -> Frame:
    """Draws a box of random area, shape and place (Szegedy et al., 2015).

    The area is evenly between `smallest` and all of the image's, and width by height is between 3/4
    and 4/3, evenly in its logarithm. A box that would be longer than the image is cut, rather than
    drawn again: `learning.crops.random_resized_crop` has the same distribution.

    Args:
      seed: decides the box, a whole number from 0 on.
      smallest: least share of the image's area.
    """
    area, shape, across, down = np.random.default_rng(seed).random(4)

    def frame(width: int, height: int) -> Box:
        pixels = width * height * (smallest + (1 - smallest) * area)
        by_height = _RATIO ** (2 * shape - 1)
        box_width = min(float(width), float(np.sqrt(pixels * by_height)))
        box_height = min(float(height), float(np.sqrt(pixels / by_height)))
        left, top = across * (width - box_width), down * (height - box_height)
        return left, top, min(left + box_width, width), min(top + box_height, height)

    return frame


def frame_seeds(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Draws the seed of the frame of each image of an epoch.

    An image has the same ones in the same epoch, wherever its places in the order are; copies of
    it, by repeated augmentation, have one each.

    Args:
      rows: of the images in their order, int32 of any shape; those below 0 are padding.
      seed: of the run.
      epoch: from 1.

    Returns:
      uint32 of the same shape.
    """
    flat = rows.reshape(-1)
    order = np.argsort(flat, kind="stable")
    in_order = flat[order]
    is_first = np.concatenate([[True], in_order[1:] != in_order[:-1]])
    places = np.arange(len(flat))
    copy = np.empty(len(flat), np.uint32)  # 0 of an image's first place, 1 of its second, ...
    copy[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    drawn = np.random.default_rng([seed, epoch]).integers(
        2**32, size=max(1, int(flat.max()) + 1), dtype=np.uint32
    )
    return (drawn[np.maximum(flat, 0)] + copy).reshape(rows.shape)
