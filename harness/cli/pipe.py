"""A reader that leaves early, as `head` does, is no error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def unread() -> Iterator[None]:
    """Leave with 0 where what is printed inside is no longer read; click would leave with 1."""
    try:
        yield
    except BrokenPipeError:  # which does not tell of which stream
        drop(sys.stdout)
        drop(sys.stderr)
        raise SystemExit(0) from None


def drop(stream: IO[str]) -> None:
    """Let what is still written to a stream go nowhere: Python flushes it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
