"""The configuration as plain values, spelled as in the file, with everything secret masked: for GET /api/v1/config.

Secrets are those of the model, the user part of URLs, and the values of header fields whose names hold one of
`logging.mask` (or Authorization, Cookie and their like). What holds no secret can be loaded again as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .model import Config, Logging
from .shape import Choice, Either, Items, Leaf, Nullable, Section, Shape, Table, shape_of
from .units import Unit

MASK = "***"
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")
_PARAMETER = re.compile(r"([?&;](?:password|passwd|secret|token|key|api_key)=)[^&;#]*", re.IGNORECASE)
_ALWAYS = ("authorization", "cookie", "api-key", "token", "secret", "password")


def mask(config: Config) -> dict[str, Any]:
    """The configuration in force, ready for JSON."""
    masked = plain(shape_of(Config), config, frozenset(name.lower() for name in config.logging.mask))
    return dict(masked)


def plain(shape: Shape, value: Any, masked: Collection[str] = Logging().mask) -> Any:
    """A value of the model as the file would spell it.

    masked: parts of the names of header fields whose values are secret.
    """
    if value is None:
        return None
    if isinstance(shape, Nullable):
        return plain(shape.shape, value, masked)
    if isinstance(shape, Either):
        return plain(_fitting(shape, value), value, masked)
    if isinstance(shape, Leaf):
        return _leaf(shape.unit, value)
    if isinstance(shape, Items):
        return [plain(shape.item, item, masked) for item in value]
    if isinstance(shape, Table):
        hides = shape.key.fold  # names of header fields
        return {
            key: MASK if hides and _is_secret(key, masked) else plain(shape.item, item, masked)
            for key, item in value.items()
        }
    if isinstance(shape, Section):
        if shape.overrides:
            return {key: plain(shape.fields[key].shape, item, masked) for key, item in value.items()}
        return {key: plain(field.shape, getattr(value, field.name), masked) for key, field in shape.fields.items()}
    return value


def _leaf(unit: Unit, value: Any) -> Any:
    if unit.secret and unit.name != "header value":
        return MASK
    if unit.scalar != "text":
        return value
    text = unit.format(value)
    return _PARAMETER.sub(rf"\1{MASK}", _USERINFO.sub(rf"\1{MASK}@", text)) if "://" in text else text


def _is_secret(name: str, masked: Collection[str]) -> bool:
    lower = name.lower()
    return any(part in lower for part in (*_ALWAYS, *masked))


def _fitting(shape: Either, value: Any) -> Shape:
    """The option that a value is of."""
    return next(option for option in shape.options if _fits(option, value))


def _fits(option: Shape, value: Any) -> bool:
    if isinstance(option, Choice):
        return value in option.values and not isinstance(value, bool)
    if isinstance(option, Leaf):
        if option.path:
            return isinstance(value, Path)
        kinds = {"flag": bool, "whole": int, "number": float}
        return isinstance(value, kinds.get(option.unit.scalar, object)) and not isinstance(value, (tuple, Mapping))
    if isinstance(option, Items):
        return isinstance(value, tuple)
    return isinstance(value, option.type) if isinstance(option, Section) else isinstance(value, Mapping)
