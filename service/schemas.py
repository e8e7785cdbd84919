"""What HTTP takes and gives, as JSON; the OpenAPI description is made of these."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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


class Answer(BaseModel):
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


class Quantiles(BaseModel):
    """Milliseconds over the last 250 samples."""

    p50: float
    p95: float


class ClassStatus(BaseModel):
    """A class as the last step saw it. confidence: estimated DSC, 0 to 1"""

    id: int
    name: str
    color: str
    present: bool
    confidence: float
    update: str


class UnnamedStatus(BaseModel):
    """Instruments whose kind is unknown, in the last step. area: share of the picture, 0 to 1"""

    id: int
    name: str
    color: str
    area: float


class RecordingStatus(BaseModel):
    """Whether a session is recorded, and may be; frames are those written so far.

    state: off, recording, closed, or failed (the disk is full, say)
    """

    allowed: bool
    state: Literal["off", "recording", "closed", "failed"]
    frames: int
    dropped: int


class LearnerSample(BaseModel):
    """The learner at one moment. t_s: seconds since the session was opened; counts are totals."""

    t_s: float
    confidence: dict[int, float]
    accepted: int
    refused: int
    rolled_back: int


class ColourStatus(BaseModel):
    """How a picture's numbers were taken. assumed: what of it the stream did not say"""

    model_config = ConfigDict(extra="allow")

    matrix: str
    range: Literal["limited", "full"]
    assumed: list[Literal["matrix", "range"]]


class PictureStatus(BaseModel):
    """How the source's pictures are understood. deinterlaced: why, where they are"""

    colour: ColourStatus | None
    deinterlaced: Literal["tagged", "found", "asked"] | None


class SessionStatus(SessionSummary):
    """All that is known of a session; counts are totals since it was opened."""

    model_config = ConfigDict(extra="allow")

    source_state: str
    picture: PictureStatus
    demo: bool
    fps_in: float
    fps_out: float
    step_ms: Quantiles
    capture_to_send_ms: Quantiles
    deadline_ms: float
    frames_dropped: dict[str, int]
    frames_in: int
    frames_sent: int
    frames_masked: int
    frames_shown_plain: int
    source_losses: int
    updates: dict[str, int]
    learner_failures: int
    learner_frozen: bool
    model_failures: int
    model_starts: int
    recording: RecordingStatus
    classes: list[ClassStatus]
    unnamed: UnnamedStatus
    learner_history: list[LearnerSample]


class ProfileList(BaseModel):
    """Names of the profiles that a session may be opened with."""

    profiles: list[str]


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
