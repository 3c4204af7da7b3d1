"""The files in which a Linux kernel tells what the machine is, below a root folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath


@dataclass(frozen=True)
class Tree:
    """Reads `/proc` and `/sys` below `root`; what is not there is None."""

    root: Path = Path("/")

    @property
    def is_real(self) -> bool:
        """True when this is the machine's own tree, so that the system may be asked as well."""
        return self.root == Path("/")

    def text(self, path: str | PurePath) -> str | None:
        """The text of a file, None where there is none or it is empty."""
        try:
            return self.path(path).read_text(errors="replace").strip() or None
        except (OSError, ValueError):
            return None

    def number(self, path: str | PurePath) -> int | None:
        """The whole number that a file holds."""
        with contextlib.suppress(ValueError):
            return int(self.text(path) or "")
        return None

    def matching(self, folder: str, pattern: str) -> list[Path]:
        """What lies in `folder` under names of this pattern, shorter names first: cpu2, cpu10."""
        with contextlib.suppress(OSError):
            return sorted(self.path(folder).glob(pattern), key=lambda p: (len(p.name), p.name))
        return []

    def path(self, path: str | PurePath) -> Path:
        """Where a file with this absolute path lies."""
        return self.root / str(path).lstrip("/")

    def fields(self, path: str) -> dict[str, str]:
        """The first value of each name of a file of lines `name : value`."""
        found: dict[str, str] = {}
        for line in (self.text(path) or "").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip(), value.strip())
        return found


def told(**values: object) -> dict[str, object]:
    """Only what is known: names whose value is neither None nor empty; 0 and False stay."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and value != "" and value != {} and value != []
    }


def read_cpus(text: str | None) -> tuple[int, ...]:
    """The CPUs of a list as the kernel writes it: `0-3,8` is 0, 1, 2, 3, 8."""
    cpus: list[int] = []
    for part in (text or "").split(","):
        first, dash, last = part.strip().partition("-")
        if first.isdigit() and (not dash or last.isdigit()):
            cpus += range(int(first), int(last if dash else first) + 1)
    return tuple(cpus)


def write_cpus(cpus: Iterable[int]) -> str:
    """CPUs as the kernel and `taskset -c` write them: 0, 1, 2, 3, 8 is `0-3,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
