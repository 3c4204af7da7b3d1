"""Reports: what one run or several turn into (tables, figures, a page, exports)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["write_report"]


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page, the figures and records.csv of these runs; returns index.html.

    `out` is a folder, `report/` of the first run by default. Raises RunError when no run is
    given or the folder cannot be written.
    """
    # The page draws figures; whoever only wants a table must not wait for matplotlib.
    from harness.report.page import write_runs

    return write_runs(runs, out)
