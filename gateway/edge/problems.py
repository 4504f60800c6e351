"""A refusal as the client sees it: `application/problem+json` (RFC 9457) with the gateway's own members.

`type` is `urn:gateway:error:<reason>`: a stable name that nobody need fetch; docs/errors.md says what each one means.
"""

from __future__ import annotations

import json
import math
from typing import Any

from gateway.errors import Refusal
from gateway.exchange import Answer

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:gateway:error:"
_LONGEST_RETRY = 86_400  # seconds; whoever is told to come back in a year is told nothing


def problem(refusal: Refusal, request_id: str, method: str) -> Answer:
    """The answer to a refused request; for HEAD with the headers of the whole answer and no body (RFC 9110, 9.3.2)."""
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + refusal.reason,
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "reason": refusal.reason,
        "origin": "gateway",
        "request_id": request_id,
        "remedy": refusal.remedy,
    }
    for name in ("policy", "service", "instance"):
        value = getattr(refusal, name)
        if value is not None:
            document[name] = value
    headers = [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store"), *refusal.headers]
    if refusal.retry_after is not None:
        seconds = retry_seconds(refusal.retry_after)
        document["retry_after"] = seconds
        headers.append(("Retry-After", str(seconds)))
    body = json.dumps(document).encode() + b"\n"
    headers.append(("Content-Length", str(len(body))))
    return Answer(refusal.status, headers, [b"" if method == "HEAD" else body], refusal=refusal)


def retry_seconds(seconds: float) -> int:
    """Whole seconds for Retry-After, rounded up so that nobody comes too early; at least one."""
    return max(1, math.ceil(min(seconds, _LONGEST_RETRY)))
