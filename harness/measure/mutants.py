"""Mutants: wrong answers such as real kernels have given, made from the definition in float64.

Each is what an exact kernel with that bug would give, rounded to the case's dtype. A mutant of the
output carries the exact gradients, one of the gradients the exact output, so that each has one
check that can catch it. Sizes follow the dtype: what 16 bit cannot resolve is not asked for there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from harness.inputs import make_inputs
from harness.mask import Mask, MaskSpec
from harness.measure.calls import Produced
from harness.measure.subject import ROUNDING, Subject
from harness.measure.truth import TILE
from harness.reference import softmax_attention

Mutant = Callable[[Subject], Produced | str]
"""The wrong answer, or the reason why there is none: the bug changes nothing here."""
SAME = "the bug changes nothing here: the answer is the same to rounding"
UNSEEN = "no judged row attends to what it changes"


def _zeros(subject: Subject) -> Produced | str:
    return _at(subject, subject.all_rows, torch.zeros_like(subject.truth.output))


def _mean_of_v(subject: Subject) -> Produced | str:
    index = subject.spread(subject.all_rows)
    plain = subject.asked.mask.altered(bias_kind="none", bias=None)
    # With scores of 0, softmax is the mean over the attended keys, whatever the definition.
    mean = subject.run(index, mask=plain, scale=0.0, definition=softmax_attention)
    return _at(subject, index, mean)


def _every_tenth_key_dropped(subject: Subject) -> Produced | str:
    if subject.workload.kv_len < 10:
        return f"there are fewer than ten keys: kv_len={subject.workload.kv_len}"
    keys = torch.arange(subject.workload.kv_len, device=subject.asked.mask.device)
    return _masked(subject, subject.asked.mask.altered(holes=keys % 10 == 9))


def _one_key_dropped(subject: Subject) -> Produced | str:
    """The heaviest key (16 bit: the ten heaviest) of one row, in that row alone."""
    if subject.asked.sources < 3:
        return "no key can be told from a query: see one_token_dropped"
    count = 10 if subject.coarse else 1
    place = _a_row(subject, count)
    if place is None:
        return "no judged row attends to any key"
    b, h, row = place
    index = torch.tensor([row])
    weights = _weights(subject, b, h, row)
    holes = torch.zeros_like(weights, dtype=torch.bool)
    holes[weights.topk(min(count, len(weights))).indices] = True
    values = subject.truth.output[:, :, index].clone()
    values[b, h] = subject.run(index, mask=subject.asked.mask.altered(holes=holes))[b, h]
    return _at(subject, index, values)


def _one_token_dropped(subject: Subject) -> Produced | str:
    """One token that a seeded row sees is 0 to that row, the row itself left out."""
    if subject.asked.sources == 3:
        return "queries are apart from keys: see one_key_dropped"
    place = _a_row(subject, 1)
    if place is None:
        return "no judged row sees any token"
    b, _, row = place
    mask, at = subject.asked.mask, int(subject.truth.rows[row])
    start, stop = (int(bound.expand(b + 1, -1)[b, row]) for bound in (mask.start, mask.stop))
    # The nearest that it sees: of local layers the far ones mean nothing.
    others = [j for j in range(start, stop) if j != at or subject.asked.sources == 2]
    if not others:
        return "no judged row sees another token"
    token = min(others, key=lambda j: abs(j - at))
    # Of a layer that attends to itself x stands in q, unless it is run on some rows of it.
    reads = 1 if subject.asked.sources == 2 or subject.asked.rowwise else 0
    inputs = [tensor.clone() for tensor in subject.inputs]
    inputs[reads][b, :, token] = 0.0
    index = torch.tensor([row])
    values = subject.truth.output[:, :, index].clone()
    q, k, v = inputs
    values[b] = subject.run(index, inputs=(q, k, v))[b]
    return _at(subject, index, values)


def _a_row(subject: Subject, count: int) -> tuple[int, int, int] | None:
    """(batch, head, index) of a seeded row, of those that attend to more than `count` keys if any.

    A row that loses all its keys is 0, which would be too easy to see.
    """
    mask = subject.asked.mask
    seen = torch.where(mask.judged, (mask.stop - mask.start).clamp(min=0), 0)
    places = (seen > min(count, int(seen.max()) - 1)).nonzero().cpu()
    if int(seen.max()) == 0:
        return None
    seeded = torch.Generator().manual_seed(subject.workload.seed)
    b, row = places[int(torch.randint(len(places), (1,), generator=seeded))].tolist()
    return b, int(torch.randint(subject.workload.heads, (1,), generator=seeded)), row


def _weights(subject: Subject, b: int, h: int, row: int) -> Tensor:
    """(kv_len) weight of a row on each key: the derivative of its output by v.

    Attention is linear in v, so this is exact whatever the definition, and costs one row.
    """
    q, k, v = subject.inputs
    leaf = v.detach().requires_grad_()
    with torch.enable_grad():
        output = subject.run(torch.tensor([row]), inputs=(q, k, leaf))
        (slope,) = torch.autograd.grad(output[b, h].sum(), leaf)
    weights: Tensor = slope[b, h].abs().sum(-1)
    return weights


def _causal_aligned_top_left(subject: Subject) -> Produced | str:
    w, mask = subject.workload, subject.asked.mask
    if not mask.spec.causal:
        return f"the mask is not causal: mask={w.mask}"
    if w.q_len == w.kv_len:
        return "both alignments are one where q_len = kv_len"
    # Aligned top-left, positions are what they are where there are as many queries as keys.
    rows = subject.truth.rows
    length = max(w.q_len, w.kv_len)
    other = Mask(mask.spec, length, length, batch=w.batch, seed=w.seed, device=mask.device).take(
        rows
    )
    stop = torch.minimum(other.stop, _lengths(mask))
    return _masked(subject, mask.altered(start=torch.minimum(other.start, stop), stop=stop))


def _lengths(mask: Mask) -> Tensor:
    if mask.lengths is None:
        return torch.full_like(mask.stop, mask.kv_len)
    return mask.lengths[:, None].expand_as(mask.stop)


def _mask_ignored(subject: Subject) -> Produced | str:
    mask = subject.asked.mask
    if mask.is_full:
        return "every query attends to every key"
    everything = {
        "start": torch.zeros_like(mask.start),
        "stop": torch.full_like(mask.stop, mask.kv_len),
    }
    # Lengths stay: they say which rows are judged.
    return _masked(subject, mask.altered(spec=MaskSpec(), **everything))


def _bias_ignored(subject: Subject) -> Produced | str:
    if subject.workload.bias == "none":
        return "there is no bias"
    index = subject.spread(subject.all_rows)
    plain = subject.asked.mask.altered(bias_kind="none", bias=None)
    return _at(subject, index, subject.run(index, mask=plain))


def _scale_off(subject: Subject) -> Produced | str:
    index = subject.spread(subject.all_rows)
    factor = 1.05 if subject.coarse else 1.01
    return _at(subject, index, subject.run(index, scale=factor * subject.workload.scale))


def _window_off_by_one(subject: Subject) -> Produced | str:
    w, mask = subject.workload, subject.asked.mask
    if mask.spec.window is None:
        return f"the mask has no window: mask={w.mask}"
    wider = dataclasses.replace(mask.spec, window=mask.spec.window + 1)
    other = Mask(wider, w.q_len, w.kv_len, batch=w.batch, seed=w.seed, device=mask.device).take(
        subject.truth.rows
    )
    return _masked(subject, mask.altered(spec=wider, start=other.start, stop=other.stop))


def _last_query_tile_skipped(subject: Subject) -> Produced | str:
    q_len = subject.workload.q_len
    if q_len % TILE == 0:
        return f"q_len is a multiple of {TILE}: q_len={q_len}"
    index = (subject.truth.rows >= q_len // TILE * TILE).nonzero()[:, 0]
    return _at(subject, index, torch.zeros_like(subject.truth.output[:, :, index]))


def _last_key_tile_skipped(subject: Subject) -> Produced | str:
    kv_len, mask = subject.workload.kv_len, subject.asked.mask
    if kv_len % TILE == 0:
        return f"kv_len is a multiple of {TILE}: kv_len={kv_len}"
    stop = mask.stop.clamp(max=kv_len // TILE * TILE)
    return _masked(subject, mask.altered(start=torch.minimum(mask.start, stop), stop=stop))


def _heads_swapped(subject: Subject) -> Produced | str:
    if subject.workload.heads == 1:
        return "there is one head"
    order = [1, 0, *range(2, subject.workload.heads)]
    return _at(subject, subject.all_rows, subject.truth.output[:, order])


def _grouped_heads_mapped_wrongly(subject: Subject) -> Produced | str:
    w = subject.workload
    if not 1 < w.kv_heads < w.heads:
        return f"heads are not grouped, or all in one: heads={w.heads}, kv_heads={w.kv_heads}"
    q, k, v = subject.inputs
    # Query head h reads key head h % kv_heads, in place of h // (heads / kv_heads).
    times = w.groups
    order = torch.arange(w.kv_heads).repeat(times) * times
    index = subject.spread(subject.all_rows)
    return _at(subject, index, subject.run(index, inputs=(q, k[:, order], v[:, order])))


def _nan_row(subject: Subject) -> Produced | str:
    """One row that is not among those compared with the truth, where there is one."""
    rows = subject.workload.build_mask("cpu").judged[0].nonzero()[:, 0]
    unseen = rows[~torch.isin(rows, subject.truth.rows)]
    rows = unseen if len(unseen) else rows
    assert subject.exact.output is not None
    output = subject.exact.output.clone()
    output[0, -1, rows[len(rows) // 2]] = torch.nan
    return Produced(output, subject.exact.gradients)


def _stale_output(subject: Subject) -> Produced | str:
    earlier = subject.widened(make_inputs(subject.workload, draw=1))
    index = subject.spread(subject.all_rows)
    return _at(subject, index, subject.run(index, inputs=earlier))


def _gradient_of_v_only(subject: Subject) -> Produced | str:
    if not subject.truth.gradients:
        return _no_gradients(subject)
    dq, dk, dv = (float(gradient.norm()) for gradient in subject.truth.gradients)
    if max(dq, dk) <= ROUNDING * dv:
        return "the gradients of q and k are 0"
    q, k, v = subject.exact.gradients
    return Produced(subject.exact.output, (torch.zeros_like(q), torch.zeros_like(k), v))


def _gradient_scaled(subject: Subject) -> Produced | str:
    if not subject.truth.gradients:
        return _no_gradients(subject)
    if not any(bool(gradient.any()) for gradient in subject.truth.gradients):
        return "the gradients are 0"
    factor = 1.2 if subject.coarse else 1.02
    # The exact gradients, scaled in float64, as the truth has them.
    scaled = dataclasses.replace(
        subject.truth, gradients=tuple(factor * gradient for gradient in subject.truth.gradients)
    )
    return dataclasses.replace(subject, truth=scaled).exact


def _no_gradients(subject: Subject) -> str:
    return f"the pass has no gradients: pass={subject.workload.pass_}"


def _masked(subject: Subject, mask: Mask) -> Produced | str:
    """The definition under another mask, at rows that attend to other keys there."""
    own = subject.asked.mask
    differs = (own.start != mask.start) | (own.stop != mask.stop)
    differs &= (own.stop > own.start) | (mask.stop > mask.start)
    if mask.holes is not None:
        before = torch.nn.functional.pad(mask.holes.long().cumsum(0), (1, 0))
        differs |= before[mask.stop] > before[mask.start]
    index = (differs & own.judged).any(0).nonzero()[:, 0].cpu()
    if not len(index):
        return UNSEEN
    index = subject.spread(index)
    return _at(subject, index, subject.run(index, mask=mask))


def _at(subject: Subject, index: Tensor, values: Tensor) -> Produced | str:
    return SAME if subject.is_right(index, values) else subject.answer(index, values)


MUTANTS: Mapping[str, Mutant] = MappingProxyType(
    {
        "zeros": _zeros,
        "mean_of_v": _mean_of_v,
        "every_tenth_key_dropped": _every_tenth_key_dropped,
        "one_key_dropped": _one_key_dropped,
        "one_token_dropped": _one_token_dropped,
        "causal_aligned_top_left": _causal_aligned_top_left,
        "mask_ignored": _mask_ignored,
        "bias_ignored": _bias_ignored,
        "scale_off": _scale_off,
        "window_off_by_one": _window_off_by_one,
        "last_query_tile_skipped": _last_query_tile_skipped,
        "last_key_tile_skipped": _last_key_tile_skipped,
        "heads_swapped": _heads_swapped,
        "grouped_heads_mapped_wrongly": _grouped_heads_mapped_wrongly,
        "nan_row": _nan_row,
        "stale_output": _stale_output,
        "gradient_of_v_only": _gradient_of_v_only,
        "gradient_scaled": _gradient_scaled,
    }
)
OF_GRADIENTS = ("gradient_of_v_only", "gradient_scaled")
