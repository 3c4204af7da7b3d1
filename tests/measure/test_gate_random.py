"""Random workloads: the gate calls no built-in variant wrong on any that it says it supports."""

from __future__ import annotations

import importlib
import os
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

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
"""Random workloads; a twentieth of them, at least 5, under the compiler.

Each is drawn from its own seed: hypothesis draws others whenever a constant of any module changes,
and a kernel that is seldom wrong would be found by whoever changed something else.
"""
DTYPES = ("float32", "bfloat16", "float16")
INPUTS = ("normal(2)", "normal(2)", "normal(0.5)", "normal(5)", "low_rank(1, 2)")
PASSES = ("forward", "backward", "forward+backward", "decode")


def drawn(seed: int, passes: Sequence[str], longest: int = 150) -> Workload:
    """Masks, biases, lengths, heads, dims, passes, dtypes, spreads of the scores."""
    of = random.Random(seed)

    def length() -> int:
        return of.choice([of.randint(1, longest), of.choice([1, 2, 3, 63, 64, 65, 128])])

    terms = [t for t in ("causal", "packed", "padding", "window") if of.random() < 0.4]
    heads, pass_ = of.choice([1, 2, 3, 4, 6]), of.choice(passes)
    q_len = 1 if pass_ == "decode" else length()
    square = "packed" in terms or (pass_ != "decode" and of.random() < 0.5)
    dim = of.choice([1, 4, 9, 16, 64])
    arguments = {
        "causal": "causal",
        "window": f"window({of.randint(1, 160)})",
        "padding": f"padding({of.choice([0.01, of.uniform(0.01, 1), 1.0]):.3f})",
        "packed": f"packed({of.choice([1, of.randint(1, q_len)])})",
    }
    fields: dict[str, Any] = {
        "pass": pass_,
        "batch": of.randint(1, 3),
        "heads": heads,
        "kv_heads": of.choice([n for n in range(1, heads + 1) if heads % n == 0]),
        "q_len": q_len,
        "kv_len": q_len if square else length(),
        "head_dim": dim,
        "v_head_dim": of.choice([dim, dim, 5, 32]),
        "bias": of.choice(["none", "none", "alibi", "random"]),
        "dtype": of.choice(DTYPES),
        "inputs": of.choice(INPUTS),
        "mask": "+".join(arguments[term] for term in terms) or "none",
        "seed": of.randint(0, 1000),
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


def held(truth: Truth, asked: Workload) -> bool:
    """Whether the dtype holds the truth: a power of large scores may overflow float16, rightly."""
    largest = max(float(tensor.abs().max()) for tensor in (truth.output, *truth.gradients))
    return largest < torch.finfo(asked.torch_dtype).max


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


@pytest.mark.parametrize("asked", [ALONE, FEW, ONE, CANCELLED], ids=str)
def test_no_variant_is_called_wrong_again(asked: Workload) -> None:
    assert called_wrong(asked) == {}


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_no_eager_variant_is_called_wrong(seed: int) -> None:
    asked = drawn(seed, PASSES)
    assert called_wrong(asked) == {}, asked


@pytest.mark.parametrize("seed", range(max(5, EXAMPLES // 5)))
def test_no_variant_is_called_wrong_where_values_are_shared(seed: int) -> None:
    plain = drawn(seed, PASSES[:3])
    shared = random.Random(seed).choice(["qk", "qkv"])
    mask = random.Random(seed).choice(["none", "causal", plain.mask])
    same = {"kv_heads": plain.heads, "kv_len": plain.q_len, "mask": mask, "shared": shared}
    same |= {"v_head_dim": plain.head_dim} if shared == "qkv" else {}
    asked = Workload.model_validate({**plain.as_dict(), **same})
    assert called_wrong(asked) == {}, asked


def called_wrong(asked: Workload) -> dict[str, str]:
    """Variants that the gate calls wrong, of all that run the workload, and what it says."""
    truths = Truths(asked)
    found: dict[str, str | None] = {}
    for op in variants(compiled=False):
        if refusal(op, asked) is None and held(truths.of(op), asked):
            found[str(op.spec)] = wrong(op, asked, truths.of(op))
    assert "softmax" in found
    return {name: reason for name, reason in found.items() if reason is not None}


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


@pytest.mark.parametrize("seed", range(max(5, EXAMPLES // 20)))
def test_no_compiled_variant_is_called_wrong(compiler: None, seed: int) -> None:
    torch.compiler.reset()
    asked = drawn(seed, ("forward", "forward+backward"), longest=80)
    compiled = asked.model_copy(update={"compile": True})
    able = [op for op in _compiled() if refusal(op, compiled) is None]
    op = random.Random(seed).choice(able)
    assert wrong(op, compiled, Truths(compiled).of(op)) is None, (str(op.spec), compiled)
