"""Attention to memories as a kernel for GPUs (Triton): some may be empty, queries may be few.

Queries and keys have the model's width, what is gathered may be narrower. One block of queries
stays in shared memory and goes once over keys with a running maximum and sum (Milakov and
Gimelshein 2018; Dao et al. 2022, algorithm 1). Where there are fewer blocks than a GPU has
processors, several of them share a block's keys, and a second kernel joins what they found.
"""

from __future__ import annotations

import functools
import math

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_KEYS = 64
MOST_SHARES = 8  # of the keys of one block
JOINED = 32  # queries that one block joins
PROCESSORS = 132  # of an H100 or H200: where there is no device to ask


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query, key, value, bias, out, level, queries, scale,
    KEYS: tl.constexpr, WIDTH: tl.constexpr, GATHERED: tl.constexpr, MASKED: tl.constexpr,
    SHARE: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One block of queries of one row, over SHARE of its keys.

    scale: includes log2(e), so that exponents have base 2; level: log2 of the sum of all shares
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
    begin = tl.program_id(2) * SHARE
    highest = tl.full((BLOCK_Q,), -1e30, tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    found = tl.zeros((BLOCK_Q, GATHERED), tl.float32)
    for first in range(0, SHARE, BLOCK_K):
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
    found = found / tl.maximum(total, 1e-30)[:, None]
    line = (part * tl.num_programs(1) + row) * queries
    at = out + line * GATHERED + place[:, None] * GATHERED + gathered[None, :]
    tl.store(at, found.to(out.dtype.element_ty), inside)
    tl.store(level + line + place, highest + tl.log2(total), place < queries)


@triton.jit  # type: ignore[untyped-decorator]
def _join(  # type: ignore[no-untyped-def]
    found, level, out, queries, PARTS: tl.constexpr, GATHERED: tl.constexpr, BLOCK: tl.constexpr
):
    """What the parts found, weighted by what they summed. queries: of all rows"""
    place = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    gathered, inside = tl.arange(0, GATHERED), place < queries
    highest = tl.full((BLOCK,), float("-inf"), tl.float32)
    for part in range(PARTS):
        highest = tl.maximum(highest, tl.load(level + part * queries + place, inside, 0.0))
    total = tl.zeros((BLOCK,), tl.float32)
    joined = tl.zeros((BLOCK, GATHERED), tl.float32)
    for part in range(PARTS):
        line = part * queries + place
        weight = tl.exp2(tl.load(level + line, inside, 0.0) - highest)
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
    parts = min(max(_processors() // (rows * blocks), 1), MOST_SHARES)
    share = triton.cdiv(triton.cdiv(keys, BLOCK_KEYS), parts) * BLOCK_KEYS
    out = query.new_empty(rows, queries, gathered)
    found = out if parts == 1 else out.new_empty(parts, *out.shape, dtype=torch.float32)
    level = out.new_empty(parts, rows, queries, dtype=torch.float32)
    _attend[blocks, rows, parts](
        query, key, value, query if bias is None else bias.contiguous(), found, level,
        queries, math.log2(math.e) / math.sqrt(width),
        KEYS=keys, WIDTH=width, GATHERED=gathered, MASKED=bias is not None,
        SHARE=share, BLOCK_Q=block, BLOCK_K=BLOCK_KEYS, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    if parts > 1:
        every = rows * queries
        _join[(triton.cdiv(every, JOINED),)](
            found, level, out, every, PARTS=parts, GATHERED=gathered, BLOCK=JOINED
        )
    return out


@functools.cache
def _processors() -> int:
    if not torch.cuda.is_available():
        return PROCESSORS
    return int(torch.cuda.get_device_properties(0).multi_processor_count)
