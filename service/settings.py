"""Settings of the service; the only place that reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from service.errors import UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """What `trocar serve` was asked to do.

    profile: None picks `phantom` for the demo's own scene, `instrument` for anything else
    viewers: peers admitted at once; deadline_intervals: frame intervals the picture waits at most
    """

    source: str = "phantom://"
    profile: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    online: bool = True
    gamma: float | None = None
    loop: bool = True
    engine: str = "auto"
    viewers: int = 8
    deadline_intervals: float = 2.0

    @classmethod
    def from_environment(cls, **given: object) -> Settings:
        """Settings from the command line. Raises UsageError for an address that is not allowed.

        TROCAR_ALLOW_REMOTE=1 lets the page be served beyond this machine.
        """
        settings = replace(cls(), **given)  # type: ignore[arg-type]
        if settings.host not in LOOPBACK and os.environ.get("TROCAR_ALLOW_REMOTE") != "1":
            raise UsageError(
                f"expected a loopback address, got {settings.host}: there is no access control "
                "yet; set TROCAR_ALLOW_REMOTE=1 to serve on a trusted network all the same"
            )
        return settings


def let_threads_sleep() -> None:
    """Let OpenMP threads sleep, not spin, where they wait for each other; before torch is loaded.

    The cores are shared with the decoder, the encoder and often a browser. A thread that spins for
    one that is not scheduled costs whole time slices: with both of two cores busy a step took
    3,500 ms spinning and 105 ms sleeping. A policy that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
