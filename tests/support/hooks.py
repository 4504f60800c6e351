"""Operator's code for tests: what `routing.function` and `setup` name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request


def choose(request: Request) -> Any:
    """The service that the header X-Choose names; no opinion without one."""
    wanted = request.headers.get("X-Choose")
    if wanted == "(raise)":
        raise RuntimeError("the function fails on purpose")
    return 7 if wanted == "(number)" else wanted


def configure(registry: Any) -> None:
    """Registers SETUP_ADDRESS for the service `in_code`, and notes each call in the file SETUP_CALLS."""
    with Path(os.environ["SETUP_CALLS"]).open("a") as calls:
        calls.write(f"{os.getpid()}\n")
    registry.register("in_code", "one", os.environ["SETUP_ADDRESS"], weight=3, zone="a", tags=["x"])


def fail(registry: Any) -> None:
    registry.register("in_code", "one", os.environ["SETUP_ADDRESS"])
    raise RuntimeError("setup fails on purpose")
