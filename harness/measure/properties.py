"""What is probed for, what is done to the values for it, and where it cannot be probed."""

from __future__ import annotations

from torch._dynamo.utils import counters

from harness.measure.calls import Call
from harness.measure.perturbation import LEAKS, Perturbations
from harness.workload import Workload

CHANGES = {
    "causality": "keys in its future change",
    "window": "keys outside its window change",
    "packing": "keys of other packed sequences change",
    "padding": "keys beyond the length of its sequence change",
    "batch_independence": "other sequences of the batch change",
    "grouped_heads": "keys and values of other groups of heads change",
    "head_independence": "keys and values of other heads change",
    "row_independence": "other queries change",
    "permutation": "keys and values are reordered together, and rows with their queries",
    "scale": "the scale is doubled and q is halved",
}
"""What is done to the values, by property; a row that must not see it stays where it was."""
CLAIMS = {
    "grouped_heads": "headwise",
    "head_independence": "headwise",
    "row_independence": "rowwise",
    "permutation": "permutation_equivariant",
    "scale": "scaled",
    "determinism": "deterministic",
}
"""The claim to withdraw where the formula is not of that kind."""
TERMS = {"causality": "causal", "window": "window", "packing": "packed", "padding": "padding"}


def hindrance(call: Call, planner: Perturbations, name: str) -> str | None:
    """Why a property is not probed for in a case; None when it is."""
    claim = CLAIMS.get(name)
    if claim is not None and not getattr(call.op, claim):
        return f"the variant says {claim} = False"
    if name == "row_independence" and (call.op.sources == 1 or call.workload.shared != "none"):
        return "its queries are its keys as well"
    if name in LEAKS:
        return _not_hidden(call.workload, planner, name)
    return _no_other_scale(call) if name == "scale" else _too_little(call.workload, name)


def compiled_graphs() -> int:
    """Graphs that torch.compile has made in this process, by whomever it was asked.

    A function that must be compiled whole (`fullgraph`) is in no count of frames.
    """
    return int(counters["stats"].get("unique_graphs", 0))


def said(name: str, workload: Workload) -> str:
    """What is done to the values for a property, in words."""
    if name == "scale" and workload.shared != "none":
        return "the scale is four times as large and q, which is k, is halved"
    return CHANGES[name]


def rescaled(workload: Workload) -> Workload:
    """The same workload at the scale at which a halved q changes nothing: twice its own.

    Where q is k as well, four times.
    """
    factor = 2 if workload.shared == "none" else 4
    return workload.model_copy(update={"scale": factor * workload.scale})


def _not_hidden(workload: Workload, planner: Perturbations, name: str) -> str | None:
    if not getattr(workload.mask_spec, TERMS[name]):
        return f"the mask has no {TERMS[name]}"
    return None if planner.hides(name) else "the mask hides no key in this way"


def _no_other_scale(call: Call) -> str | None:
    if call.workload.compile or compiled_graphs():
        return "it is compiled, and another scale would be compiled anew"
    if call.workload.shared == "qkv":
        return "q cannot be halved without v, which it is as well"
    return call.op.unsupported(rescaled(call.workload))


def _too_little(workload: Workload, name: str) -> str | None:
    """Where there is nothing else that a row could depend on."""
    w = workload
    if name == "batch_independence":
        return "there is one sequence" if w.batch == 1 else None
    if name == "row_independence":
        return "there is one query" if w.q_len == 1 else None
    if name == "permutation":
        placed = w.mask != "none" or w.bias != "none"
        one = "there is one key" if w.kv_len == 1 else None
        return "the mask or the bias says where a key stands" if placed else one
    if w.kv_heads == 1:
        return "there is one head of keys"
    if (name == "grouped_heads") == (w.kv_heads < w.heads):
        return None
    return "heads share keys: see grouped_heads" if w.kv_heads < w.heads else "no heads share keys"
