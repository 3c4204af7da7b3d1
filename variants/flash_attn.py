"""FlashAttention 2, 3 and 4, from the packages that their authors publish."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness import Attention, Cost, Mask, MaskSpec, Workload, register
from variants.softmax import SoftmaxFamily

Version = Literal[2, 3, 4]
_MODULES: dict[Version, str] = {2: "flash_attn", 3: "flash_attn_interface", 4: "flash_attn.cute"}
# A part of each version's kernel names, forward and backward: the record shows which one ran.
_KERNELS: dict[Version, tuple[str, ...]] = {
    2: ("flash_fwd_kernel", "flash_fwd_splitkv", "flash_bwd_dq_dk_dv"),
    3: ("FlashAttnFwdSm", "FlashAttnBwdSm"),
    4: ("flash_attncute",),
}


@register("flash_attn")
@dataclass(frozen=True)
class FlashAttn(SoftmaxFamily):
    """FlashAttention 2 (arXiv:2307.08691), 3 (arXiv:2407.08608) or 4 (flash_attn.cute).

    `auto` is the newest that is installed; the kernels in the record say which one ran. Its
    layout is (B, L, H, D): the transposes, and the copies that packed sequences take, are part
    of what is timed.
    """

    grouped: ClassVar[bool] = True
    version: Literal["auto", 2, 3, 4] = "auto"

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Import the package, and turn the mask into its arguments."""
        version = self._version()
        module = _load(version)
        options = _options(version, workload, mask)
        if workload.mask_spec.packed is not None:
            return _packed(module.flash_attn_varlen_func, workload, options)
        # Versions 2 and 3 document that rows which see nothing are 0; version 4 does not.
        empty = version == 4 and mask.has_empty_rows
        hidden = (mask.stop <= mask.start)[:, None, :, None] if empty else None

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            out = _only_output(module.flash_attn_func(q, k, v, **options)).transpose(1, 2)
            return out if hidden is None else out.masked_fill(hidden, 0.0)

        return call

    def unsupported(self, workload: Workload) -> str | None:
        """No GPU, no package, or what the version's own checks refuse on every GPU."""
        if workload.device == "cpu":
            return "FlashAttention runs on NVIDIA GPUs alone, found device=cpu; use device=cuda"
        try:
            version = self._version()
            _load(version)
        except Exception as error:  # a binary of another torch fails in many ways
            return f"flash_attn does not import: {type(error).__name__}: {error}"
        if workload.dtype not in ("float16", "bfloat16"):
            return f"flash_attn takes float16 or bfloat16, found {workload.dtype}"
        if workload.mask_spec.padding is not None:
            return (
                f"mask {workload.mask} is not mapped to flash_attn, which takes sequences of "
                "unequal lengths without their padding; use packed(n)"
            )
        return _bias_refusal(version, workload) or _width_refusal(version, workload)

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The kernels of the version that is asked for; of any under `auto`."""
        versions = list(_KERNELS) if self.version == "auto" else [self.version]
        return tuple(part for version in versions for part in _KERNELS[version])

    def cost(self, workload: Workload) -> Cost:
        """Masked blocks are skipped; time grows with the square of the length, memory with it."""
        return Cost(time_growth=2.0, memory_growth=1.0)

    def _version(self) -> Version:
        """The version asked for, or the newest that imports; raises ImportError without one."""
        if self.version != "auto":
            return self.version
        newest_first: tuple[Version, ...] = (4, 3, 2)
        for version in newest_first:
            try:
                _load(version)
            except Exception:
                continue  # a broken one counts as missing: an older one may be whole
            return version
        raise ImportError(f"none of {', '.join(_MODULES.values())} does")


def _load(version: Version) -> Any:
    module = importlib.import_module(_MODULES[version])
    if not hasattr(module, "flash_attn_func"):
        # Version 4 alone makes a package `flash_attn` that holds nothing but `cute`.
        raise ImportError(f"{_MODULES[version]} has no flash_attn_func")
    return module


def _options(version: Version, workload: Workload, mask: Mask) -> dict[str, Any]:
    """Keyword arguments; windows are (left, right), aligned bottom-right since version 2.1."""
    unlimited = None if version == 4 else -1
    window = tuple(unlimited if side is None else side for side in (mask.left, mask.right))
    options: dict[str, Any] = {
        "softmax_scale": workload.scale,
        "causal": workload.mask_spec.causal,
        "window_size": window,
    }
    if workload.bias == "alibi":
        head = torch.arange(1, workload.heads + 1, device=mask.device)
        options["alibi_slopes"] = 2.0 ** (-8.0 * head / workload.heads)
    return options


def _packed(attend: Any, workload: Workload, options: dict[str, Any]) -> Attention:
    """Sequences one after the other, those of all batches, as flash_attn_varlen_func takes them."""
    batch, length = workload.batch, workload.q_len
    alone = Mask(MaskSpec(packed=workload.mask_spec.packed), length, length, seed=workload.seed)
    starts = torch.unique(alone.start)
    firsts = (torch.arange(batch)[:, None] * length + starts).flatten()
    bounds = torch.cat((firsts, torch.tensor([batch * length]))).int()
    longest = int(bounds.diff().max())
    lengths = bounds.to(workload.device)
    options = options | {
        "cu_seqlens_q": lengths,
        "cu_seqlens_k": lengths,
        "max_seqlen_q": longest,
        "max_seqlen_k": longest,
    }

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        flat = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (q, k, v))
        out = _only_output(attend(*flat, **options))
        return out.view(batch, length, *out.shape[1:]).transpose(1, 2)

    return call


def _only_output(returned: Any) -> Tensor:
    """Version 4 and early builds of 3 return the log-sum-exp beside the output."""
    out: Tensor = returned[0] if isinstance(returned, tuple) else returned
    return out


def _bias_refusal(version: Version, workload: Workload) -> str | None:
    if workload.bias == "none" or (workload.bias == "alibi" and version == 2):
        return None
    takes = "no bias but alibi" if version == 2 else "no bias"
    return f"FlashAttention {version} takes {takes}, found bias={workload.bias}"


def _width_refusal(version: Version, workload: Workload) -> str | None:
    """Limits on head_dim that hold on every GPU; some have narrower ones."""
    d, dv = workload.head_dim, workload.v_head_dim
    given = f"head_dim={d}, v_head_dim={dv}"
    if d > 256:
        return f"FlashAttention {version} takes head_dim up to 256, found {given}"
    if version == 2:
        return None if d == dv else f"FlashAttention 2 needs v_head_dim = head_dim, found {given}"
    if d % 8 or dv % 8:
        return f"FlashAttention {version} takes heads whose width is a multiple of 8, found {given}"
    widest = 256 if version == 4 or workload.has_gradients else 512
    if dv > widest:
        return f"FlashAttention {version} takes v_head_dim up to {widest} here, found {given}"
    known = d == dv or d <= 64 or (128 < d <= 192 and 96 < dv <= 128)
    if version == 3 and not known:
        return f"FlashAttention 3 has no kernel for {given}; make them equal"
    return None
