"""A session as the service knows it: under an id and a name, with its learner's history."""

from __future__ import annotations

import logging
from typing import Any

from service.errors import BusyError, NotInboundError
from service.live.learner_history import LearnerHistory
from service.live.session import Session
from streaming.peers import Answer

log = logging.getLogger(__name__)


class LiveSession:
    """One that runs. id: names it in addresses, logs and metrics; name: shown to people only."""

    def __init__(self, session_id: str, name: str, session: Session) -> None:
        self.id, self.name, self.session = session_id, name, session
        self._history = LearnerHistory()

    def sample(self) -> None:
        """Add the learner as it is now to its history."""
        self._history.add(self.session.status())

    def status(self) -> dict[str, Any]:
        """The session's numbers under its id and name."""
        return {
            "id": self.id,
            "name": self.name,
            **self.session.status(),
            "learner_history": self._history.samples(),
        }

    async def watch(self, sdp: str, view: str, replaces: str | None = None) -> Answer:
        """Admit a viewer. replaces: see Peers.answer. Raises BusyError, OfferError."""
        if not self.session.peers.has_room(replaces):
            raise BusyError("every viewer's place is taken")
        answer = await self.session.peers.answer(sdp, view, replaces)
        log.info("viewer admitted")
        return answer

    async def publish(self, sdp: str) -> Answer:
        """Admit a publisher. Raises NotInboundError, OfferError."""
        if self.session.inbound is None:
            raise NotInboundError("expected a session whose source is whip://, this one's is not")
        answer = await self.session.inbound.answer(sdp)
        log.info("publisher admitted")
        return answer
