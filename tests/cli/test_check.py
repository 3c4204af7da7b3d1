"""attnbench check: a right variant, a wrong one, a gate that cannot tell, and wrong words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.suite import load_suite
from tests.cli.conftest import Call

SMALL = {
    "pass": "forward", "batch": 1, "heads": 1, "kv_heads": 1, "q_len": 32, "kv_len": 32,
    "head_dim": 8, "v_head_dim": 8, "mask": "causal", "bias": "none", "dtype": "float32",
    "threads": 1,
}  # fmt: skip
WRONG = '''\
from dataclasses import dataclass

from harness import AttentionOp, register, softmax_attention


class Mine(AttentionOp):
    """Causal attention, said to honour a mask."""

    def definition(self, q, k, v, *, mask, scale):
        return softmax_attention(q, k, v, mask=mask, scale=scale)


@register("right")
@dataclass(frozen=True)
class Right(Mine):
    """It does."""

    def forward(self, q, k, v, *, mask, scale):
        return softmax_attention(q, k, v, mask=mask, scale=scale)


@register("wrong")
@dataclass(frozen=True)
class Wrong(Mine):
    """It does not."""

    def forward(self, q, k, v, *, mask, scale):
        return (q @ k.mT * scale).softmax(-1) @ v
'''


def one_workload(**changed: object) -> list[str]:
    """`--set` words that leave one small workload of the suite."""
    fields = {**SMALL, **changed}
    return [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]


def test_a_right_variant_under_a_gate_that_tells(call: Call) -> None:
    answer = call("check", "softmax", *one_workload(**{"pass": "forward+backward"}))
    assert (answer.code, answer.err) == (0, "")
    first, heads, row, summary, *rest = answer.out.splitlines()
    assert first == "softmax on 1 workload"
    assert heads.split()[:3] == ["status", "error", "allowed"]
    status, error, allowed, gradient, gradient_allowed, mutants, semantics = row.split()[:7]
    assert status == "ok"
    assert 0 < float(error) <= float(allowed) < 1e-4
    assert 0 < float(gradient) <= float(gradient_allowed) < 1e-4
    assert mutants == "12/12"
    assert semantics.split("/")[0] == semantics.split("/")[1]
    assert "  forward+backward B1 H1 L32 D8 causal float32 cpu" in row
    assert summary == "1 ok; no gate vacuous"
    assert any("causality" in line for line in rest)


def test_each_variant_of_a_file_is_checked_and_a_wrong_one_found(call: Call, folder: Path) -> None:
    (folder / "mine.py").write_text(WRONG)
    answer = call("check", "mine.py", *one_workload())
    assert answer.code == 1
    assert "right on 1 workload" in answer.out
    assert "1 ok; no gate vacuous" in answer.out
    right, wrong = answer.out.split("wrong on 1 workload")
    assert "incorrect" not in right
    assert "incorrect" in wrong
    assert "batch 0, head 0, judged row 0 is off by " in wrong
    assert "1 incorrect; no gate vacuous" in wrong
    assert call("check", "right", "--variant", "mine.py", *one_workload()).code == 0


def test_a_gate_that_lets_a_mutant_pass_is_told(call: Call) -> None:
    words = one_workload(dtype="bfloat16", inputs="normal(0.001)", q_len=64, kv_len=64)
    answer = call("check", "softmax", *words)
    assert answer.code == 1
    told, summary = answer.out.splitlines()[3:5]
    assert told.strip().startswith("vacuous: the gate lets pass ")
    assert "scale_off" in told
    assert summary == "1 ok; 1 gate vacuous"


def test_what_a_program_is_told(call: Call) -> None:
    words = one_workload(q_len="16,24", heads=2, kv_heads=2)
    answer = call("check", "sdpa(backend=math)", "--json", *words)
    assert (answer.code, answer.err) == (0, "")
    (told,) = json.loads(answer.out)
    assert (told["variant"], told["sound"]) == ("sdpa(backend=math)", True)
    assert [case["workload"]["q_len"] for case in told["cases"]] == [16, 24]
    for case in told["cases"]:
        assert (case["status"], case["reason"], case["gate"]["survived"]) == ("ok", None, [])
        assert "heads_swapped" in case["gate"]["killed"]
        assert "gradient_scaled" in case["gate"]["not_applicable"]
        assert case["numerics"]["checked_against"] == "definition"


def test_a_variant_that_runs_nowhere_here_is_not_called_right(call: Call) -> None:
    answer = call("check", "sdpa(backend=cudnn)", *one_workload())
    assert answer.code == 1
    assert "torch has no cudnn kernel on the CPU; use auto, math or flash" in answer.out
    assert answer.out.splitlines()[-1] == "1 unsupported; no gate vacuous"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("check softmx", "unknown variant 'softmx'; did you mean softmax?"),
        ("check nowhere.py", "--variant nowhere.py: no such file"),
        ("check softmax --set q_le=8", "unknown field 'q_le'; did you mean q_len"),
        ("check softmax --set heads=3", "kv_heads must divide heads: heads=3, kv_heads=2"),
    ],
)
def test_wrong_words_are_refused(refusal: Callable[..., str], words: str, text: str) -> None:
    assert text in refusal(*words.split())


def test_the_workloads_are_of_every_kind() -> None:
    workloads = list(load_suite("check").workloads())
    masks = {mask for w in workloads for mask in w.mask.split("+")}
    assert masks >= {"none", "causal", "window(50)", "padding(0.5)", "packed(3)"}
    assert {w.pass_ for w in workloads} == {"forward", "forward+backward", "decode"}
    assert {w.dtype for w in workloads} == {"float32", "bfloat16", "float16"}
    assert {w.bias for w in workloads} == {"none", "alibi", "random"}
    for kinds in (
        {w.q_len == w.kv_len for w in workloads},
        {1 < w.kv_heads < w.heads for w in workloads},
        {w.head_dim == w.v_head_dim for w in workloads},
        {w.q_len % 64 == 0 for w in workloads},
        {w.batch > 1 for w in workloads},
    ):
        assert kinds == {True, False}
