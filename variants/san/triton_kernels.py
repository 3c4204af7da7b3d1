"""The Triton kernels of vector attention's weighted sum, and of its two gradients.

With m(i + k) the pixel at position k of the window around pixel i, mirrored at the edges, and W
channels of weights, of which channel c of the values has channel c mod W,

    out[c, i] = sum_k w[c mod W, k, i] v[c, m(i + k)]
    dw[u, k, i] = sum_(c mod W = u) dout[c, i] v[c, m(i + k)]
    dv[c, j] = sum_(i, k with m(i + k) = j) w[c mod W, k, i] dout[c, i]

A program has a tile of the pixels of one image, and the channels that share a channel of weights:
it reads each weight once for all of them. None adds to what another writes: dv is first gathered
for every pixel of the image with margins, which are then folded onto the pixels that they mirror.
Importing this file imports Triton, which is optional; a kernel is compiled when first called.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# What Triton compiles has no types but those of the tensors that it is launched with.
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tile(area, block: tl.constexpr):
    """Pixels of this program, and which of all B * W channels of weights is its own."""
    tiles = tl.cdiv(area, block)
    pixels = tl.program_id(0) % tiles * block + tl.arange(0, block)
    return pixels, (tl.program_id(0) // tiles).to(tl.int64)


@triton.jit
def _sharing(own, count, shared: tl.constexpr):
    """Which of all B * C channels of values are weighted by channel `own`, (shared, 1)."""
    apart = (own // count * shared + tl.arange(0, shared)) * count
    return (apart + own % count)[:, None]


@triton.jit
def _mirrored(at, size):
    """Reflected at the edges, which are not repeated."""
    at = tl.abs(at)
    return tl.minimum(at, 2 * (size - 1) - at)


@triton.jit
def _neighbour(pixels, position, height, width, footprint: tl.constexpr):
    """The pixel at a position of the window around each."""
    row = pixels // width + position // footprint - footprint // 2
    column = pixels % width + position % footprint - footprint // 2
    return _mirrored(row, height) * width + _mirrored(column, width)


@triton.jit
def san_forward(
    weights, values, out, count, height, width,
    footprint: tl.constexpr, shared: tl.constexpr, block: tl.constexpr, sums: tl.constexpr,
):  # fmt: skip
    """One tile of pixels: out, over the positions of the window."""
    area = height * width
    pixels, own = _tile(area, block)
    channels, real = _sharing(own, count, shared) * area, pixels < area
    weights += own * footprint * footprint * area + pixels
    total = tl.zeros([shared, block], dtype=sums)
    for position in range(footprint * footprint):
        weight = tl.load(weights + position * area, real, other=0.0).to(sums)
        there = _neighbour(pixels, position, height, width, footprint)[None, :]
        value = tl.load(values + channels + there, real[None, :], other=0.0).to(sums)
        total += weight[None, :] * value
    tl.store(out + channels + pixels[None, :], total.to(out.dtype.element_ty), real[None, :])


@triton.jit
def san_backward_weights(
    dweights, do, values, count, height, width,
    footprint: tl.constexpr, shared: tl.constexpr, block: tl.constexpr, sums: tl.constexpr,
):  # fmt: skip
    """One tile of pixels: the gradient of their weights, a position of the window at a time."""
    area = height * width
    pixels, own = _tile(area, block)
    channels, real = _sharing(own, count, shared) * area, pixels < area
    upstream = tl.load(do + channels + pixels[None, :], real[None, :], other=0.0).to(sums)
    dweights += own * footprint * footprint * area + pixels
    for position in range(footprint * footprint):
        there = _neighbour(pixels, position, height, width, footprint)[None, :]
        value = tl.load(values + channels + there, real[None, :], other=0.0).to(sums)
        found = tl.sum(upstream * value, 0)
        tl.store(dweights + position * area, found.to(dweights.dtype.element_ty), real)


@triton.jit
def san_backward_values(
    weights, do, dvalues, count, height, width,
    footprint: tl.constexpr, shared: tl.constexpr, block: tl.constexpr, sums: tl.constexpr,
):  # fmt: skip
    """One tile of pixels of the image with margins: their gradient, from all that see them."""
    area, across = height * width, width + footprint - 1
    with_margins = (height + footprint - 1) * across
    pixels, own = _tile(with_margins, block)
    channels, real = _sharing(own, count, shared), pixels < with_margins
    weights += own * footprint * footprint * area
    total = tl.zeros([shared, block], dtype=sums)
    for position in range(footprint * footprint):
        # Whose window has them at this position.
        row = pixels // across - position // footprint
        column = pixels % across - position % footprint
        seen = real & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        at = row * width + column
        weight = tl.load(weights + position * area + at, seen, other=0.0).to(sums)
        upstream = tl.load(do + channels * area + at[None, :], seen[None, :], other=0.0).to(sums)
        total += weight[None, :] * upstream
    tl.store(dvalues + channels * with_margins + pixels[None, :], total, real[None, :])
