"""Masks against the rule of each, element by element."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import WorkloadError
from harness.mask import Mask, MaskSpec

SPECS = st.builds(
    MaskSpec,
    causal=st.booleans(),
    window=st.none() | st.integers(1, 30),
    padding=st.none() | st.floats(0, 1, exclude_min=True),
    packed=st.none() | st.integers(1, 6),
)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    spec = draw(SPECS)
    q_len = draw(st.integers(spec.packed or 1, 24))
    kv_len = q_len if spec.packed else draw(st.integers(1, 24))
    batch, heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    bias = draw(st.sampled_from(["none", "alibi", "random"]))
    seed = draw(st.integers(0, 99))
    return Mask(spec, q_len, kv_len, batch=batch, heads=heads, bias=bias, seed=seed)


def brute(mask: Mask) -> Tensor:
    """(B', R, kv_len) by the definition of each term, packed through its own bounds."""
    spec, offset = mask.spec, mask.kv_len - mask.q_len
    sequence = sequences(mask)
    sizes = [mask.kv_len] if mask.lengths is None else mask.lengths.tolist()
    return torch.tensor(
        [
            [
                [
                    (not spec.causal or j <= i + offset)
                    and (spec.window is None or abs(i + offset - j) < spec.window)
                    and (spec.packed is None or sequence[i] == sequence[j])
                    and j < size
                    for j in range(mask.kv_len)
                ]
                for i in mask.rows.tolist()
            ]
            for size in sizes
        ]
    )


def sequences(mask: Mask) -> list[int]:
    """The packed sequence of each position."""
    if mask.spec.packed is None:
        return []
    alone = Mask(MaskSpec(packed=mask.spec.packed), mask.q_len, mask.kv_len, seed=mask.seed)
    return [int(start) for start in alone.start[0]]


@given(mask=masks())
@settings(deadline=None, derandomize=True)
def test_dense_pairs_and_flags(mask: Mask) -> None:
    seen = brute(mask)
    assert torch.equal(mask.dense()[:, 0], seen)
    assert mask.pairs() == int(seen.sum()) * mask.heads * (mask.batch // len(seen))
    assert mask.is_full == bool(seen.all())
    assert mask.has_empty_rows == bool((~seen.any(-1)).any())


@given(mask=masks(), q_block=st.integers(1, 30), kv_block=st.integers(1, 30))
@settings(deadline=None, derandomize=True)
def test_kv_blocks_leave_out_nothing_and_are_full_when_they_say_so(
    mask: Mask, q_block: int, kv_block: int
) -> None:
    seen = brute(mask)
    covered = torch.zeros_like(seen)
    blocks = mask.kv_blocks(q_block, kv_block)
    assert len(blocks) == -(-mask.q_len // q_block)
    for index, row in enumerate(blocks):
        rows = slice(index * q_block, (index + 1) * q_block)
        for block in row:
            assert 0 <= block.start < block.stop <= mask.kv_len
            assert block.stop - block.start <= kv_block
            assert not covered[:, rows, block.start : block.stop].any()
            covered[:, rows, block.start : block.stop] = True
            assert block.full == bool(seen[:, rows, block.start : block.stop].all())
    assert not (seen & ~covered).any()


@pytest.mark.parametrize(
    ("text", "visited"),
    [("none", 16), ("causal", 10), ("window(16)", 10), ("causal+window(16)", 7), ("packed(1)", 16)],
)
def test_kv_blocks_skip_what_is_wholly_masked(text: str, visited: int) -> None:
    mask = Mask(MaskSpec.parse(text), 64, 64)
    assert sum(len(row) for row in mask.kv_blocks(16, 16)) == visited


@given(mask=masks(), data=st.data())
@settings(deadline=None, derandomize=True)
def test_blocks_of_dense_and_bias(mask: Mask, data: st.DataObject) -> None:
    rows, keys = (
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))))
        for n in (mask.q_len, mask.kv_len)
    )
    assert torch.equal(mask.dense_block(rows, keys), mask.dense()[:, :, rows, keys])
    block = mask.bias_block(rows, keys)
    if mask.bias is None:
        assert block is None
    else:
        assert block is not None
        assert torch.equal(block, mask.bias[:, :, rows, keys])


@given(mask=masks(), data=st.data())
@settings(deadline=None, derandomize=True)
def test_take_is_the_mask_of_some_rows(mask: Mask, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, mask.q_len - 1), min_size=1))
    rows = torch.tensor(sorted(chosen))
    part = mask.take(rows)
    assert torch.equal(part.dense(), mask.dense()[:, :, rows])
    assert torch.equal(part.judged, mask.judged[:, rows])
    if mask.bias is not None:
        assert part.bias is not None
        assert torch.equal(part.bias, mask.bias[:, :, rows])


@given(mask=masks())
@settings(deadline=None, derandomize=True)
def test_softmax_and_zero(mask: Mask) -> None:
    scores = torch.randn(
        (mask.batch, mask.heads, mask.q_len, mask.kv_len),
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )
    seen = brute(mask)[:, None].expand_as(scores)
    logits = scores if mask.bias is None else scores + mask.bias
    weights = logits.exp() * seen
    expected = weights / weights.sum(-1, keepdim=True).clamp(min=1e-300)
    torch.testing.assert_close(mask.softmax(scores), expected, rtol=1e-12, atol=1e-15)
    assert torch.equal(mask.zero(scores), scores * seen)


def test_softmax_of_an_empty_row_is_zero_with_a_zero_gradient() -> None:
    mask = Mask(MaskSpec(causal=True), 5, 3)
    scores = torch.randn(1, 1, 5, 3, requires_grad=True)
    weights = mask.softmax(scores)
    assert (weights[:, :, :2] == 0).all()
    (gradient,) = torch.autograd.grad((weights * torch.arange(3.0)).sum(), scores)
    assert (gradient[:, :, :2] == 0).all()
    assert gradient.isfinite().all()


def test_causal_is_aligned_bottom_right() -> None:
    found = Mask(MaskSpec(causal=True), 2, 4).dense()[0, 0].int().tolist()
    assert found == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_padded_rows_are_not_judged() -> None:
    mask = Mask(MaskSpec(padding=0.5), 40, 40, batch=4)
    assert mask.lengths is not None
    assert mask.judged.sum(-1).tolist() == mask.lengths.tolist()
    assert Mask(MaskSpec(padding=0.5), 1, 40, batch=4).judged.all()
    assert Mask(MaskSpec(causal=True), 5, 5).judged.all()


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9, 1.0])
def test_padding_has_the_mean_that_it_says(fraction: float) -> None:
    mask = Mask(MaskSpec(padding=fraction), 1, 1000, batch=2000)
    assert mask.lengths is not None
    assert float(mask.lengths.double().mean()) == pytest.approx(1000 * fraction, rel=0.02)
    assert 1 <= int(mask.lengths.min()) <= int(mask.lengths.max()) <= 1000


@pytest.mark.parametrize("count", [1, 3, 20])
def test_packed_is_block_diagonal(count: int) -> None:
    mask = Mask(MaskSpec(packed=count), 20, 20, seed=3)
    assert len(set(sequences(mask))) == count
    assert sequences(mask) == sorted(sequences(mask))
    assert torch.equal(mask.dense(), mask.dense().mT)


def test_alibi_falls_with_distance_and_differs_by_head() -> None:
    bias = Mask(MaskSpec(causal=True), 2, 3, heads=2, bias="alibi").bias
    assert bias is not None
    slope = 2.0**-4
    expected = [[-slope, -0.0, -slope], [-2 * slope, -slope, -0.0]]
    torch.testing.assert_close(bias[0, 0], torch.tensor(expected))
    torch.testing.assert_close(bias[0, 1], bias[0, 0] / 16)


@pytest.mark.parametrize(
    ("text", "left", "right", "plain"),
    [
        ("none", None, None, False),
        ("causal", None, 0, True),
        ("window(4)", 3, 3, False),
        ("causal+window(4)", 3, 0, False),
    ],
)
def test_left_right_and_is_causal(
    text: str, left: int | None, right: int | None, plain: bool
) -> None:
    mask = Mask(MaskSpec.parse(text), 8, 8)
    assert (mask.left, mask.right, mask.is_causal) == (left, right, plain)


@given(spec=SPECS)
@settings(deadline=None, derandomize=True)
def test_text_reads_back(spec: MaskSpec) -> None:
    assert MaskSpec.parse(str(spec)) == spec


def test_text_is_in_one_order() -> None:
    assert str(MaskSpec.parse("window(8) + causal")) == "causal+window(8)"
    assert str(MaskSpec.parse("packed(2)+padding(0.50)")) == "padding(0.5)+packed(2)"
    assert str(MaskSpec.parse("padding(1)")) == "padding(1)"


GRAMMAR = "write none, causal, window(w), padding(f), packed(n), joined by +, as in"
WINDOW = "window(w) takes a whole number of keys, w >= 1, as in window(128)"
PADDING = "padding(f) takes a fraction, 0 < f <= 1, as in padding(0.5)"
PACKED = "packed(n) takes a whole number of sequences, n >= 1, as in packed(4)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diagonal", f"mask: cannot read 'diagonal' in 'diagonal'; {GRAMMAR}"),
        ("", f"mask: cannot read '' in ''; {GRAMMAR}"),
        ("causal+", f"mask: cannot read '' in 'causal+'; {GRAMMAR}"),
        ("causal(3)", "mask: cannot read 'causal(3)' in 'causal(3)'; causal takes no argument"),
        ("none()", "mask: cannot read 'none()' in 'none()'; none takes no argument"),
        ("window", f"mask: cannot read 'window' in 'window'; {WINDOW}"),
        ("window(0)", f"mask: cannot read 'window(0)' in 'window(0)'; {WINDOW}"),
        ("window(1.5)", f"mask: cannot read 'window(1.5)' in 'window(1.5)'; {WINDOW}"),
        ("causal+window(x)", f"cannot read 'window(x)' in 'causal+window(x)'; {WINDOW}"),
        ("padding(0)", f"mask: cannot read 'padding(0)' in 'padding(0)'; {PADDING}"),
        ("padding(1.1)", f"mask: cannot read 'padding(1.1)' in 'padding(1.1)'; {PADDING}"),
        ("padding(nan)", f"mask: cannot read 'padding(nan)' in 'padding(nan)'; {PADDING}"),
        ("packed(-1)", f"mask: cannot read 'packed(-1)' in 'packed(-1)'; {PACKED}"),
        ("causal+causal", "mask: causal stands twice in 'causal+causal'; write it once"),
        ("none+causal", "mask: none composes with nothing, found 'none+causal'; drop none"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(WorkloadError) as error:
        MaskSpec.parse(text)
    assert message in str(error.value)


@given(mask=masks(), data=st.data())
@settings(deadline=None, derandomize=True)
def test_an_altered_mask_agrees_with_itself(mask: Mask, data: st.DataObject) -> None:
    settled = data.draw(st.booleans())
    if settled:  # what was worked out for the mask must not be taken for its copy's
        mask.settle()
        _ = mask.is_full
    holes = torch.tensor([data.draw(st.booleans()) for _ in range(mask.kv_len)])
    stop = (mask.stop - data.draw(st.integers(0, 3))).clamp(min=0)
    copy = mask.altered(start=torch.minimum(mask.start, stop), stop=stop, holes=holes)
    keys = torch.arange(mask.kv_len)
    seen = (keys >= mask.start[..., None]) & (keys < stop[..., None]) & ~holes
    assert torch.equal(copy.dense()[:, 0], seen)
    assert copy.pairs() == int(seen.sum()) * mask.heads * (mask.batch // len(seen))
    assert copy.has_empty_rows == bool((~seen.any(-1)).any())
    assert not copy.is_full or bool(seen.all())
    for block in (block for row in copy.kv_blocks(5, 4) for block in row):
        assert not block.full or not bool(holes[block.start : block.stop].any())
    weights = copy.softmax(torch.zeros(mask.batch, mask.heads, mask.q_len, mask.kv_len))
    assert not bool(weights.masked_select(~copy.dense()).any())
    chosen = torch.tensor([mask.q_len - 1])
    assert torch.equal(copy.take(chosen).dense(), copy.dense()[:, :, chosen])
    if mask.bias is not None:
        assert copy.bias is not None
        assert torch.equal(copy.bias, mask.bias)
    assert torch.equal(mask.dense()[:, 0], brute(mask))


def test_a_random_bias_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = Mask(MaskSpec(), 8, 8, heads=2, bias="random")
    whole = mask.bias
    assert whole is not None
    monkeypatch.setattr(torch, "randn", None)
    part = mask.take(torch.tensor([1, 5])).altered(holes=torch.zeros(8, dtype=torch.bool))
    assert part.bias is not None
    assert torch.equal(part.bias, whole[:, :, [1, 5]])
