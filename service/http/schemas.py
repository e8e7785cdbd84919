"""What HTTP takes and gives, as JSON; the OpenAPI description is made of these."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.types import Click

LARGEST_OFFER = 64 * 1024

View = Literal["overlay", "plain"]
Action = Literal["freeze", "unfreeze", "rollback", "reset"]
RecordingAction = Literal["start", "stop"]


class Problem(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: str


class Asked(BaseModel):
    """A request's body: a field that we do not know is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class NewSession(Asked):
    """A session to open. Source and name may tell of a person: they are never logged."""

    source: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        examples=["rtsp://192.0.2.7/scope", "phantom://?seed=3"]
    )
    profile: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=80)] | None = None


class Offer(Asked):
    """A viewer's session description; `plain` is the picture without masks drawn on it.

    replaces: the connection that the same viewer ends as soon as this one plays
    """

    sdp: str = Field(max_length=LARGEST_OFFER)
    type: Literal["offer"]
    view: View = "overlay"
    replaces: Annotated[str, Field(max_length=64)] | None = None


class OfferAnswer(BaseModel):
    """Ours."""

    sdp: str
    type: Literal["answer"] = "answer"


class SessionSummary(BaseModel):
    """A session in the list."""

    id: str
    name: str
    badge: str
    source: str
    profile: str
    source_fps: float
    viewers: int


class SessionList(BaseModel):
    """Sessions that run, in the order of their opening."""

    sessions: list[SessionSummary]


class ProfileList(BaseModel):
    """Names of the profiles that a session may be opened with."""

    profiles: list[str]


class SeenFrame(Asked):
    """A frame as somebody saw it.

    frame: its RTP timestamp, as this viewer got it; viewer: the connection, the last part of the
    `Location` of the answer to its offer
    """

    frame: Annotated[int, Field(strict=True, ge=0, lt=1 << 32)]
    viewer: Annotated[str, Field(min_length=1, max_length=64)]


class Press(Asked):
    """A point in shares of the picture's sides; `on` an instrument, or off it."""

    x: Annotated[float, Field(ge=0, le=1)]
    y: Annotated[float, Field(ge=0, le=1)]
    on: bool = True

    def click(self) -> Click:
        """As the model takes it."""
        return Click(self.x, self.y, self.on)


class NewLesson(SeenFrame):
    """What is clicked on in a frame is of this class; 0: no instrument is there."""

    clicks: Annotated[list[Press], Field(min_length=1, max_length=32)]
    class_id: Annotated[int, Field(strict=True, ge=0, le=254)]


class Taught(BaseModel):
    """A lesson was taken. area: share of the picture that it speaks of, 0 to 1"""

    area: float


class TakenBack(BaseModel):
    """The last lesson was undone."""

    taken_back: Literal[True] = True


class Done(BaseModel):
    """The learner did as it was told."""

    done: Action


class IceServer(BaseModel):
    """A TURN relay, as RTCPeerConnection takes it."""

    urls: str
    username: str
    credential: str


class IceServers(BaseModel):
    """Relays that a page may use; none unless whoever runs the service has set one."""

    iceServers: list[IceServer]  # noqa: N815, the name that RTCPeerConnection knows


class Health(BaseModel):
    """What a health check found."""

    status: str
