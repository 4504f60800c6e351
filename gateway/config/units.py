"""Units of the configuration: durations, sizes, shares, rates, networks, secrets; how each is written and read."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, NewType

Duration = Annotated[float, "duration"]  # seconds; 500ms 3s 1m 1h
Size = Annotated[int, "size"]  # bytes; 64KiB 2MiB
Share = Annotated[float, "share"]  # 0..1; 20%
Positive = Annotated[int, "positive"]
Natural = Annotated[int, "natural"]
