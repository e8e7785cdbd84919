"""Attention of a frame to what is remembered on a GPU, in bf16, as operators that torch compiles.

A full bank needs no mask, and cuDNN's kernel takes values narrower than keys: on an H200 it reaches
three quarters of a large product's rate (docs/engines.md), if there are queries for all of the GPU.
For few of them, and for a bank that is still partly empty and so needs a mask, torch has no kernel
at that speed: `attention_kernel.py` is ours.
"""

from __future__ import annotations

import functools
import shutil
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, library
from torch.nn.attention import SDPBackend, sdpa_kernel

# The first that can. Flash attention wants values as wide as keys.
ORDER = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
BLOCK, FEW_BLOCKS = 128, 64  # queries in a block of cuDNN's; fewer leave half of a GPU idle
COMPILERS = ("cc", "gcc", "clang")  # Triton builds a small launcher for each kernel


@functools.cache
def why_no_kernels() -> str | None:
    """What our kernels need and is not here; None: nothing."""
    if find_spec("triton") is None:
        return "expected the package triton, it is not installed"
    if not any(map(shutil.which, COMPILERS)):
        return f"expected a C compiler ({', '.join(COMPILERS)}), found none"
    return None


def attend_on_gpu(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """One-head attention. (1 or C, n, D), (C, N, D), (C, N, V) -> (C, n, V), in the values' kind

    bias: (C, 1, N) or none
    """
    half, rows, kind = torch.bfloat16, len(key), value.dtype
    query = query.expand(rows, -1, -1)  # one frame for all rows
    query, key, value = (one.to(half).contiguous() for one in (query, key, value))
    few = query.is_cuda and rows * -(-query.shape[1] // BLOCK) < FEW_BLOCKS
    if bias is None and not few:
        found: Tensor = attend_all(query, key, value)
    else:
        given = None if bias is None else bias.float().contiguous()
        found = attend_some(query, key, value, given)
    return found.to(kind)


@library.custom_op("trocar::attend_all", mutates_args=())
def attend_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """To every key. (C, n, D), (C, N, D), (C, N, V) -> (C, n, V)"""
    with sdpa_kernel(ORDER, set_priority=True):
        found = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])
    return found[:, 0].contiguous()


@library.custom_op("trocar::attend_some", mutates_args=())
def attend_some(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """To keys whose bias, (C, 1, N), is 0; not to those where it is minus infinity. None: all"""
    from models.backbone.attention_kernel import attend

    return attend(query, key, value, bias)


@attend_all.register_fake
def _all_like(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return query.new_empty(*query.shape[:2], value.shape[2])


@attend_some.register_fake
def _some_like(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    return query.new_empty(*query.shape[:2], value.shape[2])
