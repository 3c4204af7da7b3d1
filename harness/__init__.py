"""attnbench: which attention should I use here, and can I trust that answer?

The public API. Names are imported when first used, so that the command line starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.errors import AttnbenchError
    from harness.mask import KvBlock, Mask, MaskSpec
    from harness.records import load, samples
    from harness.reference import softmax_attention
    from harness.team import Link
    from harness.variant import (
        Attention,
        AttentionLayer,
        AttentionOp,
        Cost,
        Recurrence,
        TeamOp,
        register,
    )
    from harness.workload import Workload

_HOME = {
    "Attention": "harness.variant",
    "AttentionLayer": "harness.variant",
    "AttentionOp": "harness.variant",
    "AttnbenchError": "harness.errors",
    "Cost": "harness.variant",
    "KvBlock": "harness.mask",
    "Link": "harness.team",
    "Mask": "harness.mask",
    "MaskSpec": "harness.mask",
    "Recurrence": "harness.variant",
    "TeamOp": "harness.variant",
    "Workload": "harness.workload",
    "load": "harness.records",
    "register": "harness.variant",
    "samples": "harness.records",
    "softmax_attention": "harness.reference",
}

__all__ = [
    "Attention",
    "AttentionLayer",
    "AttentionOp",
    "AttnbenchError",
    "Cost",
    "KvBlock",
    "Link",
    "Mask",
    "MaskSpec",
    "Recurrence",
    "TeamOp",
    "Workload",
    "load",
    "register",
    "samples",
    "softmax_attention",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
