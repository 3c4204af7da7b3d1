"""The schema of a record: payload tied to status, so that "fast but wrong" cannot be written."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# 1: the first one.
SCHEMA = 1

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
    """What a probe measured of a case that ran: seconds, bytes, kernels by time spent."""

    prepare_s: float
    first_call_s: float
    peak_bytes: int
    output_bytes: int
    rss_peak_bytes: int | None = None
    kernels: tuple[str, ...] = ()
    compiled_frames: int = 0


class NumericsResult(_Part):
    """Errors with the bounds they were held to; `wrong` where a bound was broken."""

    error: float | None = None
    error_bound: float | None = None
    gradient_error: float | None = None
    gradient_error_bound: float | None = None
    deviation: float | None = None
    rows: int
    wrong: str | None = None
    checked_against: Literal["definition", "itself"]


class Launch(_Part):
    """Every sample of one launch, in order, in seconds; host_s where it differs (GPU)."""

    rounds_s: tuple[float, ...]
    warmup_s: tuple[float, ...]
    host_s: tuple[float, ...] = ()


class Failure(_Part):
    """What is known of a case that gave no answer."""

    where: Where
    exit_code: int | None = None
    signal: str | None = None
    traceback: str | None = None
    stderr: str | None = None


class Variant(_Part):
    """The variant of a case, as it is shown and as it is built."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    text: str
    family: str


class CaseRecord(_Part):
    """One outcome of one case; flops are absent where the case could not be started at all."""

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
    probe: ProbeResult | None = None
    numerics: NumericsResult | None = None
    launches: tuple[Launch, ...] = ()
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
        elif self.launches:
            raise ValueError(f"{self.status} has no latency: what is not ok is never timed")
        return self


class ControlRecord(_Part):
    """The samples of the baseline's second copy in a block: what the race says of no difference."""

    record: Literal["control"] = "control"
    schema_version: int = SCHEMA
    block_id: str
    launches: tuple[Launch, ...]
