"""A name per instrument: the annotated frames' regions as exemplars, a vote along each track.

Not in the paper; docs/method.md has what it is worth. An instance (`instances.py`) is described by
the instance head and compared with the regions of the annotated frames; its track (`tracks.py`)
averages what its frames said. The mask decoder's rows still say what is instrument, beside the
head; what they think of a name no longer counts, it made names worse. An instance like none of the
exemplars, or whose likeliest name is not likely enough, gets none and is drawn as of unknown kind;
a small region of which the head is nowhere sure is no instrument (`small_regions.py`): so absent
classes stay absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone.prediction import Prediction
from models.backbone.sam2 import DecodedMasks
from models.instances.assignment import joint_shares
from models.instances.exemplars import Exemplars
from models.instances.instance_head import EMBEDDING, HeadOutput, InstanceHead
from models.instances.labeler import Labeler
from models.instances.small_regions import STRICT, Mask, RegionRule, SmallRegions
from models.instances.tracks import NOBODY, Instances, InstanceTracks, TrackState
from models.instances.vote_grouping import Float, Labels, group_votes

MAX_EXEMPLARS = 256  # regions of annotated frames that a profile keeps
CONFIDENCE = (0.68, 0.44, -1.88)  # logit of the name, log of pixels, constant; from 24 procedures
TWIN_COST = 0.5  # of a second instrument of one kind, if annotated frames never show two
UNSURE = -10.0  # logits are cut off here, both ways


def embed_regions(head: InstanceHead, head_output: HeadOutput, label: Labels, count: int) -> Tensor:
    """Descriptions of the instances 1 to K of one frame, (K, D). label: (4h, 4w)"""
    places = torch.from_numpy(label).to(head_output.texture.device)
    numbers = torch.arange(1, count + 1, device=places.device)[:, None, None]
    region = F.avg_pool2d((places[None] == numbers).float()[:, None], 2)[:, 0]
    return head.embed(head_output.texture[0], head_output.attention[0], region)


def frame_exemplars(head: InstanceHead, head_output: HeadOutput, mask: Tensor) -> Exemplars:
    """The regions of one annotated frame. head_output: of it; mask: (C, S, S) 0 or 1"""
    cover = F.adaptive_avg_pool2d(mask.float(), head_output.vote.shape[-1]).cpu()
    vote = head_output.vote[0].cpu().numpy()
    embedding, rows = [], []
    for row, shown in enumerate(cover):
        regions = group_votes((shown > 0.5).numpy(), vote)
        if len(regions.centre):
            embedding.append(embed_regions(head, head_output, regions.label, len(regions.centre)))
            rows += [row] * len(regions.centre)
    empty = torch.zeros(0, EMBEDDING, device=head_output.vote.device)
    alone = float(len(rows) == len(set(rows)))
    return Exemplars(torch.cat([empty, *embedding]), torch.tensor(rows, dtype=torch.long), alone)


def joined(each: list[Exemplars]) -> Exemplars:
    """The exemplars of several frames, an even choice of them if there are very many."""
    embedding = torch.cat([one.embedding for one in each])
    row = torch.cat([one.row for one in each])
    step = -(-len(row) // MAX_EXEMPLARS) or 1
    kept, names = embedding[::step].contiguous(), row[::step].contiguous()
    alone = float(np.mean([one.alone for one in each])) if each else 1.0
    return Exemplars(kept, names, alone)


@dataclass(frozen=True)
class ClassifierState:
    """State of an `InstanceClassifier`. believed: (H, W) where instruments were"""

    tracks: TrackState
    believed: Mask | None


class InstanceClassifier(Labeler[ClassifierState]):
    """Names the instances of one stream, frame by frame."""

    def __init__(
        self,
        head: InstanceHead,
        exemplars: Exemplars,
        classes: int,
        head_weight: float = 1.0,
        rule: RegionRule = STRICT,
    ) -> None:
        """head_weight: of the head's opinion of what is instrument, beside the memory path's

        rule: for small regions
        """
        self.head, self.exemplars = head, exemplars
        self.residual: Tensor | None = None  # (C, D), what lessons add to the evidence
        self._classes, self._head_weight = classes, head_weight
        self._tracks, self._small_regions = InstanceTracks(), SmallRegions(rule)

    def reset(self) -> None:
        """Forget the stream."""
        self._tracks.reset()
        self._small_regions.reset()

    def snapshot(self) -> ClassifierState:
        """The stream as it stands, to be gone on from later."""
        return ClassifierState(self._tracks.snapshot(), self._small_regions.believed)

    def restore(self, state: ClassifierState) -> None:
        """Go on from there."""
        self._tracks.restore(state.tracks)
        self._small_regions.believed = state.believed

    def predict(self, head_output: HeadOutput) -> Prediction:
        """A frame as the head alone sees it."""
        own = head_output.instrument[0, 0].clamp(UNSURE, -UNSURE)
        instrument = self._small_regions.filtered(own, own)
        if self._classes == 1:
            return _one_class(instrument, expected_dsc(instrument)[None])
        return self._named(head_output, instrument)

    def _label(self, head_output: HeadOutput, decoded: DecodedMasks) -> Prediction:
        instrument = decoded.gated()[:, 0].clamp(UNSURE, -UNSURE).amax(dim=0)
        if self._head_weight > 0:
            own = head_output.instrument[0, 0].clamp(UNSURE, -UNSURE)
            mixed = instrument + self._head_weight * (own - instrument)
            instrument = self._small_regions.filtered(mixed, own)
        if self._classes == 1:
            found = _one_class(instrument, Prediction.of(decoded).raw)
        else:
            found = self._named(head_output, instrument)
        shown = found.object_logit > 0
        object_logit = torch.where(shown, decoded.object_logit.clamp_min(0.1), -1.0)
        return replace(found, object_logit=object_logit)

    def _named(self, head_output: HeadOutput, instrument: Tensor) -> Prediction:
        """Each instance has its track's name, or none. instrument: (H, W) logits"""
        regions = group_votes((instrument > 0).cpu().numpy(), head_output.vote[0].cpu().numpy())
        count = len(regions.centre)
        embedding = embed_regions(self.head, head_output, regions.label, count)
        area = np.bincount(regions.label.ravel(), minlength=count + 1)[1:]
        seen = Instances(regions.centre, embedding.cpu().numpy(), area)
        log_shares = self.exemplars.log_shares(embedding, self._classes, self.residual)
        evidence = log_shares.cpu().numpy()
        if not np.isfinite(evidence).all():
            evidence = np.zeros_like(evidence)
            instrument = torch.full_like(instrument, float("nan"))  # nothing may hide it
        mean = self._tracks.step(seen, evidence)
        alone = TWIN_COST * self.exemplars.alone
        shares = joint_shares(mean, area, alone)[:, : self._classes]
        return _painted(instrument, regions.label, self._tracks.name(shares), shares)


def expected_dsc(instrument: Tensor) -> Tensor:
    """DSC of the mask with what its own probabilities say is there. (H, W) logits -> scalar"""
    mask, probability = instrument > 0, instrument.sigmoid()
    size = mask.sum() + probability.sum()
    return 2 * (probability * mask).sum() / size.clamp_min(1e-6)


def _one_class(instrument: Tensor, raw: Tensor) -> Prediction:
    shown = (instrument > 0).any()
    return Prediction(instrument[None, None], torch.where(shown, 1.0, -1.0)[None], raw)


def _painted(instrument: Tensor, label: Labels, names: Labels, shares: Float) -> Prediction:
    """instrument: (H, W) logits; label: (H, W) 0 or an instance; names: (K,); shares: (K, C)"""
    rows = shares.shape[1]
    # A row of the answer each, one more for what has no name, and one that is nobody's.
    row_of = np.concatenate([[rows + 1], np.where(names == NOBODY, rows, names)])
    regions = torch.from_numpy(label).to(instrument.device)
    row = torch.from_numpy(row_of).to(instrument.device)[regions]  # (H, W)
    own = row[None] == torch.arange(rows + 1, device=row.device)[:, None, None]
    logits = torch.where(own, instrument, -instrument.abs() - 1)
    shown = own[:rows].flatten(1).any(dim=1)
    share = np.concatenate([[0.0], np.take_along_axis(shares, names[:, None], axis=1)[:, 0]])
    raw = _raw_confidence(own[:rows], torch.from_numpy(share).float().to(row.device)[regions])
    return Prediction(logits[:rows, None], torch.where(shown, 1.0, -1.0), raw, logits[rows:])


def _raw_confidence(own: Tensor, share: Tensor) -> Tensor:
    """An estimate of each row's DSC from how sure its name is and how large it is. (C,)

    own: (C, H, W) bool; share: (H, W) of the class that is named
    """
    area = own.sum(dim=(1, 2)).clamp_min(1)
    name = ((share * own).sum(dim=(1, 2)) / area).clamp(1e-3, 1 - 1e-3)
    by_name, by_size, constant = CONFIDENCE
    return (by_name * name.logit() + by_size * area.log() + constant).sigmoid()
