"""`gateway reload`: SIGHUP to the gateway that runs, then what came of it.

The file is judged by the master alone. Here it only tells where the gateway is: its state folder, whose lock names the
master, and the listener that carries the admin API, whose /readyz tells the outcome.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.config.addresses import Bind, parse_bind
from gateway.config.document import Document
from gateway.config.load import load
from gateway.config.model import Config, Listener
from gateway.config.problems import ConfigErrors

EX_CONFIG: Final = 78
WAIT: Final = 60.0  # seconds; the master gives an examination 30, and new workers take over within few more
LOOK: Final = 0.1  # seconds between looks
FIRST_LOOKS: Final = 20  # a gateway that is just starting does not answer yet

Readiness = dict[str, Any]


class Outcome(NamedTuple):
    """status: the exit status, 0 reloaded (or sent, when nothing can tell), 78 refused, 1 no gateway or no outcome."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway is, as its file says. folder: its state's, None with another engine than `node`.

    admin: an address that carries the admin API, None when the file tells none. tls: whether it speaks HTTPS.
    """

    engine: str
    folder: Path | None
    admin: Bind | None = None
    tls: bool = False


def reload(file: Path) -> Outcome:
    """Have the gateway that serves `file` take it up anew, and wait for the outcome."""
    from gateway.state.engines import StateError
    from gateway.state.engines.node.folder import holder  # Linux only

    try:
        place = locate(file)
    except ConfigErrors as errors:
        return Outcome(EX_CONFIG, f"{errors}\nnothing was sent: the file does not tell where the gateway's state is")
    if place.folder is None:
        return Outcome(
            1,
            f"with state.engine {place.engine} the gateway leaves no trace of its process id: find the gunicorn master "
            "(gunicorn's --pid FILE writes it down) and kill -HUP it",
        )
    try:
        pid = holder(place.folder)
    except StateError as error:
        return Outcome(1, f"{error}; run this as the user that the gateway runs as")
    if pid is None:
        return Outcome(
            1,
            f"no gateway runs on the state folder {os.path.realpath(place.folder)}, which {file} names: start one with "
            f"`gateway run {file}`, or, if you have edited state.path, restart the one that runs",
        )
    before = _first_look(place)
    os.kill(pid, signal.SIGHUP)
    if before is None:
        why = f"{place.admin} does not answer" if place.admin else f"{file} tells no listener with the admin API"
        return Outcome(0, f"SIGHUP sent to process {pid}; {why}, so only the gateway's log tells what came of it")
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        time.sleep(LOOK)
        now = readiness(place)
        if now is None and holder(place.folder) != pid:
            return Outcome(1, f"process {pid} has ended; its log tells why")
        found = None if now is None else outcome(before, now)
        if found is not None:
            return found
    return Outcome(1, f"no outcome within {WAIT:g} s; the gateway goes on as it was, and its log may tell more")


def locate(file: Path) -> Place:
    """Where the gateway of this file is, whatever else may be wrong with the file. ConfigErrors: it does not tell."""
    found: list[Place] = []

    def look(config: Config, document: Document) -> None:
        if document.sound("state"):
            found.append(_place(config, document))

    try:
        load(file, also=(look,))
    except ConfigErrors:
        if not found:
            raise
    return found[0]


def _place(config: Config, document: Document) -> Place:
    state = config.state
    folder = state.path if state.engine == "node" else None
    if document.sound("listeners") and document.sound("admin", "listeners"):
        for plane in ("internal", "external"):
            listener: Listener | None = getattr(config.listeners, plane)
            if listener and plane in config.admin.listeners:
                return Place(state.engine, folder, parse_bind(listener.bind[0]), listener.tls is not None)
    return Place(state.engine, folder)


def outcome(before: Readiness, now: Readiness) -> Outcome | None:
    """What two answers of /readyz tell about a reload that began between them; None while it is under way."""
    report, generation = now["last_reload"], now["generation"]
    if report is None or report == before["last_reload"]:
        return None
    if report["ok"]:
        # The same generation: asked between two changes of the master's page.
        return None if generation == before["generation"] else Outcome(0, f"reloaded: generation {generation}")
    lines = []
    for error in report["errors"]:
        place = f"{error['file']}:{error['line']}"
        lines.append(": ".join(part for part in (place, error["path"], error["message"]) if part))
    if report.get("omitted"):
        lines.append(f"and {report['omitted']} more, which the gateway's log tells")
    return Outcome(EX_CONFIG, "\n".join([*lines, f"refused: the gateway goes on with generation {generation}"]))


def _first_look(place: Place) -> Readiness | None:
    for _ in range(FIRST_LOOKS if place.admin else 0):
        found = readiness(place)
        if found is not None:
            return found
        time.sleep(LOOK)
    return None


def readiness(place: Place) -> Readiness | None:
    """What /readyz tells; None when it does not answer."""
    if place.admin is None:
        return None
    connection = _Connection(place.admin, tls=place.tls)
    try:
        connection.request("GET", "/readyz", headers={"Host": connection.own_name})
        found = json.loads(connection.getresponse().read())
        return found if isinstance(found, dict) and {"generation", "last_reload"} <= found.keys() else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """To one of the gateway's own listeners."""

    def __init__(self, bind: Bind, *, tls: bool) -> None:
        super().__init__(bind.near, bind.port, timeout=2.0)
        self.own_name = "localhost" if bind.path is not None else str(bind)
        self._path = bind.path
        self._tls = tls

    def connect(self) -> None:
        if self._path is None:
            super().connect()
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        if self._tls:
            # Nothing secret goes over it, and the certificate is for the name that others know this machine by.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
