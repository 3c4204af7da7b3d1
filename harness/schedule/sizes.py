"""The sizes that generated schedules are made for, checked."""

from __future__ import annotations

from harness.errors import ScheduleError


def check_sizes(n: int, m: int, parts: int = 1) -> None:
    """ScheduleError unless n vectors make `parts` equal parts for each of m elements."""
    for name, size in (("n", n), ("m", m)):
        if size < 1:
            raise ScheduleError(f"{name} must be at least 1: {name}={size}; write 1 or more")
    if n % (parts * m):
        divisor = "m" if parts == 1 else f"{parts} m"
        multiple = -(-n // (parts * m)) * parts * m
        raise ScheduleError(
            f"{divisor} must divide n: n={n}, m={m}; use n={multiple}, or {_fitting(n, parts)}"
        )


def _fitting(n: int, parts: int) -> str:
    fits = [m for m in range(1, n // parts + 1) if n % (parts * m) == 0]
    if not fits:
        return "another n: no m fits this one"
    shown = [str(m) for m in fits]
    listed = " or ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
    return f"m={listed}"
