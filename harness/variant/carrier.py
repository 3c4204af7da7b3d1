"""A layer seen as an op, so that one gate, one probe and one race serve both levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.mask import Mask
from harness.variant.interface import AttentionOp, Cost, Variant
from harness.variant.layer import AttentionLayer
from harness.variant.lift import Lifted
from harness.workload import VariantSpec, Workload


class Carrier(AttentionOp):
    """A layer as an op: q is x as one head (B, 1, Lq, W), k its context, v is not read.

    Where it attends to itself, k is not read either, and x stands for both queries and keys. Its
    definition may be run on some rows of x, then with k, which holds all of x.
    """

    def __init__(self, layer: AttentionLayer, workload: Workload) -> None:
        self.layer, self.asked = layer, workload
        claims = ("rowwise", "headwise", "scaled", "permutation_equivariant", "deterministic")
        # Claims are class variables; these are the layer's.
        vars(self).update(
            {name: getattr(layer, name) for name in (*claims, "name", "family", "approximates")},
            sources=1 if workload.attends_to_itself else 2,
        )
        # A gradient of x is that of its rows as queries and as keys: no part of them has it.
        vars(self)["rowwise"] = layer.rowwise and not workload.has_gradients

    @property
    def spec(self) -> VariantSpec:
        """The layer's."""
        return self.layer.spec

    def prepare(self, workload: Workload, mask: Mask) -> nn.Module:
        """The layer's module, taking x and its context as heads."""
        return _Headed(self._built(mask), crossed=self.sources == 2)

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The layer's, with the parameters that its module has in the case's dtype."""
        module = self._built(mask).to(device=q.device, dtype=self.asked.torch_dtype).to(q.dtype)
        x = q[:, 0]
        # On some rows only, what they attend to is in k, which holds the same values.
        context = x if self.sources == 1 and not self.rowwise else k[:, 0]
        return self.layer.definition(module, x, context, mask=mask)[:, None]

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The layer's."""
        return self.layer.expected_kernels(self.asked)

    def cost(self, workload: Workload) -> Cost:
        """The layer's."""
        return self.layer.cost(self.asked)

    def _built(self, mask: Mask) -> nn.Module:
        """Its module, the same at every call: parameters are drawn from the workload's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.asked.seed)
            return self.layer.build(self.asked, mask)


class _Headed(nn.Module):
    def __init__(self, module: nn.Module, *, crossed: bool) -> None:
        super().__init__()
        self.module, self.crossed = module, crossed

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        x = q[:, 0]
        y: Tensor = self.module(x, k[:, 0]) if self.crossed else self.module(x)
        return y[:, None]


def layer_of(variant: Variant) -> AttentionLayer:
    """The layer of a variant: itself, or the op lifted."""
    if isinstance(variant, AttentionLayer):
        return variant
    assert isinstance(variant, AttentionOp)
    return Lifted(variant)


def measured(variant: Variant, workload: Workload) -> tuple[AttentionOp, Workload]:
    """What is measured of a variant on a workload: the op and the shapes that it is called on."""
    if workload.level == "op":
        assert isinstance(variant, AttentionOp)
        return variant, workload.carried
    return Carrier(layer_of(variant), workload), workload.carried


def hindrance(variant: Variant, workload: Workload) -> str | None:
    """Why a variant cannot run a workload, its level regarded; None when it can."""
    name = variant.name
    if workload.level == "op":
        if not isinstance(variant, AttentionOp):
            return f"{name} is no function of q, k and v; write level: layer"
        if workload.bias != "none" and not variant.biased:
            return f"{name} takes no bias on its scores"
        return variant.unsupported(workload)
    layer = layer_of(variant)
    if workload.pass_ == "decode":
        return "decode is measured of ops only; write level: op"
    if workload.bias != "none":
        return "a bias on scores is measured of ops only; write bias: none, or level: op"
    if workload.q_len != workload.kv_len and not layer.crosses:
        return f"{name} takes no context of another length; make kv_len equal to q_len"
    if not layer.grouped and _regroups(workload):
        return (
            f"{name} has keys and values of its own in every head: heads={workload.heads}, "
            f"kv_heads={workload.kv_heads}, head_dim={workload.head_dim}, "
            f"v_head_dim={workload.v_head_dim}; leave kv_heads and v_head_dim out"
        )
    return layer.unsupported(workload)


def _regroups(workload: Workload) -> bool:
    return workload.kv_heads != workload.heads or workload.v_head_dim != workload.head_dim
