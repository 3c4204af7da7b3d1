"""Variants: the interface, the registry, parameters, and what a variant shares with others."""

from harness.variant.identity import definition_key, family_of, source_file, source_hash
from harness.variant.interface import Attention, AttentionOp, Cost, Recurrence
from harness.variant.parameters import Parameter, build, create, parameters, parse_spec
from harness.variant.registry import (
    ENTRY_POINTS,
    get,
    load_file,
    load_installed,
    register,
    registered,
)

__all__ = [
    "ENTRY_POINTS",
    "Attention",
    "AttentionOp",
    "Cost",
    "Parameter",
    "Recurrence",
    "build",
    "create",
    "definition_key",
    "family_of",
    "get",
    "load_file",
    "load_installed",
    "parameters",
    "parse_spec",
    "register",
    "registered",
    "source_file",
    "source_hash",
]
