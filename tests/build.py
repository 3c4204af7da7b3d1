"""Short ways to make what many tests need."""

from __future__ import annotations

from typing import Any

from harness.variant import AttentionOp, Variant, build, load_installed, parse_spec
from harness.workload import Workload


def workload(**fields: Any) -> Workload:
    """A workload from its fields by the names they have in YAML; `pass_` stands for `pass`."""
    return Workload.model_validate({"q_len": 16, **fields})


def variant_named(text: str) -> Variant:
    """The variant that a text names, as `san_pairwise(kernel=fused)`."""
    load_installed()
    return build(parse_spec(text))


def op_named(text: str) -> AttentionOp:
    """The op that a text names, as `polynomial(degree=2)`."""
    op = variant_named(text)
    assert isinstance(op, AttentionOp), f"{text} is no op"
    return op
