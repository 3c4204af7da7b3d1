"""The Triton kernels of polynomial attention: the output, and the gradients of q and of k and v.

With s = q k^T and a factor c for each row, which holds the norm and scale^degree,

    w = zero_masked(c s^degree)                                  out = w v
    ds = zero_masked(c degree s^(degree - 1) dw), dw = do v^T    dq = ds k, dk = ds^T q, dv = w^T do

No row is normalised, so nothing but q, k and v is kept for the backward pass. It computes the
scores twice, for dq and for dk and dv, so that each gradient is summed by one program, in order.
Importing this file imports Triton, which is optional; a kernel is compiled when first called.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# What Triton compiles has no types but those of the tensors that it is launched with.
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _read(base, strides, batch, head, at, length, width: tl.constexpr, padded: tl.constexpr):
    """Rows `at` of one head's (length, width) matrix, 0 beyond either."""
    features = tl.arange(0, padded)
    base += batch.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[1]
    pointers = base + at[:, None] * strides[2] + features[None, :] * strides[3]
    inside = at[:, None] < length
    if width < padded:
        inside = inside & (features[None, :] < width)
    return tl.load(pointers, mask=inside, other=0.0)


@triton.jit
def _write(base, strides, batch, head, at, length, values, width: tl.constexpr):
    """Put rows `at` of one head's (length, width) matrix."""
    features = tl.arange(0, values.shape[1])
    base += batch.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[1]
    pointers = base + at[:, None] * strides[2] + features[None, :] * strides[3]
    inside = (at[:, None] < length) & (features[None, :] < width)
    tl.store(pointers, values.to(base.dtype.element_ty), mask=inside)


@triton.jit
def polynomial_forward(
    q, k, v, out, start, stop, factor, spans,
    q_strides, k_strides, v_strides, out_strides, row_stride, span_stride,
    heads, q_len, kv_len,
    group: tl.constexpr, degree: tl.constexpr,
    head_dim: tl.constexpr, v_head_dim: tl.constexpr,
    padded: tl.constexpr, v_padded: tl.constexpr,
    block_q: tl.constexpr, block_kv: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one head: out, over the tiles of keys that its rows see."""
    tiles = tl.cdiv(q_len, block_q)
    # Under a causal mask the last tiles see most keys: they start first.
    tile = tiles - 1 - tl.program_id(0) % tiles
    batch, head = tl.program_id(0) // tiles // heads, tl.program_id(0) // tiles % heads
    rows = tile * block_q + tl.arange(0, block_q)
    queries = _read(q, q_strides, batch, head, rows, q_len, head_dim, padded)
    at, real = batch * row_stride + rows, rows < q_len
    first, last = tl.load(start + at, real, other=0), tl.load(stop + at, real, other=0)
    factors = tl.load(factor + at, real, other=0.0)
    spans += batch * span_stride + tile * 4
    inner, outer = tl.load(spans + 2), tl.load(spans + 3)
    total = tl.zeros([block_q, v_padded], dtype=tl.float32)
    for step in range(tl.load(spans), tl.load(spans + 1)):
        columns = step * block_kv + tl.arange(0, block_kv)
        keys = _read(k, k_strides, batch, head // group, columns, kv_len, head_dim, padded)
        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee")
        weights = scores * factors[:, None]
        for _ in tl.static_range(degree - 1):
            weights *= scores
        if (step < inner) | (step >= outer):
            seen = (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None])
            weights = tl.where(seen, weights, 0.0)
        values = _read(v, v_strides, batch, head // group, columns, kv_len, v_head_dim, v_padded)
        total = tl.dot(weights.to(values.dtype), values, total, input_precision="ieee")
    _write(out, out_strides, batch, head, rows, q_len, total, v_head_dim)


@triton.jit
def polynomial_backward_q(
    q, k, v, do, dq, start, stop, factor, spans,
    q_strides, k_strides, v_strides, do_strides, dq_strides, row_stride, span_stride,
    heads, q_len, kv_len,
    group: tl.constexpr, degree: tl.constexpr,
    head_dim: tl.constexpr, v_head_dim: tl.constexpr,
    padded: tl.constexpr, v_padded: tl.constexpr,
    block_q: tl.constexpr, block_kv: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one head: dq, over the tiles of keys that its rows see."""
    tiles = tl.cdiv(q_len, block_q)
    tile = tiles - 1 - tl.program_id(0) % tiles
    batch, head = tl.program_id(0) // tiles // heads, tl.program_id(0) // tiles % heads
    rows = tile * block_q + tl.arange(0, block_q)
    queries = _read(q, q_strides, batch, head, rows, q_len, head_dim, padded)
    upstream = _read(do, do_strides, batch, head, rows, q_len, v_head_dim, v_padded)
    at, real = batch * row_stride + rows, rows < q_len
    first, last = tl.load(start + at, real, other=0), tl.load(stop + at, real, other=0)
    factors = tl.load(factor + at, real, other=0.0) * degree
    spans += batch * span_stride + tile * 4
    inner, outer = tl.load(spans + 2), tl.load(spans + 3)
    total = tl.zeros([block_q, padded], dtype=tl.float32)
    for step in range(tl.load(spans), tl.load(spans + 1)):
        columns = step * block_kv + tl.arange(0, block_kv)
        keys = _read(k, k_strides, batch, head // group, columns, kv_len, head_dim, padded)
        values = _read(v, v_strides, batch, head // group, columns, kv_len, v_head_dim, v_padded)
        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee")
        slopes = tl.dot(upstream, tl.trans(values), input_precision="ieee") * factors[:, None]
        for _ in tl.static_range(degree - 1):
            slopes *= scores
        if (step < inner) | (step >= outer):
            seen = (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None])
            slopes = tl.where(seen, slopes, 0.0)
        total = tl.dot(slopes.to(keys.dtype), keys, total, input_precision="ieee")
    _write(dq, dq_strides, batch, head, rows, q_len, total, head_dim)


@triton.jit
def polynomial_backward_kv(
    q, k, v, do, dk, dv, start, stop, factor, spans,
    q_strides, k_strides, v_strides, do_strides, dk_strides, dv_strides, row_stride, span_stride,
    heads, q_len, kv_len,
    group: tl.constexpr, degree: tl.constexpr,
    head_dim: tl.constexpr, v_head_dim: tl.constexpr,
    padded: tl.constexpr, v_padded: tl.constexpr,
    block_q: tl.constexpr, block_kv: tl.constexpr,
):  # fmt: skip
    """One tile of keys: dk and dv, over the query heads of its group and the tiles that see it."""
    tiles, kv_heads = tl.cdiv(kv_len, block_kv), heads // group
    tile = tl.program_id(0) % tiles
    batch, kv_head = tl.program_id(0) // tiles // kv_heads, tl.program_id(0) // tiles % kv_heads
    columns = tile * block_kv + tl.arange(0, block_kv)
    keys = _read(k, k_strides, batch, kv_head, columns, kv_len, head_dim, padded)
    values = _read(v, v_strides, batch, kv_head, columns, kv_len, v_head_dim, v_padded)
    spans += batch * span_stride + tile * 4
    inner, outer = tl.load(spans + 2), tl.load(spans + 3)
    total_k = tl.zeros([block_kv, padded], dtype=tl.float32)
    total_v = tl.zeros([block_kv, v_padded], dtype=tl.float32)
    for member in range(group):
        head = kv_head * group + member
        for step in range(tl.load(spans), tl.load(spans + 1)):
            rows = step * block_q + tl.arange(0, block_q)
            queries = _read(q, q_strides, batch, head, rows, q_len, head_dim, padded)
            upstream = _read(do, do_strides, batch, head, rows, q_len, v_head_dim, v_padded)
            at, real = batch * row_stride + rows, rows < q_len
            factors = tl.load(factor + at, real, other=0.0)
            # Keys by queries, so that no weights are transposed before they are multiplied.
            scores = tl.dot(keys, tl.trans(queries), input_precision="ieee")
            slopes = tl.dot(values, tl.trans(upstream), input_precision="ieee")
            weights, slopes = scores * factors[None, :], slopes * (factors * degree)[None, :]
            for _ in tl.static_range(degree - 1):
                weights *= scores
                slopes *= scores
            if (step < inner) | (step >= outer):
                first, last = tl.load(start + at, real, other=0), tl.load(stop + at, real, other=0)
                seen = (columns[:, None] >= first[None, :]) & (columns[:, None] < last[None, :])
                weights, slopes = tl.where(seen, weights, 0.0), tl.where(seen, slopes, 0.0)
            total_v = tl.dot(weights.to(upstream.dtype), upstream, total_v, input_precision="ieee")
            total_k = tl.dot(slopes.to(queries.dtype), queries, total_k, input_precision="ieee")
    _write(dk, dk_strides, batch, kv_head, columns, kv_len, total_k, head_dim)
    _write(dv, dv_strides, batch, kv_head, columns, kv_len, total_v, v_head_dim)
