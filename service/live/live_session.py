"""A session as the service knows it: under an id and a name, with its learner's history."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from service.errors import BusyError, NotInboundError
from service.live.learner_history import LearnerHistory, LearnerSample
from service.live.session import Session
from service.live.status import SessionStatus
from streaming.peers import SdpAnswer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Named:
    """id: in addresses, logs and metrics; name: shown to people only"""

    id: str
    name: str


@dataclass(frozen=True)
class LiveStatus(SessionStatus, Named):
    """A session's status under its id and name. learner_history: the last two minutes"""

    learner_history: tuple[LearnerSample, ...]


class LiveSession:
    """One that runs. session_id, name: see Named"""

    def __init__(self, session_id: str, name: str, session: Session) -> None:
        self.id, self.name, self.session = session_id, name, session
        self._history = LearnerHistory()

    def sample(self) -> None:
        """Add the learner as it is now to its history."""
        status = self.session.status()
        self._history.add(status.updates, {one.id: one.confidence for one in status.classes})

    def status(self) -> LiveStatus:
        """The session's numbers under its id and name."""
        return LiveStatus(
            id=self.id,
            name=self.name,
            **vars(self.session.status()),
            learner_history=self._history.samples(),
        )

    async def watch(self, sdp: str, view: str, replaces: str | None = None) -> SdpAnswer:
        """Admit a viewer. replaces: see Peers.answer. Raises BusyError, OfferError."""
        if not self.session.peers.has_room(replaces):
            raise BusyError("every viewer's place is taken")
        answer = await self.session.peers.answer(sdp, view, replaces)
        log.info("viewer admitted")
        return answer

    async def publish(self, sdp: str) -> SdpAnswer:
        """Admit a publisher. Raises NotInboundError, OfferError."""
        if self.session.inbound is None:
            raise NotInboundError("expected a session whose source is whip://, this one's is not")
        answer = await self.session.inbound.answer(sdp)
        log.info("publisher admitted")
        return answer
