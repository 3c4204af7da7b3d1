"""The Triton kernels of polynomial attention: the output, and the gradients of q and of k and v.

With s = q k^T and a coefficient c of each row, which holds the norm and scale^degree,

    w = c s^degree,                      out = zero_masked(w) v
    ds = c degree s^(degree - 1) dw,     dw = do v^T, zero where masked
    dq = ds k,     dk = ds^T q,     dv = w^T do

No row is normalised, so nothing but q, k and v is kept for the backward pass, which computes the
scores again, twice: dk and dv go through the queries of a tile of keys, and are summed in order.
Compiled when first called: importing this file imports Triton, which is optional.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _power(scores, degree: tl.constexpr):
    product = scores
    for _ in tl.static_range(degree - 1):
        product *= scores
    return product


@triton.jit
def _slope(scores, degree: tl.constexpr):
    """The derivative of scores^degree."""
    if degree == 1:
        return tl.full(scores.shape, 1.0, tl.float32)
    else:  # noqa: RET505 - Triton takes a return of two types only where the branch is known
        return degree * _power(scores, degree - 1)


@triton.jit
def _product(left, right, total, widen: tl.constexpr):
    """Total + left right, summed in float32, with no rounding of float32 to TF32."""
    if widen:
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, total, input_precision="ieee")


@triton.jit
def _rows(base, strides, batch, head):
    """Where the (length, feature) matrix of one head begins."""
    return base + batch.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[1]


@triton.jit
def _read(base, strides, at, length, width: tl.constexpr, padded: tl.constexpr):
    """Rows of a matrix, 0 beyond its length and beyond its features."""
    features = tl.arange(0, padded)
    pointers = base + at[:, None] * strides[2] + features[None, :] * strides[3]
    inside = at[:, None] < length
    if width < padded:
        inside = inside & (features[None, :] < width)
    return tl.load(pointers, mask=inside, other=0.0)


@triton.jit
def _write(base, strides, at, length, values, width: tl.constexpr, padded: tl.constexpr):
    features = tl.arange(0, padded)
    pointers = base + at[:, None] * strides[2] + features[None, :] * strides[3]
    inside = (at[:, None] < length) & (features[None, :] < width)
    tl.store(pointers, values.to(base.dtype.element_ty), mask=inside)


@triton.jit
def forward(
    q, k, v, out, start, stop, coefficient, spans,
    q_strides, k_strides, v_strides, out_strides, row_stride, span_stride,
    heads, q_len, kv_len,
    group: tl.constexpr, degree: tl.constexpr, widen: tl.constexpr,
    head_dim: tl.constexpr, v_head_dim: tl.constexpr,
    padded: tl.constexpr, v_padded: tl.constexpr,
    block_q: tl.constexpr, block_kv: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one head: out, over the tiles of keys that its rows see."""
    tiles = tl.cdiv(q_len, block_q)
    # Under a causal mask the last tiles see most keys: they start first.
    tile = tiles - 1 - tl.program_id(0) % tiles
    batch, head = tl.program_id(0) // tiles // heads, tl.program_id(0) // tiles % heads
    k, v = _rows(k, k_strides, batch, head // group), _rows(v, v_strides, batch, head // group)
    rows = tile * block_q + tl.arange(0, block_q)
    queries = _read(_rows(q, q_strides, batch, head), q_strides, rows, q_len, head_dim, padded)
    at, real = batch * row_stride + rows, rows < q_len
    first, last = tl.load(start + at, real, other=0), tl.load(stop + at, real, other=0)
    factor = tl.load(coefficient + at, real, other=0.0)
    spans += batch * span_stride + tile * 4
    inner, outer = tl.load(spans + 2), tl.load(spans + 3)
    total = tl.zeros([block_q, v_padded], dtype=tl.float32)
    for step in range(tl.load(spans), tl.load(spans + 1)):
        columns = step * block_kv + tl.arange(0, block_kv)
        keys = _read(k, k_strides, columns, kv_len, head_dim, padded)
        scores = _product(queries, tl.trans(keys), None, widen)
        weights = _power(scores, degree) * factor[:, None]
        if (step < inner) | (step >= outer):
            seen = (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None])
            weights = tl.where(seen, weights, 0.0)
        values = _read(v, v_strides, columns, kv_len, v_head_dim, v_padded)
        total = _product(weights.to(values.dtype), values, total, widen)
    out = _rows(out, out_strides, batch, head)
    _write(out, out_strides, rows, q_len, total, v_head_dim, v_padded)


@triton.jit
def backward_q(
    q, k, v, do, dq, start, stop, coefficient, spans,
    q_strides, k_strides, v_strides, do_strides, dq_strides, row_stride, span_stride,
    heads, q_len, kv_len,
    group: tl.constexpr, degree: tl.constexpr, widen: tl.constexpr,
    head_dim: tl.constexpr, v_head_dim: tl.constexpr,
    padded: tl.constexpr, v_padded: tl.constexpr,
    block_q: tl.constexpr, block_kv: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one head: dq, over the tiles of keys that its rows see."""
    tiles = tl.cdiv(q_len, block_q)
    tile = tiles - 1 - tl.program_id(0) % tiles
    batch, head = tl.program_id(0) // tiles // heads, tl.program_id(0) // tiles % heads
    k, v = _rows(k, k_strides, batch, head // group), _rows(v, v_strides, batch, head // group)
    rows = tile * block_q + tl.arange(0, block_q)
    queries = _read(_rows(q, q_strides, batch, head), q_strides, rows, q_len, head_dim, padded)
    do = _rows(do, do_strides, batch, head)
    upstream = _read(do, do_strides, rows, q_len, v_head_dim, v_padded)
    at, real = batch * row_stride + rows, rows < q_len
    first, last = tl.load(start + at, real, other=0), tl.load(stop + at, real, other=0)
    factor = tl.load(coefficient + at, real, other=0.0)
    spans += batch * span_stride + tile * 4
    inner, outer = tl.load(spans + 2), tl.load(spans + 3)
    total = tl.zeros([block_q, padded], dtype=tl.float32)
    for step in range(tl.load(spans), tl.load(spans + 1)):
        columns = step * block_kv + tl.arange(0, block_kv)
        keys = _read(k, k_strides, columns, kv_len, head_dim, padded)
        values = _read(v, v_strides, columns, kv_len, v_head_dim, v_padded)
        scores = _product(queries, tl.trans(keys), None, widen)
        slopes = _product(upstream, tl.trans(values), None, widen)
        slopes *= _slope(scores, degree) * factor[:, None]
        if (step < inner) | (step >= outer):
            seen = (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None])
            slopes = tl.where(seen, slopes, 0.0)
        total = _product(slopes.to(keys.dtype), keys, total, widen)
    dq = _rows(dq, dq_strides, batch, head)
    _write(dq, dq_strides, rows, q_len, total, head_dim, padded)


@triton.jit
def backward_kv(
    q, k, v, do, dk, dv, start, stop, coefficient, spans,
    q_strides, k_strides, v_strides, do_strides, dk_strides, dv_strides, row_stride, span_stride,
    heads, q_len, kv_len,
    group: tl.constexpr, degree: tl.constexpr, widen: tl.constexpr,
    head_dim: tl.constexpr, v_head_dim: tl.constexpr,
    padded: tl.constexpr, v_padded: tl.constexpr,
    block_q: tl.constexpr, block_kv: tl.constexpr,
):  # fmt: skip
    """One tile of keys: dk and dv, over the query heads of its group and the tiles that see it."""
    tiles, kv_heads = tl.cdiv(kv_len, block_kv), heads // group
    tile = tl.program_id(0) % tiles
    batch, kv_head = tl.program_id(0) // tiles // kv_heads, tl.program_id(0) // tiles % kv_heads
    columns = tile * block_kv + tl.arange(0, block_kv)
    k, v = _rows(k, k_strides, batch, kv_head), _rows(v, v_strides, batch, kv_head)
    keys = _read(k, k_strides, columns, kv_len, head_dim, padded)
    values = _read(v, v_strides, columns, kv_len, v_head_dim, v_padded)
    spans += batch * span_stride + tile * 4
    inner, outer = tl.load(spans + 2), tl.load(spans + 3)
    total_k = tl.zeros([block_kv, padded], dtype=tl.float32)
    total_v = tl.zeros([block_kv, v_padded], dtype=tl.float32)
    for member in range(group):
        head = kv_head * group + member
        q_head, do_head = _rows(q, q_strides, batch, head), _rows(do, do_strides, batch, head)
        for step in range(tl.load(spans), tl.load(spans + 1)):
            rows = step * block_q + tl.arange(0, block_q)
            queries = _read(q_head, q_strides, rows, q_len, head_dim, padded)
            upstream = _read(do_head, do_strides, rows, q_len, v_head_dim, v_padded)
            at, real = batch * row_stride + rows, rows < q_len
            factor = tl.load(coefficient + at, real, other=0.0)
            # Transposed, keys by queries: so no tile is transposed before it is multiplied.
            scores = _product(keys, tl.trans(queries), None, widen)
            weights = _power(scores, degree) * factor[None, :]
            slopes = _product(values, tl.trans(upstream), None, widen)
            slopes *= _slope(scores, degree) * factor[None, :]
            if (step < inner) | (step >= outer):
                first, last = tl.load(start + at, real, other=0), tl.load(stop + at, real, other=0)
                seen = (columns[:, None] >= first[None, :]) & (columns[:, None] < last[None, :])
                weights, slopes = tl.where(seen, weights, 0.0), tl.where(seen, slopes, 0.0)
            total_v = _product(weights.to(upstream.dtype), upstream, total_v, widen)
            total_k = _product(slopes.to(queries.dtype), queries, total_k, widen)
    dk, dv = _rows(dk, dk_strides, batch, kv_head), _rows(dv, dv_strides, batch, kv_head)
    _write(dk, dk_strides, columns, kv_len, total_k, head_dim, padded)
    _write(dv, dv_strides, columns, kv_len, total_v, v_head_dim, v_padded)
