"""In what precision training computes on a processor."""

from __future__ import annotations

import torch


def training_precision() -> torch.autocast:
    """bf16 where the processor multiplies in it, float32 elsewhere.

    A processor without such products emulates them: encoding a frame then took nine times as long.
    """
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(fast))
