"""Energy of the processor packages, from the RAPL counters of Linux (Intel and AMD).

Files as in Documentation/power/powercap: `intel-rapl:N/` with `name`, `energy_uj` and
`max_energy_range_uj`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/class/powercap")


@dataclass
class _Package:
    file: Path
    range_uj: int
    last_uj: int
    passed_uj: int = 0

    def microjoules(self) -> int:
        """Microjoules since this was made; the file starts at 0 again past its range."""
        now = int(self.file.read_text())
        step = now - self.last_uj
        self.passed_uj += step if step >= 0 else step + self.range_uj
        self.last_uj = now
        return self.passed_uj


class Rapl:
    """Energy of all packages together; read at least once while one counter goes round."""

    unit_joules = 1e-6

    def __init__(self, folders: list[Path]) -> None:
        self._packages = [
            _Package(folder / "energy_uj", _number(folder, "max_energy_range_uj"), last)
            for folder in folders
            for last in [_number(folder, "energy_uj")]
        ]
        count = len(folders)
        self.name = "RAPL package" if count == 1 else f"RAPL, {count} packages"

    def joules(self) -> float:
        """Joules used since this was made; raises OSError where the kernel no longer tells."""
        return sum(package.microjoules() for package in self._packages) / 1e6


def rapl(root: Path | None = None) -> Rapl | str:
    """The counter of this machine, or the reason why there is none and what to do."""
    folders = _packages(root or ROOT)
    if not folders:
        return (
            f"the kernel shows no RAPL energy counter in {root or ROOT}, as in most virtual "
            "machines and containers; energy is measured on the machine itself"
        )
    try:
        return Rapl(folders)
    except PermissionError as error:
        return (
            f"the RAPL energy counter may be read by root only: {error.filename}; run as root, or "
            f"let others read it: sudo chmod a+r {root or ROOT}/intel-rapl:*/energy_uj"
        )
    except (OSError, ValueError) as error:
        return f"the RAPL energy counter cannot be read: {error}"


def _packages(root: Path) -> list[Path]:
    """Whole packages: not the domains inside of them, nor the platform's, which holds them."""
    found = []
    for folder in sorted(root.glob("intel-rapl:*")):
        try:
            named = (folder / "name").read_text().strip()
        except OSError:
            continue
        if named.startswith("package"):
            found.append(folder)
    return found


def _number(folder: Path, name: str) -> int:
    return int((folder / name).read_text())
