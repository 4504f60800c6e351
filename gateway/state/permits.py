"""Leave to send one request to an instance, and the duty to say how it ended: `done`, once.

Which class a breaker gives out depends on what a success can change; so `done` of a success costs nothing where it
changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .operations.breaker import Admission

if TYPE_CHECKING:
    from .breakers import Breaker


class Permit:
    """Of a closed breaker that counts failures in a row: a success takes them back. May be shared by threads.

    stamp: of the record as it was read, so that nothing needs to be asked while it stands; None when a success counts.
    """

    __slots__ = ("breaker", "generation", "stamp")

    is_probe = False

    def __init__(self, breaker: Breaker, stamp: int | None, generation: int) -> None:
        self.breaker = breaker
        self.stamp = stamp
        self.generation = generation

    def done(self, ok: bool | None, seconds: float | None = None) -> None:
        """How it ended: True, False, or None when nothing was learnt about the instance (the client left).

        seconds: from the attempt's begin to its answer's head, or to its failure; None: not known.
        """
        if ok:
            if self.stamp == self.breaker.record.stamp():
                return  # no failure on record: nothing to take back
        elif ok is None:
            return
        self.breaker.report(self, ok, -1, 0.0)


class WindowPermit(Permit):
    """Of a closed breaker that counts failures within a window: a success changes nothing."""

    __slots__ = ()

    def done(self, ok: bool | None, seconds: float | None = None) -> None:
        if ok is False:
            self.breaker.report(self, False, -1, 0.0)


class SharePermit(Permit):
    """Of a closed breaker that looks at shares: every call counts."""

    __slots__ = ()

    def done(self, ok: bool | None, seconds: float | None = None) -> None:
        if ok is not None:
            self.breaker.count(self, ok, seconds)


class FreePermit(Permit):
    """Of a breaker that an operator switched off or holds closed: outcomes do not count."""

    __slots__ = ()

    def done(self, ok: bool | None, seconds: float | None = None) -> None:
        return


class Probe(Permit):
    """Leave to send one probe to a half-open instance: a lease, which `done` gives back. Owned by one request."""

    __slots__ = ("_deadline", "_held", "_slot")

    is_probe = True

    def __init__(self, breaker: Breaker, admission: Admission, held: int | None) -> None:
        super().__init__(breaker, None, admission.generation)
        self._held = held
        self._slot = admission.slot
        self._deadline = admission.until

    def done(self, ok: bool | None, seconds: float | None = None) -> None:
        self.breaker.give_back(self, ok, self._slot, self._deadline, self._held)
