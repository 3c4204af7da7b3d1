"""One case in two runs: its latency, memory and error in B against A."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.change import (
    Change,
    Evidence,
    Span,
    Why,
    quotient,
    ratio_span,
    seconds_span,
    yardstick,
)
from harness.records import CaseRecord
from harness.records.schema import NumericsResult
from harness.roofline import Ceilings
from harness.statistics import Verdict

Kind = Literal["slower", "larger", "worse", "failed"]
KINDS: tuple[Kind, ...] = ("slower", "larger", "worse", "failed")
"""What counts as a regression."""
ROUNDING = 2.0
"""Errors of right kernels differ by less than this factor: by the order of their sums."""
ONE_ROUNDING = 1 / 8
"""Share of an error's bound that rounding the output once makes up; below it errors are alike."""
IDENTICAL = Change(1.0, 1.0, 1.0)

Block = Sequence[CaseRecord]


@dataclass(frozen=True)
class Rules:
    """The margin that matters, and the level of each verdict."""

    margin: float
    alpha: float


@dataclass(frozen=True)
class Timing:
    """What the latencies of a case say. spans: seconds in A and in B; why: of `undecided`."""

    verdict: Verdict
    evidence: Evidence
    spans: tuple[Span, Span]
    why: Why | None = None


@dataclass(frozen=True)
class Judged:
    """A verdict on a figure that has no noise, and the ratio of B to A."""

    verdict: str
    ratio: float


@dataclass(frozen=True)
class Pair:
    """One case in both runs; what was not measured in both is None.

    has_new_source: the source of the variant differs.
    """

    a: CaseRecord
    b: CaseRecord
    timing: Timing | None = None
    memory: Judged | None = None
    error: Judged | None = None
    has_new_source: bool = False

    @property
    def verdict(self) -> str:
        """Of the latency; `failed`, `fixed`, or `not run` where neither run has an answer."""
        if self.timing is not None:
            return self.timing.verdict
        if self.a.status == "ok":
            return "failed"
        return "fixed" if self.b.status == "ok" else "not run"

    @property
    def regressions(self) -> tuple[Kind, ...]:
        """In what B is worse than A."""
        said = {self.verdict}
        said |= {judged.verdict for judged in (self.memory, self.error) if judged is not None}
        return tuple(kind for kind in KINDS if kind in said)


def paired(
    case_id: str, block_a: Block, block_b: Block, rules: Rules, *, has_new_source: bool
) -> Pair:
    """Compare one case, which both blocks hold; the blocks are those of its workload."""
    a, b = (_named(block, case_id) for block in (block_a, block_b))
    if a.status != "ok" or b.status != "ok":
        return Pair(a, b, has_new_source=has_new_source)
    timing = _timing(a, b, block_a, block_b, rules)
    return Pair(a, b, timing, memory(a, b, rules.margin), error(a, b), has_new_source)


def memory(a: CaseRecord, b: CaseRecord, margin: float) -> Judged | None:
    """`smaller`, `larger` or `same`: peak bytes are exact, so that only the margin counts."""
    if a.probe is None or b.probe is None or not a.probe.peak_bytes or not b.probe.peak_bytes:
        return None
    ratio = b.probe.peak_bytes / a.probe.peak_bytes
    edge = 1 + margin
    return Judged("smaller" if ratio < 1 / edge else "larger" if ratio > edge else "same", ratio)


def error(a: CaseRecord, b: CaseRecord) -> Judged | None:
    """`better`, `worse` or `same`, of the output and of the gradients; the worse of the two.

    A difference counts from a factor of 2 on, errors below an eighth of their bound taken for
    equal to it: that much the order of sums and one rounding of the output explain.
    """
    if a.numerics is None or b.numerics is None:
        return None
    found = [
        judged
        for name in ("error", "gradient_error")
        if (judged := _error(a.numerics, b.numerics, name)) is not None
    ]
    order = ("worse", "better", "same")
    return min(found, key=lambda judged: order.index(judged.verdict), default=None)


def _error(a: NumericsResult, b: NumericsResult, name: str) -> Judged | None:
    one, other = getattr(a, name), getattr(b, name)
    bounds = [bound for n in (a, b) if (bound := getattr(n, f"{name}_bound")) is not None]
    if one is None or other is None or not bounds:
        return None
    least = ONE_ROUNDING * max(bounds)
    if least <= 0:
        return None
    ratio = max(other, least) / max(one, least)
    verdict = "worse" if ratio > ROUNDING else "better" if ratio < 1 / ROUNDING else "same"
    return Judged(verdict, ratio)


def _timing(a: CaseRecord, b: CaseRecord, block_a: Block, block_b: Block, rules: Rules) -> Timing:
    spans = seconds_span(a.launches, rules.alpha), seconds_span(b.launches, rules.alpha)
    if a.launches == b.launches:  # one measurement, read twice
        return Timing("same", Evidence(IDENTICAL), spans)
    seen = yardstick(ceilings_of(block_a), ceilings_of(block_b))
    seconds = quotient(*spans, rules.alpha)
    whole, relative = _beside(a, b, _baselines(block_a, block_b), rules.alpha)
    evidence = Evidence(seconds, relative, seen, whole)
    verdict = evidence.verdict(rules.margin)
    return Timing(verdict, evidence, spans, evidence.why(rules.margin, spans))


def _beside(
    a: CaseRecord, b: CaseRecord, bases: tuple[CaseRecord, CaseRecord] | None, alpha: float
) -> tuple[Change | None, Change | None]:
    """The baseline's change of seconds, and that of the ratio to it where the case is another."""
    if bases is None:
        return None, None
    one, other = (base.launches for base in bases)
    whole = quotient(seconds_span(one, alpha), seconds_span(other, alpha), alpha)
    if bases[0].case_id == a.case_id:
        return whole, None
    ratios = ratio_span(a.launches, one, alpha), ratio_span(b.launches, other, alpha)
    return whole, quotient(*ratios, alpha)


def _baselines(block_a: Block, block_b: Block) -> tuple[CaseRecord, CaseRecord] | None:
    """The baseline that both blocks share; None where they have none or two."""
    found = [r for block in (block_a, block_b) for r in block if r.is_baseline and r.status == "ok"]
    if len(found) != 2 or found[0].case_id != found[1].case_id:
        return None
    return found[0], found[1]


def _named(block: Block, case_id: str) -> CaseRecord:
    return next(record for record in block if record.case_id == case_id)


def ceilings_of(block: Block) -> list[Ceilings]:
    """The rates measured beside each launch of a block, each once."""
    found = (launch.ceilings for record in block for launch in record.launches)
    return list(dict.fromkeys(ceilings for ceilings in found if ceilings is not None))
