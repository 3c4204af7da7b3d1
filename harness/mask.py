"""Masks: which keys each query attends to, and the additive bias on the scores.

Every mask here lets a query see one interval of keys, `start <= j < stop`, so a mask is two
vectors, not a matrix: counting attended pairs, skipping blocks and judging a few rows of a
long sequence cost O(rows).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.errors import WorkloadError

_TERM = re.compile(r"(?P<name>[a-z]+)(\((?P<argument>[^()]*)\))?")
_GRAMMAR = "none, causal, window(w), padding(f), packed(n), joined by +, as in causal+window(128)"


@dataclass(frozen=True)
class MaskSpec:
    """A mask as it is written in a suite: `causal+window(128)`."""

    causal: bool = False
    window: int | None = None
    padding: float | None = None
    packed: int | None = None

    @classmethod
    def parse(cls, text: str) -> MaskSpec:
        """Read a mask's text; raises WorkloadError naming the term that is wrong."""
        found: dict[str, int | float | bool] = {}
        for term in text.replace(" ", "").split("+"):
            match = _TERM.fullmatch(term)
            name = match["name"] if match else term
            if name in found:
                raise WorkloadError(f"mask: {name} stands twice in {text!r}; write it once")
            found[name] = _argument(text, term, name, match["argument"] if match else None)
        if "none" in found and len(found) > 1:
            raise WorkloadError(f"mask: none composes with nothing, found {text!r}; drop none")
        found.pop("none", None)
        return cls(**found)  # type: ignore[arg-type]

    def __str__(self) -> str:
        terms = ["causal"] if self.causal else []
        terms += [f"window({self.window})"] if self.window is not None else []
        terms += [f"padding({_digits(self.padding)})"] if self.padding is not None else []
        terms += [f"packed({self.packed})"] if self.packed is not None else []
        return "+".join(terms) or "none"


def _digits(fraction: float) -> str:
    return repr(fraction).removesuffix(".0")  # every digit, so that the text reads back equal


def _argument(text: str, term: str, name: str, argument: str | None) -> int | float | bool:
    if name in ("none", "causal") and argument is None:
        return True
    try:
        if name == "padding" and argument is not None and 0 < float(argument) <= 1:
            return float(argument)
        if name in ("window", "packed") and argument is not None and int(argument) > 0:
            return int(argument)
    except ValueError:
        pass
    wants = {
        "padding": "padding(f) takes a fraction, 0 < f <= 1, as in padding(0.5)",
        "window": "window(w) takes a whole number of keys, w >= 1, as in window(128)",
        "packed": "packed(n) takes a whole number of sequences, n >= 1, as in packed(4)",
        "causal": "causal takes no argument",
        "none": "none takes no argument",
    }
    hint = wants.get(name, f"write {_GRAMMAR}")
    raise WorkloadError(f"mask: cannot read {term!r} in {text!r}; {hint}")


class KvBlock(NamedTuple):
    """Keys start..stop; `full` when every query of the query block attends to all of them."""

    start: int
    stop: int
    full: bool


class Mask:
    """Which keys the query rows at positions `rows` attend to.

    Shapes: start, stop (B', R) with B' = batch under padding and 1 elsewhere; R query rows of
    the q_len there are; key j is attended when start <= j < stop. causal is aligned
    bottom-right: row i sees j <= i + kv_len - q_len. window(w): |i + kv_len - q_len - j| < w.
    padding(f): a seeded length for each sequence, of mean about f * kv_len. packed(n): n
    sequences of seeded, unequal lengths, block-diagonal. A fully masked row gives 0.
    """

    def __init__(
        self,
        spec: MaskSpec,
        q_len: int,
        kv_len: int,
        *,
        batch: int = 1,
        heads: int = 1,
        bias: str = "none",
        seed: int = 0,
        device: torch.device | str = "cpu",
        rows: Tensor | None = None,
    ) -> None:
        self.spec, self.q_len, self.kv_len = spec, q_len, kv_len
        self.batch, self.heads, self.bias_kind, self.seed = batch, heads, bias, seed
        self.device = torch.device(device)
        positions = torch.arange(q_len) if rows is None else rows.cpu()
        self.rows = positions.to(self.device)
        lengths = _padded_lengths(spec, kv_len, batch, seed)
        self.lengths = None if lengths is None else lengths.to(self.device)
        start, stop = _intervals(spec, positions, q_len, kv_len, lengths, seed)
        self.start, self.stop = start.to(self.device), stop.to(self.device)
        self.holes: Tensor | None = None

    def altered(self, **fields: Any) -> Mask:
        """A copy with other fields, as start and stop; what follows from them is found anew.

        holes (kv_len) bool: keys that no row attends to, wherever its interval lies.
        """
        copy = object.__new__(Mask)
        own = {name: value for name, value in vars(self).items() if not _is_derived(name)}
        if "bias" in vars(self) and self.bias_kind == "random":
            own["bias"] = self.bias  # drawn whole: once is enough
        vars(copy).update(own | fields)
        return copy

    def take(self, rows: Tensor) -> Mask:
        """The same mask for the rows at these positions, ascending and among its own."""
        index = torch.searchsorted(self.rows, rows.to(self.device))
        part = self.altered(
            rows=self.rows[index], start=self.start[:, index], stop=self.stop[:, index]
        )
        if "bias" in vars(part) and self.bias is not None:
            part.bias = self.bias[:, :, index]
        return part

    @property
    def is_causal(self) -> bool:
        """True for the plain causal mask, with nothing composed."""
        return self.spec == MaskSpec(causal=True)

    @property
    def left(self) -> int | None:
        """Keys seen to the left of the own position; None when unlimited."""
        return None if self.spec.window is None else self.spec.window - 1

    @property
    def right(self) -> int | None:
        """Keys seen to the right of the own position; None when unlimited."""
        return 0 if self.spec.causal else self.left

    @cached_property
    def is_full(self) -> bool:
        """True when every row attends to every key."""
        reach = bool((self.start <= 0).all() and (self.stop >= self.kv_len).all())
        return reach and self.holes is None

    @cached_property
    def has_empty_rows(self) -> bool:
        """True when some row attends to no key at all."""
        if self.holes is not None:
            return not bool(self._dense.any(-1).all())
        return bool((self.stop <= self.start).any())

    @cached_property
    def judged(self) -> Tensor:
        """(B', R), False at padded query rows, whose output means nothing."""
        if self.lengths is None or self.q_len != self.kv_len:
            return torch.ones_like(self.start, dtype=torch.bool)
        return self.rows[None, :] < self.lengths[:, None]

    def pairs(self) -> int:
        """Attended (query, key) pairs of all heads and sequences."""
        seen = (self.stop - self.start).clamp(min=0)
        if self.holes is not None:
            seen = self._dense[:, 0].sum(-1)
        return int(seen.sum()) * self.heads * (self.batch // seen.shape[0])

    @cached_property
    def _dense(self) -> Tensor:
        return self.dense_block(slice(None), slice(None))

    def dense(self) -> Tensor:
        """(B', 1, R, kv_len) bool, True = attend; built once and kept."""
        return self._dense

    def dense_block(self, rows: slice, keys: slice) -> Tensor:
        """`dense()[:, :, rows, keys]`, built from the intervals of these rows alone."""
        positions = torch.arange(self.kv_len, device=self.device)[keys]
        start, stop = self.start[:, rows, None], self.stop[:, rows, None]
        seen = ((positions >= start) & (positions < stop))[:, None]
        return seen if self.holes is None else seen & ~self.holes[keys]

    @cached_property
    def bias(self) -> Tensor | None:
        """(1, H, R, kv_len) float32 added to the scores, or None."""
        if self.bias_kind == "random":
            generator = torch.Generator().manual_seed(self.seed + 7919)
            shape = (1, self.heads, self.q_len, self.kv_len)
            whole = torch.randn(shape, generator=generator)
            return whole[:, :, self.rows.cpu()].to(self.device)
        return self.bias_block(slice(None), slice(None))

    def bias_block(self, rows: slice, keys: slice) -> Tensor | None:
        """`bias[:, :, rows, keys]`; alibi is computed for these alone, random is cut out."""
        if self.bias_kind == "none":
            return None
        if self.bias_kind == "random":
            whole = self.bias
            return None if whole is None else whole[:, :, rows, keys]
        slopes = 2.0 ** (-8.0 * torch.arange(1, self.heads + 1, device=self.device) / self.heads)
        positions = torch.arange(self.kv_len, device=self.device)[keys]
        distance = (self.rows[rows, None] + self.kv_len - self.q_len - positions).abs()
        return -slopes[None, :, None, None] * distance

    def settle(self) -> None:
        """Work out now what is otherwise found at first use, where torch.compile cannot follow."""
        _ = self.has_empty_rows, self.bias
        if not self.is_full:
            self.dense()

    def softmax(self, scores: Tensor) -> Tensor:
        """softmax(scores + bias) over the attended keys; scores (B, H, R, kv_len)."""
        if self.bias is not None:
            scores = scores + self.bias.to(scores.dtype)
        if self.is_full:
            return scores.softmax(-1)
        weights = scores.masked_fill(~self._dense, -torch.inf).softmax(-1)
        return self.zero(weights) if self.has_empty_rows else weights

    def zero(self, scores: Tensor) -> Tensor:
        """scores (B, H, R, kv_len) with 0 at the keys that are not attended."""
        return scores if self.is_full else scores.masked_fill(~self._dense, 0.0)

    def kv_blocks(self, q_block: int, kv_block: int) -> list[list[KvBlock]]:
        """For each block of query rows, the blocks of keys that are not wholly masked."""
        return [
            self._row_blocks(slice(at, at + q_block), kv_block)
            for at in range(0, len(self.rows), q_block)
        ]

    def _row_blocks(self, rows: slice, kv_block: int) -> list[KvBlock]:
        start, stop = self.start[:, rows], self.stop[:, rows]
        some = stop > start
        if not bool(some.any()):
            return []
        low, high = int(start[some].min()), int(stop[some].max())
        inner_low, inner_high = int(start.max()), int(stop.min())
        firsts = range(low // kv_block * kv_block, high, kv_block)
        if self.holes is not None and bool(self.holes.any()):
            inner_high = 0  # a block may have a hole: none is promised to be full
        return [
            KvBlock(at, end, inner_low <= at and end <= inner_high)
            for at in firsts
            for end in [min(at + kv_block, self.kv_len)]
        ]


def _is_derived(name: str) -> bool:
    return isinstance(getattr(Mask, name, None), cached_property)


def _padded_lengths(spec: MaskSpec, kv_len: int, batch: int, seed: int) -> Tensor | None:
    if spec.padding is None:
        return None
    # Uniform over f +- min(f, 1 - f)/2, so that the mean is f and no sequence is empty.
    spread = min(spec.padding, 1 - spec.padding) / 2
    generator = torch.Generator().manual_seed(seed + 104729)
    fractions = spec.padding + spread * (2 * torch.rand(batch, generator=generator) - 1)
    return (fractions * kv_len).round().long().clamp(1, kv_len)


def _intervals(
    spec: MaskSpec, rows: Tensor, q_len: int, kv_len: int, lengths: Tensor | None, seed: int
) -> tuple[Tensor, Tensor]:
    centre = rows + kv_len - q_len
    start, stop = torch.zeros_like(centre), torch.full_like(centre, kv_len)
    if spec.packed is not None:
        bounds = torch.tensor(_packed_bounds(spec.packed, kv_len, seed))
        sequence = torch.searchsorted(bounds, rows, right=True) - 1
        start, stop = bounds[sequence], bounds[sequence + 1]
    if spec.window is not None:
        start = torch.maximum(start, centre - spec.window + 1)
        stop = torch.minimum(stop, centre + spec.window)
    if spec.causal:
        stop = torch.minimum(stop, centre + 1)
    start, stop = start[None], stop[None]
    if lengths is not None:
        stop = torch.minimum(stop, lengths[:, None])
        start = start.expand_as(stop).contiguous()
    return start, torch.maximum(start, stop)


def _packed_bounds(count: int, length: int, seed: int) -> Sequence[int]:
    generator = torch.Generator().manual_seed(seed + 1299709)
    cuts = torch.randperm(length - 1, generator=generator)[: count - 1] + 1
    return [0, *sorted(cuts.tolist()), length]
