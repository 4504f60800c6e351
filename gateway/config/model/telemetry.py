"""What the gateway tells of itself: log, metrics, traces and the flight recorder."""

from __future__ import annotations

from typing import Literal

from ..texts import HttpUrl, PlainPath
from ..units import Capacity, Positive, Share
from .sections import section
from .server import Plane


@section
class Logging:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
    access: bool = True
    sample: Share = 1.0
    mask: tuple[str, ...] = (
        "authorization", "cookie", "set-cookie", "x-api-key", "token", "password", "secret",
    )  # fmt: skip


@section
class Metrics:
    path: PlainPath = "/metrics"
    listeners: tuple[Plane, ...] = ("internal",)
    max_label_values: Positive = 1000


@section
class Tracing:
    propagate: bool = True
    b3: bool = False
    otlp_endpoint: HttpUrl | None = None
    sample: Share = 0.0


@section
class Recorder:
    max_size: Capacity = 32 * 1024**2
    sample: Share = 0.01
