"""What a run of the protocol is given, and what the paper leaves open with our choices."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from models.datasets.registry import Choice
from models.errors import ModelError


@dataclass(frozen=True)
class Setting:
    """How much is annotated: exactly one is given.

    share: of the sequences, 0 to 1; volumes: whole sequences; shots: annotated frames
    """

    share: float | None = None
    volumes: int | None = None
    shots: int | None = None

    @classmethod
    def of(cls, text: str) -> Setting:
        """Such as "5%", "3", "3 volumes", "1 shot" or "8 shots". Raises ModelError."""
        wanted = text.strip().lower()
        if percent := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", wanted):
            share = float(percent[1]) / 100
            if 0 < share < 1:
                return cls(share=share)
        elif shots := re.fullmatch(r"([1-9]\d*)\s*-?shots?", wanted):
            return cls(shots=int(shots[1]))
        elif volumes := re.fullmatch(r"([1-9]\d*)(\s*volumes?)?", wanted):
            return cls(volumes=int(volumes[1]))
        raise ModelError(f'expected a setting like "5%", "3" (volumes) or "8 shots", got {text!r}')

    def __str__(self) -> str:
        if self.share is not None:
            return f"{100 * self.share:g}%"
        if self.volumes is not None:
            return f"{self.volumes} volumes" if self.volumes > 1 else "1 volume"
        return f"{self.shots} shots" if self.shots != 1 else "1 shot"


@dataclass(frozen=True)
class PaperConfig:
    """One run.

    root: may hold "{seed}", each seed then has data of its own
    choices: what the data set is opened with; test_cases: at most so many a seed, None is all
    fit_frames: at most so many annotated frames for fitting, evenly spaced over what was drawn
    effort: share of the trained methods' steps; panels: cases drawn as pictures
    only: work on this seed alone, without a report, as a part of the whole run
    """

    dataset: str
    root: str
    setting: Setting
    out: Path
    backbone: str = "nano"
    checkpoint: Path | None = None
    image_size: int | None = None
    seeds: int = 5
    methods: tuple[str, ...] = ()
    choices: dict[str, Choice] = field(default_factory=dict)
    test_cases: int | None = None
    fit_frames: int = 128
    effort: float = 1.0
    panels: int = 3
    only: int | None = None

    def root_of(self, seed: int) -> Path:
        """The folder of this seed's data."""
        return Path(self.root.replace("{seed}", str(seed)))


@dataclass(frozen=True)
class OpenPoint:
    """What the paper's abstract and summary do not settle, and what is done here."""

    point: str
    choice: str
    reason: str


OPEN_POINTS = (
    OpenPoint(
        "which sequences are drawn",
        "at random by seed, as the paper draws them, redrawn until they show every class; other "
        "sequences of the same procedures (groups) are in neither fit nor test",
        "a random draw alone puts one patient on both sides; the official lists are not known",
    ),
    OpenPoint(
        "DSC of a video",
        "mean over a clip's frames, then over clips, then over classes; a class drawn where it is "
        "absent counts 0, one that is rightly not drawn has no value",
        "public code for AutoLaparo scores frames so; drawing an absent class must cost",
    ),
    OpenPoint(
        "DSC of a volume",
        "of the whole volume, then over volumes, then over classes",
        "as the lineage's code (TransUNet, SAMed, H-SAM) has it",
    ),
    OpenPoint(
        "distances", "HD95 in mm where the spacing is known, else pixels of the image", "comparable"
    ),
    OpenPoint(
        "annotated frames of a drawn sequence",
        "all, but at most 128 in all, evenly spaced",
        "neighbouring slices teach the same; fitting keeps every annotated frame's features",
    ),
    OpenPoint("order of a volume", "as the slices lie, none ahead", "a stream has no future"),
    OpenPoint(
        "number of seeds and what varies", "5; the draw, the training, with {seed} the data", "—"
    ),
)
