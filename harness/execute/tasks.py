"""What a worker can be asked to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.execute.beside import limits
from harness.execute.ceilings import ceilings
from harness.execute.probe import probe
from harness.execute.race import race
from harness.execute.survey import survey
from harness.execute.truth import truth

Task = Callable[[dict[str, Any], Path], Any]


def sequential(payload: dict[str, Any], folder: Path) -> dict[str, dict[str, float]]:
    """See harness.execute.sequential; imported late, since torch.utils.benchmark takes 0.15 s."""
    from harness.execute import sequential as home

    return home.sequential(payload, folder)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "survey": survey,
        "truth": truth,
        "probe": probe,
        "race": race,
        "limits": limits,
        "sequential": sequential,
        "ceilings": ceilings,
    }
)
