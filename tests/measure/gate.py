"""The gate of the harness, put to work on any attention function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness import softmax_attention
from harness.inputs import make_inputs, make_output_gradient
from harness.measure.calls import Produced
from harness.measure.mutants import MUTANTS
from harness.measure.numerics import Numerics, judge
from harness.measure.subject import Subject
from harness.measure.truth import Truth, ask, find_truth, softmax_rows, truth_of
from harness.workload import Workload
from tests.build import workload

Attend = Callable[..., Tensor]
BOTH = "forward+backward"


def small(**fields: Any) -> Workload:
    """Two sequences of four heads, with gradients unless told otherwise."""
    shape = {"pass": BOTH, "batch": 2, "heads": 4, "q_len": 64, "head_dim": 16, "threads": 1}
    return workload(**{**shape, **fields})


def truth_for(asked: Workload) -> Truth:
    """The truth of softmax attention on a workload."""
    return truth_of(softmax_attention, asked, softmax_rows(asked), rowwise=True)


def subject_of(asked: Workload, definition: Attend = softmax_attention) -> Subject:
    """What mutants are made from: a definition on a workload with its truth."""
    question = ask(asked, rowwise=True)
    return Subject(definition, question, find_truth(definition, question, softmax_rows(asked)))


def mutant(name: str, subject: Subject) -> Produced:
    """A wrong answer that applies."""
    found = MUTANTS[name](subject)
    assert isinstance(found, Produced), found
    return found


def judged_mutant(name: str, asked: Workload) -> Numerics:
    """What the gate says of a wrong answer."""
    subject = subject_of(asked)
    return judge(mutant(name, subject), subject.truth, asked)


def answer(attend: Attend, asked: Workload, truth: Truth) -> Produced:
    """What an attention function gives on the inputs of a workload."""
    grad = asked.has_gradients
    q, k, v = (tensor.requires_grad_(grad) for tensor in make_inputs(asked))
    times = asked.heads // asked.kv_heads
    heads = (tensor.repeat_interleave(times, 1) for tensor in (k, v))
    output = attend(q, *heads, mask=asked.build_mask(), scale=asked.scale)
    if not grad:
        return Produced(output)
    upstream = make_output_gradient(asked, truth.rows)
    gradients = torch.autograd.grad(
        output,
        (q, k, v),
        upstream[: output.shape[0], :, :, : output.shape[-1]].to(output.dtype),
        allow_unused=True,
        materialize_grads=True,
    )
    return Produced(output.detach(), gradients)


def judged(attend: Attend, asked: Workload) -> Numerics:
    """What the gate says of an attention function."""
    truth = truth_for(asked)
    return judge(answer(attend, asked, truth), truth, asked)
