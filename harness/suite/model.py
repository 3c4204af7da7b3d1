"""What a suite file turns into: the suite, its blocks, and how it is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from harness.suite.claim import Claim
from harness.suite.schedules import ScheduleCase
from harness.suite.sweep import Sweep, expand
from harness.suite.where import Filter
from harness.workload import Case, VariantSpec, Workload, content_hash


class Measure(BaseModel):
    """How blocks are measured.

    margin: the relative difference that matters; alpha: the level of a verdict; budget_s:
    seconds a block may race; launches: processes a block is raced in; timeout_s: seconds after
    which one call counts as hung; familywise: race at alpha/m for m comparisons in a block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    margin: float = Field(0.02, gt=0, lt=1)
    alpha: float = Field(0.05, gt=0, lt=1)
    budget_s: float = Field(10.0, gt=0)
    launches: StrictInt = Field(2, ge=2)
    timeout_s: float = Field(120.0, gt=0)
    familywise: StrictBool = False


@dataclass(frozen=True)
class Block:
    """The cases of one workload: the variants that are compared with each other."""

    workload: Workload
    cases: tuple[Case, ...]
    baseline: VariantSpec

    @property
    def id(self) -> str:
        """A hash of the workload: the same block has the same id in every run."""
        return content_hash(self.workload.as_dict())


@dataclass(frozen=True)
class Overrides:
    """What the command line changed in a suite."""

    where: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    device: str = "auto"

    def as_dict(self) -> dict[str, Any]:
        """Each option's values by the option's name."""
        return {
            "where": list(self.where),
            "set": list(self.settings),
            "variant": list(self.variants),
            "device": self.device,
        }


@dataclass(frozen=True)
class Suite:
    """A suite, resolved: every name known, every workload checked, nothing expanded yet.

    One that times nothing has no variants, no baseline and no sweeps, only schedules.
    """

    name: str
    description: str
    text: str
    path: Path
    variants: tuple[VariantSpec, ...]
    baseline: VariantSpec | None
    measure: Measure
    overrides: Overrides
    sweeps: tuple[Sweep, ...] = field(repr=False)
    where: Filter = field(repr=False)
    claims: tuple[Claim, ...] = field(default=(), repr=False)
    schedules: tuple[ScheduleCase, ...] = field(default=(), repr=False)

    def workloads(self) -> Iterator[Workload]:
        """The workloads, in the order of the file, each once."""
        seen: set[Workload] = set()
        for _, workload in expand(self.sweeps):
            if self.where.keeps(workload) and workload not in seen:
                seen.add(workload)
                yield workload

    def blocks(self) -> Iterator[Block]:
        """The blocks, in the order of the file, made one at a time."""
        if self.baseline is None:
            return
        for workload in self.workloads():
            cases = tuple(Case(variant, workload) for variant in self.variants)
            yield Block(workload, cases, self.baseline)

    def counts(self) -> tuple[int, int]:
        """How many blocks and how many cases."""
        return self._block_count, self._block_count * len(self.variants)

    @cached_property
    def _block_count(self) -> int:
        return sum(1 for _ in self.workloads())

    def as_dict(self) -> dict[str, Any]:
        """The resolved suite as plain values, for the manifest and for `show`."""
        return {
            **self._content(),
            "description": self.description,
            "claims": [claim.as_dict() for claim in self.claims],
            "overrides": self.overrides.as_dict(),
        }

    @cached_property
    def hash(self) -> str:
        """Equal for two suites exactly when they run the same cases, measured the same way.

        Name, variants, baseline, workloads and schedules in their order and `measure` count;
        claims, the description, comments and the way in which sweeps are written do not.
        """
        return content_hash(self._content())

    def _content(self) -> dict[str, Any]:
        content = {
            "name": self.name,
            "variants": [_plain(variant) for variant in self.variants],
            "baseline": None if self.baseline is None else _plain(self.baseline),
            "workloads": [workload.as_dict() for workload in self.workloads()],
            "measure": self.measure.model_dump(),
        }
        # Left out where there are none, a suite keeps the hash that it had before they existed.
        schedules = [case.model_dump() for case in self.schedules]
        return {**content, "schedules": schedules} if schedules else content


def _plain(variant: VariantSpec) -> dict[str, Any]:
    return {"name": variant.name, "params": dict(variant.params)}
