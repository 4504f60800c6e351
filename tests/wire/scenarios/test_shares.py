"""Behind nginx, which keeps its connections, the workers serve alike."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.load import Call, run
from tests.support.nginx import Nginx
from tests.support.proc import connections
from tests.support.process import GatewayProcess

from .conftest import Figures
from .scale import SCALE

CALLS = [Call("get", "/echo/get"), Call("post", "/echo/post", "POST", b"x" * 500)]
MARGIN = 0.2  # of the even share


@pytest.mark.load
@pytest.mark.parametrize("rate", SCALE.share_rates)
def test_two_workers_behind_nginx_serve_alike(rate: float | None, tmp_path: Path, backends, figures: Figures) -> None:
    """Who served a request is told by the worker's connection to the backend that it came on."""
    (backend,) = backends("echo")
    config = {
        "logging": {"sample": "0%"},
        "services": {"echo": {"instances": [{"id": "one", "url": backend.url}]}},
        "routes": [{"id": "echo", "path": "/echo/*", "service": "echo"}],
    }
    with GatewayProcess(config, workers=2) as gateway, Nginx(tmp_path, gateway.external_port) as nginx:
        report = run(nginx.port, CALLS, SCALE.seconds + 2, connections=32, rate=rate)
        received = backend.received
        owner = {own: pid for pid in gateway.worker_pids for own, peer in connections(pid) if peer == backend.port}
    served: Counter[int | None] = Counter(dict.fromkeys(owner.values(), 0))
    for port, count in received.items():
        served[owner.get(port)] += count
    unknown = served.pop(None, 0)  # on connections that are closed by now
    total = received.total()
    shares = sorted(count / total for count in served.values())
    figures(f"through nginx {report}; shares {' and '.join(f'{share:.1%}' for share in shares)}")
    assert report.failures == [], report.errors.most_common(5)
    assert unknown < 0.01 * total
    assert len(shares) == 2
    assert all(0.5 * (1 - MARGIN) <= share <= 0.5 * (1 + MARGIN) for share in shares)
