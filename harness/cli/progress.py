"""Progress of a run: a bar with the time left, and one line a block as it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from harness.cli.console import LastingConsole
from harness.execute.block import Record
from harness.execute.local import Listeners
from harness.records import CaseRecord, block_rows
from harness.suite import Block


class Progress:
    """Lines on standard error; the bar only where that is a terminal."""

    def __init__(self, blocks: int, measure: Mapping[str, Any]) -> None:
        self._console = LastingConsole(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            # Drawing costs CPU time beside what is measured.
            refresh_per_second=1,
            disable=not self._console.is_terminal,
        )
        self._blocks, self._measure = blocks, measure
        self._task = self._bar.add_task("starting", total=blocks)
        self.done = 0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def stop(self) -> None:
        """Take the bar away, before something else is printed."""
        self._bar.stop()

    def listeners(self) -> Listeners:
        """What a run tells."""
        return Listeners(self._starts, self._ended, self._simulated)

    def _simulated(self, count: int, seconds: float) -> None:
        self._console.print(f"{count} schedules simulated ({seconds:.1f} s)", markup=False)

    def _starts(self, number: int, block: Block) -> None:
        self.done = number - 1
        self._bar.update(self._task, description=str(block.workload), completed=number - 1)

    def _ended(self, number: int, block: Block, records: Sequence[Record], seconds: float) -> None:
        self.done = number
        self._bar.update(self._task, completed=number)
        cases = [record for record in records if isinstance(record, CaseRecord)]
        text = summary(block_rows(cases, self._measure))
        line = f"[{number}/{self._blocks}] {block.workload}: {text} ({seconds:.1f} s)"
        self._console.print(line, markup=False)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """How the cases ended, and who was decidedly faster: `8 ok; best sdpa, 4.1x as fast`."""
    counts = Counter(row["status"] for row in rows)
    text = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    faster = [row for row in rows if row["verdict"] == "faster"]
    if faster:
        best = min(faster, key=lambda row: float(row["ratio"]))
        return f"{text}; {best['variant']} is {1 / best['ratio']:.1f}x as fast as the baseline"
    compared = any(row["verdict"] is not None for row in rows)
    return f"{text}; none found faster than the baseline" if compared else text
