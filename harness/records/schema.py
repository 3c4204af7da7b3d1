"""The schema of a record: payload tied to status, so that "fast but wrong" cannot be written."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.roofline import Ceilings

# 1: the first one.
# 2: gate, semantics, cost, energy of a case; ceilings and throttled rounds of a launch; an
#    impossible case keeps its launches; what a variant approximates; simulated schedules. All
#    optional, so that 1 still loads.
SCHEMA = 2
READABLE = (1, 2)

Status = Literal[
    "ok",
    "incorrect",
    "unsupported",
    "oom",
    "timeout",
    "crashed",
    "error",
    "fallback",
    "impossible",
]


Where = Literal["survey", "truth", "probe", "race"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbeResult(_Part):
    """What a probe measured of a case that ran: seconds, bytes, kernels by time spent.

    sent_bytes: what the workers of a team sent each other; absent of all that is no team.
    """

    prepare_s: float
    first_call_s: float
    peak_bytes: int
    output_bytes: int
    rss_peak_bytes: int | None = None
    kernels: tuple[str, ...] = ()
    compiled_frames: int = 0
    sent_bytes: int | None = None


class NumericsResult(_Part):
    """Errors with the bounds they were held to; `wrong` where a bound was broken."""

    error: float | None = None
    error_bound: float | None = None
    gradient_error: float | None = None
    gradient_error_bound: float | None = None
    deviation: float | None = None
    output_rms: float | None = None
    rows: int
    wrong: str | None = None
    checked_against: Literal["definition", "itself"]


class GateResult(_Part):
    """Wrong answers put through the gate that judged the case: which it caught, which it let pass.

    not_applicable: the reason by mutant. A gate that one applicable mutant survives is vacuous.
    definition: a hash of what it was made from; cases of a block that share it share the gate.
    """

    killed: tuple[str, ...]
    survived: tuple[str, ...] = ()
    not_applicable: dict[str, str] = Field(default_factory=dict)
    definition: str | None = None

    @property
    def vacuous(self) -> bool:
        """True when a wrong answer would have passed."""
        return bool(self.survived)


class SemanticsResult(_Part):
    """Properties that a case was probed for, black-box: held, or not probed and why."""

    held: tuple[str, ...] = ()
    broken: dict[str, str] = Field(default_factory=dict)
    not_probed: dict[str, str] = Field(default_factory=dict)

    @property
    def wrong(self) -> str | None:
        """What is broken, as the reason of a record; None where nothing is."""
        return "; ".join(f"{name}: {how}" for name, how in self.broken.items()) or None


class CostResult(_Part):
    """What one call costs at least: executed FLOPs, compulsory bytes; and claimed exponents.

    executed_flops: as the variant declares, else the algorithmic ones. compulsory_bytes: inputs
    read once and results written once. cycles: of its schedule of so many vectors, in simulation.
    workers: processes that compute it together.
    """

    executed_flops: int
    compulsory_bytes: int
    state_bytes: int | None = None
    projection_flops: int | None = None
    parameters: int | None = None
    cycles: int | None = None
    vectors: int | None = None
    workers: int | None = None
    time_growth: float | None = None
    memory_growth: float | None = None


class EnergyResult(_Part):
    """Energy of one call above idle, and the counter's step spread over the calls, in joules."""

    joules: float
    resolution_joules: float
    idle_watts: float
    calls: int
    counter: str


class Launch(_Part):
    """Every sample of one launch, in order, in seconds; host_s where it differs (GPU).

    throttled: indices of the rounds during which the device held its clock back.
    """

    rounds_s: tuple[float, ...]
    warmup_s: tuple[float, ...]
    host_s: tuple[float, ...] = ()
    throttled: tuple[int, ...] = ()
    ceilings: Ceilings | None = None


class Failure(_Part):
    """What is known of a case that gave no answer."""

    where: Where
    exit_code: int | None = None
    signal: str | None = None
    traceback: str | None = None
    stderr: str | None = None


class Variant(_Part):
    """The variant of a case, as it is shown and as it is built.

    approximates: the mechanism that it stands in for, empty for one of its own.
    """

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    text: str
    family: str
    approximates: str = ""


class CaseRecord(_Part):
    """One outcome of one case; flops are absent where the case could not be started at all.

    limits: ceilings measured once more, in a process of their own, since beside the race some case
    of the block seemed impossible.
    """

    record: Literal["case"] = "case"
    schema_version: int = SCHEMA
    block_id: str
    case_id: str
    variant: Variant
    workload: dict[str, Any]
    is_baseline: bool = False
    status: Status
    reason: str | None = None
    flops: int | None = None
    cost: CostResult | None = None
    probe: ProbeResult | None = None
    numerics: NumericsResult | None = None
    gate: GateResult | None = None
    semantics: SemanticsResult | None = None
    energy: EnergyResult | None = None
    launches: tuple[Launch, ...] = ()
    limits: Ceilings | None = None
    failure: Failure | None = None
    ended_utc: str

    @model_validator(mode="after")
    def _tied(self) -> CaseRecord:
        if self.status == "ok":
            whole = self.probe and self.numerics and self.launches
            if not whole or self.reason or self.numerics is None or self.numerics.wrong:
                raise ValueError("ok needs a probe, right numerics, launches, and no reason")
        elif not self.reason:
            raise ValueError(f"{self.status} needs a reason")
        elif self.launches and self.status != "impossible":  # which keeps what shows it
            raise ValueError(f"{self.status} has no latency: what is not ok is never timed")
        return self


class ScheduleFigures(_Part):
    """What a schedule takes in simulation; see `harness.schedule.simulate.Figures`.

    bound: no schedule of its scheme is shorter, by counting. ring_cycles: of plain ring attention.
    """

    scheme: str
    cycles: int
    bound: int
    ring_cycles: int
    operations: int
    registers: int
    vector_words: int
    score_words: int


class ScheduleRecord(_Part):
    """The simulation of one schedule, a block of its own; no machine has a part in it."""

    record: Literal["schedule"] = "schedule"
    schema_version: int = SCHEMA
    block_id: str
    case_id: str
    schedule: str
    vectors: int
    elements: int
    status: Literal["ok", "unsupported"]
    reason: str | None = None
    figures: ScheduleFigures | None = None
    ended_utc: str

    @model_validator(mode="after")
    def _tied(self) -> ScheduleRecord:
        if self.status == "ok" and (self.figures is None or self.reason):
            raise ValueError("ok needs figures, and no reason")
        if self.status == "unsupported" and (self.figures is not None or not self.reason):
            raise ValueError("unsupported needs a reason, and no figures")
        return self


class ControlRecord(_Part):
    """The samples of the baseline's second copy in a block: what the race says of no difference."""

    record: Literal["control"] = "control"
    schema_version: int = SCHEMA
    block_id: str
    launches: tuple[Launch, ...]
