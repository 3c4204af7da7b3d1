"""Changes of the inputs that must leave some rows of the output as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.inputs import make_inputs, square_length
from harness.mask import Mask, MaskSpec
from harness.measure.calls import Buffers
from harness.measure.repetition import LOUDER
from harness.variant import AttentionOp
from harness.workload import Workload

LEAKS = ("causality", "window", "packing", "padding")
"""What a mask hides, a term each."""
HEADS = ("grouped_heads", "head_independence")
DRAW = 1009
"""Number of the first draw that the replacing values come from: no probe or race has it."""


@dataclass(frozen=True)
class Change:
    """What is changed, in the shapes of the inputs, and which rows of the output may follow.

    Where q and k share their values, so do their changes: every new key is a new query.

    keys (B, Hkv, Lkv) and queries (B, H, Lq): True where new values stand. aim (B, Hkv, D) is
    added to the new keys of tested slices, so that a query which sees them attends to them.
    by_key, by_query: their new order, None where they stay. must_stay, must_move (B, H, R) on the
    judged rows: those that see nothing new, and those of whose keys at least a quarter is new: a
    single key may weigh less than the output resolves.
    """

    keys: Tensor
    queries: Tensor
    aim: Tensor
    by_key: Tensor | None
    by_query: Tensor | None
    halved: bool
    must_stay: Tensor
    must_move: Tensor

    def write(self, workload: Workload, inputs: Sequence[Tensor], buffers: Buffers) -> None:
        """Put the changed values into the buffers."""
        q, k, v = inputs
        device = q.device
        keys, queries = self.keys.to(device)[..., None], self.queries.to(device)[..., None]
        new_q, new_k, new_v = make_inputs(workload, DRAW)
        aim, factor = self.aim.to(k)[:, :, None], 0.5 if self.halved else 1.0
        if workload.shared == "none":
            q = torch.where(queries, new_q, q) * factor
            k = torch.where(keys, new_k + aim, k)
        else:
            q = k = torch.where(queries, new_k + aim, k) * factor
        v = k if workload.shared == "qkv" else torch.where(keys, LOUDER * new_v, v)
        if self.by_key is not None:
            k, v = (tensor[:, :, self.by_key.to(device)] for tensor in (k, v))
        if self.by_query is not None:
            q = q[:, :, self.by_query.to(device)]
        buffers.write((q, k, v))

    def rows_of(self, output: Tensor, rows: Tensor) -> Tensor:
        """The judged rows of an output, where they stood before the queries were reordered."""
        at = rows if self.by_query is None else torch.argsort(self.by_query)[rows.cpu()]
        return output.detach()[:, :, at.to(output.device)]


@dataclass(frozen=True)
class Plan:
    """What is drawn at random for some properties: every part of it can be changed alone.

    sequences (B, 1), heads (1, Hkv): True where rows are tested; the others are replaced whole.
    anchors (B, Hkv): in each tested slice the judged row, as an index, whose keys stay. orders: of
    keys and of queries.
    """

    turn: int
    sequences: Tensor
    heads: Tensor
    anchors: Tensor
    orders: tuple[Tensor, Tensor]

    def everywhere(self, batch: int, head: int) -> Plan:
        """The same with the row of one slice in all of them: what mixes slices shows nothing."""
        return replace(
            self,
            sequences=torch.ones_like(self.sequences),
            heads=torch.ones_like(self.heads),
            anchors=self.anchors[batch, head].expand_as(self.anchors),
        )


class Perturbations:
    """Builds changes for one workload, judged on some rows.

    Half of the sequences and of the heads of keys, in turn, are replaced whole; in the others one
    judged row each keeps the keys that it attends to, and all other keys are replaced. turn: 0
    or 1; the second tests the slices, and prefers the mask's terms, that the first did not. Where
    heads mix, all have the same row: the others see what it sees.
    """

    def __init__(self, op: AttentionOp, workload: Workload, rows: Tensor, q: Tensor) -> None:
        self._op, self._workload, self._rows, self._q = op, workload, rows.cpu(), q
        self._random = torch.Generator().manual_seed(workload.seed + 60_013)
        spec = workload.mask_spec
        terms = {
            "causality": MaskSpec(causal=spec.causal),
            "window": MaskSpec(window=spec.window),
            "packing": MaskSpec(packed=spec.packed),
            "padding": MaskSpec(padding=spec.padding),
        }
        self._whole = self._interval(spec)
        self._terms = {
            name: self._interval(term) for name, term in terms.items() if term != MaskSpec()
        }
        self.covered: set[str] = set()

    def hides(self, name: str) -> bool:
        """True when a term of the mask hides a key from some judged row."""
        return name in self._terms and bool(self._excluding(name).any())

    def plan(self, properties: Sequence[str], turn: int) -> Plan:
        """Draw what these properties need to be tested together."""
        w = self._workload
        sequences, heads = torch.ones(w.batch, 1).bool(), torch.ones(1, w.kv_heads).bool()
        if "batch_independence" in properties:
            sequences = ((torch.arange(w.batch) + turn) % 2 == 0)[:, None]
        if set(properties) & set(HEADS):
            heads = ((torch.arange(w.kv_heads) + turn) % 2 == 0)[None]
        hidden = [name for name in properties if name in self._terms]
        return Plan(
            turn=turn,
            sequences=sequences,
            heads=heads,
            anchors=self._anchors(hidden, sequences & heads, turn),
            orders=(
                torch.randperm(w.kv_len, generator=self._random),
                torch.randperm(w.q_len, generator=self._random),
            ),
        )

    @property
    def _tied(self) -> bool:
        """True where queries are the keys as well: one that is new is both."""
        return self._op.sources == 1 or self._workload.shared != "none"

    def change(self, plan: Plan, properties: Sequence[str]) -> Change:
        """Some of the properties of a plan in one change.

        Where a term of the mask is changed alone, rows that another term keeps from the change
        are not held against it.
        """
        w, tested = self._workload, (plan.sequences & plan.heads)[..., None]
        keys = torch.zeros((w.batch, w.kv_heads, w.kv_len), dtype=torch.bool)
        aim = torch.zeros((w.batch, w.kv_heads, w.head_dim))
        hidden = [name for name in properties if name in self._terms]
        for name in hidden:
            keys |= self._outside(name, plan.anchors) & tested
        if hidden:
            aim = self._aim(plan) * tested
        if "batch_independence" in properties:
            keys |= ~plan.sequences[..., None]
        if set(properties) & set(HEADS):
            keys |= ~plan.heads[..., None]
        queries = self._queries(plan, properties, keys)
        if self._tied:
            queries = queries | keys
        seen = self._seen(keys, self._whole)
        sees = seen > 0
        visible = (self._whole.stop - self._whole.start)[:, None]
        spoilt = sees | queries[:, :, self._rows]
        if hidden == list(properties) and len(hidden) == 1:
            spoilt |= self._seen(keys, self._terms[hidden[0]]) > 0
        judged = self._whole.judged[:, None]
        permuted = "permutation" in properties
        return Change(
            keys=keys,
            queries=queries,
            aim=aim,
            by_key=plan.orders[0] if permuted else None,
            by_query=self._query_order(plan) if permuted else None,
            halved="scale" in properties,
            must_stay=~spoilt & judged,
            must_move=sees & (4 * seen >= visible) & judged,
        )

    def _query_order(self, plan: Plan) -> Tensor | None:
        if self._tied:
            return plan.orders[0]
        return plan.orders[1] if self._op.rowwise else None

    def _interval(self, spec: MaskSpec) -> Mask:
        w = self._workload
        return Mask(spec, w.q_len, w.kv_len, batch=w.batch, seed=w.seed, rows=self._rows)

    def _excluding(self, name: str) -> Tensor:
        """(B, R) judged rows from which this term hides a key."""
        term = self._terms[name]
        found = (term.start > 0) | (term.stop < self._workload.kv_len)
        return (found & self._whole.judged).expand(self._workload.batch, -1)

    def _anchors(self, hidden: Sequence[str], tested: Tensor, turn: int) -> Tensor:
        """Rows from which many terms hide something are preferred, and terms not tested yet.

        Among those a random one, the middle one, the first and the last take turns.
        """
        anchors = torch.zeros(tested.shape, dtype=torch.long)
        excluding = {name: self._excluding(name) for name in hidden}
        new = set(hidden) - self.covered
        score = torch.zeros(self._workload.batch, len(self._rows), dtype=torch.long)
        for name, rows in excluding.items():
            score += rows * (8 if name in new else 1)
        for number, (b, g) in enumerate(tested.nonzero().tolist()):
            best = int(score[b].max()) if new else 1
            found = (score[b] >= max(1, best)).nonzero()[:, 0]
            if len(found):
                anywhere = int(torch.randint(len(found), (1,), generator=self._random))
                wheel = (anywhere, len(found) // 2, 0, len(found) - 1)
                row = found[wheel[(number + turn) % 4]]
                anchors[b, g] = row
                self.covered |= {name for name in hidden if bool(excluding[name][b, row])}
        return anchors if self._op.headwise else anchors[:, :1].expand_as(anchors)

    def _outside(self, name: str, anchors: Tensor) -> Tensor:
        """(B, Hkv, Lkv) keys that this term hides from the row of each slice."""
        term, batch = self._terms[name], self._workload.batch
        positions = torch.arange(self._workload.kv_len)
        start = term.start.expand(batch, -1).gather(1, anchors)[..., None]
        stop = term.stop.expand(batch, -1).gather(1, anchors)[..., None]
        return (positions < start) | (positions >= stop)

    def _aim(self, plan: Plan) -> Tensor:
        """(B, Hkv, D) along the tested row's query: adds 4 standard deviations to its score.

        As large as the largest score that a few thousand keys have, so that no kernel which
        takes ordinary inputs overflows. One query head stands for its group.
        """
        w = self._workload
        each = w.groups
        heads = torch.arange(w.kv_heads) * each + plan.turn % each
        at = (torch.arange(w.batch)[:, None], heads[None], self._rows[plan.anchors])
        q = self._q[tuple(index.to(self._q.device) for index in at)].float().cpu()
        length = q.square().sum(-1, keepdim=True).clamp(min=square_length(w))
        return q * (4 * w.logit_std / w.scale / length)

    def _queries(self, plan: Plan, properties: Sequence[str], keys: Tensor) -> Tensor:
        """(B, H, Lq) queries that are replaced: of other sequences, and rows that are not tested.

        Heads whose keys are replaced keep their queries: their keys alone must show.
        """
        w, sequences = self._workload, plan.sequences[..., None]
        queries = torch.zeros((w.batch, w.heads, w.q_len), dtype=torch.bool)
        if "batch_independence" in properties:
            queries |= ~sequences
        if "row_independence" in properties:
            rows = (self._seen(keys, self._whole) > 0) | ~self._whole.judged[:, None]
            kept = (~rows).sum(-1, keepdim=True)
            # Where every row is still tested, every other one is given up.
            every_other = (torch.arange(len(self._rows)) + plan.turn) % 2 == 1
            rows |= (kept == len(self._rows)) & every_other
            whole = torch.ones_like(queries)
            whole[:, :, self._rows] = rows
            if set(properties) & set(HEADS):
                whole &= self._by_query_head(plan.heads)[..., None]
            queries |= whole & sequences
        return queries

    def _seen(self, keys: Tensor, mask: Mask) -> Tensor:
        """(B, H, R) how many replaced keys each judged row attends to under a mask."""
        w = self._workload
        sums = torch.nn.functional.pad(keys.cumsum(-1), (1, 0))
        shape = (w.batch, w.kv_heads, len(self._rows))
        start, stop = (
            bound.clamp(0, w.kv_len)[:, None].expand(shape) for bound in (mask.start, mask.stop)
        )
        return self._by_query_head(sums.gather(2, stop) - sums.gather(2, start))

    def _by_query_head(self, slices: Tensor) -> Tensor:
        return slices.repeat_interleave(self._workload.heads // self._workload.kv_heads, 1)
