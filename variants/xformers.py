"""xformers' memory-efficient attention, whichever operator its dispatcher chooses."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness import Attention, Cost, Mask, MaskSpec, Workload, register
from variants.softmax import SoftmaxFamily


@register("xformers")
@dataclass(frozen=True)
class Xformers(SoftmaxFamily):
    """xformers.ops.memory_efficient_attention (Lefaudeux et al. 2022).

    Its layout is (B, L, H, D): the transposes in and out are part of what is timed.
    """

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Import the package and build its attention bias."""
        attend = _import_ops().memory_efficient_attention
        bias = _attention_bias(workload)
        empty = (mask.stop <= mask.start)[:, None, :, None] if mask.has_empty_rows else None

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            out: Tensor = attend(q, k, v, attn_bias=bias, scale=workload.scale)
            out = out.transpose(1, 2)
            return out if empty is None else out.masked_fill(empty, 0.0)

        return call

    def unsupported(self, workload: Workload) -> str | None:
        """The package missing, a mask without a counterpart, or xformers' own reasons."""
        try:
            _import_ops()
        except Exception as error:  # a binary of another torch fails in many ways
            return f"xformers does not import: {type(error).__name__}: {error}"
        if workload.bias != "none":
            return f"no additive bias is passed to xformers, found bias={workload.bias}"
        spec = workload.mask_spec
        if spec.padding is not None or spec.packed is not None:
            return (
                f"mask {workload.mask} is not mapped to an xformers bias; use none, causal, "
                "window(w) or causal+window(w)"
            )
        # On CUDA asking would start the device in a process that must not touch it.
        return _refusal(workload) if workload.device == "cpu" else _refusal_on_cuda(workload)

    def cost(self, workload: Workload) -> Cost:
        """Time grows with the square of the length, memory with the length."""
        return Cost(time_growth=2.0, memory_growth=1.0)


def _import_ops() -> Any:
    with _quiet():
        import xformers.ops

        return xformers.ops


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what xformers warns of and logs, when it is imported without its binaries."""
    logger = logging.getLogger("xformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _attention_bias(workload: Workload) -> Any:
    spec = workload.mask_spec
    biases = _import_ops().fmha.attn_bias
    if spec == MaskSpec():
        return None
    if spec.window is None:
        return biases.LowerTriangularFromBottomRightMask()
    if spec.causal:
        return biases.LowerTriangularFromBottomRightLocalAttentionMask(spec.window)
    return biases.LocalAttentionFromBottomRightMask(spec.window - 1, spec.window - 1)


def _refusal(workload: Workload) -> str | None:
    """Why xformers' dispatcher refuses the workload, on one line; None when it does not."""
    options: dict[str, Any] = {"dtype": workload.torch_dtype, "device": workload.device}
    q = torch.zeros((1, workload.q_len, 1, workload.head_dim), **options)
    k = torch.zeros((1, workload.kv_len, 1, workload.head_dim), **options)
    v = torch.zeros((1, workload.kv_len, 1, workload.v_head_dim), **options)
    try:
        _import_ops().memory_efficient_attention(q, k, v, attn_bias=_attention_bias(workload))
    except NotImplementedError as error:
        return f"xformers finds no operator: {_one_line(str(error))}"
    return None


def _refusal_on_cuda(workload: Workload) -> str | None:
    spec = workload.mask_spec
    if workload.dtype == "float64":
        return "xformers has no operator for float64 on CUDA; use float32, float16 or bfloat16"
    if workload.dtype == "float32" and spec.window is not None:
        if not spec.causal:
            return "xformers has a window both ways in 16 bits only; use float16 or bfloat16"
        if workload.has_gradients:
            return "xformers has the gradients of a window in 16 bits only; use float16 or bfloat16"
    return None


def _one_line(text: str) -> str:
    """The first reason of each operator, out of the dispatcher's text of many lines."""
    reasons = re.findall(r"`([^`]+)` is not supported because:\s+(.+)", text)
    line = "; ".join(f"{operator}: {reason}" for operator, reason in reasons)
    return line or " ".join(text.split())
