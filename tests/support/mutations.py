"""Thousands of spoilt files through every reader: no traceback, no hang, no memory without bound.

    python -m tests.support.mutations [--count 2000] [--seed 0]

Each file is a good one with some bytes changed, cut out, doubled or cut off. It is read to its end
in a process of its own, which is given ten seconds and two gigabytes. What is refused must be
refused by one of our own errors, in one line. Prints what happened per kind; the exit code is 1 if
any file did something else.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from models.datasets.coco import open_coco
from models.datasets.cvat import open_cvat
from models.datasets.folder import open_folder
from models.datasets.image_files import read_image
from models.datasets.sequences import Dataset
from models.datasets.summary import summarize
from models.errors import ModelError
from models.method.profile import EMBEDDED, load_profile
from models.volumes import open_volume, read_labels
from streaming.errors import StreamingError
from streaming.video_file import VideoFile
from tests.models.test_volume_headers import metaimage, nifti
from tests.support.odd_clips import Clip, write
from tests.support.odd_sets import coco_set, cvat_image, cvat_set, folder_set, outline, scene

MOST_S, MOST_BYTES = 10.0, 2 * 2**30
LONGEST_MESSAGE = 500
TEXTS = ("classes.json", "COCO", "CVAT", "volume a.mhd")
WORDS = (
    b"NaN", b"1e999", b"-1", b"0", b"9" * 5000, b"1e9", b"null", b"true", b'"x"', b"[]", b"{}",
    b"2147483648", b"0.5", b"", b"../x", b"\\u0000", b"x" * 300,
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """victim: the file that is spoilt, below a folder; read: the whole folder's reader"""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], object]


def _video(name: str, **options: str) -> Kind:
    def make(root: Path) -> Path:
        return write(root / name, Clip(frames=16, options=options, codec={"g": "6"}))

    def read(path: Path) -> int:
        video = VideoFile(path)
        try:
            return sum(1 for _ in video)
        finally:
            video.close()

    return Kind(name + ("-pieces" if options else ""), make, read)


def _picture(suffix: str) -> Kind:
    def make(root: Path) -> Path:
        path = root / f"a{suffix}"
        exif = Image.Exif()
        exif[0x112] = 6
        Image.fromarray(scene()[0]).save(path, **({"exif": exif} if suffix != ".bmp" else {}))
        return path

    return Kind(f"picture{suffix}", make, read_image)


def _set(
    name: str, victim: str, build: Callable[[Path], Path], opened: Callable[..., Dataset]
) -> Kind:
    def make(root: Path) -> Path:
        return build(root / "set") / victim

    def read(path: Path) -> object:
        root = next(parent for parent in path.parents if parent.name == "set")
        return summarize(opened(root))

    return Kind(name, make, read)


def _cvat(root: Path) -> Path:
    cvat_set(root, cvat_image("000.png"))
    Image.fromarray(scene()[0]).save(root / "images/000.png")
    return root


def _indexed(path: Path, mask: np.ndarray) -> None:
    one = Image.fromarray(mask, mode="P")
    one.putpalette([0, 0, 0, 128, 0, 0])
    one.save(path)


def _volume(name: str) -> Kind:
    def make(root: Path) -> Path:
        return (nifti if ".nii" in name else metaimage)(root / name)

    def read(path: Path) -> object:
        volume = open_volume(path)
        return volume.read(), read_labels(volume, volume)

    return Kind(f"volume {name}", make, read)


def _profile(root: Path) -> Path:
    return Path(shutil.copy(EMBEDDED / "instrument.safetensors", root / "p.safetensors"))


KINDS = (
    _video("a.mp4"), _video("b.mp4", movflags="frag_keyframe+empty_moov"), _video("a.mkv"),
    _video("a.avi"), _video("a.ts"), _video("a.vob"),
    *(_picture(suffix) for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp")),
    _set("mask", "clip/masks/001.png", folder_set, open_folder),
    _set("palette mask", "clip/masks/001.png", lambda r: folder_set(r, save=_indexed), open_folder),
    _set("classes.json", "classes.json", folder_set, open_folder),
    _set("COCO", "annotations/instances_default.json",
         lambda root: coco_set(root, [outline(1, 1), outline(2, 2)]), open_coco),
    _set("CVAT", "annotations.xml", _cvat, open_cvat),
    _volume("a.nii"), _volume("a.nii.gz"), _volume("a.mhd"),
    Kind("profile", _profile, load_profile),
)  # fmt: skip


def reword(content: bytes, rng: random.Random) -> bytes:
    """Text in which one number or word is another one."""
    words = list(re.finditer(rb"-?[0-9.]+|[A-Za-z_]+", content))
    if not words:
        return content
    word = rng.choice(words)
    return content[: word.start()] + rng.choice(WORDS) + content[word.end() :]


def spoil(content: bytes, rng: random.Random, *, head: int) -> bytes:
    """One to four changes; half of them within the first `head` bytes, where headers are."""
    spoilt = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        size = len(spoilt)
        if not size:
            break
        at = rng.randrange(min(size, head) if rng.random() < 0.5 else size)
        length = rng.choice((1, 1, 2, 4, 8, 64, 400))
        how = rng.randrange(7)
        if how == 0:
            spoilt[at : at + length] = rng.randbytes(length)
        elif how == 1:
            spoilt[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            del spoilt[at : at + length]
        elif how == 3:
            spoilt[at:at] = spoilt[at : at + length]
        elif how == 4:
            del spoilt[at:]
        elif how == 5:
            spoilt[at : at + length] = rng.choice((b"\0", b"\xff", b"9", b"[", b"-")) * length
        else:
            spoilt[at : at + 4] = rng.choice((0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)).to_bytes(
                4, "big"
            )
    return bytes(spoilt)


def change(kind: Kind, content: bytes, rng: random.Random) -> bytes:
    """Half of the text files keep their form, so that what they say is read."""
    if kind.name in TEXTS and rng.random() < 0.5:
        return reword(content, rng)
    return spoil(content, rng, head=4096 if len(content) > 20_000 else 600)


def _work(pipe: Connection) -> None:
    """Reads what it is told to, and says what came of it."""
    # Twice what may be resident: libraries reserve more than they touch.
    resource.setrlimit(resource.RLIMIT_AS, (4 * MOST_BYTES, 4 * MOST_BYTES))
    warnings.simplefilter("ignore")
    while True:
        number, path = pipe.recv()
        try:
            KINDS[number].read(path)
            outcome, said = "read", ""
        except (ModelError, StreamingError) as error:
            outcome, said = "refused", str(error)
            if "\n" in said or len(said) > LONGEST_MESSAGE:
                outcome = "refused at length"
        except BaseException:
            outcome, said = "traceback", traceback.format_exc()
        pipe.send((outcome, said, _peak_bytes()))


def _peak_bytes() -> int:
    """Most that was resident of this process; getrusage would count what its parent had, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


class Reader:
    """A process that reads files, and a new one after each that did not survive it."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def read(self, kind: int, path: Path) -> tuple[str, str, int]:
        """What happened, what was said, and the process's peak of memory so far."""
        self._pipe.send((kind, path))
        try:
            if self._pipe.poll(MOST_S):
                outcome, said, peak = self._pipe.recv()
                return str(outcome), str(said), int(peak)
            found = "hung"
        except EOFError:
            found = "crashed"
        self.close()
        self._start()
        return found, "", 0

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


@dataclass
class Tally:
    """What happened to the files of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    peak: int = 0


def run(count: int, seed: int, kept: Path) -> tuple[dict[str, Tally], list[str]]:
    """Tallies by kind, and the files that did what none may."""
    rng, tallies, wrong = random.Random(seed), {k.name: Tally() for k in KINDS}, []
    reader = Reader()
    with tempfile.TemporaryDirectory() as folder:
        victims = []
        for number, kind in enumerate(KINDS):
            root = Path(folder) / str(number)
            root.mkdir()
            victims.append(kind.make(root))
        good = [victim.read_bytes() for victim in victims]
        for turn in range(count):
            number = turn % len(KINDS)
            spoilt = change(KINDS[number], good[number], rng)
            victims[number].write_bytes(spoilt)
            started = time.perf_counter()
            outcome, said, peak = reader.read(number, victims[number])
            tally = tallies[KINDS[number].name]
            tally.outcomes[outcome] += 1
            tally.longest_s = max(tally.longest_s, time.perf_counter() - started)
            tally.peak = max(tally.peak, peak)
            if outcome not in ("read", "refused") or peak > MOST_BYTES:
                kept.mkdir(parents=True, exist_ok=True)
                (kept / f"{turn}-{victims[number].name}").write_bytes(spoilt)
                wrong.append(f"{KINDS[number].name} (file {turn}): {outcome}\n{said}")
                if peak > MOST_BYTES:
                    reader.close()
                    reader = Reader()
            victims[number].write_bytes(good[number])
    reader.close()
    return tallies, wrong


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "mutations")
    parser.add_argument("--json", type=Path, help="the figures, as JSON")
    arguments = parser.parse_args()
    tallies, wrong = run(arguments.count, arguments.seed, arguments.kept)
    for name, tally in tallies.items():
        counts = ", ".join(f"{what} {n}" for what, n in sorted(tally.outcomes.items()))
        print(f"{name:20}{counts:40}{tally.longest_s:7.2f} s  {tally.peak / 2**20:6.0f} MiB")
    if arguments.json:
        figures = {
            name: {**one.outcomes, "longest_s": one.longest_s, "peak_bytes": one.peak}
            for name, one in tallies.items()
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{sum(sum(t.outcomes.values()) for t in tallies.values())} files, {len(wrong)} wrong")
    print("\n".join(wrong[:20]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
