"""Who works on which frame: a frame is leased to one session at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from thriftseg.annotation.page.refusals import Conflict
from thriftseg.annotation.page.work import Place

LEASE_S = 30.0
"""Seconds that a lease outlives the last sign of life of its session."""


@dataclass
class _Lease:
    session: str
    person: str
    until: float


class Leases:
    """Leases of frames.

    Args:
        clock: Seconds that never run backwards.

    Example:
        >>> leases = Leases(clock=lambda: 0.0)
        >>> leases.take((0, 3), "s1", "Ann")
        >>> leases.of_others("s2")
        {(0, 3): 'Ann'}
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leases: dict[Place, _Lease] = {}
        self._seen: dict[str, float] = {}

    def take(self, place: Place, session: str, person: str) -> None:
        """Lease a frame to a session, which may have it already.

        Raises:
            Conflict: Another session has it.
        """
        self._drop_ended()
        held = self._leases.get(place)
        if held is not None and held.session != session:
            fault = Conflict(f"{held.person or 'somebody else'} works on this frame", fix="take another one, or wait")
            fault.person = held.person
            raise fault
        self._leases[place] = _Lease(session, person, self._clock() + LEASE_S)

    @property
    def sessions(self) -> set[str]:
        """Sessions that gave a sign of life lately."""
        self._drop_ended()
        return set(self._seen)

    @property
    def places(self) -> set[Place]:
        """Frames that some session has."""
        self._drop_ended()
        return set(self._leases)

    def holds(self, place: Place, session: str) -> bool:
        """Whether a session has a frame."""
        self._drop_ended()
        return place in self._leases and self._leases[place].session == session

    def renew(self, session: str) -> None:
        """Note a sign of life."""
        self._drop_ended()
        self._seen[session] = self._clock() + LEASE_S
        for lease in self._leases.values():
            if lease.session == session:
                lease.until = self._clock() + LEASE_S

    def end(self, session: str, place: Place | None = None) -> None:
        """Give back one frame of a session, or all of them."""
        for held, lease in list(self._leases.items()):
            if lease.session == session and place in (None, held):
                del self._leases[held]

    def of_others(self, session: str) -> dict[Place, str]:
        """Frames that other sessions have, and the people."""
        self._drop_ended()
        return {place: lease.person for place, lease in self._leases.items() if lease.session != session}

    def _drop_ended(self) -> None:
        now = self._clock()
        self._leases = {place: lease for place, lease in self._leases.items() if lease.until > now}
        self._seen = {session: until for session, until in self._seen.items() if until > now}
