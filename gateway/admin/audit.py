"""The audit line: one for each change that an operator makes by hand."""

from __future__ import annotations

from typing import Any

import structlog

from .api import Request

_log = structlog.get_logger("gateway.audit")


def audit(request: Request, action: str, **what: Any) -> None:
    """action: what was done, such as "breaker.reset". what: to whom, and the states before and after.

    The line tells who: the client's address, and whether it came with `admin.token`; never the token itself.
    """
    _log.info("audit", action=action, who=request.client, with_token=request.with_token, **what)
