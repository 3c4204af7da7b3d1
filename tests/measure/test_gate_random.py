"""Random workloads: the gate calls no built-in variant wrong on any that it says it supports."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.device import device_named
from harness.inputs import make_inputs, make_output_gradient
from harness.measure.calls import make_buffers, once, prepare
from harness.measure.numerics import judge
from harness.measure.truth import Truth, softmax_rows, truth_of
from harness.variant import AttentionOp, create, definition_key
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import refusal, variants

EXAMPLES = int(os.environ.get("ATTNBENCH_EXAMPLES", "50"))
"""Random workloads; a twentieth of them, at least 5, under the compiler."""
DTYPES = ("float32", "bfloat16", "float16")
INPUTS = ("normal(2)", "normal(2)", "normal(0.5)", "normal(5)", "low_rank(1, 2)")
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@st.composite
def workloads(draw: st.DrawFn, passes: tuple[str, ...], longest: int = 150) -> Workload:
    """Masks, biases, lengths, heads, dims, passes, dtypes, spreads of the scores."""
    terms = draw(st.sets(st.sampled_from(["causal", "window", "padding", "packed"])))
    heads = draw(st.sampled_from([1, 2, 3, 4, 6]))
    pass_ = draw(st.sampled_from(passes))
    lengths = st.one_of(st.integers(1, longest), st.sampled_from([1, 63, 64, 65, 128]))
    q_len = 1 if pass_ == "decode" else draw(lengths)
    square = "packed" in terms or (pass_ != "decode" and draw(st.booleans()))
    dim = draw(st.sampled_from([1, 4, 9, 16, 64]))
    arguments = {
        "causal": "causal",
        "window": f"window({draw(st.integers(1, 160))})",
        "padding": f"padding({draw(st.floats(0.01, 1)):.3f})",
        "packed": f"packed({draw(st.integers(1, q_len))})",
    }
    fields: dict[str, Any] = {
        "pass": pass_,
        "batch": draw(st.integers(1, 3)),
        "heads": heads,
        "kv_heads": draw(st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0])),
        "q_len": q_len,
        "kv_len": q_len if square else draw(lengths),
        "head_dim": dim,
        "v_head_dim": draw(st.sampled_from([dim, dim, 5, 32])),
        "bias": draw(st.sampled_from(["none", "none", "alibi", "random"])),
        "dtype": draw(st.sampled_from(DTYPES)),
        "inputs": draw(st.sampled_from(INPUTS)),
        "mask": "+".join(arguments[term] for term in sorted(terms)) or "none",
        "seed": draw(st.integers(0, 1000)),
        "threads": 1,
    }
    return workload(**fields)


class Truths:
    """The truths of one workload, one a definition."""

    def __init__(self, asked: Workload) -> None:
        self._asked, self._known = asked, dict[str, Truth]()

    def of(self, op: AttentionOp) -> Truth:
        """The truth that a variant is held to."""
        key, _ = definition_key(op)
        if key not in self._known:
            softmax = softmax_rows(self._asked, op.rowwise)
            self._known[key] = truth_of(op.definition, self._asked, softmax, rowwise=op.rowwise)
        return self._known[key]


def wrong(op: AttentionOp, asked: Workload, truth: Truth) -> str | None:
    """What the gate says of a variant, prepared and called as a probe does it."""
    upstream = make_output_gradient(asked, truth.rows) if asked.has_gradients else None
    buffers = make_buffers(asked, make_inputs(asked), upstream)
    call = prepare(op, asked, asked.build_mask(), buffers)
    produced, _, _ = once(call, device_named("cpu"))
    return judge(produced, truth, asked).wrong


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Once called wrong: rows small by chance, of few elements and of one; gradients that cancel; a
# score small by chance with no other beside it.
FEW = workload(
    heads=2, kv_heads=1, q_len=28, head_dim=1, dtype="bfloat16", seed=8, threads=1
)  # fmt: skip
ONE = workload(
    pass_="forward+backward", q_len=1, kv_len=65, head_dim=1, bias="random", dtype="float16",
    inputs="normal(0.5)", seed=1, threads=1,
)  # fmt: skip
CANCELLED = workload(
    pass_="backward", heads=6, q_len=64, kv_len=1, head_dim=16, dtype="bfloat16",
    inputs="normal(5)", seed=15, threads=1,
)  # fmt: skip
ALONE = workload(q_len=1, head_dim=16, threads=1)


@example(asked=ALONE)
@example(asked=FEW)
@example(asked=ONE)
@example(asked=CANCELLED)
@given(asked=workloads(("forward", "backward", "forward+backward", "decode")))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=QUIET)
def test_no_eager_variant_is_called_wrong(asked: Workload) -> None:
    truths = Truths(asked)
    found = {}
    for op in variants(compiled=False):
        if refusal(op, asked) is None:
            found[str(op.spec)] = wrong(op, asked, truths.of(op))
    assert "softmax" in found
    assert {name: reason for name, reason in found.items() if reason is not None} == {}


def _compiled() -> list[AttentionOp]:
    specs = [("flex", {}), ("softmax", {}), ("polynomial", {}), ("sdpa", {"backend": "math"})]
    made = (create(name, params) for name, params in specs)
    return [op for op in made if isinstance(op, AttentionOp)]


@pytest.fixture
def compiler() -> None:
    with warnings.catch_warnings():
        # torch's own modules use what torch deprecates.
        warnings.simplefilter("ignore")
        importlib.import_module("torch._inductor.compile_fx")


@given(asked=workloads(("forward", "forward+backward"), longest=80), data=st.data())
@settings(
    max_examples=max(5, EXAMPLES // 20),
    deadline=None,
    derandomize=True,
    suppress_health_check=QUIET,
)
def test_no_compiled_variant_is_called_wrong(
    compiler: None, asked: Workload, data: st.DataObject
) -> None:
    torch.compiler.reset()
    compiled = asked.model_copy(update={"compile": True})
    able = [op for op in _compiled() if refusal(op, compiled) is None]
    op = data.draw(st.sampled_from(able))
    assert wrong(op, compiled, Truths(compiled).of(op)) is None, op.spec
