"""Names of backends, resolved beside the requests: a request finds the addresses there, or waits once for the first.

A name is looked up again every `ttl` seconds for as long as it is used; when that fails, the last good addresses stay.
A few threads do it, so that a look-up that hangs (getaddrinfo cannot be given up) delays other names only when as many
hang as there are threads.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from gateway.errors import NameUnresolved

_UNUSED = 300.0  # seconds after its last use that a name is forgotten
_SHORTEST = 1.0  # seconds between two look-ups of one name
_MOST_ADDRESSES = 16


def system_lookup(host: str) -> list[str]:
    """The addresses of a name as the system knows them (hosts file, DNS), in its order of preference. OSError: none."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)]


class Resolver:
    """Addresses of hosts for all threads of a worker. `start` before use, `close` at the end.

    lookup: the addresses of a name, at least one, or an OSError. threads: how many look-ups may be under way.
    """

    def __init__(
        self,
        lookup: Callable[[str], Sequence[str]] = system_lookup,
        now: Callable[[], float] = time.monotonic,
        *,
        threads: int = 4,
    ) -> None:
        self._lookup = lookup
        self._now = now
        self._count = threads
        self._lock = threading.Lock()  # guards all below, and what the names hold
        self._due = threading.Condition(self._lock)  # a name came, or this closes
        self._found = threading.Condition(self._lock)  # a look-up ended, or this closes
        self._names: dict[str, _Name] = {}
        self._closed = False

    def start(self) -> None:
        for at in range(self._count):
            threading.Thread(target=self._work, name=f"resolver-{at}", daemon=True).start()

    def close(self) -> None:
        """End the threads. One that hangs in a look-up ends with the process."""
        with self._lock:
            self._closed = True
            self._due.notify_all()
            self._found.notify_all()

    def addresses(self, host: str, wait: float, ttl: float) -> Sequence[str]:
        """The addresses of a host, each time beginning with the next one; an address stands for itself.

        wait: seconds that the first look-up of a name may take; who comes later waits only for what is left of them.
        ttl: seconds between look-ups. Raises NameUnresolved, saying why, when nothing was ever found.
        """
        if _is_address(host):
            return (host,)
        now = self._now()
        with self._lock:
            name = self._names.get(host)
            if name is None:
                name = self._names[host] = _Name(now)
                self._due.notify()
            name.used = now
            name.ttl = max(ttl, _SHORTEST)
            if not name.known:
                self._found.wait_for(lambda: name.known or self._closed, name.asked + wait - now)
            if not name.addresses:
                raise NameUnresolved(f"{host} does not resolve: {name.failure or 'the look-up takes too long'}")
            first = name.turn % len(name.addresses)
            name.turn += 1
            return name.addresses[first:] + name.addresses[:first]

    def _work(self) -> None:
        while (host := self._next()) is not None:
            found: tuple[str, ...] = ()
            failure = "no addresses"
            try:
                found = tuple(dict.fromkeys(self._lookup(host)))[:_MOST_ADDRESSES]
            except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA does not allow
                failure = getattr(error, "strerror", None) or str(error)
            with self._lock:
                self._note(self._names[host], found, failure)
                self._found.notify_all()

    def _next(self) -> str | None:
        """Wait for the next name that is due; None when this is closed."""
        with self._lock:
            while not self._closed:
                now = self._now()
                for host in [host for host, name in self._names.items() if name.is_forgotten(now)]:
                    del self._names[host]
                waiting = [(name.due, host) for host, name in self._names.items() if not name.busy]
                due, host = min(waiting, default=(now + _UNUSED, ""))
                if due <= now:
                    self._names[host].busy = True
                    self._due.notify()  # there may be another
                    return host
                self._due.wait(due - now)
            return None

    def _note(self, name: _Name, found: tuple[str, ...], failure: str) -> None:
        name.busy = False
        if found:
            name.addresses = found
            name.failure = None
        else:
            name.failure = failure
        # The last good addresses serve until the usual time comes round; without any, requests are being refused.
        name.due = self._now() + (name.ttl if name.addresses else _SHORTEST)


class _Name:
    """What is known of a name."""

    __slots__ = ("addresses", "asked", "busy", "due", "failure", "ttl", "turn", "used")

    def __init__(self, now: float) -> None:
        self.addresses: tuple[str, ...] = ()  # the last good ones
        self.failure: str | None = None  # why the last look-up found nothing
        self.asked = now  # when it was asked for first
        self.due = now  # when to look it up
        self.busy = False  # a thread is at it
        self.used = now
        self.ttl = _SHORTEST
        self.turn = 0

    @property
    def known(self) -> bool:
        """Whether a look-up has come to an end, with addresses or without."""
        return bool(self.addresses) or self.failure is not None

    def is_forgotten(self, now: float) -> bool:
        return not self.busy and now - self.used > _UNUSED


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
