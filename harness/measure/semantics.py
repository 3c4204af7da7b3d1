"""Semantic probes: what a variant claims, and what the mask asks for, seen from outside.

All values that some rows of the output must not depend on are changed in one call, and those rows
must stay where they were. Only when one moves is each property tried alone, to name the one that
is broken. A variant without a definition passes the gate against itself whatever it computes: here
it cannot hide that it ignores the mask, mixes sequences or draws random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from harness.mask import Mask
from harness.measure.calls import Call, Produced, prepare
from harness.measure.faults import reason_of
from harness.measure.perturbation import HEADS, LEAKS, Change, Perturbations, Plan
from harness.measure.properties import CHANGES, CLAIMS, hindrance, rescaled, said
from harness.measure.repetition import FirstOutput, Moved, RandomStates, own_memory
from harness.measure.truth import Truth
from harness.workload import Workload

NO_CHANCE = 8
"""Numbers that a 16-bit kernel gives twice from other values by no chance; one or two it may."""


@dataclass
class Semantics:
    """Properties that held, were broken and how, or were not probed and why."""

    held: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    not_probed: dict[str, str] = field(default_factory=dict)

    def found(self, name: str, fault: str | None) -> None:
        """Enter what was found of a property; what is broken once stays broken."""
        if fault is not None:
            claim = CLAIMS.get(name)
            hint = f"; if that is its formula, write {claim} = False" if claim else ""
            self.broken.setdefault(name, fault + hint)
            self.held = [other for other in self.held if other != name]
        elif name not in self.broken and name not in self.held:
            self.held.append(name)


@dataclass(frozen=True)
class Probed:
    """A case that the gate let pass: its call, truth, inputs, mask and what its first call gave.

    states: of the global random generators, before the variant was prepared and before its first
    call.
    """

    call: Call
    truth: Truth
    inputs: tuple[Tensor, ...]
    mask: Mask
    first: FirstOutput
    states: tuple[RandomStates, RandomStates]


def probe_semantics(probed: Probed, second: Produced, drew: str | None) -> Semantics:
    """Probe a case for all that its variant claims.

    second: of another call on the same values, made under generators that were seeded anew; drew:
    what is said of it if it drew from them. The values in the buffers are changed, and put back.
    """
    found, call = Semantics(), probed.call
    if not _judge_repetition(probed, second, drew, found):
        reason = "the same values do not give the same output"
        found.not_probed |= dict.fromkeys((*CHANGES, "freshness"), reason)
        return found
    planner = Perturbations(call.op, call.workload, probed.truth.rows, probed.inputs[0])
    hindrances = {name: hindrance(call, planner, name) for name in CHANGES}
    found.not_probed |= {name: reason for name, reason in hindrances.items() if reason is not None}
    _Perturbed(probed, planner, found).run([name for name in CHANGES if hindrances[name] is None])
    call.buffers.write(probed.inputs)
    return found


def _judge_repetition(probed: Probed, second: Produced, drew: str | None, found: Semantics) -> bool:
    """Enter what two calls on the same values show; False where their outputs differ."""
    call, first = probed.call, probed.first
    assert second.output is not None
    found.found("own_memory", own_memory(first, second.output, call.buffers))
    if not call.op.deterministic:
        reason = "it draws random numbers at each call, as it says"
        found.not_probed |= {"determinism": reason, "global_rng": reason}
        return True
    moved = first.moved(second.output.detach()[:, :, first.rows], first.judged)
    if moved is not None:
        probed.states[1].restore()
        again = first.moved(_output(call)[:, :, first.rows], first.judged)
        name = "global_rng" if again is None else "determinism"
        what = "random generators are seeded anew" if again is None else "same values come again"
        found.found(name, f"{moved} when the {what}")
    found.found("global_rng", first.drew or drew)
    if moved is None:
        found.found("determinism", None)
    return moved is None


@dataclass
class _Perturbed:
    """Calls the variant on changed values, and enters what the rows show."""

    probed: Probed
    planner: Perturbations
    found: Semantics
    scaled: Call | None = None

    def run(self, names: list[str]) -> None:
        """All properties in two calls, each with other rows; only the first takes another scale.

        What is prepared for that scale has a state of its own, if any: what the second shows of
        new values is what counts.
        """
        parts = [[name for name in names if name != other] for other in ("permutation", "scale")]
        moving = False
        for turn, part in enumerate(parts):
            if not part or (turn == 0 and part == ["row_independence"]):
                continue
            moving = self._turn(self.planner.plan(part, turn), part)
            if "freshness" in self.found.broken:
                reason = "the output does not follow its values"
                self.found.not_probed |= dict.fromkeys(names, reason)
                return
        for name in names:
            if name in LEAKS and name not in self.planner.covered:
                self.found.not_probed[name] = "it hides no key from the rows that were chosen"
            elif name not in self.found.not_probed:
                self.found.found(name, None)
        if moving:
            self.found.found("freshness", None)
        else:
            self.found.not_probed["freshness"] = "no row sees values that may change"

    def _turn(self, plan: Plan, names: list[str]) -> bool:
        """One call with every change; one for each where a row moves. True when values moved."""
        try:
            change, output = self._called(plan, names)
        except Exception as error:
            if "scale" not in names:
                raise
            self.found.not_probed["scale"] = (
                f"at {_times(self.probed.call.workload)} the scale it raises {reason_of(error)}"
            )
            names.remove("scale")
            change, output = self._called(plan, names)
        moved = self._moved(change, output)
        self._stands_still(change, output, moved is not None)
        if moved is None or "freshness" in self.found.broken:
            reordered = change.by_query is not None and not bool(self._still(output).all())
            return bool(change.must_move.any()) or reordered
        w = self.probed.call.workload
        shared = plan.everywhere(moved.batch, moved.head * w.kv_heads // w.heads)
        alone = {
            name: self._moved(*self._called(shared if name in LEAKS else plan, [name]))
            for name in names
        }
        for name, fault in alone.items():
            if fault is not None:
                self.found.found(name, f"{fault} when {said(name, w)}")
        if not any(alone.values()):
            every = " and ".join(said(name, w) for name in names)
            self.found.found(names[0], f"{moved} only when {every}")
        return True

    def _called(self, plan: Plan, names: list[str]) -> tuple[Change, Tensor]:
        """The change of these properties, and the output of a call after it."""
        probed = self.probed
        call = probed.call
        change = self.planner.change(plan, names)
        change.write(call.workload, probed.inputs, call.buffers)
        if change.halved:
            call = self.scaled = self.scaled or self._at_other_scale()
        return change, _output(call)

    def _at_other_scale(self) -> Call:
        call = self.probed.call
        # What is drawn in `prepare`, as random features are, must be drawn alike.
        self.probed.states[0].restore()
        return prepare(call.op, rescaled(call.workload), self.probed.mask, call.buffers)

    def _moved(self, change: Change, output: Tensor) -> Moved | None:
        first = self.probed.first
        rows = change.rows_of(output, first.rows)
        return first.moved(rows, change.must_stay.to(rows.device))

    def _still(self, output: Tensor) -> Tensor:
        """(B, H) heads of which every judged row is the first call's, to the bit."""
        first = self.probed.first
        differs = (output[:, :, first.rows] != first.kept).any(-1)
        enough = first.judged.sum(-1) * output.shape[-1] >= NO_CHANCE
        return ~(differs & first.judged).any(-1) & enough

    def _stands_still(self, change: Change, output: Tensor, moved: bool) -> None:
        """Enter heads that are the same, to the bit, although values that they see are new."""
        still, must_move = self._still(output), change.must_move.any(-1).to(output.device)
        if bool(still.all()) and (moved or bool(must_move.any())):
            fault = "the output is that of earlier values when all values that it sees change"
            self.found.found("freshness", fault)
            return
        stuck = (still & must_move).nonzero()
        if len(stuck):
            b, h = (int(index) for index in stuck[0])
            name = next((name for name in HEADS if name not in self.found.not_probed), "freshness")
            fault = f"head {h}, batch {b}, does not change when its own keys and values do"
            self.found.found(name, fault)


def _output(call: Call) -> Tensor:
    """The output of one call; backward is left out, where the pass has one."""
    if call.workload.has_gradients:
        b = call.buffers
        output: Tensor = call.attend(b.q, b.k, b.v)
        return output.detach()
    call.before()
    produced = call.produced(call.run())
    assert produced.output is not None
    return produced.output


def _times(workload: Workload) -> str:
    return "twice" if rescaled(workload).scale == 2 * workload.scale else "four times"
