"""How long and how large. `make scenarios` sets SCENARIOS=full; without it everything is as short as it can be."""

from __future__ import annotations

import os
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scale:
    """Durations in seconds, sizes in bytes. seconds: of a load whose length nothing else decides. reload_rate: requests
    a second during reloads; None: as many as go, so that the new workers start on a machine without an idle moment.
    share_rates: the same, of loads through nginx; with None the shares depend on what else runs on each CPU.
    outages: settings and workers. storms, workers: numbers of workers."""

    seconds: float
    reload_every: float
    download_seconds: float
    transfer_size: int
    registrations: int
    reload_rate: float | None
    share_rates: tuple[float | None, ...]
    outages: tuple[tuple[str, int], ...]
    storms: tuple[int, ...]
    workers: tuple[int, ...]


SHORT = Scale(
    seconds=3.0,
    reload_every=0.5,
    download_seconds=6.0,
    transfer_size=256 * MIB,
    registrations=60,
    reload_rate=1000,
    share_rates=(2000,),
    outages=(("defaults", 2), ("passive", 4)),
    storms=(4,),
    workers=(4,),
)
FULL = Scale(
    seconds=15.0,
    reload_every=1.0,
    download_seconds=60.0,
    transfer_size=1024 * MIB,
    registrations=200,
    reload_rate=None,
    share_rates=(2000, None),
    outages=(("defaults", 2), ("defaults", 4), ("passive", 2), ("passive", 4)),
    storms=(2, 4),
    workers=(2, 4),
)
SCALE = FULL if os.environ.get("SCENARIOS") == "full" else SHORT
