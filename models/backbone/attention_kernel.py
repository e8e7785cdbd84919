"""Attention to memories as a kernel for GPUs (Triton): some may be empty, queries may be few.

Queries and keys have the model's width, what is gathered may be narrower. One block of queries
stays in shared memory and goes once over keys with a running maximum and sum (Milakov and
Gimelshein 2018; Dao et al. 2022, algorithm 1). Where a GPU has processors for two and more times as
many blocks, each takes a part of the keys, and a second kernel joins what they found.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_KEYS = 64
MOST_PARTS = 8  # of the keys
JOINED = 32  # queries that one block joins


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query, key, value, bias, out, log_sum, queries, scale,
    KEYS: tl.constexpr, WIDTH: tl.constexpr, GATHERED: tl.constexpr, MASKED: tl.constexpr,
    PARTS: tl.constexpr, PART: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One block of queries of one row, over one of PARTS parts of the keys, PART of them.

    scale: includes log2(e), so that exponents have base 2
    out: (PARTS, C, n, V); log_sum: (PARTS, C, n) log2 of the sum of this part's exponentials
    """
    row, part = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    channel, gathered = tl.arange(0, WIDTH), tl.arange(0, GATHERED)
    step = tl.arange(0, BLOCK_K)
    inside = (place < queries)[:, None]
    asked = tl.load(
        query + row * queries * WIDTH + place[:, None] * WIDTH + channel[None, :], inside, 0.0
    )
    key += row * KEYS * WIDTH
    value += row * KEYS * GATHERED
    bias += row * KEYS
    begin = tl.program_id(2) * PART
    highest = tl.full((BLOCK_Q,), -1e30, tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    found = tl.zeros((BLOCK_Q, GATHERED), tl.float32)
    for first in range(0, PART, BLOCK_K):
        at = begin + first + step
        there = at < KEYS
        looked = tl.load(key + at[None, :] * WIDTH + channel[:, None], there[None, :], 0.0)
        score = tl.dot(asked, looked) * scale
        if MASKED:
            score += tl.load(bias + at, there, float("-inf"))[None, :]
        else:
            score = tl.where(there[None, :], score, float("-inf"))
        now = tl.maximum(highest, tl.max(score, 1))
        share = tl.exp2(score - now[:, None])
        fade = tl.exp2(highest - now)
        total = total * fade + tl.sum(share, 1)
        held = tl.load(value + at[:, None] * GATHERED + gathered[None, :], there[:, None], 0.0)
        found = tl.dot(share.to(held.dtype), held, found * fade[:, None])
        highest = now
    nothing = 1e-30 if PARTS > 1 else 0.0  # a part may have none but empty places
    found = found / (total + nothing)[:, None]
    line = (part * tl.num_programs(1) + row) * queries
    at = out + line * GATHERED + place[:, None] * GATHERED + gathered[None, :]
    tl.store(at, found.to(out.dtype.element_ty), inside)
    tl.store(log_sum + line + place, highest + tl.log2(total), place < queries)


@triton.jit  # type: ignore[untyped-decorator]
def _join(  # type: ignore[no-untyped-def]
    found, log_sum, out, queries, PARTS: tl.constexpr, GATHERED: tl.constexpr, BLOCK: tl.constexpr
):
    """What the parts found, weighted by what they summed; both as `_attend` stores them.

    queries: of all rows; out: (C, n, V)
    """
    place = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    gathered, inside = tl.arange(0, GATHERED), place < queries
    highest = tl.full((BLOCK,), float("-inf"), tl.float32)
    for part in range(PARTS):
        highest = tl.maximum(highest, tl.load(log_sum + part * queries + place, inside, 0.0))
    total = tl.zeros((BLOCK,), tl.float32)
    joined = tl.zeros((BLOCK, GATHERED), tl.float32)
    for part in range(PARTS):
        line = part * queries + place
        weight = tl.exp2(tl.load(log_sum + line, inside, 0.0) - highest)
        at = found + line[:, None] * GATHERED + gathered[None, :]
        joined += weight[:, None] * tl.load(at, inside[:, None], 0.0)
        total += weight
    joined = joined / total[:, None]
    at = out + place[:, None] * GATHERED + gathered[None, :]
    tl.store(at, joined.to(out.dtype.element_ty), inside[:, None])


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax of the scaled scores and the bias, times the values.

    query: (C, n, D); key: (C, N, D); value: (C, N, V), bf16; bias: (C, 1, N) float, 0 or minus
    infinity, not all of it; returns (C, n, V) bf16. D and V are powers of two, D at most 256.
    """
    query, key, value = (one.contiguous() for one in (query, key, value))
    rows, queries, width = query.shape
    keys, gathered = value.shape[1:]
    block, warps, stages = (128, 8, 3) if gathered < width else (64, 4, 2)  # as memory allows
    blocks = triton.cdiv(queries, block)
    parts = min(max(_processors(query.device) // (rows * blocks), 1), MOST_PARTS)
    part = triton.cdiv(triton.cdiv(keys, BLOCK_KEYS), parts) * BLOCK_KEYS
    out = query.new_empty(rows, queries, gathered)
    found = out if parts == 1 else out.new_empty(parts, *out.shape, dtype=torch.float32)
    log_sum = out.new_empty(parts, rows, queries, dtype=torch.float32)
    _attend[blocks, rows, parts](
        query, key, value, query if bias is None else bias.contiguous(), found, log_sum,
        queries, math.log2(math.e) / math.sqrt(width),
        KEYS=keys, WIDTH=width, GATHERED=gathered, MASKED=bias is not None,
        PARTS=parts, PART=part, BLOCK_Q=block, BLOCK_K=BLOCK_KEYS,
        num_warps=warps, num_stages=stages,
    )  # fmt: skip
    if parts > 1:
        every = rows * queries
        _join[(triton.cdiv(every, JOINED),)](
            found, log_sum, out, every, PARTS=parts, GATHERED=gathered, BLOCK=JOINED
        )
    return out


def _processors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
