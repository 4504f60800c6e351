"""Plug points: a folder is a plug point, a file in it is a kind, and the file's name is the `type` that is configured.

A kind's file defines `build(settings, **deps)`; the folder's `__init__` holds only the Protocol of what `build` returns.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def kinds(package: ModuleType) -> list[str]:
    """The names of the kinds that a plug point's folder holds, sorted."""
    return sorted(found.name for found in pkgutil.iter_modules(package.__path__) if not found.name.startswith("_"))


def load(package: ModuleType, kind: str) -> ModuleType:
    """The module of one kind. LookupError names the kinds there are when `kind` is none of them."""
    known = kinds(package)
    if kind not in known:
        raise LookupError(f"{package.__name__} has no kind {kind!r}; there are: {', '.join(known)}")
    return importlib.import_module(f"{package.__name__}.{kind}")
