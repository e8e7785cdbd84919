"""ServiceError is the base of what this package raises on purpose.

ServiceError
├── UsageError               the command cannot be done as asked
├── FetchError               a file could not be brought here, or is not the one expected
├── UnknownSessionError      no session has this id
├── BusyError                no place, or not enough time of the model, for another session
├── NotInboundError          nothing can be published into this session
├── RecordingForbiddenError  this service records nothing
├── RecordingStateError      the session is being recorded already, or is not
├── LessonStateError         the frame of a lesson is gone, or there is no lesson to take back
└── ModelFailedError         (model/process) a step failed, hung, or the process is gone
"""


class ServiceError(Exception):
    """The message is one line and names what was expected and what came."""


class UsageError(ServiceError):
    """The command cannot be done as asked."""


class FetchError(ServiceError):
    """A file could not be brought here, or is not the one expected."""


class UnknownSessionError(ServiceError):
    """No session has this id."""


class BusyError(ServiceError):
    """No place, or not enough time of the model, for another session; later there may be."""


class NotInboundError(ServiceError):
    """Nothing can be published into this session: it has a source already."""


class RecordingForbiddenError(ServiceError):
    """Whoever started the service gave no folder for recordings."""


class LessonStateError(ServiceError):
    """The frame of a lesson is not kept any more, or there is no lesson to take back."""


class RecordingStateError(ServiceError):
    """The session is being recorded already, or is not being recorded."""
