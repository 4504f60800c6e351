"""The addresses that the configuration binds, and a clear word when one of them cannot be had."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator

from gunicorn import util

from gateway.config.model import Config
from gateway.exchange import Plane

PATIENCE = 5.0  # seconds; a gateway that is just stopping may still hold the port
_PAUSE = 0.25


def binds(config: Config) -> Iterator[tuple[Plane, str]]:
    """Every bind in the order in which gunicorn gets them: external, then internal."""
    for plane, listener in (("external", config.listeners.external), ("internal", config.listeners.internal)):
        if listener:
            for bind in listener.bind:
                yield plane, bind  # type: ignore[misc]


def obstacles(
    config: Config,
    *,
    patience: float = PATIENCE,
    notice: Callable[[str], object] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> list[str]:
    """A sentence for each bind that cannot be had, after waiting up to `patience` seconds for addresses in use.

    `notice` is told once when it waits.
    """
    found = list(_obstacles(config))
    waited = 0.0
    while found and waited < patience and all(code == errno.EADDRINUSE for code, _ in found):
        if not waited:
            notice(f"{'; '.join(text for _, text in found)}; trying for {patience:g} s")
        sleep(_PAUSE)
        waited += _PAUSE
        found = list(_obstacles(config))
    return [text for _, text in found]


def _obstacles(config: Config) -> Iterator[tuple[int, str]]:
    for plane, bind in binds(config):
        try:
            _try(util.parse_address(bind))
        except OSError as error:
            yield error.errno or 0, f"listeners.{plane}.bind: {bind}: {_why(error)}"
        except RuntimeError as error:
            yield 0, f"listeners.{plane}.bind: {bind}: {error}"


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "in use by another process (`ss -lntxp` shows it)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "not an address of this machine"
    if error.errno == errno.EACCES:
        return "not permitted to this user"
    return error.strerror or str(error)


def _try(address: tuple[str, int] | str) -> None:
    """Bind and let go. OSError: it cannot be had."""
    if isinstance(address, tuple):
        family = socket.AF_INET6 if util.is_ipv6(address[0]) else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        return
    # gunicorn removes a socket file that is there, also one that another server listens on.
    try:
        kind = os.stat(address).st_mode
    except FileNotFoundError:
        folder = os.path.dirname(address) or "."
        if not os.path.isdir(folder):
            raise OSError(errno.ENOENT, f"the folder {folder} does not exist") from None
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "not permitted") from None
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.EEXIST, "a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return  # left behind by a server that is gone
        raise OSError(errno.EADDRINUSE, "in use")
