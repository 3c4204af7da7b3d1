"""The lift: one multi-head wrapper that turns any op into a layer, identical for all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.mask import Mask
from harness.variant.heads import repeating
from harness.variant.interface import Attention, AttentionOp, Cost
from harness.variant.layer import AttentionLayer
from harness.variant.together import TeamOp
from harness.workload import OF_IMAGES, VariantSpec, Workload

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class MultiHead(nn.Module):
    """y = concat_h(op(x W_q, c W_k, c W_v)) W_o, c the context or x itself (1706.03762, 3.2.2).

    W_q (W, H D), W_k (W, Hkv D), W_v (W, Hkv Dv), W_o (H Dv, W), with biases if asked; W = H D.
    """

    def __init__(self, workload: Workload, attend: Attention, *, bias: bool) -> None:
        super().__init__()
        w, width = workload, workload.model_dim
        self.heads, self.kv_heads, self.bias = w.heads, w.kv_heads, bias
        self.q = nn.Linear(width, w.heads * w.head_dim, bias=bias)
        self.k = nn.Linear(width, w.kv_heads * w.head_dim, bias=bias)
        self.v = nn.Linear(width, w.kv_heads * w.v_head_dim, bias=bias)
        self.out = nn.Linear(w.heads * w.v_head_dim, width, bias=bias)
        self.attend, self.scale = attend, w.scale

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """y (B, Lq, W) of x (B, Lq, W) and the context (B, Lkv, W), x itself when left out."""
        return self.with_op(x, x if context is None else context, self.attend)

    def with_op(self, x: Tensor, context: Tensor, attend: Attend) -> Tensor:
        """The same with another op in the middle."""
        q = _split(self.q(x), self.heads)
        k, v = _split(self.k(context), self.kv_heads), _split(self.v(context), self.kv_heads)
        y: Tensor = self.out(attend(q, k, v).transpose(1, 2).flatten(2))
        return y


class Lifted(AttentionLayer):
    """An op as a layer; what it is called and what it may run are the op's."""

    def __init__(self, op: AttentionOp, *, bias: bool = True) -> None:
        self.op, self.with_bias = op, bias
        # Claims are class variables; these are the op's.
        vars(self).update(
            name=op.name,
            family=op.family,
            approximates=op.approximates,
            biased=False,
            rowwise=op.rowwise,
            permutation_equivariant=op.permutation_equivariant,
            deterministic=op.deterministic,
            crosses=True,
            grouped=True,
        )

    @property
    def spec(self) -> VariantSpec:
        """The op's own."""
        return self.op.spec

    def build(self, workload: Workload, mask: Mask) -> MultiHead:
        """Projections around what the op prepared; heads repeated where it takes none grouped."""
        inner = inside(workload)
        attend = self.op.prepare(inner, mask)
        if inner.kv_heads != inner.heads and not self.op.grouped:
            attend = repeating(attend, inner.groups)
        return MultiHead(workload, attend, bias=self.with_bias)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """The same projections around the op's definition."""
        assert isinstance(module, MultiHead)
        defined = functools.partial(self.op.definition, mask=mask, scale=module.scale)
        return module.with_op(x, context, repeating(defined, module.heads // module.kv_heads))

    def unsupported(self, workload: Workload) -> str | None:
        """The op's own reason on what it sees inside."""
        if isinstance(self.op, TeamOp):
            return "its workers have rows of q, k and v, and no projections; write level: op"
        return self.op.unsupported(inside(workload))

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The op's."""
        return self.op.expected_kernels(inside(workload))

    def cost(self, workload: Workload) -> Cost:
        """The op's FLOPs and those of four projections, which are also given apart."""
        inner = inside(workload)
        claimed = self.op.cost(inner)
        own = inner.flops() if claimed.flops is None else claimed.flops
        projections = projection_flops(workload)
        return Cost(
            flops=own + projections,
            projection_flops=projections,
            parameters=_parameters(workload, bias=self.with_bias),
            time_growth=claimed.time_growth,
            memory_growth=claimed.memory_growth,
        )


def inside(workload: Workload) -> Workload:
    """The workload of the op in the middle of a lifted layer."""
    return workload.model_copy(update={"level": "op", **dict.fromkeys(OF_IMAGES)})


def projection_flops(workload: Workload) -> int:
    """FLOPs of the four projections, two a multiply-add; twice as many again backward."""
    w = workload
    queries = w.q_len * w.model_dim * w.heads * (w.head_dim + w.v_head_dim)
    keys = w.kv_len * w.model_dim * w.kv_heads * (w.head_dim + w.v_head_dim)
    return w.of_pass(2 * w.batch * (queries + keys))


def _parameters(workload: Workload, *, bias: bool) -> int:
    with torch.device("meta"):
        module = MultiHead(workload, _nothing, bias=bias)
    return sum(parameter.numel() for parameter in module.parameters())


def _nothing(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q


def _split(tensor: Tensor, heads: int) -> Tensor:
    """(B, L, H D) -> (B, H, L, D)."""
    batch, length, width = tensor.shape
    return tensor.view(batch, length, heads, width // heads).transpose(1, 2)
