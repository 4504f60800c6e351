"""The table as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gateway.errors import HostRefused, MethodNotAllowed, OriginRefused, Refusal, Unauthorized

from . import schemas
from .resources import Call

VERSION = "1.0.0"  # of the admin API
_ALWAYS: tuple[type[Refusal], ...] = (OriginRefused, HostRefused, MethodNotAllowed)
_variables = re.compile(r"\{([a-z_]+)\}").findall


def describe(calls: Iterable[Call]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Gateway admin API", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": {"Problem": schemas.PROBLEM},
            "securitySchemes": {
                "admin": {"type": "http", "scheme": "bearer", "description": "admin.token, where it is configured"},
                "register": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "admin.register_token, where it is configured",
                },
            },
        },
    }


def _operation(call: Call) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": call.summary, "security": _security(call)}
    if parameters := _variables(call.path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
        ]
    if call.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": call.body}}}
    operation["responses"] = _responses(call)
    return operation


def _security(call: Call) -> list[dict[str, list[str]]]:
    """Any of them; {} stands for none at all, since tokens need not be configured."""
    if call.access == "open":
        return []
    return [{}, {"register": []}, {"admin": []}] if call.access == "register" else [{}, {"admin": []}]


def _responses(call: Call) -> dict[str, Any]:
    if call.content_type != "application/json":
        responses: dict[str, Any] = {"200": _content(call.content_type, {"type": "string"}, "The text.")}
    elif call.answer is None:
        responses = {"204": {"description": "Done."}}
    else:
        told = _content(call.content_type, call.answer, "The document.")
        responses = {str(status): told for status in (200, *call.also)}
    refusals = [*_ALWAYS, *call.refusals, *(() if call.access == "open" else (Unauthorized,))]
    problem = {"$ref": "#/components/schemas/Problem"}
    for status in sorted({kind.status for kind in refusals}):
        reasons = ", ".join(sorted(kind.reason for kind in refusals if kind.status == status))
        responses[str(status)] = _content("application/problem+json", problem, f"Refused: {reasons}.")
    return responses


def _content(content_type: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {content_type: {"schema": schema}}}
