"""torch.nn.functional.scaled_dot_product_attention, each of its backends by name."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from harness import Attention, Cost, Mask, Workload, register
from variants.softmax import SoftmaxFamily

_HALF = ("float16", "bfloat16")
# Kernel names seen in a profile: ATen operators on the CPU, device kernels on a GPU.
_KERNELS = {
    ("flash", "cpu"): ("_scaled_dot_product_flash_attention",),
    ("math", "cpu"): ("_scaled_dot_product_attention_math",),
    ("flash", "cuda"): ("flash",),
    ("math", "cuda"): ("softmax", "SoftMax"),
    ("efficient", "cuda"): ("fmha_cutlass", "efficient_attention"),
    ("cudnn", "cuda"): ("cudnn",),
}


@register("sdpa")
@dataclass(frozen=True)
class Sdpa(SoftmaxFamily):
    """torch's SDPA; `flash` is FlashAttention-2 (arXiv:2307.08691), on the CPU torch's own.

    torch aligns is_causal top-left, this project bottom-right, so is_causal is asked for only
    when q_len = kv_len; every other mask, and every bias, is passed as an explicit matrix. Up to
    torch 2.13 `efficient` takes no grouped heads: k and v are repeated inside what is timed.
    """

    grouped: ClassVar[bool] = True
    backend: Literal["auto", "math", "flash", "efficient", "cudnn"] = "auto"

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Build the explicit mask, where one is needed; zeroing empty rows is timed."""
        options: dict[str, Any] = {
            "attn_mask": _explicit_mask(workload, mask),
            "is_causal": _is_plain_causal(workload),
            "scale": workload.scale,
            "enable_gqa": workload.heads != workload.kv_heads and self.backend != "efficient",
        }
        empty = _empty_rows(mask) if mask.has_empty_rows else None
        repeats = workload.groups if self.backend == "efficient" else 1

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if repeats > 1:
                k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
            with self._only_backend():
                out = scaled_dot_product_attention(q, k, v, **options)
            return out if empty is None else out.masked_fill(empty, 0.0)

        return call

    def _only_backend(self) -> AbstractContextManager[None]:
        if self.backend == "auto":
            return contextlib.nullcontext()
        backends = {
            "math": SDPBackend.MATH,
            "flash": SDPBackend.FLASH_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION,
            "cudnn": SDPBackend.CUDNN_ATTENTION,
        }
        return sdpa_kernel(backends[self.backend])

    def unsupported(self, workload: Workload) -> str | None:
        """What the backend's own checks would refuse, said before it runs."""
        if self.backend in ("auto", "math"):
            return None
        if workload.device == "cpu" and self.backend != "flash":
            return f"torch has no {self.backend} kernel on the CPU; use auto, math or flash"
        if self.backend == "flash" and workload.v_head_dim != workload.head_dim:
            return (
                f"flash needs v_head_dim = head_dim: v_head_dim={workload.v_head_dim}, "
                f"head_dim={workload.head_dim}"
            )
        return self._unsupported_on_cuda(workload) if workload.device == "cuda" else None

    def _unsupported_on_cuda(self, workload: Workload) -> str | None:
        if self.backend == "efficient":
            if workload.dtype == "float64":
                return "efficient takes no float64"
            return self._not_a_multiple(workload, 4 if workload.dtype == "float32" else 8)
        if workload.dtype not in _HALF:
            return f"{self.backend} takes float16 or bfloat16 on CUDA, found {workload.dtype}"
        widest = max(workload.head_dim, workload.v_head_dim)
        if widest > 256:
            return f"{self.backend} takes head_dim <= 256 on CUDA, found {widest}"
        if self.backend == "cudnn":
            if workload.kv_len == 1:
                return "cudnn takes kv_len of 2 or more, found 1"
            return self._not_a_multiple(workload, 8)
        if not _takes_no_matrix(workload):
            return (
                "flash takes no explicit mask on CUDA, and this workload needs one: "
                f"mask={workload.mask}, bias={workload.bias}, q_len={workload.q_len}, "
                f"kv_len={workload.kv_len}"
            )
        return None

    def _not_a_multiple(self, workload: Workload, factor: int) -> str | None:
        if workload.head_dim % factor == workload.v_head_dim % factor == 0:
            return None
        return (
            f"{self.backend} takes heads whose width is a multiple of {factor} in "
            f"{workload.dtype} on CUDA, found head_dim={workload.head_dim}, "
            f"v_head_dim={workload.v_head_dim}"
        )

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The backend's kernels; any will do for `auto`, and for `math` compiled into others."""
        if self.backend == "math" and workload.compile:
            return ()
        return _KERNELS.get((self.backend, workload.device), ())

    def cost(self, workload: Workload) -> Cost:
        """Every pair where the mask is a matrix, and in `math`, which makes one of is_causal too.

        Plain causal the fused kernels skip what is masked, and so may `auto`, which may be any of
        them. Time grows with the square of the length; memory as well where scores are stored.
        """
        fused = self.backend not in ("auto", "math") and _takes_no_matrix(workload)
        flops = None
        # On a CPU only `math` takes values of another width.
        unequal = workload.device == "cpu" and workload.head_dim != workload.v_head_dim
        if self.backend == "math" or (self.backend == "auto" and unequal):
            flops = workload.flops_of(workload.all_pairs, backward=2.0)
        elif not _takes_no_matrix(workload):
            # What `auto` takes may have kept its weights, as `math` does: then 2.0 of a forward.
            again = 2.0 if self.backend == "auto" else 2.5
            flops = workload.flops_of(workload.all_pairs, backward=again)
        return Cost(flops=flops, time_growth=2.0, memory_growth=1.0 if fused else None)


def _is_plain_causal(workload: Workload) -> bool:
    square = workload.q_len == workload.kv_len
    return workload.mask == "causal" and square and workload.bias == "none"


def _takes_no_matrix(workload: Workload) -> bool:
    full = workload.bias == "none" and workload.build_mask("cpu").is_full
    return full or _is_plain_causal(workload)


def _empty_rows(mask: Mask) -> Tensor:
    return (mask.stop <= mask.start)[:, None, :, None]


def _explicit_mask(workload: Workload, mask: Mask) -> Tensor | None:
    if _takes_no_matrix(workload):
        return None
    seen = mask.dense()
    if mask.has_empty_rows:
        # What a row of -inf alone gives, 0 or NaN, is each kernel's own choice. It attends to
        # everything instead, and its output is set to 0, which makes its gradient 0.
        seen = seen | _empty_rows(mask)
    if mask.bias is None:
        return seen
    bias = mask.bias.to(workload.torch_dtype)
    return torch.where(seen, bias, -torch.inf)
