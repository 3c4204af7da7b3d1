"""A user's file of variants that misbehave; tests copy it beside their suite and run it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness import Attention, AttentionOp, Mask, Workload, register, softmax_attention

HERE = Path(__file__).parent
PIECE = 1 << 28  # bytes that are asked for and never touched, so that no page is filled


def _raise() -> None:
    raise ValueError("on purpose")


def _hang() -> None:
    while True:
        time.sleep(1)


def _grow(piece: Callable[[], Any]) -> None:
    held = []
    while True:
        held.append(piece())


def _recurse(depth: int = 0) -> int:
    return _recurse(depth + 1) + 1


DEEDS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "raise": _raise,
    "recurse": _recurse,
    "hang": _hang,
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "leave_0": lambda: os._exit(0),
    "leave_7": lambda: os._exit(7),
    "sys_exit_0": lambda: sys.exit(0),
    "sys_exit_5": lambda: sys.exit(5),
    "sys_exit_text": lambda: sys.exit("farewell"),
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sigterm": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "nameless_signal": lambda: os.kill(os.getpid(), signal.SIGRTMIN + 6),
    "huge_tensor": lambda: torch.empty(1 << 50),
    "growing_tensors": lambda: _grow(lambda: torch.empty(PIECE, dtype=torch.uint8)),
    "growing_list": lambda: _grow(lambda: bytes(PIECE)),
}
SPOILT: dict[str, Callable[[Tensor], Any]] = {
    "no_answer": lambda output: None,
    "a_number": lambda output: 1.0,
    "a_pair": lambda output: (output, output),
    "fewer_rows": lambda output: output[:, :, :4],
    "fewer_dims": lambda output: output[0],
    "other_dtype": lambda output: output.double(),
    "wrong": lambda output: output * 1.1,
    "wrong_late": lambda output: torch.cat([output[:, :, :-1], output[:, :, -1:] + 1], 2),
    "not_finite": lambda output: output / 0,
}


def later(name: str) -> bool:
    """True in every process but the first that asks: the probe's comes before the races'."""
    marker = HERE / f"{name}.pid"
    if not marker.exists():
        marker.write_text(str(os.getpid()))
    return marker.read_text() != str(os.getpid())


class FaultyFamily(AttentionOp):
    """Softmax attention, told plainly."""

    family: ClassVar[str] = "softmax"

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """What each of these should give."""
        return softmax_attention(q, k, v, mask=mask, scale=scale)


@register("faulty")
@dataclass(frozen=True)
class Faulty(FaultyFamily):
    """Right, but for what it does at its first call of the probe, or in the race alone."""

    does: str = "nothing"
    when: Literal["probe", "race"] = "probe"
    call: int = 1

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Count calls, and misbehave from the one that is asked for."""
        calls = 0
        due = self.when == "probe" or later(f"{self.does}-{self.call}")

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Any:
            nonlocal calls
            calls += 1
            output = softmax_attention(q, k, v, mask=mask, scale=workload.scale)
            if not due or calls < self.call:
                return output
            if self.does == "writes_inputs":
                k.zero_()
            return SPOILT[self.does](output) if self.does in SPOILT else self._does(output)

        return attend

    def _does(self, output: Tensor) -> Tensor:
        DEEDS.get(self.does, DEEDS["nothing"])()
        return output


@register("faulty_elsewhere")
@dataclass(frozen=True)
class FaultyElsewhere(AttentionOp):
    """Misbehaves in another of its methods."""

    does: str = "nothing"
    method: Literal["unsupported", "prepare", "definition", "definition_later"] = "prepare"

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """Misbehaves in the process of the truth, or in later ones."""
        if self.method == "definition":
            DEEDS[self.does]()
        if self.method == "definition_later" and later(f"definition-{self.does}"):
            DEEDS[self.does]()
        return softmax_attention(q, k, v, mask=mask, scale=scale)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """Softmax attention."""
        return softmax_attention(q, k, v, mask=mask, scale=scale)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Misbehaves when it is asked to."""
        if self.method == "prepare":
            DEEDS[self.does]()
        return super().prepare(workload, mask)

    def unsupported(self, workload: Workload) -> str | None:
        """Misbehaves when it is asked to."""
        if self.method == "unsupported":
            DEEDS[self.does]()
        return None
