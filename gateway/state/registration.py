"""What a service says when it registers. The fields are checked here, for HTTP and for code alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.config.addresses import normal_url
from gateway.config.quantities import UnitError, parse_duration
from gateway.config.texts import valid_name
from gateway.errors import InvalidBody

MAX_WEIGHT = 1_000_000
MAX_TAGS = 64
MAX_TEXT = 128  # characters of a tag or a zone
MIN_TTL, MAX_TTL = 0.1, 86_400.0  # seconds

_FIELDS = ("service", "id", "addr", "weight", "zone", "tags", "ttl")
_REQUIRED = ("service", "id", "addr")


class FieldError(ValueError):
    """A field that cannot be taken: which, and why."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        self.why = why
        super().__init__(f"{field} {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One instance that asks for requests. Making one checks every field; FieldError says which is wrong and why.

    addr: `http(s)://host` or `http(s)://host:port`; kept with the port. weight: 1 to 1,000,000.
    ttl: seconds (1 to 86,400) after which it is forgotten unless registered again; None: it stays until deregistered.
    """

    service: str
    id: str
    addr: str
    weight: int = 1
    zone: str | None = None
    tags: tuple[str, ...] = ()
    ttl: float | None = None

    def __post_init__(self) -> None:
        _check_name("service", self.service)
        _check_name("id", self.id)
        if not isinstance(self.addr, str):
            raise FieldError("addr", f"must be a string, not {_kind(self.addr)}")
        try:
            object.__setattr__(self, "addr", normal_url(self.addr))
        except UnitError as error:
            raise FieldError("addr", f"must be http(s)://host or http(s)://host:port: {error}") from None
        if isinstance(self.weight, bool) or not isinstance(self.weight, int) or not 1 <= self.weight <= MAX_WEIGHT:
            raise FieldError("weight", f"must be a whole number from 1 to {MAX_WEIGHT}, not {shown(self.weight)}")
        if self.zone is not None:
            _check_text("zone", self.zone)
        if len(self.tags) > MAX_TAGS:
            raise FieldError("tags", f"must be at most {MAX_TAGS}, not {len(self.tags)}")
        for tag in self.tags:
            _check_text("tags", tag)
        if self.ttl is not None and not MIN_TTL <= self.ttl <= MAX_TTL:
            raise FieldError("ttl", "must be between 100ms and 24h")


def parse(document: object) -> Registration:
    """The registration that the JSON document of POST /register states. InvalidBody names the field and why."""
    try:
        fields: dict[str, Any] = _fields(document, _FIELDS, _REQUIRED)
        fields["tags"] = _tags(fields.get("tags"))
        fields["ttl"] = _ttl(fields.get("ttl"))
        return Registration(**fields)
    except FieldError as error:
        raise InvalidBody(str(error)) from None


def parse_name(document: object) -> tuple[str, str]:
    """(service, id) of the JSON document of DELETE /register. InvalidBody names the field and why."""
    try:
        fields = _fields(document, _REQUIRED[:2], _REQUIRED[:2])
        for name, value in fields.items():
            _check_name(name, value)
    except FieldError as error:
        raise InvalidBody(str(error)) from None
    return fields["service"], fields["id"]


def _fields(document: object, known: tuple[str, ...], required: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise FieldError("body", f"must be a JSON object, not {_kind(document)}")
    for name in document:
        if name not in known:
            raise FieldError(shown(name), f"is no field of this call; there are {', '.join(known)}")
    for name in required:
        if name not in document:
            raise FieldError(name, "is missing")
    return dict(document)


def _check_name(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise FieldError(field, f"must be a string, not {_kind(value)}")
    if not valid_name(value):
        raise FieldError(
            field, f"must be 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit, not {shown(value)}"
        )


def _check_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise FieldError(field, f"must be text, not {_kind(value)}")
    if not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
        raise FieldError(field, f"must be 1 to {MAX_TEXT} printable characters, not {shown(value)}")


def _tags(value: object) -> tuple[Any, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise FieldError("tags", f"must be a list of strings, not {_kind(value)}")
    return tuple(value)


def _ttl(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise FieldError("ttl", f'must be a duration such as "30s", not {_kind(value)}')
    try:
        return parse_duration(value)
    except UnitError:
        raise FieldError("ttl", f'must be a duration such as "30s", not {shown(value)}') from None


def _kind(value: object) -> str:
    """A value's type as JSON names it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else type(value).__name__


def shown(value: object) -> str:
    """A JSON value for an error message: short, and without control characters."""
    try:
        text = ascii(value) if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError, RecursionError):  # from code, or nested too deeply
        text = _kind(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
