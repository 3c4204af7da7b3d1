"""A registry of two fake variants, and suite files written from a good one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from harness import variant
from harness.errors import SuiteError
from harness.suite import load_suite
from harness.variant import registry

GOOD = """\
name: small
variants:
  - plain
  - blocked: {size: [64, 128], kernel: fast}
baseline: plain
workloads:
  - pass: forward
    heads: [2, 4]
    q_len: [8, 16]
    mask: [none, causal]
measure: {budget_s: 1}
"""


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    # Before any registry is replaced: importing registers only once a process.
    variant.load_installed()


@pytest.fixture
def _fakes(_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", {})

    @variant.register("plain")
    @dataclass(frozen=True)
    class Plain(variant.AttentionOp):
        """A fake."""

    @variant.register("blocked")
    @dataclass(frozen=True)
    class Blocked(variant.AttentionOp):
        """A fake with parameters."""

        size: int = 128
        kernel: Literal["naive", "fast"] = "naive"
        ratio: float = 1.0


@pytest.fixture
def write(tmp_path: Path, _fakes: None) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "s.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def good(write: Callable[[str], str]) -> str:
    return write(GOOD)


@pytest.fixture
def good_text() -> str:
    """The good suite, to be added to."""
    return GOOD


@pytest.fixture
def edited(write: Callable[[str], str]) -> Callable[[str, str], str]:
    """The path of the good suite with one text replaced by another."""

    def edited(old: str, new: str) -> str:
        assert old in GOOD
        return write(GOOD.replace(old, new))

    return edited


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[str], str]:
    """The text of the error that loading a path gives, the folder cut off."""

    def refusal(path: str) -> str:
        with pytest.raises(SuiteError) as caught:
            load_suite(path)
        text = str(caught.value)
        assert "pydantic" not in text
        assert "\n" not in text
        return text.replace(f"{tmp_path}/", "")

    return refusal
