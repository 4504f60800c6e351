"""The gateway's own log: structlog set up once a process, every line in one shape, whoever wrote it.

JSON: `{"time", "level", "event", ...}`; console: the same for human eyes. Values whose key `logging.mask` names are
shown as `***`, at any depth. The access log has the same shape and its own fast path in `access.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog

from gateway.config.model import Logging

MASK = "***"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

Event = MutableMapping[str, Any]
Write = Callable[[str], object]  # takes one whole line with its newline; LineWriter.write in a worker


def timestamp(seconds: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds: 2026-01-31T12:00:00.123Z."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Mask:
    """Replaces the values of the named keys, in whatever case, in a log event and in what it holds."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in names)

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        """A structlog processor."""
        return self.mapping(event)

    def mapping(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: MASK if str(name).lower() in self._names else self._value(value) for name, value in values.items()
        }

    def _value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value)
        if isinstance(value, list | tuple):
            return [self._pair(item) for item in value]
        return value

    def _pair(self, item: Any) -> Any:
        """Header fields travel as (name, value)."""
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            return [item[0], MASK if item[0].lower() in self._names else self._value(item[1])]
        return self._value(item)


class _Stamp:
    """Puts time, level and event first, in this order."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        level = event.pop("level", method)
        name = event.pop("event", "")
        return {"time": timestamp(self._wall()), "level": level, "event": name, **event}


class _Sink:
    """What structlog calls a logger: takes the rendered line."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def msg(self, line: str) -> None:
        self._write(line + "\n")

    debug = info = warning = error = critical = exception = fatal = log = msg


class StdlibHandler(logging.Handler):
    """Brings the lines of libraries that use `logging` (gunicorn's error log) into the same shape and writer."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger(record.name)
            fields = {"exc_info": record.exc_info} if record.exc_info else {}
            level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.ERROR)
            log.log(level, record.getMessage(), logger=record.name, **fields)
        except Exception:
            self.handleError(record)


def configure(settings: Logging, write: Write, wall: Callable[[], float]) -> None:
    """Set structlog up for this process; the last call holds (a worker calls again). `wall` gives Unix seconds."""
    render: Any
    if settings.format == "json":
        render = structlog.processors.JSONRenderer(default=str, separators=(",", ":"))  # as access.py writes
    else:
        plain = structlog.dev.plain_traceback
        render = structlog.dev.ConsoleRenderer(colors=False, timestamp_key="time", exception_formatter=plain)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, Mask(settings.mask), _Stamp(wall), render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=lambda *_: _Sink(write),
        # A logger that remembered its sink would go on writing to the master's after the fork.
        cache_logger_on_first_use=False,
    )
