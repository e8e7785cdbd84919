"""The profiles that a session may be opened with, by name."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from models.config import EMBEDDED_PROFILES
from models.errors import ProfileError
from service.settings import Settings

MOST_LISTED = 100


def known_profiles(settings: Settings) -> dict[str, str]:
    """Name -> what the tracker opens: the embedded ones, the command line's, the media folder's."""
    known = {name: name for name in EMBEDDED_PROFILES}
    if settings.media is not None:
        files = itertools.islice(_profiles_in(settings.media), MOST_LISTED)
        known |= {name: path for name, path in files if name not in known}
    if settings.profile is not None and not _is_among(settings.profile, known):
        given = Path(settings.profile)
        known[given.name if given.stem in known else given.stem] = settings.profile
    return known


def _is_among(profile: str, known: dict[str, str]) -> bool:
    return profile in known or os.path.realpath(profile) in known.values()


def _profiles_in(media: Path) -> Iterator[tuple[str, str]]:
    """Name and real path of each, in order; links are followed, so that none leads out."""
    root = os.path.realpath(media)
    for file in sorted(media.glob("[!.]*.safetensors")):
        path = os.path.realpath(file)
        if Path(path).is_relative_to(root):
            yield file.stem, path


def profile_named(name: str, settings: Settings) -> str:
    """What the tracker opens for a name. Raises ProfileError."""
    known = known_profiles(settings)
    if name not in known:
        raise ProfileError(f"expected a profile of {', '.join(known)}")
    return known[name]
