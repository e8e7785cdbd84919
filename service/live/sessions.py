"""The sessions of this service: opened, found by id, closed; never more than there are places."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from collections.abc import Iterator
from dataclasses import replace

from service.errors import BusyError, UnknownSessionError
from service.live.admission import why_refused
from service.live.learner_history import SAMPLE_EVERY_S
from service.live.live_session import LiveSession
from service.live.profiles import profile_named
from service.live.session import Session
from service.live.session_config import SessionConfig, configure_session, own_profile
from service.live.source_policy import SourcePolicy
from service.log import SESSION, open_logging
from service.model.process import ModelProcess, ModelTimes
from service.model.warm_tracker import WarmTracker
from service.model.worker import OpenSegmenter
from service.settings import Settings

log = logging.getLogger(__name__)

MAIN = "main"  # the session that `trocar serve` opens
CLOSE_S = 3.5  # for all sessions together; a stop of the service takes 5 s at most


class Sessions:
    """Owns every session from its opening to its end.

    open_segmenter: another model than the embedded tracker, for tests; must be picklable
    """

    def __init__(
        self,
        settings: Settings,
        *,
        open_segmenter: OpenSegmenter | None = None,
        times: ModelTimes | None = None,
    ) -> None:
        self.settings, self._opener = settings, open_segmenter
        self._times = times or ModelTimes.of(settings.engine)
        self._policy = SourcePolicy(settings.media, settings.local_sources, settings.devices)
        self._running: dict[str, LiveSession] = {}
        self._opening: dict[str, Session] = {}
        self._sampler: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Places taken: sessions that run, and those being opened."""
        return len(self._running) + len(self._opening)

    def __iter__(self) -> Iterator[LiveSession]:
        """Those that run, in the order of their opening."""
        return iter(list(self._running.values()))

    def __contains__(self, session_id: str) -> bool:
        """Does a session of that id run?"""
        return session_id in self._running

    def __getitem__(self, session_id: str) -> LiveSession:
        """The session of that id. Raises UnknownSessionError."""
        if session_id not in self._running:
            raise UnknownSessionError(
                "expected the id of a session that runs, as /api/sessions lists them"
            )
        return self._running[session_id]

    @property
    def full(self) -> bool:
        """No further session is admitted."""
        return len(self) >= self.settings.sessions

    def why_not_ready(self) -> str | None:
        """In one sentence, why nobody should be sent here now; None when all is well.

        A model that answers has verified its weights and is warm: it was opened so.
        """
        if not all(live.session.ready for live in self):
            return "the model is not answering"
        if self.full and all(live.session.peers.full for live in self):
            return "every place is taken"
        return None

    async def open_main(self) -> LiveSession:
        """The session that the command line describes, whatever its source. Raises as `open`."""
        settings = self.settings
        profile = settings.profile or own_profile(settings.source)
        plan = configure_session(
            settings.source, profile, loop=settings.loop, deinterlace=settings.deinterlace
        )
        plan = replace(plan, record=settings.record is not None)
        return await self._open(MAIN, MAIN, plan, profile)

    async def open(self, source: str, profile: str | None, name: str | None) -> LiveSession:
        """Open a session that was asked for over HTTP, and wait until it runs.

        Raises BusyError; SourceError, ModelError, ModelFailedError of what was asked for.
        """
        wanted = profile or own_profile(source)
        chosen = await asyncio.to_thread(profile_named, wanted, self.settings)  # a slow folder
        plan = await asyncio.to_thread(
            configure_session,
            source,
            chosen,
            policy=self._policy,
            deinterlace=self.settings.deinterlace,
        )
        session_id = secrets.token_hex(4)
        return await self._open(session_id, name or session_id, plan, chosen)

    async def _open(
        self, session_id: str, name: str, plan: SessionConfig, profile: str
    ) -> LiveSession:
        if self._closed or self.full:
            raise BusyError(f"each of the {self.settings.sessions} places for sessions is taken")
        named = SESSION.set(session_id)  # in the logs of every task and thread it starts
        try:
            live = LiveSession(session_id, name, await self._start(session_id, plan, profile))
            self._running[session_id] = live
            self._sampler = self._sampler or asyncio.create_task(self._sample(), name="sample")
            log.info("session opened")
            return live
        finally:
            SESSION.reset(named)

    async def _start(self, session_id: str, plan: SessionConfig, profile: str) -> Session:
        opener = functools.partial(
            open_logging, self.settings.log, session_id, self._open_segmenter(profile)
        )
        session = Session(plan, ModelProcess(opener, self._times), self.settings)
        self._opening[session_id] = session
        try:
            await session.start(functools.partial(self._admit, session))
            if self._closed:
                raise BusyError("the service is being stopped")
        except BaseException:
            await session.close()
            raise
        finally:
            del self._opening[session_id]
        return session

    def _admit(self, session: Session, fps: float) -> None:
        """Let a session start whose source has so many frames a second. Raises BusyError."""
        others = [live.session for live in self] + list(self._opening.values())
        paces = [other.pace() for other in others if other is not session]
        reason = why_refused(paces, fps, self.settings.capacity)
        if reason is not None:
            log.info("session refused: no time of the model left")
            raise BusyError(reason)

    def _open_segmenter(self, profile: str) -> OpenSegmenter:
        settings = self.settings
        return self._opener or WarmTracker(
            profile,
            online=settings.online,
            gamma=settings.gamma,
            engine=settings.engine,
            learn_all=settings.learn_all,
        )

    async def _sample(self) -> None:
        while True:
            for live in self:
                live.sample()
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def remove(self, session_id: str) -> None:
        """Close a session; its viewers are told. Raises UnknownSessionError."""
        live = self[session_id]
        del self._running[session_id]
        await live.session.close()
        log.info("session closed")

    async def close(self) -> None:
        """Close every session side by side, within CLOSE_S; may be called twice."""
        self._closed = True
        if self._sampler is not None:
            self._sampler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sampler
        sessions = [*(live.session for live in self), *self._opening.values()]
        self._running.clear()
        closing = [asyncio.create_task(one.close(), name="close") for one in sessions]
        if closing:
            _, late = await asyncio.wait(closing, timeout=CLOSE_S)
            if late:
                log.warning("%d of %d sessions did not close in time", len(late), len(closing))
