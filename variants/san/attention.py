"""The two attentions as modules: x (B, C, H, W) -> (B, C / 4, H, W)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from variants.san import tiles, triton
from variants.san.relations import PAIRWISE, PATCHWISE, pairwise_channels, patchwise_channels

Kernel = Literal["unfold", "fused", "triton"]
SHARED = 8
"""Channels of beta that share a weight: channel c is weighted by weight c mod (C / 32)."""


@dataclass(frozen=True)
class Sizes:
    """Channels of the parts, of so many of the input: relation C/16, value C/4, weights C/32."""

    channels: int

    @property
    def relation(self) -> int:
        """Channels of phi and psi."""
        return self.channels // 16

    @property
    def value(self) -> int:
        """Channels of beta, and of what comes out."""
        return self.channels // 4

    @property
    def weights(self) -> int:
        """Channels of the weights."""
        return self.value // SHARED


class ImageAttention(nn.Module):
    """y_i = sum over j in R(i) of alpha_ij (.) beta(x_j), R(i) the K x K window, reflected.

    phi, psi, beta: 1 x 1 convolutions to C/16, C/16 and C/4 channels. alpha = gamma(delta): batch
    normalisation, ReLU, a 1 x 1 convolution without bias, and the same again with one.
    """

    def __init__(
        self, channels: int, footprint: int, kernel: str, between: tuple[int, int]
    ) -> None:
        super().__init__()
        sizes = Sizes(channels)
        entering, hidden = between
        leaving = sizes.weights * self.positions_weighted(footprint)
        self.footprint, self.kernel = footprint, kernel
        self.phi = nn.Conv2d(channels, sizes.relation, 1)
        self.psi = nn.Conv2d(channels, sizes.relation, 1)
        self.beta = nn.Conv2d(channels, sizes.value, 1)
        self.norm_in = nn.BatchNorm2d(entering)
        self.first = nn.Conv2d(entering, hidden, 1, bias=False)
        self.norm_hidden = nn.BatchNorm2d(hidden)
        self.second = nn.Conv2d(hidden, leaving, 1)

    relates_windows = False

    @staticmethod
    def positions_weighted(footprint: int) -> int:
        """Positions that one application of gamma gives the weights of."""
        raise NotImplementedError

    def learnt(self) -> tuple[nn.Parameter, ...]:
        """The parameters of gamma."""
        parts = (self.norm_in, self.first, self.norm_hidden, self.second)
        return tuple(parameter for part in parts for parameter in part.parameters())

    def alpha(self, phi: Tensor, psi: Tensor, places: Tensor | None) -> Tensor:
        """(B, C / 32, K^2, n) weights of pixels and their windows."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Of a batch of images."""
        phi, psi, beta, places = self.phi(x), self.psi(x), self.beta(x), self.places(x)
        if self.kernel == "triton":
            return triton.aggregated(tiles.weights_of_all(self, phi, psi, places), beta)
        kernel = tiles.unfolded if self.kernel == "unfold" else tiles.fused
        return kernel(self, phi, psi, beta, places)

    def places(self, x: Tensor) -> Tensor | None:
        """(1, 2, H, W) encoded coordinates; None where the relation has none."""
        return None

    def gamma(self, delta: Tensor) -> Tensor:
        """delta (B, c, a, n) -> (B, c', a, n)."""
        hidden = self.first(torch.relu(self.norm_in(delta)))
        weights: Tensor = self.second(torch.relu(self.norm_hidden(hidden)))
        return weights


class Pairwise(ImageAttention):
    """alpha_ij = softmax over j of gamma([delta(phi_i, psi_j), p_i - p_j])."""

    def __init__(self, channels: int, footprint: int, relation: str, kernel: str) -> None:
        small = Sizes(channels).relation
        entering = pairwise_channels(relation, small) + 2
        super().__init__(channels, footprint, kernel, (entering, small))
        self.relate = PAIRWISE[relation]
        self.position = nn.Conv2d(2, 2, 1)

    @staticmethod
    def positions_weighted(footprint: int) -> int:
        """One: every pair on its own."""
        return 1

    def places(self, x: Tensor) -> Tensor:
        """p of coordinates from -1 to 1 in height and width."""
        rows, columns = (
            torch.linspace(-1, 1, size, dtype=x.dtype, device=x.device) for size in x.shape[-2:]
        )
        both = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
        encoded: Tensor = self.position(both[None])
        return encoded

    def alpha(self, phi: Tensor, psi: Tensor, places: Tensor | None) -> Tensor:
        """places (1, 2, K^2, n): p_i - p_j."""
        delta = self.relate(phi, psi)
        assert places is not None
        delta = torch.cat([delta, places.expand(len(delta), -1, -1, -1)], 1)
        return self.gamma(delta).softmax(2)


class Patchwise(ImageAttention):
    """alpha_i = gamma(delta(x_R(i))): all weights of a window from all of its pixels at once."""

    def __init__(self, channels: int, footprint: int, relation: str, kernel: str) -> None:
        sizes = Sizes(channels)
        entering = patchwise_channels(relation, sizes.relation, footprint**2)
        super().__init__(channels, footprint, kernel, (entering, sizes.weights))
        self.relate = PATCHWISE[relation]
        self.relates_windows = relation == "clique_product"

    @staticmethod
    def positions_weighted(footprint: int) -> int:
        """The whole window."""
        return footprint**2

    def alpha(self, phi: Tensor, psi: Tensor, places: Tensor | None) -> Tensor:
        """phi (B, r, n), or (B, r, K^2, n) where every pair of the window is related."""
        weights = self.gamma(self.relate(phi, psi)[:, :, None])[:, :, 0]
        batch, _, count = weights.shape
        return weights.view(batch, -1, self.footprint**2, count)
