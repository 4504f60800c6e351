"""What a start and a reload demand of a configuration: that it is valid and that this machine can use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway import plugin
from gateway.config.compose import Composer, Refused
from gateway.config.load import load
from gateway.config.model import Config
from gateway.config.nodes import Node, Table
from gateway.config.problems import ConfigErrors, Problem
from gateway.exchange import Plane
from gateway.server import tls

EX_CONFIG: Final = 78  # sysexits.h
PLANES: Final[tuple[Plane, ...]] = ("external", "internal")


def examine(path: Path, current: Config | None = None) -> Config:
    """Load a configuration and import what it names. ConfigErrors holds all that is wrong with it.

    current: the configuration that it is to take the place of while the gateway runs; None at a start.
    Imports modules into this process: a master does it in a child.
    """
    config = load(path)
    places = Places(path)
    problems = [*unusable(config, places)]
    if current is not None:
        problems += needs_restart(current, config, places)
    if problems:
        raise ConfigErrors(problems)
    return config


def unusable(config: Config, places: Places) -> Iterator[Problem]:
    """Functions that cannot be imported, certificates that cannot be used."""
    for keys, reference in ((("routing", "function"), config.routing.function), (("setup",), config.setup)):
        if reference:
            try:
                plugin.resolve(reference)
            except LookupError as error:
                yield places.problem(keys, str(error))
    for plane in PLANES:
        listener = getattr(config.listeners, plane)
        if listener and listener.tls:
            try:
                tls.server_context(listener.tls)
            except ValueError as error:
                yield places.problem(("listeners", plane, "tls"), str(error))


def needs_restart(current: Config, config: Config, places: Places) -> Iterator[Problem]:
    """What differs although only a restart can change it: sockets and the state are made once."""
    for plane in PLANES:
        before, after = getattr(current.listeners, plane), getattr(config.listeners, plane)
        if (before and before.bind) != (after and after.bind):
            yield _restart(places, ("listeners", plane, "bind"), before and before.bind, after and after.bind)
    for key in ("engine", "path", "max_size"):
        before, after = getattr(current.state, key), getattr(config.state, key)
        if before != after:
            yield _restart(places, ("state", key), before, after)


def _restart(places: Places, keys: tuple[str, ...], before: Any, after: Any) -> Problem:
    return places.problem(keys, f"needs a restart: the gateway runs with {_shown(before)}, not {_shown(after)}")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


class Places:
    """Where a key stands in the configuration file; the nearest one above it where it has no line of its own there."""

    def __init__(self, path: Path) -> None:
        self._file = str(path)
        try:
            self._root = Composer(self._file, 0).compose(path.read_text())
        except (OSError, ValueError, Refused):  # changed since it was loaded
            self._root = None

    def problem(self, keys: tuple[str, ...], why: str) -> Problem:
        node: Node | None = self._root
        line = column = 1
        for key in keys:
            entry = node.entries.get(key) if isinstance(node, Table) else None
            if entry is None:
                break
            name, node = entry
            line, column = name.line, name.column
        return Problem(file=self._file, line=line, column=column, path=".".join(keys), why=why)
