"""The gate, tested: mutants go through the very code that judges real cases."""

from __future__ import annotations

import dataclasses

import torch

from harness.measure.faults import reason_of
from harness.measure.mutants import MUTANTS, OF_GRADIENTS
from harness.measure.numerics import judge
from harness.measure.subject import Subject
from harness.measure.truth import Asked, Definition, Truth
from harness.records.schema import GateResult


@torch.no_grad()
def gate_of(definition: Definition, asked: Asked, truth: Truth) -> GateResult:
    """Put every mutant of a definition's answer through `numerics.judge`.

    A gate that lets one pass is vacuous there: a variant with that bug would be called right.
    A gate that refuses the exact answer as well tells nothing apart: then nothing is killed.
    """
    # How far the truth lies from softmax is nothing to the gate, and would cost a pass each.
    subject = Subject(definition, asked, dataclasses.replace(truth, softmax=truth.output))
    accepts = judge(subject.exact, subject.truth, asked.workload).wrong is None
    # The gradients that a mutant of the output carries are the exact ones, judged just now.
    output_only = dataclasses.replace(subject.truth, gradients=())
    killed: list[str] = []
    survived: list[str] = []
    not_applicable: dict[str, str] = {}
    for name, mutate in MUTANTS.items():
        try:
            found = mutate(subject)
        except Exception as error:  # the definition's own code runs here, on what it may not take
            found = f"the definition raised {reason_of(error)}"
        if isinstance(found, str):
            not_applicable[name] = found
            continue
        held = subject.truth if name in OF_GRADIENTS else output_only
        caught = judge(found, held, asked.workload).wrong is not None
        (killed if caught and accepts else survived).append(name)
    return GateResult(killed=tuple(killed), survived=tuple(survived), not_applicable=not_applicable)
