"""Instruments followed from one annotated frame in which each class is one instrument.

The instance head's votes say where an instrument is, the rows' memories what it looks like. Each
pixel goes to the row whose instrument's last mean vote is nearest to its own, weighed against the
mask decoder's logits; a pixel far from all of them belongs to nobody, so a newcomer gets no name
that is taken. What is instrument says the head, corrected by what the annotated frame taught it
(`foreground_fit.py`). An instrument out of sight keeps its place for PATIENCE frames; after that
its row's logits alone say where it comes back. Not in the paper; docs/method.md has what it is
worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone.prediction import Prediction
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.instances.foreground_fit import fit_foreground, foreground_shift
from models.instances.instance_head import HeadOutput, InstanceHead
from models.instances.labeler import Labeler
from models.instances.vote_grouping import MIN_AREA, RADIUS

OWN = 0.9  # weight of the instance head's opinion of what is instrument, beside the rows'
OPINION = 0.4  # of the rows' logits, beside the log likelihood of a vote
FAR = 0.4  # a vote farther from a centre than this belongs to somebody else, or nobody
PATIENCE = 12  # frames out of sight after which a place is forgotten
FOUND = 0.5  # DSC of the instance head on the annotated frame, from which it is believed
LIMIT = 10.0  # logits are cut off here, both ways


@torch.no_grad()
def followed_foreground(
    head: InstanceHead, features: ImageFeatures, image: Tensor, shown: Tensor, counted: Tensor
) -> Tensor | None:
    """What the annotated frame teaches the head, by `fit_foreground`.

    None where the head, which has not seen this frame, does not find what is annotated in it: an
    organ is not followed as if it were an instrument. image: (1, 3, S, S); shown: (S, S) 0 or 1
    counted: (S, S), see AnnotatedFrames
    """
    head_output = head(features, image)
    both = torch.stack([shown, counted]).float()[None]
    truth, known = F.adaptive_avg_pool2d(both, head_output.instrument.shape[-1])[0] > 0.5
    found = (head_output.instrument[0, 0] > 0) & known
    if 2 * int((found & truth).sum()) < FOUND * int(found.sum() + truth.sum()):
        return None
    return fit_foreground(head_output, shown, counted)


@dataclass(frozen=True)
class Places:
    """Where C instruments were last. centre: (C, V) mean votes; unseen: (C,) frames since then"""

    centre: Tensor
    unseen: Tensor

    @classmethod
    def unknown(cls, rows: int, votes: int, device: torch.device) -> Places:
        """Of a stream that has not begun."""
        never = torch.full((rows,), PATIENCE + 1, dtype=torch.long, device=device)
        return cls(torch.zeros(rows, votes, device=device), never)

    @property
    def known(self) -> Tensor:
        """(C,) bool"""
        return self.unseen <= PATIENCE

    def owners(self, rows: Tensor, vote: Tensor) -> Tensor:
        """The row that each pixel belongs to, C for nobody. (H, W)

        rows: (C, H, W) logits; vote: (V, H, W)
        """
        if not bool(self.known.any()):
            return rows.argmax(dim=0)
        square = (vote[None] - self.centre[:, :, None, None]).square().sum(dim=1)
        square = square.clamp_max((2 * FAR) ** 2)
        square = torch.where(self.known[:, None, None], square, FAR**2)
        score = OPINION * rows - square / (2 * RADIUS**2)
        nobody = torch.full_like(score[:1], -(FAR**2) / (2 * RADIUS**2))
        return torch.cat([score, nobody]).argmax(dim=0)

    def moved(self, own: Tensor, vote: Tensor) -> Places:
        """After a frame. own: (C, H, W) bool, the pixels of each; vote: (V, H, W)"""
        area = own.sum(dim=(1, 2))
        mean = own.flatten(1).to(vote.dtype) @ vote.flatten(1).T / area.clamp_min(1)[:, None]
        seen = area >= MIN_AREA
        unseen = torch.where(seen, 0, (self.unseen + 1).clamp_max(PATIENCE + 1))
        return Places(torch.where(seen[:, None], mean, self.centre), unseen)


class MaskFollower(Labeler[Places | None]):
    """The instruments of one stream; in the place of `InstanceClassifier`."""

    def __init__(self, head: InstanceHead, rows: int, foreground: Tensor) -> None:
        """foreground: of the annotated frame, by `followed_foreground`"""
        self.head = head
        self._rows, self._foreground = rows, foreground
        self._places: Places | None = None

    def reset(self) -> None:
        """Forget where they were."""
        self._places = None

    def snapshot(self) -> Places | None:
        """Where they are, to be gone on from later."""
        return self._places

    def restore(self, state: Places | None) -> None:
        """Go on from there."""
        self._places = state

    def _label(self, head_output: HeadOutput, decoded: DecodedMasks) -> Prediction:
        vote = head_output.vote[0]
        rows = decoded.gated()[:, 0].clamp(-LIMIT, LIMIT)  # (C, H, W)
        found = head_output.instrument[0, 0].clamp(-LIMIT, LIMIT)
        instrument = OWN * found + (1 - OWN) * rows.amax(dim=0)
        instrument = instrument + foreground_shift(self._foreground, head_output.texture[0])
        places = self._places or Places.unknown(self._rows, len(vote), vote.device)
        owner = places.owners(rows, vote)
        each = torch.arange(self._rows, device=owner.device)[:, None, None]
        own = owner[None] == each
        shown = own & (instrument > 0)
        self._places = places.moved(shown, vote)
        return _shared_out(decoded, instrument, own, shown)


def _shared_out(
    decoded: DecodedMasks, instrument: Tensor, own: Tensor, shown: Tensor
) -> Prediction:
    """instrument: (H, W) logits; own, shown: (C, H, W) bool"""
    logits = torch.where(own, instrument, -instrument.abs() - 1)[:, None]
    there = shown.flatten(1).any(dim=1)
    object_logit = torch.where(there, decoded.object_logit.clamp_min(0.1), -1.0)
    confidence = decoded.iou * object_logit.sigmoid() * there
    return Prediction(logits, object_logit, confidence)
