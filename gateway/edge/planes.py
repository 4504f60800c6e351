"""Which listener a request came in on: told by the socket it arrived at, never by anything the client sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from gateway.config.addresses import Bind
from gateway.exchange import Plane


class Planes:
    """binds: of each listener as configured.

    Our worker says by itself (`gateway.plane`); under gunicorn's own workers the accepted socket's local address is
    looked up among the binds. What matches none is external: the admin API is never on a socket that nobody named.
    """

    def __init__(self, binds: Mapping[Plane, Iterable[Bind]]) -> None:
        self._exact: dict[str | tuple[str, int], Plane] = {}
        self._ports: dict[int, Plane] = {}  # wildcards, and names, which may stand for several addresses
        for plane, listed in binds.items():
            for bind in listed:
                if bind.path is not None:
                    self._exact[bind.path] = plane
                elif _is_one_address(bind.host):
                    self._exact[bind.host, bind.port] = plane
                else:
                    self._ports[bind.port] = plane

    def of(self, environ: Mapping[str, Any]) -> Plane:
        plane = environ.get("gateway.plane")
        if plane is not None:
            return "internal" if plane == "internal" else "external"
        accepted = environ.get("gunicorn.socket")
        if accepted is None:
            return "external"
        try:
            local = accepted.getsockname()
        except OSError:  # the client has left meanwhile
            return "external"
        if not isinstance(local, tuple):  # the path of a unix socket
            return self._exact.get(local, "external")
        key = (local[0].removeprefix("::ffff:"), local[1])
        return self._exact.get(key) or self._ports.get(local[1], "external")


def _is_one_address(host: str) -> bool:
    try:
        return not ip_address(host).is_unspecified
    except ValueError:
        return False
