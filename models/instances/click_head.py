"""The head that turns clicks into a mask; what it sees is in `clicks.py`."""

from __future__ import annotations

from torch import nn

NEAR = (0.02, 0.1)  # radii of a click's neighbourhood, in sides of the picture
MAPS = 1 + 2 * (2 + len(NEAR))  # instrument; for clicks on and off it: vote, looks, nearness
WIDTH = 32


class ClickHead(nn.Sequential):
    """Mask logits from click maps. (B, MAPS, H, W) -> (B, 1, H, W)"""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(MAPS, WIDTH, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=2, dilation=2),
            nn.GELU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=4, dilation=4),
            nn.GELU(),
            nn.Conv2d(WIDTH, 1, 1),
        )
