"""Where commands print with rich: a reader that leaves early is no error."""

from __future__ import annotations

import rich.console

from harness.cli.pipe import drop


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
