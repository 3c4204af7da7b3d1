"""Progress of a run: a bar with the time left, and one line a block as it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from harness.execute.block import Record
from harness.execute.local import Listeners
from harness.records import CaseRecord
from harness.statistics import log_ratios
from harness.suite import Block


class Progress:
    """Lines on standard error; the bar only where that is a terminal."""

    def __init__(self, blocks: int) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._blocks = blocks
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
        return Listeners(self._starts, self._ended)

    def _starts(self, number: int, block: Block) -> None:
        self.done = number - 1
        self._bar.update(self._task, description=str(block.workload), completed=number - 1)

    def _ended(self, number: int, block: Block, records: Sequence[Record], seconds: float) -> None:
        self.done = number
        self._bar.update(self._task, completed=number)
        cases = [record for record in records if isinstance(record, CaseRecord)]
        line = f"[{number}/{self._blocks}] {block.workload}: {summary(cases)} ({seconds:.1f} s)"
        self._console.print(line, markup=False)


def summary(cases: Sequence[CaseRecord]) -> str:
    """How the cases ended and which was fastest: `8 ok, 1 unsupported; fastest sdpa 4.1x`."""
    counts = Counter(case.status for case in cases)
    text = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    timed = {case.variant.text: _median(case) for case in cases if case.launches}
    if not timed:
        return text
    fastest = min(timed, key=lambda name: timed[name])
    baseline = next((case for case in cases if case.is_baseline and case.launches), None)
    gain = "" if baseline is None else f" {_gain(cases, fastest, baseline):.1f}x"
    return f"{text}; fastest {fastest}{gain}"


def _median(case: CaseRecord) -> float:
    times: list[float] = sorted(s for launch in case.launches for s in launch.rounds_s)
    return times[len(times) // 2]


def _gain(cases: Sequence[CaseRecord], name: str, baseline: CaseRecord) -> Any:
    import numpy as np

    case = next(case for case in cases if case.variant.text == name)
    ratios = [
        value
        for mine, theirs in zip(case.launches, baseline.launches, strict=False)
        for value in log_ratios(mine.rounds_s, theirs.rounds_s)
    ]
    return np.exp(-np.median(ratios))
