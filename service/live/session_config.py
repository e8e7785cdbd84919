"""What a session is to show, told by the URL of its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.phantom import DEMO_SEED
from service.live.badge import Badge
from service.live.phantom_source import PhantomScenes, PhantomUrl
from service.live.source_policy import SourcePolicy
from streaming.deinterlace import Mode
from streaming.network_stream import OPTIONS as STREAMS
from streaming.sources import Source, open_source, split_url
from streaming.whip import InboundStream


@dataclass(frozen=True)
class SessionConfig:
    """What a session shows: how to open its source, its names, what it is when all is well.

    badge: LIVE, DEMO or RECORDING
    inbound: what is published into the session, where that is its source
    record: whether it is recorded from its start on
    """

    open_source: Callable[[], Source]
    shown_source: str
    shown_profile: str
    badge: Badge
    mark: bool
    inbound: InboundStream | None = None
    record: bool = False


def configure_session(
    source: str,
    profile: str,
    *,
    loop: bool = True,
    policy: SourcePolicy | None = None,
    deinterlace: Mode = "auto",
) -> SessionConfig:
    """The plan of a source; nothing is opened yet. Raises SourceError.

    policy: asked at each opening; None for the command line, which may open anything
    """
    shown_profile = Path(profile).stem
    if source.startswith("phantom:"):
        url = PhantomUrl.parse(source)
        scenes = PhantomScenes(url)
        return SessionConfig(scenes.source, "phantom", shown_profile, Badge.DEMO, url.mark)
    if source.startswith("whip:"):
        inbound = InboundStream(deinterlace=deinterlace)
        return SessionConfig(inbound.open, "inbound", shown_profile, Badge.LIVE, False, inbound)

    def open_it() -> Source:
        admitted = policy.admit(source) if policy else source
        return open_source(admitted, loop=loop, deinterlace=deinterlace)

    parts = split_url(source)
    shown = Path(parts.path).name or "source"  # never the whole address: it may hold a password
    badge = Badge.LIVE if parts.scheme in STREAMS else Badge.RECORDING
    return SessionConfig(open_it, shown, shown_profile, badge, False)


def own_profile(source: str) -> str:
    """The profile of a source for which none was chosen. Raises SourceError."""
    demo = source.startswith("phantom:") and PhantomUrl.parse(source).seed == DEMO_SEED
    return "phantom" if demo else "instrument"
