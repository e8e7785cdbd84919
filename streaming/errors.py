"""StreamingError is the base of everything this package raises on purpose.

StreamingError
├── SourceError   a source cannot be opened or has nothing to show
└── SinkError     an output cannot be written
"""


class StreamingError(Exception):
    """Base class; the message is one line and names what was expected and what came."""


class SourceError(StreamingError):
    """A source cannot be opened or has nothing to show."""


class SinkError(StreamingError):
    """An output cannot be written."""
