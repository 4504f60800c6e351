"""A backend that answers while the client has paused its upload, over which nobody may wait."""

from __future__ import annotations

import pytest

from tests.support import behaviours
from tests.support.backend import Call, FakeBackend
from tests.support.servers import Promise, Server

pytestmark = pytest.mark.needs(Promise.CLIENT_DEADLINES)
CONFIG = {
    "server": {"client_idle": "30s"},
    "routes": [{"id": "r", "path": "/*", "service": "s"}],
}
FRAMINGS = {
    "length": "Content-Length: 1000000\r\n\r\n0123456789",
    "chunks": "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n",
    "continue": "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("keep", [False, True])
def test_an_answer_reaches_a_client_that_has_paused_its_upload(server: Server, framing: str, keep: bool):
    with FakeBackend(behaviours.early_answer(413, b"too much", keep=keep)) as backend:
        services = {"s": {"instances": [{"id": "a", "url": backend.url}]}}
        with server.serve({**CONFIG, "services": services}, workers=1) as gateway, gateway.connect() as wire:
            wire.send(f"POST / HTTP/1.1\r\nHost: h\r\n{FRAMINGS[framing]}")
            if framing == "continue":
                assert wire.answer().status == 100
            answer = wire.answer()
            assert (answer.status, answer.body) == (413, b"too much")


def test_a_backend_that_leaves_a_paused_upload_is_told_at_once(server: Server):
    def behaviour(call: Call) -> None:
        call.head()
        call.close()

    with FakeBackend(behaviour) as backend:
        services = {"s": {"instances": [{"id": "a", "url": backend.url}]}}
        with server.serve({**CONFIG, "services": services}, workers=1) as gateway, gateway.connect() as wire:
            wire.send(f"POST / HTTP/1.1\r\nHost: h\r\n{FRAMINGS['length']}")
            answer = wire.answer()
            assert (answer.status, answer.json()["reason"]) == (502, "upstream_reset")
