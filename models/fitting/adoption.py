"""Is the instance head better once it is adapted to the annotated pictures? Held-out folds say.

Each fold's pictures are answered by a head that was trained on the others. The profile gets the
adapted head only where these answers gain over the shipped head's; and they stand in for what the
adapted head will say of pictures it has not seen, wherever fitting chooses or calibrates. One
picture cannot be held out: then it is adapted where the shipped head finds that picture badly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from models.config import FitConfig
from models.fitting.adapting import Adaptation, AdaptConfig, mean_head
from models.fitting.annotated import AnnotatedFrames
from models.fitting.encoded import EncodedFrames, frame_features
from models.fitting.frame_augmentation import LabelledPicture
from models.instances.instance_head import HeadOutput, InstanceHead
from models.instances.small_regions import STRICT, RegionRule, SmallRegions, rule_for
from models.method.model import OflSam2
from models.phantom import Procedure

FOLDS = 3
FINAL = 1  # heads trained on all pictures; kept is the mean of their weights and the folds'
MARGIN = 0.0  # in DSC, that an adapted head has to gain
POOR = 0.75  # DSC of the shipped head on a single picture, under which it is adapted untested
PHANTOMS, PHANTOM_SIZE, PHANTOM_SEED = 32, 288, 9_000_000  # beyond any other procedure's seed


@dataclass(frozen=True)
class Adoption:
    """What came of it.

    head: adapted; None: the shipped one stays
    before, after: foreground DSC of `frames` held-out pictures, by the shipped head and adapted;
    after is not a number where there was one picture only
    instrument: (1, 1, 4h, 4w) logits of each held-out picture by a head that has not seen it
    """

    head: InstanceHead | None = None
    before: float = float("nan")
    after: float = float("nan")
    frames: int = 0
    instrument: dict[int, Tensor] = field(default_factory=dict)

    @property
    def believed(self) -> bool:
        """Is a head good, even where classes are too rare to hold frames out for all else?"""
        return self.head is not None or self.before >= POOR


def adopt_head(
    model: OflSam2, frames: AnnotatedFrames, encoded: EncodedFrames, config: FitConfig
) -> Adoption:
    """Adapt the model's head if that helps. config: its adapt, seed and progress"""
    folds, alone = _folds(encoded, config.seed), len(frames.pictures) == 1
    wanted = config.adapt and config.instances and not config.follow
    if model.instance_head is None or not wanted or not (folds or alone):
        return Adoption()
    before = _shipped_dsc(model.instance_head, encoded)
    if alone and before >= POOR:
        return Adoption(None, before, frames=1)
    total = config.adapt * (len(folds) + FINAL)
    with tqdm(total=total, desc="adapt", unit="step", disable=not config.progress) as bar:
        settings = AdaptConfig(steps=config.adapt)
        training = Adaptation(model.backbone, phantom_pictures(), settings, bar.update)
        heads: list[InstanceHead] = []
        instrument: dict[int, Tensor] = {}
        rng = np.random.default_rng([config.seed, 41])
        for fold in folds:
            others = [one for n, one in enumerate(frames.pictures) if n not in fold]
            heads.append(training.adapted(model.instance_head, others, rng))
            instrument |= {n: instrument_logits(heads[-1], encoded, n) for n in fold}
        after = _adapted_dsc(encoded, instrument)
        if after <= before + MARGIN:
            return Adoption(None, before, after, len(instrument))
        heads += [training.adapted(model.instance_head, frames.pictures, rng) for _ in range(FINAL)]
    return Adoption(mean_head(heads), before, after, len(frames.pictures), instrument)


def _folds(encoded: EncodedFrames, seed: int) -> list[list[int]]:
    """Pictures to leave out together, whole clips where there are several; none if it cannot be.

    Without any fold something must be left that is instrument.
    """
    clips = encoded.clip if len(set(encoded.clip)) > 1 else tuple(range(len(encoded.clip)))
    order = np.random.default_rng([seed, 9]).permutation(sorted(set(clips)))
    shown = encoded.present.any(dim=0).tolist()
    folds = []
    for start in range(min(FOLDS, len(order))):
        chosen = set(order[start::FOLDS].tolist())
        folds.append([n for n, clip in enumerate(clips) if clip in chosen])
    kept = [[n for n in range(len(clips)) if n not in fold] for fold in folds]
    return folds if all(any(shown[n] for n in rest) for rest in kept) else []


@torch.no_grad()
def instrument_logits(head: InstanceHead, encoded: EncodedFrames, frame: int) -> Tensor:
    """What a head takes for instrument in an annotated frame. (1, 1, 4h, 4w)"""
    head_output: HeadOutput = head(frame_features(encoded, frame), encoded.image[frame : frame + 1])
    return head_output.instrument


def _shipped_dsc(head: InstanceHead, encoded: EncodedFrames) -> float:
    each = range(len(encoded.clip))
    found = [_foreground_dsc(instrument_logits(head, encoded, n), encoded, n, STRICT) for n in each]
    return float(np.mean(found))


def _adapted_dsc(encoded: EncodedFrames, instrument: dict[int, Tensor]) -> float:
    """Not a number where nothing was held out."""
    rule = rule_for(len(encoded.present), adapted=True)
    found = [_foreground_dsc(one, encoded, n, rule) for n, one in instrument.items()]
    return float(np.mean(found)) if found else float("nan")


def _foreground_dsc(logits: Tensor, encoded: EncodedFrames, frame: int, rule: RegionRule) -> float:
    own = logits[0, 0]
    side = own.shape[-1]
    both = torch.stack([encoded.mask[:, frame].amax(dim=0), encoded.counted[frame]]).float()
    truth, known = F.adaptive_avg_pool2d(both[None], side)[0] > 0.5
    found = (SmallRegions(rule).filtered(own, own) > 0) & known
    size = int(found.sum() + (truth & known).sum())
    return 2 * int((found & truth).sum()) / size if size else 1.0


@functools.cache
def phantom_pictures() -> tuple[LabelledPicture, ...]:
    """Rendered pictures that keep a head from forgetting; the same for everybody."""
    rng = np.random.default_rng(PHANTOM_SEED)
    pictures = []
    for number in range(PHANTOMS // 4):
        procedure = Procedure(PHANTOM_SEED + number)
        for size in ((PHANTOM_SIZE,) * 2, (PHANTOM_SIZE * 3 // 4, PHANTOM_SIZE)):
            clip = procedure.clip(int(rng.integers(12)), size=size)
            for t in rng.uniform(0, 8, 2):
                frame = clip.render(float(t))
                mask = np.asarray(frame.instance_mask > 0, np.uint8)
                pictures.append(LabelledPicture.of(frame.image_rgb, mask, (1,), PHANTOM_SIZE))
    return tuple(pictures)
