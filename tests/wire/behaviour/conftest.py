"""The behaviour suite: the whole gateway as a black box, each test against every server that promises what it shows.

A test module makes its gateway of the fixture `server`; `needs(Promise.…)` on a test or module leaves out the servers
that do not promise it (tests/support/servers.py says why). `worker_alone` is for what takes seconds and is no server's
business, such as the rhythm of probes.
"""

from __future__ import annotations

import pytest

from tests.support.servers import SERVERS, WORKER, Server


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*promises): only servers that promise this; see tests/support/servers.py")
    config.addinivalue_line("markers", "worker_alone: only our own worker serves it, to save time")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        needed = [promise for mark in metafunc.definition.iter_markers("needs") for promise in mark.args]
        alone = metafunc.definition.get_closest_marker("worker_alone")
        able = [server for server in ((WORKER,) if alone else SERVERS) if server.promises(*needed)]
        metafunc.parametrize("server", able, ids=repr, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a gateway run in one process, so that each gateway is started once."""
    for item in items:
        found = getattr(item, "callspec", None) and item.callspec.params.get("server")
        if isinstance(found, Server):
            item.add_marker(pytest.mark.xdist_group(f"{item.module.__name__}-{found}"))


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.param
    return found
