"""What a worker can be asked to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.execute.probe import probe
from harness.execute.race import race
from harness.execute.sequential import sequential
from harness.execute.survey import survey
from harness.execute.truth import truth

Task = Callable[[dict[str, Any], Path], Any]
TASKS: Mapping[str, Task] = MappingProxyType(
    {"survey": survey, "truth": truth, "probe": probe, "race": race, "sequential": sequential}
)
