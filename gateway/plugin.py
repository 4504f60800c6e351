"""Plug points: a folder is a plug point, a file in it is a kind, and the file's name is the `type` that is configured.

A kind's file defines `build(settings, **deps)`; the folder's `__init__` holds the Protocol of what `build` returns.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


class Unresolved(LookupError):
    """A reference in the configuration names no callable. path: its key, where the one who resolves it says so."""

    path = ""


def kinds(package: ModuleType) -> list[str]:
    """The names of the kinds that a plug point's folder holds, sorted."""
    return sorted(found.name for found in pkgutil.iter_modules(package.__path__) if not found.name.startswith("_"))


def load(package: ModuleType, kind: str) -> ModuleType:
    """The module of one kind. LookupError names the kinds there are when `kind` is none of them."""
    known = kinds(package)
    if kind not in known:
        raise LookupError(f"{package.__name__} has no kind {kind!r}; there are: {', '.join(known)}")
    return importlib.import_module(f"{package.__name__}.{kind}")


def load_all(package: ModuleType) -> dict[str, ModuleType]:
    """Every kind's module, by name."""
    return {kind: importlib.import_module(f"{package.__name__}.{kind}") for kind in kinds(package)}


def resolve(reference: str, folder: Path | None = None) -> Callable[..., Any]:
    """The callable that `module:function` names, its module imported. Unresolved tells why there is none.

    folder: where the module, and what it imports, is looked for when sys.path does not have it. An exception that the
    module itself raises is the error's cause.
    """
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise Unresolved(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise Unresolved(f"{module.__file__ or name} has no {attribute}")
    if not callable(found):
        raise Unresolved(f"{attribute} in {module.__file__ or name} is not callable")
    return found  # type: ignore[no-any-return]  # callable() leaves it at object
