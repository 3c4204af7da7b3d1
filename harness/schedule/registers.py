"""Which vectors an element holds, and from which cycle to which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from harness.schedule.model import Item


class Held:
    """The vectors and partial sums at one element.

    What arrives and is neither used nor sent takes no register; of a vector that arrives again, a
    use belongs to the latest arrival, so that it need not be held between the two.
    """

    def __init__(self, *, q_counts: bool) -> None:
        self._q_counts = q_counts
        self._open: dict[Item, list[int]] = {}
        self._closed: list[tuple[Item, int, int]] = []

    def has(self, item: Item) -> bool:
        """Whether it is held now."""
        return item in self._open

    def arrive(self, item: Item, cycle: int) -> None:
        """Hold a vector or a partial sum from this cycle on."""
        self._close(item)
        self._open[item] = [cycle, cycle - 1]

    def begin(self, item: Item, cycle: int) -> None:
        """Begin a partial sum, or add to the one that is here."""
        self._open.setdefault(item, [cycle, cycle - 1])

    def use(self, item: Item, cycle: int) -> bool:
        """Use a vector in this cycle; False if it is not held."""
        span = self._open.get(item)
        if span is None:
            return False
        span[1] = cycle
        return True

    def leave(self, item: Item, cycle: int) -> bool:
        """Give a partial sum away in this cycle; False if it is not held."""
        held = self.use(item, cycle)
        self._close(item)
        return held

    def partials(self) -> list[Item]:
        """The partial sums that are held now."""
        return [item for item in self._open if item.kind == "partial"]

    def counts(self) -> Iterator[tuple[int, int]]:
        """Each cycle in which the number of vectors held changes, in order, with the number."""
        change: defaultdict[int, int] = defaultdict(int)
        for _, first, last in self._spans():
            change[first] += 1
            change[last + 1] -= 1
        count = 0
        for cycle in sorted(change):
            count += change[cycle]
            yield cycle, count

    def in_cycle(self, cycle: int) -> list[Item]:
        """The vectors that are held in a cycle."""
        return sorted(item for item, first, last in self._spans() if first <= cycle <= last)

    def _close(self, item: Item) -> None:
        span = self._open.pop(item, None)
        if span is not None:
            self._closed.append((item, span[0], span[1]))

    def _spans(self) -> Iterator[tuple[Item, int, int]]:
        still = [(item, span[0], span[1]) for item, span in self._open.items()]
        for item, first, last in [*self._closed, *still]:
            if item.kind != "q" or self._q_counts:
                yield item, first, last
