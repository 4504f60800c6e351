"""The control page: what the master tells its workers, and each worker tells the rest, in one small shared mapping.

It is made by the master before the first fork and inherited by every worker of every generation; nobody opens it.
Nothing in it takes a lock:

- Every cell is one aligned 64-bit word with one writer, so a reader sees the old value or the new one.
- The report of the last reload is a text. It is kept twice; the master writes the copy that is not in use, with its
  CRC-32, then turns the index. A reader that was overtaken sees a wrong sum and reads again. A master that is killed
  while it writes leaves the other copy whole.
- What kept a worker from starting is a short text with one writer, read when that process has ended.
"""

from __future__ import annotations

import json
import mmap
import ssl
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import compress
from pathlib import Path
from typing import Any, Final

from gateway.config.model import UpstreamTls
from gateway.config.problems import Problem

SLOTS: Final = 512
REPORT_SIZE: Final = 64 * 1024

_WORD = 8
_HEADER_WORDS = 8
_GENERATION, _ACCEPTED, _LOADED_AT, _STOPPING, _REPORT, _REFUSED = range(6)
_ROW_WORDS = 8  # one cache line, so that workers do not slow each other down
_OCCUPANT, _ROW_GENERATION, _READY, _CONNECTIONS, _LEAVING, _CLOSED = range(6)
_STAYS, _DRAINS, _STOPS = range(3)
_REPORT_HEAD = struct.Struct("=II")  # CRC-32, length
_ROWS_AT = _HEADER_WORDS
_REPORTS_AT = (_HEADER_WORDS + SLOTS * _ROW_WORDS) * _WORD
_FAILURE_HEAD = struct.Struct("=HH")  # bytes of the path, of the message
_FAILURE_SIZE = 1024
_FAILURE_PATH = 128
_FAILURES_AT = _REPORTS_AT + 2 * (REPORT_SIZE + _REPORT_HEAD.size)
_SIZE = _FAILURES_AT + SLOTS * _FAILURE_SIZE
_MICRO = 1_000_000
_MESSAGE_SIZE = 4000


class Cell:
    """One worker's row: the master writes occupant, generation, leaving; the worker the rest."""

    __slots__ = ("_failure", "_row")

    def __init__(self, row: memoryview, failure: memoryview) -> None:
        self._row = row
        self._failure = failure

    @property
    def occupant(self) -> int:
        """The `age` gunicorn gave the worker, 0 for a free slot."""
        return int(self._row[_OCCUPANT])

    @property
    def generation(self) -> int:
        """The accepted load that the worker serves."""
        return int(self._row[_ROW_GENERATION])

    @property
    def ready(self) -> bool:
        """The worker has built its pipeline and takes connections."""
        return bool(self._row[_READY])

    @ready.setter
    def ready(self, value: bool) -> None:
        self._row[_READY] = int(value)

    @property
    def closed(self) -> bool:
        """The worker is leaving and takes no new connections any more."""
        return bool(self._row[_CLOSED])

    @closed.setter
    def closed(self, value: bool) -> None:
        self._row[_CLOSED] = int(value)

    @property
    def connections(self) -> int:
        """Open client connections, as the worker last told."""
        return int(self._row[_CONNECTIONS])

    @connections.setter
    def connections(self, value: int) -> None:
        self._row[_CONNECTIONS] = value

    @property
    def leaving(self) -> bool:
        """The worker was told to go, for a reload or for good."""
        return bool(self._row[_LEAVING])

    @property
    def draining(self) -> bool:
        """The worker was told to go because others have taken over: it may finish what it has within `reload_drain`."""
        return bool(self._row[_LEAVING] == _DRAINS)

    def leave(self, *, drain: bool) -> None:
        """Note why the worker is told to go (the master), before the SIGTERM. A drain may turn into a stop."""
        self._row[_LEAVING] = _DRAINS if drain else _STOPS

    def fail(self, path: str, message: str) -> None:
        """Note what keeps the worker from starting: the configuration's key, if one is at fault, and a sentence."""
        where = path.encode()[:_FAILURE_PATH]
        what = " ".join(message.split()).encode()[: _FAILURE_SIZE - _FAILURE_HEAD.size - len(where)]
        start, middle = _FAILURE_HEAD.size, _FAILURE_HEAD.size + len(where)
        self._failure[start:middle] = where
        self._failure[middle : middle + len(what)] = what
        self._failure[:start] = _FAILURE_HEAD.pack(len(where), len(what))

    @property
    def failure(self) -> tuple[str, str] | None:
        """What the worker noted so; to be read once it has ended."""
        start = _FAILURE_HEAD.size
        where, what = _FAILURE_HEAD.unpack(self._failure[:start])
        text = bytes(self._failure[start : start + where + what])
        return (text[:where].decode(errors="ignore"), text[where:].decode(errors="ignore")) if what else None

    def take(self, occupant: int, generation: int) -> None:
        """Reset the row for a worker that is about to be forked (the master)."""
        self._failure[: _FAILURE_HEAD.size] = bytes(_FAILURE_HEAD.size)
        self._row[_ROW_GENERATION] = generation
        self._row[_READY] = self._row[_CLOSED] = self._row[_CONNECTIONS] = 0
        self._row[_LEAVING] = _STAYS
        self._row[_OCCUPANT] = occupant

    def free(self) -> None:
        """The worker was reaped (the master)."""
        self._row[_OCCUPANT] = self._row[_READY] = self._row[_CONNECTIONS] = 0

    def __repr__(self) -> str:
        return (
            f"Cell(occupant={self.occupant}, generation={self.generation}, ready={self.ready}, "
            f"connections={self.connections}, leaving={self.leaving}, draining={self.draining})"
        )


class ControlPage:
    """See the module's text. A process without a master makes its own and is its own master."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _SIZE)  # anonymous and shared: forks inherit it, nobody else can reach it
        self._words = memoryview(self._map).cast("B")[:_REPORTS_AT].cast("q")
        self._failures = memoryview(self._map)[_FAILURES_AT:]

    # --- the generation in force ---
    @property
    def generation(self) -> int:
        """The number of the accepted load that takes every new connection; 0 until its first worker is ready."""
        return int(self._words[_GENERATION])

    @property
    def accepted(self) -> int:
        """The number of the last accepted load; ahead of `generation` while its workers start, and back when they do
        not."""
        return int(self._words[_ACCEPTED])

    @property
    def loaded_at(self) -> float:
        """When the generation in force was accepted, Unix seconds."""
        return self._words[_LOADED_AT] / _MICRO

    @property
    def stopping(self) -> bool:
        """The master is stopping: every worker leaves and no other takes its place."""
        return bool(self._words[_STOPPING])

    def accept(self, generation: int) -> None:
        self._words[_ACCEPTED] = generation

    def serve(self, generation: int, loaded_at: float) -> None:
        self._words[_LOADED_AT] = int(loaded_at * _MICRO)
        self._words[_GENERATION] = generation

    def stop(self) -> None:
        self._words[_STOPPING] = 1

    # --- workers ---
    def cell(self, slot: int) -> Cell:
        """The row of a slot, 0 to SLOTS - 1."""
        if not 0 <= slot < SLOTS:
            raise IndexError(f"slot {slot} is not one of {SLOTS}")
        start = _ROWS_AT + slot * _ROW_WORDS
        failure = slot * _FAILURE_SIZE
        return Cell(self._words[start : start + _ROW_WORDS], self._failures[failure : failure + _FAILURE_SIZE])

    def occupied(self) -> Iterator[tuple[int, Cell]]:
        """Every slot with a worker, lowest first."""
        occupants = self._words[_ROWS_AT + _OCCUPANT : _ROWS_AT + SLOTS * _ROW_WORDS : _ROW_WORDS].tolist()
        for slot in compress(range(SLOTS), occupants):
            yield slot, self.cell(slot)

    # --- the last reload ---
    def report(self, *, ok: bool, at: float, problems: Sequence[Problem] = ()) -> None:
        """Note how the last reload ended (the master). `at`: Unix seconds. What does not fit is counted as omitted."""
        errors: list[dict[str, Any]] = []
        left = REPORT_SIZE - 256
        for one in problems:
            entry = {"file": one.file, "line": one.line, "path": one.path, "message": one.message[:_MESSAGE_SIZE]}
            left -= len(json.dumps(entry)) + 2
            if left < 0:
                break
            errors.append(entry)
        told: dict[str, Any] = {
            "ok": ok,
            "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "errors": errors,
        }
        if len(errors) < len(problems):
            told["omitted"] = len(problems) - len(errors)
        text = json.dumps(told).encode()
        turn = self._words[_REPORT] + 1
        start = self._report_at(turn)
        self._map[start : start + _REPORT_HEAD.size] = _REPORT_HEAD.pack(zlib.crc32(text), len(text))
        self._map[start + _REPORT_HEAD.size : start + _REPORT_HEAD.size + len(text)] = text
        self._words[_REPORT] = turn
        if not ok:
            self._words[_REFUSED] += 1

    @property
    def refused(self) -> int:
        """How many reloads were refused since the start."""
        return int(self._words[_REFUSED])

    @property
    def last_reload(self) -> Mapping[str, Any] | None:
        """`{"ok", "at", "errors": [{"file", "line", "path", "message"}], "omitted"?}`, None before the first."""
        for _ in range(100):  # each round was overtaken by two whole reports; more than one is not to be expected
            turn = self._words[_REPORT]
            if not turn:
                return None
            start = self._report_at(turn)
            total, length = _REPORT_HEAD.unpack(self._map[start : start + _REPORT_HEAD.size])
            text = self._map[start + _REPORT_HEAD.size : start + _REPORT_HEAD.size + min(length, REPORT_SIZE)]
            if zlib.crc32(text) == total:
                return dict(json.loads(text))
        return None

    @staticmethod
    def _report_at(turn: int) -> int:
        return _REPORTS_AT + (turn % 2) * (REPORT_SIZE + _REPORT_HEAD.size)

    def __repr__(self) -> str:
        workers = ", ".join(f"{slot}: {cell!r}" for slot, cell in self.occupied())
        return f"ControlPage({self.generation} of {self.accepted}, stopping={self.stopping}, workers={{{workers}}})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a worker has from its master beside the configuration; `build` hands each component its part.

    slot: the worker's number, 0 to SLOTS - 1, its own while it lives. generation: the accepted load that it serves.
    segment_fd: the shared memory of the node engine, None without a master or with another engine.
    origin: the configuration file. contexts: of services that speak TLS to their instances; others are made when
    they are needed.
    """

    page: ControlPage
    slot: int = 0
    generation: int = 1
    segment_fd: int | None = None
    origin: Path | None = None
    contexts: Mapping[UpstreamTls, ssl.SSLContext] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        return self.page.cell(self.slot)

    def in_force(self) -> bool:
        """Whether the worker's load is the one that serves. A load that was withdrawn has the same number as the next
        one, but its workers were told to make way."""
        return self.page.generation == self.generation and not self.cell.draining

    @classmethod
    def alone(cls, origin: Path | None = None) -> Runtime:
        """For a process without a master, such as Werkzeug's test client: its own page, generation 1, serving."""
        page = ControlPage()
        page.accept(1)
        page.serve(1, time.time())
        page.cell(0).take(1, 1)
        page.cell(0).ready = True
        return cls(page=page, origin=origin)
