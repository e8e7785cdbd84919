"""Settings of the service; the only place that reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from service.errors import UsageError
from service.output_folder import prepare_output
from service.relay import Relay

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Settings:
    """What `trocar serve` was asked to do.

    source, profile, loop: of the session that is opened at the start; a profile of None picks
        `phantom` for the demo's own scene, `instrument` for anything else
    token: what every request must carry, health checks apart; None only on the loopback
    relay: a TURN server that clients are told of; None tells them of nobody
    media, local_sources, devices: what sessions opened over HTTP may show: recordings of a folder
        (and its profiles), streams of this machine and its link, capture devices
    capacity: seconds of model a second that all sessions together may need, see live/admission;
        the rest is for drawing and encoding
    learn_all: every class learns from every frame it is sure in, at once, see Tracker.open
    record: a folder for recordings: of the session of `trocar serve` from its start on, of others
        when asked to over HTTP; None records nothing, ever
    log: lines of text or of JSON, see log.py
    deinterlace: "auto" where a source says, or looks, that it is interlaced; or "on", "off"
    sessions: at once; viewers: of one session at once
    deadline_intervals: frame intervals the picture waits for the model at most
    """

    source: str = "phantom://"
    profile: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    online: bool = True
    gamma: float | None = None
    learn_all: bool = False
    loop: bool = True
    engine: str = "auto"
    token: str | None = None
    relay: Relay | None = None
    media: Path | None = None
    local_sources: bool = False
    devices: bool = False
    capacity: float = 0.9
    log: Literal["text", "json"] = "text"
    sessions: int = 4
    record: Path | None = None
    viewers: int = 8
    deinterlace: Literal["auto", "on", "off"] = "auto"
    deadline_intervals: float = 2.0

    @classmethod
    def from_environment(cls, **given: object) -> Settings:
        """Settings from the command line; token and relay from TROCAR_TOKEN and TROCAR_TURN_*.

        TROCAR_RECORD is the folder for recordings where the command line names none.
        Raises UsageError: an address beyond this machine without a token, a short token, no folder.
        """
        token = os.environ.get("TROCAR_TOKEN") or None
        turn = os.environ.get("TROCAR_TURN_URL", "")
        relay = Relay(turn, os.environ.get("TROCAR_TURN_SECRET", "")) if turn else None
        settings = replace(cls(), token=token, relay=relay, **given)  # type: ignore[arg-type]
        if settings.record is None and (record := os.environ.get("TROCAR_RECORD")):
            settings = replace(settings, record=Path(record))
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise UsageError(
                f"expected a TROCAR_TOKEN of at least {SHORTEST_TOKEN} characters, got {len(token)}"
            )
        if settings.host not in LOOPBACK and token is None:
            raise UsageError(
                f"expected a token to serve on {settings.host}: set TROCAR_TOKEN, for example to "
                "the output of `openssl rand -hex 16`, and open the page with ?token=..."
            )
        if settings.media is not None and not settings.media.is_dir():
            raise UsageError(f"expected a folder for --media, found none at {settings.media}")
        if settings.record is not None:
            prepare_output(settings.record, force=True)
        return settings


def weight_folder() -> Path | None:
    """Where fetched weights are, from TROCAR_WEIGHTS; None is the usual folder."""
    given = os.environ.get("TROCAR_WEIGHTS")
    return Path(given) if given else None


def let_threads_sleep() -> None:
    """Let OpenMP threads sleep, not spin, where they wait for each other; before torch is loaded.

    The cores are shared with the decoder, the encoder and often a browser. A thread that spins for
    one that is not scheduled costs whole time slices: with both of two cores busy a step took
    3,500 ms spinning and 105 ms sleeping. A policy that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
