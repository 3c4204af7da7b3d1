"""What is known so far of one case of a block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.execute.cost import beyond_limits
from harness.records.schema import (
    CostResult,
    EnergyResult,
    Failure,
    GateResult,
    Launch,
    NumericsResult,
    ProbeResult,
    SemanticsResult,
)
from harness.roofline import Ceilings
from harness.workload import Case


@dataclass
class Entry:
    """What is known so far of one case of a block."""

    case: Case
    surveyed: dict[str, Any]
    status: str = "ok"
    reason: str | None = None
    failure: Failure | None = None
    own: dict[str, float] = field(default_factory=dict)
    probe: ProbeResult | None = None
    numerics: NumericsResult | None = None
    semantics: SemanticsResult | None = None
    gate: GateResult | None = None
    launches: list[Launch] = field(default_factory=list)
    energy: EnergyResult | None = None
    limits: Ceilings | None = None

    @property
    def runs(self) -> bool:
        """True while nothing has taken the case out."""
        return self.status == "ok"

    @property
    def cost(self) -> CostResult | None:
        """What it costs at least; None where the survey could not tell."""
        found = self.surveyed.get("cost")
        return None if found is None else CostResult(**found)

    def out(self, status: str, reason: str, failure: Failure | None = None) -> None:
        """Take the case out of the block, with what is known of why."""
        self.status, self.reason, self.failure = status, reason, failure
        self.launches, self.energy = [], None

    def judge_by_limits(self, again: Ceilings | None) -> None:
        """Take the case out as `impossible`, its samples kept, where no machine can be as fast.

        again: ceilings measured once more. The block is not raced again: what was timed beside it
        is true. Where it is the baseline, the others keep their latencies and have no ratio.
        """
        self.limits = again
        reason = beyond_limits(self.launches, self.cost, again)
        if reason is not None:
            self.status, self.reason, self.energy = "impossible", reason, None
