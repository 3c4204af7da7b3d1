"""The command line, called in this process, in an empty folder."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli import main

TINY = """\
name: tiny
variants:
  - softmax
  - sdpa: {backend: math}
baseline: softmax
workloads:
  - heads: 1
    q_len: 32
    head_dim: 16
    threads: 1
measure: {budget_s: 0.2, launches: 2}
"""
MINE = '''\
"""A user's variant."""

from dataclasses import dataclass

from harness import AttentionOp, register


@register("my_attention")
@dataclass(frozen=True)
class MyAttention(AttentionOp):
    """Scores to the power of `degree` in place of softmax."""

    degree: int = 2

    def forward(self, q, k, v, *, mask, scale):
        scores = (q @ k.mT * scale) ** self.degree * k.shape[-2] ** -0.5
        return mask.zero(scores) @ v
'''


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: None) -> Path:
    """The working directory: tiny.yaml and my_attention.py, nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "my_attention.py").write_text(MINE)
    return tmp_path


@pytest.fixture
def call(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Call]:
    """`attnbench ...` in this process."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}

    def call(*words: str) -> Answer:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as left:
            main(words)
        printed = capfdbinary.readouterr()
        assert isinstance(left.value.code, int)
        return Answer(left.value.code, printed.out.decode(), printed.err.decode())

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def refusal(call: Call, folder: Path) -> Callable[..., str]:
    """The one line that a user's error prints; nothing else is printed and nothing written."""

    def refusal(*words: str) -> str:
        before = sorted(folder.rglob("*"))
        answer = call(*words)
        assert (answer.code, answer.out) == (2, ""), answer
        assert sorted(folder.rglob("*")) == before
        assert "Traceback" not in answer.err
        *before_it, line = answer.err.splitlines()
        # What there is to do is announced before the folder is opened.
        assert len(before_it) <= 1
        assert all(" blocks, " in text for text in before_it)
        assert line.startswith("attnbench: ")
        return line.removeprefix("attnbench: ")

    return refusal
