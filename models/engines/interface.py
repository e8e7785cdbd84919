"""The interface that a tracker runs on."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from models.backbone.memory_attention import BankTensors
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.config import BackboneConfig
from models.instances.instance_head import HeadOutput

FEW = 4  # rows; what only the rows that learn go through is compiled for 1 to 4 of them, and C
Sight = Callable[[Tensor], tuple[ImageFeatures, HeadOutput]]  # of one normalised image
Function = Callable[..., tuple[Tensor, ...]]  # what it returns, the caller may keep
Found = TypeVar("Found")
Step = Callable[..., Found]  # returns tensors, or dataclasses or tuples of them; likewise
ENGINES = ("auto", "torch", "onnx", "cuda_graph", "tensorrt")


class Engine(Protocol):
    """The network's functions; `Backbone` (backbone/sam2.py) has the shapes and is one itself."""

    config: BackboneConfig
    own_threads: bool  # does it bring threads of its own, beside torch's?
    own_pictures: bool  # does it resize pictures and draw classes where it is, or does OpenCV?
    keeps_keys: bool  # does it place memories once, see key_cache.py, or with every frame?

    @property
    def device(self) -> torch.device:
        """Where tensors are expected, and where the stream's state is kept."""

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """Features of one normalised image, (1, 3, S, S)."""

    def attend_memory(self, features: Tensor, bank: BankTensors) -> Tensor:
        """Condition a frame on what each row remembers."""

    def memories_changed(self, bank: BankTensors) -> None:
        """Do now what attend_memory would have to do first, because the bank has changed."""

    def compiled(self, function: nn.Module, *example: Tensor) -> Function:
        """A pure function of such tensors, static in shape, as this engine runs it best."""

    def recorded(self, step: Step[Found], *example: Any) -> Step[Found]:
        """Several of these functions in a row, without a look at a number in between.

        step, example: as it will be called, with tensors or dataclasses of tensors of these shapes;
          what in them is no tensor stays as it is in the example
        """

    def decode_masks(self, conditioned: Tensor, features: ImageFeatures) -> DecodedMasks:
        """Masks, predicted IoU, object score and pointer of each row."""

    def encode_memory(self, features: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        """Memories of a frame with its masks."""

    def attend_own(self, features: Tensor, memory: Tensor, pointer: Tensor) -> Tensor:
        """Condition a frame on its own memories: the mapping network's target."""

    def prompted_pointer(self, features: ImageFeatures, mask: Tensor) -> Tensor:
        """Object pointer of a given mask: for lessons, so no engine makes it fast."""

    @property
    def see_instruments(self) -> Sight | None:
        """encode_image, and the weights' instance head on its features; None: torch runs the head.

        In one, so that an engine need not hand out between them what only the head reads.
        """


@contextlib.contextmanager
def one_pool(engine: Engine) -> Iterator[None]:
    """What torch and numpy do between the functions is small: on one thread beside an engine's own.

    With several pools on the same cores each waits for threads that another keeps awake: with
    torch's two a step took 51 ms and 42 with one; numpy's second went on spinning for up to 60 ms
    after a small product, and the next frame's graphs had one core of two (docs/engines.md).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if engine.own_threads else before)
    try:
        with _NUMPY_ON_ONE_THREAD:
            yield
    finally:
        torch.set_num_threads(before)


class _NumpyOnOneThread:
    """Counted: its pools are the process's, and a frame is prepared while another is answered."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._limit = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limit.enter_context(_numpys_pools().limit(limits=1))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.close()


_NUMPY_ON_ONE_THREAD = _NumpyOnOneThread()


@functools.cache
def _numpys_pools() -> Any:
    return ThreadpoolController().select(user_api="blas")


@dataclass(frozen=True)
class EngineChoice:
    """name: one of ENGINES; precision: of `onnx`, bf16 where the processor has it (None), or f32"""

    name: str = "auto"
    precision: str | None = None
