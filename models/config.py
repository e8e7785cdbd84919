"""Frozen settings: backbones of the SAM2 family, the learner, the memory bank."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackboneConfig:
    """Dimensions of a SAM2-architecture network (SAM2, Ravi et al. 2024; Hiera, Ryali et al. 2023).

    image_size: side of the square input, pixels
    model_width: channels D of the stride-16 feature; memory_width: channels M of a memory
    memories: length of the time code table (one conditioning slot and memories - 1 recent ones)
    multimask: pick the best of three masks on tracked frames, as the official configuration does
    layer_scale: initial ConvNeXt scale in the memory encoder (1e-6 is for fine-tuning)
    """

    name: str
    image_size: int
    embed_dim: int
    num_heads: int
    stages: tuple[int, ...]
    global_blocks: tuple[int, ...]
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    background_size: tuple[int, int] = (7, 7)
    model_width: int = 256
    memory_width: int = 64
    attention_layers: int = 4
    feedforward: int = 2048
    memories: int = 7
    multimask: bool = True
    layer_scale: float = 1e-6
    dropout: float = 0.1

    @property
    def grid(self) -> int:
        """Side of the stride-16 feature map."""
        return self.image_size // 16

    def resized(self, image_size: int) -> BackboneConfig:
        """The same network at another input size."""
        from dataclasses import replace

        if image_size % 32:
            raise ValueError(f"image size must be a multiple of 32, got {image_size}")
        return replace(self, image_size=image_size)


NANO = BackboneConfig(
    name="nano",
    image_size=256,
    embed_dim=32,
    num_heads=1,
    stages=(1, 2, 5, 1),
    global_blocks=(4, 6),
    window_spec=(8, 4, 16, 8),
    model_width=128,
    attention_layers=2,
    feedforward=512,
    memories=4,
    multimask=False,
    layer_scale=0.1,
    dropout=0.0,
)
TINY = BackboneConfig("tiny", 1024, 96, 1, (1, 2, 7, 2), (5, 7, 9))
SMALL = BackboneConfig("small", 1024, 96, 1, (1, 2, 11, 2), (7, 10, 13))
BASE_PLUS = BackboneConfig(
    "base_plus", 1024, 112, 2, (2, 3, 16, 3), (12, 16, 20), background_size=(14, 14)
)
LARGE = BackboneConfig(
    "large", 1024, 144, 2, (2, 6, 36, 4), (23, 33, 43), window_spec=(8, 4, 16, 8)
)
BACKBONES = {config.name: config for config in (NANO, TINY, SMALL, BASE_PLUS, LARGE)}

EMBEDDED_PROFILES = ("instrument", "phantom")  # those that come with the package, by name


@dataclass(frozen=True)
class LearnerConfig:
    """Choices of the online few-shot learner (OFL-SAM2, arXiv 2512.24861); see docs/method.md.

    kernel: side of the mapping network's one convolution, 1 or 3
    context: window sides, in tokens, whose average is appended to a token's feature
    color: append mean and spread of the RGB values under a token
    ridge: weight of the squared norm in the mapping network's objective
    online_iterations: steepest-descent steps per confident frame
    gamma: confidence from which a frame updates memory bank and mapping network
    decay: share of the recent statistics that a confident frame replaces
    support_weight: least share of the total weight that the annotated samples keep
    tolerance: relative rise of the support loss that the guard lets pass
    """

    kernel: int = 1
    context: tuple[int, ...] = (5, 13)
    color: bool = True
    ridge: float = 1e-3
    online_iterations: int = 5
    gamma: float = 0.8
    decay: float = 0.1
    support_weight: float = 0.5
    tolerance: float = 0.05


@dataclass(frozen=True)
class MemoryConfig:
    """Sizes of the memory bank.

    support: K entries per class from annotated frames; they stay
    recent: length of the ring of confident frames; None means all the time codes there are
    max_pointer_distance: object pointers' time codes are clamped to this many frames
    """

    support: int = 2
    recent: int | None = None
    max_pointer_distance: int = 15

    def recent_for(self, backbone: BackboneConfig) -> int:
        """Length of the ring for this backbone."""
        limit = backbone.memories - 1
        return limit if self.recent is None else min(self.recent, limit)


PUBLISHED_EPOCHS = 40
ADAPT_STEPS = 80  # a longer training of the instance head was worth no more


@dataclass(frozen=True)
class FitConfig:
    """How a profile is trained.

    epochs: of the fusion, at most; None: none where the gate came pretrained, which so few frames
        only spoil (docs/paper.md), else PUBLISHED_EPOCHS
    patience: epochs without gain after which it ends; rate: AdamW's
    held_out: at most this many frames are left out in turn (all of a few-shot set)
    follow: the one annotated frame shows one instrument per class, and these are followed, no
        others; see mask_follower.py
    instances: held-out frames may choose naming by instance: better names; otherwise pixels are
        named, by the rows
    adapt: steps of each training of the instance head, see adoption.py; 0: it stays as it is
    """

    seed: int = 0
    epochs: int | None = None
    patience: int = 6
    rate: float = 1e-3
    held_out: int = 32
    follow: bool = False
    instances: bool = True
    adapt: int = 0
    progress: bool = False
