"""Exceptions that a variant raised, as the status of its record."""

from __future__ import annotations

import sys

import torch

from harness.team import WorkerDiedError

_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Cannot allocate",
    "MemoryError",
)


def status_of(error: BaseException) -> str:
    """`oom`, `crashed` of a team that lost a worker, `fallback` or `error`.

    The CPU allocator says in a plain RuntimeError that memory is out.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return "oom"
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY):
        return "oom"
    if isinstance(error, WorkerDiedError):
        return "crashed"
    return "fallback" if _fell_back(error) else "error"


def reason_of(error: BaseException) -> str:
    """Type and text of an exception; the type alone where it says nothing."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    if _fell_back(error):
        text = (
            f"torch.compile hit its limit of recompilations ({error}) and would have run eagerly; "
            "let nothing that the call reads change from call to call"
        )
    # A terminal obeys control characters; the reader of a reason should not have to.
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)


def _fell_back(error: BaseException) -> bool:
    # Importing the compiler takes seconds: what it raises, only a process that has it can hold.
    compiler = sys.modules.get("torch._dynamo.exc")
    return compiler is not None and isinstance(error, compiler.FailOnRecompileLimitHit)
