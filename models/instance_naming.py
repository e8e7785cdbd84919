"""A name per instrument: the annotated frames' regions as references, a vote along each track.

Not in the paper; docs/method.md has what it is worth. An instance (`instances.py`) is described by
the parting head and compared with the regions of the annotated frames; its track (`tracks.py`)
averages what its frames said. The mask decoder's rows still say what is instrument, beside the
head; what they think of a name no longer counts, it made names worse. An instance like none of the
references, or whose likeliest name is not likely enough, gets none and is drawn as of unknown kind;
a small region of which the head is nowhere sure is no instrument (`specks.py`): so absent classes
stay absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.answering import Answer
from models.assignment import joint_shares
from models.backbone import DecodedMasks, ImageFeatures
from models.instances import Float, Labels, part_votes
from models.namer import Named, Namer
from models.parting import DESCRIPTION, PartedFrame, PartingHead
from models.references import Recent, References
from models.specks import STRICT, Mask, SpeckRule, Specks
from models.tracks import NOBODY, Instances, InstanceTracks, TrackState

MAX_REFERENCES = 256  # regions of annotated frames that a profile keeps
CONFIDENCE = (0.68, 0.44, -1.88)  # logit of the name, log of pixels, constant; from 24 procedures
TWIN_COST = 0.5  # of a second instrument of one kind, if annotated frames never show two
UNSURE = -10.0  # logits are cut off here, both ways


def describe_regions(head: PartingHead, parted: PartedFrame, label: Labels, count: int) -> Tensor:
    """Descriptions of the instances 1 to K of one frame, (K, D). label: (4h, 4w)"""
    places = torch.from_numpy(label).to(parted.texture.device)
    numbers = torch.arange(1, count + 1, device=places.device)[:, None, None]
    region = F.avg_pool2d((places[None] == numbers).float()[:, None], 2)[:, 0]
    return head.describe(parted.texture[0], parted.attention[0], region)


def frame_references(
    head: PartingHead, features: ImageFeatures, image: Tensor, mask: Tensor
) -> References:
    """The regions of one annotated frame. mask: (C, S, S) 0 or 1"""
    parted = head(features, image)
    cover = F.adaptive_avg_pool2d(mask.float(), parted.vote.shape[-1])
    vote = parted.vote[0].numpy()
    described, rows = [], []
    for row, shown in enumerate(cover):
        regions = part_votes((shown > 0.5).numpy(), vote)
        if len(regions.centre):
            described.append(describe_regions(head, parted, regions.label, len(regions.centre)))
            rows += [row] * len(regions.centre)
    empty = torch.zeros(0, DESCRIPTION)
    alone = float(len(rows) == len(set(rows)))
    return References(torch.cat([empty, *described]), torch.tensor(rows, dtype=torch.long), alone)


def joined(each: list[References], found_weight: float) -> References:
    """The references of several frames, an even choice of them if there are very many."""
    description = torch.cat([one.description for one in each])
    row = torch.cat([one.row for one in each])
    step = -(-len(row) // MAX_REFERENCES) or 1
    kept, names = description[::step].contiguous(), row[::step].contiguous()
    alone = float(np.mean([one.alone for one in each])) if each else 1.0
    return References(kept, names, alone, found_weight)


@dataclass(frozen=True)
class NamedRegions:
    """K instances of one frame. description: (K, D); area: (K,) pixels

    shares: (K, C) how likely each is each class, by its track
    """

    description: Tensor
    area: npt.NDArray[np.int64]
    shares: Float


@dataclass(frozen=True)
class NamerState:
    """What `InstanceNamer` remembers. believed: (H, W) where instruments were, see `Specks`"""

    tracks: TrackState
    believed: Mask | None


class InstanceNamer(Namer[NamerState]):
    """Names the instances of one stream, frame by frame."""

    def __init__(self, head: PartingHead, references: References, rule: SpeckRule = STRICT) -> None:
        """rule: for small regions"""
        super().__init__(head)
        self.references = references
        self.recent: Recent | None = None  # what the stream has taught beside them
        self.tracks, self._specks = InstanceTracks(), Specks(rule)

    def reset(self) -> None:
        """Forget the stream."""
        self.tracks.reset()
        self._specks.reset()

    def remember(self) -> NamerState:
        """The stream as it stands, to be gone on from later."""
        return NamerState(self.tracks.remember(), self._specks.believed)

    def return_to(self, state: NamerState) -> None:
        """Go on from there."""
        self.tracks.return_to(state.tracks)
        self._specks.believed = state.believed

    def answer(self, parted: PartedFrame, rows: int) -> tuple[Answer, NamedRegions | None]:
        """A frame as the head alone sees it; its instances, where there are several classes."""
        own = parted.instrument[0, 0].clamp(UNSURE, -UNSURE)
        instrument = self._specks.taken_out(own, own)
        if rows == 1:
            return _one_class(instrument, expected_dsc(instrument)[None]), None
        return self._painted(parted, instrument, rows)

    def _name(self, parted: PartedFrame, decoded: DecodedMasks) -> Named:
        logits = decoded.gated()[:, 0].clamp(UNSURE, -UNSURE)  # (C, H, W)
        weight, rows = self.references.found_weight, len(logits)
        if self.references.unaided:
            return _claimed(decoded, self.answer(parted, rows)[0])
        instrument = logits.amax(dim=0)
        if weight > 0:
            own = parted.instrument[0, 0].clamp(UNSURE, -UNSURE)
            instrument = self._specks.taken_out(instrument + weight * (own - instrument), own)
        if rows == 1:
            sure = decoded.iou * decoded.object_logit.sigmoid()
            return _claimed(decoded, _one_class(instrument, sure))
        return _claimed(decoded, self._painted(parted, instrument, rows)[0])

    def _painted(
        self, parted: PartedFrame, instrument: Tensor, rows: int
    ) -> tuple[Answer, NamedRegions]:
        """Each instance in the row of its track's name, or in none. instrument: (H, W) logits"""
        regions = part_votes((instrument > 0).cpu().numpy(), parted.vote[0].cpu().numpy())
        count = len(regions.centre)
        described = describe_regions(self._head, parted, regions.label, count)
        area = np.bincount(regions.label.ravel(), minlength=count + 1)[1:]
        seen = Instances(regions.centre, described.cpu().numpy(), area)
        evidence = self.references.log_shares(described, rows, self.recent).cpu().numpy()
        if not np.isfinite(evidence).all():
            evidence = np.zeros_like(evidence)
            instrument = torch.full_like(instrument, float("nan"))  # nothing may hide it
        mean = self.tracks.step(seen, evidence)
        alone = TWIN_COST * self.references.alone
        shares = joint_shares(mean, area, alone)[:, :rows]
        answer = _answer_of(instrument, regions.label, self.tracks.name(shares), shares)
        return answer, NamedRegions(described, area, shares)


def expected_dsc(instrument: Tensor) -> Tensor:
    """DSC of the mask with what its own probabilities say is there. (H, W) logits -> scalar"""
    mask, probability = instrument > 0, instrument.sigmoid()
    size = mask.sum() + probability.sum()
    return 2 * (probability * mask).sum() / size.clamp_min(1e-6)


def _one_class(instrument: Tensor, raw: Tensor) -> Answer:
    shown = (instrument > 0).any()
    return Answer(instrument[None, None], torch.where(shown, 1.0, -1.0)[None], raw)


def _answer_of(instrument: Tensor, label: Labels, names: Labels, shares: Float) -> Answer:
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
    return Answer(logits[:rows, None], torch.where(shown, 1.0, -1.0), raw, logits[rows:])


def _claimed(decoded: DecodedMasks, answer: Answer) -> Named:
    """The rows with these masks; a row that shows something says that it does."""
    shown = answer.object_logit > 0
    object_logit = torch.where(shown, decoded.object_logit.clamp_min(0.1), -1.0)
    rows = replace(decoded, mask_logits=answer.mask_logits, object_logit=object_logit)
    return Named(rows, answer.raw, answer.unnamed)


def _raw_confidence(own: Tensor, share: Tensor) -> Tensor:
    """An estimate of each row's DSC from how sure its name is and how large it is. (C,)

    own: (C, H, W) bool; share: (H, W) of the class that is named
    """
    area = own.sum(dim=(1, 2)).clamp_min(1)
    name = ((share * own).sum(dim=(1, 2)) / area).clamp(1e-3, 1 - 1e-3)
    by_name, by_size, constant = CONFIDENCE
    return (by_name * name.logit() + by_size * area.log() + constant).sigmoid()
