"""xformers: quiet to import, its refusals readable, its masks ours."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.build import workload
from variants.xformers import Xformers, _attention_bias, _one_line

needs_xformers = pytest.mark.skipif(
    importlib.util.find_spec("xformers") is None, reason="xformers is not installed"
)


@needs_xformers
def test_the_reason_on_a_cpu_is_xformers_own() -> None:
    reason = Xformers().unsupported(workload(heads=2))
    assert reason is not None
    assert reason.startswith("xformers finds no operator: ")
    assert "device=cpu (supported: {'cuda'})" in reason
    assert "\n" not in reason


def test_a_missing_package_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "xformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "xformers", None)
    reason = Xformers().unsupported(workload())
    assert reason is not None
    assert reason.startswith("xformers does not import: ModuleNotFoundError: ")


@needs_xformers
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"bias": "alibi"}, "no additive bias is passed to xformers, found bias=alibi"),
        (
            {"mask": "causal+padding(0.5)"},
            "mask causal+padding(0.5) is not mapped to an xformers bias; use none, causal, "
            "window(w) or causal+window(w)",
        ),
        ({"mask": "packed(2)", "device": "cuda"}, "mask packed(2) is not mapped to an xformers"),
    ],
)
def test_what_is_not_expressed(fields: dict[str, Any], reason: str) -> None:
    assert str(Xformers().unsupported(workload(**fields))).startswith(reason)


@needs_xformers
def test_importing_prints_nothing() -> None:
    code = (
        "from variants.xformers import Xformers\n"
        "from harness.workload import Workload\n"
        "print(bool(Xformers().unsupported(Workload.model_validate({'q_len': 4}))))"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout == "True\n"
    assert "xformers" not in found.stderr.lower()


@needs_xformers
@pytest.mark.parametrize(("q_len", "kv_len"), [(9, 9), (5, 12)])
@pytest.mark.parametrize("mask", ["causal", "window(3)", "window(1)", "causal+window(4)"])
def test_its_masks_are_ours(mask: str, q_len: int, kv_len: int) -> None:
    case = workload(q_len=q_len, kv_len=kv_len, mask=mask)
    found = _attention_bias(case).materialize((q_len, kv_len)).isfinite()
    assert torch.equal(found, case.build_mask().dense()[0, 0])


def test_no_mask_is_no_bias() -> None:
    assert _attention_bias(workload()) is None


def test_one_line() -> None:
    text = (
        "No operator found for `f` with inputs:\n     query : shape=(1, 2)\n"
        "`ckF` is not supported because:\n    device=cpu (supported: {'cuda'})\n    dtype=x\n"
        "`fa3F@0` is not supported because:\n    too old"
    )
    assert _one_line(text) == "ckF: device=cpu (supported: {'cuda'}); fa3F@0: too old"
    assert _one_line("something\n   else") == "something else"
