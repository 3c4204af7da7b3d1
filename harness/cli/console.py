"""Where commands print: a reader that leaves early, as `head` does, is no error."""

from __future__ import annotations

import os
from typing import IO

import rich.console


class Console(rich.console.Console):
    """Leaves quietly once nobody reads any more; rich would leave with 1."""

    def on_broken_pipe(self) -> None:
        """Nothing more is to be done for that reader."""
        drop(self.file)
        raise SystemExit(0)


class LastingConsole(rich.console.Console):
    """Falls silent once nobody reads any more: what it tells of goes on."""

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True
        drop(self.file)


def drop(stream: IO[str]) -> None:
    """Let what is still written to a stream go nowhere: Python flushes it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
