"""Two ways through an image: all windows at once, or a few rows of pixels at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import fold, pad, unfold

if TYPE_CHECKING:
    from variants.san.attention import ImageAttention

TILE_NUMBERS = 1 << 18
"""Numbers of a tile's relations (1 MiB): fewer cost more calls, more leave the caches."""


def unfolded(
    module: ImageAttention, phi: Tensor, psi: Tensor, beta: Tensor, places: Tensor | None
) -> Tensor:
    """Every window of every pixel written out, plainly: the definition."""
    weights = weights_of_all(module, phi, psi, places)
    values = torch.unflatten(windows(beta, module.footprint), 1, (-1, weights.shape[1]))
    # y[c] = sum over k of w[c mod W, k] beta[c, k]
    return torch.unflatten((weights[:, None] * values).sum(3).flatten(1, 2), -1, phi.shape[-2:])


def weights_of_all(
    module: ImageAttention, phi: Tensor, psi: Tensor, places: Tensor | None
) -> Tensor:
    """(B, C / 32, K^2, H W): every window of psi and its relations written out."""
    centre, apart = _centre(module, phi), _apart(module, places)
    return module.alpha(centre, windows(psi, module.footprint), apart)


def fused(
    module: ImageAttention, phi: Tensor, psi: Tensor, beta: Tensor, places: Tensor | None
) -> Tensor:
    """The same a tile of rows at a time, computed again backward: no window of beta is made.

    Raises ValueError in training mode, where batch normalisation needs all of the batch at once.
    """
    if module.training:
        raise ValueError(
            "kernel fused needs the statistics of a trained norm; call eval(), or use unfold"
        )
    reach = [module.footprint // 2] * 4
    around = [pad(tensor, reach, mode="reflect") for tensor in (psi, beta)]
    centre, apart = _centre(module, phi), _apart(module, places)
    y: Tensor = _Tiled.apply(module, centre, *around, apart, *module.learnt())  # type: ignore[no-untyped-call]
    return y


def windows(image: Tensor, footprint: int) -> Tensor:
    """(B, c, H, W) -> (B, c, K^2, H W): the window around every pixel, reflected at the edges."""
    padded = pad(image, [footprint // 2] * 4, mode="reflect")
    return torch.unflatten(unfold(padded, footprint), 1, (image.shape[1], footprint**2))


def _centre(module: ImageAttention, phi: Tensor) -> Tensor:
    return windows(phi, module.footprint) if module.relates_windows else phi.flatten(2)


def _apart(module: ImageAttention, places: Tensor | None) -> Tensor | None:
    """(1, 2, K^2, H W) differences of places."""
    if places is None:
        return None
    return places.flatten(2)[:, :, None] - windows(places, module.footprint)


class _Tiled(torch.autograd.Function):
    """Inputs: the centre, psi and beta padded, differences of places, what gamma learns."""

    @staticmethod
    def forward(
        ctx: Any,
        module: ImageAttention,
        centre: Tensor,
        psi: Tensor,
        beta: Tensor,
        apart: Tensor | None,
        *learnt: Tensor,
    ) -> Tensor:
        ctx.module = module
        ctx.save_for_backward(centre, psi, beta, apart)
        reach = module.footprint - 1
        height, width = psi.shape[2] - reach, psi.shape[3] - reach
        output = beta.new_zeros(len(beta), beta.shape[1], height, width)
        for b, rows in _tiles(module, len(psi), height, width):
            tile = _Tile(module, b, rows, width)
            weights = module.alpha(tile.pixels(centre[b]), tile.around(psi), tile.pixels_of(apart))
            tile.add(output, weights, beta)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        module, gradient = ctx.module, gradients[0].contiguous()
        centre, psi, beta, apart = ctx.saved_tensors
        learnt = module.learnt()
        found = _Gradients.zeros(centre, psi, beta, apart, learnt)
        height, width = gradient.shape[-2:]
        for b, rows in _tiles(module, len(psi), height, width):
            found.add(_Tile(module, b, rows, width), gradient, (centre, psi, beta, apart))
        return (None, *found.whole)


class _Tile:
    """Some rows of one image."""

    def __init__(self, module: ImageAttention, b: int, rows: range, width: int) -> None:
        self.module, self.b, self.rows, self.width = module, b, rows, width
        self.flat = slice(rows.start * width, rows.stop * width)

    def pixels(self, tensor: Tensor) -> Tensor:
        """(c, ..., H W) -> (1, c, ..., n), its pixels."""
        return tensor[None, ..., self.flat]

    def pixels_of(self, apart: Tensor | None) -> Tensor | None:
        """The same of what all images share."""
        return None if apart is None else apart[..., self.flat]

    def around(self, padded: Tensor) -> Tensor:
        """(B, c, H + K - 1, W + K - 1) -> (1, c, K^2, n), copied."""
        k = self.module.footprint
        part = padded[self.b : self.b + 1, :, self.rows.start : self.rows.stop + k - 1]
        return torch.unflatten(unfold(part, k), 1, (part.shape[1], k * k))

    def shifted(self, padded: Tensor, position: int) -> Tensor:
        """(C', rows, W) pixels of a padded tensor at one position of the window, a view."""
        k = self.module.footprint
        row, column = self.rows.start + position // k, position % k
        return padded[self.b, :, row : row + len(self.rows), column : column + self.width]

    def add(self, output: Tensor, weights: Tensor, beta: Tensor) -> None:
        """Add up beta under its weights, a position of the window at a time."""
        own = self.shared(output[self.b, :, self.rows.start : self.rows.stop], weights.shape[1])
        for position, weight in enumerate(self.by_position(weights)):
            own.addcmul_(weight, self.shared(self.shifted(beta, position), weights.shape[1]))

    def by_position(self, weights: Tensor) -> Tensor:
        """(1, W, K^2, n) -> (K^2, 1, W, rows, W)."""
        spread = torch.unflatten(weights[0], -1, (len(self.rows), self.width))
        return spread.transpose(0, 1)[:, None]

    @staticmethod
    def shared(channels: Tensor, weights: int) -> Tensor:
        """(C', rows, W) -> (C' / weights, weights, rows, W): channel c has weight c mod weights."""
        return torch.unflatten(channels, 0, (-1, weights))


class _Gradients:
    """Sums over tiles, in the order of the inputs."""

    def __init__(self, whole: list[Tensor | None], learnt: tuple[Tensor, ...]) -> None:
        self.whole, self._learnt = whole, learnt

    @classmethod
    def zeros(cls, *given: Any) -> _Gradients:
        """Nothing yet."""
        *tensors, learnt = given
        every = (*tensors, *learnt)
        return cls([None if t is None else torch.zeros_like(t) for t in every], learnt)

    def add(self, tile: _Tile, gradient: Tensor, given: tuple[Any, ...]) -> None:
        """What one tile adds: by hand through the sum, by autograd through its weights."""
        centre, psi, beta, apart = given
        taken = (tile.pixels(centre[tile.b]), tile.around(psi), tile.pixels_of(apart))
        leaves = [leaf.detach().requires_grad_() for leaf in taken if leaf is not None]
        with torch.enable_grad():
            weights = tile.module.alpha(leaves[0], leaves[1], None if apart is None else leaves[2])
        of_weights = self._through_sum(tile, weights.detach(), gradient, beta)
        found = torch.autograd.grad(weights, (*leaves, *self._learnt), of_weights)
        self._enter(tile, found[: len(leaves)], found[len(leaves) :])

    def _through_sum(self, tile: _Tile, weights: Tensor, gradient: Tensor, beta: Tensor) -> Tensor:
        """(1, W, K^2, n) gradient of the weights; that of beta is added to its sum."""
        count, total = weights.shape[1], self.whole[2]
        assert total is not None
        upstream = gradient[tile.b, :, tile.rows.start : tile.rows.stop]
        shared = tile.shared(upstream, count)
        found = torch.empty_like(weights)
        into = tile.by_position(found)
        for position, weight in enumerate(tile.by_position(weights)):
            values = tile.shared(tile.shifted(beta, position), count)
            into[position, 0] = (shared * values).sum(0)
            tile.shared(tile.shifted(total, position), count).addcmul_(weight, shared)
        return found

    def _enter(self, tile: _Tile, inputs: tuple[Tensor, ...], learnt: tuple[Tensor, ...]) -> None:
        of_centre, of_psi, of_apart = self.whole[0], self.whole[1], self.whole[3]
        assert of_centre is not None
        assert of_psi is not None
        of_centre[tile.b, ..., tile.flat] += inputs[0][0]
        k, reach = tile.module.footprint, tile.module.footprint - 1
        sizes = (len(tile.rows) + reach, tile.width + reach)
        part = of_psi[tile.b, :, tile.rows.start : tile.rows.stop + reach]
        part += fold(inputs[1].flatten(1, 2), sizes, k)[0]
        if of_apart is not None:
            of_apart[..., tile.flat] += inputs[2]
        for total, found in zip(self.whole[4:], learnt, strict=True):
            assert total is not None
            total += found


def _tiles(
    module: ImageAttention, batch: int, height: int, width: int
) -> Iterator[tuple[int, range]]:
    """(image, its rows) of every tile."""
    applied = module.footprint**2 // module.positions_weighted(module.footprint)
    a_row = module.first.in_channels * applied * width
    step = max(1, min(height, TILE_NUMBERS // a_row))
    for b in range(batch):
        for at in range(0, height, step):
            yield b, range(at, min(at + step, height))
