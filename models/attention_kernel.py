"""Attention to memories of which some are empty, as one kernel for GPUs (Triton).

Queries and keys have the model's width, what is gathered only a memory's, a quarter of it. One
block of queries stays in shared memory and goes once over all keys with a running maximum and sum
(Milakov and Gimelshein 2018; Dao et al. 2022, algorithm 1).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_KEYS, STAGES = 64, 3
LARGE_BLOCK, SMALL_BLOCK = (128, 8), (64, 4)  # queries and warps
FEW_BLOCKS = 96  # fewer large blocks than this leave too much of a GPU idle


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query, key, value, bias, out, queries, scale,
    KEYS: tl.constexpr, WIDTH: tl.constexpr, GATHERED: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One block of queries of one row. scale: includes log2(e), so that exponents have base 2"""
    row = tl.program_id(1).to(tl.int64)
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
    highest = tl.full((BLOCK_Q,), -1e30, tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    found = tl.zeros((BLOCK_Q, GATHERED), tl.float32)
    for first in range(0, KEYS, BLOCK_K):
        at = first + step
        there = at < KEYS
        looked = tl.load(key + at[None, :] * WIDTH + channel[:, None], there[None, :], 0.0)
        allowed = tl.load(bias + at, there, float("-inf"))
        score = tl.dot(asked, looked) * scale + allowed[None, :]
        now = tl.maximum(highest, tl.max(score, 1))
        share = tl.exp2(score - now[:, None])
        fade = tl.exp2(highest - now)
        total = total * fade + tl.sum(share, 1)
        held = tl.load(value + at[:, None] * GATHERED + gathered[None, :], there[:, None], 0.0)
        found = tl.dot(share.to(held.dtype), held, found * fade[:, None])
        highest = now
    found = found / total[:, None]
    at = out + row * queries * GATHERED + place[:, None] * GATHERED + gathered[None, :]
    tl.store(at, found.to(out.dtype.element_ty), inside)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Softmax of the scaled scores and the bias, times the values.

    query: (C, n, D); key: (C, N, D); value: (C, N, V), bf16; bias: (C, 1, N) float, 0 or minus
    infinity, not all of it; returns (C, n, V) bf16. D and V are powers of two.
    """
    query, key, value, bias = (one.contiguous() for one in (query, key, value, bias))
    rows, queries, width = query.shape
    keys, gathered = value.shape[1:]
    out = torch.empty(rows, queries, gathered, dtype=query.dtype, device=query.device)
    few = rows * triton.cdiv(queries, LARGE_BLOCK[0]) < FEW_BLOCKS
    block, warps = SMALL_BLOCK if few else LARGE_BLOCK
    grid = (triton.cdiv(queries, block), rows)
    _attend[grid](
        query, key, value, bias, out, queries, math.log2(math.e) / math.sqrt(width),
        KEYS=keys, WIDTH=width, GATHERED=gathered, BLOCK_Q=block, BLOCK_K=BLOCK_KEYS,
        num_warps=warps, num_stages=STAGES,
    )  # fmt: skip
    return out
