"""Problems for people, one a line, and for editors, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from .problems import Problem


def render_text(problems: Iterable[Problem]) -> str:
    """One line a problem: `conf/gateway.yaml:12:7: server.threads: …`."""
    return "\n".join(str(problem) for problem in problems)


def render_json(errors: Iterable[Problem], warnings: Iterable[Problem] = ()) -> str:
    """`{"ok", "errors": […], "warnings": […]}`; each has file, line, column, path, message and the message's parts."""
    told = [as_dict(problem) for problem in errors]
    return json.dumps({"ok": not told, "errors": told, "warnings": [as_dict(problem) for problem in warnings]})


def as_dict(problem: Problem) -> dict[str, Any]:
    """A problem's fields and its message."""
    return {**asdict(problem), "message": problem.message}
