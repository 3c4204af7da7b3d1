"""Variants at the level of a layer: x -> y, projections included."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from harness.mask import Mask
from harness.variant.interface import Variant
from harness.workload import Workload


class AttentionLayer(Variant):
    """A layer x (B, Lq, W) -> y (B, Lq, W), W = heads * head_dim, with parameters of its own.

    For what is no function of q, k and v. `build` is all that is required. Of images, Lq = height *
    width in row-major order, W = channels: what wants (B, C, height, width) takes a view. What it
    takes: `crosses`, a context (B, Lkv, W) of another length; `grouped`, fewer heads of keys, and
    values of another width than keys. A mask that it cannot honour belongs in `unsupported`.

    Heads of a layer mix, and it has no scale but its own. That rows may be reordered
    (`permutation_equivariant`) it must say, and that `definition` may be given some rows of x, with
    all of them as the context (`rowwise`).
    """

    rowwise: ClassVar[bool] = False
    headwise: ClassVar[bool] = False
    scaled: ClassVar[bool] = False
    permutation_equivariant: ClassVar[bool] = False
    crosses: ClassVar[bool] = False
    grouped: ClassVar[bool] = False

    def build(self, workload: Workload, mask: Mask) -> nn.Module:
        """A module called as module(x), module(x, context) where lengths differ -> y (B, Lq, W).

        Called under a seed of the workload's: variants that share a definition must draw the same
        parameters. It is moved to the workload's device and dtype afterwards.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no build")

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """The formula, plainly, with the parameters of `module`, what `build` gave, in x's dtype.

        context is x where the layer attends to itself. May read only the fields of the class that
        defines it. Left out, the module itself is run in float64, and the record says so.
        """
        crossed = x.shape != context.shape or x.data_ptr() != context.data_ptr()
        y: Tensor = module(x, context) if crossed else module(x)
        return y
