"""A TURN relay for clients that cannot reach us directly: told to them, never used by us.

Nobody is named unless whoever runs the service names a relay of their own. The credentials are
good for a few hours, as coturn's `use-auth-secret` checks them (draft-uberti-behave-turn-rest).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from dataclasses import dataclass

from service.errors import UsageError

GOOD_FOR_S = (
    6 * 3600
)  # longer than an operation usually takes; a connection outlives its credentials
SHORTEST_SECRET = 16
ADDRESS = re.compile(r"turns?:[\w.\-\[\]:]+(\?transport=(udp|tcp))?")


@dataclass(frozen=True)
class Credentials:
    """What a client gives to the relay."""

    url: str
    username: str
    credential: str

    def link(self) -> str:
        """As WHIP and WHEP say it, RFC 9725."""
        return (
            f'<{self.url}>; rel="ice-server"; username="{self.username}"; '
            f'credential="{self.credential}"; credential-type="password"'
        )


@dataclass(frozen=True)
class Relay:
    """Where it is, and the secret that it shares with us. Raises UsageError."""

    url: str
    secret: str

    def __post_init__(self) -> None:
        if not ADDRESS.fullmatch(self.url):
            raise UsageError("expected TROCAR_TURN_URL to be as turn:relay.example:3478")
        if len(self.secret) < SHORTEST_SECRET:
            raise UsageError(
                f"expected a TROCAR_TURN_SECRET of at least {SHORTEST_SECRET} characters, "
                f"got {len(self.secret)}"
            )

    def credentials(self) -> Credentials:
        """Fresh ones."""
        username = str(int(time.time()) + GOOD_FOR_S)
        # SHA-1 is what TURN servers know; as a keyed hash it is not known to be broken.
        digest = hmac.new(self.secret.encode(), username.encode(), hashlib.sha1).digest()
        return Credentials(self.url, username, base64.b64encode(digest).decode())
