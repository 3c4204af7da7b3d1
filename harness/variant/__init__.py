"""Variants: the interface, the registry, parameters, and what a variant shares with others."""

from harness.variant.carrier import Carrier, hindrance, measured
from harness.variant.heads import repeated, repeating
from harness.variant.identity import definition_key, family_of, source_file, source_hash
from harness.variant.interface import Attention, AttentionOp, Cost, Recurrence, Variant
from harness.variant.layer import AttentionLayer
from harness.variant.parameters import Parameter, build, create, parameters, parse_spec
from harness.variant.registry import (
    ENTRY_POINTS,
    get,
    load_file,
    load_installed,
    register,
    registered,
)
from harness.variant.together import TeamOp

__all__ = [
    "ENTRY_POINTS",
    "Attention",
    "AttentionLayer",
    "AttentionOp",
    "Carrier",
    "Cost",
    "Parameter",
    "Recurrence",
    "TeamOp",
    "Variant",
    "build",
    "create",
    "definition_key",
    "family_of",
    "get",
    "hindrance",
    "load_file",
    "load_installed",
    "measured",
    "parameters",
    "parse_spec",
    "register",
    "registered",
    "repeated",
    "repeating",
    "source_file",
    "source_hash",
]
