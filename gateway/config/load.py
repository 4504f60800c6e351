"""A file to a `Config`, or to every problem it has: read, join what it includes, check types, then everything else.

files → nodes (compose, include) → model (read, scalars) → checks that look at more than one key → not built yet
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from .built import refuse_unbuilt
from .checks import CHECKS, Check
from .document import Document
from .include import join_included, read_file
from .model import Cache, Config, Defaults, Service, State
from .problems import ConfigErrors, Problem
from .read import Reader
from .scalars import Scalars
from .shape import Section, shape_of


def load(
    path: str | os.PathLike[str], environment: Mapping[str, str] = os.environ, *, also: Iterable[Check] = ()
) -> Config:
    """The configuration that a file holds. ConfigErrors carries every problem of it, each with its place.

    path: also names the file in messages. environment: what `${NAME}` is looked up in. also: more checks.
    """
    main = Path(os.path.abspath(path))
    digest = hashlib.sha256()
    document = Document(os.fspath(path))
    root = read_file(document, 0, main, digest)
    if root is None:
        raise ConfigErrors(document.problems)
    document.root = root
    config = _read(document, main, environment, digest)
    for check in (*CHECKS, *also):
        check(config, document)
    refuse_unbuilt(config, defaults_in(main.parent), document)
    if document.problems:
        raise ConfigErrors(_sorted(document, document.problems))
    warnings = tuple(_sorted(document, document.warnings))
    return replace(config, origin=main, digest=digest.hexdigest(), warnings=warnings)


def defaults_in(folder: Path) -> Config:
    """The configuration of a file in `folder` that says nothing: the model's defaults, with paths in that folder."""
    return Config(
        state=replace(State(), path=folder / State().path),
        cache=replace(Cache(), path=folder / Cache().path),
    )


def _read(document: Document, main: Path, environment: Mapping[str, str], digest: hashlib._Hash) -> Config:
    reader = Reader(document, Scalars(main.parent, environment, digest))
    shape = cast(Section, shape_of(Config))
    base = defaults_in(main.parent)
    given: dict[str, Any] = {}
    for key in ("include", "defaults"):  # `include` adds to what is read next, and services lie over `defaults`
        node = document.root.get(key)
        if node:
            given[key] = reader.read(shape.fields[key].shape, node, (key,), getattr(base, key))
        if key == "include":
            join_included(document, given.get(key, ()), main, digest)
    defaults: Defaults = given.get("defaults", base.defaults)
    under = Service(timeouts=defaults.timeouts, pool=defaults.pool, concurrency=defaults.concurrency)
    reader.under[("services",)] = under
    return cast(Config, reader.section(shape, document.root, (), base, given))


def _sorted(document: Document, problems: list[Problem]) -> list[Problem]:
    place = {name: number for number, name in enumerate(document.files)}
    return sorted(dict.fromkeys(problems), key=lambda problem: (place[problem.file], problem.line, problem.column))
