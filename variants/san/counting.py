"""Multiply-adds of a whole network, counted as the counter of the paper's code counts them.

A convolution and a linear layer: a multiply-add each, and an addition a bias; batch normalisation
two an element, ReLU, pooling (of what goes in), subtraction and the weighted sum one an element.
"""

from __future__ import annotations

from variants.san.attention import Sizes
from variants.san.network import FOOTPRINTS, SAN_DEPTHS, WIDTHS

NORM, RELU = 2, 1


def multiply_adds(depth: int, kind: str, *, size: int = 224, classes: int = 1000) -> int:
    """Of one image of size x size through San(depth, kind)."""
    before, pixels = WIDTHS[0], size * size
    total = pixels * before * (3 + NORM + RELU)
    for width, footprint, blocks in zip(WIDTHS, FOOTPRINTS, SAN_DEPTHS[depth], strict=True):
        total += pixels * before
        pixels //= 4
        total += pixels * width * (before + NORM + RELU)
        total += blocks * pixels * _block(width, footprint, kind)
        before = width
    return total + pixels * before + before * classes


def _block(channels: int, footprint: int, kind: str) -> int:
    """A pixel of a block."""
    sizes, window = Sizes(channels), footprint**2
    projected = (channels + 1) * (2 * sizes.relation + sizes.value)
    returned = (sizes.value + 1) * channels
    normed = (NORM + RELU) * (channels + sizes.value)
    attended = _pairwise(sizes, window) if kind == "pairwise" else _patchwise(sizes, window)
    return projected + returned + normed + attended + window * sizes.value


def _pairwise(sizes: Sizes, window: int) -> int:
    entering = sizes.relation + 2
    gamma = (NORM + RELU) * (entering + sizes.relation) + entering * sizes.relation
    gamma += (sizes.relation + 1) * sizes.weights
    position = 3 * 2
    return position + window * (entering + gamma)


def _patchwise(sizes: Sizes, window: int) -> int:
    entering, leaving = (window + 1) * sizes.relation, window * sizes.weights
    gamma = (NORM + RELU) * (entering + sizes.weights) + entering * sizes.weights
    return gamma + (sizes.weights + 1) * leaving
