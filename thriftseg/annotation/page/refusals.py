"""Why the page cannot do what it is asked for."""

from __future__ import annotations

from thriftseg.errors import ThriftsegError


class PageError(ThriftsegError):
    """A request that cannot be granted.

    Attributes:
        status: As HTTP counts it.
        person: Who has what was asked for, where somebody has.
    """

    status = 400
    person: str | None = None


class Conflict(PageError):
    """What is asked for does not go together with what others do, or with what is stored."""

    status = 409


class Outdated(PageError):
    """What was done began with a label of the frame that is another one now."""

    status = 412


class NotFound(PageError):
    """There is no such thing."""

    status = 404


class Busy(PageError):
    """It may well be possible later."""

    status = 503


class TooLarge(PageError):
    """A request of too many bytes."""

    status = 413


class PatchError(PageError):
    """A patch that does not fit its frame."""
