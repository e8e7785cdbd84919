"""Trains the embedded NANO backbone on phantom clips: first find, then follow and name.

Find: the trunk learns to see any instrument (dense heads on the three feature levels, dropped
afterwards) and to describe regions so that one kind looks alike across the clips of a procedure.
Follow: with the trunk frozen, memory attention, memory encoder, mask decoder and fusion are trained
through the learner: episodes of supports and queries, a ridge-started mapping network in every
row, gradients through its closed form (as LWL does). Resumable; stops cleanly at any time.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from models.backbone.memory_attention import BankTensors
from models.backbone.memory_bank import Entries
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.backbone.token_color import token_color
from models.config import NANO
from models.learner.losses import mask_loss, quality_loss, region_contrast
from models.learner.mapping_network import (
    Statistics,
    apply_mapper,
    describe_tokens,
    ridge_solution,
    token_weights,
)
from models.method.checkpoint import load_embedded, save_embedded
from models.method.model import MethodConfig, OflSam2
from models.training.curve import draw_curve
from models.training.episodes import ClipPairs, Episode, ProcedurePool, clip_pairs, episode
from models.training.precision import training_precision


@dataclass(frozen=True)
class PretrainConfig:
    """Where, how long, how wide. Steps, not minutes: the result is a function of the settings.

    start: embedded weights to begin from; None: random ones
    """

    out: Path
    start: Path | None = None
    find_steps: int = 2000
    follow_steps: int = 1400
    find_rate: float = 1.2e-3
    follow_rate: float = 1e-3
    find_procedures: int = 8
    follow_procedures: int = 4
    pool: int = 160
    save_every: int = 50
    threads: int = 1
    seed: int = 0


class FindHeads(nn.Module):
    """Linear heads over the three feature levels: any instrument, its kind, its description."""

    def __init__(self, width: int, kinds: int) -> None:
        super().__init__()
        levels = (width, width // 4, width // 8)
        self.dense = nn.ModuleList(nn.Conv2d(c, 1 + kinds, 1) for c in levels)
        self.description = nn.Conv2d(width, 64, 1)

    def forward(self, features: ImageFeatures) -> Tensor:
        """Logits (B, 1 + kinds, 4h, 4w): channel 0 is any instrument."""
        size = features.stride4.shape[-2:]
        total = torch.zeros(1)
        for head, level in zip(
            self.dense, (features.stride16, features.stride8, features.stride4), strict=True
        ):
            upsampled = F.interpolate(head(level).float(), size, mode="bilinear")
            total = total + upsampled
        return total


class Trainer:
    """Model, optimiser, schedule and history of one run."""

    def __init__(self, config: PretrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.model = OflSam2(MethodConfig(NANO))
        nn.init.constant_(self.model.fusion.gate.bias, 0.0)  # type: ignore[arg-type]
        if config.start is not None:
            start = load_embedded(config.start).model
            self.model.backbone.load_state_dict(start.backbone.state_dict())
            self.model.fusion.load_state_dict(start.fusion.state_dict())
        self.heads = FindHeads(NANO.model_width, kinds=8)
        self.log_ridge = nn.Parameter(torch.tensor(-4.0))
        self.pool = ProcedurePool(config.pool, NANO.image_size, config.seed)
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.optimizer = self._optimizer()

    @property
    def total(self) -> int:
        """Steps of both stages."""
        return self.config.find_steps + self.config.follow_steps

    @property
    def finding(self) -> bool:
        """Is the find stage still going on?"""
        return self.step < self.config.find_steps

    def run(self) -> None:
        """Train to the end, or until interrupted; what is saved is always whole."""
        self.pool.refresh(self.config.pool // 4)
        bar = tqdm(total=self.total, initial=self.step, unit="step", desc="pretrain")
        while self.step < self.total:
            if self.step == self.config.find_steps:
                self.optimizer = self._optimizer()
            self.pool.refresh(1 if self.step % 2 == 0 else 0)
            losses = self._find_step() if self.finding else self._follow_step()
            self.step += 1
            self.history.append(losses)
            if self.step % 10 == 0:
                recent = self.history[-10:]
                bar.set_postfix({k: f"{_mean(recent, k):.3f}" for k in losses})
            bar.update()
            if self.step % self.config.save_every == 0 or self.step == self.total:
                self.save()
        bar.close()

    def _trained(self) -> list[nn.Parameter]:
        backbone = self.model.backbone.sam
        trunk = [
            *backbone.image_encoder.parameters(),
            *backbone.sam_mask_decoder.conv_s0.parameters(),
            *backbone.sam_mask_decoder.conv_s1.parameters(),
        ]
        if self.finding:
            return [*trunk, *self.heads.parameters()]
        held = {id(p) for p in trunk}
        rest = [p for p in self.model.parameters() if id(p) not in held]
        return [*rest, self.log_ridge]

    def _optimizer(self) -> torch.optim.AdamW:
        rate = self.config.find_rate if self.finding else self.config.follow_rate
        return torch.optim.AdamW(self._trained(), lr=rate, weight_decay=0.02, betas=(0.9, 0.98))

    def _rate(self) -> float:
        """Warm-up of 40 steps, then a half cosine to a twentieth."""
        start = 0 if self.finding else self.config.find_steps
        length = self.config.find_steps if self.finding else self.config.follow_steps
        peak = self.config.find_rate if self.finding else self.config.follow_rate
        done = (self.step - start) / length
        fade = 0.05 + 0.95 * 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))
        if self.config.start is not None:
            peak *= 0.6  # what is learnt already should bend, not break
        return peak * fade * min(1.0, (self.step - start + 1) / 40)

    def _descend(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(trained, 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()

    def _find_step(self) -> dict[str, float]:
        batch = clip_pairs(self.pool, self.config.find_procedures)
        with training_precision():
            features = self.model.backbone.encode_image(self.model.backbone.normalize(batch.image))
        features = ImageFeatures(
            features.stride16.float(), features.stride8.float(), features.stride4.float()
        )
        logits = self.heads(features)
        instrument = (batch.class_mask > 0).float()[:, None]
        found = mask_loss(logits[:, :1], instrument).mean()
        kind = self._kind_loss(logits[:, 1:], batch.class_mask)
        contrast = self._contrast(features.stride16, batch)
        self._descend(found + 0.3 * kind + 0.3 * contrast)
        return {
            "found": float(found.detach()),
            "iou": float(_iou(logits[:, :1], instrument)),
            "kind": float(kind.detach()),
            "contrast": float(contrast.detach()),
        }

    def _kind_loss(self, logits: Tensor, class_mask: Tensor) -> Tensor:
        """Cross-entropy of the kind on instrument pixels only; what is instrument, `found` asks."""
        size = logits.shape[-2:]
        small = F.interpolate(class_mask[:, None].float(), size, mode="nearest")[:, 0].long()
        target = torch.where(small > 0, small - 1, -100)
        loss: Tensor = F.cross_entropy(logits, target, ignore_index=-100)
        return loss

    def _contrast(self, stride16: Tensor, batch: ClipPairs) -> Tensor:
        token_features = self.heads.description(stride16)
        grid = token_features.shape[-1]
        vectors, groups, labels = [], [], []
        for index in range(len(batch.image)):
            for kind in torch.unique(batch.class_mask[index]).tolist():
                cover = (batch.class_mask[index] == kind).float()
                area = F.adaptive_avg_pool2d(cover[None], grid)
                if kind == 0 or area.sum() < 1.0:
                    continue
                vectors.append((token_features[index] * area).sum(dim=(1, 2)) / area.sum())
                groups.append(int(batch.group[index]))
                labels.append(int(kind))
        if len(vectors) < 2:
            nothing: Tensor = token_features.sum() * 0
            return nothing
        unit = F.normalize(torch.stack(vectors), dim=1)
        return region_contrast(unit, torch.tensor(groups), torch.tensor(labels), 0.1)

    def _follow_step(self) -> dict[str, float]:
        batch = episode(self.pool, self.config.follow_procedures)
        loss, report = follow_losses(self.model, self.log_ridge.exp(), batch)
        self._descend(loss)
        return report

    def save(self) -> None:
        """Weights and training state, each replaced whole; curve (JSON and picture)."""
        out = self.config.out
        out.mkdir(parents=True, exist_ok=True)
        save_embedded(self.model, float(self.log_ridge.detach().exp()), out / "nano.safetensors")
        state = {
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "log_ridge": self.log_ridge.detach(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "random": torch.get_rng_state(),
        }
        torch.save(state, out / "state.pt.part")
        (out / "state.pt.part").replace(out / "state.pt")
        settings = {k: str(v) for k, v in asdict(self.config).items()}
        told = [
            {k: v if math.isfinite(v) else None for k, v in one.items()} for one in self.history
        ]
        curve = {"settings": settings, "step": self.step, "history": told}
        (out / "curve.json").write_text(json.dumps(curve, allow_nan=False))
        draw_curve(self.history, out / "curve.png")

    def resume(self) -> bool:
        """Continue from the state in the output folder, if there is one."""
        path = self.config.out / "state.pt"
        if not path.exists():
            return False
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.step = int(state["step"])
        self.history = list(state["history"])
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.log_ridge.data.copy_(state["log_ridge"])
        self.optimizer = self._optimizer()
        if self.step != self.config.find_steps:
            self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.pool.skip_to(self.step)
        return True


def follow_losses(model: OflSam2, ridge: Tensor, batch: Episode) -> tuple[Tensor, dict[str, float]]:
    """One pass of episodes through memory, learner, fusion and decoder, as a tracker runs them."""
    backbone = model.backbone
    image = backbone.normalize(batch.image)
    with torch.no_grad(), training_precision():
        encoded = backbone.encode_image(image)
    features = ImageFeatures(
        encoded.stride16.float(), encoded.stride8.float(), encoded.stride4.float()
    )
    color = token_color(image, backbone.config.grid)
    token_features = describe_tokens(features.stride16, color, model.config.learner)
    rows = len(batch.support)
    usable, place = _usable(batch.support_valid)  # a followed row has one support, not three
    flat = features.rows(batch.support.flatten()[usable])
    entries = model.annotate(flat, batch.support_mask.flatten(0, 1)[usable, None])
    with training_precision():
        target = model.target(flat.stride16, entries).float()
    tau = _ridge_rows(batch, token_features, target[place], ridge)
    kept = place.gather(1, batch.memory)  # (R, K)
    support = Entries(entries.memory[kept], entries.pointer[kept])
    mode = torch.rand(rows)  # a quarter decodes memory alone, a quarter the mapping alone
    recent: list[Entries] = []
    losses, overlaps, shown = [], [], []
    for q in range(batch.query.shape[1]):
        frame = features.rows(batch.query[:, q])
        with training_precision():
            bank = _bank(support, recent, backbone.config)
            attended = backbone.attend_memory(frame.stride16, bank).float()
        mapped = apply_mapper(tau, token_features[batch.query[:, q]])
        fused = model.fusion(attended, mapped)
        pick = mode[:, None, None, None]
        conditioned = torch.where(pick < 0.25, attended, torch.where(pick < 0.5, mapped, fused))
        decoded = backbone.decode_masks(conditioned, frame)
        mask = batch.query_mask[:, q][:, None]
        logits = F.interpolate(decoded.mask_logits, scale_factor=2, mode="bilinear")
        losses.append(
            mask_loss(logits, mask)
            + quality_loss(decoded.iou, decoded.object_logit, decoded.mask_logits, mask)
        )
        overlaps.append(_iou_rows(decoded, mask))
        shown.append(mask.flatten(1).any(dim=1))
        if q + 1 < batch.query.shape[1]:
            present = decoded.object_logit > 0
            memory = backbone.encode_memory(frame.stride16, decoded.gated(), present)
            recent.append(Entries(memory, decoded.pointer))
    report = _report(torch.stack(overlaps, 1), torch.stack(shown, 1), mode, batch.support_valid)
    loss = torch.stack(losses).mean()
    return loss, {"loss": float(loss.detach()), **report}


def _ridge_rows(batch: Episode, token_features: Tensor, target: Tensor, ridge: Tensor) -> Tensor:
    weight = token_weights(batch.support_mask, target.shape[-1]) * batch.support_valid[..., None]
    statistics = Statistics.of(
        token_features[batch.support].flatten(3),
        target.flatten(3),
        weight,
    )
    return ridge_solution(statistics.normalized(), ridge)


def _usable(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Which flattened supports to compute, (n,), and where each row finds its own, (R, F)."""
    usable = valid.flatten().nonzero()[:, 0]
    place = (valid.flatten().cumsum(0) - 1).reshape(valid.shape)
    return usable, place


def _bank(support: Entries, recent: list[Entries], config: Any) -> BankTensors:
    """Supports first, then the newest query first."""
    kept = support.memory.shape[1]
    memory = torch.cat([support.memory, *(e.memory[:, None] for e in reversed(recent))], dim=1)
    pointer = torch.cat([support.pointer, *(e.pointer[:, None] for e in reversed(recent))], dim=1)
    ages = list(range(1, len(recent) + 1))
    codes = [config.memories - 1] * kept + [age - 1 for age in ages]
    distance = [15.0] * kept + [float(age) for age in ages]
    return BankTensors(
        memory,
        pointer,
        torch.tensor(codes),
        torch.tensor(distance).expand(memory.shape[0], -1),
        torch.ones(memory.shape[:2], dtype=torch.bool),
    )


def _iou(logits: Tensor, mask: Tensor) -> Tensor:
    target = F.adaptive_avg_pool2d(mask, logits.shape[-1]) > 0.5
    found = logits > 0
    return (found & target).sum() / (found | target).sum().clamp_min(1)


def _iou_rows(decoded: DecodedMasks, mask: Tensor) -> Tensor:
    target = F.adaptive_avg_pool2d(mask, decoded.mask_logits.shape[-1]) > 0.5
    found = decoded.gated() > 0
    union = (found | target).sum(dim=(1, 2, 3))
    return torch.where(union > 0, (found & target).sum(dim=(1, 2, 3)) / union.clamp_min(1), 1.0)


def _report(overlap: Tensor, shown: Tensor, mode: Tensor, valid: Tensor) -> dict[str, float]:
    """Mean IoU where visible: memory, mapped, fused and tracked rows; false alarms elsewhere."""
    track = ~valid[:, 1]

    def mean(rows: Tensor) -> float:
        chosen = rows[:, None] & shown
        return float(overlap[chosen].detach().mean()) if bool(chosen.any()) else float("nan")

    absent = ~shown
    return {
        "memory": mean((mode < 0.25) & ~track),
        "mapped": mean((mode >= 0.25) & (mode < 0.5) & ~track),
        "fused": mean((mode >= 0.5) & ~track),
        "track": mean(track),
        "alarm": float((overlap[absent] < 0.5).float().mean()) if bool(absent.any()) else 0.0,
    }


def _mean(history: list[dict[str, float]], key: str) -> float:
    values = [h[key] for h in history if key in h and h[key] == h[key]]
    return sum(values) / max(len(values), 1)


def pretrain(config: PretrainConfig, notify: Callable[[str], None] = print) -> None:
    """Run, or continue, a pretraining; Ctrl-C saves and stops."""
    torch.set_num_threads(config.threads)
    trainer = Trainer(config)
    if trainer.resume():
        notify(f"continuing at step {trainer.step} of {trainer.total}")
    started = time.monotonic()
    try:
        trainer.run()
    except KeyboardInterrupt:
        trainer.save()
        notify(f"stopped at step {trainer.step}; run the same command to continue")
    else:
        notify(f"trained {trainer.total} steps in {(time.monotonic() - started) / 60:.0f} min")
