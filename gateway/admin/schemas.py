"""JSON Schemas of what goes in and out, for the OpenAPI document. Constants; the code that checks is elsewhere."""

from __future__ import annotations

from typing import Any, get_args

from gateway.config.texts import NAME_PATTERN
from gateway.state.breakers import Action
from gateway.state.registration import MAX_TAGS, MAX_TEXT, MAX_WEIGHT

Schema = dict[str, Any]


def _object(properties: Schema, *, optional: tuple[str, ...] = (), closed: bool = False) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    return {**schema, "additionalProperties": False} if closed else schema


def _nullable(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}
_NAME: Schema = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
_SHORT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}

REGISTRATION = _object(
    {
        "service": _NAME,
        "id": _NAME,
        "addr": {"type": "string", "description": "http(s)://host or http(s)://host:port"},
        "weight": {"type": "integer", "minimum": 1, "maximum": MAX_WEIGHT, "default": 1},
        "zone": {**_SHORT, "type": ["string", "null"]},
        "tags": {**_list(_SHORT), "type": ["array", "null"], "maxItems": MAX_TAGS},
        "ttl": {**_nullable("string"), "description": "A lease, 100ms to 24h, renewed by registering again."},
    },
    optional=("weight", "zone", "tags", "ttl"),
    closed=True,
)
NAMED_INSTANCE = _object({"service": _NAME, "id": _NAME}, closed=True)

INSTANCE = _object(
    {
        "id": _TEXT,
        "url": _TEXT,
        "source": {"enum": ["static", "registered", "discovered"]},
        "weight": _WHOLE,
        "zone": _nullable("string"),
        "tags": _list(_TEXT),
        "state": {"enum": ["up", "unhealthy", "open", "half_open", "draining", "disabled"]},
        "reason": {**_nullable("string"), "description": "Why it is not up."},
        "in_flight": _WHOLE,
        "requests": _WHOLE,
        "expires_in": {**_nullable("number"), "description": "Seconds left of its lease."},
        "remaining": {**_WHOLE, "description": "While it drains: requests that are still under way."},
    },
    optional=("remaining",),
)
SERVICE = _object({"name": _TEXT, "balancer": _TEXT, "instances": _list(INSTANCE)})
SERVICES = _object({"services": _list(SERVICE)})
BREAKER = _object(
    {
        "service": _TEXT,
        "instance": _TEXT,
        "state": {"enum": ["closed", "open", "half_open", "forced_open", "forced_closed", "disabled"]},
        "failures": {**_WHOLE, "description": "In a row or within the window, or those that opened it."},
        "calls": {**_WHOLE, "description": "Requests sent to the instance so far."},
        "opened_at": _TIME_OR_NULL,
        "half_open_at": _TIME_OR_NULL,
        "generation": {**_WHOLE, "description": "Grows with each change of state."},
    }
)
BREAKER_ACTION = _object({"action": {"enum": list(get_args(Action))}}, closed=True)
BREAKERS = _object({"breakers": _list(BREAKER)})
ROUTES = _object({"routes": _list({"type": "object"})})
_RELOAD: Schema = {
    **_object(
        {
            "ok": {"type": "boolean"},
            "at": _TIME,
            "errors": _list(_object({"line": _nullable("integer"), "path": _TEXT, "message": _TEXT})),
        }
    ),
    "type": ["object", "null"],
}
CONFIGURATION = _object(
    {
        "generation": _WHOLE,
        "digest": {**_TEXT, "description": "SHA-256 of all that was read."},
        "loaded_at": _TIME_OR_NULL,
        "last_reload": _RELOAD,
        "configuration": {"type": "object", "description": "The configuration in force, secrets masked."},
    }
)
HEALTH = _object({"status": {"const": "ok"}})
READINESS = _object(
    {
        "status": {"enum": ["starting", "ready", "draining"]},
        "generation": {**_WHOLE, "description": "Accepted loads of the configuration, an unchanged file's too."},
        "routes": _WHOLE,
        "instances": _WHOLE,
        "last_reload": _RELOAD,
    }
)
OPENAPI: Schema = {"type": "object"}
PROBLEM = {
    **_object(
        {
            "type": {**_TEXT, "format": "uri"},
            "title": _TEXT,
            "status": _WHOLE,
            "detail": _TEXT,
            "reason": _TEXT,
            "origin": {"const": "gateway"},
            "request_id": _TEXT,
            "remedy": _TEXT,
            "policy": _TEXT,
            "service": _TEXT,
            "instance": _TEXT,
            "retry_after": {**_WHOLE, "description": "Seconds."},
        },
        optional=("policy", "service", "instance", "retry_after"),
    ),
    "description": "RFC 9457",
}
