"""What a start, a reload and `gateway check` demand of a configuration beyond its text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway import plugin

from .checks import Check
from .document import Document
from .load import load
from .model import Config
from .problems import KeyPath
from .quantities import format_size

EX_CONFIG: Final = 78  # sysexits.h: the exit status for a configuration that cannot be used


def examine(path: str | os.PathLike[str], current: Config | None = None, *, also: Iterable[Check] = ()) -> Config:
    """Load a configuration and import the modules that it names. ConfigErrors holds all that is wrong with it.

    current: the one that it is to take the place of while the gateway runs; None at a start. also: what layers above
    demand of it.
    The modules are imported into this process; a master that must not have them does this in a child.
    """
    restart = () if current is None else (partial(_needs_no_restart, current),)
    return load(path, also=(*also, partial(_functions_exist, Path(path).absolute().parent), *restart))


def _functions_exist(folder: Path, config: Config, document: Document) -> None:
    for path, reference in ((("routing", "function"), config.routing.function), (("setup",), config.setup)):
        if reference and document.sound(*path):
            try:
                plugin.resolve(reference, folder)
            except LookupError as error:
                document.refuse(path, str(error))


def _needs_no_restart(current: Config, config: Config, document: Document) -> None:
    """Sockets and state are made once, when the gateway starts. Told only of a file that is otherwise right: in one
    that is half-written they are merely missing."""
    if document.problems:
        return
    for plane in ("external", "internal"):
        before, after = getattr(current.listeners, plane), getattr(config.listeners, plane)
        _same(document, ("listeners", plane, "bind"), before and before.bind, after and after.bind)
    for key in ("engine", "path", "max_size"):
        _same(document, ("state", key), getattr(current.state, key), getattr(config.state, key))


def _same(document: Document, path: KeyPath, before: Any, after: Any) -> None:
    if before != after:
        document.refuse(path, f"needs a restart: the gateway runs with {_shown(before)}, not {_shown(after)}")


def _shown(value: Any) -> str:
    """As the operator writes it."""
    if value is None:
        return "none"
    if isinstance(value, int):  # of these keys only a size is a number
        return format_size(value)
    return ", ".join(value) if isinstance(value, tuple) else str(value)
