"""Bodies far larger than memory should hold pass through in constant memory, both ways."""

from __future__ import annotations

import threading

import pytest

from tests.support.proc import rss_anon
from tests.support.process import GatewayProcess
from tests.support.transfer import Download, Upload

from .conftest import Figures
from .scale import MIB, SCALE

GROWTH = 32 * MIB


class Peak:
    """The largest RssAnon of a process while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = self.bytes = rss_anon(pid)

    @property
    def growth(self) -> int:
        return self.bytes - self.before

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.bytes = max(self.bytes, rss_anon(self._pid))

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.load
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", [Download, Upload], ids=["download", "upload"])
def test_a_large_body_passes_in_constant_memory(
    kind: type[Download] | type[Upload], backends, figures: Figures
) -> None:
    (backend,) = backends("large")
    config = {
        "server": {"max_request_body": "2GiB"},
        "services": {"large": {"instances": [{"id": "one", "url": backend.url}]}},
        "routes": [{"id": "large", "path": "/large/*", "service": "large"}],
    }
    with GatewayProcess(config, workers=1) as gateway:
        (worker,) = gateway.worker_pids
        kind(gateway.external_port, "/large/warm", MIB).result()
        with Peak(worker) as peak:
            transfer = kind(gateway.external_port, "/large/body", SCALE.transfer_size).result()
    figures(
        f"{kind.__name__} of {SCALE.transfer_size // MIB} MiB in {transfer.seconds:.1f} s "
        f"({SCALE.transfer_size / MIB / transfer.seconds:.0f} MiB/s): RssAnon {peak.before / MIB:.1f} MiB, "
        f"grew by {peak.growth / MIB:.1f} MiB"
    )
    assert peak.growth <= GROWTH
