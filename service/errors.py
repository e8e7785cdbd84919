"""ServiceError is the base of what this package raises on purpose."""


class ServiceError(Exception):
    """The message is one line and names what was expected and what came."""


class UsageError(ServiceError):
    """The command cannot be done as asked."""
